//! What can happen to a task. The list of these, in order, is the truth about it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::approval::{Approval, Terms};
use crate::domain::host::{Differs, Drift, ReleaseId, TreeDigest};
use crate::domain::plan::Plan;
use crate::domain::rule::Schedule;
use crate::domain::template::{Gate, Hidden};

use super::description::ComparedWith;

/// Where a task came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// A tag was pushed and this rule (its pattern) matched.
    Tag { rule: String },
    /// Somebody asked to go back to what an earlier task released.
    Rollback { to: u64, release: ReleaseId },
    /// Somebody submitted it by hand.
    Submitted { via: Via },
}

/// By what a task was submitted.
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

/// Who asked for a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitter {
    /// As the git server or the login names them.
    pub name: String,
    /// The account that stands for them, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl Submitter {
    /// What people call them: their account, where one is known.
    #[must_use]
    pub fn who(&self) -> &str {
        self.account.as_deref().unwrap_or(&self.name)
    }
}

/// The push that brought a tag, perhaps together with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedWith {
    /// Equal for all tags of one push, and for no others.
    pub id: String,
    /// The first task of the project that came of this push: pushes are ordered by it.
    pub first: u64,
}

/// Everything that is known when a task is proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    pub origin: Origin,
    /// Empty, with the environment, for a task that belongs to no project: it has no queue.
    pub project: String,
    pub environment: String,
    pub repository: String,
    /// The full name of the ref, `refs/tags/release-1.0`; empty where nothing of a repository is
    /// released.
    pub reference: String,
    /// The object that was pushed: a commit or a tag object, 40 or 64 hex digits. Empty where only
    /// the tag's name was given: landing waits for it and pins what it stands on then.
    pub object: String,
    pub template: String,
    pub schedule: Schedule,
    pub submitter: Submitter,
    /// How long the task may wait for approval, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
    pub supersede: Supersede,
    /// Of the tags of one push the newest commit is released; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushedWith>,
    /// Whether it is refused when it is older than what is live, or has diverged from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refuse_older: bool,
    /// The template's parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Those that are shown to nobody. They are kept here alone: no plan holds them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Hidden>,
    /// What a rule gave while nobody could say which of it is secret, since there was no template to
    /// be read. Shown to nobody, until the plan tells what is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unsorted: BTreeMap<String, Hidden>,
    /// What people call it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Remarks for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// It shall not run before this time; an approval may name a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// The hosts that the task itself gives, for stages with `hosts = "{1}"` to `"{9}"`: names of
    /// configured hosts, or addresses where the template allows free hosts.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "numbered"
    )]
    pub hosts: BTreeMap<u8, Vec<String>>,
    /// Accounts that are asked to approve: it is shown to them, and gives them no right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// Who shall look after it; shown, nothing follows from it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub executor: String,
    /// Who a client says has submitted it; shown, and believed only to keep them from approving.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub claimed_submitter: String,
    /// Accounts besides the submitter's that may not approve it: of whoever had a push replayed,
    /// and of the claimed submitter.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub involved: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// JSON's keys are text, and inside an event serde does not make numbers of them by itself.
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
    /// A task of no project and environment has no queue and no history of releases.
    #[must_use]
    pub fn has_place(&self) -> bool {
        !self.project.is_empty()
    }

    /// The value of a secret parameter. Earlier versions kept those of rules among the others.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&str> {
        let given = self.secrets.get(name).or_else(|| self.unsorted.get(name));
        given
            .map(Hidden::expose)
            .or_else(|| self.parameters.get(name).map(String::as_str))
    }

    /// Whether something of a repository is released, so that it has to land.
    #[must_use]
    pub fn has_reference(&self) -> bool {
        !self.reference.is_empty()
    }
}

/// Whether a newer task of the same rule ends this one's waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Supersede {
    ByNewer,
    Never,
}

/// The work of a task is done forwards, or backwards.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    #[default]
    Forward,
    /// The publish stage's steps, with what was live before.
    Back,
}

/// One step of one host of one stage, by their places in the plan.
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
    /// The tree stands on the agent.
    CheckedOut { digest: TreeDigest, files: u64 },
    /// The release stands complete on the host.
    Staged {
        /// What was live there at that time.
        live: Option<ReleaseId>,
        files_sent: u64,
        bytes_sent: u64,
        /// That this is not what tagship had switched to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drift: Option<Drift>,
        /// What people should know about the host, a line each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// The release is live on the host.
    Published {
        was: Option<ReleaseId>,
        #[serde(default, skip_serializing_if = "SwitchReport::is_empty")]
        found: Box<SwitchReport>,
    },
    /// The program ended with 0, the check held.
    Done {
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        values: BTreeMap<String, String>,
    },
    /// It did not come to pass.
    Failed {
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
    },
    /// It was begun, and nobody can say how it ended.
    Unknown { message: String },
    /// Somebody asked the task to stop, and nothing of the step is left running.
    Stopped,
}

