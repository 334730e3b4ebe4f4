//! Converts a CODO task request into an order (pure).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;

use super::literal::Literal;
use super::refusal::CodoRefusal;
use super::request::CodoTaskRequest;
use crate::config::Config;
use crate::domain::host::ipv6_address;
use crate::domain::plan::GIVEN_HOSTS_MAX;
use crate::domain::template::{
    Hidden, Param, ParamKind, SUPPLIED_BY_PROJECT, StageHosts, Template,
};
use crate::engine::submit::{FieldProblem, SubmissionOrder};
use crate::identity::account::Account;

/// The inputs for an order.
pub(super) struct CodoSources<'a> {
    pub(super) config: &'a Config,
    pub(super) template: &'a Template,
    pub(super) accounts: &'a [Account],
    pub(super) now: Timestamp,
}

impl CodoSources<'_> {
    /// # Errors
    /// The first problem found in the request.
    pub(super) fn order(&self, request: &CodoTaskRequest) -> Result<SubmissionOrder, CodoRefusal> {
        self.check_groups(request)?;
        self.check_addresses(request)?;
        self.check_required(request)?;
        let run_at = request.run_at(&self.config.time_zone(), self.now)?;
        let mut order = SubmissionOrder {
            template: request.template.clone(),
            hosts: request.hosts.iter().cloned().collect(),
            schedule: request.schedule.clone(),
            run_at: run_at.map(|at| at.to_string()).unwrap_or_default(),
            title: request.name.clone(),
            details: request.details.clone(),
            executor: request.executor.clone(),
            submitter: request.submitter.clone(),
            ..SubmissionOrder::default()
        };
        self.give_args(request, &mut order);
        self.ask_people(request, &mut order);
        Ok(order)
    }

    /// Returns the host groups that the template takes from the task.
    fn required_groups(&self) -> BTreeSet<u8> {
        let hosts = self.template.stages.iter().map(|stage| &stage.hosts);
        hosts
            .filter_map(|hosts| match hosts {
                StageHosts::Given(number) => Some(*number),
                _ => None,
            })
            .collect()
    }

    fn check_groups(&self, request: &CodoTaskRequest) -> Result<(), CodoRefusal> {
        let required = self.required_groups();
        let name = &self.template.name;
        for (group, addresses) in &request.hosts {
            if addresses.is_empty() {
                return Err(CodoRefusal::no_host(format!(
                    "hosts: group {group} is empty"
                )));
            }
            if addresses.len() > GIVEN_HOSTS_MAX {
                return Err(CodoRefusal::too_many_hosts(format!(
                    "hosts: group {group} has {}, at most {GIVEN_HOSTS_MAX} are allowed: submit several tasks",
                    addresses.len()
                )));
            }
        }
        if required.is_empty() {
            // They may name the environment, which is checked later.
            return Ok(());
        }
        if request.hosts.is_empty() {
            return Err(CodoRefusal::no_host(format!(
                "hosts: template {name} requires {}",
                in_words(&required)
            )));
        }
        let given: BTreeSet<u8> = request.hosts.iter().map(|(group, _)| *group).collect();
        if given != required {
            return Err(CodoRefusal::other_groups(format!(
                "hosts: template {name} requires {}, the task has {}",
                in_words(&required),
                in_words(&given)
            )));
        }
        Ok(())
    }

    /// Checks that each is an address, of a configured host unless the template allows others.
    fn check_addresses(&self, request: &CodoTaskRequest) -> Result<(), CodoRefusal> {
        let is_known = |address: &str| !self.config.hosts_at(address).is_empty();
        for (group, addresses) in &request.hosts {
            for address in addresses.iter().filter(|one| !is_known(one)) {
                let shown: String = address.escape_debug().take(64).collect();
                let is_address = address.parse::<IpAddr>().is_ok()
                    || address.parse::<SocketAddr>().is_ok()
                    || ipv6_address(address).is_some();
                if !is_address {
                    return Err(CodoRefusal::bad_address(format!(
                        "hosts: group {group}: `{shown}` is not an address"
                    )));
                }
                if !self.template.free_hosts {
                    return Err(CodoRefusal::bad_address(format!(
                        "hosts: group {group}: no configured host has the address {shown}: add [hosts.NAME], or use a template with `free_hosts = true`"
                    )));
                }
            }
        }
        Ok(())
    }

    fn check_required(&self, request: &CodoTaskRequest) -> Result<(), CodoRefusal> {
        let given = |param: &Param| request.args.iter().any(|(name, _)| *name == param.name);
        let params = self.template.params.iter();
        let missing: Vec<&str> = params
            .filter(|param| param.required && param.default.is_none() && !given(param))
            .map(|param| param.name.as_str())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(CodoRefusal::missing(format!(
            "args: {}",
            missing.join(", ")
        )))
    }

    /// Arguments that the template does not declare reach no program; they are only displayed.
    fn give_args(&self, request: &CodoTaskRequest, order: &mut SubmissionOrder) {
        let releases = self.template.releases();
        let mut others = Vec::new();
        for (name, value) in &request.args {
            let param = self.template.params.iter().find(|p| p.name == *name);
            let text = value.to_string();
            if releases && name == "TAG" {
                text.trim().clone_into(&mut order.tag);
            }
            match param {
                Some(param) if param.kind == ParamKind::Secret => {
                    order.secrets.insert(name.clone(), Hidden::from(text));
                }
                None if name == "COMMIT" || !SUPPLIED_BY_PROJECT.contains(&name.as_str()) => {
                    others.push(format!("{name}={text}"));
                }
                // Empty values count as absent.
                None if text.is_empty() || *value == Literal::Nothing => {}
                Some(_) | None => {
                    order.params.insert(name.clone(), text);
                }
            }
        }
        if !others.is_empty() {
            remark(order, "args unknown to the template", &others.join(", "));
        }
    }

    /// Finds accounts by name or by display name.
    fn ask_people(&self, request: &CodoTaskRequest, order: &mut SubmissionOrder) {
        let mut unknown = Vec::new();
        for name in request.associated.iter().flat_map(|(_, names)| names) {
            let is = |account: &&Account| account.name == *name || account.display == *name;
            match self.accounts.iter().find(is) {
                Some(account) if order.approvers.contains(&account.name) => {}
                Some(account) => order.approvers.push(account.name.clone()),
                None => unknown.push(name.as_str()),
            }
        }
        if !unknown.is_empty() {
            remark(
                order,
                "associated_user without an account",
                &unknown.join(", "),
            );
        }
    }
}

