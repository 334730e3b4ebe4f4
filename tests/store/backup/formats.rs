//! Stores and backups of every former version open, with the same content.

use std::fs;
use std::path::PathBuf;

use tagship::domain::task::Recorded;
use tagship::store::Store;
use tagship::store::backup::restore::ExistingStore;

use super::{back_up, directory, next_day, open, restored, submission, tasks};

/// The fixture of the present format; those of all former formats stay.
const FIXTURE: &str = "tests/fixtures/store-1";

/// Possible histories of a task, as stored.
fn histories() -> Vec<Vec<Recorded>> {
    let proposed = serde_json::to_value(submission(0, 7)).unwrap();
    let histories = serde_json::json!([
        [],
        [{ "event": "joined", "submitter": "bob" },
         { "event": "withdrawn", "by": "alice", "reason": "wrong tag" }],
        [{ "event": "expired", "reason": "the tag never showed up" }],
        [{ "event": "landed", "commit": "3f2a9c1".repeat(6).get(..40), "description": "",
           "terms": { "plan": "ab".repeat(32), "approvals": [], "self_approval": false } },
         { "event": "due" },
         { "event": "claimed", "fence": 1_700_000_000_000_u64 },
         { "event": "started", "release": "20261121-160314-3f2a9c1" },
         { "event": "began", "at": { "stage": 0, "host": 65535, "step": 0 }, "attempt": 1 },
         { "event": "ended", "at": { "stage": 0, "host": 65535, "step": 0 },
           "result": { "result": "failed", "message": "the disk is full" } },
         { "event": "finished", "outcome": "failed", "message": "the disk is full" }],
    ]);
    let recorded = |mut event: serde_json::Value| -> Recorded {
        event["time"] = "2026-11-21T15:00:00Z".into();
        serde_json::from_value(event).unwrap()
    };
    let histories = histories.as_array().unwrap().iter().enumerate();
    histories
        .map(|(number, events)| {
            let mut first = proposed.clone();
            first["event"] = "proposed".into();
            first["object"] = format!("{number:040x}").into();
            let events = events.as_array().unwrap().iter().cloned();
            std::iter::once(first).chain(events).map(recorded).collect()
        })
        .collect()
}

/// Every task with its events, as JSON.
async fn written(store: &Store) -> serde_json::Value {
    let mut all = Vec::new();
    for (id, task) in tasks(store).await {
        let events = store.events(id).await.unwrap();
        all.push(serde_json::json!({
            "id": id, "state": task.state.name(), "events": events,
        }));
    }
    all.into()
}

/// Writes the fixture of the present format: `cargo test --test store backup:: -- --ignored make_fixture`,
/// once, when the format has changed.
#[tokio::test]
#[ignore = "writes tests/fixtures"]
async fn make_fixture() {
    let dir = directory();
    let store = open(dir.path()).await;
    for events in histories() {
        let (first, rest) = events.split_at(1);
        let task = store.begin(first.to_vec()).await.unwrap();
        if !rest.is_empty() {
            store.append(&task, rest.to_vec()).await.unwrap();
        }
    }
    let backup = PathBuf::from(format!("{FIXTURE}.backup"));
    fs::create_dir_all(backup.parent().unwrap()).unwrap();
    back_up(&store, dir.path(), &backup).await.unwrap();
    let text = serde_json::to_string_pretty(&written(&store).await).unwrap();
    fs::write(format!("{FIXTURE}.json"), text + "\n").unwrap();
    drop(store);
    let packed = std::process::Command::new("tar")
        .arg("-C")
        .arg(dir.path())
        .args(["-czf", &format!("{FIXTURE}.tar.gz"), "store"])
        .status();
    assert!(packed.unwrap().success());
}

/// Whether everything of `then` exists in `now`; fields may have been added since.
fn holds(now: &serde_json::Value, then: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Object};
    match (now, then) {
        (Object(now), Object(then)) => then
            .iter()
            // A value that was `null` then may be left out now.
            .all(|(key, then)| now.get(key).map_or(then.is_null(), |now| holds(now, then))),
        (Array(now), Array(then)) => {
            now.len() == then.len() && now.iter().zip(then).all(|(now, then)| holds(now, then))
        }
        (now, then) => now == then,
    }
}

/// All formats, by their fixtures.
fn fixtures() -> Vec<PathBuf> {
    let fixtures = fs::read_dir("tests/fixtures").unwrap();
    let fixtures = fixtures.map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<_> = fixtures
        .filter(|path| path.extension() == Some("json".as_ref()))
        .collect();
    fixtures.sort();
    assert!(!fixtures.is_empty());
    fixtures
}

#[tokio::test]
async fn a_store_of_every_former_format_opens_as_it_was() {
    for fixture in fixtures() {
        let then: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&fixture).unwrap()).unwrap();
        let dir = directory();
        let unpacked = std::process::Command::new("tar")
            .arg("-C")
            .arg(dir.path())
            .arg("-xzf")
            .arg(fs::canonicalize(fixture.with_extension("tar.gz")).unwrap())
            .status();
        assert!(unpacked.unwrap().success());
        let store = open(dir.path()).await;
        let now = written(&store).await;
        assert!(holds(&now, &then), "{}: {now:#}", fixture.display());
        // And it continues from there.
        let next = store.propose(submission(3, 3), None, next_day()).await;
        assert_eq!(next.unwrap().id(), 5);
    }
}

#[tokio::test]
async fn backup_of_every_former_format_restores_completely() {
    for fixture in fixtures() {
        let then: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&fixture).unwrap()).unwrap();
        let dir = directory();
        let backup = fixture.with_extension("backup");
        let done = restored(&backup, dir.path(), ExistingStore::Refuse)
            .await
            .unwrap();
        assert_eq!(done.held, [1]);
        let now = written(&open(dir.path()).await).await;
        // The first task was held: it has one event more.
        assert!(
            holds(&now[1], &then[1]) && holds(&now[3], &then[3]),
            "{now:#}"
        );
        assert_eq!(now[0]["state"], "withdrawn");
    }
}
