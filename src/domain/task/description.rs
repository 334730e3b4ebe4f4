//! What landing determined about a commit: its author, and how it relates to what is live. Data
//! only; `landing` computes it, the store keeps it as a blob, the page shows it.
//!
//! Every list is bounded and carries its total. All text comes from a repository: escape it before
//! showing it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::host::ReleaseId;

/// Maximum number of relations to live releases, and of those releases, kept for a task.
pub const RELATIONS_MAX: usize = 10;

/// A landed object and its relation to what is live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The commit that the object resolves to, hex digits.
    pub commit: String,
    /// `None` for a lightweight tag.
    pub tag: Option<TagInfo>,
    pub subject: String,
    pub author: CommitPerson,
    pub committed_at: Timestamp,
    /// One for each distinct live commit, in the order requested.
    pub comparisons: Vec<Comparison>,
}

impl Description {
    /// Returns how the commit relates to what is live, each relation once.
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
    /// Whether this is also the ref's short name. A signed tag that was pushed under another name
    /// still verifies.
    pub named_as_ref: bool,
    pub tagger: Option<CommitPerson>,
    pub message: String,
}

/// Shown instead of an author with neither name nor e-mail address.
const UNKNOWN_AUTHOR: &str = "unknown author";

/// A person and a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitPerson {
    pub name: String,
    pub email: String,
    pub at: Timestamp,
}

impl CommitPerson {
    /// Returns the name, else the e-mail address: git accepts commits without either.
    #[must_use]
    pub fn shown(&self) -> &str {
        let known = [&self.name, &self.email].into_iter();
        let mut known = known.map(|text| text.trim());
        known
            .find(|text| !text.is_empty())
            .unwrap_or(UNKNOWN_AUTHOR)
    }

    /// Returns the e-mail address to show after the name, if it has both.
    #[must_use]
    pub fn email_after_name(&self) -> Option<&str> {
        let both = !self.name.trim().is_empty() && !self.email.trim().is_empty();
        both.then_some(self.email.as_str())
    }
}

/// How the landed commit relates to one live commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    pub live: Option<String>,
    pub hosts: Vec<String>,
    pub relation: Relation,
    /// Commits that are added, newest first, at most 50.
    pub coming: Vec<CommitLine>,
    /// Commits that are removed, newest first, at most 50.
    pub going: Vec<CommitLine>,
    pub files_changed: u64,
    /// `None` if too many files differ to count their lines.
    pub insertions: Option<u64>,
    pub deletions: Option<u64>,
    /// At most 200; `files_changed` is the total.
    pub paths: Vec<ChangedPath>,
}

/// Position of a commit relative to the live one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Relation {
    /// Nothing is live.
    #[default]
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

/// Summary of what a task was compared with; its description holds the comparison itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ComparedWith {
    /// The releases that were live at that time, the one on most hosts first.
    pub live: Vec<ComparedRelease>,
    /// How the task's commit relates to the live ones, each relation once.
    pub relations: Vec<Relation>,
}

impl ComparedWith {
    /// Whether nothing is recorded, as in older events.
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
    /// Since when it was live, if known.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// The number of hosts.
    pub hosts: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn author_without_a_name_is_shown_by_email() {
        for (name, email, shown, after) in [
            ("Alice", "a@example.com", "Alice", Some("a@example.com")),
            ("Alice", "", "Alice", None),
            (" ", "a@example.com", "a@example.com", None),
            ("", "", UNKNOWN_AUTHOR, None),
        ] {
            let author = CommitPerson {
                name: name.to_owned(),
                email: email.to_owned(),
                at: Timestamp::UNIX_EPOCH,
            };
            assert_eq!((author.shown(), author.email_after_name()), (shown, after));
        }
    }
}
