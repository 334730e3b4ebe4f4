//! Search queries of page, API and command line.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::base::language::Message;
use crate::store::HookEntry;

/// Treats an empty form field as absent.
pub(super) fn written<'de, D: Deserializer<'de>>(given: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(given)?;
    Ok(text.filter(|text| !text.trim().is_empty()))
}

/// `GET /api/v1/hooks?…`: which entries of the hook log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HookQuery {
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// A part of the ref's name.
    #[serde(
        rename = "ref",
        deserialize_with = "written",
        skip_serializing_if = "Option::is_none"
    )]
    pub reference: Option<String>,
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub pusher: Option<String>,
    /// One of [`OUTCOME_NAMES`](crate::store::OUTCOME_NAMES).
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// A time with an offset, or a day or time in the agent's zone.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Where to continue: `next` of the previous response, with the same search.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Default 50, at most 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl HookQuery {
    /// Returns what a cursor belongs to: the search without position and limit.
    #[must_use]
    pub fn search(&self) -> Self {
        Self {
            cursor: None,
            limit: None,
            ..self.clone()
        }
    }
}

/// `GET /api/v1/hooks`: newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookList {
    pub hooks: Vec<HookEntry>,
    /// The cursor for the next page; `null` at the end. A short page may have a next one: one
    /// request reads a limited number of entries.
    pub next: Option<String>,
    /// The projects whose tags cannot be listed on the git server.
    #[serde(default)]
    pub unseen: Vec<UnseenTags>,
}

/// A project whose tags cannot be listed on the git server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnseenTags {
    pub project: String,
    /// When the first of the consecutive failures occurred.
    pub since: Timestamp,
    /// When the last one did.
    pub at: Timestamp,
    pub cause: String,
}

impl UnseenTags {
    /// Returns the problem without the project, with times formatted by the caller.
    #[must_use]
    pub fn problem(&self, show: impl Fn(Timestamp) -> String) -> Message {
        Message::new("hooks-unseen")
            .with("since", show(self.since))
            .with("at", show(self.at))
            .with("cause", self.cause.clone())
    }

    /// As [`problem`](Self::problem), in English.
    #[must_use]
    pub fn describe(&self, show: impl Fn(Timestamp) -> String) -> String {
        self.problem(show).to_string()
    }
}

/// `GET /audit?…`: which entries of the audit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSearch {
    /// The account, or `os:NAME`.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// One of [`ACTIONS`](crate::store::audit::ACTIONS).
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// The number of a task.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// A part of the name of a host, environment or user.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// A time with an offset, or a day or time in the agent's zone.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Only entries with a smaller number: where the previous page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

impl AuditSearch {
    /// Returns the search without its position.
    #[must_use]
    pub fn search(&self) -> Self {
        Self {
            before: None,
            ..self.clone()
        }
    }
}

/// `GET /api/v1/tasks?…`: which tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskQuery {
    /// The number of a task.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// One of `task::STATE_NAMES`.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// As named by the git server or the login, or their account.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub submitter: Option<String>,
    /// A user who approved it.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// A prefix of the tag's short name.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Each must occur in the task: see [`SEARCHED`](crate::store::SEARCHED).
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// When it was created: a time with an offset, or a day or time in the agent's zone.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Only tasks created before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Where to continue: `next` of the previous response, with the same search.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Default 50, at most 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl TaskQuery {
    /// Returns what a cursor belongs to: the search without position and limit.
    #[must_use]
    pub fn search(&self) -> Self {
        Self {
            before: None,
            cursor: None,
            limit: None,
            ..self.clone()
        }
    }
}
