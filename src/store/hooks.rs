//! The hook log: every ingested record, and its outcome.
//!
//! | key | holds |
//! |---|---|
//! | `hook/ID` | an entry |
//! | `hooked/HASH` | the entry of the spool file with this name |
//!
//! An entry is written in the same commit as its outcome, so it exists exactly if the task does. A
//! record ingested again after a crash finds its entry. Nothing is decided here: `intake` and
//! `push` write entries, the web reads them, the agent's maintenance deletes old ones.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::kv::{Commit, Key, Range, Require};
use super::{Store, StoreError, index};
use crate::domain::rule::TAGS;

/// How many entries one search reads; the next page continues from there.
pub const HOOK_SCAN_MAX: usize = 2_000;
/// How many replays an entry keeps; older ones are dropped.
const REPLAYS_MAX: usize = 50;
/// How many entries one commit deletes, with two keys each.
const TRIM_PIECE: usize = 40;

/// A record that was ingested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookEntry {
    pub id: u64,
    /// When the agent ingested it.
    pub at: Timestamp,
    /// The name of its spool file.
    pub file: String,
    /// The content; `None` if it was unreadable.
    pub push: Option<SeenPush>,
    /// The outcome in each project of its repository.
    #[serde(rename = "became")]
    pub outcomes: Vec<ProjectOutcome>,
    /// The replays, oldest first.
    #[serde(default)]
    pub replays: Vec<Replay>,
}

/// The content of a record, as far as it is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenPush {
    /// The record id that the hook assigned.
    pub record: String,
    pub repository: String,
    /// The full name of the ref.
    #[serde(rename = "ref")]
    pub reference: String,
    pub old: String,
    pub new: String,
    /// The pusher: reported by the git server only if the git user owns the file.
    pub pusher: String,
    /// The public SSH key used to push, if `pusher` is its fingerprint; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ssh_key: String,
    /// Whether `pusher` is the name of a system user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub system_user: bool,
    /// The numeric user id of the file's owner.
    pub owner: u32,
    /// The time of the push, by the git server's clock.
    pub pushed_at: Option<Timestamp>,
    /// Equal for all tags of one push; `None` if the hook does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<String>,
}

impl SeenPush {
    /// Returns the tag's short name.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.reference.strip_prefix(TAGS).unwrap_or(&self.reference)
    }
}

/// The outcome of a record in one project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectOutcome {
    /// `None` if no project was affected.
    pub project: Option<String>,
    #[serde(flatten)]
    pub outcome: HookOutcome,
    /// Tasks that were notified to check whether their ref still exists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubted: Vec<u64>,
}

/// The outcome of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum HookOutcome {
    /// It created a task.
    Proposed { task: u64 },
    /// It was merged into an unfinished task of the same push.
    Joined { task: u64 },
    /// The same record was ingested before from another file, as this task.
    Duplicate { task: u64 },
    /// No rule matches; with the reason of each.
    NoRule { reasons: Vec<String> },
    /// The tag was deleted, which starts nothing.
    Deleted,
    /// No project in the configuration has this repository.
    UnknownRepository,
    /// The file is malformed; it is kept in the spool's `bad/`.
    Unreadable { reason: String },
    /// It could not be processed.
    Refused { reason: String },
}

/// The names of all outcomes, as accepted by `tagship hooks --outcome`.
pub const OUTCOME_NAMES: [&str; 8] = [
    "proposed",
    "joined",
    "duplicate",
    "no-rule",
    "deleted",
    "unknown-repository",
    "unreadable",
    "refused",
];

impl HookOutcome {
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Proposed { .. } => "proposed",
            Self::Joined { .. } => "joined",
            Self::Duplicate { .. } => "duplicate",
            Self::NoRule { .. } => "no-rule",
            Self::Deleted => "deleted",
            Self::UnknownRepository => "unknown-repository",
            Self::Unreadable { .. } => "unreadable",
            Self::Refused { .. } => "refused",
        }
    }

    /// Returns the task that resulted.
    #[must_use]
    pub fn task(&self) -> Option<u64> {
        match self {
            Self::Proposed { task } | Self::Joined { task } | Self::Duplicate { task } => {
                Some(*task)
            }
            _ => None,
        }
    }
}

/// A replay of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    pub at: Timestamp,
    pub by: String,
    #[serde(rename = "became")]
    pub outcomes: Vec<ProjectOutcome>,
}

