//! Connections to hosts are cut at random bytes, before and after answers, or stall; the ssh server
//! is killed amid a transfer, a switch and a program. The agent determines what happened, or names
//! the host; what is live is complete, and a retry succeeds.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tagship_tests::program::script;
use tagship_tests::proxy::{Direction, Fault, Proxy};
use tagship_tests::random::Random;
use tagship_tests::sshd::free_port;
use tagship_tests::until;
use tagship_tests::world::Settings;

use crate::chaos::promises::seed;
use crate::stage::{Stage, Start as _, half_done, publishing};

const STEPS: &str = r#"
[[stage.steps]]
name = "work"
run = 'echo "$TAG" >>"{DIR}/counted.$HOST"; echo working; while [ -e "{DIR}/hold" ]; do sleep 0.05; done; echo done'
"#;

const ODD: [&str; 2] = ["web1", "other"];

/// An environment whose second host is reached by a port of its own.
fn settings(port: u16) -> Settings {
    Settings::default()
        .ssh("keepalive = '1s'\nconnect_timeout = '3s'")
        .more(&format!(
            "[hosts.other]\naddress = '127.0.0.1'\nport = {port}"
        ))
        .port(port)
        .group("odd = ['web1', 'other']")
        .template("steps", &publishing(STEPS))
        .environment(
            "qa",
            "qa-",
            "group = 'odd'\n--\nschedule = 'ready'\ntemplate = 'steps'",
        )
}

