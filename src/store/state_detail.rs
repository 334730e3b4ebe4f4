//! What a list says of a task's state in tagship's own words: as data, so that each reader gets it in
//! their language. Pure.

use serde::{Deserialize, Serialize};

use crate::base::language::Message;
use crate::domain::task::{Pause, State, Task};

/// The details of a state. What a program, a host or a person said has none: it is shown as it was
/// said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum StateDetail {
    /// It would continue, but its tag cannot be looked for on the git server.
    RefUnseen {
        tag: String,
        why: String,
    },
    NotLanded {
        why: String,
    },
    /// It waits before this stage, counted from 1.
    StageGate {
        number: u32,
    },
    StepGate,
    TimeGate,
    StopRequested {
        by: String,
    },
    /// It was rejected or withdrawn; the reason may be empty.
    EndedBy {
        by: String,
        reason: String,
    },
    SupersededBy {
        task: u64,
    },
}

impl StateDetail {
    /// Returns the details of a task's state, if tagship words them.
    #[must_use]
    pub fn of(task: &Task) -> Option<Self> {
        Some(match (&task.state, &task.ref_error) {
            (State::Waiting | State::Scheduled { .. } | State::Queued, Some(why)) => {
                let tag = task.tag().to_owned();
                let why = why.clone();
                Self::RefUnseen { tag, why }
            }
            (State::Proposed, _) => {
                let why = task.landing_error.clone()?;
                Self::NotLanded { why }
            }
            (State::Paused { why }, _) => match why {
                Pause::Gate { stage } => {
                    let number = u32::from(*stage) + 1;
                    Self::StageGate { number }
                }
                Pause::StepGate => Self::StepGate,
                Pause::Time { .. } => Self::TimeGate,
                Pause::HostFailed { .. } | Pause::Unknown { .. } => return None,
            },
            (State::Stopping { by }, _) => Self::StopRequested { by: by.clone() },
            (State::Rejected { by, reason } | State::Withdrawn { by, reason }, _) => {
                let (by, reason) = (by.clone(), reason.clone());
                Self::EndedBy { by, reason }
            }
            (State::Superseded { by }, _) => Self::SupersededBy { task: *by },
            _ => return None,
        })
    }

    /// Says it, for readers of any language.
    #[must_use]
    pub fn message(&self) -> Message {
        match self.clone() {
            Self::RefUnseen { tag, why } => Message::new("detail-ref-unseen")
                .with("tag", tag)
                .with("why", why),
            Self::NotLanded { why } => Message::new("detail-not-landed").with("why", why),
            Self::StageGate { number } => Message::new("detail-gate").with("number", number),
            Self::StepGate => Message::new("detail-gate-of-a-step"),
            Self::TimeGate => Message::new("detail-time"),
            Self::StopRequested { by } => Message::new("detail-asked-by").with("by", by),
            Self::EndedBy { by, reason } if reason.is_empty() => {
                Message::new("detail-by").with("by", by)
            }
            Self::EndedBy { by, reason } => Message::new("detail-by-because")
                .with("by", by)
                .with("reason", reason),
            Self::SupersededBy { task } => Message::new("detail-by-task").with("task", task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::language::Language;

    #[test]
    fn details_are_said_in_the_language_of_their_reader() {
        let by = || "alice".to_owned();
        let said = |detail: &StateDetail| {
            let message = detail.message();
            Language::ALL.map(|language| message.in_language(language))
        };
        let reason = "no: by task 7".to_owned();
        let ended = StateDetail::EndedBy { by: by(), reason };
        assert_eq!(
            said(&ended),
            [
                "by alice: no: by task 7",
                "操作人：alice，原因：no: by task 7"
            ]
        );
        let reason = String::new();
        let ended = StateDetail::EndedBy { by: by(), reason };
        assert_eq!(said(&ended), ["by alice", "操作人：alice"]);
        assert_eq!(
            said(&StateDetail::StageGate { number: 2 }),
            [
                "waits at the gate before stage 2",
                "在第 2 阶段前的卡点等待"
            ]
        );
    }
}
