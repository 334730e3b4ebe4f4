//! The guarantees of every storage engine, tested on each; and random histories, on which the
//! engine on disk and the one in memory must agree.

mod large;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use proptest::prelude::*;
use tagship::store::kv::{
    COMMIT_BYTES_MAX, Commit, CommitError, KEY_BYTES_MAX, KeyChange, KeyVersion, KeyWrite, Kv,
    OPERATIONS_MAX, PAGE_ROWS_MAX, Range, Require, Revision, Row, RowPage, StoredValue, TooLarge,
    Update, VALUE_BYTES_MAX, WatchEnd, all_rows,
};
use tagship::store::memory::MemoryKv;
use tagship::store::sled::SledKv;

const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// After this time a commit counts as blocked forever.
const HELD_UP: Duration = Duration::from_secs(60);

fn on_disk(dir: &Path) -> Arc<SledKv> {
    Arc::new(SledKv::open(dir, CACHE_BYTES).unwrap())
}

/// Runs each function as a test against each engine.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Arc::new(super::MemoryKv::new())).await;
            })*
        }
        mod sled {
            $(#[tokio::test]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(super::on_disk(dir.path())).await;
            })*
        }
    };
}

promises!(
    written_values_are_read_back,
    a_version_is_the_revision_of_the_last_write,
    commit_is_atomic,
    failed_commit_requirement_is_named,
    rewritten_deleted_key_has_a_new_version,
    a_commit_without_writes_only_checks,
    size_limits_are_inclusive,
    a_long_value_is_replaced_by_a_short_one_and_back,
    a_range_is_paged_in_both_directions,
    a_range_keeps_to_its_prefix,
    a_page_is_bounded,
    watch_yields_each_commit_once_in_order,
    a_watch_begins_after_its_revision,
    watch_that_fell_behind_reports_lag,
    watch_from_a_future_revision_reports_lag,
    a_watch_ends_with_its_engine,
    a_snapshot_stays_at_its_revision,
    concurrent_commits_on_one_version_admit_one,
    unpolled_reader_blocks_no_commit,
);

fn put(key: &str, value: &str) -> Commit {
    Commit::new().put(key, value)
}

async fn value(kv: &dyn Kv, key: &str) -> Option<String> {
    let entry = kv.get(key.as_bytes()).await.unwrap();
    entry.map(|entry| String::from_utf8(entry.value).unwrap())
}

fn keys(page: &RowPage) -> Vec<&str> {
    let rows = page.rows.iter();
    rows.map(|row| std::str::from_utf8(&row.key).unwrap())
        .collect()
}

async fn written_values_are_read_back(kv: Arc<dyn Kv>) {
    assert_eq!(kv.get(b"a").await.unwrap(), None);
    let revision = kv.commit(put("a", "one").put("b", "two")).await.unwrap();
    assert_eq!(revision, Revision(1));
    let entry = StoredValue {
        value: b"one".to_vec(),
        version: KeyVersion(1),
    };
    assert_eq!(kv.get(b"a").await.unwrap(), Some(entry));
    kv.commit(Commit::new().delete("a")).await.unwrap();
    assert_eq!(kv.get(b"a").await.unwrap(), None);
    assert_eq!(value(&*kv, "b").await.as_deref(), Some("two"));
}

async fn a_version_is_the_revision_of_the_last_write(kv: Arc<dyn Kv>) {
    kv.commit(put("a", "1").put("b", "1")).await.unwrap();
    let second = kv.commit(put("a", "2")).await.unwrap();
    let version = |entry: Option<StoredValue>| entry.unwrap().version;
    assert_eq!(version(kv.get(b"a").await.unwrap()), second.into());
    assert_eq!(version(kv.get(b"b").await.unwrap()), KeyVersion(1));
    let page = kv.range(Range::prefix("")).await.unwrap();
    assert_eq!(page.revision, second);
}

