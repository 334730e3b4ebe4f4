//! What may happen by itself to a task that is paused. Pure; called by `next`.

use jiff::{SignedDuration, Timestamp};

use super::work::Asked;
use super::{Action, Asker, Event, Pause, Task, Work};
use crate::plan::Plan;

/// What waits for the task's time goes on by itself; what waits for a person does not for ever.
pub(super) fn paused(task: &Task, why: &Pause, work: &Work, plan: &Plan) -> Vec<Action> {
    let mut actions = Vec::new();
    if matches!(why, Pause::StepGate | Pause::Time { .. }) {
        actions.extend(time_left(task, work).map(|time| Action::At(time, Event::Due)));
    }
    let patience = plan.pause_timeout_s.and_then(|s| i64::try_from(s).ok());
    let ends = patience.and_then(|s| task.updated.checked_add(SignedDuration::from_secs(s)).ok());
    // What was tried to be ended, and could not be shown to have ended, waits for a person's word.
    let waits = !matches!(why, Pause::Time { .. }) && work.asked == Asked::No;
    if let Some(end) = ends.filter(|_| waits) {
        let by = "tagship, since nobody let it go on in time (pause_timeout)".to_owned();
        let asker = Asker::Tagship;
        actions.push(Action::At(end, Event::StopRequested { by, asker }));
    }
    actions
}

/// The task's time, while what waits for it still has to.
pub(super) fn time_left(task: &Task, work: &Work) -> Option<Timestamp> {
    task.time().filter(|_| work.due.is_none())
}
