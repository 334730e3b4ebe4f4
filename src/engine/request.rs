//! Requests on a task: approve, reject, withdraw, stop, retry, resume, roll back.
//!
//! [`decide`] is pure: it checks the request against the requester's permissions and the task's
//! state. It returns the events that follow, or the missing permission. [`ask()`] appends them;
//! [`roll_back`] makes a task of its own. Called by the web, for pages, API and command line alike.
//! Performs nothing: the executor sees the events.

mod advice;
mod ask;
mod error;
mod release_history;
mod rollback;
mod verb;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::advice::{decide, granted};
pub use self::ask::ask;
pub use self::error::RequestError;
use self::error::required_reason;
pub use self::release_history::RollbackGoal;
pub use self::rollback::{
    RollbackPreview, RollbackRequest, RollbackTarget, TagsNeed, has_rollback, others,
    possible_rollbacks, preview, roll_back,
};
pub use self::verb::{AllowedRequest, VERBS, Verb, VerbExample, VerbField, VerbSpec};
use crate::domain::approval::freeze::Calendar;
use crate::domain::approval::{self, Actor};
use crate::domain::document::{meant, names_or_none};
use crate::domain::permission::{Ability, Ownership};
use crate::domain::plan::{Plan, PlanDigest, PlannedHost};
use crate::domain::rule::Schedule;
use crate::domain::task::{Event, Origin, Recorded, State, StopRequester, Task};

const OVERRIDE: &str = "override a freeze";

/// A request on a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum TaskRequest {
    /// Approves exactly the plan of this digest, optionally not before a time.
    Approve {
        plan: PlanDigest,
        #[serde(default)]
        comment: String,
        #[serde(default)]
        not_before: Option<Timestamp>,
        /// The reason of an admin who gives all missing approvals, if one does.
        #[serde(default)]
        emergency: Option<String>,
    },
    /// Rejects the plan, with a reason.
    Reject {
        #[serde(default)]
        reason: String,
    },
    /// Withdraws the task.
    Withdraw {
        #[serde(default)]
        reason: String,
    },
    /// Stops what runs: the whole task, or only the host of this name.
    Stop {
        #[serde(default)]
        host: Option<String>,
    },
    /// Skips the host of this name.
    Skip {
        host: String,
        #[serde(default)]
        reason: String,
    },
    /// Runs the task despite a freeze.
    OverrideFreeze {
        #[serde(default)]
        reason: String,
    },
    /// Runs what failed, was stopped or never began; or reopens a withdrawn, superseded or expired
    /// task.
    Retry,
    /// Opens the gate at which it waits: for all hosts, or for the one of this name.
    Resume {
        #[serde(default)]
        host: Option<String>,
    },
}

/// Which releases an environment can roll back to, from the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollbacks {
    /// What the task made live.
    pub to_task: bool,
    /// The release before the live one.
    pub before_live: bool,
}

/// The present in which a request is made.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    pub now: Timestamp,
    pub calendar: &'a Calendar,
    pub hosts: PresentHosts<'a>,
}

/// The hosts as they are configured now.
#[derive(Clone, Copy, Debug)]
pub struct PresentHosts<'a> {
    /// By name, without the disabled ones.
    pub enabled: &'a BTreeMap<String, PlannedHost>,
    pub disabled: &'a [String],
}

/// What a request is checked against, besides the task.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    pub now: Timestamp,
    pub calendar: &'a Calendar,
    /// The task's plan, once it has landed.
    pub plan: Option<&'a Plan>,
    /// The task in the same environment whose work a retry would undo.
    pub newer: Option<u64>,
    pub rollbacks: Rollbacks,
}

