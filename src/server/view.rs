//! What the JSON API takes and gives, as types. The pages are drawn from the same ones, and the
//! command line reads and writes them.
//!
//! Only words: [`task`] works a [`TaskView`] out. Texts that come from a repository or from hosts are
//! handed on as they are; whoever shows them escapes them.

mod compared;
mod find;
mod next;
mod notes;
mod people;
mod task;
mod template;
pub(in crate::server) mod waits;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use compared::{
    ApprovalView, ComparedView, change, changed_since_approval, changes_nothing, way_back,
};
pub use find::{HookList, HookQuery, TaskQuery, UnseenTags};
pub use next::next;
pub(crate) use notes::{seen as drift_seen, seen_at as drift_seen_at};
pub use people::{
    BegunFactor, ChangeUser, CodeBody, DelegationList, DelegationView, MadeToken,
    NewDelegationBody, NewPassword, NewTokenBody, NewUserBody, ResetFactor, TokenList, TokenView,
    UserList, UserView,
};
pub use task::{Shown, task_view};
pub use template::{
    ParamView, TemplateLine, TemplateList, TemplateQuery, TemplateStage, TemplateVersion,
    TemplateView,
};

pub use waits::waits_for;

use crate::domain::host::{Drift, ReleaseId};
use crate::domain::plan::PlanDigest;
use crate::domain::rule::Schedule;
use crate::domain::task::{Description, Direction, Origin};
use crate::domain::template::{Gate, OnFailure};
pub use crate::engine::request::May;
use crate::engine::submit::{FieldProblem, SubmissionOrder};
use crate::store::audit::AuditEntry;
use crate::store::{Disabled, Head};

/// What every answer that is no success holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong, and what to do about it.
    pub error: String,
    /// What is wrong with which field of a task that was to be submitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FieldProblem>,
}

/// `GET /api/v1/tasks`: newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskList {
    pub tasks: Vec<TaskLine>,
    /// The cursor with which to go on; `null` at the end. There may be more even where this answer
    /// holds fewer than were asked for: one answer looks at so many tasks only.
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
    /// Who asked for it: their account, where one is known.
    #[must_use]
    pub fn who(&self) -> &str {
        self.head.who()
    }
}

/// `GET /api/v1/tasks/ID`, and the answer to every request about a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    pub id: u64,
    /// What people call it; empty for most.
    pub title: String,
    /// Remarks of whoever submitted it.
    pub details: String,
    /// Empty, with the environment, for a task that belongs to no project.
    pub project: String,
    pub environment: String,
    /// The full name of the ref; empty where nothing of a repository is released.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Its short name.
    pub tag: String,
    /// `null` until it has landed.
    pub commit: Option<String>,
    /// One of `task::STATE_NAMES`.
    pub state: String,
    /// What the state says besides its name: a reason, a time, a message; may be empty.
    pub detail: String,
    /// Nothing more happens unless a person asks for it.
    pub at_rest: bool,
    pub schedule: Schedule,
    pub template: String,
    /// Which version of the template its plan was made from; `null` until it has landed.
    #[serde(default)]
    pub template_version: Option<String>,
    pub origin: Origin,
    /// As the git server or the login names them.
    pub submitter: String,
    /// The account that stands for them, if one is known.
    #[serde(default)]
    pub account: Option<String>,
    /// Who a client says has submitted it; nothing follows from it.
    pub claimed_submitter: String,
    /// Who shall look after it; nothing follows from it.
    pub executor: String,
    /// Accounts that are asked to approve; it gives them no right.
    pub approvers: Vec<String>,
    /// It shall not run before this time.
    pub run_at: Option<Timestamp>,
    /// Secrets are `[REDACTED]`.
    pub parameters: BTreeMap<String, String>,
    /// The hosts that it gives, by the number of their group.
    pub hosts: BTreeMap<u8, Vec<String>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When it landed: the description shows what was live then.
    pub landed_at: Option<Timestamp>,
    /// When it ends unless it is approved; `null` where it does not wait for that.
    pub expires_at: Option<Timestamp>,
    /// When it is stopped unless somebody lets it go on; `null` where it is not paused, or waits as
    /// long as it takes.
    #[serde(default)]
    pub pause_ends_at: Option<Timestamp>,
    pub approvals: Vec<ApprovalView>,
    /// What approvals are still missing, in words.
    pub missing: Vec<String>,
    /// The accounts that can give one of them.
    #[serde(default)]
    pub can_approve: Vec<String>,
    /// Nothing more happens before a person says something: approves it, or lets it go on.
    #[serde(default)]
    pub waits_for_people: bool,
    /// The digest that an approval names; `null` until it has landed.
    pub plan: Option<PlanDigest>,
    /// `null` until its work began.
    pub release: Option<ReleaseId>,
    pub on_failure: Option<OnFailure>,
    pub stages: Vec<StageView>,
    /// The way back, if it was taken.
    pub rollback_stages: Vec<StageView>,
    /// What was live on each host before this task switched it; hosts that it has not reached are
    /// not in it.
    pub live_before: BTreeMap<String, Option<ReleaseId>>,
    pub description: Option<Description>,
    /// With what the description compares it: while it waits, with what is live now. `null` until it
    /// has landed.
    #[serde(default)]
    pub compared: Option<ComparedView>,
    /// The freeze that keeps it from running now, or would.
    pub frozen: Option<FrozenView>,
    /// The hosts without which it goes on.
    pub skipped: Vec<SkippedView>,
    /// What whoever looks at it should know of its hosts, one line each: that a release is built again
    /// there, that something else was live than tagship had switched to, that a release differs from
    /// what was released.
    #[serde(default)]
    pub notes: Vec<String>,
    /// While it has not begun, by host: what is live there in place of what tagship switched to.
    #[serde(default)]
    pub drift: BTreeMap<String, Drift>,
    pub events: Vec<EventLine>,
    /// What the asker may ask of it now.
    pub may: Vec<May>,
}

