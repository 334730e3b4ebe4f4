//! Task templates: ordered stages of steps, read from TOML text and checked (pure).
//!
//! A [`Template`] defines what a task does, without its target: no project, commit or addresses. It
//! opens no files (`config` does) and names no hosts. `plan` combines it with parameters, hosts and
//! a commit into a plan.

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

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::document::names_or_none;
pub use arguments::{arguments, split};
pub use hidden::Hidden;
pub use params::{Param, ParamError, ParamKind, can_be_tag};
pub use placeholder::{
    SUPPLIED, SUPPLIED_BY_PROJECT, fill, is_parameter_name, names as placeholder_names,
};
pub use requirement::{Approvers, NoRequirement, Requirement};

/// Default time limit of a `run` step.
pub const RUN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// Default time limit of one attempt of a `check`.
pub const CHECK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Default interval between two attempts of a `check`.
pub const CHECK_INTERVAL_DEFAULT: Duration = Duration::from_secs(2);
/// Default number of retries of a failed `check`.
pub const CHECK_RETRIES_DEFAULT: u32 = 5;

/// The name of the agent's own machine as the host of a step.
pub const AGENT: &str = "agent";

/// Whether this is a valid name of a project, environment, host, group, template, stage or step:
/// `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Returns the problem of `name` as the name of a `kind` of thing, if it has one.
pub(crate) fn name_problem(kind: &str, name: &str) -> Option<String> {
    (!is_name(name)).then(|| {
        format!(
            "`{name}` is no name for a {kind}: use up to 64 letters, digits, dots, underscores \
             and hyphens, beginning with a letter or digit"
        )
    })
}

/// What a kind of task does: stages, one after another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Its number in the CODO API.
    pub id: Option<u64>,
    pub name: String,
    /// Whether hosts that the task gives may be missing in the configuration.
    #[serde(default)]
    pub free_hosts: bool,
    /// The parameters that a task must or may give, besides [`SUPPLIED`].
    pub params: Vec<Param>,
    /// At least one.
    pub stages: Vec<StageTemplate>,
    /// The script files beside the template that its steps send and run, each with the SHA-256 of
    /// its content as 64 hex digits. Empty until [`Template::with_scripts`] is called.
    pub scripts: BTreeMap<String, String>,
    /// The version, as 64 hex digits: SHA-256 of the text, or of the text with its scripts.
    pub digest: String,
}

impl Template {
    /// Returns the names of secret parameters.
    pub fn secrets(&self) -> impl Iterator<Item = &String> {
        let secret = self
            .params
            .iter()
            .filter(|one| one.kind == ParamKind::Secret);
        secret.map(|param| &param.name)
    }

    /// Returns the template's own parameters for a task with the `given` values, with defaults and
    /// after checking every value. Excludes those in [`SUPPLIED`].
    ///
    /// # Errors
    /// All invalid parameters, by name.
    pub fn parameters(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Vec<ParamError>> {
        let mut errors = Vec::new();
        for name in given.keys() {
            if SUPPLIED.contains(&name.as_str()) {
                errors.push(ParamError::Supplied { name: name.clone() });
            } else if !self.params.iter().any(|param| param.name == *name) {
                errors.push(ParamError::Unknown {
                    template: self.name.clone(),
                    name: name.clone(),
                    known: names_or_none(self.params.iter().map(|param| param.name.as_str())),
                });
            }
        }
        let mut values = BTreeMap::new();
        for param in &self.params {
            let Some(value) = given.get(&param.name).or(param.default.as_ref()) else {
                if param.required {
                    errors.push(ParamError::Missing {
                        template: self.name.clone(),
                        name: param.name.clone(),
                    });
                } else {
                    values.insert(param.name.clone(), String::new());
                }
                continue;
            };
            match param.check(value) {
                Ok(()) => {
                    values.insert(param.name.clone(), value.clone());
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(values)
        } else {
            Err(errors)
        }
    }
}

/// One version of a template, stored for the tasks that used it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTemplate {
    pub name: String,
    /// The template's [digest](Template::digest).
    pub digest: String,
    pub text: String,
    /// The script files that it sends, with their content.
    #[serde(default)]
    pub scripts: BTreeMap<String, String>,
}

/// A group of hosts and the steps that each of them runs, in order; hosts run in parallel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTemplate {
    /// Unique in the template.
    pub name: String,
    pub hosts: StageHosts,
    pub gate: Gate,
    /// Number of hosts at a time; the first batch is the canary. `None`: all hosts.
    pub batch: Option<NonZeroU32>,
    /// At least one.
    pub steps: Vec<Step>,
}

impl StageTemplate {
    /// Whether one of its steps runs on the hosts of the task's environment.
    #[must_use]
    pub fn takes_environment(&self) -> bool {
        self.hosts == StageHosts::Environment && self.steps.iter().any(|step| step.host.is_none())
    }
}

/// Where a stage runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageHosts {
    /// The agent's own machine: only for the stage of the `checkout` step.
    Agent,
    /// `"{group}"`: the group of the task's environment.
    Environment,
    /// A configured group, by name.
    Group(String),
    /// `"{1}"` to `"{9}"`: hosts that the task itself lists under this number.
    Given(u8),
}

