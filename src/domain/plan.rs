//! A plan is what a task will do, resolved and frozen. Template, parameters, hosts and commit
//! become stages of steps with their addresses, users and paths, and one digest.
//!
//! An approval names this digest, and exactly this plan runs, even if the configuration or the
//! template changes later. Pure: the executor calls [`build()`] at landing, the page and the command
//! line show the result. It reads neither files nor the time.

mod build;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::build::{GIVEN_HOSTS_MAX, PlanError, ResolvedEnvironment, TaskInputs, build};
pub use self::limits::PushLimits;
use crate::domain::host::{Inodes, ReleaseId, ipv6_address};
use crate::domain::template::{Gate, OnFailure, Requirement, Step, StepAction};

/// The name for steps on the agent's own machine, used in place of a host.
pub use crate::domain::template::AGENT;

/// SHA-256 of a plan's canonical JSON, 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanDigest(pub String);

impl fmt::Display for PlanDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host with its connection settings, as configured at landing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedHost {
    pub name: String,
    pub address: String,
    pub port: u16,
    pub user: String,
    /// Path of the private key file on the agent's machine.
    pub identity: String,
    /// The jump host to connect through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<Box<PlannedHost>>,
}

impl PlannedHost {
    /// Whether `given` is its name, or the IPv6 address that such names are derived from.
    #[must_use]
    pub fn has_name(&self, given: &str) -> bool {
        self.name == given
            || ipv6_address(given).is_some_and(|(address, port)| {
                let there = self.address.parse() == Ok(address);
                there && port.is_none_or(|port| port == self.port)
            })
    }
}

/// An execution user, who runs a step instead of the login user, as configured at landing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedUser {
    /// The system user on the host.
    pub user: String,
    /// `None`: the host's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path of the private key file on the agent's machine.
    pub identity: String,
}

impl PlannedUser {
    /// Returns a host with this user's connection settings.
    #[must_use]
    pub fn apply_to(&self, host: &PlannedHost) -> PlannedHost {
        PlannedHost {
            user: self.user.clone(),
            port: self.port.unwrap_or(host.port),
            identity: self.identity.clone(),
            ..host.clone()
        }
    }
}

/// The user who runs steps on the agent's own machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalUser {
    pub user: String,
    /// Directory of its tasks: an absolute path owned by the user.
    pub directory: String,
}

/// How releases of an environment are placed on its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Absolute path on the host; `{HOST}` is replaced by the host's name.
    pub deploy_to: String,
    pub keep_releases: u32,
    /// Paths in a release that become links into `shared/`.
    pub shared: Vec<String>,
    /// Patterns of paths that are excluded from a release.
    pub exclude: Vec<String>,
    /// `USER` or `USER:GROUP` that owns a release's files; `None`: the login user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The subdirectory of the repository to release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether entries of mode 160000 are skipped; otherwise a commit with one is refused.
    pub submodules: Submodules,
    /// What to do if a shared file is missing on a host.
    #[serde(default, skip_serializing_if = "SharedMissing::is_fail")]
    pub shared_missing: SharedMissing,
}

/// What to do if a shared file is missing on a host. Missing directories are created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharedMissing {
    /// The host does not switch to the release.
    #[default]
    Fail,
    /// The task reports it and continues.
    Warn,
}

impl SharedMissing {
    fn is_fail(&self) -> bool {
        *self == Self::Fail
    }
}

impl Placement {
    /// Returns the path on one host.
    #[must_use]
    pub fn path_on(&self, host: &str) -> String {
        self.deploy_to.replace("{HOST}", host)
    }
}

/// How to handle entries of mode 160000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Submodules {
    /// Refuse a commit that contains one.
    #[default]
    Refuse,
    /// Skip them.
    Skip,
}

