//! Resolves an order against configuration and templates: looks up every name, and tries the plan,
//! so that an accepted order can be planned.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::target::SubmissionTarget;
use super::{
    FieldProblem, PermissionTarget, ResolveSources, SubmissionOrder, SubmitError, Visibility,
};
use crate::config::Config;
use crate::domain::document::{hint, moment, nearest};
use crate::domain::host::ipv6_address;
use crate::domain::permission;
use crate::domain::plan::{self, PlanError, ResolvedEnvironment};
use crate::domain::rule::Schedule;
use crate::domain::task::{ManualRequest, Origin, Submission, Submitter, Via};
use crate::domain::template::{
    AGENT, Hidden, ParamError, Requirement, SUPPLIED_BY_PROJECT, Template, is_name,
};

/// How long a submitted task may wait for approval, after its scheduled time.
const EXPIRES_S: u64 = 7 * 24 * 3600;

/// Whether the user may see tasks of this template in any scope. Then the user may name it, even if
/// it is not on the user's list.
#[must_use]
pub fn is_usable(config: &Config, viewer: &dyn Visibility, template: &str) -> bool {
    let mut projects = config.projects.iter();
    viewer.sees(&PermissionTarget::new("", "", template))
        || projects.any(|project| {
            let mut environments = project.environments.keys();
            environments
                .any(|name| viewer.sees(&PermissionTarget::new(&project.name, name, template)))
        })
}

impl<'a> ResolveSources<'a> {
    /// Returns the template of this name or number, if the user may see it.
    #[must_use]
    pub fn template(&self, name: &str) -> Option<&'a Template> {
        let found = self.library.find(name);
        found.filter(|template| is_usable(self.config, self.viewer, &template.name))
    }
}

/// An order with every name resolved; no permission is checked yet.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Without a submitter.
    pub(super) submission: Submission,
    /// The approvals that the environment requires.
    pub(super) approvals: Vec<Requirement>,
    /// Whether the submitter's own approval counts there, which `ready` gives.
    pub(super) own_approval: OwnApproval,
}

/// Whether submitting as `ready` includes the submitter's own approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnApproval {
    Counts,
    /// The environment names its approvers and excludes the submitter.
    NotHere,
}

impl Resolved {
    /// Returns where the task is to run.
    #[must_use]
    pub fn target(&self) -> PermissionTarget {
        PermissionTarget {
            project: self.submission.project.clone(),
            environment: self.submission.environment.clone(),
            template: self.submission.template.clone(),
        }
    }
}

/// Resolves an order.
///
/// # Errors
/// [`SubmitError::Problems`]: all its problems, by field.
pub fn resolve(
    order: &SubmissionOrder,
    sources: &ResolveSources<'_>,
) -> Result<Resolved, SubmitError> {
    let mut resolver = Resolver {
        order,
        sources,
        problems: order.problems(),
    };
    let schedule = resolver.schedule();
    let run_at = resolver.run_at();
    let Some(template) = resolver.template() else {
        return Err(SubmitError::Problems(resolver.problems));
    };
    let hosts = resolver.hosts(template);
    let target = SubmissionTarget::of(order, sources, template, &hosts, &mut resolver.problems);
    let (mut parameters, secrets) = split_secrets(order, template);
    if target.placed() {
        // The agent sets these itself.
        for name in SUPPLIED_BY_PROJECT {
            if name != "COMMIT" {
                parameters.remove(name);
            }
        }
    } else if !order.tag.is_empty() {
        // Nothing is released, but the template's commands may use it.
        parameters.insert("TAG".to_owned(), order.tag.clone());
    }
    resolver.parameters(template, &target, &parameters, &secrets);
    resolver.groups(template, &target, &hosts);
    let waits_s = run_at
        .and_then(|at| u64::try_from(at.duration_since(sources.now).as_secs()).ok())
        .unwrap_or(0);
    let submission = Submission {
        origin: Origin::Submitted(ManualRequest {
            via: Via::default(),
            details: order.details.clone(),
            run_at,
            approvers: order.approvers.clone(),
            executor: order.executor.clone(),
            claimed_submitter: order.submitter.clone(),
            idempotency_key: order.idempotency_key.clone(),
        }),
        repository: target.repository(),
        reference: target.reference(),
        object: String::new(),
        template: template.name.clone(),
        schedule,
        submitter: Submitter {
            name: String::new(),
            account: None,
        },
        expires_s: Some(
            target
                .expires_s
                .unwrap_or(EXPIRES_S)
                .saturating_add(waits_s),
        ),
        refuse_older: target.refuse_older,
        parameters,
        secrets,
        unclassified: BTreeMap::new(),
        hosts,
        title: order.title.clone(),
        involved: claimed(sources.config, &order.submitter),
        project: target.project,
        environment: target.environment,
    };
    let approvals = resolver.planned(template, &submission);
    let own_approval = own_approval(sources.config, &submission);
    if resolver.problems.is_empty() {
        Ok(Resolved {
            submission,
            approvals,
            own_approval,
        })
    } else {
        Err(SubmitError::Problems(resolver.problems))
    }
}