async fn commit_is_atomic(kv: Arc<dyn Kv>) {
    kv.commit(put("a", "1")).await.unwrap();
    let half = put("b", "x")
        .delete("a")
        .require("b", Require::Absent)
        .require("c", Require::Version(KeyVersion(1)));
    let refused = kv.commit(half).await.unwrap_err();
    assert_eq!(refused, CommitError::Conflict { key: "c".into() });
    assert_eq!(value(&*kv, "a").await.as_deref(), Some("1"));
    assert_eq!(value(&*kv, "b").await, None);
    let revision = kv.commit(put("d", "1")).await.unwrap();
    assert_eq!(revision, Revision(2), "a refused commit takes no revision");
}

async fn failed_commit_requirement_is_named(kv: Arc<dyn Kv>) {
    kv.commit(put("a", "1").put("b", "1")).await.unwrap();
    let absent = put("x", "1").require("a", Require::Absent);
    let refused = kv.commit(absent).await.unwrap_err();
    assert_eq!(refused, CommitError::Conflict { key: "a".into() });
    let both = put("x", "1")
        .require("a", Require::Version(KeyVersion(1)))
        .require("b", Require::Version(KeyVersion(7)));
    let refused = kv.commit(both).await.unwrap_err();
    assert_eq!(refused, CommitError::Conflict { key: "b".into() });
}

async fn rewritten_deleted_key_has_a_new_version(kv: Arc<dyn Kv>) {
    let first = kv.commit(put("a", "1")).await.unwrap();
    kv.commit(Commit::new().delete("a")).await.unwrap();
    kv.commit(put("a", "1").require("a", Require::Absent))
        .await
        .unwrap();
    let stale = put("a", "2").require("a", Require::Version(first.into()));
    let refused = kv.commit(stale).await.unwrap_err();
    assert_eq!(refused, CommitError::Conflict { key: "a".into() });
}

async fn a_commit_without_writes_only_checks(kv: Arc<dyn Kv>) {
    let revision = kv.commit(put("a", "1")).await.unwrap();
    let holds = Commit::new().require("a", Require::Version(revision.into()));
    assert_eq!(kv.commit(holds).await.unwrap(), revision);
    let fails = Commit::new().require("a", Require::Absent);
    assert!(matches!(
        kv.commit(fails).await,
        Err(CommitError::Conflict { .. })
    ));
    let next = kv.commit(Commit::new().delete("nothing")).await.unwrap();
    assert_eq!(next, Revision(2), "a deletion of nothing is a write");
}

async fn size_limits_are_inclusive(kv: Arc<dyn Kv>) {
    let many =
        |count: usize| (0..count).fold(Commit::new(), |commit, n| commit.put(format!("k{n}"), "v"));
    kv.commit(many(OPERATIONS_MAX)).await.unwrap();
    let refused = kv
        .commit(many(OPERATIONS_MAX).require("z", Require::Absent))
        .await;
    assert_eq!(
        refused,
        Err(TooLarge::Operations(OPERATIONS_MAX + 1).into())
    );

    let long = |bytes: usize| Commit::new().put("long", vec![b'x'; bytes]);
    kv.commit(long(VALUE_BYTES_MAX)).await.unwrap();
    let refused = kv.commit(long(VALUE_BYTES_MAX + 1)).await;
    assert_eq!(
        refused,
        Err(TooLarge::Value("long".into(), VALUE_BYTES_MAX + 1).into())
    );
    assert_eq!(
        kv.get(b"long").await.unwrap().unwrap().value.len(),
        VALUE_BYTES_MAX
    );

    let four = |fourth: usize| {
        let commit = (0..3).fold(Commit::new(), |commit, n| {
            commit.put(vec![n], vec![0; VALUE_BYTES_MAX])
        });
        commit.put(vec![3], vec![0; fourth])
    };
    let rest = COMMIT_BYTES_MAX - 3 * VALUE_BYTES_MAX - 4;
    kv.commit(four(rest)).await.unwrap();
    let refused = kv.commit(four(rest + 1)).await;
    assert_eq!(refused, Err(TooLarge::Commit(COMMIT_BYTES_MAX + 1).into()));

    kv.commit(Commit::new().put(vec![b'k'; KEY_BYTES_MAX], "v"))
        .await
        .unwrap();
    for length in [0, KEY_BYTES_MAX + 1] {
        let key = vec![b'k'; length];
        for commit in [
            Commit::new().put(key.clone(), "v"),
            Commit::new().delete(key.clone()),
            Commit::new().require(key.clone(), Require::Absent),
        ] {
            let refused = kv.commit(commit).await.unwrap_err();
            assert!(matches!(refused, CommitError::TooLarge(TooLarge::Key(..))));
        }
    }
}

