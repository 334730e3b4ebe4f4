//! `current` of a host that is not what tagship switched to.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ReleaseId;

/// `current` does not lead to what tagship switched to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// What tagship switched to.
    pub from: ReleaseId,
    /// Where `current` leads; `None` where there is none.
    pub to: Option<ReleaseId>,
    /// When that was first seen.
    pub since: Timestamp,
    /// When the link was made, by the host's clock; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
    /// What keeps `current` from being a link to a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<BrokenCurrent>,
}

/// Why `current` leads to no release although it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BrokenCurrent {
    /// A directory where the link should be.
    Directory,
    /// Something else that is no link.
    File,
    /// A link to what is not there.
    Dangling,
    /// A link whose text cannot be shown.
    Text,
}

impl Drift {
    /// A release or rollback replaces a link by another one, and nothing else.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        matches!(self.broken, None | Some(BrokenCurrent::Dangling))
    }

    /// What to do about it.
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
            (_, Some(to)) => write!(f, "current leads to {to}")?,
            (_, None) => f.write_str("current is missing")?,
        }
        write!(f, ", tagship switched it to {}", self.from)
    }
}
