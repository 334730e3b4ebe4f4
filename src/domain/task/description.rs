//! What landing found out about a commit: who wrote it, and how it relates to what is live. Only
//! words; `landing` works them out, the store keeps them as a blob, the page shows them.
//!
//! Every list is bounded and carries its total. All texts come from a repository: whoever shows them
//! escapes them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::host::ReleaseId;

/// So many relations to what is live are kept of a task, and so many releases.
pub const RELATIONS_MAX: usize = 10;

/// A landed object and its relation to what is live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The commit that the object leads to, hex digits.
    pub commit: String,
    /// `None` for a lightweight tag.
    pub tag: Option<TagInfo>,
    pub subject: String,
    pub author: CommitPerson,
    pub committed_at: Timestamp,
    /// One for each distinct live commit, in the order of the question.
    pub comparisons: Vec<Comparison>,
}

impl Description {
    /// How the commit relates to what is live, each relation once.
    #[must_use]
    pub fn relations(&self) -> Vec<Relation> {
        let mut relations: Vec<Relation> = Vec::new();
        for comparison in &self.comparisons {
            if !relations.contains(&comparison.relation) {
                relations.push(comparison.relation);
            }
        }
        relations.truncate(RELATIONS_MAX);
        relations
    }
}

/// An annotated tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagInfo {
    /// The name inside the tag object.
    pub name: String,
    /// Whether the ref's short name is that name. A signed tag that was pushed under another name
    /// still verifies.
    pub named_as_ref: bool,
    pub tagger: Option<CommitPerson>,
    pub message: String,
}

/// Who, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitPerson {
    pub name: String,
    pub email: String,
    pub at: Timestamp,
}

/// How the landed commit relates to one live commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    pub live: Option<String>,
    pub hosts: Vec<String>,
    pub relation: Relation,
    /// Commits that come, newest first, at most 50.
    pub coming: Vec<CommitLine>,
    /// Commits that are taken back, newest first, at most 50.
    pub going: Vec<CommitLine>,
    pub files_changed: u64,
    /// `None` where too many files differ to count their lines.
    pub insertions: Option<u64>,
    pub deletions: Option<u64>,
    /// At most 200; `files_changed` is the total.
    pub paths: Vec<ChangedPath>,
}

/// Where a commit stands, seen from the live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Relation {
    /// Nothing is live.
    First,
    Same,
    /// The live commit is an ancestor.
    Ahead {
        commits: u64,
    },
    /// It is an ancestor of the live commit.
    Back {
        commits: u64,
    },
    /// Each has commits that the other lacks.
    Diverged {
        ahead: u64,
        back: u64,
    },
    /// The mirror does not know the live commit.
    Unknown,
}

/// One commit of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitLine {
    pub commit: String,
    pub subject: String,
    pub author: String,
    pub at: Timestamp,
}

/// One path that differs: `A`dded, `M`odified, `D`eleted or `T`ype changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedPath {
    pub status: char,
    pub path: String,
}

/// What a task was compared with, in short: the comparison itself is in its description.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ComparedWith {
    /// The releases that were live then, the one on most hosts first.
    pub live: Vec<ComparedRelease>,
    /// How the task's commit relates to the live ones, each relation once.
    pub relations: Vec<Relation>,
}

impl ComparedWith {
    /// Older events do not say what it was.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// A release that was live when a task was compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedRelease {
    pub release: ReleaseId,
    /// The task that made it live, its tag and commit; empty and `None` for a release that tagship
    /// did not make.
    pub task: u64,
    #[serde(default)]
    pub tag: String,
    #[serde(default)]
    pub commit: Option<String>,
    /// Since when, if that is known.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// On how many hosts.
    pub hosts: usize,
}
