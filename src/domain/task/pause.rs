//! What may happen automatically to a paused task. Pure; called by `next`.

use jiff::{SignedDuration, Timestamp};

use super::work::PersonAsked;
use super::{Event, NextAction, Pause, State, StopRequester, Task, TaskWork};
use crate::domain::plan::Plan;

/// Resumes what waits for the scheduled time; stops what waits too long for a person.
pub(super) fn paused(task: &Task, why: &Pause, work: &TaskWork, plan: &Plan) -> Vec<NextAction> {
    let mut actions = Vec::new();
    if matches!(why, Pause::StepGate | Pause::Time { .. }) {
        actions.extend(time_left(task, work).map(|time| NextAction::At(time, Event::Due)));
    }
    if let Some(end) = ends(task, why, plan) {
        let by = "tagship, since no user resumed it in time (pause_timeout)".to_owned();
        let requester = StopRequester::Tagship;
        actions.push(NextAction::At(end, Event::StopRequested { by, requester }));
    }
    actions
}

/// Returns when the pause times out and the task is stopped, if ever. Steps that could not be shown
/// to have ended wait for a person without limit.
fn ends(task: &Task, why: &Pause, plan: &Plan) -> Option<Timestamp> {
    let patience_s = i64::try_from(plan.pause_timeout_s?).ok()?;
    let end = task
        .updated
        .checked_add(SignedDuration::from_secs(patience_s));
    let is_asked = task
        .work
        .as_ref()
        .is_some_and(|work| work.person_asked != PersonAsked::No);
    let waits = !matches!(why, Pause::Time { .. }) && !is_asked;
    end.ok().filter(|_| waits)
}

impl Task {
    /// Returns when the paused task is stopped unless it is resumed, if the environment limits that
    /// time (`pause_timeout`).
    #[must_use]
    pub fn pause_ends(&self, plan: &Plan) -> Option<Timestamp> {
        match &self.state {
            State::Paused { why } => ends(self, why, plan),
            _ => None,
        }
    }
}

/// Returns the task's scheduled time while something still waits for it.
pub(super) fn time_left(task: &Task, work: &TaskWork) -> Option<Timestamp> {
    task.scheduled_time().filter(|_| work.due.is_none())
}
