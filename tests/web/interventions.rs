//! Interventions in a running task, and in one that a freeze holds.

use std::sync::Arc;

use reqwest::StatusCode;
use serde_json::json;
use tagship::base::clock::ManualClock;
use tagship::domain::plan::Plan;
use tagship::domain::task::{Event, Pause, Schedule, Submission};
use tagship::identity::account::Role;

use crate::client::{Browser, Program, assert_error};
use crate::server::{Options, TestServer, at, ended, staged, submission};

/// A freeze that is always in force.
fn frozen() -> Options {
    Options {
        grants: "[[freezes]]\nname = \"fair\"\nreason = \"everybody is out\"\nfrom = \"00:00\"\nuntil = \"00:00\"",
        ..Options::default()
    }
}

#[tokio::test]
async fn one_host_is_stopped_and_then_skipped_with_a_reason() {
    let server = TestServer::start().await;
    let task = server.running("release-1.4").await;
    let bob = Program::of(&server, "bob", Role::Approver).await;
    let path = format!("tasks/{}", task.id);
    let (_, shown) = bob.get(&path).await;
    let may = shown["may"].to_string();
    assert!(may.contains("stop-host") && may.contains("skip"), "{may}");

    let (status, answer) = bob
        .post(&format!("{path}/stop"), json!({ "host": "web-9" }))
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_error(&answer, "web-1, web-2, web-3");
    let stop = json!({ "host": "web-2" });
    let (status, answer) = bob.post(&format!("{path}/stop"), stop.clone()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["state"], "running", "its siblings go on");
    let (status, _) = bob.post(&format!("{path}/stop"), stop).await;
    assert_eq!(status, StatusCode::CONFLICT, "it is stopped already");

    let skip = |host, reason| json!({ "host": host, "reason": reason });
    let (status, _) = bob.post(&format!("{path}/skip"), skip("web-3", " ")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "no reason");
    let (status, answer) = bob
        .post(&format!("{path}/skip"), skip("web-3", "its disk is broken"))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["skipped"][0]["name"], "web-3");
    assert_eq!(answer["skipped"][0]["reason"], "its disk is broken");
    let browser = Browser::of(&server, "alice", Role::Viewer).await;
    let (_, page) = browser.get(&format!("/tasks/{}", task.id)).await;
    assert!(page.contains("Host web-3 was skipped by bob"), "{page}");
    assert!(page.contains("</span> skipped"), "{page}");
    let steps = answer["stages"].to_string();
    assert!(steps.contains("\"skipped\""), "{steps}");
    server.end().await;
}

#[tokio::test]
async fn gate_names_what_waits_and_offers_no_retry() {
    let server = TestServer::start().await;
    let task = server.running("release-1.4").await;
    let gate = Event::Paused(Pause::Gate { stage: 1 });
    server.append(&task, vec![gate]).await;
    let bob = Program::of(&server, "bob", Role::Approver).await;
    let (_, shown) = bob.get(&format!("tasks/{}", task.id)).await;
    let stage = shown["stages"][1]["name"].as_str().unwrap();
    let said = format!("waits at the gate before stage {stage}");
    assert_eq!(shown["detail"], said);
    let may = shown["may"].to_string();
    assert!(may.contains("\"go\"") && !may.contains("retry"), "{may}");
    server.end().await;
    let server = TestServer::start().await;
    let failed = server.running("release-1.4").await;
    let bob = Program::of(&server, "bob", Role::Approver).await;
    let why = Event::Paused(Pause::HostFailed {
        message: "web-1: migrate: ended with 3".to_owned(),
    });
    server.append(&failed, vec![why]).await;
    let (_, shown) = bob.get(&format!("tasks/{}", failed.id)).await;
    assert_eq!(shown["detail"], "web-1: migrate: ended with 3");
    assert!(shown["may"].to_string().contains("retry"), "{shown}");
    server.end().await;
}

#[tokio::test]
async fn queued_task_names_the_task_it_waits_for() {
    let server = TestServer::start().await;
    let first = server.running("release-1.4").await;
    let second = server.approved("release-1.5").await;
    let bob = Program::of(&server, "bob", Role::Approver).await;
    let (_, shown) = bob.get(&format!("tasks/{}", second.id)).await;
    assert_eq!(shown["state"], "queued");
    let said = format!("waits for task {}, which is running", first.id);
    assert_eq!(shown["detail"], said);
    let (_, shown) = bob.get(&format!("tasks/{}", first.id)).await;
    assert_eq!(shown["detail"], "", "it waits for nobody");
    server.end().await;
    // A push waits for an older one without approval until that has landed; for others it does not.
    let server = TestServer::start().await;
    let bob = Program::of(&server, "bob", Role::Approver).await;
    for (schedule, waits) in [(Schedule::New, false), (Schedule::Ready, true)] {
        let submission = Submission {
            schedule,
            ..submission(&format!("qa-{schedule:?}"))
        };
        let older = server.propose(submission).await;
        let younger = server.approved(&format!("release-{schedule:?}")).await;
        let (_, shown) = bob.get(&format!("tasks/{}", younger.id)).await;
        let said = format!("waits for task {}, which is proposed", older.id);
        assert_eq!(shown["detail"], if waits { &said } else { "" });
    }
    server.end().await;
}

#[tokio::test]
async fn busy_host_and_last_host_cannot_be_skipped() {
    let server = TestServer::start().await;
    let task = server.running("release-1.4").await;
    let bob = Program::of(&server, "bob", Role::Approver).await;
    let path = format!("tasks/{}/skip", task.id);
    let skip = |host| json!({ "host": host, "reason": "broken" });
    let mut refused = Vec::new();
    for host in ["web-1", "web-2", "web-3"] {
        let (status, answer) = bob.post(&path, skip(host)).await;
        if status != StatusCode::OK {
            assert_eq!(status, StatusCode::CONFLICT);
            refused.push(answer["error"].as_str().unwrap().to_owned());
        }
    }
    assert!(!refused.is_empty());
    for words in refused {
        let right = words.contains("stop it there first") || words.contains("the last host");
        assert!(right, "{words}");
    }
    server.end().await;
}

