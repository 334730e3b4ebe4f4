//! Interventions in a task on real hosts: a host that fails while the others continue, one that is
//! stopped, one that is skipped, and a pause that times out.

use std::fs;

use serde_json::{Value, json};
use tagship_tests::unindent;
use tagship_tests::world::Settings;

use crate::stage::{HOSTS, Stage, Start as _};

/// The second host fails in its second step until it is repaired.
const FIRST: &str = r#"
[[stage.steps]]
name = "one"
run = 'echo "$HOST one" >>"{DIR}/trace"'
[[stage.steps]]
name = "two"
run = 'echo "$HOST two" >>"{DIR}/trace"; [ "$HOST" != web2 ] || [ -e "{DIR}/mended" ]'
[[stage.steps]]
name = "three"
run = 'echo "$HOST three" >>"{DIR}/trace"'
"#;

const SECOND: &str = r#"
[[stage]]
name = "second"
hosts = "{group}"
steps = [{ name = "four", run = 'echo "$HOST four" >>"{DIR}/trace"' }]
"#;

fn settings(template: &str, environment: &str) -> Settings {
    Settings::default().template("hands", template).environment(
        "qa",
        "qa-",
        &format!("{environment}\n--\nschedule = 'ready'\ntemplate = 'hands'"),
    )
}

fn begin(stage: &Stage) -> u64 {
    stage.propose("qa-1", &[("index.html", "one\n")])
}

/// How often each host has done each of these steps.
fn counts(stage: &Stage, steps: &[&str]) -> Vec<(String, Vec<usize>)> {
    let trace = stage.lines("trace");
    let count = |line: String| trace.iter().filter(|one| **one == line).count();
    let of = |host: &str| {
        let steps = steps.iter().map(|step| count(format!("{host} {step}")));
        (host.to_owned(), steps.collect())
    };
    HOSTS.iter().map(|host| of(host)).collect()
}

fn expected(of: [&[usize]; 3]) -> Vec<(String, Vec<usize>)> {
    let hosts = HOSTS.iter().map(|host| (*host).to_owned());
    hosts.zip(of.map(<[usize]>::to_vec)).collect()
}

const STEPS: [&str; 4] = ["one", "two", "three", "four"];

#[test]
fn retry_runs_only_unfinished_steps_of_a_failed_host() {
    let template = format!("[[stage]]\nname = \"first\"\nhosts = \"{{group}}\"\n{FIRST}{SECOND}");
    let stage = settings(&template, "on_failure = 'pause'").start();
    let id = begin(&stage);
    stage.api.until(id, "paused, its siblings done", |task| {
        let trace = stage.lines("trace");
        let done = |host: &str| trace.contains(&format!("{host} three"));
        task["state"] == "paused" && done("web1") && done("web3")
    });
    let paused = expected([&[1, 1, 1, 0], &[1, 1, 0, 0], &[1, 1, 1, 0]]);
    assert_eq!(
        counts(&stage, &STEPS),
        paused,
        "the next stage waits for all"
    );
    fs::write(stage.path("mended"), "").unwrap();
    stage.api.retry(id);
    stage.api.until_state(id, "succeeded");
    let done = expected([&[1, 1, 1, 1], &[1, 2, 1, 1], &[1, 1, 1, 1]]);
    assert_eq!(counts(&stage, &STEPS), done);
    let trace = stage.lines("trace");
    let first_four = trace.iter().position(|line| line.ends_with("four"));
    let last_three = trace.iter().rposition(|line| line.ends_with("three"));
    assert!(first_four > last_three, "{trace:?}");
}

#[test]
fn retry_starts_unstarted_hosts_and_skips_finished_ones() {
    let template =
        format!("[[stage]]\nname = \"first\"\nhosts = \"{{group}}\"\nbatch = 1\n{FIRST}");
    let stage = settings(&template, "on_failure = 'stop'").start();
    let id = begin(&stage);
    stage.api.until_state(id, "failed");
    let failed = expected([&[1, 1, 1, 0], &[1, 1, 0, 0], &[0, 0, 0, 0]]);
    assert_eq!(counts(&stage, &STEPS), failed);
    fs::write(stage.path("mended"), "").unwrap();
    stage.api.retry(id);
    stage.api.until_state(id, "succeeded");
    let done = expected([&[1, 1, 1, 0], &[1, 2, 1, 0], &[1, 1, 1, 0]]);
    assert_eq!(counts(&stage, &STEPS), done);
}

/// How many processes of this machine are the long step of the next test.
fn sleepers() -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ours = processes.filter(|entry| {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        words == b"sleep\x00317\x00"
    });
    ours.count()
}

#[test]
fn task_continues_without_a_stopped_and_skipped_host() {
    let long = r#"
        [[stage]]
        name = "first"
        hosts = "{group}"
        [[stage.steps]]
        name = "long"
        run = 'echo "$HOST begins"; [ "$HOST" != web2 ] || sleep 317; echo "$HOST long" >>"{DIR}/trace"'
        "#;
    let stage = settings(
        &format!("{}{SECOND}", unindent(long)),
        "on_failure = 'pause'",
    )
    .start();
    let id = begin(&stage);
    stage.api.until_logged(id, &["web2"], &["web2 begins"]);
    let post = |what: &str, body: Value| stage.api.try_post(&format!("/tasks/{id}/{what}"), &body);
    let (status, said) = post("skip", json!({ "host": "web2", "reason": "slow" }));
    assert_eq!(status, 409, "a step runs there: {said}");
    assert_eq!(sleepers(), 1);
    let (status, said) = post("stop", json!({ "host": "web2" }));
    assert_eq!(status, 200, "{said}");
    stage.api.until_state(id, "paused");
    assert_eq!(sleepers(), 0, "nothing of it is left");
    let steps = ["long", "four"];
    assert_eq!(
        counts(&stage, &steps),
        expected([&[1, 0], &[0, 0], &[1, 0]])
    );
    let (status, said) = post("skip", json!({ "host": "web2", "reason": " " }));
    assert_eq!(status, 422, "{said}");
    let why = "its disk is broken";
    let (status, said) = post("skip", json!({ "host": "web2", "reason": why }));
    assert_eq!(status, 200, "{said}");
    let task = stage.api.until_state(id, "succeeded");
    assert_eq!(
        counts(&stage, &steps),
        expected([&[1, 1], &[0, 0], &[1, 1]])
    );
    assert_eq!(task["skipped"][0]["name"], "web2");
    assert_eq!(task["skipped"][0]["reason"], why);
    let detail = task["detail"].as_str().unwrap();
    assert!(
        detail.contains("web2"),
        "it says that one is left out: {detail}"
    );
}

#[test]
fn unattended_pause_stops_the_task() {
    let gate = "[[stage]]\nname = \"first\"\nhosts = \"{group}\"\ngate = \"hand\"\n";
    let template = format!("{gate}{FIRST}");
    let stage = settings(&template, "pause_timeout = '2s'").start();
    let id = begin(&stage);
    let task = stage.api.until_state(id, "paused");
    assert!(task["pause_ends_at"].is_string(), "{task}");
    let task = stage.api.at_rest(id);
    assert_eq!(task["state"], "stopped");
    assert!(stage.lines("trace").is_empty());
    let said = task["events"].to_string();
    assert!(said.contains("pause_timeout"), "{said}");
    let lasted = |key: &str| task[key].as_str().unwrap().parse::<jiff::Timestamp>();
    let created = lasted("created_at").unwrap();
    assert!(lasted("updated_at").unwrap() >= created + jiff::SignedDuration::from_secs(2));
}
