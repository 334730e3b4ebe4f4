//! What can happen to a task. Its ordered event list is authoritative.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::approval::{Approval, Terms};
use crate::domain::host::{Differs, Drift, ReleaseId, TreeDigest};
use crate::domain::plan::Plan;
use crate::domain::rule::Schedule;
use crate::domain::template::{Gate, Hidden};

use super::description::ComparedWith;

/// The origin of a task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// A tag was pushed and this rule (its pattern) matched.
    Tag { rule: String },
    /// A user requested a rollback to the release of an earlier task, or, without one, to what
    /// other tools left live: the plan names the release of each host.
    Rollback {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
        release: ReleaseId,
    },
    /// A user submitted it manually.
    Submitted { via: Via },
}

/// The interface by which a task was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    Page,
    Api,
    /// CODO's own API.
    Codo,
    Command,
}

impl Via {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Api => "api",
            Self::Codo => "codo",
            Self::Command => "command",
        }
    }
}

/// The user who requested a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitter {
    /// As reported by the git server or the login.
    pub name: String,
    /// The account that it maps to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl Submitter {
    /// Returns the name to show: the account, if known.
    #[must_use]
    pub fn who(&self) -> &str {
        self.account.as_deref().unwrap_or(&self.name)
    }
}

/// The push that contained a tag, perhaps along with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedWith {
    /// Equal for all tags of one push, and for no others.
    pub id: String,
    /// The project's first task from this push: pushes are ordered by it.
    pub first: u64,
}

/// Everything known when a task is proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    pub origin: Origin,
    /// Empty, with the environment, for a task without a project: it has no queue.
    pub project: String,
    pub environment: String,
    pub repository: String,
    /// The full name of the ref, `refs/tags/release-1.0`; empty if the task releases nothing from a
    /// repository.
    pub reference: String,
    /// The object that was pushed: a commit or a tag object, 40 or 64 hex digits. Empty if only the
    /// tag's name was given: landing waits for the tag and pins what it points to then.
    pub object: String,
    pub template: String,
    pub schedule: Schedule,
    pub submitter: Submitter,
    /// How long the task may wait for approval, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
    pub supersede: Supersede,
    /// Of several tags in one push, the newest commit is released; `None` if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushedWith>,
    /// Whether it is refused if it is older than what is live, or has diverged from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refuse_older: bool,
    /// The template's parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Secret parameters, never shown. They are kept only here: no plan holds them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Hidden>,
    /// Parameters from a rule, given while the template could not be read: it was unknown which are
    /// secret. Never shown, until the plan determines which are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unsorted: BTreeMap<String, Hidden>,
    /// The title that is shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Remarks for users.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// It does not run before this time; an approval may set a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// The hosts given by the task itself, for stages with `hosts = "{1}"` to `"{9}"`: names of
    /// configured hosts, or addresses if the template allows free hosts.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "numbered"
    )]
    pub hosts: BTreeMap<u8, Vec<String>>,
    /// Accounts that are requested to approve: they see the task, and gain no permission from this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// The person responsible for it; shown only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub executor: String,
    /// The submitter named by a client; shown, and trusted only to bar them from approving.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub claimed_submitter: String,
    /// Accounts besides the submitter's that may not approve it: those of the user who had a push
    /// replayed, and of the claimed submitter.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub involved: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// Reads numeric keys: JSON keys are text, and serde does not convert them inside an event.
fn numbered<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<u8, Vec<String>>, D::Error> {
    let groups = BTreeMap::<String, Vec<String>>::deserialize(deserializer)?;
    groups
        .into_iter()
        .map(|(number, hosts)| {
            let number = number.parse().map_err(serde::de::Error::custom)?;
            Ok((number, hosts))
        })
        .collect()
}

impl Submission {
    /// Whether it has a project and environment, and so a queue and a release history.
    #[must_use]
    pub fn has_place(&self) -> bool {
        !self.project.is_empty()
    }

    /// Returns a secret parameter's value. Earlier versions kept those of rules with the others.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&str> {
        let given = self.secrets.get(name).or_else(|| self.unsorted.get(name));
        given
            .map(Hidden::expose)
            .or_else(|| self.parameters.get(name).map(String::as_str))
    }

    /// Whether it releases something from a repository, so that it has to land.
    #[must_use]
    pub fn has_reference(&self) -> bool {
        !self.reference.is_empty()
    }
}

/// Whether a newer task of the same rule supersedes this one while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Supersede {
    ByNewer,
    Never,
}

