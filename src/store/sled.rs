//! [`Kv`] on one machine's disk, by sled. Only this file and its `opening` use sled; the agent
//! opens it once and passes it on as `Arc<dyn Kv>`.
//!
//! **Writing.** One thread writes. It takes the waiting commits (at most [`GROUP_COMMITS_MAX`]),
//! checks each against the current state including the earlier ones, applies them as one batch,
//! flushes once, syncs sled's file once, and answers all. `flush()` alone survives a killed
//! process. It calls `sync_file_range`, which neither writes metadata nor flushes a disk's cache;
//! so `fdatasync` follows to survive a power cut.
//!
//! **Reading.** Readers hold the read half of a lock whose write half covers apply, flush and sync.
//! So no reader sees data that is not durable, and a page has one revision. The lock is fair:
//! readers and groups of commits alternate.
//!
//! **On disk.** `DIR/db` is the log, `DIR/snap.*` where recovery starts, `DIR/conf` sled's own
//! parameters. sled writes a page of more than 128 KiB to a separate file below `DIR/blobs` without
//! syncing it; the write order can leave half a batch after a power cut. So no page may grow that
//! large: long values are split into pieces, and keys are short.
//!
//! `DIR/confirmed` holds the last answered revision, written without a sync after each group. sled
//! silently drops a damaged end of its log; a store that ends before the confirmed revision is
//! refused instead.
//!
//! **After an error** of the disk, or a panic within sled, memory may be ahead of what is durable.
//! The affected commits return `Unknown` and the engine refuses all requests until it is reopened.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;

use futures::future::BoxFuture;
use sled::{Batch, Db, IVec};
use tokio::sync::{RwLock, mpsc, oneshot};

use self::layout::{
    INLINE_BYTES_MAX, StoreTip, StoredRow, TIP_KEY, decode_row, encode_row, key_of_row, piece_key,
    row_bounds, row_key,
};
use self::opening::Opened;
pub use self::opening::StoreOpenError;
pub(crate) use self::opening::{LOCK_PAUSE, LOCK_TRIES};
use self::progress::SnapshotProgress;
use super::kv::{
    ChangeLog, Commit, CommitError, Key, KeyChange, KeyWrite, Kv, KvError, Range, Revision, Row,
    RowPage, ScanOrder, Snapshot, StoredValue, Update, Watch,
};
use crate::base::crash;
use crate::base::mutex::lock;

mod layout;
mod opening;
mod progress;
mod snapshot;

/// Commits that become durable together.
const GROUP_COMMITS_MAX: usize = 256;
/// Bytes of commits that become durable together; may be exceeded by one commit.
const GROUP_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Commits that may wait for the writer; further callers wait for a slot.
const QUEUE_COMMITS_MAX: usize = 1024;

/// Counters of the writer since the store was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Commits that became durable.
    pub commits: u64,
    /// Flushes performed (each with one sync of the file).
    pub flushes: u64,
}

/// The engine. Dropping it waits for queued commits, then releases the directory (once the last
/// [`Snapshot`] is dropped too).
pub struct SledKv {
    shared: Arc<StoreShared>,
    /// `None` only during drop.
    queue: Option<mpsc::Sender<CommitRequest>>,
    writer: Option<JoinHandle<()>>,
}

struct CommitRequest {
    commit: Commit,
    answer: oneshot::Sender<Result<Revision, CommitError>>,
}

struct StoreShared {
    db: Db,
    /// A second handle to sled's log, for syncing.
    log: File,
    confirmed: File,
    gate: Arc<RwLock<CommitGate>>,
    changes: Mutex<Option<ChangeLog>>,
    snapshots: Mutex<Vec<Weak<Mutex<SnapshotProgress>>>>,
    commits: AtomicU64,
    flushes: AtomicU64,
}

/// The state that readers and the writer lock one after the other.
struct CommitGate {
    /// The durable state.
    tip: StoreTip,
    /// Set permanently by a disk error, and while a group is being written.
    stopped: Option<String>,
}

impl CommitGate {
    fn check(&self) -> Result<(), KvError> {
        match &self.stopped {
            Some(why) => Err(KvError::Stopped(why.clone())),
            None => Ok(()),
        }
    }
}