async fn a_long_value_is_replaced_by_a_short_one_and_back(kv: Arc<dyn Kv>) {
    for bytes in [10_000, 4096, 4097, 0, 131_072, 8192, 1] {
        let value: Vec<u8> = (0..bytes).map(|n| n as u8).collect();
        kv.commit(Commit::new().put("a", value.clone()))
            .await
            .unwrap();
        assert_eq!(kv.get(b"a").await.unwrap().unwrap().value, value);
        let page = kv.range(Range::prefix("")).await.unwrap();
        assert_eq!(page.rows.len(), 1);
        assert_eq!(page.rows[0].value, value);
    }
    kv.commit(Commit::new().put("a", vec![7; 20_000]))
        .await
        .unwrap();
    kv.commit(Commit::new().delete("a")).await.unwrap();
    assert_eq!(all_rows(&*kv, b"").await.unwrap(), []);
}

async fn a_range_is_paged_in_both_directions(kv: Arc<dyn Kv>) {
    for key in ["p/1", "p/2", "p/3", "p/4", "p/5", "q/1"] {
        kv.commit(put(key, key)).await.unwrap();
    }
    let first = kv.range(Range::prefix("p/").limit(2)).await.unwrap();
    assert_eq!((keys(&first), first.more), (vec!["p/1", "p/2"], true));
    let second = kv
        .range(Range::prefix("p/").after("p/2").limit(3))
        .await
        .unwrap();
    assert_eq!(
        (keys(&second), second.more),
        (vec!["p/3", "p/4", "p/5"], false)
    );
    let last = kv
        .range(Range::prefix("p/").descending().limit(2))
        .await
        .unwrap();
    assert_eq!((keys(&last), last.more), (vec!["p/5", "p/4"], true));
    let before = Range::prefix("p/").descending().after("p/4").limit(9);
    let before = kv.range(before).await.unwrap();
    assert_eq!(
        (keys(&before), before.more),
        (vec!["p/3", "p/2", "p/1"], false)
    );
}

async fn a_range_keeps_to_its_prefix(kv: Arc<dyn Kv>) {
    for key in [
        &b"a"[..],
        b"a\xff",
        b"a\xff\xff",
        b"b",
        b"\xff",
        b"\xff\xff",
    ] {
        kv.commit(Commit::new().put(key, "v")).await.unwrap();
    }
    let count = async |range: Range| kv.range(range).await.unwrap().rows.len();
    assert_eq!(count(Range::prefix("")).await, 6);
    assert_eq!(count(Range::prefix("a")).await, 3);
    assert_eq!(count(Range::prefix("a\u{0}")).await, 0);
    assert_eq!(count(Range::prefix(&b"a\xff"[..])).await, 2);
    assert_eq!(count(Range::prefix(&b"\xff"[..])).await, 2);
    // A cursor outside the prefix: all of it, or nothing.
    assert_eq!(count(Range::prefix("a").after("A")).await, 3);
    assert_eq!(count(Range::prefix("a").after("b")).await, 0);
    assert_eq!(count(Range::prefix("a").after("c")).await, 0);
    assert_eq!(count(Range::prefix("a").descending().after("b")).await, 3);
    assert_eq!(count(Range::prefix("a").descending().after("c")).await, 3);
    assert_eq!(count(Range::prefix("a").descending().after("a")).await, 0);
    assert_eq!(count(Range::prefix("a").descending().after("A")).await, 0);
    let nothing = kv.range(Range::prefix("a").limit(0)).await.unwrap();
    assert_eq!((nothing.rows.len(), nothing.more), (0, true));
}