impl RequestContext<'_> {
    /// Returns a host's index in the plan, and its name there.
    fn host(&self, task: &Task, name: &str) -> Result<(u16, String), RequestError> {
        let hosts = self.plan.map(|plan| plan.hosts.as_slice());
        let hosts = hosts.unwrap_or_default();
        let index = hosts.iter().position(|host| host.has_name(name));
        index
            .and_then(|index| Some((u16::try_from(index).ok()?, hosts[index].name.clone())))
            .ok_or_else(|| {
                let known: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
                RequestError::NoHost {
                    id: task.id,
                    host: name.to_owned(),
                    known: names_or_none(known.iter().copied()) + &meant(name, &known),
                }
            })
    }

    /// Refuses to start or resume a task while its releases are frozen.
    fn may_run(&self, task: &Task) -> Result<(), RequestError> {
        if task.freeze_override_at(self.now).is_some() {
            return Ok(());
        }
        let (project, environment) = (&task.submission.project, &task.submission.environment);
        let Some(frozen) = self.calendar.frozen(project, environment, self.now) else {
            return Ok(());
        };
        let reason = &frozen.freeze.reason;
        let name = &frozen.freeze.name;
        Err(RequestError::Frozen {
            target: if task.submission.has_environment() {
                format!(" to {project} {environment}")
            } else {
                String::new()
            },
            freeze: match reason.as_str() {
                "" => name.clone(),
                reason => format!("{name}: {reason}"),
            },
            until: self.calendar.format(frozen.until),
            advice: if task.state.can_be_frozen() {
                format!(
                    "; an admin can override that: `tagship resume {} --override-freeze REASON`",
                    task.id
                )
            } else {
                String::new()
            },
        })
    }
}

/// Like [`decide`]; a refusal does not name alternatives.
fn attempt(
    task: &Task,
    actor: &Actor,
    request: &TaskRequest,
    moment: &RequestContext<'_>,
) -> Result<Event, RequestError> {
    let event = event_of(task, actor, request, moment)?;
    let recorded = Recorded {
        time: moment.now,
        event,
    };
    let then = task.clone().apply(&recorded);
    let then = then.map_err(|_| state(task, request.verb().spec().done))?;
    if continues(task, &recorded.event, &then) {
        moment.may_run(task)?;
    }
    Ok(recorded.event)
}

/// Whether an event starts or resumes a task at once. A queued or scheduled task begins by itself
/// when no freeze holds.
fn continues(task: &Task, event: &Event, then: &Task) -> bool {
    let works = |task: &Task| matches!(task.state, State::Running | State::RollingBack { .. });
    let frees = matches!(event, Event::Continued { .. } | Event::HostSkipped { .. });
    frees || !works(task) && works(then)
}

fn state(task: &Task, what: &'static str) -> RequestError {
    RequestError::State {
        id: task.id,
        state: task.state.to_string(),
        what,
        instead: String::new(),
    }
}

/// Returns the event of a request, if the actor is permitted; does not check yet whether the task's
/// state allows it.
fn event_of(
    task: &Task,
    actor: &Actor,
    request: &TaskRequest,
    moment: &RequestContext<'_>,
) -> Result<Event, RequestError> {
    Ok(match request {
        TaskRequest::Approve {
            plan,
            comment,
            not_before,
            emergency,
        } => {
            let emergency = match emergency {
                Some(reason) => Some(required_reason(reason, approval::EMERGENCY)?),
                None => None,
            };
            let asked = approval::ApprovalRequest {
                actor,
                plan,
                comment,
                not_before: *not_before,
                emergency: emergency.as_deref(),
                at: moment.now,
            };
            approve(task, &asked)?
        }
        TaskRequest::Reject { reason } => {
            actor.may(Ability::Approve, "reject a task")?;
            if !matches!(task.state, State::Waiting | State::Scheduled { .. }) {
                return Err(state(task, "rejected"));
            }
            Event::Rejected {
                by: actor.name.clone(),
                reason: required_reason(reason, "reject")?,
            }
        }
        TaskRequest::Withdraw { reason } => {
            actor.may_of(ownership(task, actor), "withdraw this task")?;
            Event::Withdrawn {
                by: actor.name.clone(),
                reason: reason.trim().to_owned(),
            }
        }
        TaskRequest::Stop { host: None } => {
            actor.may_of(ownership(task, actor), "stop this task")?;
            Event::StopRequested {
                by: actor.name.clone(),
                requester: StopRequester::Person,
            }
        }
        TaskRequest::Stop { host: Some(host) } => stop_on(task, actor, host, moment)?,
        TaskRequest::Skip { host, reason } => skip(task, actor, host, reason, moment)?,
        TaskRequest::OverrideFreeze { reason } => override_freeze(task, actor, reason, moment)?,
        TaskRequest::Resume { host } => {
            actor.may(Ability::Run, "resume a task")?;
            let named = |given: &String| match moment.host(task, given) {
                Ok((_, name)) => name,
                Err(_) => given.clone(),
            };
            Event::Continued {
                by: actor.name.clone(),
                host: host.as_ref().map(named),
            }
        }
        TaskRequest::Retry => retry(task, actor, moment)?,
    })
}