/// How often each program was started.
fn started(stage: &Stage, host: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in stage.lines(&format!("counted.{host}")) {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

fn files(tag: &str) -> Vec<(String, String)> {
    let noise: String = (0..4_000)
        .map(|n| format!("{tag} {}\n", n * 7919))
        .collect();
    vec![
        ("index.html".to_owned(), format!("{tag}\n")),
        (format!("new/{tag}"), noise),
    ]
}

fn propose(stage: &Stage, tag: &str) -> u64 {
    let files = files(tag);
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    stage.propose(tag, &files)
}

/// The task succeeded, or it names the host; what is live there is one complete release.
fn well_or_named(stage: &Stage, task: &Value, before: &str, tag: &str) {
    let detail = task["detail"].as_str().unwrap_or_default();
    let live = fs::read_to_string(stage.place("other", "qa").join("current/index.html")).unwrap();
    match task["state"].as_str().unwrap() {
        "succeeded" => stage.assert_live(&ODD, "qa", tag),
        "failed" | "rolled-back" | "paused" | "rollback-failed" => {
            assert!(detail.contains("other"), "{detail}");
            assert!(
                live == format!("{before}\n") || live == format!("{tag}\n"),
                "{live}"
            );
        }
        state => panic!("{state}: {detail}"),
    }
}

/// The final state of a task, or its pause.
fn settled(stage: &Stage, id: u64) -> Value {
    stage.api.until(id, "settled", |task| {
        task["at_rest"] == true || task["state"] == "paused"
    })
}

/// A stalled transfer keeps its partial file while its connection is open; the connection is
/// closed, and the file goes.
fn swept(stage: &Stage) {
    let half = |host: &&str| half_done(&stage.place(host, "qa"));
    assert!(until(|| ODD.iter().all(|host| half(host).is_empty())));
}

#[test]
fn cut_or_stalled_connection_releases_or_names_the_host() {
    let seed = seed();
    let mut random = Random::new(seed);
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stage = settings(port).start();
    let server = stage.sshd().socket();
    let proxy = Proxy::start_at(address, server, Fault::None);
    let first = propose(&stage, "qa-0");
    stage.api.until_state(first, "succeeded");
    let sizes = [Direction::ToServer, Direction::ToClient].map(|way| proxy.passed(way));
    drop(proxy);
    let mut before = "qa-0".to_owned();
    let mut retried = 0;
    for number in 1..=12 {
        let way = match random.below(2) {
            0 => Direction::ToServer,
            _ => Direction::ToClient,
        };
        let at = random.below(sizes[way as usize]);
        let fault = match number % 4 {
            0 => Fault::StallOnce(way, at),
            _ => Fault::CutOnce(way, at),
        };
        eprintln!("SEED={seed}: {fault:?}");
        let proxy = Proxy::start_at(address, server, fault);
        let tag = format!("qa-{number}");
        let id = propose(&stage, &tag);
        let task = settled(&stage, id);
        drop(proxy);
        if task["state"] == "succeeded" {
            swept(&stage);
        }
        well_or_named(&stage, &task, &before, &tag);
        if task["state"] != "succeeded" {
            retried += 1;
            let proxy = Proxy::start_at(address, server, Fault::None);
            eprintln!("{}: {}; retried", task["state"], task["detail"]);
            stage.api.retry(id);
            stage.api.until_state(id, "succeeded");
            drop(proxy);
            swept(&stage);
        }
        stage.assert_live(&ODD, "qa", &tag);
        before = tag;
    }
    eprintln!("{retried} of 12 had to be retried");
}

/// Blocks this program on every host until `hold` is deleted, after (`after`) or before it has done
/// its work. Reports that in `held`.
fn holding(stage: &Stage, program: &str, what: &str, when: &str) {
    let root = stage.directory().display();
    let usual = "PATH=/usr/local/bin:/usr/bin:/bin";
    let wait = format!("echo held >>{root}/held; while [ -e {root}/hold ]; do sleep 0.05; done");
    let act = match when {
        "after" => format!("{program} \"$@\"; code=$?; {wait}; exit $code"),
        _ => format!("{wait}; exec {program} \"$@\""),
    };
    script(
        &stage.path("bin").join(program),
        &format!(
            "#!/bin/sh\n{usual}\ncase \"$*\" in\n*{what}*) if [ -e {root}/hold ]; then {act}; fi ;;\nesac\nexec {program} \"$@\"\n"
        ),
    );
}

/// Releases; when a host has reached the place, the servers of all connections are killed.
fn released_over_killed_servers(stage: &Stage, tag: &str) -> Value {
    fs::write(stage.path("hold"), "").unwrap();
    let _ = fs::remove_file(stage.path("held"));
    let id = propose(stage, tag);
    let held = stage.path("held");
    assert!(until(|| held.exists()), "{tag}: nothing was held");
    stage.sshd().kill_sessions();
    fs::remove_file(stage.path("hold")).unwrap();
    let task = stage.api.until_state(id, "succeeded");
    stage.assert_live(&crate::stage::HOSTS, "qa", tag);
    task
}

fn with_held_programs() -> Stage {
    let stage = Settings::default()
        .template("steps", &publishing(STEPS))
        .environment("qa", "qa-", "--\nschedule = 'ready'\ntemplate = 'steps'")
        .sshd("SetEnv PATH={DIR}/bin:/usr/local/bin:/usr/bin:/bin")
        .start();
    stage.release("qa-0", &[("index.html", "qa-0\n")]);
    stage
}

#[test]
fn server_killed_during_any_operation_fails_no_release() {
    let stage = with_held_programs();
    for (number, (program, what, when)) in [
        ("rsync", "--server", "before"),
        ("rsync", "--server", "after"),
        // The rename of a release into its place, and that of `current`.
        ("mv", "/releases/", "before"),
        ("mv", "/releases/", "after"),
        ("mv", "/current", "before"),
        ("mv", "/current", "after"),
    ]
    .into_iter()
    .enumerate()
    {
        let _ = fs::remove_dir_all(stage.path("bin"));
        holding(&stage, program, what, when);
        let tag = format!("qa-{}", number + 1);
        eprintln!("{tag}: {program} {what} {when}");
        let task = released_over_killed_servers(&stage, &tag);
        // A host that was asked again whether it had switched still knows what was live before.
        for host in crate::stage::HOSTS {
            let before = stage.api.task(task["id"].as_u64().unwrap() - 1);
            assert_eq!(task["live_before"][host], before["release"], "{host}");
        }
        fs::remove_dir_all(stage.path("bin")).unwrap();
    }
    for host in crate::stage::HOSTS {
        assert!(
            started(&stage, host).values().all(|count| *count == 1),
            "{host}"
        );
    }
}

#[test]
fn killed_server_loses_no_program_output_or_result() {
    let stage = with_held_programs();
    fs::write(stage.path("hold"), "").unwrap();
    let id = propose(&stage, "qa-1");
    stage
        .api
        .until_logged(id, &crate::stage::HOSTS, &["working"]);
    stage.sshd().kill_sessions();
    stage
        .api
        .until_logged(id, &crate::stage::HOSTS, &["connection lost"]);
    fs::remove_file(stage.path("hold")).unwrap();
    stage.api.until_state(id, "succeeded");
    stage.api.until_logged(id, &crate::stage::HOSTS, &["done"]);
    for host in crate::stage::HOSTS {
        assert!(
            started(&stage, host).values().all(|count| *count == 1),
            "{host}"
        );
    }
}

#[test]
fn stop_on_an_unreachable_host_is_never_assumed_done() {
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stage = settings(port).start();
    let start = || Proxy::start_at(address, stage.sshd().socket(), Fault::None);
    let mut proxy = Some(start());
    let first = propose(&stage, "qa-0");
    stage.api.until_state(first, "succeeded");
    for (tag, comes_back) in [("qa-1", "in time"), ("qa-2", "too late")] {
        fs::write(stage.path("hold"), "").unwrap();
        let id = propose(&stage, tag);
        stage.api.until_logged(id, &ODD, &["working"]);
        // It is unreachable, and its program keeps running.
        drop(proxy.take());
        stage.api.post(&format!("/tasks/{id}/stop"), &json!({}));
        let task = stage.api.until_state_or_rest(id, "paused");
        assert_eq!(task["state"], "paused", "{}", task["detail"]);
        let detail = task["detail"].as_str().unwrap();
        for word in [
            "other: work",
            "could not be shown that it ended",
            "stop the task once more",
        ] {
            assert!(detail.contains(word), "{detail}");
        }
        if comes_back == "in time" {
            proxy = Some(start());
        }
        stage.api.post(&format!("/tasks/{id}/stop"), &json!({}));
        stage.api.until_state(id, "stopped");
        let left = steps_left(&stage, "other");
        // The second stop by a person suffices, but what can be ended is ended.
        assert_eq!(left == 0, comes_back == "in time", "{left} are left");
        fs::remove_file(stage.path("hold")).unwrap();
        if proxy.is_none() {
            proxy = Some(start());
        }
    }
    drop(proxy);
}

#[test]
fn host_resetting_connections_is_reported_while_retried() {
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stage = settings(port).ssh("patience = '8s'").start();
    let server = stage.sshd().socket();
    let resets = || Proxy::start_at(address, server, Fault::CutAfter(Direction::ToServer, 0));
    let passes = || Proxy::start_at(address, server, Fault::None);
    let proxy = passes();
    let first = propose(&stage, "qa-0");
    stage.api.until_state(first, "succeeded");
    drop(proxy);
    for comes_back in [true, false] {
        let proxy = resets();
        let tag = format!("qa-back-{comes_back}");
        let id = propose(&stage, &tag);
        let task = stage.api.until(id, "it says so", |task| {
            task["at_rest"] == true || away(task).is_some()
        });
        let said = away(&task).unwrap_or_else(|| panic!("it was silent: {task:#}"));
        assert!(
            said.contains("other") && said.contains("retried until"),
            "{said}"
        );
        let shown = String::from_utf8(stage.command(&["show", &id.to_string()])).unwrap();
        assert!(shown.contains("retried until"), "{shown}");
        let logged = stage.api.log(id);
        assert!(logged.contains("refuses every connection"), "{logged}");
        if comes_back {
            drop(proxy);
            let _passes = passes();
            stage.api.until_state(id, "succeeded");
            assert!(stage.api.log(id).contains("the host is reachable again"));
            stage.assert_live(&ODD, "qa", &tag);
        } else {
            let task = stage.api.until_state(id, "failed");
            let detail = task["detail"].as_str().unwrap();
            assert!(detail.contains("cannot reach other"), "{detail}");
            assert_eq!(
                stage.live("web1", "qa"),
                stage.live("other", "qa"),
                "no host switched"
            );
        }
    }
}

/// The report of a running step about its host.
fn away(task: &Value) -> Option<String> {
    let all = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    for stage in all(task, "stages") {
        for host in all(&stage, "hosts") {
            for step in all(&host, "steps") {
                let message = step["message"].as_str().unwrap_or_default();
                if step["state"] == "running" && message.contains("unreachable") {
                    return Some(message.to_owned());
                }
            }
        }
    }
    None
}

/// How many processes of steps are left on a host.
fn steps_left(stage: &Stage, host: &str) -> usize {
    let cookie = format!("TAGSHIP_RUN={}", stage.place(host, "qa").display());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let environments = processes.filter_map(|entry| fs::read(entry.path().join("environ")).ok());
    environments
        .filter(|environment| String::from_utf8_lossy(environment).contains(&cookie))
        .count()
}
