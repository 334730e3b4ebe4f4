//! The agent asks when it can't know: a program whose runner is gone without a result.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tagship_tests::until;

use crate::chaos::on_one_host;
use crate::stage::{Stage, Start as _};

const STEPS: &str = r#"
[[stage.steps]]
name = "work"
run = 'echo "$TAG" >>"{DIR}/started"; echo working; while [ -e "{DIR}/hold" ]; do sleep 0.05; done; echo done'
"#;

fn stage() -> Stage {
    on_one_host(STEPS).start()
}

fn started(stage: &Stage) -> usize {
    stage.lines("started").len()
}

/// Ends every process of steps of this stage, as a host that loses its power does.
fn power_cut(root: &Path) {
    let cookie = format!("TAGSHIP_RUN={}", root.display());
    let gone = until(|| {
        let mut found = 0;
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let pid = entry.file_name().to_string_lossy().parse::<i32>().ok();
            if let Some(pid) = pid.and_then(Pid::from_raw)
                && String::from_utf8_lossy(&environment).contains(&cookie)
            {
                found += 1;
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        found == 0
    });
    assert!(gone);
}

/// The journal's directory of the only attempt.
fn attempt(stage: &Stage) -> PathBuf {
    let journal = stage.place("web1", "qa").join(".tagship/journal");
    let entries = fs::read_dir(journal).unwrap().flatten();
    let mut attempts: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.join("runner").exists())
        .collect();
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    attempts.remove(0)
}

/// Starts a program, ends the agent, changes the host, and starts the agent again: it asks.
fn asks_after(happens: impl FnOnce(&Stage)) -> (Stage, u64, Value) {
    let mut stage = stage();
    fs::write(stage.path("hold"), "").unwrap();
    let id = stage.propose("qa-1", &[("index.html", "one\n")]);
    stage.api.until_logged(id, &["web1"], &["working"]);
    stage.kill_agent();
    happens(&stage);
    fs::remove_file(stage.path("hold")).unwrap();
    stage.start_agent();
    let task = stage.api.until(id, "paused", |task| {
        task["state"] == "paused" || task["at_rest"] == true
    });
    assert_eq!(task["state"], "paused", "{task:#}");
    let detail = task["detail"].as_str().unwrap();
    assert!(
        detail.contains("web1") && detail.contains("work"),
        "{detail}"
    );
    eprintln!("asked: {detail}");
    assert_eq!(started(&stage), 1, "it was started again without a word");
    (stage, id, task)
}

#[test]
fn killed_runner_pauses_its_task_until_a_person_retries() {
    let (stage, id, _) = asks_after(|stage| power_cut(stage.directory()));
    stage.api.post(&format!("/tasks/{id}/retry"), &json!({}));
    stage.api.until_state(id, "succeeded");
    assert_eq!(started(&stage), 2);
    stage.assert_live(&["web1"], "qa", "qa-1");
}

#[test]
fn rebooted_host_pauses_its_task_and_a_stop_succeeds() {
    let (stage, id, _) = asks_after(|stage| {
        power_cut(stage.directory());
        // Its process ID may belong to another process by now: only the boot ID shows that.
        let own = format!(
            "{} 1 00000000-0000-0000-0000-000000000000\n",
            std::process::id()
        );
        for name in ["runner", "program"] {
            fs::write(attempt(stage).join(name), &own).unwrap();
        }
    });
    stage.api.post(&format!("/tasks/{id}/stop"), &json!({}));
    stage.api.until_state(id, "stopped");
    assert_eq!(started(&stage), 1);
}

#[test]
fn deleted_journal_pauses_its_task_and_a_stop_ends_it() {
    let (stage, id, _) = asks_after(|stage| {
        let journal = attempt(stage);
        fs::rename(&journal, journal.with_file_name("away")).unwrap();
    });
    stage.api.post(&format!("/tasks/{id}/stop"), &json!({}));
    stage.api.until_state(id, "stopped");
    assert_eq!(started(&stage), 1);
}

#[test]
fn program_is_followed_to_its_end_after_agent_downtime() {
    let mut stage = stage();
    fs::write(stage.path("hold"), "").unwrap();
    let id = stage.propose("qa-1", &[("index.html", "one\n")]);
    stage.api.until_logged(id, &["web1"], &["working"]);
    stage.kill_agent();
    fs::remove_file(stage.path("hold")).unwrap();
    let end = attempt(&stage).join("end");
    assert!(until(|| end.exists()));
    stage.start_agent();
    stage.api.until_state(id, "succeeded");
    stage.api.until_logged(id, &["web1"], &["working", "done"]);
    assert_eq!(started(&stage), 1);
}
