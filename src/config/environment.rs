//! The input of a plan: an environment with all names resolved.

use std::collections::BTreeMap;

use super::Config;
use super::keys::approvals_default;
use crate::domain::document;
use crate::domain::host::ipv6_address;
use crate::domain::plan::{Placement, PlannedHost, PlannedUser, ResolvedEnvironment};
use crate::domain::template::OnFailure;

/// The configuration does not have the requested project or environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    #[error("no project is named `{project}` in the configuration: {hint}")]
    Project { project: String, hint: String },
    #[error("project {project} has no environment `{environment}` in the configuration: {hint}")]
    Environment {
        project: String,
        environment: String,
        hint: String,
    },
}

impl Config {
    /// Resolves an environment of a project, without the `disabled` hosts.
    ///
    /// # Errors
    /// There is no such project or environment.
    pub fn resolve(
        &self,
        project: &str,
        environment: &str,
        disabled: &[String],
    ) -> Result<ResolvedEnvironment, EnvironmentError> {
        let found = self
            .project(project)
            .ok_or_else(|| EnvironmentError::Project {
                project: project.to_owned(),
                hint: hint(project, self.projects.iter().map(|project| &project.name)),
            })?;
        let config = found.environments.get(environment);
        let config = config.ok_or_else(|| EnvironmentError::Environment {
            project: project.to_owned(),
            environment: environment.to_owned(),
            hint: hint(environment, found.environments.keys()),
        })?;
        let groups = self.enabled_groups(disabled);
        Ok(ResolvedEnvironment {
            project: project.to_owned(),
            environment: environment.to_owned(),
            git_url: found.git_url().to_owned(),
            placement: Some(Placement {
                deploy_to: config.deploy_to.clone(),
                keep_releases: config.keep_releases,
                shared: config.shared.clone(),
                exclude: config.exclude.clone(),
                owner: config.owner.clone(),
                source: found.source.clone(),
                submodules: found.submodules,
                shared_missing: config.shared_missing,
            }),
            on_failure: config.on_failure,
            pause_timeout_s: config.pause_timeout.map(|time| time.as_secs()),
            approvals: config.approvals.clone(),
            self_approval: config.self_approval,
            hosts: groups.get(&config.group).cloned().unwrap_or_default(),
            groups,
            machines: self.machines(disabled),
            users: self.planned_users(),
            local: self.local_user(),
        })
    }

    /// Returns the plan input for a task that belongs to no project: one approver, and a failed
    /// host pauses for a person.
    #[must_use]
    pub fn resolve_without_project(&self, disabled: &[String]) -> ResolvedEnvironment {
        ResolvedEnvironment {
            project: String::new(),
            environment: String::new(),
            git_url: String::new(),
            placement: None,
            on_failure: OnFailure::Pause,
            pause_timeout_s: None,
            approvals: approvals_default(),
            self_approval: false,
            hosts: Vec::new(),
            groups: self.enabled_groups(disabled),
            machines: self.machines(disabled),
            users: self.planned_users(),
            local: self.local_user(),
        }
    }

    /// Resolves the hosts that a task gives, without the disabled ones. A name that the
    /// configuration does not have is an address, reached as `[ssh]` says.
    #[must_use]
    pub fn given_hosts(
        &self,
        given: &BTreeMap<u8, Vec<String>>,
        disabled: &[String],
    ) -> BTreeMap<u8, Vec<PlannedHost>> {
        let resolved = |host: &String| {
            self.planned_host(host)
                .unwrap_or_else(|| self.free_host(host))
        };
        given
            .iter()
            .map(|(number, hosts)| {
                let enabled = hosts.iter().filter(|host| !disabled.contains(host));
                (*number, enabled.map(resolved).collect())
            })
            .collect()
    }

    /// Returns all hosts by name, without the disabled ones.
    #[must_use]
    pub fn machines(&self, disabled: &[String]) -> BTreeMap<String, PlannedHost> {
        let names = self.hosts.keys();
        names
            .filter(|name| !disabled.contains(name))
            .filter_map(|name| Some((name.clone(), self.planned_host(name)?)))
            .collect()
    }

    /// Returns the execution users with everything needed to log in as them.
    #[must_use]
    pub fn planned_users(&self) -> BTreeMap<String, PlannedUser> {
        let users = self.execution_users.iter();
        users
            .map(|(name, user)| {
                let identity = user.identity.clone();
                let identity = identity.unwrap_or_else(|| self.ssh_identity());
                let planned = PlannedUser {
                    user: user.user.clone(),
                    port: user.port,
                    identity: identity.display().to_string(),
                };
                (name.clone(), planned)
            })
            .collect()
    }

