//! Interventions in a running task, by command line: one host skipped, stopped, resumed; an
//! overridden freeze; a pause that times out.

use tagship::domain::task::{Event, Pause, Task};
use tagship::domain::template::Gate;
use tagship::identity::account::Role;

use crate::command::agent::me;
use crate::command::lab::{Lab, holds, said};
use crate::server::{at, began, ended, staged};

/// Every host is staged and waits at a gate of its own.
async fn at_the_gates(lab: &Lab) -> Task {
    let task = lab.server.running("release-1").await;
    let mut events = vec![ended(at(1, 1, 0), staged())];
    events.extend([began(at(1, 2, 0)), ended(at(1, 2, 0), staged())]);
    for (place, name) in ["web-1", "web-2", "web-3"].into_iter().enumerate() {
        events.push(Event::Held {
            at: at(2, u16::try_from(place).unwrap(), 0),
            host: name.to_owned(),
            gate: Gate::Hand,
        });
    }
    events.push(Event::Paused(Pause::StepGate));
    lab.server.append(&task, events).await
}

#[tokio::test(flavor = "multi_thread")]
async fn single_host_is_skipped_with_a_reason_or_stopped() {
    let lab = Lab::new().await;
    lab.server.running("release-1").await;
    let skip = [
        "skip",
        "1",
        "--host",
        "web-3",
        "--reason",
        "its disk is broken",
    ];
    holds(
        lab.local(&skip)
            .stdout("task 1 is asked to skip web-3; it is running\n"),
    );
    holds(
        lab.local(&["stop", "1", "--host", "web-2"])
            .stdout("task 1 is asked to stop web-2; it is running\n"),
    );
    let shown = said(lab.local(&["show", "1"])).stdout;
    assert!(
        shown.contains("web-3") && shown.contains("its disk is broken"),
        "{shown}"
    );
    let task = lab.server.store.task(1).await.unwrap();
    let skipped = &task.work.as_ref().unwrap().skipped[&2];
    assert_eq!((skipped.name.as_str(), &skipped.by), ("web-3", &me()));

    let unknown = said(lab.local(&["stop", "1", "--host", "web-9"]));
    let words =
        "error: task 1 has no host web-9: it has web-1, web-2, web-3; did you mean web-1?\n";
    assert_eq!((unknown.status, unknown.stderr.as_str()), (Some(1), words));
    let silent = said(lab.local(&["skip", "1", "--host", "web-1"]));
    assert_eq!(silent.status, Some(2), "a reason is asked for: {silent}");
    let blank = said(lab.local(&["skip", "1", "--host", "web-1", "--reason", " "]));
    assert_eq!(blank.status, Some(1), "{blank}");
    let sam = said(lab.remote("sam", Role::Submitter, &skip).await);
    assert!(sam.stderr.contains("requires the role approver"), "{sam}");
}

#[tokio::test(flavor = "multi_thread")]
async fn single_host_is_resumed_while_the_others_wait() {
    let lab = Lab::new().await;
    at_the_gates(&lab).await;
    let gone = said(lab.local(&["resume", "1", "--host", "web-2"]));
    assert!(
        gone.stdout
            .starts_with("task 1 is asked to resume web-2; it is "),
        "{gone}"
    );
    let task = lab.server.store.task(1).await.unwrap();
    let held = &task.work.as_ref().unwrap().held_hosts;
    let names: Vec<&str> = held.values().map(|held| held.host.as_str()).collect();
    assert_eq!(names, ["web-1", "web-3"]);
    let nobody = said(lab.local(&["resume", "1", "--host", "web-9"]));
    assert_eq!(nobody.status, Some(1), "{nobody}");
}

const FAIR: &str = "[[freezes]]\nname = \"fair\"\nreason = \"everybody is out\"\nfrom = \"00:00\"\nuntil = \"00:00\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_is_overridden_with_a_reason_by_an_admin() {
    let lab = Lab::with_tables(FAIR).await;
    at_the_gates(&lab).await;
    let frozen = said(lab.remote("carol", Role::Approver, &["resume", "1"]).await);
    assert_eq!(frozen.status, Some(1));
    assert!(frozen.stderr.contains("everybody is out"), "{frozen}");
    let over = ["resume", "1", "--override-freeze", "the shop is down"];
    let refused = said(lab.remote("carol", Role::Approver, &over).await);
    assert!(
        refused.stderr.contains("requires the role admin"),
        "{refused}"
    );
    let task = lab.server.store.task(1).await.unwrap();
    assert_eq!(task.work.unwrap().held_hosts.len(), 3, "nobody went on");
    holds(
        lab.local(&over)
            .stdout("task 1 is exempted from the freeze; it is running\n"),
    );
    let task = lab.server.store.task(1).await.unwrap();
    assert_eq!(task.freeze_override.map(|said| said.by), Some(me()));
    assert!(task.work.unwrap().held_hosts.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn timed_pause_states_its_end() {
    let lab = Lab::new().await;
    let task = lab.server.proposed("release-1").await;
    let hour = |plan: &mut tagship::domain::plan::Plan| plan.pause_timeout_s = Some(90 * 60);
    let task = lab.server.landed_with(&task, hour).await;
    let task = lab.server.approve(&task).await;
    let task = lab.server.start_work(&task).await;
    let gate = Event::Paused(Pause::Gate { stage: 2 });
    lab.server
        .append(&task, vec![ended(at(1, 1, 0), staged()), gate])
        .await;
    // It is 16:00 in Berlin.
    let shown = said(lab.local(&["show", "1"])).stdout;
    let line = shown.lines().find(|line| line.contains("unless resumed"));
    assert!(line.is_some_and(|line| line.contains("17:30")), "{shown}");
    let json = said(lab.local(&["show", "1", "--json"])).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["pause_ends_at"], "2026-11-21T16:30:00Z");
    // Its former name still works.
    said(lab.local(&["go", "1"]));
    let json = said(lab.local(&["show", "1", "--json"])).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["pause_ends_at"], serde_json::Value::Null);
}