async fn a_page_is_bounded(kv: Arc<dyn Kv>) {
    for hundred in 0..11 {
        let commit = (0..100).fold(Commit::new(), |commit, n| {
            commit.put(format!("n/{hundred:02}{n:02}"), "v")
        });
        kv.commit(commit).await.unwrap();
    }
    let page = kv
        .range(Range::prefix("n/").limit(usize::MAX))
        .await
        .unwrap();
    assert_eq!((page.rows.len(), page.more), (PAGE_ROWS_MAX, true));
    assert_eq!(all_rows(&*kv, b"n/").await.unwrap().len(), 1100);
    for n in 0..40 {
        let large = Commit::new().put(format!("l/{n:02}"), vec![0; VALUE_BYTES_MAX]);
        kv.commit(large).await.unwrap();
    }
    let page = kv.range(Range::prefix("l/")).await.unwrap();
    assert_eq!((page.rows.len(), page.more), (32, true));
    assert_eq!(all_rows(&*kv, b"l/").await.unwrap().len(), 40);
}

fn update(revision: u64, changes: &[(&str, Option<&str>)]) -> Update {
    let change = |(key, value): &(&str, Option<&str>)| KeyChange {
        key: (*key).into(),
        write: value.map_or(KeyWrite::Delete, |value| KeyWrite::Put(value.into())),
    };
    Update {
        revision: Revision(revision),
        changes: changes.iter().map(change).collect(),
    }
}

async fn watch_yields_each_commit_once_in_order(kv: Arc<dyn Kv>) {
    let mut watch = kv.watch(b"p/", Revision(0));
    let waiting = tokio::spawn(async move {
        let first = watch.next().await;
        (first, watch)
    });
    kv.commit(put("q/1", "no")).await.unwrap();
    kv.commit(put("p/2", "b").put("p/1", "a").put("q/1", "no"))
        .await
        .unwrap();
    let (first, mut watch) = waiting.await.unwrap();
    assert_eq!(
        first,
        Ok(update(2, &[("p/1", Some("a")), ("p/2", Some("b"))]))
    );
    kv.commit(Commit::new().delete("p/1").delete("p/9"))
        .await
        .unwrap();
    kv.commit(put("p/3", "c")).await.unwrap();
    assert_eq!(watch.next().await, Ok(update(3, &[("p/1", None)])));
    assert_eq!(watch.next().await, Ok(update(4, &[("p/3", Some("c"))])));
}

async fn a_watch_begins_after_its_revision(kv: Arc<dyn Kv>) {
    for value in ["1", "2", "3"] {
        kv.commit(put("a", value)).await.unwrap();
    }
    let mut watch = kv.watch(b"", Revision(2));
    assert_eq!(watch.next().await, Ok(update(3, &[("a", Some("3"))])));
}

async fn watch_that_fell_behind_reports_lag(kv: Arc<dyn Kv>) {
    let mut slow = kv.watch(b"", Revision(0));
    for _ in 0..17 {
        let large = Commit::new().put("a", vec![0; VALUE_BYTES_MAX]);
        kv.commit(large).await.unwrap();
    }
    assert_eq!(slow.next().await, Err(WatchEnd::Lagged));
    // What a caller does then: read, and watch after the read revision.
    let page = kv.range(Range::prefix("")).await.unwrap();
    let mut resumed = kv.watch(b"", page.revision);
    kv.commit(put("b", "1")).await.unwrap();
    assert_eq!(resumed.next().await, Ok(update(18, &[("b", Some("1"))])));
}