    /// Returns the names of the hosts with this address, with or without a port.
    #[must_use]
    pub fn hosts_at(&self, given: &str) -> Vec<String> {
        let ipv6 = ipv6_address(given);
        let endpoints = self.hosts.keys().filter_map(|name| self.endpoint(name));
        let there = endpoints.filter(|host| match &ipv6 {
            Some((address, port)) => {
                host.address.parse() == Ok(*address) && port.is_none_or(|port| port == host.port)
            }
            None => host.address == given || format!("{}:{}", host.address, host.port) == given,
        });
        there.map(|host| host.name).collect()
    }

    /// Makes a host that is not in the configuration. Its name is also used for files.
    fn free_host(&self, given: &str) -> PlannedHost {
        let (name, address, port) = match ipv6_address(given) {
            None => (given.to_owned(), given.to_owned(), None),
            Some((address, port)) => {
                let port_in_name = port.map(|port| format!("-{port}")).unwrap_or_default();
                let name = format!("ip6-{address}{port_in_name}").replace(':', "-");
                (name, address.to_string(), port)
            }
        };
        PlannedHost {
            name,
            address,
            port: port.unwrap_or(self.ssh.port),
            user: self.ssh.user.clone(),
            identity: self.ssh_identity().display().to_string(),
            jump: None,
        }
    }

    fn enabled_groups(&self, disabled: &[String]) -> BTreeMap<String, Vec<PlannedHost>> {
        let groups = self.groups.keys();
        groups
            .map(|group| (group.clone(), self.enabled(group, disabled)))
            .collect()
    }

    /// Returns the hosts of a group in its order, without the disabled ones.
    fn enabled(&self, group: &str, disabled: &[String]) -> Vec<PlannedHost> {
        let hosts = self.groups.get(group).into_iter().flatten();
        hosts
            .filter(|host| !disabled.contains(host))
            .filter_map(|host| self.planned_host(host))
            .collect()
    }

    /// Returns a host with everything needed to reach it; `None` if it does not exist.
    #[must_use]
    pub fn planned_host(&self, name: &str) -> Option<PlannedHost> {
        let endpoint = self.endpoint(name)?;
        // Cycles of jumps were refused when the configuration was checked.
        let jump = endpoint.jump.and_then(|jump| self.planned_host(&jump));
        Some(PlannedHost {
            name: endpoint.name,
            address: endpoint.address,
            port: endpoint.port,
            user: endpoint.user,
            identity: endpoint.identity.display().to_string(),
            jump: jump.map(Box::new),
        })
    }
}

fn hint<'k>(name: &str, known: impl Iterator<Item = &'k String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    document::hint(name, &known, || "add it".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::config::tests::{read, shop_with};

    #[test]
    fn an_environment_is_resolved_down_to_addresses() {
        let jumping = "address = \"192.0.2.2\"\njump = \"web1\"\nuser = \"ship\"";
        let config = read(&shop_with("address = \"192.0.2.2\"", jumping));
        let resolved = config.resolve("shop", "qa", &[]).unwrap();
        assert_eq!(resolved.git_url, "/srv/git/shop.git");
        assert_eq!(resolved.placement.unwrap().deploy_to, "/srv/qa");
        let names: Vec<&str> = resolved
            .hosts
            .iter()
            .map(|host| host.name.as_str())
            .collect();
        assert_eq!(names, ["web1", "web2"]);
        let web2 = &resolved.hosts[1];
        assert_eq!(
            (web2.address.as_str(), web2.user.as_str()),
            ("192.0.2.2", "ship")
        );
        assert_eq!(web2.jump.as_ref().unwrap().address, "192.0.2.1");
        assert_eq!(resolved.groups["web"], resolved.hosts);
    }

    #[test]
    fn a_disabled_host_stays_out_of_every_group() {
        let config = read(&shop_with(
            "[groups]",
            "[groups]\nall = [\"web1\", \"web2\"]",
        ));
        let resolved = config.resolve("shop", "qa", &["web1".to_owned()]).unwrap();
        for hosts in [
            &resolved.hosts,
            &resolved.groups["all"],
            &resolved.groups["web"],
        ] {
            assert_eq!(hosts.len(), 1);
            assert_eq!(hosts[0].name, "web2");
        }
    }

    #[test]
    fn missing_project_error_suggests_the_nearest_name() {
        let config = read(&shop_with("[groups]", "[groups]"));
        let error = |project, environment| {
            config
                .resolve(project, environment, &[])
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error("shpo", "qa"),
            "no project is named `shpo` in the configuration: did you mean `shop`?"
        );
        assert_eq!(
            error("shop", "staging"),
            "project shop has no environment `staging` in the configuration: add it"
        );
    }
}
