//! Request and response types of the JSON API. The pages are rendered from the same types, and the
//! command line reads and writes them.
//!
//! Types only: [`task`] computes a [`TaskView`]. Text from a repository or from hosts is passed on
//! unchanged; callers that display it must escape it.

mod comparison;
mod find;
mod next;
mod notes;
mod task;
mod template;
mod users;
pub(in crate::server) mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(super) use comparison::on_hosts;
pub use comparison::{
    ApprovalView, ComparedView, change, changed_since_approval, changes_nothing, live_called,
    way_back,
};
pub use find::{HookList, HookQuery, TaskQuery, UnseenTags};
pub use next::next;
pub use task::{Shown, task_view};
pub use template::{
    ParamView, TemplateLine, TemplateList, TemplateQuery, TemplateStage, TemplateVersion,
    TemplateView,
};
pub use users::{
    BegunFactor, ChangeUser, CodeBody, DelegationList, DelegationView, MadeToken,
    NewDelegationBody, NewPassword, NewTokenBody, NewUserBody, ResetFactor, TokenList, TokenView,
    UserList, UserView,
};

pub use waiting::waits_for;

use crate::domain::host::{Drift, ReleaseId};
use crate::domain::plan::PlanDigest;
use crate::domain::rule::Schedule;
use crate::domain::task::{Description, Direction, OriginKind};
use crate::domain::template::{Gate, OnFailure};
pub use crate::engine::request::May;
use crate::engine::submit::{FieldProblem, SubmissionOrder};
use crate::store::audit::AuditEntry;
use crate::store::{Disabled, Head};

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
}

/// `GET /api/v1/tasks/ID`, and the response to every request about a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    pub id: u64,
    /// Its title; empty for most.
    pub title: String,
    /// Remarks by the submitter.
    pub details: String,
    /// Empty, with the environment, for a task that belongs to no project.
    pub project: String,
    pub environment: String,
    /// The full name of the ref; empty if nothing of a repository is released.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Its short name.
    pub tag: String,
    /// `null` until it has landed.
    pub commit: Option<String>,
    /// One of `task::STATE_NAMES`.
    pub state: String,
    /// Details of the state: a reason, a time, a message; may be empty.
    pub detail: String,
    /// Nothing more happens unless a user requests it.
    pub at_rest: bool,
    pub schedule: Schedule,
    pub template: String,
    /// The version of the template its plan was made from; `null` until it has landed.
    #[serde(default)]
    pub template_version: Option<String>,
    pub origin: OriginKind,
    /// As named by the git server or the login.
    pub submitter: String,
    /// The matching account, if known.
    #[serde(default)]
    pub account: Option<String>,
    /// The submitter as claimed by a client; informational only.
    pub claimed_submitter: String,
    /// Who is to look after it; informational only.
    pub executor: String,
    /// Accounts that are asked to approve; this grants no permission.
    pub approvers: Vec<String>,
    /// The earliest time it may run.
    pub run_at: Option<Timestamp>,
    /// Secrets are `[REDACTED]`.
    pub parameters: BTreeMap<String, String>,
    /// The hosts that it provides, by group number.
    pub hosts: BTreeMap<u8, Vec<String>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When it landed; the description shows what was live then.
    pub landed_at: Option<Timestamp>,
    /// When it ends unless it is approved; `null` if it does not wait for approval.
    pub expires_at: Option<Timestamp>,
    /// When it is stopped unless resumed; `null` if it is not paused, or waits without limit.
    #[serde(default)]
    pub pause_ends_at: Option<Timestamp>,
    pub approvals: Vec<ApprovalView>,
    /// The missing approvals, as text.
    pub missing: Vec<String>,
    /// The accounts that can give one of them.
    #[serde(default)]
    pub can_approve: Vec<String>,
    /// Nothing more happens before a person approves or resumes it.
    #[serde(default)]
    pub waits_for_people: bool,
    /// The digest that an approval names; `null` until it has landed.
    pub plan: Option<PlanDigest>,
    /// `null` until its work began.
    pub release: Option<ReleaseId>,
    pub on_failure: Option<OnFailure>,
    pub stages: Vec<StageView>,
    /// The rollback, if there was one.
    pub rollback_stages: Vec<StageView>,
    /// What was live on each host before this task switched it; hosts that it has not reached are
    /// absent.
    pub live_before: BTreeMap<String, Option<ReleaseId>>,
    /// For a rollback to what other tools left live: the release of each host.
    #[serde(default)]
    pub goes_back_to: BTreeMap<String, ReleaseId>,
    pub description: Option<Description>,
    /// What the description compares it with: while it waits, what is live now. `null` until it has
    /// landed.
    #[serde(default)]
    pub compared: Option<ComparedView>,
    /// The freeze that blocks it now, or would.
    pub frozen: Option<FrozenView>,
    /// The hosts that it skips.
    pub skipped: Vec<SkippedView>,
    /// Notes about its hosts, one line each: that a release is rebuilt there, that something else
    /// was live than tagship had switched to, that a release differs from what was released.
    #[serde(default)]
    pub notes: Vec<String>,
    /// While it has not begun, by host: what is live there instead of what tagship switched to.
    #[serde(default)]
    pub drift: BTreeMap<String, Drift>,
    pub events: Vec<EventLine>,
    /// What the caller may do with it now.
    pub may: Vec<May>,
}