async fn watch_from_a_future_revision_reports_lag(kv: Arc<dyn Kv>) {
    let mut watch = kv.watch(b"", Revision(9));
    assert_eq!(watch.next().await, Err(WatchEnd::Lagged));
}

async fn a_watch_ends_with_its_engine(kv: Arc<dyn Kv>) {
    let mut watch = kv.watch(b"", Revision(0));
    kv.commit(put("a", "1")).await.unwrap();
    drop(kv);
    assert_eq!(watch.next().await, Ok(update(1, &[("a", Some("1"))])));
    assert_eq!(watch.next().await, Err(WatchEnd::Closed));
}

async fn a_snapshot_stays_at_its_revision(kv: Arc<dyn Kv>) {
    for n in 0..700 {
        kv.commit(put(&format!("k{n:03}"), "old")).await.unwrap();
    }
    let before = all_rows(&*kv, b"").await.unwrap();
    let mut snapshot = kv.snapshot().await.unwrap();
    assert_eq!(snapshot.revision, Revision(700));
    let mut read = vec![snapshot.rows.next().await.unwrap().unwrap()];
    // Behind the reader, ahead of it, between, beyond the end; put, deleted, put again.
    for key in ["k000", "k300", "k0005", "k300x", "k699", "z"] {
        kv.commit(put(key, "new")).await.unwrap();
    }
    kv.commit(Commit::new().delete("k001").delete("k500").delete("k699"))
        .await
        .unwrap();
    for n in 0..300 {
        read.push(snapshot.rows.next().await.unwrap().unwrap());
        kv.commit(put(&format!("k{:03}", (n * 7) % 700), "newer"))
            .await
            .unwrap();
    }
    kv.commit(put("k500", "again").put("k600", "again"))
        .await
        .unwrap();
    read.extend(snapshot.rows.try_collect::<Vec<Row>>().await.unwrap());
    assert_eq!(read.len(), before.len());
    assert!(read == before);
}

async fn concurrent_commits_on_one_version_admit_one(kv: Arc<dyn Kv>) {
    let revision = kv.commit(put("a", "0")).await.unwrap();
    let racers = (0..20).map(|n| {
        let kv = Arc::clone(&kv);
        let require = Require::Version(revision.into());
        let commit = put("a", &n.to_string()).require("a", require);
        tokio::spawn(async move { kv.commit(commit).await })
    });
    let results = futures::future::join_all(racers).await;
    let won = results
        .iter()
        .filter(|result| result.as_ref().unwrap().is_ok());
    assert_eq!(won.count(), 1);
}

/// One step of a random history. There are few keys, so that histories overlap.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(u8, u16, Option<usize>)>),
    Range(Vec<u8>, Option<Vec<u8>>, bool, usize),
    Reopen,
}

/// The executor waits for one answer of the store while it polls none of its other futures.
async fn unpolled_reader_blocks_no_commit(kv: Arc<dyn Kv>) {
    let mut readers = Vec::new();
    for number in 0..100 {
        let commits = (0..3).map(|place| {
            let kv = Arc::clone(&kv);
            let commit = put(&format!("k{place}"), &number.to_string());
            tokio::spawn(async move { kv.commit(commit).await })
        });
        let commits: Vec<_> = commits.collect();
        for _ in 0..3 {
            tokio::task::yield_now().await;
            let mut page = kv.range(Range::prefix("k"));
            let mut entry = kv.get(b"k0");
            let mut snapshot = kv.snapshot();
            let _ = futures::poll!(&mut page);
            let _ = futures::poll!(&mut entry);
            let _ = futures::poll!(&mut snapshot);
            // The future is kept after one poll, and never polled again.
            readers.push((page, entry, snapshot));
        }
        for commit in commits {
            let commit = tokio::time::timeout(HELD_UP, commit).await;
            let commit = commit.expect("a reader that is not polled holds up the writer");
            commit.unwrap().unwrap();
        }
    }
    assert_eq!(value(&*kv, "k2").await.as_deref(), Some("99"));
}