/// The condition for a stage or step to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// None: it follows the stage before it.
    #[default]
    None,
    /// A person resumes it.
    Hand,
    /// The task's scheduled time has come.
    Timed,
}

impl Gate {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// One action on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Unique in the stage.
    pub name: String,
    /// Whether it runs only on the first host of the stage.
    pub once: bool,
    /// The condition for the step to begin on each host.
    #[serde(default, skip_serializing_if = "Gate::is_none")]
    pub gate: Gate,
    /// The execution user who runs it, by configured name; `None`: the login user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The configured host on which it runs once, regardless of the stage's hosts; `agent` is the
    /// agent's own machine. The stage's hosts run earlier steps before it and later steps after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub action: StepAction,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepAction {
    /// Writes the commit as a tree on the agent.
    Checkout,
    /// Transfers the complete tree to the host, beside the live release.
    Sync,
    /// Makes the release live, by one rename.
    Publish,
    /// Runs a program on the host.
    Run(Program),
    /// Checks that something responds; otherwise the host has failed.
    Check(HealthCheck),
}

/// A program that a `run` step starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Arguments may contain `{NAME}`, replaced by [`fill`]; shell text contains none.
    pub command: ProgramCommand,
    /// More arguments; a word equal to a parameter's name is replaced by its value: see
    /// [`arguments()`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    pub directory: Directory,
    pub timeout: Duration,
    /// Whether it may be repeated if it is unknown whether it ran: after a lost connection.
    pub repeat: bool,
    /// The names of outputs that it may pass to later steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// The names of secret outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_outputs: Vec<String>,
}

/// What a `run` step starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramCommand {
    /// A program and its arguments, each passed unchanged.
    Argv(Vec<String>),
    /// Text for `sh`, unchanged.
    Shell(String),
    /// The name of a file beside the template: sent to the host, run there, removed.
    Script(String),
}

/// The working directory of a program on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Directory {
    /// The tree of this task's release. Only valid after a `sync`.
    Release,
    /// The login user's home.
    Home,
    /// An absolute path.
    Absolute(String),
}

/// A health check: repeated until it passes or the retries are used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub probe: Probe,
    /// Number of attempts after the first.
    pub retries: u32,
    /// Time between two attempts.
    pub interval: Duration,
    /// Time limit of one attempt.
    pub timeout: Duration,
}

impl HealthCheck {
    /// Whether it runs a program on the host.
    #[must_use]
    pub fn runs_on_host(&self) -> bool {
        matches!(self.probe, Probe::Command { .. })
    }
}

/// What a [`HealthCheck`] probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// A GET of this URL returns this status. The URL may contain `{NAME}`.
    Http { url: String, status: u16 },
    /// This `HOST:PORT` accepts a connection. It may contain `{NAME}`.
    Tcp { address: String },
    /// This program exits with 0 on the host.
    Command {
        command: ProgramCommand,
        directory: Directory,
    },
}

/// What happens to the task if a host fails after the first one has switched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// All hosts that switched roll back.
    #[default]
    Rollback,
    /// The task is paused until a person decides.
    Pause,
    /// The task ends; hosts that switched keep the new release.
    Stop,
    /// The other hosts continue; the task ends as failed.
    Continue,
}

impl Step {
    /// Returns a step without a gate, run by the stage's hosts and the login user.
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
    /// Whether it is part of releasing a commit.
    #[must_use]
    pub fn releases(&self) -> bool {
        matches!(self, Self::Checkout | Self::Sync | Self::Publish)
    }

    /// Returns the script file that it sends and runs, if any.
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
    /// Whether `name_or_id` refers to this template.
    #[must_use]
    pub fn has_name_or_id(&self, name_or_id: &str) -> bool {
        self.name == name_or_id || self.id.is_some_and(|id| id.to_string() == name_or_id)
    }

    /// Returns all steps with their stages, in order.
    pub fn steps(&self) -> impl Iterator<Item = (&StageTemplate, &Step)> {
        self.stages
            .iter()
            .flat_map(|stage| stage.steps.iter().map(move |step| (stage, step)))
    }

    /// Returns the template with the digests of its scripts by name, as part of its version.
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

    /// Returns the numbers of the groups of hosts that its tasks list themselves.
    #[must_use]
    pub fn given_groups(&self) -> BTreeSet<u8> {
        let groups = self.stages.iter().filter_map(|stage| match stage.hosts {
            StageHosts::Given(number) => Some(number),
            _ => None,
        });
        groups.collect()
    }

    /// Whether it releases a commit: its tasks need a project, an environment and a tag.
    #[must_use]
    pub fn releases(&self) -> bool {
        self.steps().any(|(_, step)| step.action.releases())
    }

    /// Whether it switches a release.
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
