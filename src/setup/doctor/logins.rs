//! Checks each execution user by a login as in a step, on the hosts where templates use it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt};

use super::connect::{PARALLEL, ProbeError, run_script};
use super::{CheckFinding, CheckScope, Subject, probe};
use crate::agent::resolve;
use crate::config::{Config, Templates};
use crate::domain::plan::{AGENT, PlannedUser};
use crate::domain::template::{StageHosts, Template};
use crate::hosts::ssh::{Dialer, RemoteError};

/// Returns the findings on execution users in scope, in order of their names and those of hosts.
pub(super) async fn findings(config: &Config, scope: &CheckScope) -> Vec<CheckFinding> {
    let users = config.planned_users();
    let library = Templates::load(&config.agent.templates_dir);
    let uses = hosts_by_user(config, scope, &library);
    let unused = users
        .keys()
        .filter(|name| !uses.contains_key(name.as_str()));
    let mut findings: Vec<CheckFinding> = unused
        .filter(|_| scope.project.is_none())
        .map(|name| {
            let why = format!("no template uses the execution user {name}");
            CheckFinding::not_checked(&Subject::Agent, why)
        })
        .collect();
    let dialer = resolve::dialer(config);
    let logins = uses
        .iter()
        .filter_map(|(name, hosts)| Some((name, users.get(*name)?, hosts)));
    let logins = logins.flat_map(|(name, user, hosts)| {
        let enabled = hosts.iter();
        let enabled = enabled.filter(|host| !scope.disabled.contains_key(*host));
        enabled.map(move |host| (name, user, host))
    });
    let looks = logins.map(|(name, user, host)| login(config, &dialer, name, user, host));
    let found: Vec<Vec<CheckFinding>> = stream::iter(looks).buffered(PARALLEL).collect().await;
    findings.extend(found.into_iter().flatten());
    findings
}

/// Returns the hosts on which each execution user is used: all in scope if only a task decides.
fn hosts_by_user<'t>(
    config: &Config,
    scope: &CheckScope,
    library: &'t Templates,
) -> BTreeMap<&'t str, BTreeSet<String>> {
    let all: BTreeSet<String> = scope.targets(config).into_keys().collect();
    let mut uses: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for template in library.templates() {
        let own_hosts = template_hosts(config, scope, template);
        if scope.project.is_some() && own_hosts.is_empty() {
            // It belongs to another project, or is submitted manually.
            continue;
        }
        for (stage, step) in template.steps() {
            let Some(user) = &step.user else {
                continue;
            };
            let hosts = match (step.host.as_deref(), &stage.hosts) {
                (Some(AGENT), _) | (None, StageHosts::Agent) => continue,
                (Some(host), _) => [host.to_owned()].into(),
                (None, StageHosts::Group(group)) => group_hosts(config, group),
                (None, StageHosts::Environment) if !own_hosts.is_empty() => own_hosts.clone(),
                (None, StageHosts::Environment | StageHosts::Given(_)) => all.clone(),
            };
            uses.entry(user).or_default().extend(hosts);
        }
    }
    uses
}

/// Returns the hosts of the environments in which rules use a template.
fn template_hosts(config: &Config, scope: &CheckScope, template: &Template) -> BTreeSet<String> {
    let projects = config.projects.iter();
    let projects = projects.filter(|project| scope.covers(&project.name));
    let environments = projects.flat_map(|project| {
        let rules = project.rules.iter();
        let rules = rules.filter(|rule| template.has_name_or_id(&rule.template));
        rules.filter_map(|rule| project.environments.get(&rule.environment))
    });
    environments
        .flat_map(|environment| group_hosts(config, &environment.group))
        .collect()
}

fn group_hosts(config: &Config, group: &str) -> BTreeSet<String> {
    let hosts = config.groups.get(group).into_iter().flatten();
    hosts.cloned().collect()
}

async fn login(
    config: &Config,
    dialer: &Arc<Dialer>,
    name: &str,
    user: &PlannedUser,
    host: &str,
) -> Vec<CheckFinding> {
    let Some(own) = config.planned_host(host) else {
        // The check of the template, or of the host itself, reports it.
        return Vec::new();
    };
    let planned = user.apply_to(&own);
    let subject = Subject::Host(host.to_owned());
    let named = |what: String| format!("execution user {name}: {what}");
    match run_script(config, dialer, &planned, &probe::login_script()).await {
        Ok(answer) => probe::login_findings(&subject, &answer)
            .into_iter()
            .map(|finding| CheckFinding {
                text: named(finding.text.clone()),
                ..finding
            })
            .collect(),
        Err(error) => {
            let remedy = match &error {
                ProbeError::Remote(
                    RemoteError::UnknownHostKey { .. } | RemoteError::NoUsableHostKey { .. },
                ) if planned.port != own.port => {
                    format!(
                        "but that learns the key of port {}: for this one, add the line \
                         `[{}]:{} KEY` to known_hosts by hand",
                        own.port, planned.address, planned.port
                    )
                }
                // The error names it.
                _ => String::new(),
            };
            vec![CheckFinding::fail(
                &subject,
                named(error.to_string()),
                remedy,
            )]
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::config::parse;

    const CONFIG: &str = r#"
[hosts]
web1 = {}
web2 = {}
db1 = {}
lone = {}
[groups]
web = ["web1", "web2"]
caches = ["db1"]
[execution_users.ops]
user = "ops"
[[projects]]
name = "shop"
repository = "/srv/git/shop.git"
environments.qa = { group = "web", deploy_to = "/srv/shop" }
rules = [{ pattern = "qa-", environment = "qa" }]
"#;

    fn used(template: &str, project: Option<&str>) -> Vec<String> {
        let config = parse("c.toml", CONFIG, Path::new("/etc/tagship")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.toml"), template).unwrap();
        let library = Templates::load(dir.path());
        assert_eq!(library.problems(), []);
        let scope = CheckScope {
            project: project.map(str::to_owned),
            ..CheckScope::default()
        };
        let mut uses = hosts_by_user(&config, &scope, &library);
        uses.remove("ops").into_iter().flatten().collect()
    }

    fn template(name: &str, hosts: &str, step: &str) -> String {
        format!(
            "name = \"{name}\"\n[[stage]]\nname = \"s\"\n{hosts}\nsteps = [{{ run = \"id\"{step} }}]\n"
        )
    }

    const OPS: &str = ", user = \"ops\"";

    #[test]
    fn logins_are_checked_only_where_templates_use_them() {
        let all = ["db1", "lone", "web1", "web2"];
        let group = template("mine", "hosts = \"caches\"", OPS);
        assert_eq!(used(&group, None), ["db1"]);
        let one = template("mine", "", ", user = \"ops\", host = \"lone\"");
        assert_eq!(used(&one, None), ["lone"]);
        // A rule of the shop names it.
        let ruled = template("git-release", "hosts = \"{group}\"", OPS);
        assert_eq!(used(&ruled, None), ["web1", "web2"]);
        assert_eq!(used(&ruled, Some("shop")), ["web1", "web2"]);
        // Only a task decides.
        assert_eq!(used(&template("mine", "hosts = \"{1}\"", OPS), None), all);
        assert_eq!(
            used(&template("mine", "hosts = \"{group}\"", OPS), None),
            all
        );
        assert_eq!(used(&group, Some("shop")), [""; 0], "no rule takes it");
        assert_eq!(
            used(&template("mine", "hosts = \"caches\"", ""), None),
            [""; 0]
        );
    }
}