impl SledKv {
    /// Opens the store in `dir`, which is created (mode 0700) if missing, with a page cache of
    /// about `cache_bytes`. Reads every key once, so the time grows with the store.
    ///
    /// Crash: may be repeated at any point.
    ///
    /// # Errors
    /// [`StoreOpenError`]; a damaged store is left unchanged.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreOpenError> {
        let Opened {
            db,
            log,
            confirmed,
            tip,
        } = opening::open(dir, cache_bytes)?;
        let shared = Arc::new(StoreShared {
            db,
            log,
            confirmed,
            gate: Arc::new(RwLock::new(CommitGate { tip, stopped: None })),
            changes: Mutex::new(Some(ChangeLog::starting_at(tip.revision))),
            snapshots: Mutex::default(),
            commits: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
        });
        let (queue, requests) = mpsc::channel(QUEUE_COMMITS_MAX);
        let writer = StoreWriter {
            shared: Arc::clone(&shared),
            tip,
        };
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(requests))
            .map_err(|source| StoreOpenError::Io {
                dir: dir.to_path_buf(),
                source,
            })?;
        Ok(Self {
            shared,
            queue: Some(queue),
            writer: Some(writer),
        })
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            commits: self.shared.commits.load(Relaxed),
            flushes: self.shared.flushes.load(Relaxed),
        }
    }

    /// Returns why writing has stopped.
    async fn stopped(&self) -> KvError {
        match self.shared.read(|_, _| Ok(())).await {
            Ok(()) => KvError::Stopped("it was closed".into()),
            Err(why) => why,
        }
    }
}

impl Drop for SledKv {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has logged it, and has left the gate stopped.
            let _ = writer.join();
        }
    }
}

/// The writer thread.
struct StoreWriter {
    shared: Arc<StoreShared>,
    /// The durable state; the same as in the gate.
    tip: StoreTip,
}

impl StoreWriter {
    fn run(mut self, mut requests: mpsc::Receiver<CommitRequest>) {
        while let Some(first) = requests.blocking_recv() {
            let group = gather(first, &mut requests);
            if let Err(why) = self.write(group) {
                tracing::error!("the store has stopped: {why}");
                requests.close();
                while let Some(request) = requests.blocking_recv() {
                    let why = KvError::Stopped(why.clone());
                    let _ = request.answer.send(Err(CommitError::Failed(why)));
                }
                return;
            }
        }
    }

    /// Checks, writes and answers one group. The error is why the engine must stop.
    fn write(&mut self, requests: Vec<CommitRequest>) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        let mut group = CommitGroup::after(&shared.db, self.tip);
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push((request.answer, group.add(request.commit)));
        }
        let durable = if group.updates.is_empty() {
            Ok(())
        } else {
            self.make_durable(group)
        };
        for (answer, result) in answers {
            let result = match &durable {
                Err(why) => result.and(Err(CommitError::Unknown(why.clone()))),
                Ok(()) => result,
            };
            // A caller that has disconnected learns the result by reading.
            let _ = answer.send(result);
        }
        durable
    }

    fn make_durable(&mut self, group: CommitGroup<'_>) -> Result<(), String> {
        let CommitGroup {
            tip,
            mut batch,
            touched,
            updates,
            ..
        } = group;
        batch.insert(TIP_KEY, tip.encode());
        let shared = &self.shared;
        let mut gate = shared.gate.blocking_write();
        shared.keep_for_snapshots(touched.keys());
        // Remains if sled panics: then nothing reads its possibly wrong state.
        gate.stopped = Some("its writer ended amid a commit".into());
        crash::before("store.commit");
        let applied = shared.apply(batch);
        crash::after("store.commit");
        if let Err(why) = applied {
            gate.stopped = Some(why.clone());
            return Err(why);
        }
        gate.stopped = None;
        gate.tip = tip;
        self.tip = tip;
        shared.commits.fetch_add(updates.len() as u64, Relaxed);
        if let Some(changes) = lock(&shared.changes).as_ref() {
            changes.publish(updates);
        }
        // Best effort: it only reveals damage that sled would ignore.
        let confirmed = tip.revision.0.to_be_bytes();
        if let Err(error) = shared.confirmed.write_all_at(&confirmed, 0) {
            tracing::warn!("cannot record the confirmed revision: {error}");
        }
        Ok(())
    }
}

