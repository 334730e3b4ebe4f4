//! Creation of tasks in the store: exactly one per push.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::hooks::{HookNote, HookOutcome, ProjectOutcome};
use super::kv::{Commit, CommitError, Require};
use super::{IdempotencyKey, Store, StoreError, index};
use crate::domain::task::{Event, Origin, PushedTag, Recorded, Submission, Task};

/// The result of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposal {
    New(u64),
    /// It was merged into an unfinished task of the same push.
    Joined(u64),
    /// This exact record was ingested before.
    TakenInBefore(u64),
    /// Its idempotency key was used for this task, with other content.
    OtherContent(u64),
}

/// How long an idempotency key is kept, in seconds; after that it may be reused.
const KEYED_S: i64 = 7 * 24 * 3600;

/// The value stored under an idempotency key.
#[derive(Serialize, Deserialize)]
pub(super) struct ProposedKey {
    pub(super) task: u64,
    pub(super) digest: String,
    pub(super) at: Timestamp,
}

/// Returns extra writes for the commit that creates a task, given its id.
pub type ExtraWrites<'a> = &'a (dyn Fn(u64) -> Commit + Sync);

impl Proposal {
    #[must_use]
    pub fn id(self) -> u64 {
        match self {
            Self::New(id) | Self::Joined(id) | Self::TakenInBefore(id) | Self::OtherContent(id) => {
                id
            }
        }
    }

    /// Returns the matching outcome for the hook log.
    #[must_use]
    pub fn outcome(self) -> HookOutcome {
        match self {
            Self::New(task) => HookOutcome::Proposed { task },
            Self::Joined(task) => HookOutcome::Joined { task },
            // A record has no idempotency key.
            Self::TakenInBefore(task) | Self::OtherContent(task) => HookOutcome::Duplicate { task },
        }
    }
}

