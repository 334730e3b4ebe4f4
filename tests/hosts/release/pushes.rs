//! From a push to a task, and from a task to three hosts.

use std::fs;

use serde_json::{Value, json};
use tagship_tests::contract::assert_task;
use tagship_tests::git::output_of;
use tagship_tests::program::script;
use tagship_tests::world::Settings;

use crate::stage::{HOSTS, Stage, Start as _, usual};

fn untouched(stage: &Stage, environment: &str) {
    for host in HOSTS {
        let place = stage.place(host, environment);
        assert!(!place.exists(), "{} was made", place.display());
    }
}

#[test]
fn a_qa_tag_goes_live_on_three_hosts_at_once() {
    let stage = usual().start();
    let task = stage.release(
        "qa-1",
        &[("index.html", "one\n"), ("bin/run", "#!/bin/sh\n")],
    );
    stage.assert_live(&HOSTS, "qa", "qa-1");
    untouched(&stage, "production");
    assert_task(&task);
    assert_eq!(task["ref"], "refs/tags/qa-1");
    assert_eq!(task["commit"], stage.tree().resolve("qa-1"));
    let hosts: Vec<&Value> = task["stages"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|stage| stage["hosts"].as_array().unwrap())
        .collect();
    assert_eq!(hosts.len(), 1 + 3 + 3);
    for step in hosts
        .iter()
        .flat_map(|host| host["steps"].as_array().unwrap())
    {
        assert_eq!(step["state"], "succeeded");
        assert!(step["name"].is_string());
        assert!(step["started_at"].is_string() && step["ended_at"].is_string());
    }
    let again = stage.release("qa-2", &[("index.html", "two\n")]);
    stage.assert_live(&HOSTS, "qa", "qa-2");
    for host in HOSTS {
        assert_eq!(again["live_before"][host], task["release"]);
    }
}

#[test]
fn release_tag_waits_for_approval_of_its_exact_plan() {
    let stage = usual().more("[users.alice]\ngitlab = '{USER}'").start();
    let (alice, bob) = (
        stage.person("alice", "admin"),
        stage.person("bob", "approver"),
    );
    let id = stage.propose("release-1", &[("index.html", "one\n")]);
    let waiting = stage.api.until_state(id, "waiting");
    untouched(&stage, "production");
    let (status, refused) = stage.api.approve(id);
    assert_eq!(status, 403, "by the socket: {refused}");
    let (status, refused) = alice.approve(id);
    assert_eq!(status, 403, "by the submitter: {refused}");
    let reason = refused["error"].as_str().unwrap();
    assert!(reason.contains("submitted"), "{reason}");
    let other = waiting["plan"]
        .as_str()
        .unwrap()
        .chars()
        .rev()
        .collect::<String>();
    let (status, refused) =
        bob.try_post(&format!("/tasks/{id}/approve"), &json!({ "plan": other }));
    assert_eq!(status, 409, "of another plan: {refused}");
    assert_eq!(stage.api.task(id)["state"], "waiting");
    untouched(&stage, "production");
    let (status, approved) = bob.approve(id);
    assert_eq!(status, 200, "{approved}");
    let done = stage.api.until_state(id, "succeeded");
    assert_eq!(done["approvals"][0]["by"], "bob");
    stage.assert_live(&HOSTS, "production", "release-1");
}

/// Otherwise a user who gets that account, or pushes under an unmapped name, could approve their
/// own push alone.
#[test]
fn pusher_without_an_account_is_unknown() {
    let stage = usual().more("[users.carol]\ngitlab = '{USER}'").start();
    let (alice, bob) = (
        stage.person("alice", "approver"),
        stage.person("bob", "approver"),
    );
    let id = stage.propose("release-1", &[("index.html", "one\n")]);
    let waiting = stage.api.until_state(id, "waiting");
    let missing = waiting["missing"].to_string();
    assert!(missing.contains("no account is known"), "{waiting}");
    alice.approve(id);
    assert_eq!(stage.api.task(id)["state"], "waiting", "one is not enough");
    let (status, approved) = bob.approve(id);
    assert_eq!(status, 200, "{approved}");
    stage.api.until_state(id, "succeeded");
}

#[test]
fn an_atomic_push_that_fails_after_the_hook_releases_nothing() {
    let stage = usual().agent("landing_timeout = '3s'").start();
    script(
        &stage.repo().path.join("hooks/reference-transaction"),
        "#!/bin/sh\nif grep -q refs/heads/locked && [ \"$1\" = prepared ]; then exit 1; fi\n",
    );
    stage.commit("qa-1", &[("index.html", "one\n")]);
    let pushed = stage.tree().push([
        "--atomic",
        "origin",
        "refs/tags/qa-1",
        "HEAD:refs/heads/locked",
    ]);
    assert!(!pushed.success, "{}", pushed.text);
    assert!(pushed.text.contains("qa-1 → shop qa"), "{}", pushed.text);
    let id = stage.api.task_of("qa-1");
    let task = stage.api.until_state(id, "expired");
    let detail = task["detail"].as_str().unwrap();
    assert!(
        detail.contains("qa-1") && detail.contains("git server"),
        "{detail}"
    );
    untouched(&stage, "qa");
    // Pushed again, it is a task of its own.
    fs::remove_file(stage.repo().path.join("hooks/reference-transaction")).unwrap();
    stage.push("qa-1");
    let ids = stage.api.tasks_of("qa-1", 2);
    stage.api.until_state(ids[1], "succeeded");
    stage.assert_live(&HOSTS, "qa", "qa-1");
}

