//! Request and response types of the JSON API. The pages are rendered from the same types, and the
//! command line reads and writes them.
//!
//! Pure: types, and the sentences that page and command line build from them. The server computes
//! them from tasks and the store, and `cli` shows them. Text from a repository or from hosts is
//! passed on unchanged; callers that display it must escape it.

mod board;
mod comparison;
mod find;
mod next;
mod task;
mod template;
mod users;
mod waiting;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use board::{
    BOARD_HOSTS_MAX, BoardEnvironment, BoardGroup, BoardProgress, BoardQuery, BoardRef,
    BoardRelease, BoardTask, BoardView,
};
pub(crate) use comparison::names;
pub use comparison::{
    change, changed_since_approval, changes_nothing, live_called, on_hosts, on_hosts_in,
    rollback_summary,
};
pub use find::{AuditSearch, HookList, HookQuery, TaskQuery, UnseenTags};
pub use next::next;
use task::called;
pub use task::{
    ApprovalView, ComparedView, EventLine, FrozenView, HostView, SkippedView, StageView, StepState,
    StepView, TaskView,
};
pub use template::{
    TemplateLine, TemplateList, TemplateQuery, TemplateStage, TemplateVersion, TemplateView,
};
pub use users::{
    BegunFactor, ChangeUser, CodeBody, DelegationList, DelegationView, MadeToken,
    NewDelegationBody, NewPassword, NewTokenBody, NewUserBody, ResetFactor, TokenList, TokenView,
    UserList, UserView,
};

pub use waiting::{CAN_APPROVE_MAX, has_too_few_approvers, missing_and_who, waits_for};
pub(crate) use waiting::{attribution, list_in, missing};

use crate::domain::host::{Drift, ReleaseId};
pub use crate::engine::request::AllowedRequest;
use crate::engine::submit::{FieldProblem, SubmissionOrder};
use crate::store::audit::AuditEntry;
use crate::store::{Disabled, Head};

/// How the line begins that says what is missing in the output of a step.
pub const CUT_BEGINS: &str = "[... ";

/// What separates host and step from the text in a line of a task's output.
pub const LOG_SEPARATOR: &str = "| ";

/// The body of every error response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong, and how to fix it.
    pub error: String,
    /// Problems by field, for a task to be submitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FieldProblem>,
}

/// `GET /api/v1/tasks`: newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskList {
    pub tasks: Vec<TaskLine>,
    /// The cursor for the next page; `null` at the end. A short page may have a next one: one
    /// request reads a limited number of tasks.
    #[serde(default)]
    pub next: Option<String>,
}

/// One task of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLine {
    #[serde(flatten)]
    pub head: Head,
    /// The tag's short name.
    pub tag: String,
}

impl TaskLine {
    /// Returns who submitted it: their account, if known.
    #[must_use]
    pub fn who(&self) -> &str {
        self.head.who()
    }

    /// As [`TaskView::called`].
    #[must_use]
    pub fn called(&self) -> &str {
        called(&self.head.title, &self.tag, &self.head.template)
    }

    /// `shop production`; `no project`.
    #[must_use]
    pub fn destination(&self) -> String {
        if self.head.project.is_empty() {
            "no project".to_owned()
        } else {
            format!("{} {}", self.head.project, self.head.environment)
        }
    }
}

/// `GET /api/v1/tasks/ID/order`: the order that would submit this task again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// As `POST /api/v1/tasks` accepts it.
    pub order: SubmissionOrder,
    /// The names of its secrets; their values are never returned.
    pub secrets: Vec<String>,
}

/// `POST /api/v1/hosts/NAME/disable`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReasonBody {
    pub reason: String,
}

/// `POST /api/v1/hosts/NAME/enable`, `POST /api/v1/hooks/ID/replay`: an empty body or `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptyBody {}

/// `GET /api/v1/audit?…`: which entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditQuery {
    /// Only entries with a smaller number: the last one of the previous page.
    pub before: Option<u64>,
    /// Default 50, at most 200.
    pub limit: Option<usize>,
}

/// `GET /api/v1/audit`: newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditList {
    pub entries: Vec<AuditEntry>,
}

/// `POST /api/v1/backup`: an empty body, or what to leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TakeBackup {
    /// The output of steps.
    pub without_logs: bool,
}

/// `POST /api/v1/rollback`: to what a task released, or to the good release before the live one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The release to go back to, as shown by what is live; otherwise what was live before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why a freeze is overridden, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_freeze: Option<String>,
    /// Why an admin gives the missing approval, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
}

/// `GET /api/v1/tasks/ID/log?…`: which of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `STAGE.STEP`, or the step's name alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Follow until the task has ended.
    pub follow: bool,
}

/// `GET /api/v1/agent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutAgent {
    pub version: String,
    /// The zone for reading and writing times, by name; `null` if the zone of the agent's machine
    /// has no name.
    pub time_zone: Option<String>,
}

/// `GET /api/v1/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostList {
    pub hosts: Vec<HostLine>,
}

/// A host of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLine {
    pub name: String,
    pub address: String,
    pub port: u16,
    pub groups: Vec<String>,
    pub disabled: Option<Disabled>,
}

/// `GET /api/v1/live?project=&environment=`: everything, or only what these name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

/// What is live, by project and environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveList {
    pub live: Vec<LiveView>,
}

/// What is live in one environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveView {
    pub project: String,
    pub environment: String,
    /// By host; `null` if nothing is live.
    pub hosts: BTreeMap<String, Option<LiveHost>>,
}

/// What is live on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveHost {
    pub release: ReleaseId,
    /// Where it is on the host, if tagship did not make it.
    #[serde(default)]
    pub directory: Option<String>,
    /// The tag from which it was made; `null` if tagship did not make the release.
    pub tag: Option<String>,
    /// `null` if tagship did not make the release.
    pub commit: Option<String>,
    /// The task that made it; `null` if tagship did not make the release.
    pub task: Option<u64>,
    /// Who submitted that task: their account, if known.
    pub by: Option<String>,
    /// The task that switched to it, if it is another one: a rollback, or a failed task that rolled
    /// back.
    #[serde(default)]
    pub switched_by: Option<u64>,
    /// When it was switched; `null` if an earlier version of tagship did that.
    pub since: Option<Timestamp>,
    /// Set if `current` was last seen to point elsewhere.
    pub drift: Option<Drift>,
}