impl Store {
    /// Submits a push: creates a task, unless one for the same push is unfinished.
    ///
    /// `record` is the id of the spool record; the same record always results in the same task.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn propose(
        &self,
        submission: Submission,
        record: Option<&str>,
        now: Timestamp,
    ) -> Result<Proposal, StoreError> {
        let nothing = |_| Commit::new();
        self.propose_and(submission, record, now, &nothing).await
    }

    /// Like [`Store::propose`], and records the outcome in the hook log in the same commit.
    ///
    /// # Errors
    /// [`StoreError::HooksChanged`] if the entry was written concurrently; nothing was proposed.
    pub async fn propose_noted(
        &self,
        submission: Submission,
        record: Option<&str>,
        now: Timestamp,
        note: &HookNote,
        doubted: &[u64],
    ) -> Result<Proposal, StoreError> {
        let project = submission.project.clone();
        let note_outcome = |proposal: Proposal| {
            note.commit(ProjectOutcome {
                project: Some(project.clone()),
                outcome: proposal.outcome(),
                doubted: doubted.to_vec(),
            })
        };
        self.propose_and(submission, record, now, &note_outcome)
            .await
    }

    async fn propose_and(
        &self,
        submission: Submission,
        record: Option<&str>,
        now: Timestamp,
        also: &(dyn Fn(Proposal) -> Commit + Sync),
    ) -> Result<Proposal, StoreError> {
        loop {
            if let Some(id) = self.recorded_task(record).await? {
                let before = Proposal::TakenInBefore(id);
                let noted = also(before);
                if !noted.writes().is_empty() {
                    let committed = self.kv.commit(noted).await;
                    committed.map_err(|error| index::error_of(id, error))?;
                }
                return Ok(before);
            }
            if let Some(id) = self.open_for(&submission).await? {
                let more = also(Proposal::Joined(id));
                match self.join(id, &submission, record, now, more).await {
                    Ok(()) => return Ok(Proposal::Joined(id)),
                    // The task ended or advanced meanwhile: check again.
                    Err(StoreError::Changed(_) | StoreError::Illegal(_)) => continue,
                    Err(error) => return Err(error),
                }
            }
            let id = self.next_id.fetch_add(1, Ordering::SeqCst);
            let mut submission = submission.clone();
            let pushed = self.pushed(&mut submission, id).await?;
            let first = vec![Recorded {
                time: now,
                event: Event::Proposed(Box::new(submission)),
            }];
            let task = Task::begin(id, &first[0])?;
            let commit = index::proposal(&task, &first, record)
                .and(pushed)
                .and(also(Proposal::New(id)));
            match self.kv.commit(commit).await {
                Ok(_) => return Ok(Proposal::New(id)),
                Err(CommitError::Conflict { key }) if index::is_hook_key(&key) => {
                    return Err(StoreError::HooksChanged);
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(index::error(id, error)),
            }
        }
    }

    /// Sets the first task of its push in a submission, and returns the writes that record it.
    async fn pushed(&self, submission: &mut Submission, id: u64) -> Result<Commit, StoreError> {
        let Origin::Tag(PushedTag {
            push: Some(push), ..
        }) = &mut submission.origin
        else {
            return Ok(Commit::new());
        };
        let key = index::push_key(&submission.project, &push.id);
        let first = self.kv.get(&key).await?;
        if let Some(first) = first.and_then(|entry| index::number(&entry.value)) {
            push.first = first;
            return Ok(Commit::new());
        }
        push.first = id;
        Ok(Commit::new()
            .require(key.clone(), Require::Absent)
            .put(key, id.to_string()))
    }

    /// Creates a task with all of these events, the first of which proposes it.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] if they are not a legal sequence.
    pub async fn begin(&self, events: Vec<Recorded>) -> Result<Task, StoreError> {
        self.begin_with(events, &|_| Commit::new()).await
    }

    /// Like [`Store::begin`], with `also` in the same commit.
    ///
    /// # Errors
    /// As [`Store::begin`]; [`StoreError::Changed`] if a requirement of `also` does not hold.
    pub async fn begin_with(
        &self,
        events: Vec<Recorded>,
        also: ExtraWrites<'_>,
    ) -> Result<Task, StoreError> {
        loop {
            let id = self.next_id.fetch_add(1, Ordering::SeqCst);
            let more = also(id);
            let task = Task::fold(id, &events)?;
            let commit = index::proposal(&task, &events, None)
                .and(self.words_added(&task, &events).await?)
                .and(more.clone());
            match self.kv.commit(commit).await {
                Ok(_) => return Ok(task),
                Err(CommitError::Conflict { key }) if !more.requires(&key) => {}
                Err(error) => return Err(index::error(id, error)),
            }
        }
    }

    /// Submits a task manually: creates it, unless one exists under the same idempotency key. Key,
    /// task and `also` are written in one commit.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`]; [`StoreError::Changed`] if a requirement of
    /// `also` does not hold.
    pub async fn submit(
        &self,
        submission: Submission,
        idempotency: Option<&IdempotencyKey>,
        now: Timestamp,
        also: ExtraWrites<'_>,
    ) -> Result<Proposal, StoreError> {
        loop {
            let id = self.next_id.fetch_add(1, Ordering::SeqCst);
            let also = also(id);
            let mut more = also.clone();
            if let Some(idempotency) = idempotency {
                let (kept, require) = self.kept(idempotency, now).await?;
                if let Some(kept) = kept {
                    return Ok(if kept.digest == idempotency.digest {
                        Proposal::TakenInBefore(kept.task)
                    } else {
                        Proposal::OtherContent(kept.task)
                    });
                }
                let kept = ProposedKey {
                    task: id,
                    digest: idempotency.digest.clone(),
                    at: now,
                };
                let key = index::idempotency_row(idempotency);
                more = more
                    .require(key.clone(), require)
                    .put(key, index::json(&kept));
            }
            let first = vec![Recorded {
                time: now,
                event: Event::Proposed(Box::new(submission.clone())),
            }];
            let task = Task::begin(id, &first[0])?;
            let commit = more.and(index::proposal(&task, &first, None));
            match self.kv.commit(commit).await {
                Ok(_) => return Ok(Proposal::New(id)),
                Err(CommitError::Conflict { key }) if !also.requires(&key) => {}
                Err(error) => return Err(index::error(id, error)),
            }
        }
    }

    /// Returns the task of an idempotency key, with the digest of the request.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn task_of_key(
        &self,
        idempotency: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<(u64, String)>, StoreError> {
        let (kept, _) = self.kept(idempotency, now).await?;
        Ok(kept.map(|kept| (kept.task, kept.digest)))
    }

    /// Returns the unexpired value of the key, and the condition for replacing it.
    async fn kept(
        &self,
        idempotency: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<(Option<ProposedKey>, Require), StoreError> {
        let Some(entry) = self.kv.get(&index::idempotency_row(idempotency)).await? else {
            return Ok((None, Require::Absent));
        };
        let kept = serde_json::from_slice(&entry.value).ok();
        let counts = |kept: &ProposedKey| now.duration_since(kept.at).as_secs() < KEYED_S;
        Ok((kept.filter(counts), Require::Version(entry.version)))
    }

    async fn recorded_task(&self, record: Option<&str>) -> Result<Option<u64>, StoreError> {
        let Some(record) = record else {
            return Ok(None);
        };
        let entry = self.kv.get(&index::record_key(record)).await?;
        Ok(entry.and_then(|entry| index::number(&entry.value)))
    }

    /// Returns the unfinished task of the same repository, ref and object.
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
        mut commit: Commit,
    ) -> Result<(), StoreError> {
        let task = self.task(id).await?;
        let joined = vec![Recorded {
            time: now,
            event: Event::Joined {
                submitter: submission.submitter.name.clone(),
            },
        }];
        if let Some(record) = record {
            commit = commit
                .require(index::record_key(record), Require::Absent)
                .put(index::record_key(record), id.to_string());
        }
        self.append_with(&task, joined, commit).await?;
        Ok(())
    }

    /// Returns the task that a spool record became, if it was ingested.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn task_of_record(&self, record: &str) -> Result<Option<u64>, StoreError> {
        self.recorded_task(Some(record)).await
    }
}
