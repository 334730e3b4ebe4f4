//! The interface of storage engines: ordered keys, atomic commits with conditions, durable on
//! return. Values are bytes; the engine never interprets them and knows nothing of tasks.
//!
//! `store`, `account` and `session` use it as `Arc<dyn Kv>`. [`sled`](super::sled) implements it on
//! one machine's disk; [`memory`](super::memory) is its twin for tests and simulation. Shape and
//! limits are etcd's (several agents over one queue), so an etcd engine can follow.
//!
//! **Key ownership.** `account/`, `token/`: [`account`](crate::identity::account); `session/`:
//! [`session`](crate::identity::session); `audit/`: [`audit`](super::audit); rest: [`store`](super)

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

mod changes;

pub(super) use changes::ChangeLog;
pub use changes::{Key, KeyChange, KeyWrite, Revision, Update, Watch, WatchEnd};

/// Requirements and writes of one commit, counted together.
pub const OPERATIONS_MAX: usize = 100;
/// The total size of a commit's keys and values, in bytes.
pub const COMMIT_BYTES_MAX: usize = 512 * 1024;
/// One value, in bytes.
pub const VALUE_BYTES_MAX: usize = 128 * 1024;
/// One key, in bytes; at least one. Keys are text (UTF-8): sled cannot handle a row at a key of
/// 0xff bytes in a descending range.
pub const KEY_BYTES_MAX: usize = 400;
/// Rows of one [`RowPage`]; a larger limit is reduced to this.
pub const PAGE_ROWS_MAX: usize = 1000;
/// Keys and values of one [`RowPage`], in bytes: the page ends once it reaches this.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The [`Revision`] at which a key was last written (etcd's `mod_revision`). A key that was deleted
/// and rewritten has a different version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyVersion(pub u64);

impl From<Revision> for KeyVersion {
    fn from(revision: Revision) -> Self {
        Self(revision.0)
    }
}

/// The value of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredValue {
    pub value: Vec<u8>,
    pub version: KeyVersion,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: Key,
    pub value: Vec<u8>,
    pub version: KeyVersion,
}

/// The direction in which a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanOrder {
    Ascending,
    Descending,
}

/// The rows that [`Kv::range`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Only keys with this prefix; empty means every key.
    pub prefix: Key,
    /// Only keys after this one in `order`, exclusive: the last key of the previous page. It need
    /// not exist.
    pub after: Option<Key>,
    pub order: ScanOrder,
    /// The maximum number of rows, up to [`PAGE_ROWS_MAX`].
    pub limit: usize,
}

impl Range {
    /// Returns the first [`PAGE_ROWS_MAX`] rows whose keys have this prefix, ascending.
    #[must_use]
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        Self {
            prefix: prefix.into(),
            after: None,
            order: ScanOrder::Ascending,
            limit: PAGE_ROWS_MAX,
        }
    }

    #[must_use]
    pub fn after(mut self, key: impl Into<Key>) -> Self {
        self.after = Some(key.into());
        self
    }

    #[must_use]
    pub fn descending(mut self) -> Self {
        self.order = ScanOrder::Descending;
        self
    }

    #[must_use]
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// Collects one page from rows that are already in `order` and within [`Range::bounds`].
    pub(super) fn page<E>(
        &self,
        rows: impl Iterator<Item = Result<Row, E>>,
        revision: Revision,
    ) -> Result<RowPage, E> {
        let limit = self.limit.min(PAGE_ROWS_MAX);
        let mut page = RowPage {
            rows: Vec::new(),
            more: false,
            revision,
        };
        let mut bytes = 0;
        for row in rows {
            let row = row?;
            if page.rows.len() >= limit || bytes >= PAGE_BYTES_MAX {
                page.more = true;
                break;
            }
            bytes += row.key.len() + row.value.len();
            page.rows.push(row);
        }
        Ok(page)
    }

    /// Returns the range's keys as `(lower, upper)`; `None` if no key can be between them.
    pub(super) fn bounds(&self) -> Option<(std::ops::Bound<Key>, std::ops::Bound<Key>)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let mut lower = Included(self.prefix.clone());
        let mut upper = prefix_end(&self.prefix).map_or(Unbounded, Excluded);
        match (&self.after, self.order) {
            (Some(after), ScanOrder::Ascending) if *after >= self.prefix => {
                if matches!(&upper, Excluded(end) if after >= end) {
                    return None;
                }
                lower = Excluded(after.clone());
            }
            (Some(after), ScanOrder::Descending) => {
                if *after <= self.prefix {
                    return None;
                }
                if !matches!(&upper, Excluded(end) if after > end) {
                    upper = Excluded(after.clone());
                }
            }
            (Some(_), ScanOrder::Ascending) | (None, _) => {}
        }
        Some((lower, upper))
    }
}

