//! The progress of reading a snapshot.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::store::kv::{Key, KvError, Row};

/// Original rows kept for one snapshot, in bytes: a snapshot that needs more is aborted.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How far one snapshot has been read, and the rows changed beyond that since it started.
#[derive(Default)]
pub(super) struct SnapshotProgress {
    /// The last key of the latest chunk.
    reached: Option<Key>,
    /// Rows as of the start of the snapshot; `None` if there was none.
    kept: BTreeMap<Key, Option<Row>>,
    kept_bytes: usize,
    /// Why no further chunk will follow.
    failed: Option<KvError>,
}

impl SnapshotProgress {
    /// Returns where the next chunk starts.
    pub(super) fn next(&self) -> Result<Bound<Key>, KvError> {
        match (&self.failed, &self.reached) {
            (Some(why), _) => Err(why.clone()),
            (None, Some(key)) => Ok(Bound::Excluded(key.clone())),
            (None, None) => Ok(Bound::Unbounded),
        }
    }

    /// Called before a key is changed; `read` returns its current row.
    pub(super) fn keep(&mut self, key: &Key, read: impl FnOnce() -> Result<Option<Row>, KvError>) {
        let passed = self.reached.as_ref().is_some_and(|reached| key <= reached);
        if passed || self.failed.is_some() || self.kept.contains_key(key) {
            return;
        }
        let row = match read() {
            Ok(row) => row,
            Err(why) => return self.fail(why),
        };
        self.kept_bytes += key.len() + row.as_ref().map_or(0, |row| row.value.len());
        self.kept.insert(key.clone(), row);
        if self.kept_bytes > KEPT_BYTES_MAX {
            self.fail(KvError::SnapshotOverrun);
        }
    }

    fn fail(&mut self, why: KvError) {
        self.failed = Some(why);
        self.kept = BTreeMap::new();
    }

    /// Turns the current rows from [`next`](Self::next) up to `end` (`None`: the last ones) into
    /// those at the start of the snapshot.
    pub(super) fn pass(&mut self, stand: Vec<Row>, end: Option<&Key>) -> Vec<Row> {
        let kept = match end {
            Some(end) => {
                self.reached = Some(end.clone());
                let after = (Bound::Excluded(end.clone()), Bound::Unbounded);
                let beyond: Vec<Key> = self.kept.range(after).map(|(key, _)| key.clone()).collect();
                let beyond = beyond.first().map(|first| self.kept.split_off(first));
                std::mem::replace(&mut self.kept, beyond.unwrap_or_default())
            }
            None => std::mem::take(&mut self.kept),
        };
        let mut rows: BTreeMap<Key, Row> = stand
            .into_iter()
            .map(|row| (row.key.clone(), row))
            .collect();
        for (key, row) in kept {
            self.kept_bytes -= key.len() + row.as_ref().map_or(0, |row| row.value.len());
            match row {
                Some(row) => rows.insert(key, row),
                None => rows.remove(&key),
            };
        }
        rows.into_values().collect()
    }
}
