//! Checks that each environment has a directory of its own on every machine.

use std::collections::BTreeSet;

use super::super::keys::Config;
use super::ConfigCheck;
use crate::domain::document::Path;

impl ConfigCheck<'_> {
    /// Checks that no environment's directory on a machine equals or contains another's.
    pub(super) fn deploy_directories(&mut self) {
        let mut directories = self.all_deploy_directories();
        directories.sort();
        let mut reported = BTreeSet::new();
        let mut refused = Vec::new();
        let mut outer: Option<&DeployDirectory<'_>> = None;
        for inner in &directories {
            let Some(around) = outer.filter(|outer| inner.is_inside(outer)) else {
                outer = Some(inner);
                continue;
            };
            if reported.insert((around.environment, inner.environment)) {
                refused.push((inner.key_path(), around.message(inner, self.config)));
            }
        }
        for (path, message) in refused {
            self.refuse(&path, message);
        }
    }

    fn all_deploy_directories(&self) -> Vec<DeployDirectory<'_>> {
        let mut directories = Vec::new();
        for (index, project) in self.config.projects.iter().enumerate() {
            for (name, environment) in &project.environments {
                let hosts = self.config.groups.get(&environment.group);
                for host in hosts.into_iter().flatten() {
                    if let Some(endpoint) = self.config.endpoint(host) {
                        directories.push(DeployDirectory {
                            machine: (endpoint.address, endpoint.port),
                            directory: environment.deploy_to(host) + "/",
                            environment: (index, name),
                            host,
                        });
                    }
                }
            }
        }
        directories
    }
}

/// Where an environment is located on one machine. Sorting puts a directory right before its
/// contents.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct DeployDirectory<'c> {
    /// Address and port: two host names may refer to one machine.
    machine: (String, u16),
    /// With a trailing slash.
    directory: String,
    /// The project's index and the environment's name.
    environment: (usize, &'c str),
    host: &'c str,
}

impl DeployDirectory<'_> {
    fn is_inside(&self, outer: &Self) -> bool {
        self.machine == outer.machine && self.directory.starts_with(&outer.directory)
    }

    fn key_path(&self) -> Path {
        let (project, environment) = self.environment;
        Path::root()
            .join("projects")
            .join(project)
            .join("environments")
            .join(environment)
            .join("deploy_to")
    }

    fn message(&self, inner: &Self, config: &Config) -> String {
        let (project, environment) = self.environment;
        let project = &config.projects[project].name;
        let directory = self.directory.trim_end_matches('/');
        let inner_host = inner.host;
        let same_machine = if self.host == inner.host {
            String::new()
        } else {
            format!(", which is the machine of host {}", self.host)
        };
        format!(
            "on host {inner_host}{same_machine}, {directory} belongs to environment {environment} \
             of project {project}: give each its own directory"
        )
    }
}
