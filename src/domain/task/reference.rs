//! The ref of a task: a push that deletes or moves it puts it in doubt, and nothing of the task
//! begins before it was looked for. Pure; called by the fold.

use jiff::Timestamp;

use super::{Event, Origin, State, Task};

impl Task {
    /// Whether a deletion or a move of its ref keeps it from beginning. Work that has begun
    /// continues, and so does a rollback: it returns to what was live.
    #[must_use]
    pub fn depends_on_ref(&self) -> bool {
        !self.is_rollback() && self.can_be_doubted()
    }

    /// Whether it goes back to an earlier release.
    #[must_use]
    pub fn is_rollback(&self) -> bool {
        matches!(self.submission.origin, Origin::Rollback { .. })
    }

    /// Whether its log may put its ref in doubt: earlier versions did so for a waiting rollback.
    fn can_be_doubted(&self) -> bool {
        match self.state {
            State::Proposed | State::Waiting | State::Scheduled { .. } => true,
            State::Queued => {
                let back = matches!(self.submission.origin, Origin::Rollback { .. });
                self.work.is_none() && !back
            }
            _ => false,
        }
    }

    /// Applies an event about the task's ref; returns whether it was one that the state allows.
    pub(super) fn apply_ref_event(&mut self, event: &Event, time: Timestamp) -> bool {
        match (&self.state, event) {
            (_, Event::RefDoubted) if self.can_be_doubted() => {
                self.doubted = Some(time);
            }
            (
                State::Proposed | State::Waiting | State::Scheduled { .. } | State::Queued,
                Event::RefConfirmed,
            ) => {
                self.doubted = None;
                self.ref_error = None;
            }
            (
                State::Waiting | State::Scheduled { .. } | State::Queued,
                Event::RefUnseen { reason },
            ) if self.doubted.is_some() => {
                self.ref_error = Some(reason.clone());
            }
            (State::Proposed, Event::NotLanded { reason }) => {
                self.landing_error = Some(reason.clone());
            }
            _ => return false,
        }
        true
    }
}