/// Returns the first key that sorts after every key with this prefix; `None` without one.
fn prefix_end(prefix: &[u8]) -> Option<Key> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Rows of a range, all of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPage {
    pub rows: Vec<Row>,
    /// More rows follow: continue [after](Range::after) the last key. The next page may have a
    /// later revision.
    pub more: bool,
    /// The revision that the rows show; a [`Kv::watch`] after it misses nothing.
    pub revision: Revision,
}

/// A condition of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Require {
    /// The key does not exist.
    Absent,
    /// The key was last written at this revision.
    Version(KeyVersion),
}

/// Conditions and writes that are applied atomically.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    require: Vec<(Key, Require)>,
    writes: BTreeMap<Key, KeyWrite>,
}

impl Commit {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition of the commit.
    #[must_use]
    pub fn require(mut self, key: impl Into<Key>, require: Require) -> Self {
        self.require.push((key.into(), require));
        self
    }

    /// Writes a value; a later write to the same key in this commit replaces an earlier one.
    #[must_use]
    pub fn put(mut self, key: impl Into<Key>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.insert(key.into(), KeyWrite::Put(value.into()));
        self
    }

    #[must_use]
    pub fn delete(mut self, key: impl Into<Key>) -> Self {
        self.writes.insert(key.into(), KeyWrite::Delete);
        self
    }

    /// Merges another commit; its writes replace those to the same keys here.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.require.extend(other.require);
        self.writes.extend(other.writes);
        self
    }

    /// Returns the number of requirements and writes, limited by [`OPERATIONS_MAX`].
    #[must_use]
    pub fn operations(&self) -> usize {
        self.require.len() + self.writes.len()
    }

    /// Returns the size of keys and values, limited by [`COMMIT_BYTES_MAX`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        let required: usize = self.require.iter().map(|(key, _)| key.len()).sum();
        let written: usize = self
            .writes
            .iter()
            .map(|(key, write)| {
                key.len()
                    + match write {
                        KeyWrite::Put(value) => value.len(),
                        KeyWrite::Delete => 0,
                    }
            })
            .sum();
        required + written
    }

    /// Whether the commit has a condition on this key.
    #[must_use]
    pub fn requires(&self, key: &[u8]) -> bool {
        self.require.iter().any(|(required, _)| required == key)
    }

    #[must_use]
    pub fn writes(&self) -> &BTreeMap<Key, KeyWrite> {
        &self.writes
    }

    pub(super) fn into_writes(self) -> BTreeMap<Key, KeyWrite> {
        self.writes
    }

    /// Checked by every engine first, whatever it could hold itself.
    pub(super) fn check_limits(&self) -> Result<(), TooLarge> {
        if self.operations() > OPERATIONS_MAX {
            return Err(TooLarge::Operations(self.operations()));
        }
        let required = self.require.iter().map(|(key, _)| key);
        for key in required.chain(self.writes.keys()) {
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(TooLarge::Key(shown(key), key.len()));
            }
        }
        for (key, write) in &self.writes {
            match write {
                KeyWrite::Put(value) if value.len() > VALUE_BYTES_MAX => {
                    return Err(TooLarge::Value(shown(key), value.len()));
                }
                KeyWrite::Put(_) | KeyWrite::Delete => {}
            }
        }
        if self.bytes() > COMMIT_BYTES_MAX {
            return Err(TooLarge::Commit(self.bytes()));
        }
        Ok(())
    }

    /// Checks the requirements against current versions; returns the first key that differs.
    pub(super) fn check_requirements<E>(
        &self,
        mut version_of: impl FnMut(&[u8]) -> Result<Option<KeyVersion>, E>,
    ) -> Result<Result<(), Key>, E> {
        for (key, require) in &self.require {
            let met = match (version_of(key)?, require) {
                (None, Require::Absent) => true,
                (Some(current), Require::Version(required)) => current == *required,
                (None, Require::Version(_)) | (Some(_), Require::Absent) => false,
            };
            if !met {
                return Ok(Err(key.clone()));
            }
        }
        Ok(Ok(()))
    }
}

/// Formats a key for messages: escapes all but printable ASCII.
fn shown(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

/// Which limit a commit exceeds. Nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    #[error("{0} operations, at most {OPERATIONS_MAX} are allowed")]
    Operations(usize),
    #[error("{0} bytes, at most {COMMIT_BYTES_MAX} are allowed")]
    Commit(usize),
    #[error("value of {1} bytes under {0}, at most {VALUE_BYTES_MAX} are allowed")]
    Value(String, usize),
    #[error("key of {1} bytes ({0}), 1 to {KEY_BYTES_MAX} are allowed")]
    Key(String, usize),
}