/// Returns the accounts that a client's submitter name can mean: the one of that name, and the one
/// mapped from that git server user.
fn claimed(config: &Config, submitter: &str) -> BTreeSet<String> {
    let own = Some(submitter).filter(|name| permission::is_name(name));
    let accounts = own.into_iter().chain(config.account_of(submitter));
    accounts.map(str::to_owned).collect()
}

struct Resolver<'a> {
    order: &'a SubmissionOrder,
    sources: &'a ResolveSources<'a>,
    problems: Vec<FieldProblem>,
}

impl<'a> Resolver<'a> {
    fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(FieldProblem::new(field, message));
    }

    fn schedule(&mut self) -> Schedule {
        match self.order.schedule.as_str() {
            "" | "new" => Schedule::New,
            "ready" => Schedule::Ready,
            _ => {
                self.refuse("schedule", "must be `new` (waits for approval) or `ready`");
                Schedule::New
            }
        }
    }

    /// Reads a time, in the agent's zone unless it names another zone or an offset.
    fn run_at(&mut self) -> Option<Timestamp> {
        let text = self.order.run_at.as_str();
        if text.is_empty() {
            return None;
        }
        let zone = self.sources.config.time_zone();
        let at = moment::parse(text).and_then(|at| at.in_zone(&zone));
        if at.is_none() {
            let name = zone.iana_name().unwrap_or("UTC").to_owned();
            self.refuse(
                "run_at",
                format!(
                    "is no time: write 2026-11-21T22:30:00Z, or 2026-11-21 22:30 for the time zone {name}"
                ),
            );
        }
        at
    }

    fn template(&mut self) -> Option<&'a Template> {
        let name = self.order.template.as_str();
        if name.is_empty() {
            self.refuse(
                "template",
                "is missing: give the name or number of a template",
            );
            return None;
        }
        let sources = self.sources;
        let found = sources.template(name);
        if found.is_none() {
            let names = sources.library.templates().map(|one| one.name.as_str());
            let known: Vec<&str> = names
                .filter(|name| sources.viewer.lists(sources.library, name))
                .collect();
            let hint = hint(name, &known, || match known.is_empty() {
                true => "you may see none".to_owned(),
                false => format!("there are {}", known.join(", ")),
            });
            self.refuse(
                "template",
                format!("no template has this name or number: {hint}"),
            );
        }
        found
    }

    /// Returns the given hosts by their names in the configuration.
    fn hosts(&mut self, template: &Template) -> BTreeMap<u8, Vec<String>> {
        let mut groups = BTreeMap::new();
        for (number, hosts) in &self.order.hosts {
            let mut names: Vec<String> = Vec::new();
            for host in hosts {
                match host_name(self.sources, template, host) {
                    Ok(name) if names.contains(&name) => {}
                    Ok(name) => names.push(name),
                    Err(message) => self.refuse(format!("hosts.{number}"), message),
                }
            }
            groups.insert(*number, names);
        }
        groups
    }

    fn parameters(
        &mut self,
        template: &Template,
        target: &SubmissionTarget,
        open: &BTreeMap<String, String>,
        secrets: &BTreeMap<String, Hidden>,
    ) {
        let mut given = open.clone();
        given.extend(
            secrets
                .iter()
                .map(|(name, value)| (name.clone(), value.expose().to_owned())),
        );
        if !target.placed() {
            for name in SUPPLIED_BY_PROJECT {
                given.remove(name);
            }
        }
        let errors = template.parameters(&given).err().unwrap_or_default();
        for error in errors {
            let field = format!("params.{}", name_in(&error));
            self.refuse(field, error.to_string());
        }
    }

    /// Checks that the given groups are those that the template takes.
    fn groups(
        &mut self,
        template: &Template,
        target: &SubmissionTarget,
        given: &BTreeMap<u8, Vec<String>>,
    ) {
        let required = template.given_groups();
        for number in required.iter().filter(|number| !given.contains_key(number)) {
            let message = format!("is missing: template {} takes it", template.name);
            self.refuse(format!("hosts.{number}"), message);
        }
        if required.is_empty() && target.placed() && !given.is_empty() {
            self.hosts_of_environment(target, given);
            return;
        }
        for number in given.keys().filter(|number| !required.contains(number)) {
            let takes = if required.is_empty() {
                "no hosts".to_owned()
            } else {
                let numbers: Vec<String> = required.iter().map(u8::to_string).collect();
                format!("the groups {}", numbers.join(", "))
            };
            let message = format!("template {} takes {takes}: take it out", template.name);
            self.refuse(format!("hosts.{number}"), message);
        }
    }

    /// Checks the hosts of a template that releases to its environment. It takes no others: any
    /// that are named must be the environment's.
    fn hosts_of_environment(
        &mut self,
        target: &SubmissionTarget,
        given: &BTreeMap<u8, Vec<String>>,
    ) {
        let config = self.sources.config;
        let own = target.hosts(config);
        if target.environment.is_empty() || super::target::all(given) == own {
            return;
        }
        let viewer = self.sources.viewer;
        let own = own.into_iter().filter(|name| viewer.host(name));
        let those = match own.collect::<Vec<_>>().as_slice() {
            [] => "name none".to_owned(),
            own => format!("those are {}", own.join(", ")),
        };
        let message = format!(
            "are not the hosts of {} {}, on which the template runs: {those}",
            target.project, target.environment
        );
        self.refuse("hosts", message);
    }

    /// Tries the plan; returns the approvals that it needs.
    fn planned(&mut self, template: &Template, submission: &Submission) -> Vec<Requirement> {
        if !self.problems.is_empty() {
            return Vec::new();
        }
        let ResolveSources {
            config, disabled, ..
        } = self.sources;
        let ground: ResolvedEnvironment = if submission.has_environment() {
            match config.resolve(&submission.project, &submission.environment, disabled) {
                Ok(ground) => ground,
                Err(error) => {
                    self.refuse("project", error.to_string());
                    return Vec::new();
                }
            }
        } else {
            config.resolve_without_project(disabled)
        };
        let commit = if submission.has_reference() {
            "0".repeat(40)
        } else {
            String::new()
        };
        let inputs = plan::TaskInputs {
            parameters: &submission.parameters,
            secrets: &submission.secrets,
            unclassified: &submission.unclassified,
            hosts: &config.given_hosts(&submission.hosts, disabled),
        };
        match plan::build(&ground, template, &commit, &inputs) {
            Ok(plan) => plan.approvals,
            Err(error) => {
                self.refuse(field_of(&error), error.to_string());
                Vec::new()
            }
        }
    }
}

