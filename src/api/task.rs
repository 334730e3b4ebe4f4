//! A task as page, command line and other programs see it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::approval::{Approval, MissingApproval};
use crate::domain::host::{Drift, ReleaseId};
use crate::domain::plan::PlanDigest;
use crate::domain::rule::Schedule;
use crate::domain::task::{
    ComparedRelease, ComparedWith, Description, Direction, OriginKind, StateName,
};
use crate::domain::template::{Gate, OnFailure};
use crate::engine::request::AllowedRequest;

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
    pub state: StateName,
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
    /// When it starts; `null` if it is not scheduled, or its ref cannot be looked for.
    #[serde(default)]
    pub starts_at: Option<Timestamp>,
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
    #[serde(default)]
    pub missing_approvals: Vec<MissingApproval>,
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
    pub may: Vec<AllowedRequest>,
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
    pub fn destination(&self) -> String {
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

pub(super) fn called<'a>(title: &'a str, tag: &'a str, template: &'a str) -> &'a str {
    [title, tag]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or(template)
}

/// An approval, with what was live when it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalView {
    #[serde(flatten)]
    pub approval: Approval,
    /// The releases that the task was compared with at that time.
    #[serde(default)]
    pub live: Vec<ComparedRelease>,
}

/// What a task was compared with, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedView {
    pub at: Timestamp,
    #[serde(flatten)]
    pub with: ComparedWith,
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
    /// Whether the message leaves out the exit code.
    #[serde(default)]
    pub omits_exit: bool,
}

impl StepView {
    /// Returns the exit code, unless the message says it.
    #[must_use]
    pub fn unstated_exit(&self) -> Option<i32> {
        self.exit_code
            .filter(|_| self.omits_exit || self.message.is_empty())
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