/// `GET /api/v1/tasks/ID/order`: the order that would submit this task again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// As `POST /api/v1/tasks` accepts it.
    pub order: SubmissionOrder,
    /// The names of its secrets; their values are never returned.
    pub secrets: Vec<String>,
}

impl TaskView {
    /// Returns who submitted it: their account, and the git server's name for them if that is
    /// another name, or a key.
    #[must_use]
    pub fn who(&self) -> String {
        match &self.account {
            Some(account) if *account != self.submitter => {
                let (name, cut) = match self.submitter.get(..15) {
                    Some(key) if key.starts_with("SHA256:") => (key, "\u{2026}"),
                    _ => (self.submitter.as_str(), ""),
                };
                format!("{account} (pushed as {name}{cut})")
            }
            _ => self.submitter.clone(),
        }
    }

    /// Returns its title, else its tag, else its template.
    #[must_use]
    pub fn called(&self) -> &str {
        called(&self.title, &self.tag, &self.template)
    }

    /// Returns `shop production`; for a task of no project the hosts that it provides.
    #[must_use]
    pub fn place(&self) -> String {
        if !self.project.is_empty() {
            return format!("{} {}", self.project, self.environment);
        }
        let hosts: BTreeSet<&str> = self.hosts.values().flatten().map(String::as_str).collect();
        match hosts.len() {
            0 => "no project".to_owned(),
            1..=3 => hosts.into_iter().collect::<Vec<_>>().join(", "),
            many => format!("{many} hosts"),
        }
    }
}

impl TaskLine {
    /// As [`TaskView::called`].
    #[must_use]
    pub fn called(&self) -> &str {
        called(&self.head.title, &self.tag, &self.head.template)
    }

    /// `shop production`; `no project`.
    #[must_use]
    pub fn place(&self) -> String {
        if self.head.project.is_empty() {
            "no project".to_owned()
        } else {
            format!("{} {}", self.head.project, self.head.environment)
        }
    }
}

fn called<'a>(title: &'a str, tag: &'a str, template: &'a str) -> &'a str {
    [title, tag]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or(template)
}

/// A freeze that is in effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenView {
    pub name: String,
    /// May be empty.
    pub reason: String,
    pub until: Timestamp,
    /// Who overrode the freeze for this task; `null`: no one.
    pub overridden_by: Option<String>,
}

/// A host that a task skips.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedView {
    pub name: String,
    pub by: String,
    pub reason: String,
}

/// A stage of the plan, with the progress of its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageView {
    pub name: String,
    pub gate: Gate,
    /// Hosts at a time; `null`: all at once.
    pub batch: Option<u32>,
    pub hosts: Vec<HostView>,
}

/// A host of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// `agent` for the agent's own machine.
    pub name: String,
    /// All steps of the stage, in order.
    pub steps: Vec<StepView>,
}

/// A step on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    pub name: String,
    /// The name of its log: `STAGE.STEP`, `back.STAGE.STEP` in a rollback.
    pub log: String,
    pub way: Direction,
    pub state: StepState,
    /// The number of attempts.
    pub attempt: u32,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Of a program that has ended.
    pub exit_code: Option<i32>,
    /// Why it failed, or what it did.
    pub message: String,
}

impl StepView {
    /// Returns the exit code, unless the message says it.
    #[must_use]
    pub fn untold_exit(&self) -> Option<i32> {
        let told = |code: &i32| self.message.starts_with(&format!("ended with {code}"));
        self.exit_code.filter(|code| !told(code))
    }
}

/// The progress of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Not begun.
    Pending,
    Running,
    Succeeded,
    Failed,
    /// Its outcome is unknown.
    Unknown,
    Stopped,
    /// It waits at its gate.
    Held,
    /// It never began, and its host was skipped.
    Skipped,
    /// It runs on the first host of the stage only, or on a dedicated host.
    Elsewhere,
}

impl StepState {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Stopped => "stopped",
            Self::Held => "held",
            Self::Skipped => "skipped",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// An event of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    pub at: Timestamp,
    pub name: String,
    /// Who, or why; may be empty.
    pub detail: String,
}

/// `POST /api/v1/hosts/NAME/disable`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Because {
    pub reason: String,
}

/// `POST /api/v1/hosts/NAME/enable`, `POST /api/v1/hooks/ID/replay`: an empty body or `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

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
