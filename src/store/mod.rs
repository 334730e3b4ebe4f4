//! The events of every task and the indexes to find them, over [`Kv`].
//!
//! Truth is the event log; everything else that is written here (heads, indexes, what is live) is
//! worked out from events and goes into the same commit as the event that changes it
//! ([`index`]). The store never decides what shall happen: callers hand in events, and
//! [`Task::apply`] refuses those that may not happen. Called by `intake`, the executor, the web.

mod blob;
mod index;
pub mod kv;
pub mod memory;
pub mod sled;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use blob::BLOB_BYTES_MAX;
use kv::{Commit, CommitError, Kv, KvError, Range, Require, Revision, Watch};

use crate::host::{ReleaseId, TreeDigest};
use crate::task::{Event, IllegalTransition, Recorded, Submission, Task};

/// How many releases of an environment are looked at when old ones are deleted.
pub const RELEASES_MAX: usize = 200;

/// How many events one append may hold, so that a commit stays within the engine's limits.
pub const APPEND_EVENTS_MAX: usize = 40;

/// The summary of a task that lists show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub id: u64,
    pub state: String,
    /// What the state says besides its name: a reason, a time, a message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    pub project: String,
    pub environment: String,
    #[serde(rename = "ref")]
    pub reference: String,
    pub commit: Option<String>,
    pub submitter: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// How many events the task has.
    pub events: u64,
}

/// What is live on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    pub release: ReleaseId,
    /// The task that switched it.
    pub task: u64,
}

/// What is live on one host, with its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRelease {
    pub release: ReleaseId,
    pub task: u64,
    /// `None` where the release is none of ours.
    pub commit: Option<String>,
}

/// A release that a task has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    pub release: ReleaseId,
    pub commit: String,
    pub digest: TreeDigest,
    pub task: u64,
    /// Whether its task succeeded.
    pub good: bool,
}

/// A host that stays out of releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no task {0}")]
    NoTask(u64),
    /// Somebody else appended first: read the task again and decide anew.
    #[error("task {0} has changed meanwhile; look at it again")]
    Changed(u64),
    #[error("another task of {0} is at work; wait for its end, or stop it")]
    QueueHeld(String),
    /// It may have happened: read the task again.
    #[error("the store did not confirm the change of task {id}: {message}")]
    Unknown { id: u64, message: String },
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error("task {id}: event {number} cannot be read: {message}; restore the store from a backup")]
    Damaged {
        id: u64,
        number: u64,
        message: String,
    },
    #[error("the store holds no {0}; restore it from a backup")]
    NoBlob(String),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(transparent)]
    Commit(CommitError),
}

/// Which tasks a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub state: Option<String>,
    pub project: Option<String>,
    pub environment: Option<String>,
}

/// Tasks and what stands under them; cheap to clone.
#[derive(Clone)]
pub struct Store {
    kv: Arc<dyn Kv>,
    next_id: Arc<AtomicU64>,
}

impl Store {
    /// Opens the tasks of a key-value store.
    ///
    /// # Errors
    /// [`StoreError::Kv`] if it can't be read.
    pub async fn open(kv: Arc<dyn Kv>) -> Result<Self, StoreError> {
        let last = kv
            .range(Range::prefix(index::HEADS).descending().limit(1))
            .await?;
        let next = match last.rows.first() {
            Some(row) => index::id_of(&row.key).unwrap_or(0) + 1,
            None => 1,
        };
        Ok(Self {
            kv,
            next_id: Arc::new(AtomicU64::new(next)),
        })
    }

    /// The key-value store beneath, for accounts and sessions.
    #[must_use]
    pub fn kv(&self) -> Arc<dyn Kv> {
        self.kv.clone()
    }