/// A group of hosts and the steps that each of them runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    pub gate: Gate,
    /// Number of hosts at a time; `None`: all at once.
    pub batch: Option<u32>,
    /// Names of hosts in the plan, or only [`AGENT`]. Empty if every step names its own host.
    pub hosts: Vec<String>,
    pub steps: Vec<Step>,
}

impl Stage {
    /// Returns all hosts that run a step here: the stage's hosts in order, then those named only by
    /// single steps.
    #[must_use]
    pub fn host_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        for host in self.steps.iter().filter_map(|step| step.host.as_deref()) {
            if !names.contains(&host) {
                names.push(host);
            }
        }
        names
    }

    /// Whether the host at this index of [`Stage::host_names`] runs a step: `once` steps run only on
    /// the first host, steps that name a host only on that one.
    #[must_use]
    pub fn runs(&self, host_index: usize, step: usize) -> bool {
        let step = &self.steps[step];
        match &step.host {
            Some(host) => self.host_names().get(host_index) == Some(&host.as_str()),
            None => host_index < self.hosts.len() && (host_index == 0 || !step.once),
        }
    }
}

/// Resolved names from steps and parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedNames {
    /// The execution users that steps name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, PlannedUser>,
    /// The user for steps on the agent's own machine; `None` if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalUser>,
    /// The blobs with the scripts that steps send, by their names in the template. A blob's name is
    /// its digest, so an approval covers the scripts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scripts: BTreeMap<String, String>,
    /// Display names of parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, String>,
}

impl ResolvedNames {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A frozen plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub project: String,
    pub environment: String,
    pub git_url: String,
    pub template: String,
    pub template_digest: String,
    /// Empty if the task releases nothing from a repository.
    pub commit: String,
    pub parameters: BTreeMap<String, String>,
    /// Names of secret parameters, whose values are only in the task's submission and never shown:
    /// given as secrets, or declared secret by the template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    pub hosts: Vec<PlannedHost>,
    /// `None` for a task without a project: it keeps no releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    pub on_failure: OnFailure,
    /// How long it stays paused for a person before it is stopped, in seconds; `None`: forever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_timeout_s: Option<u64>,
    pub approvals: Vec<Requirement>,
    pub self_approval: bool,
    pub stages: Vec<Stage>,
    /// Resolved names from steps and parameters.
    #[serde(default, skip_serializing_if = "ResolvedNames::is_empty")]
    pub named: ResolvedNames,
    /// For a rollback: hosts that may lack the release. If it is missing there, it is rebuilt from
    /// its commit, on these hosts only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rebuilt: Vec<String>,
    /// For a rollback to what other tools left live: the release of each host that switches. Each
    /// release is taken as it is and never built; the plan has no commit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, ReleaseId>,
    /// For a rollback: hosts of the last release that are left out, because they are disabled or no
    /// longer configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// For a rollback: the state of the task that made the release, if that did not succeed;
    /// otherwise empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub own_task_state: String,
}

