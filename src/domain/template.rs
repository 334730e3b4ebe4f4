//! Task templates: ordered stages of steps, read from TOML text and checked (pure).
//!
//! A [`Template`] says what a task does, without saying to what: no project, no commit, no
//! addresses. It never opens a file (`config` does) and never names a host. `plan` turns it, with
//! parameters, hosts and a commit, into a plan.

mod arguments;
mod file;
mod hidden;
mod outputs;
mod params;
mod placeholder;
mod reader;
mod requirement;
mod steps;
mod structure;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use arguments::{arguments, split};
pub use hidden::Hidden;
pub use params::{Param, ParamError, ParamKind, can_be_tag};
pub use placeholder::{GIVEN, GIVEN_BY_PLACE, fill, is_parameter_name, names as placeholder_names};
pub use requirement::{Approvers, NoRequirement, Requirement};

/// How long a `run` step may take where it does not say.
pub const RUN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// How long one attempt of a `check` may take where it does not say.
pub const CHECK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long a `check` waits between two attempts where it does not say.
pub const CHECK_INTERVAL_DEFAULT: Duration = Duration::from_secs(2);
/// How often a failed `check` is tried again where it does not say.
pub const CHECK_RETRIES_DEFAULT: u32 = 5;

/// The agent's own machine, as the host of a step.
pub const AGENT: &str = "agent";

/// Is this a name of a project, environment, host, group, template, stage or step:
/// `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`?
#[must_use]
pub fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// What tasks of one kind do: stages, one after another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// The number by which the CODO API asks for it.
    pub id: Option<u64>,
    pub name: String,
    /// Hosts that the task gives need not be in the configuration.
    #[serde(default)]
    pub free_hosts: bool,
    /// The parameters that a task must or may give, besides [`GIVEN`].
    pub params: Vec<Param>,
    /// At least one.
    pub stages: Vec<StageTemplate>,
    /// The files beside the template that its steps send and run, each with the SHA-256 of its
    /// content as 64 hex digits. Empty until [`Template::with_scripts`] was told of them.
    pub scripts: BTreeMap<String, String>,
    /// Names this version, as 64 hex digits: SHA-256 of the text, or of the text with its scripts.
    pub digest: String,
}

/// One version of a template: what the store keeps for the tasks that used it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTemplate {
    pub name: String,
    /// The template's [digest](Template::digest).
    pub digest: String,
    pub text: String,
    /// The files that it sends, with their content.
    #[serde(default)]
    pub scripts: BTreeMap<String, String>,
}

/// A group of hosts and the steps that each of them runs, in order; hosts side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTemplate {
    /// Unique in the template.
    pub name: String,
    pub hosts: StageHosts,
    pub gate: Gate,
    /// How many hosts at a time; the first batch is the canary. `None`: all of them.
    pub batch: Option<NonZeroU32>,
    /// At least one.
    pub steps: Vec<Step>,
}

impl StageTemplate {
    /// Whether a step of it runs on the hosts of the task's environment.
    #[must_use]
    pub fn takes_environment(&self) -> bool {
        self.hosts == StageHosts::Environment && self.steps.iter().any(|step| step.host.is_none())
    }
}

/// Where a stage happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageHosts {
    /// On the agent's own machine, once: the stage of the `checkout` step, and of no other.
    Agent,
    /// `"{group}"`: the group of the task's environment.
    Environment,
    /// A group of the configuration, by name.
    Group(String),
    /// `"{1}"` to `"{9}"`: the task itself lists the hosts, under this number.
    Given(u8),
}

/// What must happen before a stage begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// Nothing: it follows the stage before it.
    #[default]
    None,
    /// A person says go.
    Hand,
    /// The time that the task was given must have come.
    Timed,
}

impl Gate {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is serde's"
    )]
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// One thing done on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Unique in the stage.
    pub name: String,
    /// On the first host of the stage only.
    pub once: bool,
    /// What must happen on each host before the step begins there.
    #[serde(default, skip_serializing_if = "Gate::is_none")]
    pub gate: Gate,
    /// The execution user who runs it, by the name in the configuration; `None`: who logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The configured host on which it runs once, whatever hosts the stage has; `agent` is the
    /// agent's own machine. The stage's hosts do what stands before it first, and what stands after
    /// it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub action: StepAction,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepAction {
    /// The commit becomes a tree on the agent.
    Checkout,
    /// The tree is brought to the host, complete, beside the live release.
    Sync,
    /// The release becomes the live one, by one rename.
    Publish,
    /// A program runs on the host.
    Run(Program),
    /// Something must answer, or the host has failed.
    Check(HealthCheck),
}

