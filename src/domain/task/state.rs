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

/// What a state means for the queue of its project and environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueuePhase {
    /// Nothing of the task runs yet.
    Before,
    /// No other task may run.
    Holding,
    /// Nothing more happens unless a person requests it.
    Settled,
}

/// Defines the names of states. Each row has a variant, its name and its phase.
macro_rules! states {
    ($($variant:ident $name:literal $phase:ident,)+) => {
        /// A state without its evidence, as lists and the API have it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum StateName {
            $($variant,)+
        }

        /// The names of all states, as accepted by `tagship tasks --state`.
        pub const STATE_NAMES: [&str; StateName::ALL.len()] = [$($name),+];

        impl StateName {
            /// All of them.
            pub const ALL: [Self; 18] = [$(Self::$variant),+];

            /// Returns `rolling-back`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Returns what the state means for the queue.
            #[must_use]
            pub fn phase(self) -> QueuePhase {
                match self {
                    $(Self::$variant => QueuePhase::$phase,)+
                }
            }
        }

        impl State {
            /// Returns its name.
            #[must_use]
            pub fn name(&self) -> StateName {
                match self {
                    $(Self::$variant { .. } => StateName::$variant,)+
                }
            }
        }
    };
}

states! {
    Proposed "proposed" Before,
    Waiting "waiting" Before,
    Scheduled "scheduled" Before,
    Queued "queued" Before,
    Running "running" Holding,
    Paused "paused" Holding,
    Stopping "stopping" Holding,
    Stopped "stopped" Settled,
    RollingBack "rolling-back" Holding,
    RolledBack "rolled-back" Settled,
    RollbackFailed "rollback-failed" Settled,
    Failed "failed" Settled,
    Succeeded "succeeded" Settled,
    Rejected "rejected" Settled,
    Expired "expired" Settled,
    Withdrawn "withdrawn" Settled,
    Superseded "superseded" Settled,
    Observed "observed" Settled,
}

impl StateName {
    /// Whether the task holds its queue: no other task of its project and environment may run.
    #[must_use]
    pub fn holds_queue(self) -> bool {
        self.phase() == QueuePhase::Holding
    }

    /// Whether nothing more happens unless a person requests it.
    #[must_use]
    pub fn is_settled(self) -> bool {
        self.phase() == QueuePhase::Settled
    }

    /// Whether it has landed, and nothing of it runs yet.
    #[must_use]
    pub fn waits(self) -> bool {
        self.phase() == QueuePhase::Before && self != Self::Proposed
    }

    /// Returns `rolling back`.
    #[must_use]
    pub fn words(self) -> String {
        self.as_str().replace('-', " ")
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl State {
    /// As [`StateName::holds_queue`].
    #[must_use]
    pub fn holds_queue(&self) -> bool {
        self.name().holds_queue()
    }

    /// As [`StateName::is_settled`].
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.name().is_settled()
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
        self.name().phase() == QueuePhase::Before
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().words())
    }
}
