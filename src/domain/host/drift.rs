//! Drift: `current` of a host does not point to what tagship switched to.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::{BrokenCurrent, HostState, ReleaseId};

/// `current` does not point to what tagship switched to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// What tagship switched to.
    pub from: ReleaseId,
    /// What `current` points to; `None` if it does not exist.
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

impl Drift {
    /// Returns the drift if a host, as seen at `now`, is not at the release that tagship switched
    /// to (`switched`: since when). `known`: what was seen earlier.
    #[must_use]
    pub fn detect(
        release: &ReleaseId,
        switched: Option<Timestamp>,
        known: Option<&Self>,
        state: &HostState,
        now: Timestamp,
    ) -> Option<Self> {
        let (to, broken) = (state.live.clone(), state.broken);
        let moved = to.as_ref() != Some(release);
        if !moved && broken.is_none() {
            return None;
        }
        let known = known.filter(|known| (&known.to, known.broken) == (&to, broken));
        // A link older than tagship's switch was copied here: its time is meaningless.
        let changed = state.changed.filter(|at| {
            let after = switched.is_none_or(|switched| *at >= switched);
            moved && after && *at <= now
        });
        Some(Self {
            from: release.clone(),
            to,
            since: known.map_or(now, |known| known.since),
            changed,
            broken,
        })
    }

    /// Whether `current` points to this release.
    #[must_use]
    pub fn points_to(&self, release: &ReleaseId) -> bool {
        self.broken.is_none() && self.to.as_ref() == Some(release)
    }

    /// Whether a switch can replace it: only links are replaced, and by a release only one that it
    /// can lead back to.
    #[must_use]
    pub fn is_replaceable(&self, by_rollback: bool) -> bool {
        match self.broken {
            None | Some(BrokenCurrent::Dangling) => true,
            Some(BrokenCurrent::Text) => by_rollback,
            Some(BrokenCurrent::Directory | BrokenCurrent::File) => false,
        }
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.broken.map_or(
            "find out who switched it; the next release or rollback there replaces it",
            BrokenCurrent::remedy,
        )
    }
}

impl BrokenCurrent {
    /// Returns what to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Dangling => {
                "find out who removed it; release or roll back there, which makes the link again"
            }
            Self::Text => {
                "find out who made it; roll back there, which replaces it; a release needs a plain link, and its error says how to make one"
            }
            Self::Directory | Self::File => {
                "find out who put it there; run there, in deploy_to: mv -T current current.was && ln -s current.was current (the same stays live), then release or roll back"
            }
        }
    }
}

impl Drift {
    /// Returns it with since when it is known, by the given format of a time.
    pub fn describe(&self, show: impl Fn(Timestamp) -> String) -> String {
        let first = show(self.since);
        match self.changed {
            Some(changed) => format!(
                "{self} (changed {} by the host's clock, first seen {first})",
                show(changed)
            ),
            None => format!("{self} (first seen {first}; time of change unknown)"),
        }
    }
}

/// Formats a time in UTC.
#[must_use]
pub fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
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
                write!(f, "current points to {to}, which is not there")?;
            }
            (Some(BrokenCurrent::Dangling), None) => {
                f.write_str("current is a link that points to itself")?;
            }
            (_, Some(to)) => write!(f, "current points to {to}")?,
            (_, None) => f.write_str("current is missing")?,
        }
        write!(f, ", tagship switched it to {}", self.from)
    }
}