/// The direction of a task's work: forward, or rollback.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    #[default]
    Forward,
    /// The publish stage's steps, with the release that was live before.
    Back,
}

/// One step of one host of one stage, by their indexes in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepRef {
    #[serde(default, skip_serializing_if = "is_forward")]
    pub way: Direction,
    pub stage: u16,
    pub host: u16,
    pub step: u16,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_forward(way: &Direction) -> bool {
    *way == Direction::Forward
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum StepResult {
    /// The tree exists on the agent.
    CheckedOut { digest: TreeDigest, files: u64 },
    /// The release exists on the host, complete.
    Staged {
        /// The release that was live at that time.
        live: Option<ReleaseId>,
        files_sent: u64,
        bytes_sent: u64,
        /// Set if that is not the release that tagship had switched to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drift: Option<Drift>,
        /// Notes about the host for the user, one line each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// The release is live on the host.
    Published {
        was: Option<ReleaseId>,
        #[serde(default, skip_serializing_if = "SwitchReport::is_empty")]
        found: Box<SwitchReport>,
    },
    /// The program exited with 0, or the check passed.
    Done {
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        values: BTreeMap<String, String>,
    },
    /// It did not succeed.
    Failed {
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
    },
    /// It was begun, and its result cannot be determined.
    Unknown { message: String },
    /// The task was asked to stop, and nothing of the step still runs.
    Stopped,
}

/// What else was found on a host when it switched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchReport {
    /// Set if the live release was not the one that tagship had switched to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// How the release differs from what was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<Differs>,
    /// The releases that are on the host from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<ReleaseId>,
    /// Other notes about the host for the user, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl SwitchReport {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl StepResult {
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(
            self,
            Self::CheckedOut { .. }
                | Self::Staged { .. }
                | Self::Published { .. }
                | Self::Done { .. }
        )
    }
}

/// Why a running task waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "pause", rename_all = "kebab-case")]
pub enum Pause {
    /// A stage with `gate = "hand"` comes next.
    Gate { stage: u16 },
    /// Nothing can continue except after a step with `gate = "hand"`.
    StepGate,
    /// Nothing can continue before the task's scheduled time.
    Time { until: Timestamp },
    /// A step failed, and the environment says `on_failure = "pause"`.
    HostFailed { message: String },
    /// The result of a step cannot be determined.
    Unknown { message: String },
}

/// Who requests a stop. Only a person can have checked what could not be stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopRequester {
    /// A timeout, or a task that takes over. Older events do not record who: they never count as a
    /// person's answer.
    #[default]
    Tagship,
    Person,
}

impl StopRequester {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is serde's"
    )]
    fn is_tagship(&self) -> bool {
        *self == Self::Tagship
    }
}

/// How the work of a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Succeeded,
    Failed {
        message: String,
    },
    Stopped,
    RolledBack {
        message: String,
    },
    RollbackFailed {
        message: String,
    },
    /// Planned and shown only; its rule says `observe`.
    Observed,
}

/// The result of landing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// Empty if the task releases nothing from a repository.
    pub commit: String,
    /// The object that the ref pointed to, if the submission names none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    pub terms: Terms,
    /// The blob with what is shown: commits, statistics, comparison with what is live.
    pub description: String,
    /// What it was compared with.
    #[serde(default, skip_serializing_if = "ComparedWith::is_unknown")]
    pub compared: ComparedWith,
    /// What waits for the task's scheduled time.
    #[serde(default, skip_serializing_if = "Waits::is_usual")]
    pub waits: Waits,
}

/// What waits for a task's scheduled time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waits {
    /// The whole task.
    #[default]
    Task,
    /// The stages and steps with `gate = "timed"`: the rest begins as soon as it may.
    Gates,
}

impl Waits {
    /// Returns what a plan's stages and steps request.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        if plan.keeps_time() {
            Self::Gates
        } else {
            Self::Task
        }
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is serde's"
    )]
    fn is_usual(&self) -> bool {
        *self == Self::Task
    }
}