/// Why a commit failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A requirement does not hold. Nothing happened: read again and decide based on that.
    #[error("{} was changed by another user: read it again", shown(.key))]
    Conflict {
        /// The first requirement that does not hold.
        key: Key,
    },
    /// Nothing happened, and retrying this commit cannot succeed: split it.
    #[error("commit too large: {0}; split it")]
    TooLarge(#[from] TooLarge),
    /// It may have been applied, now or after the next opening: find out by reading an id that the
    /// commit itself wrote.
    #[error("the store did not confirm the commit: {0}")]
    Unknown(String),
    /// The engine could not start the commit. Nothing happened.
    #[error(transparent)]
    Failed(#[from] KvError),
}

/// Why an engine cannot answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// After a disk error an engine refuses all requests until it is reopened, since its memory may
    /// be ahead of what is durable.
    #[error("the store has stopped: {0}; look at the disk, then restart the agent")]
    Stopped(String),
    /// Nothing was changed; the engine continues.
    #[error("the store cannot be read: {0}; look at the disk")]
    Unreadable(String),
    #[error("the store is damaged: {0}; stop the agent and restore from a backup")]
    Damaged(String),
    /// Too much was written while a [`Snapshot`] was read.
    #[error("the snapshot fell too far behind what is written meanwhile; take it again")]
    SnapshotOverrun,
}

/// All rows at one revision, ascending.
pub struct Snapshot {
    pub revision: Revision,
    pub rows: BoxStream<'static, Result<Row, KvError>>,
}

/// An ordered store of bytes with atomic, conditional, durable commits.
///
/// *Durable on return*, for both: a commit returns once it survives a power cut, and no read, watch
/// or snapshot shows data that is not durable yet. So no caller acts on data that a crash can undo.
pub trait Kv: Send + Sync {
    /// Returns the value of a key.
    ///
    /// Crash: changes nothing; the value still exists after a restart, unless overwritten since.
    ///
    /// # Errors
    /// [`KvError`] if the engine has stopped or is damaged.
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<StoredValue>, KvError>>;

    /// Returns one page of rows, all of one revision.
    ///
    /// Crash: changes nothing; a reader continues after a restart from the last key it has seen.
    ///
    /// # Errors
    /// [`KvError`] if the engine has stopped or is damaged.
    fn range(&self, range: Range) -> BoxFuture<'_, Result<RowPage, KvError>>;

    /// Applies the whole commit or nothing, if every requirement holds.
    ///
    /// A commit without writes only checks its requirements and returns the current revision.
    ///
    /// Crash: before the answer, the commit was applied as a whole or not at all, and only a read
    /// shows which. After `Ok` it was applied; after `Conflict`, `TooLarge` and `Failed` it was
    /// not. Dropping the future counts as a crash.
    ///
    /// # Errors
    /// See [`CommitError`]: only `Unknown` leaves the result open.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision, CommitError>>;

    /// Watches writes after a revision to keys that begin with `prefix`; see [`Watch`].
    ///
    /// Crash: ends the watch. After a restart read by [`range`](Kv::range), then watch after that
    /// page's revision: changes before the restart are not kept.
    fn watch(&self, prefix: &[u8], after: Revision) -> Watch;

    /// Returns every row of the store at one revision, for a backup. Commits continue meanwhile.
    ///
    /// Crash: changes nothing; the snapshot is lost and a new one starts from the beginning.
    ///
    /// # Errors
    /// [`KvError`] if the engine has stopped or is damaged, also from the stream of rows.
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, KvError>>;
}

/// Reads every row whose key begins with `prefix`, page by page: for sets known to be small.
///
/// # Errors
/// Those of [`Kv::range`].
pub async fn all_rows(kv: &dyn Kv, prefix: &[u8]) -> Result<Vec<Row>, KvError> {
    pages(kv, Range::prefix(prefix)).rows().await
}

/// Reads a range page by page, to its end: the range's limit is that of one page.
pub fn pages(kv: &dyn Kv, range: Range) -> RangePages<'_> {
    RangePages {
        kv,
        rest: Some(range),
    }
}

/// The pages of a range: see [`pages`].
pub struct RangePages<'a> {
    kv: &'a dyn Kv,
    rest: Option<Range>,
}

impl RangePages<'_> {
    /// Reads the next page.
    ///
    /// # Errors
    /// Those of [`Kv::range`].
    pub async fn next(&mut self) -> Result<Option<RowPage>, KvError> {
        let Some(range) = self.rest.take() else {
            return Ok(None);
        };
        let page = self.kv.range(range.clone()).await?;
        let last = page.rows.last().filter(|_| page.more);
        self.rest = last.map(|last| range.after(last.key.clone()));
        Ok(Some(page))
    }

    /// Reads the rows of all pages that were not read yet.
    ///
    /// # Errors
    /// Those of [`Kv::range`].
    pub async fn rows(mut self) -> Result<Vec<Row>, KvError> {
        let mut rows = Vec::new();
        while let Some(page) = self.next().await? {
            rows.extend(page.rows);
        }
        Ok(rows)
    }
}
