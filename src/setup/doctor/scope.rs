//! What to check.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::shared::DeployPathNeeds;
use crate::config::Config;
use crate::domain::host::{Drift, ReleaseId};
use crate::domain::permission::Role;
use crate::git::checkout::{shared_directories, shared_files};
use crate::setup::install::InstallRequest;

/// An existing account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAccount {
    /// The account's own role; grants may raise it.
    pub role: Role,
    pub groups: Vec<String>,
}

/// The existing accounts by name.
pub type KnownAccounts = BTreeMap<String, KnownAccount>;

/// What tagship switched `current` to in one environment of a host.
#[derive(Clone, Debug)]
pub struct KnownLive {
    pub project: String,
    pub environment: String,
    pub release: ReleaseId,
    pub since: Option<Timestamp>,
    /// The drift that the agent saw last.
    pub drift: Option<Drift>,
    /// Whether a task runs there, which may be switching at this moment.
    pub busy: bool,
}

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct CheckScope {
    /// One project and its hosts; `None`: everything.
    pub project: Option<String>,
    /// Hosts that are disabled, with the reason.
    pub disabled: BTreeMap<String, String>,
    /// By host: what tagship switched `current` to; a host is missing if no agent answers.
    pub live: BTreeMap<String, Vec<KnownLive>>,
    /// The existing accounts; `None` if unknown.
    pub accounts: Option<KnownAccounts>,
    /// When the agent last took in a push to each project, as text; a project is missing if no
    /// agent answers.
    pub last_pushes: BTreeMap<String, Option<String>>,
    /// The projects that the running agent does not know: it has an older configuration.
    pub unknown: BTreeSet<String>,
    /// The projects whose tags the agent can't look up on the git server, with the reason.
    pub unlisted: BTreeMap<String, String>,
    /// The installations of the hook on this machine, by project.
    pub hooks: BTreeMap<String, InstallRequest>,
}

impl CheckScope {
    pub(super) fn covers(&self, project: &str) -> bool {
        self.project.as_deref().is_none_or(|only| only == project)
    }

    /// Returns the deploy paths on each host with their needs.
    pub(super) fn targets(
        &self,
        config: &Config,
    ) -> BTreeMap<String, BTreeMap<String, DeployPathNeeds>> {
        let mut hosts: BTreeMap<String, BTreeMap<String, DeployPathNeeds>> = BTreeMap::new();
        if self.project.is_none() {
            hosts.extend(
                config
                    .hosts
                    .keys()
                    .map(|host| (host.clone(), BTreeMap::new())),
            );
        }
        for project in config.projects.iter().filter(|p| self.covers(&p.name)) {
            for environment in project.environments.values() {
                for host in config.groups.get(&environment.group).into_iter().flatten() {
                    let paths = hosts.entry(host.clone()).or_default();
                    let needs = DeployPathNeeds {
                        shared_directories: shared_directories(&environment.shared)
                            .into_iter()
                            .collect(),
                        shared_files: shared_files(&environment.shared).into_iter().collect(),
                        shared_missing: environment.shared_missing,
                    };
                    paths.insert(environment.deploy_to(host), needs);
                }
            }
        }
        hosts
    }
}