#[test]
fn deleted_or_moved_waiting_tag_is_never_deployed() {
    let stage = usual().start();
    let bob = stage.person("bob", "approver");
    let deleted = stage.propose("release-1", &[("index.html", "deleted\n")]);
    stage.api.until_state(deleted, "waiting");
    assert!(stage.tree().push_deletion("release-1").success);
    let task = stage.api.until_state(deleted, "withdrawn");
    assert!(
        task["detail"].as_str().unwrap().contains("deleted"),
        "{task:#}"
    );

    let old = stage.propose("release-2", &[("index.html", "old\n")]);
    stage.api.until_state(old, "waiting");
    let plan = stage.api.task(old)["plan"].clone();
    stage.commit("release-2", &[("index.html", "new\n")]);
    stage.push("release-2");
    let ids = stage.api.tasks_of("release-2", 2);
    assert_eq!(ids.len(), 2);
    let ended = stage.api.at_rest(old);
    assert!(
        ["withdrawn", "superseded"].contains(&ended["state"].as_str().unwrap()),
        "{ended:#}"
    );
    let (status, refused) =
        bob.try_post(&format!("/tasks/{old}/approve"), &json!({ "plan": plan }));
    assert_eq!(status, 409, "{refused}");
    stage.api.until_state(ids[1], "waiting");
    untouched(&stage, "production");
    assert_eq!(bob.approve(ids[1]).0, 200);
    stage.api.until_state(ids[1], "succeeded");
    stage.assert_live(&HOSTS, "production", "release-2");
    let index = stage.place("web1", "production").join("current/index.html");
    assert_eq!(fs::read_to_string(index).unwrap(), "new\n");
    assert_eq!(stage.api.tasks().len(), 3);
}

#[test]
fn push_during_agent_downtime_becomes_one_task() {
    let mut stage = usual().start();
    stage.stop_agent();
    stage.commit("qa-1", &[("index.html", "one\n")]);
    stage.push("qa-1");
    stage.commit("qa-2", &[("index.html", "two\n")]);
    stage.push("qa-2");
    stage.start_agent();
    let [older, newer] = ["qa-1", "qa-2"].map(|tag| stage.api.task_of(tag));
    stage.api.until_state(newer, "succeeded");
    // It began first, or was superseded by the newer one.
    let older = stage.api.at_rest(older);
    let state = older["state"].as_str().unwrap();
    assert!(["succeeded", "superseded"].contains(&state), "{older:#}");
    stage.assert_live(&HOSTS, "qa", "qa-2");
    stage.kill_agent();
    stage.start_agent();
    assert_eq!(
        stage.api.tasks().len(),
        2,
        "exactly two tasks, whatever happens"
    );
}

#[test]
fn only_matching_tags_of_a_200_tag_push_become_tasks() {
    let stage = Settings::default()
        .environment("watch", "watch-", "--\nschedule = \"observe\"")
        .start();
    let commit = stage
        .tree()
        .commit_files("first", &[("index.html", "one\n")]);
    for number in 0..200 {
        let kind = if number % 10 == 3 { "watch" } else { "v" };
        stage.tree().tag(format!("{kind}-{number}"), &commit);
    }
    let pushed = stage.tree().push(["origin", "--tags"]);
    assert!(pushed.success, "{}", pushed.text);
    for number in (3..200).step_by(10) {
        let id = stage.api.task_of(&format!("watch-{number}"));
        stage.api.until_state(id, "observed");
    }
    assert_eq!(stage.api.tasks().len(), 20);
    untouched(&stage, "watch");
}

#[test]
fn forty_tag_push_releases_one_and_requests_one_approval() {
    let stage = usual().start();
    for number in 1..=20 {
        let text = format!("{number}\n");
        let commit = stage.commit(&format!("qa-1.{number}"), &[("index.html", &text)]);
        stage.tree().tag(format!("release-1.{number}"), &commit);
    }
    let pushed = stage.tree().push(["origin", "--tags"]);
    assert!(pushed.success, "{}", pushed.text);
    let words = "queued for qa; the newest tag of this push runs";
    assert_eq!(pushed.text.matches(words).count(), 20, "{}", pushed.text);
    let [live, asked] = ["qa-1.20", "release-1.20"].map(|tag| stage.api.task_of(tag));
    stage.api.until_state(live, "succeeded");
    stage.api.until_state(asked, "waiting");
    for number in 1..20 {
        for (rule, newest) in [("qa", live), ("release", asked)] {
            let id = stage.api.task_of(&format!("{rule}-1.{number}"));
            let task = stage.api.until_state(id, "superseded");
            assert_eq!(task["detail"], format!("by task {newest}"));
        }
    }
    stage.assert_live(&HOSTS, "qa", "qa-1.20");
    let releases = fs::read_dir(stage.place("web1", "qa").join("releases")).unwrap();
    assert_eq!(releases.count(), 1);
    untouched(&stage, "production");
}

#[test]
fn server_tag_created_during_downtime_is_released() {
    let mut stage = usual().start();
    stage.release("qa-1", &[("index.html", "one\n")]);
    stage.stop_agent();
    let commit = stage.tree().commit_files("two", &[("index.html", "two\n")]);
    let pushed = stage.tree().push(["origin", "HEAD:refs/heads/main"]);
    assert!(pushed.success, "{}", pushed.text);
    output_of(stage.repo().git().args(["tag", "qa-2", &commit]));
    stage.start_agent();
    let id = stage.api.task_of("qa-2");
    let task = stage.api.until_state(id, "succeeded");
    assert_eq!(task["commit"], commit);
    assert!(
        task["submitter"].to_string().contains("unknown"),
        "{task:#}"
    );
    stage.kill_agent();
    stage.start_agent();
    assert_eq!(stage.api.tasks().len(), 2);
}
