//! Which requests a task allows now, and how messages suggest them. Everything here calls
//! [`granted`] first, which tries each request as `decide` would, so that no suggestion is refused.
//! Pure; called by `request` for its refusals and by the web for its buttons.

use serde::{Deserialize, Serialize};

use super::{RequestContext, RequestError, TaskRequest, attempt};
use crate::domain::approval::Actor;
use crate::domain::permission::Ability;
use crate::domain::plan::PlanDigest;
use crate::domain::task::{Event, Origin, Pause, State, StepProgress, StepResult, Task};

/// A request that a task allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllowedRequest {
    Approve,
    /// Give all missing approvals in an emergency.
    Emergency,
    Reject,
    Withdraw,
    Stop,
    /// Stop one of its hosts.
    StopHost,
    /// Skip one of its hosts.
    Skip,
    Retry,
    /// Resume at a gate. `go` is its name in JSON since the first version.
    #[serde(rename = "go")]
    Resume,
    /// Run despite a freeze.
    OverrideFreeze,
    /// Roll back to what this task released.
    Rollback,
    /// Roll back to the good release before the live one.
    RollbackBefore,
}

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
    let mut granted = of_task(task, actor, moment);
    let hosts = moment.plan.iter().flat_map(|plan| &plan.hosts);
    for host in hosts {
        for (what, request) in of_host(&host.name) {
            if !granted.contains(&what) && attempt(task, actor, &request, moment).is_ok() {
                granted.push(what);
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

/// Returns the requests for the whole task.
fn of_task(task: &Task, actor: &Actor, moment: &RequestContext<'_>) -> Vec<AllowedRequest> {
    let reason = || "because".to_owned();
    let plan = task.landed.as_ref().map_or_else(
        || PlanDigest(String::new()),
        |landed| landed.terms.plan.clone(),
    );
    let approve = |emergency| TaskRequest::Approve {
        plan: plan.clone(),
        comment: String::new(),
        not_before: None,
        emergency,
    };
    let requests = [
        (AllowedRequest::Approve, approve(None)),
        (AllowedRequest::Emergency, approve(Some(reason()))),
        (
            AllowedRequest::Reject,
            TaskRequest::Reject { reason: reason() },
        ),
        (
            AllowedRequest::Withdraw,
            TaskRequest::Withdraw { reason: reason() },
        ),
        (
            AllowedRequest::OverrideFreeze,
            TaskRequest::OverrideFreeze { reason: reason() },
        ),
        (AllowedRequest::Stop, TaskRequest::Stop { host: None }),
        (AllowedRequest::Retry, TaskRequest::Retry),
        (AllowedRequest::Resume, TaskRequest::Resume { host: None }),
    ];
    requests
        .into_iter()
        .filter(|(_, request)| attempt(task, actor, request, moment).is_ok())
        .map(|(may, _)| may)
        .filter(|may| {
            *may != AllowedRequest::Retry || !(only_waits(task) || task.is_retry_futile())
        })
        .collect()
}

fn of_host(name: &str) -> [(AllowedRequest, TaskRequest); 2] {
    let host = name.to_owned();
    let stop = TaskRequest::Stop {
        host: Some(host.clone()),
    };
    let reason = "because".to_owned();
    [
        (AllowedRequest::StopHost, stop),
        (AllowedRequest::Skip, TaskRequest::Skip { host, reason }),
    ]
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
        let way = match may {
            AllowedRequest::Approve => "approve it".to_owned(),
            AllowedRequest::Reject => "reject it".to_owned(),
            AllowedRequest::Withdraw => "withdraw it".to_owned(),
            AllowedRequest::Stop => "stop it".to_owned(),
            AllowedRequest::Retry if ended_unstarted(&task.state) => {
                format!("retry it (`tagship retry {id}`)")
            }
            AllowedRequest::Retry => "retry it".to_owned(),
            AllowedRequest::Resume => "resume it at its gate".to_owned(),
            AllowedRequest::Rollback => format!("go back to it (`tagship rollback {id}`)"),
            AllowedRequest::RollbackBefore if task.state.is_settled() => {
                let (project, environment) =
                    (&task.submission.project, &task.submission.environment);
                format!(
                    "roll back to the release before the live one (`tagship rollback --project {project} --environment {environment}`)"
                )
            }
            AllowedRequest::Emergency
            | AllowedRequest::StopHost
            | AllowedRequest::Skip
            | AllowedRequest::OverrideFreeze
            | AllowedRequest::RollbackBefore => continue,
        };
        ways.push(way);
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
