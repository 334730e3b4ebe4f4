//! Builds a plan: combines and checks template, parameters, hosts and commit.

use std::collections::{BTreeMap, BTreeSet};

use super::{AGENT, LocalUser, Placement, Plan, PlannedHost, PlannedUser, ResolvedNames, Stage};
use crate::domain::template::{
    self, Hidden, OnFailure, ParamError, Requirement, SUPPLIED_BY_PROJECT, StageHosts, Template,
};

/// The configuration that a plan is built from; the caller resolves names into this.
#[derive(Clone, Debug)]
pub struct ResolvedEnvironment {
    /// Empty, with the environment and the URL, for a task without a project.
    pub project: String,
    pub environment: String,
    pub git_url: String,
    pub placement: Option<Placement>,
    pub on_failure: OnFailure,
    /// How long a task stays paused for a person before it is stopped, in seconds.
    pub pause_timeout_s: Option<u64>,
    pub approvals: Vec<Requirement>,
    pub self_approval: bool,
    /// The environment's hosts in order, without disabled ones.
    pub hosts: Vec<PlannedHost>,
    /// Other groups that a template may name.
    pub groups: BTreeMap<String, Vec<PlannedHost>>,
    /// All configured hosts that a step may name, without disabled ones.
    pub machines: BTreeMap<String, PlannedHost>,
    /// The execution users that a step may name.
    pub users: BTreeMap<String, PlannedUser>,
    /// The user for steps on the agent's own machine, if these are allowed.
    pub local: Option<LocalUser>,
}

/// The task's own inputs to its plan.
#[derive(Clone, Copy, Debug)]
pub struct TaskInputs<'a> {
    pub parameters: &'a BTreeMap<String, String>,
    pub secrets: &'a BTreeMap<String, Hidden>,
    /// Parameters that the template classifies as secret or not.
    pub unclassified: &'a BTreeMap<String, Hidden>,
    /// The hosts that the task gives, by the number of their group, without disabled ones.
    pub hosts: &'a BTreeMap<u8, Vec<PlannedHost>>,
}

/// Maximum number of hosts that a task may give in one group.
pub const GIVEN_HOSTS_MAX: usize = 100;

/// Why a plan cannot be built.
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
    NoDeployTarget { template: String, stage: String },
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

