//! The in-memory equivalent of the disk engine, for tests and simulation: the same conditions,
//! limits, revisions and watches, plus the failures of a disk. A commit can be made to fail, to
//! stay unconfirmed, or to be pending at a power cut ([`MemoryKv::crash`]). It uses no clock,
//! thread or disk, and is not for production.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::kv::{
    ChangeLog, Commit, CommitError, Key, KeyChange, KeyVersion, KeyWrite, Kv, KvError, Range,
    Revision, Row, RowPage, ScanOrder, Snapshot, StoredValue, Update, Watch,
};
use crate::base::mutex::lock;

/// The label passed to [`MemoryKv::on_commit`] for a commit.
pub const COMMIT_LABEL: &str = "store.commit";

/// The simulated fate of one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CommitFault {
    /// No fault.
    #[default]
    None,
    /// It fails before it is applied: [`CommitError::Failed`].
    Refuse,
    /// It is applied durably, and returns [`CommitError::Unknown`].
    UnknownApplied,
    /// It is not applied, and returns [`CommitError::Unknown`].
    UnknownLost,
    /// It is applied but not durable, and waits: [`MemoryKv::flush`] makes it durable,
    /// [`MemoryKv::crash`] drops it. A later commit that becomes durable includes it.
    Hold,
}

type FaultHook = Box<dyn Fn(&'static str) -> CommitFault + Send + Sync>;

/// An ordered map with the guarantees of [`Kv`].
pub struct MemoryKv {
    state: Mutex<MemoryState>,
    fault: Mutex<FaultHook>,
}

struct MemoryState {
    /// The rows that survive a crash.
    durable: Rows,
    revision: Revision,
    pending: Pending,
    changes: ChangeLog,
}

type Rows = BTreeMap<Key, StoredValue>;
type CommitReply = oneshot::Sender<Result<Revision, CommitError>>;

/// Commits that are applied but not durable, as a layer over the durable rows.
#[derive(Default)]
struct Pending {
    /// `None` if the key is deleted.
    versions: HashMap<Key, Option<KeyVersion>>,
    updates: Vec<Update>,
    /// The waiting callers, with the result once the layer is durable.
    held: Vec<(CommitReply, Result<Revision, CommitError>)>,
}

impl Default for MemoryKv {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryKv {
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Mutex::new(MemoryState {
                durable: Rows::new(),
                revision: Revision::default(),
                pending: Pending::default(),
                changes: ChangeLog::starting_at(Revision::default()),
            }),
            fault: Mutex::new(Box::new(|_| CommitFault::None)),
        }
    }

    /// Sets the function that decides the fate of each commit; called with [`COMMIT_LABEL`].
    pub fn on_commit(&self, fault: impl Fn(&'static str) -> CommitFault + Send + Sync + 'static) {
        *lock(&self.fault) = Box::new(fault);
    }

    /// Makes pending commits durable and answers their callers.
    pub fn flush(&self) {
        lock(&self.state).flush();
    }

    /// Simulates a power cut: pending commits are lost, their callers get [`CommitError::Unknown`],
    /// every watch ends.
    pub fn crash(&self) {
        lock(&self.state).crash();
    }

    /// Returns how many commits [`CommitFault::Hold`] keeps waiting.
    #[must_use]
    pub fn held(&self) -> usize {
        lock(&self.state).pending.held.len()
    }
}

/// The answer to a commit: now, or once it is durable.
enum CommitAnswer {
    Now(Result<Revision, CommitError>),
    Held(oneshot::Receiver<Result<Revision, CommitError>>),
}

impl MemoryState {
    fn commit(&mut self, commit: Commit, fault: &CommitFault) -> CommitAnswer {
        match fault {
            CommitFault::Refuse => {
                let why = KvError::Stopped("refused on purpose".into());
                return CommitAnswer::Now(Err(CommitError::Failed(why)));
            }
            CommitFault::UnknownLost => return CommitAnswer::Now(Err(unconfirmed())),
            CommitFault::None | CommitFault::UnknownApplied | CommitFault::Hold => {}
        }
        let result = self.apply(commit);
        if *fault == CommitFault::Hold {
            let (answer, receiver) = oneshot::channel();
            self.pending.held.push((answer, result));
            return CommitAnswer::Held(receiver);
        }
        self.flush();
        match (result, fault) {
            (Ok(_), CommitFault::UnknownApplied) => CommitAnswer::Now(Err(unconfirmed())),
            (result, _) => CommitAnswer::Now(result),
        }
    }

    /// Checks a commit against the current state, pending commits included, and adds it.
    fn apply(&mut self, commit: Commit) -> Result<Revision, CommitError> {
        commit.check_limits()?;
        let met = commit.check_requirements(|key| Ok::<_, CommitError>(self.version_of(key)))?;
        met.map_err(|key| CommitError::Conflict { key })?;
        let last = self.pending.updates.last();
        let last = last.map_or(self.revision, |update| update.revision);
        if commit.writes().is_empty() {
            return Ok(last);
        }
        let revision = Revision(last.0 + 1);
        let mut changes = Vec::new();
        for (key, write) in commit.into_writes() {
            let version = match write {
                KeyWrite::Put(_) => Some(revision.into()),
                KeyWrite::Delete if self.version_of(&key).is_none() => continue,
                KeyWrite::Delete => None,
            };
            self.pending.versions.insert(key.clone(), version);
            changes.push(KeyChange { key, write });
        }
        self.pending.updates.push(Update { revision, changes });
        Ok(revision)
    }

    fn version_of(&self, key: &[u8]) -> Option<KeyVersion> {
        match self.pending.versions.get(key) {
            Some(version) => *version,
            None => self.durable.get(key).map(|entry| entry.version),
        }
    }

    fn flush(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        for update in &pending.updates {
            self.revision = update.revision;
            for KeyChange { key, write } in &update.changes {
                match write {
                    KeyWrite::Put(value) => self.durable.insert(
                        key.clone(),
                        StoredValue {
                            value: value.clone(),
                            version: update.revision.into(),
                        },
                    ),
                    KeyWrite::Delete => self.durable.remove(key),
                };
            }
        }
        self.changes.publish(pending.updates);
        for (answer, result) in pending.held {
            // A caller that has disconnected learns the result by reading.
            let _ = answer.send(result);
        }
    }

    fn crash(&mut self) {
        self.changes = ChangeLog::starting_at(self.revision);
        for (answer, _) in std::mem::take(&mut self.pending).held {
            let _ = answer.send(Err(unconfirmed()));
        }
    }
}

fn unconfirmed() -> CommitError {
    CommitError::Unknown("unconfirmed on purpose".into())
}

impl Kv for MemoryKv {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<StoredValue>, KvError>> {
        Box::pin(async move { Ok(lock(&self.state).durable.get(key).cloned()) })
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<RowPage, KvError>> {
        Box::pin(async move {
            let state = lock(&self.state);
            let Some(bounds) = range.bounds() else {
                return range.page(std::iter::empty(), state.revision);
            };
            let rows = state.durable.range(bounds).map(|row| Ok(to_row(row)));
            match range.order {
                ScanOrder::Ascending => range.page(rows, state.revision),
                ScanOrder::Descending => range.page(rows.rev(), state.revision),
            }
        })
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision, CommitError>> {
        Box::pin(async move {
            let fault = lock(&self.fault)(COMMIT_LABEL);
            let outcome = lock(&self.state).commit(commit, &fault);
            match outcome {
                CommitAnswer::Now(result) => result,
                CommitAnswer::Held(answer) => answer.await.unwrap_or_else(|_| Err(unconfirmed())),
            }
        })
    }

    fn watch(&self, prefix: &[u8], after: Revision) -> Watch {
        lock(&self.state).changes.watch(prefix, after)
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, KvError>> {
        Box::pin(async move {
            let state = lock(&self.state);
            let rows: Vec<Row> = state.durable.iter().map(to_row).collect();
            Ok(Snapshot {
                revision: state.revision,
                rows: futures::stream::iter(rows.into_iter().map(Ok)).boxed(),
            })
        })
    }
}

fn to_row((key, entry): (&Key, &StoredValue)) -> Row {
    Row {
        key: key.clone(),
        value: entry.value.clone(),
        version: entry.version,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use futures::FutureExt;

    use super::*;
    use crate::store::kv::{Require, WatchEnd};

    fn put(key: &str, value: &str) -> Commit {
        Commit::new().put(key, value)
    }

    async fn value(kv: &MemoryKv, key: &str) -> Option<String> {
        let entry = kv.get(key.as_bytes()).await.unwrap();
        entry.map(|entry| String::from_utf8(entry.value).unwrap())
    }

    #[tokio::test]
    async fn pending_commit_is_visible_only_to_the_next_commit() {
        let kv = MemoryKv::new();
        kv.on_commit(|_| CommitFault::Hold);
        let mut watch = kv.watch(b"", Revision(0));
        let mut first = kv.commit(put("a", "1"));
        let mut second = kv.commit(put("b", "1").require("a", Require::Absent));
        let mut third = kv.commit(put("c", "1").require("a", Require::Version(KeyVersion(1))));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        assert_eq!(kv.held(), 3);
        assert_eq!(value(&kv, "a").await, None);
        assert!(watch.next().now_or_never().is_none());
        kv.flush();
        assert_eq!(first.await, Ok(Revision(1)));
        assert_eq!(second.await, Err(CommitError::Conflict { key: "a".into() }));
        assert_eq!(third.await, Ok(Revision(2)));
        assert_eq!(value(&kv, "c").await.as_deref(), Some("1"));
        assert_eq!(watch.next().await.unwrap().revision, Revision(1));
    }

    #[tokio::test]
    async fn crash_drops_pending_and_keeps_durable_commits() {
        let kv = MemoryKv::new();
        kv.commit(put("a", "1")).await.unwrap();
        kv.on_commit(|_| CommitFault::Hold);
        let mut watch = kv.watch(b"", Revision(1));
        let mut lost = kv.commit(put("a", "2"));
        assert!((&mut lost).now_or_never().is_none());
        kv.crash();
        assert!(matches!(lost.await, Err(CommitError::Unknown(_))));
        assert_eq!(watch.next().await, Err(WatchEnd::Closed));
        assert_eq!(value(&kv, "a").await.as_deref(), Some("1"));
        kv.on_commit(|_| CommitFault::None);
        assert_eq!(kv.commit(put("b", "1")).await, Ok(Revision(2)));
        assert_eq!(value(&kv, "a").await.as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn durable_commit_includes_earlier_pending_ones() {
        let kv = Arc::new(MemoryKv::new());
        kv.on_commit(|_| CommitFault::Hold);
        let mut held = kv.commit(put("a", "1"));
        assert!((&mut held).now_or_never().is_none());
        kv.on_commit(|_| CommitFault::None);
        assert_eq!(kv.commit(put("b", "1")).await, Ok(Revision(2)));
        assert_eq!(held.await, Ok(Revision(1)));
    }

    #[tokio::test]
    async fn each_injected_fault_has_its_effect() {
        let kv = MemoryKv::new();
        kv.on_commit(|label| {
            assert_eq!(label, "store.commit");
            CommitFault::UnknownApplied
        });
        let unknown = kv.commit(put("applied", "1")).await;
        assert!(matches!(unknown, Err(CommitError::Unknown(_))));
        assert!(value(&kv, "applied").await.is_some());
        let conflict = kv
            .commit(put("applied", "2").require("applied", Require::Absent))
            .await;
        assert!(matches!(conflict, Err(CommitError::Conflict { .. })));
        for fault in [CommitFault::UnknownLost, CommitFault::Refuse] {
            let refused = fault == CommitFault::Refuse;
            kv.on_commit(move |_| fault.clone());
            let error = kv.commit(put("lost", "1")).await.unwrap_err();
            assert_eq!(matches!(error, CommitError::Failed(_)), refused);
            assert!(value(&kv, "lost").await.is_none());
        }
    }
}
