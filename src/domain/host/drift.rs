//! Drift: `current` of a host does not point to what tagship switched to.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ReleaseId;

/// `current` does not point to what tagship switched to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// What tagship switched to.
    pub from: ReleaseId,
    /// What `current` points to; `None` if there is none.
    pub to: Option<ReleaseId>,
    /// When the drift was first seen.
    pub since: Timestamp,
    /// When the link was made, by the host's clock; `None` if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
    /// Why `current` is not a link to a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<BrokenCurrent>,
}

/// Why `current` exists but does not point to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BrokenCurrent {
    /// A directory instead of the link.
    Directory,
    /// Something else that is not a link.
    File,
    /// A link to a path that does not exist; without a target if it leads to itself.
    Dangling,
    /// A link whose target cannot be shown.
    Text,
}

impl Drift {
    /// Whether a switch can replace it: releases and rollbacks replace only links.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        matches!(self.broken, None | Some(BrokenCurrent::Dangling))
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.broken {
            None => "look who switched it; the next release or rollback there replaces it",
            Some(BrokenCurrent::Dangling) => {
                "look who removed it; release or roll back there, which makes the link again"
            }
            Some(BrokenCurrent::Text) => {
                "look who made it; release or roll back there, which needs a plain link: see the error of that task"
            }
            Some(BrokenCurrent::Directory | BrokenCurrent::File) => {
                "look who put it there; run there, in deploy_to: mv -T current current.was && ln -s current.was current (the same stays live), then release or roll back"
            }
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.broken, &self.to) {
            (Some(BrokenCurrent::Directory), _) => {
                f.write_str("current is a directory and no link")?;
            }
            (Some(BrokenCurrent::File), _) => f.write_str("current is a file and no link")?,
            (Some(BrokenCurrent::Text), _) => {
                f.write_str("current is a link whose text cannot be shown")?;
            }
            (Some(BrokenCurrent::Dangling), Some(to)) => {
                write!(f, "current leads to {to}, which is not there")?;
            }
            (Some(BrokenCurrent::Dangling), None) => {
                f.write_str("current is a link that leads to itself")?;
            }
            (_, Some(to)) => write!(f, "current leads to {to}")?,
            (_, None) => f.write_str("current is missing")?,
        }
        write!(f, ", tagship switched it to {}", self.from)
    }
}
