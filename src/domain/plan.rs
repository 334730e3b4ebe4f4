//! What a task will do, worked out and frozen: template, parameters, hosts and commit become stages
//! of steps with addresses, users and paths resolved, and a digest over all of it.
//!
//! An approval names this digest, and what runs is this plan, whatever the configuration or the
//! template says later. The module is pure: the executor calls [`build`] at landing, the page and
//! the command line show the result. It never reads a file or asks for the time.

mod build;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::build::{GIVEN_HOSTS_MAX, PlanError, ResolvedEnvironment, TaskInputs, build};
pub use self::limits::PushLimits;
use crate::domain::host::{Inodes, ipv6_address};
use crate::domain::template::{Gate, OnFailure, Requirement, Step, StepAction};

/// The name under which steps on the agent's own machine stand beside the hosts.
pub use crate::domain::template::AGENT;

/// SHA-256 over the canonical JSON of a plan, 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanDigest(pub String);

impl fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host with everything that is needed to reach it, as it was configured at landing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedHost {
    pub name: String,
    pub address: String,
    pub port: u16,
    pub user: String,
    /// Path of the private key file on the agent's machine.
    pub identity: String,
    /// The host through which this one is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<Box<PlannedHost>>,
}

impl PlannedHost {
    /// Whether it is meant: by its name, or by its IPv6 address, of which names are made.
    #[must_use]
    pub fn is_called(&self, given: &str) -> bool {
        self.name == given
            || ipv6_address(given).is_some_and(|(address, port)| {
                let there = self.address.parse() == Ok(address);
                there && port.is_none_or(|port| port == self.port)
            })
    }
}

/// Who runs a step in place of the user who logs in, as configured at landing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedUser {
    /// The system user on the host.
    pub user: String,
    /// `None`: the host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path of the private key file on the agent's machine.
    pub identity: String,
}

impl PlannedUser {
    /// A host as this user reaches it.
    #[must_use]
    pub fn on(&self, host: &PlannedHost) -> PlannedHost {
        PlannedHost {
            user: self.user.clone(),
            port: self.port.unwrap_or(host.port),
            identity: self.identity.clone(),
            ..host.clone()
        }
    }
}

/// As whom steps run on the agent's own machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalUser {
    pub user: String,
    /// Where its tasks are kept: an absolute path that is the user's own.
    pub directory: String,
}

/// How the releases of an environment are kept on its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Absolute path on the host; `{HOST}` stands for the host's name.
    pub deploy_to: String,
    pub keep_releases: u32,
    /// Paths of a release that point into `shared/`.
    pub shared: Vec<String>,
    /// Patterns of paths that do not become part of a release.
    pub exclude: Vec<String>,
    /// `USER` or `USER:GROUP` to whom a release's files belong; `None`: the user who logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The sub-directory of the repository that is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether entries of mode 160000 are left out; a commit that holds one is refused otherwise.
    pub submodules: Submodules,
    /// What happens where a shared file is missing on a host.
    #[serde(default, skip_serializing_if = "SharedMissing::is_fail")]
    pub shared_missing: SharedMissing,
}

/// What happens where a shared file is missing on a host. Directories are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharedMissing {
    /// The release is not switched to.
    #[default]
    Fail,
    /// The task says so, and goes on.
    Warn,
}

impl SharedMissing {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is serde's"
    )]
    fn is_fail(&self) -> bool {
        *self == Self::Fail
    }
}

impl Placement {
    /// The path on one host.
    #[must_use]
    pub fn on(&self, host: &str) -> String {
        self.deploy_to.replace("{HOST}", host)
    }
}

/// What is done about entries of mode 160000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Submodules {
    /// A commit that holds one is not released.
    #[default]
    Refuse,
    /// They are left out.
    Skip,
}

/// A group of hosts and the steps that each of them runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    pub gate: Gate,
    /// Hosts at a time; `None`: all at once.
    pub batch: Option<u32>,
    /// Names of hosts of the plan, or [`AGENT`] alone. Empty where every step names its own host.
    pub hosts: Vec<String>,
    pub steps: Vec<Step>,
}

impl Stage {
    /// Everybody who does something here: the stage's hosts in order, then those that only single
    /// steps name.
    #[must_use]
    pub fn places(&self) -> Vec<&str> {
        let mut places: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        for host in self.steps.iter().filter_map(|step| step.host.as_deref()) {
            if !places.contains(&host) {
                places.push(host);
            }
        }
        places
    }

    /// Whether the one at this index of [`Stage::places`] runs a step: `once` steps run on the first
    /// host only, steps that name a host on that one.
    #[must_use]
    pub fn runs(&self, place: usize, step: usize) -> bool {
        let step = &self.steps[step];
        match &step.host {
            Some(host) => self.places().get(place) == Some(&host.as_str()),
            None => place < self.hosts.len() && (place == 0 || !step.once),
        }
    }
}

