//! Problems of an order, and why it was not submitted.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::permission::{Missing, PermissionTarget};
use crate::store::StoreError;

/// One invalid field of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    /// The field, as the API names it: `params.VERSION`, `hosts.1`.
    pub field: String,
    pub message: String,
}

impl FieldProblem {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Why no task was submitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("nothing was submitted: {}", listed(.0))]
    Problems(Vec<FieldProblem>),
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("{actor} may not {what}{target}: it requires {needs}")]
    Right {
        actor: String,
        what: &'static str,
        target: Box<PermissionTarget>,
        needs: String,
    },
    #[error(
        "idempotency key `{key}` was used for task {id}, which was asked for with other content; take another key"
    )]
    OtherContent { key: String, id: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn listed(problems: &[FieldProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
