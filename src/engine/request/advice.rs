//! Which requests a task allows now, and how messages suggest them. Everything here calls
//! [`granted`] first, which tries each request as `decide` would, so that no suggestion is refused.
//! Pure; called by `request` for its refusals and by the web for its buttons.

use super::{AllowedRequest, RequestContext, RequestError, TaskRequest, attempt};
use crate::domain::approval::Actor;
use crate::domain::permission::Ability;
use crate::domain::plan::PlanDigest;
use crate::domain::task::{Event, Origin, Pause, State, StepProgress, StepResult, Task};

/// Returns the events that follow from a request, if the actor and the task's state allow it.
///
/// # Errors
/// [`RequestError`] names the missing permission, or the task's state and which requests are
/// possible instead.
pub fn decide(
    task: &Task,
    actor: &Actor,
    request: &TaskRequest,
    moment: &RequestContext<'_>,
) -> Result<Vec<Event>, RequestError> {
    attempt(task, actor, request, moment)
        .map(|event| vec![event])
        .map_err(|error| advised(error, task, actor, moment))
}

/// Returns the requests that the actor may make on the task now.
#[must_use]
pub fn granted(task: &Task, actor: &Actor, moment: &RequestContext<'_>) -> Vec<AllowedRequest> {
    let plan = task.landed.as_ref().map_or_else(
        || PlanDigest(String::new()),
        |landed| landed.terms.plan.clone(),
    );
    let allows = |may: AllowedRequest, host: &str| {
        let request = may.request(&plan, host);
        request.is_some_and(|request| attempt(task, actor, &request, moment).is_ok())
    };
    let mut granted: Vec<AllowedRequest> = AllowedRequest::OF_TASK
        .into_iter()
        .filter(|may| allows(*may, ""))
        .filter(|may| {
            *may != AllowedRequest::Retry || !(only_waits(task) || task.is_retry_futile())
        })
        .collect();
    for host in moment.plan.iter().flat_map(|plan| &plan.hosts) {
        for may in AllowedRequest::OF_HOST {
            if !granted.contains(&may) && allows(may, &host.name) {
                granted.push(may);
            }
        }
    }
    if actor.may(Ability::Run, "roll back").is_ok() {
        let rollbacks = moment.rollbacks;
        granted.extend(rollbacks.to_task.then_some(AllowedRequest::Rollback));
        granted.extend(
            rollbacks
                .before_live
                .then_some(AllowedRequest::RollbackBefore),
        );
    }
    granted
}

/// Whether it is paused at a gate without a failure: then there is nothing to retry.
fn only_waits(task: &Task) -> bool {
    let at_a_gate = matches!(
        task.state,
        State::Paused {
            why: Pause::Gate { .. } | Pause::StepGate | Pause::Time { .. }
        }
    );
    let wrong = |progress: &StepProgress| {
        matches!(
            progress.end,
            Some((
                _,
                StepResult::Failed { .. } | StepResult::Unknown { .. } | StepResult::Stopped
            ))
        )
    };
    let mut steps = task.work.iter().flat_map(|work| work.steps.values());
    at_a_gate && !steps.any(wrong)
}

/// Adds the possible requests to a refusal.
fn advised(
    error: RequestError,
    task: &Task,
    actor: &Actor,
    moment: &RequestContext<'_>,
) -> RequestError {
    match error {
        RequestError::State {
            id, state, what, ..
        } => RequestError::State {
            id,
            state,
            what,
            instead: instead(task, actor, moment),
        },
        RequestError::Newer { id, newer, .. } => RequestError::Newer {
            id,
            newer,
            instead: instead(task, actor, moment),
        },
        other => other,
    }
}

/// Returns a text such as `retry it, roll back (…) or push a new tag`.
fn instead(task: &Task, actor: &Actor, moment: &RequestContext<'_>) -> String {
    let id = task.id;
    let begins = match &task.state {
        State::Proposed => "wait until it has landed",
        State::Scheduled { .. } | State::Queued => "it starts automatically",
        State::Stopping { .. } => "wait until it has stopped",
        State::Succeeded | State::Rejected { .. } | State::Observed => "it has ended",
        _ => "",
    };
    let mut ways: Vec<String> = Vec::new();
    for may in granted(task, actor, moment) {
        let (project, environment) = (&task.submission.project, &task.submission.environment);
        let command = may.command(id, project, environment);
        let way = match may {
            AllowedRequest::Retry if ended_unstarted(&task.state) => {
                format!("retry it (`tagship {command}`)")
            }
            // A release whose task did not succeed is a target, but nothing to recommend.
            AllowedRequest::Rollback if task.state != State::Succeeded && !task.is_rollback() => {
                continue;
            }
            AllowedRequest::Rollback => format!("go back to it (`tagship {command}`)"),
            AllowedRequest::RollbackBefore if task.state.is_settled() => {
                format!("roll back to the release before the live one (`tagship {command}`)")
            }
            may => may.suggestion().to_owned(),
        };
        ways.extend(Some(way).filter(|way| !way.is_empty()));
    }
    if task.state.is_settled() {
        ways.push(new_request(task).to_owned());
    }
    let ways = match ways.as_slice() {
        [] if begins.is_empty() => "wait, or ask an approver".to_owned(),
        [] => return begins.to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    };
    if begins.is_empty() {
        ways
    } else {
        format!("{begins}; {ways}")
    }
}

fn ended_unstarted(state: &State) -> bool {
    matches!(
        state,
        State::Withdrawn { .. } | State::Superseded { .. } | State::Expired { .. }
    )
}

/// Returns how to request the same again with a new task.
fn new_request(task: &Task) -> &'static str {
    let back = matches!(task.submission.origin, Origin::Rollback { .. });
    if back || task.submission.has_reference() {
        "push a new tag"
    } else {
        "submit it again"
    }
}
