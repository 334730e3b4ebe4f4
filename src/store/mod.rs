//! The events of all tasks and their indexes, over [`Kv`]; the audit trail, the output of steps,
//! and backups of all of it.
//!
//! The event log is authoritative. Everything else written here (heads, indexes, live state) is
//! derived from events, in the same commit as the event that changes it ([`index`]). The store
//! decides nothing: callers append events, and [`Task::apply`] refuses illegal ones. Any module
//! below it in `lib.rs` may read it; only `engine` appends task events.

pub mod audit;
pub mod backup;
mod baseline;
mod blob;
mod error;
mod hooks;
mod index;
pub mod kv;
mod live;
pub mod log;
pub mod memory;
mod proposal;
mod reindex;
mod restored;
mod rows;
mod search;
mod search_rows;
pub mod sled;
mod state_detail;
mod tags;
mod templates;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use jiff::Timestamp;
use serde::de::DeserializeOwned;

pub use error::{BLOB_BYTES_MAX, StoreError};
pub use hooks::{
    HOOK_SCAN_MAX, HookEntry, HookEntryPage, HookFilter, HookNote, HookOutcome, OUTCOME_NAMES,
    ProjectOutcome, Replay, SeenPush,
};
use kv::{Commit, CommitError, Kv, KvError, Range, Require, Revision, Row, Watch};
pub use live::{BegunWork, Disabled, LiveRelease, RELEASES_MAX};
pub use proposal::{ExtraWrites, Proposal};
pub use restored::RestoreOrigin;
pub use rows::{Filter, Head, HeadFields, IdempotencyKey, LiveRecord, ReleaseRecord};
pub use search::SearchScope;
pub use search_rows::{ListPosition, SEARCHED};
pub use state_detail::StateDetail;
pub use tags::{
    FailedScans, HookReports, KnownTag, ReportedTag, TagScan, hook_report, unless_reported,
};
pub use templates::UsedVersion;

use crate::domain::host::FENCE_SALT_BITS;
use crate::domain::plan::{Plan, PlanDigest};
use crate::domain::task::{Recorded, Task};

/// How many events one append may contain, so that a commit stays within the engine's limits.
pub const APPEND_EVENTS_MAX: usize = 40;
/// Their maximum size as stored, in bytes: the rest of the commit is small in comparison.
pub const APPEND_BYTES_MAX: usize = 384 * 1024;

/// The numbers that one read of heads covers.
const HEADS_TOGETHER: u64 = 256;
/// With fewer tasks than this among them, each head is read by itself.
const HEADS_APART: usize = 8;

/// Parses an event or a head of a task.
fn parsed<T: serde::de::DeserializeOwned>(
    id: u64,
    number: u64,
    value: &[u8],
) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Damaged {
        id,
        number,
        message: error.to_string(),
    })
}

/// Returns the stored size of an event, in bytes.
#[must_use]
pub fn event_bytes(event: &Recorded) -> usize {
    index::json(event).len()
}

/// Plans that are currently in memory. A digest identifies one plan permanently.
type KnownPlans = BTreeMap<PlanDigest, Weak<Plan>>;

/// Tasks and their data; cheap to clone.
#[derive(Clone)]
pub struct Store {
    kv: Arc<dyn Kv>,
    next_id: Arc<AtomicU64>,
    plans: Arc<Mutex<KnownPlans>>,
    next_hook: Arc<AtomicU64>,
    /// The last digits of the fences taken through this value and its clones.
    salt: u64,
}

