//! What may happen by itself to a task that is paused. Pure; called by `next`.

use jiff::{SignedDuration, Timestamp};

use super::work::PersonAsked;
use super::{Event, NextAction, Pause, State, StopRequester, Task, TaskWork};
use crate::domain::plan::Plan;

/// What waits for the task's time goes on by itself; what waits for a person does not for ever.
pub(super) fn paused(task: &Task, why: &Pause, work: &TaskWork, plan: &Plan) -> Vec<NextAction> {
    let mut actions = Vec::new();
    if matches!(why, Pause::StepGate | Pause::Time { .. }) {
        actions.extend(time_left(task, work).map(|time| NextAction::At(time, Event::Due)));
    }
    if let Some(end) = ends(task, why, plan) {
        let by = "tagship, since nobody let it go on in time (pause_timeout)".to_owned();
        let asker = StopRequester::Tagship;
        actions.push(NextAction::At(end, Event::StopRequested { by, asker }));
    }
    actions
}

/// When a pause that nobody ends stops the task, if it ever does. What was tried to be ended, and
/// could not be shown to have ended, waits for a person's word.
fn ends(task: &Task, why: &Pause, plan: &Plan) -> Option<Timestamp> {
    let patience_s = i64::try_from(plan.pause_timeout_s?).ok()?;
    let end = task
        .updated
        .checked_add(SignedDuration::from_secs(patience_s));
    let asked = task
        .work
        .as_ref()
        .is_some_and(|work| work.asked != PersonAsked::No);
    let waits = !matches!(why, Pause::Time { .. }) && !asked;
    end.ok().filter(|_| waits)
}

impl Task {
    /// When it is stopped unless somebody lets it go on: a task that is paused where people have only
    /// so much time (`pause_timeout`).
    #[must_use]
    pub fn pause_ends(&self, plan: &Plan) -> Option<Timestamp> {
        match &self.state {
            State::Paused { why } => ends(self, why, plan),
            _ => None,
        }
    }
}

/// The task's time, while what waits for it still has to.
pub(super) fn time_left(task: &Task, work: &TaskWork) -> Option<Timestamp> {
    task.time().filter(|_| work.due.is_none())
}