/// One thing that happened to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    Proposed(Box<Submission>),
    /// Another push of the same object to the same ref arrived while the task was unfinished.
    Joined {
        submitter: String,
    },
    /// A push reported that the ref was deleted or moved: check that it still exists.
    RefDoubted,
    /// The ref was checked and exists.
    RefStands,
    /// The ref is in doubt and could not be checked within the time a push may take; the agent
    /// keeps checking.
    RefUnseen {
        reason: String,
    },
    /// It has not landed yet, and why; the agent keeps retrying.
    NotLanded {
        reason: String,
    },
    /// The ref points to the pushed object, the commit is pinned, the plan is frozen.
    Landed(Box<Landed>),
    /// Something else is live now: the comparison was repeated. Plan and approvals are kept.
    Compared {
        /// The blob that replaces the former description.
        description: String,
        with: ComparedWith,
    },
    Approved(Approval),
    Rejected {
        by: String,
        reason: String,
    },
    Withdrawn {
        by: String,
        reason: String,
    },
    Superseded {
        by: u64,
    },
    Expired {
        reason: String,
    },
    /// It was withdrawn, superseded or expired, and is reopened.
    Reopened {
        by: String,
    },
    /// The scheduled time has come: the task begins, or what waits for it while it runs.
    Due,
    /// An agent claims the work, also to resume it after a restart.
    Claimed {
        fence: u64,
    },
    /// The first claim of the work: it has a release from now on.
    Started {
        release: ReleaseId,
    },
    /// The intent of a step: durable before its effect.
    Began {
        at: StepRef,
        attempt: u32,
    },
    /// The host reported that it began this attempt's program: the attempt never counts as not
    /// begun, whatever the host reports later.
    ProgramBegan {
        at: StepRef,
        attempt: u32,
    },
    /// The host of a step is unreachable; it is retried until then, and the step fails after.
    HostAway {
        at: StepRef,
        reason: String,
        until: Timestamp,
    },
    /// The host is reachable again, and the step continues.
    HostBack {
        at: StepRef,
    },
    Ended {
        at: StepRef,
        result: StepResult,
    },
    Paused(Pause),
    /// A host waits at the gate of a step; the others continue.
    Held {
        at: StepRef,
        host: String,
        gate: Gate,
    },
    /// A person opened the gate, for all hosts or for the named one.
    Continued {
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    StopRequested {
        by: String,
        #[serde(default, skip_serializing_if = "StopRequester::is_tagship")]
        asker: StopRequester,
    },
    /// What runs on one host is stopped, and nothing more is begun there; the others continue.
    HostStopRequested {
        host: u16,
        name: String,
        by: String,
    },
    /// One host is skipped; the task continues.
    HostSkipped {
        host: u16,
        name: String,
        by: String,
        reason: String,
    },
    /// It runs although releases are frozen.
    FreezeOverridden {
        by: String,
        reason: String,
        /// The end of that freeze: a later one applies again. Earlier versions did not record it:
        /// their overrides apply until the task is retried.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Failed, unknown, stopped and unstarted steps are to be done, again if necessary.
    RetryRequested {
        by: String,
    },
    /// Hosts that have switched roll back.
    RollbackBegan {
        reason: String,
    },
    Finished(Outcome),
}

impl Event {
    /// Whether it comes from tagship itself and does not restart the landing timeout.
    pub(super) fn is_of_tagship_alone(&self) -> bool {
        matches!(self, Self::NotLanded { .. } | Self::Compared { .. })
    }

    /// Returns the name shown on pages, in logs and in the audit trail.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Proposed(_) => "proposed",
            Self::Joined { .. } => "joined",
            Self::RefDoubted => "ref doubted",
            Self::RefStands => "ref stands",
            Self::RefUnseen { .. } => "ref not seen",
            Self::NotLanded { .. } => "not landed yet",
            Self::Landed(_) => "landed",
            Self::Compared { .. } => "compared",
            Self::Approved(_) => "approved",
            Self::Rejected { .. } => "rejected",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Superseded { .. } => "superseded",
            Self::Expired { .. } => "expired",
            Self::Reopened { .. } => "reopened",
            Self::Due => "due",
            Self::Claimed { .. } => "claimed",
            Self::Started { .. } => "started",
            Self::Began { .. } => "step began",
            Self::ProgramBegan { .. } => "program began",
            Self::HostAway { .. } => "host away",
            Self::HostBack { .. } => "host back",
            Self::Ended { .. } => "step ended",
            Self::Paused(_) => "paused",
            Self::Held { .. } => "held at a gate",
            Self::Continued { .. } => "continued",
            Self::StopRequested { .. } => "stop requested",
            Self::HostStopRequested { .. } => "host stop requested",
            Self::HostSkipped { .. } => "host skipped",
            Self::FreezeOverridden { .. } => "freeze overridden",
            Self::RetryRequested { .. } => "retry requested",
            Self::RollbackBegan { .. } => "rollback began",
            Self::Finished(_) => "finished",
        }
    }
}

/// An event with its time; the fold reads no clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    pub time: Timestamp,
    #[serde(flatten)]
    pub event: Event,
}