fn own_approval(config: &Config, submission: &Submission) -> OwnApproval {
    let project = config.project(&submission.project);
    let environment = project.and_then(|one| one.environments.get(&submission.environment));
    match environment {
        Some(own) if own.restricts_approval() && !own.self_approval => OwnApproval::NotHere,
        _ => OwnApproval::Counts,
    }
}

/// Splits the parameters into public and secret ones. A parameter is secret if it was given so or
/// the template declares it secret.
fn split_secrets(
    order: &SubmissionOrder,
    template: &Template,
) -> (BTreeMap<String, String>, BTreeMap<String, Hidden>) {
    let mut open = order.params.clone();
    let mut secrets = order.secrets.clone();
    for name in template.secrets() {
        if let Some((name, value)) = open.remove_entry(name) {
            secrets.insert(name, Hidden::from(value));
        }
    }
    (open, secrets)
}

/// Returns the field that a plan's error is about.
fn field_of(error: &PlanError) -> &'static str {
    match error {
        PlanError::NoDeployTarget { .. } => "project",
        PlanError::NoCommit { .. } => "tag",
        PlanError::Parameters { .. } => "params",
        PlanError::NoHosts { .. }
        | PlanError::NoGivenHosts { .. }
        | PlanError::TooManyHosts { .. }
        | PlanError::HostsNotGiven { .. } => "hosts",
        // The template exists, but a name in it does not.
        PlanError::UnknownGroup { .. }
        | PlanError::UnknownHost { .. }
        | PlanError::UnknownUser { .. }
        | PlanError::NoLocalRun { .. }
        | PlanError::NoScript { .. } => "configuration",
    }
}

