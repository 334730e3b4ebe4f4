//! The agent's own disk is read-only or full, and its clock is set back.

use std::fs;
use std::time::Duration;

use tagship_tests::world::Settings;

use crate::disk::Disk;
use crate::stage::{HOSTS, Stage, Start as _, publishing, usual};

const SOON: Duration = Duration::from_secs(60);

/// A stage whose agent has a disk of its own; both end together, the agent first.
fn on_a_disk() -> Option<(Stage, Disk)> {
    let mut disk = None;
    let stage = usual().start_with(|root| disk = Disk::at(&root.join("data"), "24m"));
    disk.map(|disk| (stage, disk))
}

#[test]
fn read_only_directory_is_reported_and_loses_no_push() {
    let Some((mut stage, disk)) = on_a_disk() else {
        return;
    };
    stage.release("qa-1", &[("index.html", "one\n")]);
    stage.stop_agent();
    disk.remount("ro");
    stage.commit("qa-2", &[("index.html", "two\n")]);
    stage.push("qa-2");
    stage.spawn_agent();
    let status = stage
        .agent_ends(SOON)
        .expect("it starts on a read-only disk");
    assert!(!status.success());
    let log = stage.log.text();
    let data = disk.0.display().to_string();
    for word in [
        "Read-only file system",
        data.as_str(),
        "mount its file system writable",
    ] {
        assert!(log.contains(word), "{word}: {log}");
    }
    stage.assert_live(&HOSTS, "qa", "qa-1");
    disk.remount("rw");
    stage.start_agent();
    let id = stage.api.task_of("qa-2");
    stage.api.until_state(id, "succeeded");
    stage.assert_live(&HOSTS, "qa", "qa-2");
    assert_eq!(stage.api.tasks().len(), 2);
}

#[test]
fn agent_with_a_full_disk_reports_it_and_loses_no_push() {
    let Some((mut stage, disk)) = on_a_disk() else {
        return;
    };
    let first = stage.release("qa-1", &[("index.html", "one\n")]);
    let ballast = disk.0.join("ballast");
    assert!(fs::write(&ballast, vec![7; 32 << 20]).is_err());
    for tag in ["qa-2", "qa-3"] {
        stage.commit(tag, &[("index.html", tag), ("more", &tag.repeat(20_000))]);
        stage.push(tag);
    }
    // The store stops at the first commit that it can't write, and the agent exits: nothing
    // continues from data that may not be durable.
    let status = stage.agent_ends(SOON);
    let log = stage.log.text();
    let status = status.unwrap_or_else(|| panic!("it goes on: {log}"));
    assert!(!status.success());
    assert!(log.contains("No space left on device"), "{log}");
    stage.assert_live(&HOSTS, "qa", "qa-1");
    fs::remove_file(&ballast).unwrap();
    stage.start_agent();
    for tag in ["qa-2", "qa-3"] {
        let id = stage.api.task_of(tag);
        let task = stage.api.at_rest(id);
        // The newer one may come before the older one begins.
        let gave_way = tag == "qa-2" && task["state"] == "superseded";
        if task["state"] != "succeeded" && !gave_way {
            eprintln!("{tag}: {}", task["detail"]);
            stage.api.retry(id);
            stage.api.until_state(id, "succeeded");
        }
    }
    stage.assert_live(&HOSTS, "qa", "qa-3");
    let tasks = stage.api.tasks();
    assert_eq!(tasks.len(), 3, "exactly one task for each push");
    assert_eq!(stage.api.task(1)["release"], first["release"]);
}

#[test]
fn full_disk_at_start_is_reported_and_loses_no_push() {
    let Some((mut stage, disk)) = on_a_disk() else {
        return;
    };
    stage.release("qa-1", &[("index.html", "one\n")]);
    stage.stop_agent();
    let ballast = disk.0.join("ballast");
    assert!(fs::write(&ballast, vec![7; 32 << 20]).is_err());
    stage.commit("qa-2", &[("index.html", "two\n")]);
    stage.push("qa-2");
    stage.spawn_agent();
    let status = stage.agent_ends(SOON).expect("it starts on a full disk");
    assert!(!status.success());
    let log = stage.log.text();
    let full = format!("the disk of data_dir {} is full", disk.0.display());
    for word in [full.as_str(), "make room", "pushes wait in the spool"] {
        assert!(log.contains(word), "{word}: {log}");
    }
    stage.assert_live(&HOSTS, "qa", "qa-1");
    fs::remove_file(&ballast).unwrap();
    stage.start_agent();
    let id = stage.api.task_of("qa-2");
    stage.api.until_state(id, "succeeded");
    stage.assert_live(&HOSTS, "qa", "qa-2");
}

const SLOW: &str = r#"
[[stage.steps]]
name = "work"
run = 'echo working; while [ -e "{DIR}/hold" ]; do sleep 0.05; done'
"#;

#[test]
fn clock_set_back_during_a_release_keeps_names_in_order() {
    let mut stage = Settings::default()
        .template("steps", &publishing(SLOW))
        .environment("qa", "qa-", "--\nschedule = 'ready'\ntemplate = 'steps'")
        .start();
    let clock = stage.path("clock");
    stage.kill_agent();
    stage.variables(vec![("TAGSHIP_CLOCK", clock.display().to_string())]);
    stage.start_agent();
    let mut releases = vec![stage.release("qa-1", &[("index.html", "one\n")])["release"].clone()];
    fs::write(stage.path("hold"), "").unwrap();
    let id = stage.propose("qa-2", &[("index.html", "two\n")]);
    stage.api.until_logged(id, &HOSTS, &["working"]);
    fs::write(&clock, "-86400").unwrap();
    fs::remove_file(stage.path("hold")).unwrap();
    releases.push(stage.api.until_state(id, "succeeded")["release"].clone());
    stage.assert_live(&HOSTS, "qa", "qa-2");
    // A whole release at an earlier time, and one by an agent that starts at that time.
    releases.push(stage.release("qa-3", &[("index.html", "three\n")])["release"].clone());
    stage.assert_live(&HOSTS, "qa", "qa-3");
    stage.kill_agent();
    stage.start_agent();
    releases.push(stage.release("qa-4", &[("index.html", "four\n")])["release"].clone());
    stage.assert_live(&HOSTS, "qa", "qa-4");
    let names: Vec<&str> = releases
        .iter()
        .map(|release| release.as_str().unwrap())
        .collect();
    assert!(names.is_sorted(), "{names:?}");
}