/// The filter of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookFilter {
    pub project: Option<String>,
    /// A part of the ref name.
    pub reference: Option<String>,
    pub pusher: Option<String>,
    /// One of [`OUTCOME_NAMES`].
    pub outcome: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl HookFilter {
    fn fits(&self, entry: &HookEntry) -> bool {
        let push = entry.push.as_ref();
        let any = |filter: &Option<String>, holds: &dyn Fn(&str) -> bool| {
            filter.as_deref().is_none_or(holds)
        };
        any(&self.project, &|name| {
            let mut results = entry.outcomes.iter();
            results.any(|result| result.project.as_deref() == Some(name))
        }) && any(&self.reference, &|part| {
            push.is_some_and(|push| push.reference.contains(part))
        }) && any(&self.pusher, &|name| {
            push.is_some_and(|push| push.pusher == name)
        }) && any(&self.outcome, &|name| {
            let mut results = entry.outcomes.iter();
            results.any(|result| result.outcome.name() == name)
        }) && self.until.is_none_or(|until| entry.at <= until)
    }
}

/// A page of entries, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookEntryPage {
    pub entries: Vec<HookEntry>,
    /// Continue before this entry; `None` at the end. Also set if entries were read and none
    /// matches.
    pub next: Option<u64>,
}

/// An entry that is being written, with the preconditions for that.
#[derive(Clone, Debug)]
pub struct HookNote {
    entry: HookEntry,
    condition: HookCondition,
    slot: Slot,
    /// Further writes of the commit.
    more: Commit,
}

#[derive(Clone, Debug)]
enum HookCondition {
    NotYet,
    At(Require),
}

/// Which list of the entry an outcome belongs to.
#[derive(Clone, Debug)]
enum Slot {
    Record,
    Replay { at: Timestamp, by: String },
}

impl HookNote {
    /// Returns the entry as it is now.
    #[must_use]
    pub fn entry(&self) -> &HookEntry {
        &self.entry
    }

    /// Adds writes to the commit of the next outcome.
    #[must_use]
    pub fn and(mut self, more: Commit) -> Self {
        self.more = self.more.and(more);
        self
    }

    /// Whether the entry already has an outcome for this project.
    #[must_use]
    pub fn answers(&self, project: Option<&str>) -> bool {
        let mut results = self.entry.outcomes.iter();
        results.any(|result| result.project.as_deref() == project)
    }

    /// Returns the writes that add an outcome to the entry.
    pub(super) fn commit(&self, result: ProjectOutcome) -> Commit {
        let mut entry = self.entry.clone();
        match &self.slot {
            Slot::Record => entry.outcomes.push(result),
            Slot::Replay { at, by } => {
                let replays = &mut entry.replays;
                match replays.iter_mut().find(|r| r.at == *at && r.by == *by) {
                    Some(replay) => replay.outcomes.push(result),
                    None => replays.push(Replay {
                        at: *at,
                        by: by.clone(),
                        outcomes: vec![result],
                    }),
                }
                let surplus = replays.len().saturating_sub(REPLAYS_MAX);
                replays.drain(..surplus);
            }
        }
        let key = hook_key(entry.id);
        let commit = match self.condition {
            HookCondition::At(require) => Commit::new().require(key.clone(), require),
            HookCondition::NotYet => {
                let hooked = hooked_key(&entry.file);
                Commit::new()
                    .require(key.clone(), Require::Absent)
                    .require(hooked.clone(), Require::Absent)
                    .put(hooked, entry.id.to_string())
            }
        };
        commit.put(key, index::json(&entry)).and(self.more.clone())
    }
}

fn hook_key(id: u64) -> Key {
    format!("hook/{id:016x}").into_bytes()
}

