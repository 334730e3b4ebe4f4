//! What was checked, and the result.

use std::fmt;

use serde::Serialize;

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "lowercase")]
pub enum Subject {
    /// This machine: configuration, templates, spool.
    Agent,
    Project(String),
    Host(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("agent"),
            Self::Project(name) => write!(f, "project {name}"),
            Self::Host(name) => write!(f, "host {name}"),
        }
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStatus {
    Ok,
    /// A release works, but not as configured.
    Warn,
    /// A release would fail, or a tag would be lost.
    Fail,
    /// It can't be checked from here, or is left out on purpose.
    #[serde(rename = "not-looked-at")]
    NotChecked,
}

/// One checked item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckFinding {
    pub subject: Subject,
    #[serde(rename = "verdict")]
    pub status: CheckStatus,
    /// What was found.
    #[serde(rename = "what")]
    pub text: String,
    /// What to do about it; empty if `text` says it or nothing is to be done.
    pub remedy: String,
}

impl CheckFinding {
    pub(super) fn ok(subject: &Subject, text: impl Into<String>) -> Self {
        Self {
            status: CheckStatus::Ok,
            ..Self::fail(subject, text, "")
        }
    }

    pub(super) fn fail(
        subject: &Subject,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.clone(),
            status: CheckStatus::Fail,
            text: text.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn warn(
        subject: &Subject,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            status: CheckStatus::Warn,
            ..Self::fail(subject, text, remedy)
        }
    }

    pub(super) fn not_checked(subject: &Subject, why: impl Into<String>) -> Self {
        Self {
            status: CheckStatus::NotChecked,
            ..Self::fail(subject, why, "")
        }
    }
}
