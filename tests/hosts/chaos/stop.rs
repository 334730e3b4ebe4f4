//! Stops steps that resist, and steps with harmful output.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tagship_tests::until;

use crate::chaos::on_one_host;
use crate::stage::{Stage, Start as _};

/// Runs the script of its own tag.
const STEPS: &str = r#"
[[stage.steps]]
name = "unruly"
timeout = "10m"
run = 'exec sh "{DIR}/kinds/$TAG"'
"#;

/// The program of a step that runs until it is stopped; `@READY@` reports that it has started.
const KINDS: [(&str, &str); 6] = [
    (
        "ignores-term",
        "trap '' TERM INT HUP; @READY@; while :; do sleep 1; done",
    ),
    (
        "forks-a-daemon",
        "(setsid sh -c 'trap \"\" TERM HUP; (setsid sleep 1001 &); sleep 1002' >/dev/null 2>&1 </dev/null &); @READY@; sleep 1000",
    ),
    (
        "closes-its-output",
        "exec >&- 2>&- <&-; @READY@; sleep 1000",
    ),
    (
        "prints-a-gigabyte",
        "head -c 1073741824 /dev/zero | tr '\\0' x; @READY@; sleep 1000",
    ),
    ("prints-nothing", "@READY@; sleep 1000"),
    (
        "prints-escapes",
        "printf 'begin \\377\\376\\303( \\033[2J\\033]0;title\\007 \\302\\2332J \\342\\200\\256 \\010end\\n'; @READY@; sleep 1000",
    ),
];

/// The size limit of an output's beginning or of a piece of its end, plus one read.
const FILE_BYTES_MAX: u64 = tagship::domain::host::OUTPUT_KEPT_BYTES + 1024 * 1024;
/// The size limit of all outputs here, on the agent and on the host.
const LOGS_BYTES_MAX: u64 = 3 * tagship::domain::host::OUTPUT_KEPT_BYTES;
const JOURNALS_BYTES_MAX: u64 = 4 * tagship::domain::host::OUTPUT_KEPT_BYTES;
/// An agent that buffered the gigabyte would exceed it.
const MEMORY_KIB_MAX: u64 = 200 * 1024;

/// Processes of steps of this stage, by their cookie.
fn left_behind(root: &Path) -> Vec<String> {
    let root = root.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        if environment
            .split('\0')
            .any(|variable| variable.starts_with("TAGSHIP_RUN=") && variable.contains(&root))
        {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&words).replace('\0', " "));
        }
    }
    found
}

fn sizes(directory: &Path, name: &str) -> Vec<u64> {
    let mut sizes = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(name)
            {
                sizes.push(fs::metadata(path).unwrap().len());
            }
        }
    }
    sizes
}

fn is_sanitized(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    text.chars()
        .all(|c| c == '\n' || c == '\t' || !(c.is_control() || c == '\u{202e}'))
}

fn step(task: &Value) -> Value {
    let stages = task["stages"].as_array().unwrap();
    stages[2]["hosts"][0]["steps"][1].clone()
}

fn stops(stage: &Stage, kind: &str) {
    let root = stage.directory();
    let id = stage.propose(&format!("qa-{kind}"), &[("index.html", kind)]);
    let ready = root.join(format!("ready.qa-{kind}"));
    assert!(until(|| ready.exists()), "{kind} never begins");
    assert!(!left_behind(root).is_empty(), "{kind}");
    stage.api.post(&format!("/tasks/{id}/stop"), &json!({}));
    let task = stage.api.until_state(id, "stopped");
    assert_eq!(left_behind(root), [""; 0], "{kind}");
    assert_eq!(step(&task)["state"], "stopped", "{kind}: {task:#}");
    let logged = stage.api.log(id);
    assert!(is_sanitized(logged.as_bytes()), "{kind}: the API's log");
    let shown_log = stage.command(&["log", &id.to_string()]);
    assert!(is_sanitized(&shown_log), "{kind}: the command line's log");
    if kind == "prints-escapes" {
        assert!(
            logged.contains("begin ") && logged.contains("\\x1b[2J"),
            "{logged}"
        );
    }
}

#[test]
fn stopped_step_ends_and_its_output_is_harmless() {
    let stage = on_one_host(STEPS).start();
    fs::create_dir(stage.path("kinds")).unwrap();
    for (kind, text) in KINDS {
        let ready = format!(": >\"{}/ready.$TAG\"", stage.directory().display());
        let text = text.replace("@READY@", &ready);
        fs::write(stage.path(format!("kinds/qa-{kind}")), text).unwrap();
        stops(&stage, kind);
        eprintln!("{kind}: stopped; memory {} KiB", stage.memory_peak_kib());
    }
    assert!(
        stage.memory_peak_kib() < MEMORY_KIB_MAX,
        "{}",
        stage.memory_peak_kib()
    );
    let logs = sizes(&stage.path("data/logs"), "");
    let journals = sizes(&stage.place("web1", "qa").join(".tagship/journal"), "out");
    let files = logs.iter().chain(&journals);
    assert!(
        files.clone().all(|size| *size <= FILE_BYTES_MAX),
        "{logs:?} {journals:?}"
    );
    let [logs, journals] = [logs, journals].map(|sizes| sizes.iter().sum::<u64>());
    assert!(logs <= LOGS_BYTES_MAX && journals <= JOURNALS_BYTES_MAX);
    assert!(
        logs >= 2 * tagship::domain::host::OUTPUT_KEPT_BYTES,
        "the gigabyte was not printed"
    );
    // And the next task can run in the environment.
    fs::write(stage.path("kinds/qa-next"), "echo well").unwrap();
    stage.release("qa-next", &[("index.html", "next\n")]);
    stage.assert_live(&["web1"], "qa", "qa-next");
}

const CHECK: &str = r#"
[[stage.steps]]
use = "check"
retries = 100
interval = "1s"
timeout = "10m"
command = '''
echo >>"{DIR}/asked"
(setsid sleep 1003 >/dev/null 2>&1 </dev/null &)
if [ -e "{DIR}/hold" ]; then echo >>"{DIR}/stays"; sleep 1000; fi
exit 1
'''
"#;

/// The agent remembers no program of a check; the attempt's name finds them.
#[test]
fn stopped_check_leaves_no_program_of_any_earlier_agent() {
    let mut stage = on_one_host(CHECK).start();
    let lines = |stage: &Stage, file: &str| fs::read(stage.path(file)).map_or(0, |text| text.len());
    let asked = |stage: &Stage| lines(stage, "asked");
    let stays = |stage: &Stage| lines(stage, "stays");
    for (tag, agents) in [("qa-1", 1), ("qa-2", 2)] {
        let before = asked(&stage);
        let id = stage.propose(tag, &[("index.html", tag)]);
        assert!(
            until(|| asked(&stage) >= before + 2),
            "{tag}: it asks again"
        );
        let held = stays(&stage);
        fs::write(stage.path("hold"), "").unwrap();
        assert!(until(|| stays(&stage) > held), "{tag}: one stays");
        if agents > 1 {
            stage.kill_agent();
            let held = stays(&stage);
            stage.start_agent();
            assert!(until(|| stays(&stage) > held), "{tag}: asked anew");
        }
        stage.api.post(&format!("/tasks/{id}/stop"), &json!({}));
        let task = stage.api.until_state(id, "stopped");
        assert_eq!(left_behind(stage.directory()), [""; 0], "{tag}: {task:#}");
        fs::remove_file(stage.path("hold")).unwrap();
    }
}