impl Store {
    /// Opens the task store in a key-value store.
    ///
    /// # Errors
    /// [`StoreError::Kv`] if it can't be read, [`StoreError::TooNew`] if a newer program wrote it.
    pub async fn open(kv: Arc<dyn Kv>) -> Result<Self, StoreError> {
        let last = kv
            .range(Range::prefix(index::HEADS).descending().limit(1))
            .await?;
        let next = match last.rows.first() {
            Some(row) => index::id_of(&row.key).unwrap_or(0) + 1,
            None => 1,
        };
        let hook = kv.range(index::newest_hook()).await?;
        let next_hook = index::next_hook(hook.rows.first().map(|row| row.key.as_slice()));
        let store = Self {
            kv,
            next_id: Arc::new(AtomicU64::new(next)),
            plans: Arc::default(),
            next_hook: Arc::new(AtomicU64::new(next_hook)),
            salt: 0,
        };
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| KvError::Stopped(error.to_string()))?;
        let store = store.salted(u64::from_le_bytes(random));
        if let Some(restored) = store.restored().await? {
            store.next_id.fetch_max(restored.next_id, Ordering::SeqCst);
        }
        store.ensure_index().await?;
        Ok(store)
    }

    /// Returns the store with fences that end in this number, for deterministic replay. Otherwise
    /// the number is random for each opening, so that a clone of this machine uses another one.
    #[must_use]
    pub fn salted(mut self, salt: u64) -> Self {
        self.salt = salt & ((1 << FENCE_SALT_BITS) - 1);
        self
    }

    /// Returns the underlying key-value store, for accounts and sessions.
    #[must_use]
    pub fn kv(&self) -> Arc<dyn Kv> {
        self.kv.clone()
    }

    /// Appends events to a task durably and returns the updated task.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if the task has more events than `task` knows;
    /// [`StoreError::Illegal`] if one of the events is not allowed; nothing was appended then.
    pub async fn append(&self, task: &Task, events: Vec<Recorded>) -> Result<Task, StoreError> {
        self.append_with(task, events, Commit::new()).await
    }

    /// Like [`Store::append`], with `more` in the same commit.
    ///
    /// # Errors
    /// As [`Store::append`]; [`StoreError::Changed`] also if a requirement of `more` does not hold.
    pub async fn append_with(
        &self,
        task: &Task,
        events: Vec<Recorded>,
        more: Commit,
    ) -> Result<Task, StoreError> {
        assert!(
            events.len() <= APPEND_EVENTS_MAX,
            "{} events in one append",
            events.len()
        );
        let mut changed = task.clone();
        let mut commit = more;
        let plan = if index::names_hosts(&events) {
            self.plan_of(task).await?
        } else {
            None
        };
        for event in &events {
            changed.advance(event)?;
            commit = commit
                .and(index::consequences(&changed, event, plan.as_deref()))
                .and(search_rows::happened(&changed, event));
        }
        commit = commit.and(self.words_added(task, &events).await?);
        let mut commit = commit.and(index::appended(task, &changed, &events));
        let (project, environment) = (&task.submission.project, &task.submission.environment);
        if index::starts(&events) && task.submission.has_environment() {
            commit = commit.and(self.beginning(project, environment, task.id).await?);
        }
        match self.kv.commit(commit).await {
            Ok(_) => Ok(changed),
            Err(CommitError::Conflict { key }) if index::is_holder_key(&key) => {
                Err(StoreError::QueueHeld(format!("{project} {environment}")))
            }
            Err(CommitError::Conflict { key }) if index::is_open_key(&key) => {
                Err(StoreError::SamePush(task.id))
            }
            Err(error) => Err(index::error_of(task.id, error)),
        }
    }

    /// Returns the searchable words and hashes that events add.
    async fn words_added(&self, task: &Task, events: &[Recorded]) -> Result<Commit, StoreError> {
        let mut words = search_rows::words(events);
        let described = self.description(events).await;
        words.extend(described.iter().flat_map(search_rows::described));
        let hashes = search_rows::hashes(events);
        if words.is_empty() && hashes.is_empty() {
            return Ok(Commit::new());
        }
        let key = search_rows::text_row(&search_rows::position(task.created, task.id));
        // A concurrent writer of words appends an event, too, so one of both is refused.
        let entry = self.kv.get(&key).await?;
        let text = entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
        let text = search_rows::extended(&text.unwrap_or_default(), hashes, words);
        Ok(Commit::new().put(key, text))
    }

    /// Returns a task, folded from its events.
    ///
    /// # Errors
    /// [`StoreError::NoTask`], [`StoreError::Damaged`], [`StoreError::Kv`].
    pub async fn task(&self, id: u64) -> Result<Task, StoreError> {
        let events = self.events(id).await?;
        Ok(Task::fold(id, &events)?)
    }

    /// Updates an earlier state of a task.
    ///
    /// # Errors
    /// As [`Store::task`].
    pub async fn task_since(&self, mut task: Task) -> Result<Task, StoreError> {
        for event in self.events_since(task.id, task.events).await? {
            task.advance(&event)?;
        }
        Ok(task)
    }

    /// Returns the events of a task in order.
    ///
    /// # Errors
    /// As [`Store::task`].
    pub async fn events(&self, id: u64) -> Result<Vec<Recorded>, StoreError> {
        let rows = kv::all_rows(self.kv.as_ref(), &index::events_prefix(id)).await?;
        if rows.is_empty() {
            return Err(StoreError::NoTask(id));
        }
        read_events(id, 0, &rows)
    }

    /// Returns the first events of a task, at most `limit`.
    ///
    /// # Errors
    /// As [`Store::task`].
    pub async fn first_events(&self, id: u64, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        let range = Range::prefix(index::events_prefix(id)).limit(limit);
        let page = self.kv.range(range).await?;
        if page.rows.is_empty() {
            return Err(StoreError::NoTask(id));
        }
        read_events(id, 0, &page.rows)
    }

    /// Returns the events of a task from number `from` on.
    ///
    /// # Errors
    /// As [`Store::task`]; a task without further events is no error.
    pub async fn events_since(&self, id: u64, from: u64) -> Result<Vec<Recorded>, StoreError> {
        if from == 0 {
            return self.events(id).await;
        }
        let range = Range::prefix(index::events_prefix(id)).after(index::event_key(id, from - 1));
        let rows = kv::pages(&*self.kv, range).rows().await?;
        read_events(id, from, &rows)
    }

    /// Returns the head of one task.
    ///
    /// # Errors
    /// [`StoreError::NoTask`], [`StoreError::Kv`].
    pub async fn head(&self, id: u64) -> Result<Head, StoreError> {
        let entry = self
            .kv
            .get(&index::head_key(id))
            .await?
            .ok_or(StoreError::NoTask(id))?;
        parsed(id, 0, &entry.value)
    }

    /// Returns the heads of these tasks, given and returned in ascending order. Heads that are close
    /// together are read together, so many cost few reads.
    ///
    /// # Errors
    /// As [`Store::head`]; a task without a head is left out.
    pub async fn heads(&self, ids: &[u64]) -> Result<Vec<Head>, StoreError> {
        let mut heads = Vec::with_capacity(ids.len());
        let mut rest = ids;
        while let Some(first) = rest.first().copied() {
            let near = rest.partition_point(|id| id - first < HEADS_TOGETHER);
            if near < HEADS_APART {
                match self.head(first).await {
                    Ok(head) => heads.push(head),
                    Err(StoreError::NoTask(_)) => {}
                    Err(error) => return Err(error),
                }
                rest = &rest[1..];
                continue;
            }
            let (wanted, _) = rest.split_at(near);
            let range = Range::prefix(index::HEADS)
                .after(index::head_key(first.saturating_sub(1)))
                .limit(usize::try_from(HEADS_TOGETHER).unwrap_or(usize::MAX));
            let page = self.kv.range(range).await?;
            let mut reached = first;
            for row in &page.rows {
                reached = index::id_of(&row.key).unwrap_or(reached);
                if wanted.binary_search(&reached).is_ok() {
                    heads.push(parsed(reached, 0, &row.value)?);
                }
            }
            // A page of large heads may end before the last of them.
            let end = if page.more {
                near.min(rest.partition_point(|id| *id <= reached))
            } else {
                near
            };
            rest = &rest[end.max(1)..];
        }
        Ok(heads)
    }

    /// Returns the ids of all active tasks, oldest first, with the revision to watch from.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn active(&self) -> Result<(Vec<u64>, Revision), StoreError> {
        let mut revision = None;
        let mut ids = Vec::new();
        let mut pages = kv::pages(&*self.kv, Range::prefix(index::ACTIVE));
        while let Some(page) = pages.next().await? {
            revision.get_or_insert(page.revision);
            ids.extend(page.rows.iter().filter_map(|row| index::id_of(&row.key)));
        }
        Ok((ids, revision.unwrap_or_default()))
    }

    /// Watches changes of heads: one for each commit that changes a task.
    #[must_use]
    pub fn watch_heads(&self, after: Revision) -> Watch {
        self.kv.watch(index::HEADS, after)
    }

    /// Returns the id of the task whose head has this key.
    #[must_use]
    pub fn head_id(key: &[u8]) -> Option<u64> {
        index::id_of(key)
    }

    /// Returns the store's current revision.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn revision(&self) -> Result<Revision, StoreError> {
        let page = self.kv.range(Range::prefix(index::HEADS).limit(1)).await?;
        Ok(page.revision)
    }

    /// Returns the next fence: higher than all before and at least the time, so an agent restored
    /// from a backup issues no number used before the restore. Its last digits are unique to this
    /// agent: hosts treat equal numbers as the same claim, so no two agents may issue one, whatever
    /// their clocks.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn next_fence(&self, now: Timestamp) -> Result<u64, StoreError> {
        let time = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let salted = |time: u64| {
            let time = time.checked_mul(1 << FENCE_SALT_BITS)?;
            Some(time | self.salt)
        };
        let next = |held: u64| match salted(time) {
            Some(next) if next > held => Some(next),
            _ => salted((held >> FENCE_SALT_BITS) + 1),
        };
        self.greater(index::FENCE, next).await
    }

    /// Raises the fences on this host, from the next claim on, above one that it has reported.
    /// Other hosts and environments are unaffected.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn lift_fence(
        &self,
        (project, environment, host): (&str, &str, &str),
        lift_ms: u64,
    ) -> Result<(), StoreError> {
        let key = index::lift_key(project, environment, host);
        self.greater(&key, |held| Some(held.max(lift_ms))).await?;
        Ok(())
    }

    /// Returns the value of a key; `None` if it is missing or cannot be read.
    async fn value<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let entry = self.kv.get(key).await?;
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
    }

    /// Replaces a number that only increases.
    async fn greater(
        &self,
        key: &[u8],
        next: impl Fn(u64) -> Option<u64>,
    ) -> Result<u64, StoreError> {
        loop {
            let entry = self.kv.get(key).await?;
            let require = entry
                .as_ref()
                .map_or(Require::Absent, |entry| Require::Version(entry.version));
            let held = entry
                .and_then(|entry| index::number(&entry.value))
                .unwrap_or(0);
            let next = next(held).ok_or(StoreError::FencesUsedUp)?;
            if next == held {
                return Ok(held);
            }
            let commit = Commit::new()
                .require(key, require)
                .put(key, next.to_string());
            match self.kv.commit(commit).await {
                Ok(_) => return Ok(next),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(index::error(0, error)),
            }
        }
    }
}

/// Reads the events of a task; the first row is that of event number `first`.
fn read_events(id: u64, first: u64, rows: &[Row]) -> Result<Vec<Recorded>, StoreError> {
    let events = rows.iter().zip(first..).map(|(row, number)| {
        serde_json::from_slice(&row.value).map_err(|error| StoreError::Damaged {
            id,
            number,
            message: error.to_string(),
        })
    });
    events.collect()
}

#[cfg(test)]
mod tests;
