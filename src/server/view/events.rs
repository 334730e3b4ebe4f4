//! What has happened to a task, one line for each event (pure). Page, API and command line show the
//! same lines.

use jiff::Timestamp;

use super::result::result_view;
use crate::api::{EventLine, StepState, attribution, names};
use crate::base::language::{Language, Sentence};
use crate::domain::plan::Plan;
use crate::domain::task::{Event, Outcome, Pause, Recorded, StateName, StepRef};
use crate::server::text;

pub(super) fn lines(
    language: Language,
    events: &[Recorded],
    plan: Option<&Plan>,
) -> Vec<EventLine> {
    let lines = events.iter().filter_map(|recorded| {
        Some(EventLine {
            at: recorded.time,
            name: recorded.event.name().to_owned(),
            detail: detail(language, &recorded.event, plan)?,
        })
    });
    lines.collect()
}

/// Describes an event; `None` for claims and checks of refs, which are internal to the agent.
fn detail(language: Language, event: &Event, plan: Option<&Plan>) -> Option<String> {
    let step = |at: &StepRef| match plan {
        Some(plan) => format!("{} {}", plan.host_name(*at), plan.log_name(*at)),
        None => String::new(),
    };
    let by = |by: &str| language.say("happened-by").with("by", by.to_owned());
    let on_host = |by: &str, host: &str| {
        let text = language
            .say("happened-by-on-host")
            .with("by", by.to_owned());
        text.with("host", host.to_owned()).to_string()
    };
    let detail = match event {
        Event::Claimed { .. } | Event::RefConfirmed | Event::ProgramBegan { .. } => return None,
        Event::Proposed(submission) => by(&submission.submitter.name).to_string(),
        Event::Joined { submitter } => by(submitter).to_string(),
        Event::RefDoubted | Event::Due => String::new(),
        Event::Landed(landed) => landed.commit.clone(),
        Event::Compared { with, .. } => {
            let live = names(language, &with.live);
            language.say("happened-live").with("live", live).to_string()
        }
        Event::Approved(approval) => by(&attribution(language, approval)).to_string(),
        Event::Rejected { by: who, reason }
        | Event::Withdrawn { by: who, reason }
        | Event::FreezeOverridden {
            by: who, reason, ..
        } => because(language, by(who).to_string(), reason),
        Event::Superseded { by } => {
            let text = language.say("happened-by-task").with("task", *by);
            text.to_string()
        }
        Event::RefUnseen { reason }
        | Event::NotLanded { reason }
        | Event::Expired { reason, .. }
        | Event::RollbackBegan { reason } => reason.clone(),
        Event::Reopened { by: who }
        | Event::Continued {
            by: who,
            host: None,
        }
        | Event::StopRequested { by: who, .. }
        | Event::RetryRequested { by: who } => by(who).to_string(),
        Event::Continued {
            by,
            host: Some(host),
        } => on_host(by, host),
        Event::HostStopRequested { name, by, .. } => host_by(language, name, by).to_string(),
        Event::HostSkipped {
            name, by, reason, ..
        } => because(language, host_by(language, name, by).to_string(), reason),
        Event::Held { at, .. } => step(at),
        Event::Started { release } => release.to_string(),
        Event::Began { at, attempt: 1 } => step(at),
        Event::Began { at, attempt } => {
            let text = language.say("happened-attempt").with("step", step(at));
            text.with("number", *attempt).to_string()
        }
        Event::HostAway { at, reason, until } => {
            because(language, step(at), &away(language, reason, *until))
        }
        Event::HostBack { at } => step(at),
        Event::Ended { at, result } => {
            let (state, message, _) = result_view(language, result, false);
            let text = match state {
                StepState::Failed => language.say("happened-step-failed"),
                StepState::Unknown => language.say("happened-step-unknown"),
                StepState::Stopped => language.say("happened-step-stopped"),
                _ => language.say("happened-step-succeeded"),
            };
            because(language, text.with("step", step(at)).to_string(), &message)
        }
        Event::Paused(pause) => paused(language, pause),
        Event::Finished(outcome) => finished(language, outcome),
    };
    Some(detail)
}

/// Describes the retries of an unreachable host.
pub(super) fn away(language: Language, reason: &str, until: Timestamp) -> String {
    let text = language
        .say("step-host-away")
        .with("reason", reason.to_owned());
    text.with("until", format!("{until:.0}")).to_string()
}

fn host_by(language: Language, host: &str, by: &str) -> Sentence {
    let text = language
        .say("happened-on-host-by")
        .with("host", host.to_owned());
    text.with("by", by.to_owned())
}

fn paused(language: Language, pause: &Pause) -> String {
    let text = match pause {
        Pause::Gate { stage } => {
            let text = language.say("happened-before-stage");
            text.with("number", u32::from(*stage) + 1)
        }
        Pause::StepGate => language.say("happened-hosts-at-gate"),
        Pause::Time { .. } => language.say("happened-until-time"),
        Pause::HostFailed { message } | Pause::Unknown { message } => return message.clone(),
    };
    text.to_string()
}

fn finished(language: Language, outcome: &Outcome) -> String {
    let (state, message) = match outcome {
        Outcome::Succeeded => (StateName::Succeeded, ""),
        Outcome::Stopped => (StateName::Stopped, ""),
        Outcome::Observed => (StateName::Observed, ""),
        Outcome::Failed { message } => (StateName::Failed, message.as_str()),
        Outcome::RolledBack { message } => (StateName::RolledBack, message.as_str()),
        Outcome::RollbackFailed { message } => (StateName::RollbackFailed, message.as_str()),
    };
    because(language, text::state_in(language, state), message)
}

fn because(language: Language, what: String, why: &str) -> String {
    if why.is_empty() {
        return what;
    }
    let text = language.say("with-reason").with("what", what);
    text.with("why", why.to_owned()).to_string()
}
