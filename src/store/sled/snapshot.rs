//! Reads a snapshot in chunks while commits continue: before the writer changes a row that the
//! snapshot has not reached, it keeps the old row here. At the end the snapshot is checked against
//! the census: sled silently ignores some damage to its log, and a backup must not.

use std::ops::Bound;
use std::sync::{Arc, Mutex};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::StoreShared;
use super::layout::{Census, row_bounds};
use super::progress::SnapshotProgress;
use crate::base::mutex::lock;
use crate::store::kv::{Key, KvError, Row, Snapshot, StoredValue};

/// Rows read between two groups of commits.
const CHUNK_ROWS: usize = 256;
/// Bytes of their keys and values; may be exceeded by one row.
const CHUNK_BYTES: usize = 1024 * 1024;

enum Chunk {
    More,
    Last,
}

/// A snapshot being read.
struct SnapshotReader {
    shared: Arc<StoreShared>,
    progress: Arc<Mutex<SnapshotProgress>>,
    /// Of the rows read so far.
    counted: Census,
    /// Of the store when the snapshot started.
    expected: Census,
}

impl SnapshotReader {
    async fn next(mut self) -> Result<(Vec<Row>, Option<Self>), KvError> {
        let progress = Arc::clone(&self.progress);
        let chunk = self.shared.read(move |shared, _| shared.chunk(&progress));
        let (rows, chunk) = chunk.await?;
        for row in &rows {
            self.counted.add(&row.key, row.version);
        }
        match chunk {
            Chunk::More => Ok((rows, Some(self))),
            Chunk::Last if self.counted == self.expected => Ok((rows, None)),
            Chunk::Last => Err(KvError::Damaged(format!(
                "{} rows were written and {} are found, not all as they were written",
                self.expected.rows, self.counted.rows
            ))),
        }
    }
}

impl StoreShared {
    pub(super) async fn snapshot(self: &Arc<Self>) -> Result<Snapshot, KvError> {
        let begun = self.read(|shared, tip| {
            let progress = Arc::new(Mutex::new(SnapshotProgress::default()));
            lock(&shared.snapshots).push(Arc::downgrade(&progress));
            Ok((tip, progress))
        });
        let (tip, progress) = begun.await?;
        let reader = SnapshotReader {
            shared: Arc::clone(self),
            progress,
            counted: Census::default(),
            expected: tip.census,
        };
        let chunks = stream::try_unfold(Some(reader), |reader| async move {
            let Some(reader) = reader else {
                return Ok(None);
            };
            let (rows, reader) = reader.next().await?;
            Ok(Some((stream::iter(rows.into_iter().map(Ok)), reader)))
        });
        Ok(Snapshot {
            revision: tip.revision,
            rows: chunks.try_flatten().boxed(),
        })
    }

    /// Keeps rows about to change for snapshots being read. The gate is held.
    pub(super) fn keep_for_snapshots<'k>(&self, keys: impl Iterator<Item = &'k Key> + Clone) {
        lock(&self.snapshots).retain(|progress| {
            let Some(progress) = progress.upgrade() else {
                return false;
            };
            let mut progress = lock(&progress);
            for key in keys.clone() {
                progress.keep(key, || {
                    let entry = self.get(key)?;
                    Ok(entry.map(|StoredValue { value, version }| Row {
                        key: key.clone(),
                        value,
                        version,
                    }))
                });
            }
            true
        });
    }

    /// Returns the next rows of a snapshot, and whether there are more. The gate is held.
    fn chunk(&self, progress: &Mutex<SnapshotProgress>) -> Result<(Vec<Row>, Chunk), KvError> {
        let mut progress = lock(progress);
        let bounds = row_bounds((progress.next()?, Bound::Unbounded));
        let mut rows = Vec::new();
        let mut bytes = 0;
        for found in self.db.range(bounds) {
            let row = self.row(found)?;
            bytes += row.key.len() + row.value.len();
            rows.push(row);
            if rows.len() >= CHUNK_ROWS || bytes >= CHUNK_BYTES {
                let end = rows.last().map(|row| row.key.clone());
                return Ok((progress.pass(rows, end.as_ref()), Chunk::More));
            }
        }
        Ok((progress.pass(rows, None), Chunk::Last))
    }
}
