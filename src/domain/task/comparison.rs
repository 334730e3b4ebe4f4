//! The comparison of a landed task with what is live, repeated when something else goes live. Pure;
//! called by the fold.

use super::{Event, Origin, State, Task};

impl Task {
    /// Whether its changes are compared with what is live now: it has landed on a commit, or goes
    /// back to what other tools left live, and has not begun.
    #[must_use]
    pub fn is_compared(&self) -> bool {
        let waits = matches!(
            self.state,
            State::Waiting | State::Scheduled { .. } | State::Queued
        );
        let found = matches!(self.submission.origin, Origin::Rollback { to: None, .. });
        waits && self.submission.has_environment() && (self.commit().is_some() || found)
    }

    /// Replaces the comparison; returns whether the event was a new one. A task that has begun
    /// meanwhile accepts a comparison made just before.
    pub(super) fn compare(&mut self, event: &Event) -> bool {
        let Event::Compared { description, with } = event else {
            return false;
        };
        if !self.is_compared() && self.state != State::Running {
            return false;
        }
        let Some(landed) = &mut self.landed else {
            return false;
        };
        if landed.description == *description && landed.compared == *with {
            return false;
        }
        landed.description.clone_from(description);
        landed.compared.clone_from(with);
        true
    }
}