impl Drop for StoreWriter {
    /// However the thread ends, nothing will change after it.
    fn drop(&mut self) {
        *lock(&self.shared.changes) = None;
    }
}

/// Takes further waiting commits, up to the limits of a group.
fn gather(
    first: CommitRequest,
    requests: &mut mpsc::Receiver<CommitRequest>,
) -> Vec<CommitRequest> {
    let mut bytes = first.commit.bytes();
    let mut group = vec![first];
    while group.len() < GROUP_COMMITS_MAX && bytes < GROUP_BYTES_MAX {
        let Ok(request) = requests.try_recv() else {
            break;
        };
        bytes += request.commit.bytes();
        group.push(request);
    }
    group
}

/// Commits that become durable together, as one batch.
struct CommitGroup<'db> {
    db: &'db Db,
    tip: StoreTip,
    batch: Batch,
    /// The state of each key that the group writes; `None` if it is deleted.
    touched: HashMap<Key, Option<StoredRow>>,
    updates: Vec<Update>,
}

impl<'db> CommitGroup<'db> {
    fn after(db: &'db Db, tip: StoreTip) -> Self {
        Self {
            db,
            tip,
            batch: Batch::default(),
            touched: HashMap::new(),
            updates: Vec::new(),
        }
    }

    /// Adds a commit if its requirements hold after the previous ones.
    fn add(&mut self, commit: Commit) -> Result<Revision, CommitError> {
        let met = commit.check_requirements(|key| {
            let stored = self.stored_row(key)?;
            Ok::<_, KvError>(stored.map(|stored| stored.version))
        })?;
        met.map_err(|key| CommitError::Conflict { key })?;
        if commit.writes().is_empty() {
            return Ok(self.tip.revision);
        }
        // All that can fail comes first: a failed commit leaves nothing in the batch.
        let mut before = Vec::with_capacity(commit.writes().len());
        for key in commit.writes().keys() {
            before.push(self.stored_row(key)?);
        }
        self.tip.revision.0 += 1;
        let mut changes = Vec::with_capacity(before.len());
        for ((key, write), before) in commit.into_writes().into_iter().zip(before) {
            let stored = match &write {
                KeyWrite::Put(value) => Some(self.put(&key, value)),
                KeyWrite::Delete if before.is_none() => continue,
                KeyWrite::Delete => {
                    self.batch.remove(row_key(&key));
                    None
                }
            };
            let pieces = stored.map_or(0, |stored| stored.pieces);
            for piece in pieces..before.map_or(0, |before| before.pieces) {
                self.batch.remove(piece_key(&key, piece));
            }
            if let Some(before) = before {
                self.tip.census.remove(&key, before.version);
            }
            if let Some(stored) = stored {
                self.tip.census.add(&key, stored.version);
            }
            self.touched.insert(key.clone(), stored);
            changes.push(KeyChange { key, write });
        }
        self.updates.push(Update {
            revision: self.tip.revision,
            changes,
        });
        Ok(self.tip.revision)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> StoredRow {
        let mut stored = StoredRow {
            version: self.tip.revision.into(),
            pieces: 0,
        };
        let mut inline = value;
        if value.len() > INLINE_BYTES_MAX {
            for piece in value.chunks(INLINE_BYTES_MAX) {
                self.batch.insert(piece_key(key, stored.pieces), piece);
                stored.pieces += 1;
            }
            inline = &[];
        }
        self.batch.insert(row_key(key), encode_row(stored, inline));
        stored
    }

    fn stored_row(&self, key: &[u8]) -> Result<Option<StoredRow>, KvError> {
        if let Some(stored) = self.touched.get(key) {
            return Ok(*stored);
        }
        let Some(row) = self.db.get(row_key(key)).map_err(unreadable)? else {
            return Ok(None);
        };
        let (stored, _) = decode_row(&row).ok_or_else(|| no_row(key))?;
        Ok(Some(stored))
    }
}

impl StoreShared {
    /// Applies a batch and makes it durable. The error is why the engine must stop.
    fn apply(&self, batch: Batch) -> Result<(), String> {
        self.db.apply_batch(batch).map_err(|e| e.to_string())?;
        self.db.flush().map_err(|e| e.to_string())?;
        self.log.sync_data().map_err(|e| e.to_string())?;
        self.flushes.fetch_add(1, Relaxed);
        Ok(())
    }

