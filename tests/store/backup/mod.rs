//! Backups of a store under writes, one after another, and the restore of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use jiff::Timestamp;
use tagship::domain::task::{Event, Pause, Recorded, State, StateName, Submission, Task};
use tagship::engine::executor::effects::StepLogs as _;
use tagship::store::backup::file::{BackupCounts, BackupReader, Header};
use tagship::store::backup::restore::{
    ExistingStore, RestoreError, RestoreReport, RestoreRequest, restore,
};
use tagship::store::backup::{self, LogInclusion};
use tagship::store::kv::{Commit, all_rows};
use tagship::store::log::LogBook;
use tagship::store::sled::SledKv;
use tagship::store::{Filter, Store};
use tokio::sync::watch;

mod durability;
mod formats;

const CACHE_BYTES: u64 = 8 * 1024 * 1024;
const CLIENTS: usize = 16;
const BACKUPS: usize = 5;

/// In memory if possible: another test covers power cuts.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn now() -> Timestamp {
    "2026-11-21T15:00:00Z".parse().unwrap()
}

/// The backups are restored a day later.
fn next_day() -> Timestamp {
    "2026-11-22T15:00:00Z".parse().unwrap()
}

fn submission(client: usize, number: usize) -> Submission {
    let submission = serde_json::json!({
        "origin": { "kind": "tag", "rule": "qa-" },
        "project": format!("shop{}", client % 5),
        "environment": "qa",
        "repository": "shop.git",
        "reference": format!("refs/tags/qa-{client}-{number}"),
        "object": format!("{client:020x}{number:020x}"),
        "template": "git-release",
        "schedule": "ready",
        "submitter": { "name": "alice" },
        "supersede": "never",
        "parameters": { "text": "x".repeat(number * 97 % 6000) },
    });
    serde_json::from_value(submission).unwrap()
}

fn at(event: Event) -> Recorded {
    Recorded { time: now(), event }
}

async fn open(dir: &Path) -> Store {
    let kv = SledKv::open(&dir.join("store"), CACHE_BYTES).unwrap();
    Store::open(Arc::new(kv)).await.unwrap()
}

/// Writes a backup as it arrives; the file is valid only if all of it arrived.
async fn back_up(store: &Store, data_dir: &Path, file: &Path) -> Result<BackupCounts, String> {
    let logs = LogBook::new(data_dir.join("logs"));
    let mut chunks = backup::stream(store.kv(), logs, LogInclusion::Included, now());
    let mut written = fs::File::create(file).unwrap();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| error.to_string())?;
        written.write_all(&chunk).unwrap();
    }
    drop(written);
    read(file).map(|(_, counts)| counts)
}

fn read(file: &Path) -> Result<(Header, BackupCounts), String> {
    let reader =
        BackupReader::new(fs::File::open(file).unwrap()).map_err(|error| error.to_string())?;
    let header = reader.header().clone();
    let counts = reader.verify().map_err(|error| error.to_string())?;
    Ok((header, counts))
}

async fn restored(
    file: &Path,
    data_dir: &Path,
    former: ExistingStore,
) -> Result<RestoreReport, RestoreError> {
    restore(RestoreRequest {
        file,
        data_dir,
        store: &data_dir.join("store"),
        former,
        next_id: None,
        now: next_day(),
    })
    .await
}

/// By client: how many of its tasks were acknowledged as durable.
#[derive(Clone)]
struct Acknowledged {
    ids: Arc<Mutex<BTreeMap<usize, Vec<u64>>>>,
    count: watch::Sender<usize>,
}

impl Acknowledged {
    fn nothing() -> Self {
        Self {
            ids: Arc::default(),
            count: watch::Sender::new(0),
        }
    }

    fn add(&self, client: usize, id: u64) {
        self.ids.lock().unwrap().entry(client).or_default().push(id);
        self.count.send_modify(|count| *count += 1);
    }

    fn now(&self) -> BTreeMap<usize, Vec<u64>> {
        self.ids.lock().unwrap().clone()
    }

    async fn more(&self) {
        let seen = *self.count.borrow();
        let mut count = self.count.subscribe();
        count.wait_for(|now| *now > seen + CLIENTS).await.unwrap();
    }
}