fn name_in(error: &ParamError) -> &str {
    match error {
        ParamError::Missing { name, .. }
        | ParamError::Unknown { name, .. }
        | ParamError::Supplied { name }
        | ParamError::Choice { name, .. }
        | ParamError::Tag { name }
        | ParamError::Mismatch { name, .. }
        | ParamError::Nul { name } => name,
    }
}

/// Returns the configured name of a host that is given by name or address.
fn host_name(
    sources: &ResolveSources<'_>,
    template: &Template,
    given: &str,
) -> Result<String, String> {
    let config = sources.config;
    if config.hosts.contains_key(given) {
        return Ok(given.to_owned());
    }
    let at_address = config.hosts_at(given);
    match at_address.as_slice() {
        [one] => return Ok(one.clone()),
        [] => {}
        several => {
            let seen = several.iter().filter(|name| sources.viewer.host(name));
            let seen: Vec<&str> = seen.map(String::as_str).collect();
            let which = match seen.as_slice() {
                [] => "say which by its name".to_owned(),
                seen => format!("name one of {}", seen.join(", ")),
            };
            return Err(format!("several hosts have the address {given}: {which}"));
        }
    }
    let shown: String = given.escape_debug().take(64).collect();
    if template.free_hosts {
        // It becomes the name of files, too.
        return if given == AGENT {
            Err(format!(
                "`{AGENT}` is the name of the agent's own machine, where only a template's steps with `host = \"{AGENT}\"` run"
            ))
        } else if is_name(given) {
            Ok(given.to_owned())
        } else {
            match ipv6_address(given) {
                Some((address, None)) => Ok(address.to_string()),
                Some((address, Some(port))) => Ok(format!("[{address}]:{port}")),
                None => Err(format!(
                    "`{shown}` is no host name or IP address (IPv6 also as [ADDRESS] or [ADDRESS]:PORT)"
                )),
            }
        };
    }
    let names = config.hosts.keys().map(String::as_str);
    let known: Vec<&str> = names.filter(|name| sources.viewer.host(name)).collect();
    Err(match nearest(given, &known) {
        Some(nearest) => {
            format!("`{shown}` is no host of the configuration: did you mean `{nearest}`?")
        }
        None => format!(
            "`{shown}` is no host of the configuration, neither by name nor by address: add [hosts.NAME], or take a template with `free_hosts = true`"
        ),
    })
}
