//! Searches, as page, API and command line ask for them.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::store::HookEntry;

/// What a form sends where nothing was written counts as not asked.
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
    /// Where to go on: `next` of the answer before, with the same search.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Default 50, at most 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl HookQuery {
    /// What a cursor belongs to: the search without its place and size.
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
    /// The cursor with which to go on; `null` at the end. There may be more even where this answer
    /// holds less than was asked for: one answer looks at so many entries only.
    pub next: Option<String>,
    /// The projects whose tags cannot be looked for on the git server.
    #[serde(default)]
    pub unseen: Vec<UnseenTags>,
}

/// Tags of a project cannot be looked for on the git server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnseenTags {
    pub project: String,
    /// When the first look failed of those that failed one after the other.
    pub since: Timestamp,
    /// When the last one did.
    pub at: Timestamp,
    pub cause: String,
}

impl UnseenTags {
    /// In words, but for the project, with times as the reader wants them.
    #[must_use]
    pub fn told(&self, show: impl Fn(Timestamp) -> String) -> String {
        let (since, at) = (show(self.since), show(self.at));
        let cause = &self.cause;
        format!("tags that no hook told of are not found since {since} (last tried {at}): {cause}")
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
    /// As the git server or the login names them, or their account.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub submitter: Option<String>,
    /// Somebody who has said yes to it.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// What the tag's short name begins with.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Each must stand somewhere in tag, title, remarks, commit, comments or reasons.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// When it was made: a time with an offset, or a day or time in the agent's zone.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Only tasks made before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Where to go on: `next` of the answer before, with the same search.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Default 50, at most 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl TaskQuery {
    /// What a cursor belongs to: the search without its place and size.
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
