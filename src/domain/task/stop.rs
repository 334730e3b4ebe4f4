//! The next actions of a task that is being stopped: end what runs, and ask a person about steps
//! that could not be shown to have ended. Pure; called by `next`.

use super::failure_summary::join_messages;
use super::work::PersonAsked;
use super::{Event, NextAction, Outcome, Pause, State, StepResult, Task, TaskWork};
use crate::domain::plan::Plan;

pub(super) fn stopping(work: &TaskWork, plan: &Plan) -> Vec<NextAction> {
    let running: Vec<NextAction> = work
        .steps
        .iter()
        .filter(|(at, step)| step.end.is_none() || work.to_kill.contains(at))
        .map(|(at, _)| NextAction::Kill { at: *at })
        .collect();
    if !running.is_empty() {
        return running;
    }
    // A person who was asked and requests stop again has checked it; no one else can have.
    let event = match unconfirmed_stops(work, plan) {
        Some(message) if work.person_asked != PersonAsked::Answered => {
            Event::Paused(Pause::Unknown { message })
        }
        _ => Event::Finished(Outcome::Stopped),
    };
    vec![NextAction::Record(event)]
}

/// Names the steps that may still run.
fn unconfirmed_stops(work: &TaskWork, plan: &Plan) -> Option<String> {
    let unknown = work.steps.iter().filter(|(_, step)| step.is_unknown());
    let failures: Vec<String> = unknown
        .filter_map(|(at, step)| {
            let Some((_, StepResult::Unknown { message })) = &step.end else {
                return None;
            };
            let name = &plan.step(*at)?.name;
            Some(format!("{}: {name}: {message}", plan.host_name(*at)))
        })
        .collect();
    (!failures.is_empty()).then(|| {
        let failures = join_messages(failures.iter().map(String::as_str));
        format!("{failures}; look on the host, then stop the task once more")
    })
}

impl Task {
    /// Whether a person was asked to check steps that could not be stopped, and has not answered.
    /// Requesting stop again is the answer.
    #[must_use]
    pub fn is_asked_about_stop(&self) -> bool {
        let work = self.work.as_ref();
        matches!(self.state, State::Paused { .. })
            && work.is_some_and(|work| work.person_asked == PersonAsked::Yes)
    }
}
