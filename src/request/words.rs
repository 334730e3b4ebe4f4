//! Words for refusals: what can be asked instead, and lists of names. Pure; called by `request` alone.

use super::RequestError;
use crate::task::State;

/// What can be asked of a task in this state.
pub(super) fn instead(state: &State) -> &'static str {
    match state {
        State::Proposed => "wait until it has landed, or withdraw it",
        State::Waiting => "approve, reject or withdraw it",
        State::Scheduled { .. } | State::Queued => "it begins by itself, or withdraw it",
        State::Running | State::RollingBack { .. } => "it can be stopped",
        State::Paused { .. } => "retry what failed, let it go on at its gate, or stop it",
        State::Stopping { .. } => "wait until it has stopped",
        State::Stopped | State::Failed { .. } | State::RolledBack { .. } => {
            "retry it, or push a new tag"
        }
        State::RollbackFailed { .. } => "mend its hosts and retry it",
        State::Withdrawn { .. } | State::Superseded { .. } | State::Expired { .. } => {
            "take it up again (retry), or push a new tag"
        }
        State::Succeeded => "it is done; roll back, or push a new tag",
        State::Rejected { .. } | State::Observed => "it is done with; push a new tag",
    }
}

pub(super) fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

/// A reason that is one.
///
/// # Errors
/// It is empty.
pub(super) fn given(reason: &str, what: &'static str) -> Result<String, RequestError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(RequestError::NoReason(what));
    }
    Ok(reason.to_owned())
}
