//! What a task will do, worked out and frozen: template, parameters, hosts and commit become stages
//! of steps with addresses, users and paths resolved, and a digest over all of it.
//!
//! An approval names this digest, and what runs is this plan, whatever the configuration or the
//! template says later. The module is pure: the executor calls [`build`] at landing, the page and
//! the command line show the result. It never reads a file or asks for the time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::template::{
    self, Action, GIVEN_BY_PLACE, Gate, Hidden, OnFailure, ParamError, ParamKind, Requirement,
    StageHosts, Step, Template,
};

/// The name under which steps on the agent's own machine stand beside the hosts.
pub use crate::template::AGENT;

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
pub struct Named {
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
    /// The parameters whose values nobody is shown, wherever they come from.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hidden: BTreeSet<String>,
}

impl Named {
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
    /// What single steps and parameters name, resolved.
    #[serde(default, skip_serializing_if = "Named::is_empty")]
    pub named: Named,
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

    /// Does a stage or a step wait for the task's time? Then the task itself does not.
    #[must_use]
    pub fn keeps_time(&self) -> bool {
        self.stages.iter().any(|stage| {
            stage.gate == Gate::Timed || stage.steps.iter().any(|step| step.gate == Gate::Timed)
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
            steps: vec![Step::plain(name, action)],
        };
        let mut publish = publish;
        publish.gate = Gate::None;
        for step in &mut publish.steps {
            step.gate = Gate::None;
        }
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
    /// Every configured host that a step may name, without those that are disabled.
    pub machines: BTreeMap<String, PlannedHost>,
    /// The execution users that a step may name.
    pub users: BTreeMap<String, PlannedUser>,
    /// Who runs steps on the agent's own machine, where that is allowed.
    pub local: Option<LocalUser>,
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
    #[error(
        "template {template}: step {step} runs on host {host}, which the configuration does not have, or which is disabled; add [hosts.{host}], or enable it with `tagship hosts enable {host}`"
    )]
    UnknownHost {
        template: String,
        step: String,
        host: String,
    },
    #[error(
        "template {template}: step {step} runs as {user}, which the configuration does not have; add [execution_users.{user}]"
    )]
    UnknownUser {
        template: String,
        step: String,
        user: String,
    },
    #[error(
        "template {template}: step {step} runs on the agent's own machine, which nothing may by default; add [local_run] with a system user for it"
    )]
    NoLocalRun { template: String, step: String },
    #[error(
        "template {template}: the file {script} is not beside it; put it into the template's directory"
    )]
    NoScript { template: String, script: String },
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
    let mut hosts = Vec::new();
    let mut stages = Vec::with_capacity(template.stages.len());
    for stage in &template.stages {
        fits(ground, template, stage, commit)?;
        let names = match stage_hosts(ground, template, stage, asked)? {
            None => vec![AGENT.to_owned()],
            Some(on) => {
                on.iter().for_each(|host| add(&mut hosts, host));
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
    let named = Named::by(ground, template, &mut hosts)?;
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
        named,
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
fn add(hosts: &mut Vec<PlannedHost>, host: &PlannedHost) {
    if hosts.iter().all(|known| known.name != host.name) {
        hosts.push(host.clone());
    }
}

impl Named {
    /// Resolves what the steps of a template name; hosts of single steps join `hosts`.
    fn by(
        ground: &Ground,
        template: &Template,
        hosts: &mut Vec<PlannedHost>,
    ) -> Result<Self, PlanError> {
        let params = template.params.iter();
        let mut named = Self {
            aliases: params
                .clone()
                .filter_map(|param| Some((param.name.clone(), param.alias.clone()?)))
                .collect(),
            hidden: params
                .filter(|param| param.kind == ParamKind::Secret)
                .map(|param| param.name.clone())
                .collect(),
            ..Self::default()
        };
        for (_, step) in template.steps() {
            let of = || (template.name.clone(), step.name.clone());
            if let Some(name) = &step.user {
                let Some(user) = ground.users.get(name) else {
                    let ((template, step), user) = (of(), name.clone());
                    return Err(PlanError::UnknownUser {
                        template,
                        step,
                        user,
                    });
                };
                named.users.insert(name.clone(), user.clone());
            }
            match step.host.as_deref() {
                None => {}
                Some(AGENT) => {
                    let (template, step) = of();
                    let local = ground.local.clone();
                    named.local = Some(local.ok_or(PlanError::NoLocalRun { template, step })?);
                }
                Some(name) => {
                    let Some(host) = ground.machines.get(name) else {
                        let ((template, step), host) = (of(), name.to_owned());
                        return Err(PlanError::UnknownHost {
                            template,
                            step,
                            host,
                        });
                    };
                    add(hosts, host);
                }
            }
            if let Some(script) = step.action.script() {
                let Some(digest) = template.scripts.get(script) else {
                    return Err(PlanError::NoScript {
                        template: template.name.clone(),
                        script: script.to_owned(),
                    });
                };
                named.scripts.insert(script.to_owned(), digest.clone());
            }
        }
        Ok(named)
    }
}

/// The hosts of a stage, none where every step names its own; `None` for the agent's own machine.
fn stage_hosts<'a>(
    ground: &'a Ground,
    template: &Template,
    stage: &template::Stage,
    asked: &Asked<'a>,
) -> Result<Option<&'a [PlannedHost]>, PlanError> {
    if stage.steps.iter().all(|step| step.host.is_some()) {
        return Ok(Some(&[]));
    }
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
