//! Why a request is refused.

use crate::domain::approval::ApprovalRefusal;
use crate::domain::permission::Missing;
use crate::store::StoreError;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Refused(#[from] ApprovalRefusal),
    #[error(transparent)]
    Right(#[from] Missing),
    #[error("task {id} is {state}: it cannot be {what}; {instead}")]
    State {
        id: u64,
        state: String,
        what: &'static str,
        /// The possible requests.
        instead: String,
    },
    #[error("say why: a reason is needed to {0}")]
    NoReason(&'static str),
    #[error("task {newer} has run there since task {id}; {instead}")]
    Newer {
        id: u64,
        newer: u64,
        /// The possible requests.
        instead: String,
    },
    #[error("task {id} has no host {host}: it has {known}")]
    NoHost {
        id: u64,
        host: String,
        known: String,
    },
    #[error("a step runs on {host}: stop it there first (`tagship stop {id} --host {host}`)")]
    Busy { id: u64, host: String },
    #[error("{0} is the last host of the task: stop the task instead")]
    LastHost(String),
    #[error("releases{target} are frozen until {until} ({freeze}){advice}")]
    Frozen {
        /// ` to shop production`, or empty for a task without a project.
        target: String,
        /// Its name, and its reason if it has one.
        freeze: String,
        until: String,
        /// How an admin can override it, if possible.
        advice: String,
    },
    #[error("nothing is frozen for task {0}, so there is nothing to override")]
    NotFrozen(u64),
    #[error("{0}")]
    NoRollback(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns the reason if it is not empty.
///
/// # Errors
/// It is empty.
pub(super) fn required_reason(reason: &str, what: &'static str) -> Result<String, RequestError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(RequestError::NoReason(what));
    }
    Ok(reason.to_owned())
}
