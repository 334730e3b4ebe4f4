//! The states of a task.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Pause;

/// The state of a task. Variants carry their evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// A push was seen; it is not known yet whether the ref landed.
    Proposed,
    /// Landed; it needs approval.
    Waiting,
    /// Approved, or free to run; its scheduled time has not come.
    Scheduled {
        at: Timestamp,
    },
    /// Its time has come; it runs as soon as its project and environment are free.
    Queued,
    Running,
    /// A person must decide how to continue.
    Paused {
        why: Pause,
    },
    /// A stop was requested; what runs is being ended.
    Stopping {
        by: String,
    },
    /// Nothing of it runs any more; hosts remain as they were when it stopped.
    Stopped,
    RollingBack {
        reason: String,
    },
    RolledBack {
        reason: String,
    },
    RollbackFailed {
        /// Why it was rolled back.
        reason: String,
        /// Why the rollback failed.
        back: String,
    },
    Failed {
        reason: String,
    },
    Succeeded,
    Rejected {
        by: String,
        reason: String,
    },
    Expired {
        reason: String,
    },
    Withdrawn {
        by: String,
        reason: String,
    },
    Superseded {
        by: u64,
    },
    Observed,
}

/// The names of all states, as accepted by `tagship tasks --state`.
pub const STATE_NAMES: [&str; 18] = [
    "proposed",
    "waiting",
    "scheduled",
    "queued",
    "running",
    "paused",
    "stopping",
    "stopped",
    "rolling-back",
    "rolled-back",
    "rollback-failed",
    "failed",
    "succeeded",
    "rejected",
    "expired",
    "withdrawn",
    "superseded",
    "observed",
];

impl State {
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Waiting => "waiting",
            Self::Scheduled { .. } => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused { .. } => "paused",
            Self::Stopping { .. } => "stopping",
            Self::Stopped => "stopped",
            Self::RollingBack { .. } => "rolling-back",
            Self::RolledBack { .. } => "rolled-back",
            Self::RollbackFailed { .. } => "rollback-failed",
            Self::Failed { .. } => "failed",
            Self::Succeeded => "succeeded",
            Self::Rejected { .. } => "rejected",
            Self::Expired { .. } => "expired",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Superseded { .. } => "superseded",
            Self::Observed => "observed",
        }
    }

    /// Whether the task holds its queue: no other task of its project and environment may run.
    #[must_use]
    pub fn holds_queue(&self) -> bool {
        matches!(
            self,
            Self::Running | Self::Paused { .. } | Self::Stopping { .. } | Self::RollingBack { .. }
        )
    }

    /// Whether nothing more happens unless a person requests it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.can_be_withdrawn() && !self.holds_queue()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().replace('-', " "))
    }
}

impl State {
    /// Whether the state of this name is [settled](State::is_settled).
    #[must_use]
    pub fn is_settled_name(name: &str) -> bool {
        !matches!(
            name,
            "proposed"
                | "waiting"
                | "scheduled"
                | "queued"
                | "running"
                | "paused"
                | "stopping"
                | "rolling-back"
        )
    }

    /// Whether a freeze can keep it from continuing.
    #[must_use]
    pub fn can_be_frozen(&self) -> bool {
        matches!(
            self,
            Self::Waiting
                | Self::Scheduled { .. }
                | Self::Queued
                | Self::Running
                | Self::Paused { .. }
                | Self::RollbackFailed { .. }
        )
    }

    /// Whether it has not begun: nothing of it runs yet.
    #[must_use]
    pub fn can_be_withdrawn(&self) -> bool {
        matches!(
            self,
            Self::Proposed | Self::Waiting | Self::Scheduled { .. } | Self::Queued
        )
    }
}