fn approve(task: &Task, asked: &approval::ApprovalRequest<'_>) -> Result<Event, RequestError> {
    let terms = match (&task.state, &task.landed) {
        (State::Waiting, Some(landed)) => &landed.terms,
        (State::Proposed, _) => return Err(state(task, "approved before it has landed")),
        _ => return Err(state(task, "approved")),
    };
    Ok(Event::Approved(approval::approve(
        terms,
        &task.approvals,
        asked,
    )?))
}

fn stop_on(
    task: &Task,
    actor: &Actor,
    host: &str,
    moment: &RequestContext<'_>,
) -> Result<Event, RequestError> {
    actor.may_of(ownership(task, actor), "stop a host of this task")?;
    let (host, name) = moment.host(task, host)?;
    Ok(Event::HostStopRequested {
        host,
        name,
        by: actor.name.clone(),
    })
}

fn skip(
    task: &Task,
    actor: &Actor,
    host: &str,
    reason: &str,
    moment: &RequestContext<'_>,
) -> Result<Event, RequestError> {
    actor.may(Ability::Run, "skip a host")?;
    let (index, host) = moment.host(task, host)?;
    if let Some(work) = &task.work {
        if work.runs_on(index) {
            return Err(RequestError::Busy { id: task.id, host });
        }
        let hosts = moment.plan.map_or(0, |plan| plan.hosts.len());
        let others = work.skipped.keys().filter(|skipped| **skipped != index);
        if others.count() + 1 >= hosts {
            return Err(RequestError::LastHost(host));
        }
    }
    Ok(Event::HostSkipped {
        host: index,
        name: host,
        by: actor.name.clone(),
        reason: required_reason(reason, "skip a host")?,
    })
}

fn override_freeze(
    task: &Task,
    actor: &Actor,
    reason: &str,
    moment: &RequestContext<'_>,
) -> Result<Event, RequestError> {
    actor.may(Ability::Manage, OVERRIDE)?;
    let (project, environment) = (&task.submission.project, &task.submission.environment);
    let frozen = moment.calendar.frozen(project, environment, moment.now);
    let frozen = frozen.filter(|_| task.freeze_override_at(moment.now).is_none());
    let frozen = frozen.ok_or(RequestError::NotFrozen(task.id))?;
    Ok(Event::FreezeOverridden {
        by: actor.name.clone(),
        reason: required_reason(reason, OVERRIDE)?,
        until: Some(frozen.until),
    })
}

/// Retries a task. An older task must not undo the changes of a later one.
fn retry(task: &Task, actor: &Actor, moment: &RequestContext<'_>) -> Result<Event, RequestError> {
    actor.may_of(ownership(task, actor), "retry this task")?;
    if let Some(newer) = moment.newer {
        return Err(RequestError::Newer {
            id: task.id,
            newer,
            instead: String::new(),
        });
    }
    let by = actor.name.clone();
    Ok(match task.state {
        State::Withdrawn { .. } | State::Superseded { .. } | State::Expired { .. } => {
            // Such a task runs without any approval but the submitter's: treat it as a new
            // submission.
            let submission = &task.submission;
            let by_hand = task.is_rollback() || matches!(submission.origin, Origin::Submitted(_));
            if by_hand && submission.schedule == Schedule::Ready {
                actor.may(Ability::Run, "run a task without approval")?;
            }
            Event::Reopened { by }
        }
        _ => Event::RetryRequested { by },
    })
}

/// Whether a task is the actor's own: by the submitter's account, never by the given name.
fn ownership(task: &Task, actor: &Actor) -> Ownership {
    let account = task.submission.submitter.account.as_deref();
    if account == Some(actor.name.as_str()) {
        Ownership::Own
    } else {
        Ownership::Others
    }
}