/// A key of three letters, or a very long one, or one at the end of all keys. The store's keys are
/// text: no byte of theirs is 0xff, at a row of which sled's descending ranges panic ("unreachable
/// code" at a node whose first key begins with five of them).
fn key(number: u8) -> Vec<u8> {
    match number % 8 {
        6 => vec![b'm'; 300 + usize::from(number)],
        7 => "\u{10ffff}"
            .repeat(1 + usize::from(number / 8))
            .into_bytes(),
        _ => [b"ab", b"ba"][usize::from(number % 2)]
            .iter()
            .copied()
            .chain([number])
            .collect(),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let write = (
        0..120_u8,
        any::<u16>(),
        prop::option::weighted(0.8, 0..9000_usize),
    );
    let prefix = prop::collection::vec(prop::sample::select(&b"abm\xf4"[..]), 0..3);
    prop_oneof![
        12 => prop::collection::vec(write, 0..40).prop_map(Step::Commit),
        4 => (prefix, prop::option::of(0..120_u8), any::<bool>(), 0..20_usize)
            .prop_map(|(prefix, after, descending, limit)| {
                Step::Range(prefix, after.map(key), descending, limit)
            }),
        1 => Just(Step::Reopen),
    ]
}

/// The commit of a step of a history: its condition mostly holds, sometimes not.
fn to_commit(writes: &[(u8, u16, Option<usize>)], existing: &[(Vec<u8>, KeyVersion)]) -> Commit {
    writes
        .iter()
        .fold(Commit::new(), |commit, (number, dice, bytes)| {
            let key = key(*number);
            let found = existing.iter().find(|(existing, _)| *existing == key);
            let require = match (dice % 50, found) {
                (0, _) => Some(Require::Absent),
                (1, _) => Some(Require::Version(KeyVersion(u64::from(*dice % 7)))),
                (2..20, Some((_, version))) => Some(Require::Version(*version)),
                (2..20, None) => Some(Require::Absent),
                _ => None,
            };
            let commit = match require {
                Some(require) => commit.require(key.clone(), require),
                None => commit,
            };
            match bytes {
                Some(bytes) => commit.put(key, vec![*dice as u8; *bytes]),
                None => commit.delete(key),
            }
        })
}

async fn agree(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let twin = MemoryKv::new();
    let mut disk = Some(on_disk(dir.path()));
    for step in steps {
        let engine = disk.as_ref().unwrap();
        match step {
            Step::Commit(writes) => {
                let rows = all_rows(&twin, b"").await.unwrap();
                let existing: Vec<_> = rows.into_iter().map(|row| (row.key, row.version)).collect();
                let commit = to_commit(&writes, &existing);
                assert_eq!(
                    twin.commit(commit.clone()).await,
                    engine.commit(commit).await
                );
            }
            Step::Range(prefix, after, descending, limit) => {
                let mut range = Range::prefix(prefix).limit(limit);
                range.after = after;
                if descending {
                    range = range.descending();
                }
                let expected = twin.range(range.clone()).await.unwrap();
                assert_eq!(expected, engine.range(range).await.unwrap());
            }
            Step::Reopen => {
                drop(disk.take());
                disk = Some(on_disk(dir.path()));
            }
        }
    }
    let engine = disk.unwrap();
    let expected = all_rows(&twin, b"").await.unwrap();
    assert!(expected == all_rows(&*engine, b"").await.unwrap());
    let snapshot = engine.snapshot().await.unwrap();
    assert!(expected == snapshot.rows.try_collect::<Vec<Row>>().await.unwrap());
    let blobs = std::fs::read_dir(dir.path().join("blobs")).unwrap().count();
    assert_eq!(blobs, 0, "no page may become a file that is not synced");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn engines_on_disk_and_in_memory_agree(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(agree(steps));
    }
}
