//! What a task will do, worked out and frozen: template, parameters, hosts and commit become stages
//! of steps with addresses, users and paths resolved, and a digest over all of it.
//!
//! An approval names this digest, and what runs is this plan, whatever the configuration or the
//! template says later. The module is pure: the executor calls [`build`] at landing, the page and
//! the command line show the result. It never reads a file or asks for the time.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::template::{
    self, Action, GIVEN_BY_PLACE, Gate, Hidden, OnFailure, ParamError, Requirement, StageHosts,
    Step, Template,
};

/// The name under which steps on the agent's own machine stand beside the hosts.
pub const AGENT: &str = "agent";

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
    /// Names of hosts of the plan, or [`AGENT`] alone.
    pub hosts: Vec<String>,
    pub steps: Vec<Step>,
}

impl Stage {
    /// Whether a host of this stage runs a step: `once` steps run on the first host only.
    #[must_use]
    pub fn runs(&self, host: usize, step: usize) -> bool {
        host == 0 || !self.steps[step].once
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
    /// Names of the parameters whose values the task's submission alone holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    pub hosts: Vec<PlannedHost>,
    /// `None` for a task that belongs to no project: it keeps no releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    pub on_failure: OnFailure,
    pub approvals: Vec<Requirement>,
    pub self_approval: bool,
    pub stages: Vec<Stage>,
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
                .any(|step| step.action == Action::Publish)
        })
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
            steps: vec![Step {
                name: name.to_owned(),
                once: false,
                action,
            }],
        };
        let mut publish = publish;
        publish.gate = Gate::None;
        Some(Self {
            stages: vec![stage("stage", publish.hosts.clone(), Action::Sync), publish],
            ..self.clone()
        })
    }
}

/// What of the configuration a plan is made from; the caller resolves names into this.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Empty, with the environment and the URL, for a task that belongs to no project.
    pub project: String,
    pub environment: String,
    pub git_url: String,
    pub placement: Option<Placement>,
    pub on_failure: OnFailure,
    pub approvals: Vec<Requirement>,
    pub self_approval: bool,
    /// The environment's hosts in order, without those that are disabled.
    pub hosts: Vec<PlannedHost>,
    /// Other groups that a template may name.
    pub groups: BTreeMap<String, Vec<PlannedHost>>,
}

/// What the task itself brings to its plan.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub parameters: &'a BTreeMap<String, String>,
    pub secrets: &'a BTreeMap<String, Hidden>,
    /// The hosts that it gives, by the number of their group, without those that are disabled.
    pub hosts: &'a BTreeMap<u8, Vec<PlannedHost>>,
}

/// How many hosts a task may give in one group.
pub const GIVEN_HOSTS_MAX: usize = 100;

/// Why no plan can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(
        "template {template}: stage {stage} names group {group}, which the configuration does not have; add [groups] {group}"
    )]
    UnknownGroup {
        template: String,
        stage: String,
        group: String,
    },
    #[error(
        "{project} {environment}: no host is left (all are disabled); enable one with `tagship hosts enable NAME`"
    )]
    NoHosts {
        project: String,
        environment: String,
    },
    #[error(
        "no host of group {number} is left for stage {stage} (all are disabled); enable one with `tagship hosts enable NAME`, or submit the task with others"
    )]
    NoGivenHosts { stage: String, number: u8 },
    #[error(
        "template {template}: group {number} of the task has {count} hosts, more than {GIVEN_HOSTS_MAX}; submit several tasks"
    )]
    TooManyHosts {
        template: String,
        number: u8,
        count: usize,
    },
    #[error(
        "template {template}: stage {stage} takes the hosts of an environment, or what is released there, and the task belongs to no project; submit it with a project and an environment"
    )]
    NoPlace { template: String, stage: String },
    #[error(
        "template {template}: stage {stage} releases a commit, and the task names no tag; submit it with one"
    )]
    NoCommit { template: String, stage: String },
    #[error(
        "template {template}: stage {stage} takes hosts that the task gives ({{{number}}}), and it gives none; submit it with hosts"
    )]
    HostsNotGiven {
        template: String,
        stage: String,
        number: u8,
    },
    #[error("template {template}: {errors}")]
    Parameters { template: String, errors: String },
}

