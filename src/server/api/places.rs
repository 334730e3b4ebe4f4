//! The agent itself, hosts, and what is live on them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hyper::StatusCode;

use super::super::Site;
use super::super::answer::{self, Answer};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::view::{
    AboutAgent, Because, HostLine, HostList, LiveHost, LiveList, LiveQuery, LiveView, Nothing,
};
use super::super::who::{Deed, Who, who};
use crate::domain::right::{Ability, Place};
use crate::domain::rule::TAGS;
use crate::store::{Disabled, Head, LiveRelease};

/// For whoever is logged in, whatever they may do.
pub(super) async fn about(site: &Arc<Site>, call: &mut Call) -> Answer {
    who(site, call).await?;
    let zone = site.web.config.time_zone();
    let about = AboutAgent {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time_zone: zone.iana_name().map(str::to_owned),
    };
    answer::json(StatusCode::OK, &about)
}

pub(super) async fn list_hosts(site: &Arc<Site>, call: &mut Call) -> Answer {
    let who = who(site, call).await?;
    who.reads()?;
    let hosts = hosts(site, &who).await?;
    answer::json(StatusCode::OK, &HostList { hosts })
}

/// The hosts of the configuration that somebody may know of, by name: all of them for whoever sees
/// everything, else those of environments that they see.
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

pub(super) async fn disable(site: &Arc<Site>, call: &mut Call, name: &str) -> Answer {
    let who = who(site, call).await?;
    who.called(call)?;
    let Because { reason } = call.json(site.web.limits.body).await?;
    set_disabled(site, &who, name, Some(reason)).await?;
    host(site, &who, name).await
}

pub(super) async fn enable(site: &Arc<Site>, call: &mut Call, name: &str) -> Answer {
    let who = who(site, call).await?;
    who.called(call)?;
    let Nothing {} = call.json(site.web.limits.body).await?;
    set_disabled(site, &who, name, None).await?;
    host(site, &who, name).await
}

/// The names of the hosts that somebody may know of.
pub(in crate::server) fn seen_hosts(site: &Site, who: &Who) -> BTreeSet<String> {
    let config = &site.web.config;
    if who.sees(&Place::default()) {
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

async fn host(site: &Site, who: &Who, name: &str) -> Answer {
    let hosts = hosts(site, who).await?;
    let host = hosts.into_iter().find(|host| host.name == name);
    let host = host.ok_or_else(|| no_host(name))?;
    answer::json(StatusCode::OK, &host)
}

fn no_host(name: &str) -> Fault {
    Fault::NotFound(format!(
        "the configuration has no host {}; see the list of hosts",
        name.escape_debug().take(80).collect::<String>()
    ))
}

/// Takes a host out of every release (for this reason), or back in.
pub(in crate::server) async fn set_disabled(
    site: &Site,
    who: &Who,
    name: &str,
    reason: Option<String>,
) -> Result<(), Fault> {
    who.needs(Ability::Manage, "disable and enable hosts")?;
    if !site.web.config.hosts.contains_key(name) {
        return Err(no_host(name));
    }
    let disabled = match reason {
        Some(reason) if reason.trim().is_empty() => {
            return Err(Fault::Invalid(
                "say why: a reason is needed to disable a host".to_owned(),
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
    let (what, said) = match &disabled {
        Some(disabled) => ("disable host", format!(": {}", disabled.reason)),
        None => ("enable host", String::new()),
    };
    let deed = Deed {
        what,
        task: None,
        on: format!("{name}{said}"),
    };
    let turn = who.turn(site, deed).await?;
    store
        .set_host_disabled(name, disabled.as_ref(), turn.also())
        .await?;
    tracing::info!(host = name, actor = %who.actor.name, disabled = disabled.is_some(), "a host was switched");
    Ok(())
}

pub(super) async fn list_live(site: &Arc<Site>, call: &mut Call) -> Answer {
    let who = who(site, call).await?;
    who.reads()?;
    let query: LiveQuery = call.query()?;
    let live = live(site, &who, &query).await?;
    answer::json(StatusCode::OK, &LiveList { live })
}

/// What is live in the environments that the query names and that somebody may know of.
pub(in crate::server) async fn live(
    site: &Site,
    who: &Who,
    query: &LiveQuery,
) -> Result<Vec<LiveView>, Fault> {
    let config = &site.web.config;
    let wanted =
        |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|asked| asked == name);
    let mut views = Vec::new();
    for project in &config.projects {
        for (name, environment) in &project.environments {
            if !wanted(&query.project, &project.name) || !wanted(&query.environment, name) {
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
                (host, Some(live_host(live, head)))
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

/// What is live on a host, with the task that made it.
fn live_host(live: LiveRelease, head: Option<&Head>) -> LiveHost {
    let tag = head.map(|head| head.reference.strip_prefix(TAGS).unwrap_or(&head.reference));
    LiveHost {
        tag: tag.map(str::to_owned),
        by: head.map(|head| head.who().to_owned()),
        switched_by: Some(live.switched_by).filter(|id| Some(*id) != live.task),
        release: live.release,
        commit: live.commit,
        task: live.task,
        since: live.since,
        drift: live.drift,
    }
}