/// Builds a plan from template, parameters, hosts and commit. The commit is empty if nothing from a
/// repository is released.
///
/// # Errors
/// [`PlanError`] names the template and what is missing.
pub fn build(
    resolved: &ResolvedEnvironment,
    template: &Template,
    commit: &str,
    inputs: &TaskInputs<'_>,
) -> Result<Plan, PlanError> {
    let (parameters, secrets) = parameters(resolved, template, inputs)?;
    let mut hosts = Vec::new();
    let mut stages = Vec::with_capacity(template.stages.len());
    for stage in &template.stages {
        check_stage(resolved, template, stage, commit)?;
        let names = match stage_hosts(resolved, template, stage, inputs)? {
            None => vec![AGENT.to_owned()],
            Some(on) => {
                on.iter().for_each(|host| add_unique(&mut hosts, host));
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
    let named = ResolvedNames::resolve(resolved, template, &mut hosts)?;
    Ok(Plan {
        project: resolved.project.clone(),
        environment: resolved.environment.clone(),
        git_url: resolved.git_url.clone(),
        template: template.name.clone(),
        template_digest: template.digest.clone(),
        commit: commit.to_owned(),
        parameters,
        secrets,
        hosts,
        placement: resolved.placement.clone(),
        on_failure: resolved.on_failure,
        pause_timeout_s: resolved.pause_timeout_s,
        approvals: resolved.approvals.clone(),
        self_approval: resolved.self_approval,
        stages,
        named,
        rebuilt: Vec::new(),
        targets: BTreeMap::new(),
        left_out: Vec::new(),
        own_task_state: String::new(),
    })
}

/// Returns the parameters with their values, and the names of the secret ones.
fn parameters(
    resolved: &ResolvedEnvironment,
    template: &Template,
    inputs: &TaskInputs<'_>,
) -> Result<(BTreeMap<String, String>, Vec<String>), PlanError> {
    let refused = |errors: &[ParamError]| PlanError::Parameters {
        template: template.name.clone(),
        errors: errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "),
    };
    let mut given = inputs.parameters.clone();
    let hidden = inputs.unclassified.iter().chain(inputs.secrets);
    given.extend(hidden.map(|(name, value)| (name.clone(), value.expose().to_owned())));
    let mut own = BTreeMap::new();
    if resolved.project.is_empty() {
        for name in SUPPLIED_BY_PROJECT {
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
    let secrets = inputs.secrets.keys().chain(template.secrets());
    let secrets: BTreeSet<String> = secrets.cloned().collect();
    values.retain(|name, _| !secrets.contains(name));
    Ok((values, secrets.into_iter().collect()))
}

/// Checks whether the task has what the steps of a stage need.
fn check_stage(
    resolved: &ResolvedEnvironment,
    template: &Template,
    stage: &template::StageTemplate,
    commit: &str,
) -> Result<(), PlanError> {
    let releases = stage.steps.iter().any(|step| step.action.releases());
    let template = template.name.clone();
    let stage = stage.name.clone();
    if releases && resolved.placement.is_none() {
        return Err(PlanError::NoDeployTarget { template, stage });
    }
    if releases && commit.is_empty() {
        return Err(PlanError::NoCommit { template, stage });
    }
    Ok(())
}

/// Adds a host unless it is already there.
fn add_unique(hosts: &mut Vec<PlannedHost>, host: &PlannedHost) {
    if hosts.iter().all(|known| known.name != host.name) {
        hosts.push(host.clone());
    }
}

impl ResolvedNames {
    /// Resolves the names in the steps of a template; hosts of single steps are added to `hosts`.
    fn resolve(
        resolved: &ResolvedEnvironment,
        template: &Template,
        hosts: &mut Vec<PlannedHost>,
    ) -> Result<Self, PlanError> {
        let params = template.params.iter();
        let mut named = Self {
            aliases: params
                .filter_map(|param| Some((param.name.clone(), param.alias.clone()?)))
                .collect(),
            ..Self::default()
        };
        for (_, step) in template.steps() {
            let of = || (template.name.clone(), step.name.clone());
            if let Some(name) = &step.user {
                let Some(user) = resolved.users.get(name) else {
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
                    let local = resolved.local.clone();
                    named.local = Some(local.ok_or(PlanError::NoLocalRun { template, step })?);
                }
                Some(name) => {
                    let Some(host) = resolved.machines.get(name) else {
                        let ((template, step), host) = (of(), name.to_owned());
                        return Err(PlanError::UnknownHost {
                            template,
                            step,
                            host,
                        });
                    };
                    add_unique(hosts, host);
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

/// Returns a stage's hosts, empty if every step names its own; `None` for the agent's own machine.
fn stage_hosts<'a>(
    resolved: &'a ResolvedEnvironment,
    template: &Template,
    stage: &template::StageTemplate,
    inputs: &TaskInputs<'a>,
) -> Result<Option<&'a [PlannedHost]>, PlanError> {
    if stage.steps.iter().all(|step| step.host.is_some()) {
        return Ok(Some(&[]));
    }
    let hosts = match &stage.hosts {
        StageHosts::Agent => return Ok(None),
        StageHosts::Environment if resolved.placement.is_none() => {
            return Err(PlanError::NoDeployTarget {
                template: template.name.clone(),
                stage: stage.name.clone(),
            });
        }
        StageHosts::Environment => &resolved.hosts,
        StageHosts::Group(group) => {
            resolved
                .groups
                .get(group)
                .ok_or_else(|| PlanError::UnknownGroup {
                    template: template.name.clone(),
                    stage: stage.name.clone(),
                    group: group.clone(),
                })?
        }
        StageHosts::Given(number) => {
            return given_hosts(template, stage, *number, inputs).map(Some);
        }
    };
    if hosts.is_empty() {
        return Err(PlanError::NoHosts {
            project: resolved.project.clone(),
            environment: resolved.environment.clone(),
        });
    }
    Ok(Some(hosts))
}

/// Returns the hosts that the task gives for a stage.
fn given_hosts<'a>(
    template: &Template,
    stage: &template::StageTemplate,
    number: u8,
    inputs: &TaskInputs<'a>,
) -> Result<&'a [PlannedHost], PlanError> {
    let hosts = inputs
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