fn remark(order: &mut SubmissionOrder, what: &str, text: &str) {
    if !order.details.is_empty() {
        order.details.push('\n');
    }
    // Invalid characters in another field must not make this one invalid.
    let shown = text.chars().map(|c| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    });
    let text: String = shown.collect();
    order.details.push_str(&format!("({what}: {text})"));
}

fn in_words(groups: &BTreeSet<u8>) -> String {
    let groups: Vec<String> = groups.iter().map(u8::to_string).collect();
    match groups.as_slice() {
        [one] => format!("group {one}"),
        several => format!("groups {}", several.join(", ")),
    }
}

/// Converts the problems of an order into a refusal in this API's terms. A problem names its field by
/// the path in the JSON of an order (`hosts.1`, `params.TAG`), as clients read it.
pub(super) fn refused(problems: &[FieldProblem]) -> CodoRefusal {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {}", field(&problem.field), problem.message))
        .collect();
    let detail = lines.join("; ");
    let first = problems
        .first()
        .map_or("", |problem| problem.field.as_str());
    match first {
        "hosts" => CodoRefusal::other_groups(detail),
        "template" => CodoRefusal::no_template(detail),
        "configuration" => CodoRefusal::not_configured(detail),
        "tag" | "project" | "environment" | "params.GIT_URL" => CodoRefusal::no_target(detail),
        other if other.starts_with("hosts.") => CodoRefusal::bad_address(detail),
        other if other.starts_with("params") => CodoRefusal::unfit(detail),
        _ => CodoRefusal::malformed(detail),
    }
}

/// Returns this API's name for a field of an order.
fn field(ours: &str) -> String {
    match ours {
        "template" => "temp_id".to_owned(),
        "title" => "task_name".to_owned(),
        "run_at" => "exec_time".to_owned(),
        "approvers" => "associated_user".to_owned(),
        "tag" => "args.TAG".to_owned(),
        "project" => "args.GIT_URL".to_owned(),
        "environment" => "args.ENVIRONMENT".to_owned(),
        other => match other.strip_prefix("params") {
            Some(rest) => format!("args{rest}"),
            None => other.to_owned(),
        },
    }
}