impl Plan {
    /// Returns the bytes that are hashed and stored: JSON, with the fields in declaration order.
    ///
    /// # Panics
    /// Never: all map keys of a plan are strings.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        assert!(!bytes.is_empty(), "a plan has only string keys");
        bytes
    }

    /// Returns the digest that an approval names.
    #[must_use]
    pub fn digest(&self) -> PlanDigest {
        let hash = Sha256::digest(self.canonical());
        PlanDigest(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns the index of the stage that switches, if any.
    #[must_use]
    pub fn publish_stage(&self) -> Option<usize> {
        self.stages.iter().position(|stage| {
            stage
                .steps
                .iter()
                .any(|step| step.action == StepAction::Publish)
        })
    }

    /// Returns the inodes of a new release on this host: its own if a program may write into it
    /// before it is live.
    #[must_use]
    pub fn inodes(&self, host: &str) -> Inodes {
        let mut synced = false;
        for stage in &self.stages {
            let Some(host_index) = stage.host_names().iter().position(|name| *name == host) else {
                continue;
            };
            // If the first host fails or is skipped, another one does its `once` steps.
            let may_run = |(at, step): &(usize, &Step)| {
                stage.runs(host_index, *at) || (step.once && step.host.is_none())
            };
            for (_, step) in stage.steps.iter().enumerate().filter(may_run) {
                match &step.action {
                    StepAction::Sync => synced = true,
                    StepAction::Publish if synced => return Inodes::Shared,
                    StepAction::Run(_) if synced => return Inodes::Own,
                    StepAction::Check(check) if synced && check.runs_on_host() => {
                        return Inodes::Own;
                    }
                    StepAction::Checkout
                    | StepAction::Publish
                    | StepAction::Run(_)
                    | StepAction::Check(_) => {}
                }
            }
        }
        Inodes::Shared
    }

    /// Whether a stage or step waits for the scheduled time. Then the task as a whole does not.
    #[must_use]
    pub fn keeps_time(&self) -> bool {
        self.stages.iter().any(|stage| {
            stage.gate == Gate::Timed || stage.steps.iter().any(|step| step.gate == Gate::Timed)
        })
    }

    /// Returns the names of the secret outputs of its steps.
    #[must_use]
    pub fn secret_outputs(&self) -> BTreeSet<&str> {
        let steps = self.stages.iter().flat_map(|stage| &stage.steps);
        let names = steps.flat_map(|step| step.action.outputs().1);
        names.map(String::as_str).collect()
    }

    /// Returns the host of this name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&PlannedHost> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// Returns the plan reduced to what a rollback needs: staging (if a host has lost the release)
    /// and the stage that switches. `None` if the template switches nothing.
    #[must_use]
    pub fn rollback(&self) -> Option<Self> {
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
            rebuilt: Vec::new(),
            targets: BTreeMap::new(),
            left_out: Vec::new(),
            own_task_state: String::new(),
            ..self.clone()
        })
    }

    /// Returns the plan reduced to a rollback of each host to its own target, without a commit.
    /// Hosts without a target are left out. `None` if no host would switch.
    #[must_use]
    pub fn rollback_to(&self, targets: &BTreeMap<String, ReleaseId>) -> Option<Self> {
        let mut plan = self.rollback()?;
        for stage in &mut plan.stages {
            stage.hosts.retain(|host| targets.contains_key(host));
        }
        let switches = &plan.stages[plan.publish_stage()?].hosts;
        let of = |host: &String| Some((host.clone(), targets.get(host)?.clone()));
        plan.targets = switches.iter().filter_map(of).collect();
        plan.commit.clear();
        (!plan.targets.is_empty()).then_some(plan)
    }

    /// Returns the plan for the hosts as they are configured now: with their present connection
    /// settings, and without those for which `is_gone`. Single steps keep their own hosts.
    #[must_use]
    pub fn on_present(
        mut self,
        present: &BTreeMap<String, PlannedHost>,
        is_gone: impl Fn(&PlannedHost) -> bool,
    ) -> Self {
        let gone = self.hosts.iter().filter(|host| is_gone(host));
        let gone: BTreeSet<String> = gone.map(|host| host.name.clone()).collect();
        for stage in &mut self.stages {
            let (out, left): (Vec<String>, _) =
                stage.hosts.drain(..).partition(|host| gone.contains(host));
            stage.hosts = left;
            self.left_out.extend(out);
        }
        self.left_out.sort();
        self.left_out.dedup();
        self.targets.retain(|host, _| !gone.contains(host));
        for host in &mut self.hosts {
            if let Some(now) = present.get(&host.name) {
                host.clone_from(now);
            }
        }
        self
    }

    /// Returns the release that steps on this host make live; `own` is that of the task.
    #[must_use]
    pub fn target_release<'a>(&'a self, host: &str, own: &'a ReleaseId) -> &'a ReleaseId {
        self.targets.get(host).unwrap_or(own)
    }
}

#[cfg(test)]
pub(crate) mod tests;