/// What was found on a host besides, when it switched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchReport {
    /// That something else was live than tagship had switched to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// How the release differs from what was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<Differs>,
    /// The releases that are complete on the host since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<ReleaseId>,
    /// What people should know about the host besides, a line each.
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
    /// Nothing can go on but behind a step with `gate = "hand"`.
    StepGate,
    /// Nothing can go on before the task's time.
    Time { until: Timestamp },
    /// A step failed, and the environment says `on_failure = "pause"`.
    HostFailed { message: String },
    /// Nobody can say how a step ended.
    Unknown { message: String },
}

/// Who says stop. Only a person can have looked after what nobody could end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopRequester {
    /// A time that is up, or a task that takes over. Events of older versions do not tell: nothing
    /// follows from them that only a person can say.
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
    /// Worked out and shown; its rule says `observe`.
    Observed,
}

/// What landing worked out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// Empty where nothing of a repository is released.
    pub commit: String,
    /// The object on which the ref stood, where the submission names none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    pub terms: Terms,
    /// The blob that holds what is shown: commits, statistics, comparison with what is live.
    pub description: String,
    /// With what it was compared.
    #[serde(default, skip_serializing_if = "ComparedWith::is_unknown")]
    pub compared: ComparedWith,
    /// What waits for the time that the task was given.
    #[serde(default, skip_serializing_if = "Waits::is_usual")]
    pub waits: Waits,
}

/// What waits for the time that a task was given.
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
    /// What a plan's stages and steps say.
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
    /// A push said that the ref was deleted or moved: look whether it still stands.
    RefDoubted,
    /// It was looked for, and it stands.
    RefStands,
    /// It is in doubt and could not be looked for in as long as a push may take, and why; the agent
    /// goes on looking.
    RefUnseen {
        reason: String,
    },
    /// It has not landed yet, and why; the agent goes on trying.
    NotLanded {
        reason: String,
    },
    /// The ref stands on the pushed object, the commit is pinned, the plan is frozen.
    Landed(Box<Landed>),
    /// Something else is live by now: it was compared again. Plan and approvals stay.
    Compared {
        /// The blob that takes the place of the former description.
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
    /// Withdrawn, superseded or expired, it is taken up again.
    Reopened {
        by: String,
    },
    /// Its time has come: to begin, or for what waits for it while it runs.
    Due,
    /// An agent takes the work on, or takes it up after a restart.
    Claimed {
        fence: u64,
    },
    /// The first claim of the work: from now on it has a release.
    Started {
        release: ReleaseId,
    },
    /// The intent of a step: durable before its effect.
    Began {
        at: StepRef,
        attempt: u32,
    },
    /// The host has said that the program of this attempt is begun there: nobody may take it for one
    /// that never was, whatever the host says later.
    ProgramBegan {
        at: StepRef,
        attempt: u32,
    },
    /// The host of a step can't be reached; it is tried again until then, and fails after.
    HostAway {
        at: StepRef,
        reason: String,
        until: Timestamp,
    },
    /// The host is there again, and the step goes on.
    HostBack {
        at: StepRef,
    },
    Ended {
        at: StepRef,
        result: StepResult,
    },
    Paused(Pause),
    /// A host waits at the gate of a step; the others go on.
    Held {
        at: StepRef,
        host: String,
        gate: Gate,
    },
    /// A person says go on: the gate is open, for all hosts or for the one of this name.
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
    /// What runs on one host is ended, and nothing more is begun there; the others go on.
    HostStopRequested {
        host: u16,
        name: String,
        by: String,
    },
    /// The task goes on without one host.
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
        /// The end of that freeze: a later one holds it again. Earlier versions did not keep it;
        /// theirs count until the task is tried again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Failed, unknown, stopped and unstarted steps are to be done (again).
    RetryRequested {
        by: String,
    },
    /// Hosts that switched go back.
    RollbackBegan {
        reason: String,
    },
    Finished(Outcome),
}

impl Event {
    /// Whether it says nothing that anybody asked for: the time that a task has is not counted from
    /// it.
    pub(super) fn is_of_tagship_alone(&self) -> bool {
        matches!(self, Self::NotLanded { .. } | Self::Compared { .. })
    }

    /// The name that page, log and audit show.
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

/// An event with its time: time arrives inside events, the fold asks no clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    pub time: Timestamp,
    #[serde(flatten)]
    pub event: Event,
}
