//! What is to be looked at.

use std::collections::BTreeMap;

use super::probe::PlaceNeeds;
use crate::config::Config;
use crate::git::checkout::shared_files;
use crate::setup::install::InstallRequest;

/// Who is let in, by the account's name, with their groups.
pub type KnownAccounts = BTreeMap<String, Vec<String>>;

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct CheckScope {
    /// One project and its hosts; `None`: everything.
    pub project: Option<String>,
    /// Hosts that are taken out, with the reason.
    pub disabled: BTreeMap<String, String>,
    /// By host: where `current` leads elsewhere than tagship switched it, as the agent has seen it,
    /// and what to do about it.
    pub drifts: BTreeMap<String, Vec<(String, &'static str)>>,
    /// Who has an account; `None` where nobody tells.
    pub accounts: Option<KnownAccounts>,
    /// When the agent last heard of a push to each project, in words; a project is missing where no
    /// agent tells.
    pub heard: BTreeMap<String, Option<String>>,
    /// The projects whose tags the agent can't look for on the git server, with the words for it.
    pub unseen: BTreeMap<String, String>,
    /// The installations of the hook on this machine, by project.
    pub hooks: BTreeMap<String, InstallRequest>,
}

impl CheckScope {
    pub(super) fn covers(&self, project: &str) -> bool {
        self.project.as_deref().is_none_or(|only| only == project)
    }

    /// The places on each host to which something is released: `(what, deploy_to)`.
    pub(super) fn places(&self, config: &Config) -> BTreeMap<String, BTreeMap<String, PlaceNeeds>> {
        let mut places: BTreeMap<String, BTreeMap<String, PlaceNeeds>> = BTreeMap::new();
        if self.project.is_none() {
            places.extend(
                config
                    .hosts
                    .keys()
                    .map(|host| (host.clone(), BTreeMap::new())),
            );
        }
        for project in config.projects.iter().filter(|p| self.covers(&p.name)) {
            for environment in project.environments.values() {
                for host in config.groups.get(&environment.group).into_iter().flatten() {
                    let paths = places.entry(host.clone()).or_default();
                    let needs = PlaceNeeds {
                        shared_files: shared_files(&environment.shared).into_iter().collect(),
                        shared_missing: environment.shared_missing,
                    };
                    paths.insert(environment.deploy_to(host), needs);
                }
            }
        }
        places
    }
}