/// Each client proposes tasks, one after another, and withdraws every second one.
async fn client(
    store: Store,
    logs: LogBook,
    client: usize,
    confirmed: Acknowledged,
    end: Arc<AtomicBool>,
) {
    for number in 0.. {
        if end.load(Ordering::SeqCst) {
            return;
        }
        let proposed = store.propose(submission(client, number), None, now());
        let id = proposed.await.unwrap().id();
        logs.step(id, "agent", "landing", 1).line("looked for it");
        if number % 2 == 1 {
            let task = store.task(id).await.unwrap();
            let event = at(Event::Withdrawn {
                by: "alice".to_owned(),
                reason: "wrong tag".to_owned(),
            });
            store.append(&task, vec![event]).await.unwrap();
        }
        confirmed.add(client, id);
    }
}

/// The tasks of each client, by their tags.
async fn tasks(store: &Store) -> BTreeMap<u64, Task> {
    let heads = store.list(&Filter::default(), None, usize::MAX).await;
    let mut tasks = BTreeMap::new();
    for head in heads.unwrap() {
        let task = store.task(head.id).await.unwrap();
        assert_eq!(head.state, task.state.name(), "{}", head.id);
        assert_eq!(head.events, task.events, "{}", head.id);
        tasks.insert(head.id, task);
    }
    tasks
}

/// Everything acknowledged before the backup began exists; of later tasks the first ones.
async fn check(
    dir: &Path,
    done: &RestoreReport,
    confirmed: &BTreeMap<usize, Vec<u64>>,
    former: &Store,
) {
    let store = open(dir).await;
    let tasks = tasks(&store).await;
    for ids in confirmed.values() {
        for id in ids {
            assert!(tasks.contains_key(id), "task {id} was acknowledged before");
        }
    }
    let mut clients: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (id, task) in &tasks {
        let name = task.submission.reference.strip_prefix("refs/tags/qa-");
        let (client, number) = name.unwrap().split_once('-').unwrap();
        let numbers = clients.entry(client.to_owned()).or_default();
        numbers.insert(number.parse().unwrap());
        let events = store.events(*id).await.unwrap();
        let before = former.events(*id).await.unwrap();
        let held = matches!(&task.state, State::Withdrawn { by, .. } if by == "tagship restore");
        let own = events.len() - usize::from(held);
        assert_eq!(events[..own], before[..own], "task {id}");
        assert!(task.state.is_settled(), "task {id} is {}", task.state);
        assert_eq!(held, done.held.contains(id), "task {id}");
        assert!(*id < done.next_id);
    }
    for (client, numbers) in clients {
        let whole: BTreeSet<usize> = (0..numbers.len()).collect();
        assert_eq!(numbers, whole, "client {client} has a gap");
    }
    let (active, _) = store.active().await.unwrap();
    assert!(active.is_empty());
    let next = store.propose(submission(99, 0), None, next_day());
    assert_eq!(next.await.unwrap().id(), done.next_id);
    let fence = store.next_fence("2000-01-01T00:00:00Z".parse().unwrap());
    let held = u64::try_from(next_day().as_millisecond()).unwrap();
    assert!(fence.await.unwrap() > held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn backup_under_load_has_all_commits_acknowledged_before() {
    let dir = directory();
    let store = open(dir.path()).await;
    let logs = LogBook::new(dir.path().join("logs"));
    let confirmed = Acknowledged::nothing();
    let end = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let work = client(
                store.clone(),
                logs.clone(),
                number,
                confirmed.clone(),
                end.clone(),
            );
            tokio::spawn(work)
        })
        .collect();
    let mut backups = Vec::new();
    for number in 0..BACKUPS {
        confirmed.more().await;
        let before = confirmed.now();
        let file = dir.path().join(format!("backup-{number}"));
        back_up(&store, dir.path(), &file).await.unwrap();
        backups.push((file, before));
    }
    end.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let mut revisions = Vec::new();
    for (file, before) in backups {
        let (header, counts) = read(&file).unwrap();
        revisions.push(header.revision);
        let to = directory();
        let done = restored(&file, to.path(), ExistingStore::Refuse)
            .await
            .unwrap();
        assert_eq!(done.counts, counts);
        assert!(done.former.is_none());
        check(to.path(), &done, &before, &store).await;
        for id in before.values().flatten() {
            let log = to.path().join(format!("logs/{id}/agent/landing.1.notes"));
            assert_eq!(fs::read_to_string(log).unwrap(), "looked for it\n");
        }
    }
    assert!(
        revisions.is_sorted_by(|one, next| one < next),
        "{revisions:?}"
    );
}

