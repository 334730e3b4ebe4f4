//! What can happen to a task. Its ordered event list is authoritative.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::approval::{Approval, Terms};
use crate::domain::host::{Drift, LocalChanges, ReleaseId, TreeDigest};
use crate::domain::plan::Plan;
use crate::domain::template::Gate;

use super::description::ComparedWith;
use super::submission::Submission;

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

fn is_forward(direction: &Direction) -> bool {
    *direction == Direction::Forward
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
        /// Whether the message leaves out the exit code.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        omits_exit: bool,
        /// Whether a retry would end the same, whatever is mended meanwhile.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_final: bool,
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
    pub differs: Option<LocalChanges>,
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
    #[serde(default, skip_serializing_if = "ScheduleScope::is_default")]
    pub waits: ScheduleScope,
}

/// What waits for a task's scheduled time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleScope {
    /// The whole task.
    #[default]
    Task,
    /// The stages and steps with `gate = "timed"`: the rest begins as soon as it may.
    Gates,
}

impl ScheduleScope {
    /// Returns what a plan's stages and steps request.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        if plan.keeps_time() {
            Self::Gates
        } else {
            Self::Task
        }
    }

    fn is_default(&self) -> bool {
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
    #[serde(rename = "ref-stands")]
    RefConfirmed,
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
        /// Whether it could not land again, whatever is mended meanwhile.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_final: bool,
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
        #[serde(
            rename = "asker",
            default,
            skip_serializing_if = "StopRequester::is_tagship"
        )]
        requester: StopRequester,
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
    pub(super) fn is_internal(&self) -> bool {
        matches!(self, Self::NotLanded { .. } | Self::Compared { .. })
    }

    /// Returns the name shown on pages, in logs and in the audit trail.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Proposed(_) => "proposed",
            Self::Joined { .. } => "joined",
            Self::RefDoubted => "ref doubted",
            Self::RefConfirmed => "ref confirmed",
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
