//! Why a request fails, as status and message: the same for pages and API. Messages say what to do.

use hyper::StatusCode;
use jiff::Timestamp;

use crate::domain::approval::ApprovalRefusal;
use crate::domain::permission::Missing;
use crate::engine::push::ReplayError;
use crate::engine::request::RequestError;
use crate::engine::submit::{FieldProblem, SubmitError};
use crate::identity::account::{AccountError, LoginError};
use crate::identity::session::SessionError;
use crate::store::StoreError;

/// Why a request is refused, or failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(
        "not logged in: send a token as `Authorization: Bearer TOKEN` (`tagship token new USER` creates one), or log in with a browser"
    )]
    NotLoggedIn,
    #[error(
        "the token is invalid: it was revoked, has expired, or its user is disabled; create another one"
    )]
    BadToken,
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    #[error("the method {0} is not supported; use {1}")]
    Method(String, &'static str),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Invalid(String),
    #[error("the body is longer than {0} bytes; send less")]
    TooLarge(usize),
    /// Nothing was submitted; lists every problem, by field.
    #[error("{}", SubmitError::Problems(.0.clone()))]
    Problems(Vec<FieldProblem>),
    #[error("the body must be JSON, with `Content-Type: application/json`")]
    Kind,
    #[error("the request ended before its body did; send it again")]
    Cut,
    #[error("the body took too long; send it again")]
    Slow,
    #[error("too many failed logins: try again after {0}")]
    TooMany(Timestamp),
    #[error("{0}")]
    Busy(String),
    /// An internal error; the details are in the agent's log.
    #[error("the agent could not process the request: {0}")]
    Broken(String),
}

impl Fault {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotLoggedIn | Self::BadToken => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method(..) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid(_) | Self::Problems(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Kind => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Cut => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the fault for a task id that does not exist.
    pub(super) fn no_task(id: &str) -> Self {
        Self::NotFound(format!(
            "there is no task {id}; see `tagship tasks`, or the list of tasks"
        ))
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoTask(id) => Self::no_task(&id.to_string()),
            StoreError::NoHook(_) => Self::NotFound(error.to_string()),
            StoreError::Changed(_)
            | StoreError::HooksChanged
            | StoreError::QueueHeld(_)
            | StoreError::SamePush(_)
            | StoreError::Illegal(_) => Self::Conflict(error.to_string()),
            StoreError::Unknown { .. } => Self::Busy(error.to_string()),
            StoreError::Damaged { .. }
            | StoreError::DamagedHook { .. }
            | StoreError::NoBlob(_)
            | StoreError::FencesUsedUp
            | StoreError::TooLong(_)
            | StoreError::Kv(_)
            | StoreError::Commit(_)
            | StoreError::TooNew { .. } => Self::Broken(error.to_string()),
        }
    }
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Self {
        let text = error.to_string();
        match error {
            RequestError::Refused(
                ApprovalRefusal::OtherPlan { .. } | ApprovalRefusal::Twice { .. },
            ) => Self::Conflict(text),
            RequestError::Refused(_) | RequestError::Right(_) => Self::Forbidden(text),
            RequestError::State { .. }
            | RequestError::Newer { .. }
            | RequestError::Busy { .. }
            | RequestError::LastHost(_)
            | RequestError::Frozen { .. }
            | RequestError::NotFrozen(_)
            | RequestError::NoRollback(_) => Self::Conflict(text),
            RequestError::NoHost { .. } | RequestError::NoReason(_) => Self::Invalid(text),
            RequestError::Store(error) => error.into(),
        }
    }
}

impl From<ReplayError> for Fault {
    fn from(error: ReplayError) -> Self {
        let text = error.to_string();
        match error {
            ReplayError::Right(_) => Self::Forbidden(text),
            ReplayError::Unread(_) | ReplayError::Deletion(_) | ReplayError::NoProject(_) => {
                Self::Conflict(text)
            }
            ReplayError::Store(error) => error.into(),
        }
    }
}

impl From<Missing> for Fault {
    fn from(missing: Missing) -> Self {
        Self::Forbidden(missing.to_string())
    }
}

impl From<SubmitError> for Fault {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Problems(problems) => Self::Problems(problems),
            SubmitError::Right { .. } | SubmitError::Missing(_) => {
                Self::Forbidden(error.to_string())
            }
            SubmitError::OtherContent { .. } => Self::Conflict(error.to_string()),
            SubmitError::Store(error) => error.into(),
        }
    }
}

impl From<AccountError> for Fault {
    fn from(error: AccountError) -> Self {
        let text = error.to_string();
        match error {
            AccountError::NoSuchAccount(_)
            | AccountError::NoSuchToken { .. }
            | AccountError::NoSuchDelegation(..) => Self::NotFound(text),
            AccountError::Exists(_)
            | AccountError::Overtaken
            | AccountError::TooManyTokens(_)
            | AccountError::TooManyDelegations(_)
            | AccountError::LastAdmin(_)
            | AccountError::HasFactor(_)
            | AccountError::NoFactor(_) => Self::Conflict(text),
            AccountError::WrongCode => Self::Forbidden(text),
            AccountError::Unconfirmed { .. } => Self::Busy(text),
            AccountError::Damaged { .. } | AccountError::Randomness(_) | AccountError::Store(_) => {
                Self::Broken(text)
            }
            _ => Self::Invalid(text),
        }
    }
}

impl From<LoginError> for Fault {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Denied => Self::BadToken,
            LoginError::WrongCode | LoginError::UsedCode => Self::Forbidden(error.to_string()),
            LoginError::TooMany(until) => Self::TooMany(until),
            LoginError::Unavailable(error) => error.into(),
        }
    }
}

impl From<SessionError> for Fault {
    fn from(error: SessionError) -> Self {
        Self::Broken(error.to_string())
    }
}