/// Works a plan out: template + parameters + hosts + commit. The commit is empty where nothing of a
/// repository is released.
///
/// # Errors
/// [`PlanError`] names the template and what it lacks.
pub fn build(
    ground: &Ground,
    template: &Template,
    commit: &str,
    asked: &Asked<'_>,
) -> Result<Plan, PlanError> {
    let (parameters, secrets) = parameters(ground, template, asked)?;
    let mut hosts: Vec<PlannedHost> = Vec::new();
    let mut stages = Vec::with_capacity(template.stages.len());
    for stage in &template.stages {
        fits(ground, template, stage, commit)?;
        let on = stage_hosts(ground, template, stage, asked)?;
        let names = match on {
            None => vec![AGENT.to_owned()],
            Some(on) => {
                for host in on {
                    if hosts.iter().all(|known| known.name != host.name) {
                        hosts.push(host.clone());
                    }
                }
                on.iter().map(|host| host.name.clone()).collect()
            }
        };
        stages.push(Stage {
            name: stage.name.clone(),
            gate: stage.gate,
            batch: stage.batch.map(std::num::NonZeroU32::get),
            hosts: names,
            steps: stage.steps.clone(),
        });
    }
    Ok(Plan {
        project: ground.project.clone(),
        environment: ground.environment.clone(),
        git_url: ground.git_url.clone(),
        template: template.name.clone(),
        template_digest: template.digest.clone(),
        commit: commit.to_owned(),
        parameters,
        secrets,
        hosts,
        placement: ground.placement.clone(),
        on_failure: ground.on_failure,
        approvals: ground.approvals.clone(),
        self_approval: ground.self_approval,
        stages,
    })
}

/// The parameters with their values, and the names of those whose values are not for the plan.
fn parameters(
    ground: &Ground,
    template: &Template,
    asked: &Asked<'_>,
) -> Result<(BTreeMap<String, String>, Vec<String>), PlanError> {
    let refused = |errors: &[ParamError]| PlanError::Parameters {
        template: template.name.clone(),
        errors: errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "),
    };
    let mut given = asked.parameters.clone();
    let hidden = asked.secrets.iter();
    given.extend(hidden.map(|(name, value)| (name.clone(), value.expose().to_owned())));
    let mut own = BTreeMap::new();
    if ground.project.is_empty() {
        for name in GIVEN_BY_PLACE {
            own.extend(given.remove_entry(name));
        }
    }
    let mut values = template
        .parameters(&given)
        .map_err(|errors| refused(&errors))?;
    values.extend(own);
    if let Some((name, _)) = values.iter().find(|(_, value)| value.contains('\0')) {
        return Err(refused(&[ParamError::Nul { name: name.clone() }]));
    }
    values.retain(|name, _| !asked.secrets.contains_key(name));
    Ok((values, asked.secrets.keys().cloned().collect()))
}

/// Whether the task has what the steps of a stage need.
fn fits(
    ground: &Ground,
    template: &Template,
    stage: &template::Stage,
    commit: &str,
) -> Result<(), PlanError> {
    let releases = stage.steps.iter().any(|step| {
        matches!(
            step.action,
            Action::Checkout | Action::Sync | Action::Publish
        )
    });
    let template = template.name.clone();
    let stage = stage.name.clone();
    if releases && ground.placement.is_none() {
        return Err(PlanError::NoPlace { template, stage });
    }
    if releases && commit.is_empty() {
        return Err(PlanError::NoCommit { template, stage });
    }
    Ok(())
}

/// The hosts of a stage; `None` for the agent's own machine.
fn stage_hosts<'a>(
    ground: &'a Ground,
    template: &Template,
    stage: &template::Stage,
    asked: &Asked<'a>,
) -> Result<Option<&'a [PlannedHost]>, PlanError> {
    let hosts = match &stage.hosts {
        StageHosts::Agent => return Ok(None),
        StageHosts::Environment if ground.placement.is_none() => {
            return Err(PlanError::NoPlace {
                template: template.name.clone(),
                stage: stage.name.clone(),
            });
        }
        StageHosts::Environment => &ground.hosts,
        StageHosts::Group(group) => {
            ground
                .groups
                .get(group)
                .ok_or_else(|| PlanError::UnknownGroup {
                    template: template.name.clone(),
                    stage: stage.name.clone(),
                    group: group.clone(),
                })?
        }
        StageHosts::Given(number) => return given_hosts(template, stage, *number, asked).map(Some),
    };
    if hosts.is_empty() {
        return Err(PlanError::NoHosts {
            project: ground.project.clone(),
            environment: ground.environment.clone(),
        });
    }
    Ok(Some(hosts))
}

/// The hosts that the task gives for a stage.
fn given_hosts<'a>(
    template: &Template,
    stage: &template::Stage,
    number: u8,
    asked: &Asked<'a>,
) -> Result<&'a [PlannedHost], PlanError> {
    let hosts = asked
        .hosts
        .get(&number)
        .ok_or_else(|| PlanError::HostsNotGiven {
            template: template.name.clone(),
            stage: stage.name.clone(),
            number,
        })?;
    match hosts.len() {
        0 => Err(PlanError::NoGivenHosts {
            stage: stage.name.clone(),
            number,
        }),
        count if count > GIVEN_HOSTS_MAX => Err(PlanError::TooManyHosts {
            template: template.name.clone(),
            number,
            count,
        }),
        _ => Ok(hosts),
    }
}

#[cfg(test)]
mod tests;