/// A store with a few tasks and a log, and a backup of it.
async fn small() -> (tempfile::TempDir, PathBuf) {
    let dir = directory();
    let store = open(dir.path()).await;
    for number in 0..4 {
        store
            .propose(submission(0, number), None, now())
            .await
            .unwrap();
    }
    let session = Commit::new().put("session/abc", "{}");
    store.kv().commit(session).await.unwrap();
    let logs = LogBook::new(dir.path().join("logs"));
    logs.step(1, "web1", "sync", 1).write_at(0, b"sent\n");
    let file = dir.path().join("backup");
    back_up(&store, dir.path(), &file).await.unwrap();
    (dir, file)
}

#[tokio::test]
async fn existing_store_is_replaced_only_on_request_and_kept() {
    let (_dir, file) = small().await;
    let to = directory();
    let there = open(to.path()).await;
    there.propose(submission(7, 0), None, now()).await.unwrap();
    let held = restored(&file, to.path(), ExistingStore::KeepBeside).await;
    assert!(matches!(held, Err(RestoreError::Held { .. })), "{held:?}");
    let held = restored(&file, to.path(), ExistingStore::Refuse).await;
    assert!(matches!(held, Err(RestoreError::Held { .. })), "{held:?}");
    drop(there);
    let refused = restored(&file, to.path(), ExistingStore::Refuse).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, RestoreError::NotEmpty { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("--replace"));
    assert_eq!(tasks(&open(to.path()).await).await.len(), 1);

    let done = restored(&file, to.path(), ExistingStore::KeepBeside)
        .await
        .unwrap();
    let store = open(to.path()).await;
    assert_eq!(tasks(&store).await.len(), 4);
    // Users who were logged in then log in again.
    let sessions = all_rows(store.kv().as_ref(), b"session/").await.unwrap();
    assert!(sessions.is_empty());
    let mode = fs::metadata(to.path().join("store")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
    let former = open(&done.former.unwrap()).await;
    let former = tasks(&former).await;
    assert_eq!(former[&1].submission.reference, "refs/tags/qa-7-0");
    let left: BTreeSet<_> = fs::read_dir(to.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let wanted = ["logs", "replaced-20261122-150000", "store"].map(str::to_owned);
    assert_eq!(left, BTreeSet::from(wanted));
}

/// A task at its gate, or before its time, may have continued in the lost days.
#[tokio::test]
async fn restored_paused_task_is_resumed_only_by_a_person() {
    let begins = serde_json::json!([
        { "event": "landed", "commit": "3f2a9c1".repeat(6).get(..40), "description": "",
          "terms": { "plan": "ab".repeat(32), "approvals": [], "self_approval": false } },
        { "event": "due" },
        { "event": "claimed", "fence": 1_700_000_000_000_u64 },
        { "event": "started", "release": "20261121-160314-3f2a9c1" },
    ]);
    let pauses = serde_json::json!([
        { "event": "paused", "pause": "gate", "stage": 1 },
        { "event": "paused", "pause": "time", "until": "2026-11-23T15:00:00Z" },
        { "event": "paused", "pause": "host-failed", "message": "web1: exit 3" },
    ]);
    let recorded = |event: &serde_json::Value| -> Recorded {
        let mut event = event.clone();
        event["time"] = "2026-11-21T15:00:00Z".into();
        serde_json::from_value(event).unwrap()
    };
    let dir = directory();
    let store = open(dir.path()).await;
    let mut paused = Vec::new();
    for (number, pause) in pauses.as_array().unwrap().iter().enumerate() {
        let mut submission = submission(number, 0);
        submission.environment = format!("qa{number}");
        let id = store.propose(submission, None, now()).await.unwrap().id();
        for event in begins.as_array().unwrap().iter().chain([pause]) {
            let task = store.task(id).await.unwrap();
            store.append(&task, vec![recorded(event)]).await.unwrap();
        }
        paused.push((id, store.head(id).await.unwrap().detail));
    }
    let file = dir.path().join("backup");
    back_up(&store, dir.path(), &file).await.unwrap();
    drop(store);
    let elsewhere = directory();
    let done = restored(&file, elsewhere.path(), ExistingStore::Refuse)
        .await
        .unwrap();
    let store = open(elsewhere.path()).await;
    for (id, before) in paused {
        assert!(done.held.contains(&id));
        let head = store.head(id).await.unwrap();
        assert_eq!(head.state, StateName::Paused);
        for word in ["restored from a backup of ", &before] {
            assert!(head.detail.contains(word), "{word}: {}", head.detail);
        }
        let task = store.task(id).await.unwrap();
        for event in [
            Event::Due,
            Event::Continued {
                by: "bob".to_owned(),
                host: None,
            },
        ] {
            let appended = store.append(&task, vec![at(event)]).await;
            assert!(appended.is_err(), "{id}");
        }
        let asked = at(Event::RetryRequested {
            by: "bob".to_owned(),
        });
        assert_eq!(
            store.append(&task, vec![asked]).await.unwrap().state,
            State::Running
        );
    }
}

#[tokio::test]
async fn a_damaged_store_can_be_replaced() {
    let (_dir, file) = small().await;
    let to = directory();
    let store = open(to.path()).await;
    let proposed = store.propose(submission(7, 0), None, now());
    proposed.await.unwrap();
    drop(store);
    fs::write(to.path().join("store/db"), "nothing of a store").unwrap();
    let refused = restored(&file, to.path(), ExistingStore::Refuse).await;
    assert!(matches!(refused, Err(RestoreError::NotEmpty { .. })));
    restored(&file, to.path(), ExistingStore::KeepBeside)
        .await
        .unwrap();
    assert_eq!(tasks(&open(to.path()).await).await.len(), 4);
}

#[tokio::test]
async fn a_damaged_backup_changes_nothing() {
    let (_dir, file) = small().await;
    let whole = fs::read(&file).unwrap();
    for cut in [0, 10, whole.len() / 2, whole.len() - 1] {
        let to = directory();
        let damaged = to.path().join("damaged");
        fs::write(&damaged, &whole[..cut]).unwrap();
        let data = to.path().join("data");
        let refused = restored(&damaged, &data, ExistingStore::Refuse)
            .await
            .unwrap_err();
        assert!(matches!(refused, RestoreError::File { .. }), "{refused}");
        assert!(!data.exists(), "cut at {cut}");
    }
}

#[tokio::test]
async fn possibly_used_task_id_is_refused() {
    let (_dir, file) = small().await;
    let to = directory();
    fs::create_dir_all(to.path().join("logs/9")).unwrap();
    let wanted = |next_id| RestoreRequest {
        file: &file,
        data_dir: to.path(),
        store: Path::new(""),
        former: ExistingStore::Refuse,
        next_id: Some(next_id),
        now: next_day(),
    };
    let place = to.path().join("store");
    let mut asked = wanted(9);
    asked.store = &place;
    let refused = restore(asked).await.unwrap_err();
    assert!(
        refused.to_string().contains("next free one is 10"),
        "{refused}"
    );
    assert!(!place.exists());
    let mut asked = wanted(10);
    asked.store = &place;
    assert_eq!(restore(asked).await.unwrap().next_id, 10);
}

/// A task that resumes at its scheduled time may have resumed since the backup.
#[tokio::test]
async fn restored_agent_resumes_no_task_waiting_for_its_time() {
    let begun = serde_json::json!([
        { "event": "landed", "commit": "3f2a9c1".repeat(6).get(..40), "description": "",
          "terms": { "plan": "ab".repeat(32), "approvals": [], "self_approval": false },
          "waits": "gates" },
        { "event": "due" },
        { "event": "claimed", "fence": 1_700_000_000_000_u64 },
        { "event": "started", "release": "20261121-160314-3f2a9c1" }
    ]);
    let at_a_gate = serde_json::json!([
        { "event": "held", "at": { "stage": 0, "host": 0, "step": 0 }, "host": "web1",
          "gate": "hand" },
        { "event": "paused", "pause": "step-gate" }
    ]);
    let for_its_time = serde_json::json!([
        { "event": "paused", "pause": "time", "until": "2026-11-22T20:00:00Z" }
    ]);
    for (number, waits) in [at_a_gate, for_its_time].iter().enumerate() {
        let dir = directory();
        let store = open(dir.path()).await;
        let proposed = store.propose(submission(0, number), None, now());
        let mut task = store.task(proposed.await.unwrap().id()).await.unwrap();
        for events in [&begun, waits] {
            let events = events.as_array().unwrap().iter().cloned();
            let events = events.map(|mut event| {
                event["time"] = "2026-11-21T15:00:00Z".into();
                serde_json::from_value(event).unwrap()
            });
            task = store.append(&task, events.collect()).await.unwrap();
        }
        let file = dir.path().join("backup");
        back_up(&store, dir.path(), &file).await.unwrap();
        let new = directory();
        let done = restored(&file, new.path(), ExistingStore::Refuse)
            .await
            .unwrap();
        assert_eq!(done.held, [task.id]);
        let task = open(new.path()).await.task(task.id).await.unwrap();
        let State::Paused {
            why: Pause::Unknown { message },
        } = &task.state
        else {
            panic!("{:?}", task.state);
        };
        assert!(message.contains("restored from a backup"), "{message}");
    }
}
