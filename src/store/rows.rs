//! What rows of tasks and releases hold, and the filter of a search: pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state_detail::StateDetail;
use crate::domain::host::{ReleaseId, TreeDigest};
use crate::domain::permission::PermissionTarget;
use crate::domain::rule::TAGS;
use crate::domain::task::{Relation, StateName};

/// The summary of a task that lists show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub id: u64,
    pub state: StateName,
    /// Details of the state in English: a reason, a time, a message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The same as data, if tagship words them. Earlier versions did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_detail: Option<StateDetail>,
    /// The title given by users; empty for most tasks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    #[serde(default)]
    pub template: String,
    pub project: String,
    pub environment: String,
    #[serde(rename = "ref")]
    pub reference: String,
    pub commit: Option<String>,
    /// As named by the git server or the login.
    pub submitter: String,
    /// The matching account, if known.
    #[serde(default)]
    pub account: Option<String>,
    /// The accounts that are requested to approve; it grants them no rights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// While the task waits: how its commit relates to what is live now, without duplicates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<Relation>,
    /// An admin approved it in an emergency.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When its work began. Earlier versions did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The number of the task's events.
    pub events: u64,
}

/// The fields of a [`Head`] that are read whenever any task changes.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct HeadFields {
    pub id: u64,
    pub state: StateName,
    pub events: u64,
}

impl Head {
    /// Returns the tag's short name.
    #[must_use]
    pub fn tag(&self) -> &str {
        let tag = self.reference.strip_prefix(TAGS);
        tag.unwrap_or(&self.reference)
    }

    /// Returns the submitter: their account, if known.
    #[must_use]
    pub fn who(&self) -> &str {
        self.account.as_deref().unwrap_or(&self.submitter)
    }

    /// Returns the scope of the task.
    #[must_use]
    pub fn target(&self) -> PermissionTarget {
        PermissionTarget::new(&self.project, &self.environment, &self.template)
    }
}

/// The filter of a task list: all given conditions must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub id: Option<u64>,
    pub state: Option<String>,
    pub project: Option<String>,
    pub environment: Option<String>,
    pub template: Option<String>,
    /// As named by the git server or the login, or their account.
    pub submitter: Option<String>,
    /// A user who approved it.
    pub approver: Option<String>,
    /// A prefix of the tag's short name.
    pub tag: Option<String>,
    /// Each must occur in a task, ignoring case: see [`SEARCHED`](super::SEARCHED).
    pub words: Vec<String>,
    /// When it was created.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// What is live on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRecord {
    pub release: ReleaseId,
    /// The task that switched it: the one that made the release, or one that rolled back to it.
    pub task: u64,
    /// When it was switched. Earlier versions did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The releases on the host, as last reported: the complete ones, and directories of other
    /// tools. Empty if unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<ReleaseId>,
}

/// How many releases of a host are recorded.
pub(super) const KEPT_MAX: usize = 100;

/// A release made by a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    pub release: ReleaseId,
    pub commit: String,
    pub digest: TreeDigest,
    pub task: u64,
    /// Whether its task succeeded.
    pub good: bool,
    /// Whether its task ended without success and left it live on most of its hosts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_live: bool,
}

/// The idempotency key of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Keys of different submitters are independent.
    pub submitter: String,
    pub key: String,
    /// The digest of the request: another digest under the same key is an error.
    pub digest: String,
}
