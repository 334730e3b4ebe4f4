//! The latest changes in memory, for watchers. All share one bounded log, so a slow watcher costs
//! nothing and never delays a commit. It is independent of the engine; engines publish into it once
//! a commit is durable.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::base::mutex::lock;

/// How far a watcher may fall behind, in commits.
const UPDATES_MAX: usize = 4096;
/// How far a watcher may fall behind, in bytes of keys and values.
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// A key: bytes, compared as bytes.
pub type Key = Vec<u8>;

/// A state of the whole store: incremented by each commit that writes, kept across restarts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A write to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyWrite {
    Put(Vec<u8>),
    /// Deleting a missing key is no error.
    Delete,
}

/// The change of one key by a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    pub key: Key,
    pub write: KeyWrite,
}

/// The changes of one commit that concern the watcher; never empty when a watcher gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub revision: Revision,
    /// Ordered by key.
    pub changes: Vec<KeyChange>,
}

impl Update {
    fn bytes(&self) -> usize {
        let of = |change: &KeyChange| {
            change.key.len()
                + match &change.write {
                    KeyWrite::Put(value) => value.len(),
                    KeyWrite::Delete => 0,
                }
        };
        self.changes.iter().map(of).sum()
    }
}

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The changes after the watcher's revision are no longer kept (or the revision is not of this
    /// store): read by range, then watch after that page's revision.
    #[error("the watch fell behind: read again")]
    Lagged,
    /// The engine was closed or has stopped.
    #[error("the store was closed")]
    Closed,
}

/// The changes to keys of one prefix, commit by commit, in order and complete.
///
/// The engine keeps only the latest changes (4,096 commits, 2 MiB). A slower watcher gets
/// [`WatchEnd::Lagged`]; it then reads by range, which returns the state and its revision, and
/// watches again after that revision.
pub struct Watch {
    ring: Arc<Mutex<Ring>>,
    tip: watch::Receiver<Revision>,
    prefix: Key,
    after: Revision,
}

impl Watch {
    /// Waits for the next commit that changes a key with the prefix. Cancel-safe.
    ///
    /// # Errors
    /// [`WatchEnd`]; the watch returns nothing after it.
    pub async fn next(&mut self) -> Result<Update, WatchEnd> {
        loop {
            self.tip.borrow_and_update();
            while let Some(update) = lock(&self.ring).after(self.after)? {
                self.after = update.revision;
                if let Some(update) = self.concerned_by(&update) {
                    return Ok(update);
                }
            }
            self.tip.changed().await.map_err(|_| WatchEnd::Closed)?;
        }
    }

    fn concerned_by(&self, update: &Update) -> Option<Update> {
        let changes: Vec<KeyChange> = update
            .changes
            .iter()
            .filter(|change| change.key.starts_with(&self.prefix))
            .cloned()
            .collect();
        (!changes.is_empty()).then_some(Update {
            revision: update.revision,
            changes,
        })
    }
}

/// The engine's side, which publishes durable commits. Dropping it ends every watch.
pub(in crate::store) struct ChangeLog {
    ring: Arc<Mutex<Ring>>,
    tip: watch::Sender<Revision>,
}

impl ChangeLog {
    /// Creates a log without the changes up to `revision`.
    pub(in crate::store) fn starting_at(revision: Revision) -> Self {
        Self {
            ring: Arc::new(Mutex::new(Ring {
                before: revision,
                updates: VecDeque::new(),
                bytes: 0,
            })),
            tip: watch::Sender::new(revision),
        }
    }

    /// Publishes durable commits to watchers. Revisions are consecutive.
    pub(in crate::store) fn publish(&self, updates: Vec<Update>) {
        let Some(last) = updates.last().map(|update| update.revision) else {
            return;
        };
        let mut ring = lock(&self.ring);
        for update in updates {
            ring.push(update);
        }
        drop(ring);
        self.tip.send_replace(last);
    }

    pub(in crate::store) fn watch(&self, prefix: &[u8], after: Revision) -> Watch {
        Watch {
            ring: Arc::clone(&self.ring),
            tip: self.tip.subscribe(),
            prefix: prefix.to_vec(),
            after,
        }
    }
}

struct Ring {
    /// The revision before the oldest update kept.
    before: Revision,
    updates: VecDeque<Arc<Update>>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, update: Update) {
        debug_assert_eq!(
            update.revision.0,
            self.before.0 + self.updates.len() as u64 + 1,
            "revisions follow one another"
        );
        self.bytes += update.bytes();
        self.updates.push_back(Arc::new(update));
        while self.updates.len() > UPDATES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.updates.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.before = oldest.revision;
        }
    }

    fn after(&self, revision: Revision) -> Result<Option<Arc<Update>>, WatchEnd> {
        let index = revision
            .0
            .checked_sub(self.before.0)
            .ok_or(WatchEnd::Lagged)?;
        let index = usize::try_from(index).map_err(|_| WatchEnd::Lagged)?;
        if index > self.updates.len() {
            return Err(WatchEnd::Lagged);
        }
        Ok(self.updates.get(index).cloned())
    }
}