/// Hashed, since anyone who may write to the spool chooses the file names.
fn hooked_key(file: &str) -> Key {
    let hash: String = Sha256::digest(file.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    [index::HOOKED, hash.as_bytes()].concat()
}

impl Store {
    /// Returns the entry of a spool file for writing: the existing one, or a new one.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn hook_note(
        &self,
        file: &str,
        at: Timestamp,
        push: Option<&SeenPush>,
    ) -> Result<HookNote, StoreError> {
        let hooked = self.kv.get(&hooked_key(file)).await?;
        if let Some(id) = hooked.and_then(|entry| index::number(&entry.value))
            && let Some(note) = self.note_for(id, Slot::Record).await?
        {
            return Ok(note);
        }
        Ok(HookNote {
            entry: HookEntry {
                id: self.next_hook.fetch_add(1, Ordering::SeqCst),
                at,
                file: file.to_owned(),
                push: push.cloned(),
                outcomes: Vec::new(),
                replays: Vec::new(),
            },
            condition: HookCondition::NotYet,
            slot: Slot::Record,
            more: Commit::new(),
        })
    }

    /// Returns an entry for recording a replay.
    ///
    /// # Errors
    /// [`StoreError::NoHook`], [`StoreError::Kv`].
    pub async fn hook_replay(
        &self,
        id: u64,
        at: Timestamp,
        by: &str,
    ) -> Result<HookNote, StoreError> {
        let by = by.to_owned();
        let note = self.note_for(id, Slot::Replay { at, by }).await?;
        note.ok_or(StoreError::NoHook(id))
    }

    async fn note_for(&self, id: u64, slot: Slot) -> Result<Option<HookNote>, StoreError> {
        let Some(row) = self.kv.get(&hook_key(id)).await? else {
            return Ok(None);
        };
        Ok(Some(HookNote {
            entry: read(id, &row.value)?,
            condition: HookCondition::At(Require::Version(row.version)),
            slot,
            more: Commit::new(),
        }))
    }

    /// Writes an outcome that creates no task.
    ///
    /// # Errors
    /// [`StoreError::HooksChanged`] if the entry was written concurrently: read it again.
    pub async fn note_hook(
        &self,
        note: &HookNote,
        result: ProjectOutcome,
    ) -> Result<(), StoreError> {
        match self.kv.commit(note.commit(result)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(index::error_of(0, error)),
        }
    }

    /// Returns one entry.
    ///
    /// # Errors
    /// [`StoreError::NoHook`], [`StoreError::Kv`].
    pub async fn hook(&self, id: u64) -> Result<HookEntry, StoreError> {
        let row = self.kv.get(&hook_key(id)).await?;
        read(id, &row.ok_or(StoreError::NoHook(id))?.value)
    }

    /// Returns the matching entries before `before`, newest first. Reads at most [`HOOK_SCAN_MAX`]
    /// entries.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn hooks(
        &self,
        filter: &HookFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<HookEntryPage, StoreError> {
        let mut entries = Vec::new();
        let mut range = Range::prefix(index::HOOKS).descending();
        range.after = before.map(hook_key);
        let mut seen = 0;
        loop {
            let page = self
                .kv
                .range(range.clone().limit(HOOK_SCAN_MAX - seen))
                .await?;
            seen += page.rows.len();
            for row in &page.rows {
                let id = index::id_of(&row.key).unwrap_or(0);
                let entry = read(id, &row.value)?;
                if filter.since.is_some_and(|since| entry.at < since) {
                    return Ok(HookEntryPage {
                        entries,
                        next: None,
                    });
                }
                if entries.len() == limit {
                    let next = entries.last().map(|entry: &HookEntry| entry.id);
                    return Ok(HookEntryPage { entries, next });
                }
                if filter.fits(&entry) {
                    entries.push(entry);
                }
            }
            let last = page.rows.last().filter(|_| page.more);
            match last {
                Some(last) if seen < HOOK_SCAN_MAX => range = range.after(last.key.clone()),
                last => {
                    let next = last.and_then(|row| index::id_of(&row.key));
                    return Ok(HookEntryPage { entries, next });
                }
            }
        }
    }

    /// Deletes entries ingested before `oldest`, and the oldest beyond `keep`; returns how many.
    /// The newest one is kept, so that no number is used twice.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn trim_hooks(&self, oldest: Timestamp, keep: u64) -> Result<u64, StoreError> {
        let newest = self.kv.range(index::newest_hook()).await?;
        let newest = index::next_hook(newest.rows.first().map(|row| row.key.as_slice())) - 1;
        let mut deleted = 0;
        loop {
            let page = self
                .kv
                .range(Range::prefix(index::HOOKS).limit(TRIM_PIECE))
                .await?;
            let mut commit = Commit::new();
            let mut count = 0;
            for row in &page.rows {
                let id = index::id_of(&row.key).unwrap_or(0);
                let entry = read(id, &row.value)?;
                let surplus = id.saturating_add(keep) <= newest;
                if id >= newest || (entry.at >= oldest && !surplus) {
                    break;
                }
                commit = commit
                    .delete(row.key.clone())
                    .delete(hooked_key(&entry.file));
                count += 1;
            }
            if count == 0 {
                return Ok(deleted);
            }
            let committed = self.kv.commit(commit).await;
            committed.map_err(|error| index::error(0, error))?;
            deleted += count;
        }
    }
}

fn read(id: u64, value: &[u8]) -> Result<HookEntry, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::DamagedHook {
        id,
        message: error.to_string(),
    })
}