/// What single steps and parameters name, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedNames {
    /// The execution users that steps name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, PlannedUser>,
    /// Who runs what happens on the agent's own machine; `None` where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalUser>,
    /// The blobs with the scripts that steps send, by their names in the template. A blob's name is
    /// its digest, so an approval covers what is run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scripts: BTreeMap<String, String>,
    /// What people see in place of a parameter's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, String>,
}

impl ResolvedNames {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A plan, frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub project: String,
    pub environment: String,
    pub git_url: String,
    pub template: String,
    pub template_digest: String,
    /// Empty where nothing of a repository is released.
    pub commit: String,
    pub parameters: BTreeMap<String, String>,
    /// Names of the parameters whose values the task's submission alone holds, and nobody is shown:
    /// those that were given as secrets, and those that the template says are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    pub hosts: Vec<PlannedHost>,
    /// `None` for a task that belongs to no project: it keeps no releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    pub on_failure: OnFailure,
    /// How long it waits for a person who lets it go on, in seconds; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_timeout_s: Option<u64>,
    pub approvals: Vec<Requirement>,
    pub self_approval: bool,
    pub stages: Vec<Stage>,
    /// What single steps and parameters name, resolved.
    #[serde(default, skip_serializing_if = "ResolvedNames::is_empty")]
    pub named: ResolvedNames,
    /// Of a rollback: the hosts that are not known to keep the release. Where it is gone it is built
    /// again from its commit, and on these hosts alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rebuilt: Vec<String>,
}

impl Plan {
    /// The bytes that are digested and kept: JSON with the fields in the order of their declaration.
    ///
    /// # Panics
    /// Never: a plan has only string keys.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        assert!(!bytes.is_empty(), "a plan has only string keys");
        bytes
    }

    /// The digest that an approval names.
    #[must_use]
    pub fn digest(&self) -> PlanDigest {
        let hash = Sha256::digest(self.canonical());
        PlanDigest(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The stage that switches, if the template has one.
    #[must_use]
    pub fn publish_stage(&self) -> Option<usize> {
        self.stages.iter().position(|stage| {
            stage
                .steps
                .iter()
                .any(|step| step.action == StepAction::Publish)
        })
    }

    /// Which inodes a new release has on this host: its own where a program may write into it before
    /// it is live.
    #[must_use]
    pub fn inodes(&self, host: &str) -> Inodes {
        let mut brought = false;
        for stage in &self.stages {
            let Some(place) = stage.places().iter().position(|name| *name == host) else {
                continue;
            };
            // What is to be done once is another host's where the first one fails or is skipped.
            let may_run = |(at, step): &(usize, &Step)| {
                stage.runs(place, *at) || (step.once && step.host.is_none())
            };
            for (_, step) in stage.steps.iter().enumerate().filter(may_run) {
                match &step.action {
                    StepAction::Sync => brought = true,
                    StepAction::Publish if brought => return Inodes::Shared,
                    StepAction::Run(_) if brought => return Inodes::Own,
                    StepAction::Check(check) if brought && check.runs_on_host() => {
                        return Inodes::Own;
                    }
                    _ => {}
                }
            }
        }
        Inodes::Shared
    }

    /// Does a stage or a step wait for the task's time? Then the task itself does not.
    #[must_use]
    pub fn keeps_time(&self) -> bool {
        self.stages.iter().any(|stage| {
            stage.gate == Gate::Timed || stage.steps.iter().any(|step| step.gate == Gate::Timed)
        })
    }

    /// The names under which its steps hand on secrets.
    #[must_use]
    pub fn secret_outputs(&self) -> BTreeSet<&str> {
        let steps = self.stages.iter().flat_map(|stage| &stage.steps);
        let names = steps.flat_map(|step| step.action.outputs().1);
        names.map(String::as_str).collect()
    }

    /// The host of this name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&PlannedHost> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// The same plan reduced to what going back takes: staging (where the release is gone from a
    /// host) and the stage that switches. `None` where the template switches nothing.
    #[must_use]
    pub fn going_back(&self) -> Option<Self> {
        let publish = self.stages.get(self.publish_stage()?)?.clone();
        let stage = |name: &str, hosts, action| Stage {
            name: name.to_owned(),
            gate: Gate::None,
            batch: None,
            hosts,
            steps: vec![Step::plain(name, action)],
        };
        let mut publish = publish;
        publish.gate = Gate::None;
        for step in &mut publish.steps {
            step.gate = Gate::None;
        }
        Some(Self {
            stages: vec![
                stage("stage", publish.hosts.clone(), StepAction::Sync),
                publish,
            ],
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests;