/// A program that a `run` step starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Arguments may hold `{NAME}`, to be filled in by [`fill`]; shell text holds none.
    pub command: ProgramCommand,
    /// Further arguments, in which a word that is a parameter's name stands for its value: see
    /// [`arguments`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    pub directory: Directory,
    pub timeout: Duration,
    /// It may be run again when nobody knows whether it ran: after a lost connection.
    pub repeat: bool,
    /// The names under which it may hand values on to later steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Those under which it hands on secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_outputs: Vec<String>,
}

/// What a `run` step starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramCommand {
    /// A program and its arguments, each passed whole.
    Argv(Vec<String>),
    /// Text for `sh`, taken as it stands.
    Shell(String),
    /// A file beside the template, by its name: sent to the host, run there, removed.
    Script(String),
}

/// The working directory of a program on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Directory {
    /// The tree of this task's release. Only where a `sync` comes before.
    Release,
    /// The login user's home.
    Home,
    /// This one.
    Absolute(String),
}

/// A health check: tried until it holds or the retries are used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub probe: Probe,
    /// Attempts after the first.
    pub retries: u32,
    /// Between two attempts.
    pub interval: Duration,
    /// Of one attempt.
    pub timeout: Duration,
}

impl HealthCheck {
    /// Whether it asks by a program on the host.
    #[must_use]
    pub fn runs_on_host(&self) -> bool {
        matches!(self.probe, Probe::Command { .. })
    }
}

/// What a [`HealthCheck`] asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// A GET of this URL answers with this status. The URL may hold `{NAME}`.
    Http { url: String, status: u16 },
    /// This `HOST:PORT` accepts a connection. It may hold `{NAME}`.
    Tcp { address: String },
    /// This program exits 0 on the host.
    Command {
        command: ProgramCommand,
        directory: Directory,
    },
}

/// What becomes of the task when a host fails after the first one has switched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Every host that switched goes back.
    #[default]
    Rollback,
    /// It waits for a person.
    Pause,
    /// It ends there; what switched stays.
    Stop,
    /// The other hosts go on; the task ends failed.
    Continue,
}

impl Step {
    /// A step that waits for nothing and is done by whoever does the stage.
    #[must_use]
    pub fn plain(name: &str, action: StepAction) -> Self {
        Self {
            name: name.to_owned(),
            once: false,
            gate: Gate::None,
            user: None,
            host: None,
            action,
        }
    }
}

impl StepAction {
    /// Is it a part of releasing a commit?
    #[must_use]
    pub fn releases(&self) -> bool {
        matches!(self, Self::Checkout | Self::Sync | Self::Publish)
    }

    /// The file that it sends and runs, if it does.
    #[must_use]
    pub fn script(&self) -> Option<&str> {
        match self {
            Self::Run(Program {
                command: ProgramCommand::Script(name),
                ..
            }) => Some(name),
            _ => None,
        }
    }
}

impl Template {
    /// Is this what somebody means who asks for `name_or_id`?
    #[must_use]
    pub fn answers_to(&self, name_or_id: &str) -> bool {
        self.name == name_or_id || self.id.is_some_and(|id| id.to_string() == name_or_id)
    }

    /// Every step with its stage, in order.
    pub fn steps(&self) -> impl Iterator<Item = (&StageTemplate, &Step)> {
        self.stages
            .iter()
            .flat_map(|stage| stage.steps.iter().map(move |step| (stage, step)))
    }

    /// The files beside the template that its steps name.
    pub fn script_names(&self) -> impl Iterator<Item = &str> {
        self.steps().filter_map(|(_, step)| step.action.script())
    }

    /// The same template with the content of its scripts (by name), which is part of its version.
    #[must_use]
    pub fn with_scripts(mut self, scripts: &BTreeMap<String, String>) -> Self {
        let digest = |text: &str| format!("{:x}", Sha256::digest(text));
        self.scripts = scripts
            .iter()
            .map(|(name, text)| (name.clone(), digest(text)))
            .collect();
        if !self.scripts.is_empty() {
            let mut version = self.digest.clone();
            for (name, digest) in &self.scripts {
                version.push_str(&format!("\n{name} {digest}"));
            }
            self.digest = digest(&version);
        }
        self
    }

    /// Does it release a commit: does a task of it need a project, an environment and a tag?
    #[must_use]
    pub fn releases(&self) -> bool {
        self.steps().any(|(_, step)| step.action.releases())
    }

    /// Does it switch a release?
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.steps()
            .any(|(_, step)| step.action == StepAction::Publish)
    }
}

#[cfg(test)]
mod bound_tests;
#[cfg(test)]
mod doc_tests;
#[cfg(test)]
mod tests;