    fn entry(&self, key: &[u8], row: &[u8]) -> Result<StoredValue, KvError> {
        let (stored, inline) = decode_row(row).ok_or_else(|| no_row(key))?;
        let mut value = inline.to_vec();
        for number in 0..stored.pieces {
            let piece = self.db.get(piece_key(key, number)).map_err(unreadable)?;
            value.extend_from_slice(&piece.ok_or_else(|| no_row(key))?);
        }
        Ok(StoredValue {
            value,
            version: stored.version,
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<StoredValue>, KvError> {
        let row = self.db.get(row_key(key)).map_err(unreadable)?;
        row.map(|row| self.entry(key, &row)).transpose()
    }

    fn row(&self, found: sled::Result<(IVec, IVec)>) -> Result<Row, KvError> {
        let (key, row) = found.map_err(unreadable)?;
        let key = key_of_row(&key);
        let StoredValue { value, version } = self.entry(&key, &row)?;
        Ok(Row {
            key,
            value,
            version,
        })
    }

    fn page(&self, range: &Range, revision: Revision) -> Result<RowPage, KvError> {
        let Some(bounds) = range.bounds() else {
            return range.page(std::iter::empty(), revision);
        };
        let found = self.db.range(row_bounds(bounds));
        match range.order {
            ScanOrder::Ascending => range.page(found.map(|row| self.row(row)), revision),
            ScanOrder::Descending => range.page(found.rev().map(|row| self.row(row)), revision),
        }
    }

    /// Reads under the gate, on a thread that may block on the disk. A separate task waits for the
    /// gate: a caller that is not polled would keep its slot in the fair lock and block the writer.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self, StoreTip) -> Result<T, KvError> + Send + 'static,
    ) -> Result<T, KvError> {
        let ended = |_| KvError::Stopped("a reader ended early".into());
        let shared = Arc::clone(self);
        let read = tokio::spawn(async move {
            let gate = Arc::clone(&shared.gate).read_owned().await;
            gate.check()?;
            let read = tokio::task::spawn_blocking(move || {
                let result = read(&shared, gate.tip);
                // The gate is held up to here, even if the caller has gone.
                drop(gate);
                result
            });
            read.await.map_err(ended)?
        });
        read.await.map_err(ended)?
    }
}

impl Kv for SledKv {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<StoredValue>, KvError>> {
        Box::pin(async move {
            // One row is cheap: a thread switch would cost more than reading it here.
            if let Ok(gate) = self.shared.gate.try_read() {
                gate.check()?;
                return self.shared.get(key);
            }
            let key = key.to_vec();
            self.shared.read(move |shared, _| shared.get(&key)).await
        })
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<RowPage, KvError>> {
        Box::pin(
            self.shared
                .read(move |shared, tip| shared.page(&range, tip.revision)),
        )
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision, CommitError>> {
        Box::pin(async move {
            commit.check_limits()?;
            let Some(queue) = &self.queue else {
                return Err(self.stopped().await.into());
            };
            let (answer, answered) = oneshot::channel();
            if queue.send(CommitRequest { commit, answer }).await.is_err() {
                return Err(self.stopped().await.into());
            }
            answered
                .await
                .unwrap_or_else(|_| Err(CommitError::Unknown("its writer ended".into())))
        })
    }

    fn watch(&self, prefix: &[u8], after: Revision) -> Watch {
        match lock(&self.shared.changes).as_ref() {
            Some(changes) => changes.watch(prefix, after),
            // From a log that is dropped at once: the watch is closed.
            None => ChangeLog::starting_at(after).watch(prefix, after),
        }
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, KvError>> {
        Box::pin(self.shared.snapshot())
    }
}

fn unreadable(error: sled::Error) -> KvError {
    match error {
        sled::Error::Io(error) => KvError::Unreadable(error.to_string()),
        other => KvError::Damaged(other.to_string()),
    }
}

fn no_row(key: &[u8]) -> KvError {
    KvError::Damaged(format!("the value under {} is no row", key.escape_ascii()))
}