    /// Takes a submission in: a new task, unless one for the same push is unfinished.
    ///
    /// `record` is the id of the spool record it came from; the same record gives the same task
    /// however often it is taken in.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn propose(
        &self,
        submission: Submission,
        record: Option<&str>,
        now: Timestamp,
    ) -> Result<Proposal, StoreError> {
        loop {
            if let Some(id) = self.taken_in(record).await? {
                return Ok(Proposal::TakenInBefore(id));
            }
            if let Some(id) = self.open_for(&submission).await? {
                match self.join(id, &submission, record, now).await {
                    Ok(()) => return Ok(Proposal::Joined(id)),
                    // It ended or went on meanwhile: look again.
                    Err(StoreError::Changed(_) | StoreError::Illegal(_)) => continue,
                    Err(error) => return Err(error),
                }
            }
            let id = self.next_id.fetch_add(1, Ordering::SeqCst);
            let first = vec![Recorded {
                time: now,
                event: Event::Proposed(Box::new(submission.clone())),
            }];
            let task = Task::begin(id, &first[0])?;
            let commit = index::proposal(&task, &first, record);
            match self.kv.commit(commit).await {
                Ok(_) => return Ok(Proposal::New(id)),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(index::error(id, error)),
            }
        }
    }

    /// Begins a task with all of these events, the first of which proposes it.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] if they do not fit together.
    pub async fn begin(&self, events: Vec<Recorded>) -> Result<Task, StoreError> {
        loop {
            let id = self.next_id.fetch_add(1, Ordering::SeqCst);
            let task = Task::fold(id, &events)?;
            match self.kv.commit(index::proposal(&task, &events, None)).await {
                Ok(_) => return Ok(task),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(index::error(id, error)),
            }
        }
    }

    async fn taken_in(&self, record: Option<&str>) -> Result<Option<u64>, StoreError> {
        let Some(record) = record else {
            return Ok(None);
        };
        let entry = self.kv.get(&index::record_key(record)).await?;
        Ok(entry.and_then(|entry| index::number(&entry.value)))
    }

    /// The unfinished task of the same repository, ref and object.
    async fn open_for(&self, submission: &Submission) -> Result<Option<u64>, StoreError> {
        let Some(key) = index::open_key(submission) else {
            return Ok(None);
        };
        let entry = self.kv.get(&key).await?;
        Ok(entry.and_then(|entry| index::number(&entry.value)))
    }

    async fn join(
        &self,
        id: u64,
        submission: &Submission,
        record: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let task = self.task(id).await?;
        let joined = vec![Recorded {
            time: now,
            event: Event::Joined {
                submitter: submission.submitter.name.clone(),
            },
        }];
        let mut commit = Commit::new();
        if let Some(record) = record {
            commit = commit
                .require(index::record_key(record), Require::Absent)
                .put(index::record_key(record), id.to_string());
        }
        self.append_with(&task, joined, commit).await?;
        Ok(())
    }

    /// Remembers that a spool record has been dealt with without a task of its own.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn task_of_record(&self, record: &str) -> Result<Option<u64>, StoreError> {
        self.taken_in(Some(record)).await
    }

    /// Appends events to a task and returns it as it is then, durably.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if the task has more events than `task` knows;
    /// [`StoreError::Illegal`] if one of the events may not happen; nothing was appended then.
    pub async fn append(&self, task: &Task, events: Vec<Recorded>) -> Result<Task, StoreError> {
        self.append_with(task, events, Commit::new()).await
    }

    async fn append_with(
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
            commit = commit.and(index::consequences(&changed, event, plan.as_deref()));
        }
        let commit = commit.and(index::appended(task, &changed, &events));
        match self.kv.commit(commit).await {
            Ok(_) => Ok(changed),
            Err(CommitError::Conflict { key }) if index::is_holder_key(&key) => {
                Err(StoreError::QueueHeld(format!(
                    "{} {}",
                    task.submission.project, task.submission.environment
                )))
            }
            Err(error) => Err(index::error(task.id, error)),
        }
    }

    /// A task, folded from its events.
    ///
    /// # Errors
    /// [`StoreError::NoTask`], [`StoreError::Damaged`], [`StoreError::Kv`].
    pub async fn task(&self, id: u64) -> Result<Task, StoreError> {
        let events = self.events(id).await?;
        Ok(Task::fold(id, &events)?)
    }

    /// The events of a task in order.
    ///
    /// # Errors
    /// As [`Store::task`].
    pub async fn events(&self, id: u64) -> Result<Vec<Recorded>, StoreError> {
        let rows = kv::all_rows(self.kv.as_ref(), &index::events_prefix(id)).await?;
        if rows.is_empty() {
            return Err(StoreError::NoTask(id));
        }
        rows.iter()
            .zip(0..)
            .map(|(row, number)| {
                serde_json::from_slice(&row.value).map_err(|error| StoreError::Damaged {
                    id,
                    number,
                    message: error.to_string(),
                })
            })
            .collect()
    }

    /// The events of a task from number `from` on.
    ///
    /// # Errors
    /// As [`Store::task`]; a task without further events is no error.
    pub async fn events_since(&self, id: u64, from: u64) -> Result<Vec<Recorded>, StoreError> {
        if from == 0 {
            return self.events(id).await;
        }
        let mut range =
            Range::prefix(index::events_prefix(id)).after(index::event_key(id, from - 1));
        let mut events = Vec::new();
        loop {
            let page = self.kv.range(range.clone()).await?;
            for row in &page.rows {
                let number = from + events.len() as u64;
                events.push(serde_json::from_slice(&row.value).map_err(|error| {
                    StoreError::Damaged {
                        id,
                        number,
                        message: error.to_string(),
                    }
                })?);
            }
            match page.rows.last() {
                Some(last) if page.more => range = range.after(last.key.clone()),
                _ => return Ok(events),
            }
        }
    }

    /// Heads of tasks, newest first, of those before `before`.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Damaged`].
    pub async fn list(
        &self,
        filter: &Filter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Head>, StoreError> {
        let prefix = index::list_prefix(filter);
        let mut heads = Vec::new();
        let mut after = before.map(|id| index::list_key(&prefix, id));
        loop {
            let mut range = Range::prefix(prefix.clone())
                .descending()
                .limit(limit.max(1));
            range.after = after;
            let page = self.kv.range(range).await?;
            for row in &page.rows {
                let Some(id) = index::id_of(&row.key) else {
                    continue;
                };
                let head = self.head(id).await?;
                if index::matches(filter, &head) {
                    heads.push(head);
                    if heads.len() == limit {
                        return Ok(heads);
                    }
                }
            }
            match page.rows.last() {
                Some(last) if page.more => after = Some(last.key.clone()),
                _ => return Ok(heads),
            }
        }
    }

    /// The head of one task.
    ///
    /// # Errors
    /// [`StoreError::NoTask`], [`StoreError::Kv`].
    pub async fn head(&self, id: u64) -> Result<Head, StoreError> {
        let entry = self
            .kv
            .get(&index::head_key(id))
            .await?
            .ok_or(StoreError::NoTask(id))?;
        serde_json::from_slice(&entry.value).map_err(|error| StoreError::Damaged {
            id,
            number: 0,
            message: error.to_string(),
        })
    }

    /// The ids of all tasks that are not at rest, oldest first, with the revision to watch from.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn active(&self) -> Result<(Vec<u64>, Revision), StoreError> {
        let mut revision = None;
        let mut ids = Vec::new();
        let mut range = Range::prefix(index::ACTIVE);
        loop {
            let page = self.kv.range(range.clone()).await?;
            revision.get_or_insert(page.revision);
            ids.extend(page.rows.iter().filter_map(|row| index::id_of(&row.key)));
            match page.rows.last() {
                Some(last) if page.more => range = range.after(last.key.clone()),
                _ => return Ok((ids, revision.unwrap_or_default())),
            }
        }
    }

    /// Changes of heads: one for each commit that changes a task.
    #[must_use]
    pub fn watch_heads(&self, after: Revision) -> Watch {
        self.kv.watch(index::HEADS, after)
    }

    /// The id of the task whose head has this key.
    #[must_use]
    pub fn head_id(key: &[u8]) -> Option<u64> {
        index::id_of(key)
    }

    /// The store's revision now.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn revision(&self) -> Result<Revision, StoreError> {
        let page = self.kv.range(Range::prefix(index::HEADS).limit(1)).await?;
        Ok(page.revision)
    }

    /// The next fence: higher than every one before.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn next_fence(&self) -> Result<u64, StoreError> {
        loop {
            let held = self.kv.get(index::FENCE).await?;
            let require = held
                .as_ref()
                .map_or(Require::Absent, |entry| Require::Version(entry.version));
            let next = held
                .and_then(|entry| index::number(&entry.value))
                .unwrap_or(0)
                + 1;
            let commit = Commit::new()
                .require(index::FENCE, require)
                .put(index::FENCE, next.to_string());
            match self.kv.commit(commit).await {
                Ok(_) => return Ok(next),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(index::error(0, error)),
            }
        }
    }

    /// What is live on the hosts of an environment, by host name.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn live(
        &self,
        project: &str,
        environment: &str,
    ) -> Result<BTreeMap<String, LiveRelease>, StoreError> {
        let prefix = index::live_prefix(project, environment);
        let mut commits: BTreeMap<ReleaseId, Option<String>> = BTreeMap::new();
        let mut hosts = BTreeMap::new();
        for row in kv::all_rows(self.kv.as_ref(), &prefix).await? {
            let host = String::from_utf8_lossy(&row.key[prefix.len()..]).into_owned();
            let Ok(live) = serde_json::from_slice::<Live>(&row.value) else {
                continue;
            };
            if !commits.contains_key(&live.release) {
                let record = self.release(project, environment, &live.release).await?;
                commits.insert(live.release.clone(), record.map(|record| record.commit));
            }
            let commit = commits.get(&live.release).cloned().flatten();
            hosts.insert(
                host,
                LiveRelease {
                    release: live.release,
                    task: live.task,
                    commit,
                },
            );
        }
        Ok(hosts)
    }

    /// What is live on one host of an environment.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn live_on(
        &self,
        project: &str,
        environment: &str,
        host: &str,
    ) -> Result<Option<Live>, StoreError> {
        let key = index::live_key(project, environment, host);
        let entry = self.kv.get(&key).await?;
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
    }

    /// The latest releases of an environment, newest first, at most [`RELEASES_MAX`].
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn releases(
        &self,
        project: &str,
        environment: &str,
    ) -> Result<Vec<ReleaseRecord>, StoreError> {
        let prefix = index::releases_prefix(project, environment);
        let range = Range::prefix(prefix).descending().limit(RELEASES_MAX);
        let page = self.kv.range(range).await?;
        Ok(page
            .rows
            .iter()
            .filter_map(|row| serde_json::from_slice(&row.value).ok())
            .collect())
    }

    /// Takes a host out of every release, or back in.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn set_host_disabled(
        &self,
        host: &str,
        disabled: Option<&Disabled>,
    ) -> Result<(), StoreError> {
        let key = index::disabled_key(host);
        let commit = match disabled {
            Some(disabled) => Commit::new().put(key, index::json(disabled)),
            None => Commit::new().delete(key),
        };
        self.kv
            .commit(commit)
            .await
            .map_err(|error| index::error(0, error))?;
        Ok(())
    }

    /// The hosts that are taken out, with the reason.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn disabled(&self) -> Result<BTreeMap<String, Disabled>, StoreError> {
        let rows = kv::all_rows(self.kv.as_ref(), index::DISABLED).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let host = String::from_utf8(row.key[index::DISABLED.len()..].to_vec()).ok()?;
                Some((host, serde_json::from_slice(&row.value).ok()?))
            })
            .collect())
    }

    /// The names of the hosts that are taken out.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn disabled_hosts(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.disabled().await?.into_keys().collect())
    }

    /// The record of a release.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn release(
        &self,
        project: &str,
        environment: &str,
        release: &ReleaseId,
    ) -> Result<Option<ReleaseRecord>, StoreError> {
        let key = index::release_key(project, environment, release);
        let entry = self.kv.get(&key).await?;
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
    }

    /// The highest id whose work has begun in an environment: what older tasks must not undo.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn latest_started(
        &self,
        project: &str,
        environment: &str,
    ) -> Result<Option<u64>, StoreError> {
        let entry = self
            .kv
            .get(&index::latest_key(project, environment))
            .await?;
        Ok(entry.and_then(|entry| index::number(&entry.value)))
    }
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposal {
    New(u64),
    /// An unfinished task of the same push took it up.
    Joined(u64),
    /// This very record was taken in before.
    TakenInBefore(u64),
}

impl Proposal {
    #[must_use]
    pub fn id(self) -> u64 {
        match self {
            Self::New(id) | Self::Joined(id) | Self::TakenInBefore(id) => id,
        }
    }
}
