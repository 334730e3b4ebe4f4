//! Hosts and live releases, shared by the pages, the JSON API and CODO's API.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::super::Site;
use super::super::authentication::{AuditedAction, Who};
use super::super::fault::Fault;
use crate::api::{HostLine, LiveHost, LiveQuery, LiveView};
use crate::domain::document::meant;
use crate::domain::permission::{Ability, PermissionTarget};
use crate::domain::plan::PlannedHost;
use crate::engine::request::PresentHosts;
use crate::store::{Disabled, Head, LiveRelease, StoreError};

/// The hosts as they are configured, enabled and disabled now.
pub(in crate::server) struct HostsNow {
    enabled: BTreeMap<String, PlannedHost>,
    disabled: Vec<String>,
}

impl HostsNow {
    pub(in crate::server) async fn of(site: &Site) -> Result<Self, StoreError> {
        let disabled = site.web.store.disabled_hosts().await?;
        Ok(Self {
            enabled: site.web.config.machines(&disabled),
            disabled,
        })
    }

    pub(in crate::server) fn present(&self) -> PresentHosts<'_> {
        PresentHosts {
            enabled: &self.enabled,
            disabled: &self.disabled,
        }
    }
}

/// Returns the configured hosts that a user may see, by name: all hosts for users who see
/// everything, else those of the environments that they see.
pub(in crate::server) async fn hosts(site: &Site, who: &Who) -> Result<Vec<HostLine>, Fault> {
    let config = &site.web.config;
    let seen = seen_hosts(site, who);
    let mut disabled = site.web.store.disabled().await?;
    let names = config.hosts.keys().filter(|name| seen.contains(*name));
    let endpoints = names.filter_map(|name| config.endpoint(name));
    Ok(endpoints
        .map(|endpoint| HostLine {
            groups: config
                .groups
                .iter()
                .filter(|(_, hosts)| hosts.contains(&endpoint.name))
                .map(|(group, _)| group.clone())
                .collect(),
            disabled: disabled.remove(&endpoint.name),
            name: endpoint.name,
            address: endpoint.address,
            port: endpoint.port,
        })
        .collect())
}

/// Returns the names of the hosts that a user may see.
pub(in crate::server) fn seen_hosts(site: &Site, who: &Who) -> BTreeSet<String> {
    let config = &site.web.config;
    if who.sees(&PermissionTarget::default()) {
        return config.hosts.keys().cloned().collect();
    }
    let mut seen = BTreeSet::new();
    for project in &config.projects {
        for (name, environment) in &project.environments {
            if who.sees_environment(&project.name, name) {
                let hosts = config.groups.get(&environment.group);
                seen.extend(hosts.into_iter().flatten().cloned());
            }
        }
    }
    seen
}

/// Returns the error for a host that none of the `known` ones is.
pub(in crate::server) fn no_host<'n>(name: &str, known: impl Iterator<Item = &'n String>) -> Fault {
    let known: Vec<&str> = known.map(String::as_str).collect();
    Fault::NotFound(format!(
        "the configuration has no host {}; see the list of hosts{}",
        name.escape_debug().take(80).collect::<String>(),
        meant(name, &known)
    ))
}

/// Disables a host for every release, with a reason, or enables it again.
pub(in crate::server) async fn set_disabled(
    site: &Site,
    who: &Who,
    name: &str,
    reason: Option<String>,
) -> Result<(), Fault> {
    who.needs(Ability::Manage, "exclude or include hosts")?;
    if !site.web.config.hosts.contains_key(name) {
        return Err(no_host(name, site.web.config.hosts.keys()));
    }
    let disabled = match reason {
        Some(reason) if reason.trim().is_empty() => {
            return Err(Fault::Invalid(
                "a reason is required to exclude a host; add one".to_owned(),
            ));
        }
        Some(reason) => Some(Disabled {
            by: who.actor.name.clone(),
            reason: reason.trim().chars().take(500).collect(),
            at: site.web.clock.now(),
        }),
        None => None,
    };
    let store = &site.web.store;
    let (what, suffix) = match &disabled {
        Some(disabled) => ("disable host", format!(": {}", disabled.reason)),
        None => ("enable host", String::new()),
    };
    let action = AuditedAction {
        what,
        task: None,
        on: format!("{name}{suffix}"),
    };
    let entry = who.audit(site, action).await?;
    store
        .set_host_disabled(name, disabled.as_ref(), entry.also())
        .await?;
    tracing::info!(host = name, actor = %who.actor.name, disabled = disabled.is_some(), "a host was switched");
    Ok(())
}

/// Returns what is live in the environments that match the query and that the user may see.
pub(in crate::server) async fn live(
    site: &Site,
    who: &Who,
    query: &LiveQuery,
) -> Result<Vec<LiveView>, Fault> {
    let config = &site.web.config;
    let is_selected =
        |only: &Option<String>, name: &str| only.as_deref().is_none_or(|only| only == name);
    let mut views = Vec::new();
    for project in &config.projects {
        for (name, environment) in &project.environments {
            if !is_selected(&query.project, &project.name) || !is_selected(&query.environment, name)
            {
                continue;
            }
            if !who.sees_environment(&project.name, name) {
                continue;
            }
            let store = &site.web.store;
            let stored = store.live(&project.name, name).await?;
            let configured = config.groups.get(&environment.group);
            let mut hosts: BTreeMap<String, Option<LiveHost>> = configured
                .into_iter()
                .flatten()
                .map(|host| (host.clone(), None))
                .collect();
            let mut made: BTreeMap<u64, Head> = BTreeMap::new();
            for id in stored.values().filter_map(|live| live.task) {
                if let Entry::Vacant(vacant) = made.entry(id) {
                    vacant.insert(store.head(id).await?);
                }
            }
            hosts.extend(stored.into_iter().map(|(host, live)| {
                let head = live.task.and_then(|id| made.get(&id));
                let of_others = live.task.is_none();
                let directory = of_others.then(|| live.release.path(&environment.deploy_to(&host)));
                let live = LiveHost {
                    directory,
                    ..live_host(live, head)
                };
                (host, Some(live))
            }));
            views.push(LiveView {
                project: project.name.clone(),
                environment: name.clone(),
                hosts,
            });
        }
    }
    Ok(views)
}

/// Returns what is live on a host, with the task that made the release.
fn live_host(live: LiveRelease, head: Option<&Head>) -> LiveHost {
    LiveHost {
        tag: head.map(|head| head.tag().to_owned()),
        by: head.map(|head| head.who().to_owned()),
        switched_by: Some(live.switched_by).filter(|id| Some(*id) != live.task),
        release: live.release,
        directory: None,
        commit: live.commit,
        task: live.task,
        since: live.since,
        drift: live.drift,
    }
}