#[tokio::test]
async fn host_actions_require_the_run_right() {
    let server = TestServer::start().await;
    let task = server.running("release-1.4").await;
    let sam = Program::of(&server, "sam", Role::Submitter).await;
    for (what, body) in [
        ("skip", json!({ "host": "web-3", "reason": "broken" })),
        ("stop", json!({ "host": "web-3" })),
        ("override-freeze", json!({ "reason": "now" })),
    ] {
        let (status, answer) = sam.post(&format!("tasks/{}/{what}", task.id), body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{what}: {answer}");
    }
    server.end().await;
}

#[tokio::test]
async fn freeze_is_shown_and_only_an_admin_overrides_it() {
    let server = TestServer::start_with(frozen()).await;
    let task = server.approved("release-1.4").await;
    let path = format!("tasks/{}", task.id);
    let bob = Program::of(&server, "bob", Role::Approver).await;
    let (_, shown) = bob.get(&path).await;
    assert_eq!(shown["frozen"]["name"], "fair");
    assert_eq!(shown["frozen"]["overridden_by"], json!(null));
    let reason = json!({ "reason": "the shop is down" });
    let (status, _) = bob
        .post(&format!("{path}/override-freeze"), reason.clone())
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);

    let browser = Browser::of(&server, "root", Role::Admin).await;
    let (_, page) = browser.get(&format!("/tasks/{}", task.id)).await;
    assert!(page.contains("are frozen until") && page.contains("everybody is out"));
    assert!(page.contains("waits for the end of a freeze"), "{page}");
    let form = [("reason", "the shop is down")];
    let over = format!("/tasks/{}/override-freeze", task.id);
    let (status, page) = browser.post(&over, &form).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    let (_, shown) = bob.get(&path).await;
    assert_eq!(shown["frozen"]["overridden_by"], "root");
    let carol = Program::of(&server, "carol", Role::Admin).await;
    let (status, answer) = carol.post(&format!("{path}/override-freeze"), reason).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    server.end().await;
}

#[tokio::test]
async fn rollback_in_a_freeze_requires_a_reason() {
    let server = TestServer::start_with(frozen()).await;
    let first = server.succeeded("release-1.3").await;
    server.succeeded("release-1.4").await;
    let back = json!({ "task": first.id, "override_freeze": "the shop is down" });
    let bob = Program::of(&server, "bob", Role::Approver).await;
    let (status, answer) = bob.post("rollback", back.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    let root = Program::of(&server, "root", Role::Admin).await;
    let unreasoned = json!({ "task": first.id, "override_freeze": " " });
    let (status, answer) = root.post("rollback", unreasoned).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    let (_, list) = root.get("tasks").await;
    assert_eq!(
        list["tasks"].as_array().unwrap().len(),
        2,
        "nothing is half made"
    );
    let (status, answer) = root.post("rollback", back).await;
    assert!(status.is_success(), "{answer}");
    assert_eq!(answer["frozen"]["overridden_by"], "root");
    let (_, audit) = root.get("audit").await;
    let last = &audit["entries"][0];
    assert_eq!(last["on"], "to task 1, override-freeze: the shop is down");
    assert_eq!(
        last["task"], answer["id"],
        "whoever looks for the task finds it"
    );
    server.end().await;
}

#[tokio::test]
async fn timed_pause_states_its_end() {
    let clock = Arc::new(ManualClock::at("2026-11-21T15:00:00Z".parse().unwrap()));
    let server = TestServer::start_with(Options {
        clock,
        ..Options::default()
    })
    .await;
    let task = server.proposed("release-1.4").await;
    let patience = |plan: &mut Plan| plan.pause_timeout_s = Some(90 * 60);
    let task = server.landed_with(&task, patience).await;
    let task = server.approve(&task).await;
    let task = server.start_work(&task).await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let path = format!("/tasks/{}", task.id);
    assert!(!vera.get(&path).await.1.contains("it stops at"));
    let gate = Event::Paused(Pause::Gate { stage: 2 });
    let staged = ended(at(1, 1, 0), staged());
    server.append(&task, vec![staged, gate]).await;
    let (_, page) = vera.get(&path).await;
    let words = "it stops at 2026-11-21 17:30";
    assert!(page.contains(words), "{page}");
    server.end().await;
}

#[tokio::test]
async fn rollback_says_before_approval_that_its_release_failed() {
    let server = TestServer::start().await;
    server.succeeded("release-1").await;
    let failed = server.failed_live("release-2").await;
    server.succeeded("release-3").await;
    let bob = Program::of(&server, "bob", Role::Approver).await;
    let path = format!("tasks/{}", failed.id);
    let (_, shown) = bob.get(&path).await;
    let may = shown["may"].to_string();
    assert!(may.contains("\"rollback\""), "{may}");

    let release = &failed.work.unwrap().release;
    let words = format!("release {release} was live, but its own task 2 did not succeed (failed)");
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let (_, page) = alice.get(&format!("/{path}/rollback")).await;
    assert!(page.contains(&words), "{page}");
    let named = json!({ "project": "shop", "environment": "production", "to": release });
    for body in [json!({ "task": failed.id }), named] {
        let (status, answer) = bob.post("rollback", body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        assert_eq!(answer["origin"]["to"], 2);
        assert_eq!(answer["notes"][0], words, "{answer}");
    }
    server.end().await;
}