/// `GET /api/v1/tasks/ID/order`: what would ask for a task like this one again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// As `POST /api/v1/tasks` takes it.
    pub order: SubmissionOrder,
    /// The names of its secrets: their values are told to nobody.
    pub secrets: Vec<String>,
}

impl TaskView {
    /// Who asked for it: their account, and what the git server calls them where that is another
    /// name, or a key.
    #[must_use]
    pub fn who(&self) -> String {
        match &self.account {
            Some(account) if *account != self.submitter => {
                format!("{account} (pushed as {})", self.submitter)
            }
            _ => self.submitter.clone(),
        }
    }

    /// What people know it by: its title, else its tag, else its template.
    #[must_use]
    pub fn called(&self) -> &str {
        called(&self.title, &self.tag, &self.template)
    }

    /// `shop production`; for a task of no project the hosts that it gives.
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

/// A freeze that lies over this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenView {
    pub name: String,
    /// May be empty.
    pub reason: String,
    pub until: Timestamp,
    /// Who said that this task runs all the same; `null`: nobody.
    pub overridden_by: Option<String>,
}

/// A host without which a task goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedView {
    pub name: String,
    pub by: String,
    pub reason: String,
}

/// A stage of the plan, with what its hosts have done.
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
    /// The name of its log: `STAGE.STEP`, `back.STAGE.STEP` on the way back.
    pub log: String,
    pub way: Direction,
    pub state: StepState,
    /// How often it was begun.
    pub attempt: u32,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Of a program that has ended.
    pub exit_code: Option<i32>,
    /// Why it failed, or what it did.
    pub message: String,
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Not begun.
    Pending,
    Running,
    Succeeded,
    Failed,
    /// Nobody can say how it ended.
    Unknown,
    Stopped,
    /// It waits at the step's gate.
    Held,
    /// It never began, and somebody said that the task goes on without this host.
    Skipped,
    /// It runs on the first host of the stage only, or on a host of its own.
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

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    pub at: Timestamp,
    pub name: String,
    /// Who, or why; may be empty.
    pub detail: String,
}

/// `POST /api/v1/tasks/ID/approve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveBody {
    /// The plan that was seen: [`TaskView::plan`].
    pub plan: PlanDigest,
    #[serde(default)]
    pub comment: String,
    /// It shall not run before this time.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// Why an admin gives every approval that is missing; nothing in all other cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
}

/// `POST /api/v1/tasks/ID/{reject,withdraw,override-freeze}`; but for withdrawing, a reason is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Because {
    pub reason: String,
}

/// `POST /api/v1/tasks/ID/skip`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkipBody {
    pub host: String,
    pub reason: String,
}

/// `POST /api/v1/tasks/ID/retry`, `POST /api/v1/hosts/NAME/enable`: an empty body or `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// `GET /api/v1/audit?…`: which entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditQuery {
    /// Only entries with a smaller number: the last one of the page before.
    pub before: Option<u64>,
    /// Default 50, at most 200.
    pub limit: Option<usize>,
}

/// `GET /api/v1/audit`: newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditList {
    pub entries: Vec<AuditEntry>,
}

/// `POST /api/v1/backup`: an empty body, or what is to be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TakeBackup {
    /// The output of steps.
    pub without_logs: bool,
}

/// `POST /api/v1/tasks/ID/{go,stop}`: an empty body, or the host that is meant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfHost {
    /// This host alone; else all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
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
    /// Although releases are frozen, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_freeze: Option<String>,
    /// Why an admin gives the approval that is missing, if one does.
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
    /// Go on until the task is at rest.
    pub follow: bool,
}

/// `GET /api/v1/agent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutAgent {
    pub version: String,
    /// In which people read and write times, by its name; `null` where the agent's machine has one
    /// without a name.
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

/// `GET /api/v1/live?project=&environment=`: everything, or what these name.
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
    /// By host; `null` where nothing is live.
    pub hosts: BTreeMap<String, Option<LiveHost>>,
}

/// What is live on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveHost {
    pub release: ReleaseId,
    /// The tag from which it was made; `null` where the release is none of ours.
    pub tag: Option<String>,
    /// `null` where the release is none of ours.
    pub commit: Option<String>,
    /// The task that made it; `null` where the release is none of ours.
    pub task: Option<u64>,
    /// Who submitted that task: their account, where one is known.
    pub by: Option<String>,
    /// The task that switched to it, if that is another one: a rollback, or one that failed and went
    /// back.
    #[serde(default)]
    pub switched_by: Option<u64>,
    /// When it was switched; `null` where an earlier version did that.
    pub since: Option<Timestamp>,
    /// That `current` leads elsewhere, as was seen last.
    pub drift: Option<Drift>,
}
