//! The releases of an environment: which hosts keep them, to which a rollback is possible, and which are
//! between two of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::super::super::Site;
use super::super::super::actions::hosts::HostsNow;
use super::super::super::authentication::Who;
use super::super::super::fault::Fault;
use crate::domain::host::ReleaseId;
use crate::domain::permission::{Ability, PermissionTarget};
use crate::engine::request::{self, RollbackTarget};
use crate::store::ReleaseRecord;

/// How many of the newest releases are listed, whether a host keeps them or not.
const NEWEST: usize = 10;
/// How many releases are listed at most.
const LISTED_MAX: usize = 50;

/// A release of the list.
pub(super) struct ReleaseEntry {
    pub(super) release: ReleaseId,
    /// `None` if tagship did not make it.
    pub(super) made: Option<MadeRelease>,
    /// The hosts that keep it, as far as the agent knows.
    pub(super) hosts: String,
    pub(super) is_live: bool,
    /// The task to whose release the reader may roll back.
    pub(super) rollback: Option<u64>,
}

/// A release that a task made.
pub(super) struct MadeRelease {
    pub(super) task: u64,
    pub(super) tag: String,
    pub(super) commit: String,
    pub(super) by: String,
    pub(super) at: Timestamp,
    /// Whether its task succeeded.
    pub(super) good: bool,
}

/// The releases after one and up to another.
pub(super) struct ReleaseComparison {
    pub(super) from: String,
    pub(super) to: String,
    /// Newest first.
    pub(super) between: Vec<MadeRelease>,
}

impl ReleaseEntry {
    /// Returns its tag; empty if it has none.
    pub(super) fn tag(&self) -> &str {
        self.made.as_ref().map_or("", |made| made.tag.as_str())
    }

    /// Returns its tag, else its name on hosts.
    pub(super) fn called(&self) -> String {
        match self.tag() {
            "" => self.release.0.clone(),
            tag => tag.to_owned(),
        }
    }
}

/// Returns the releases that hosts of an environment keep, and the newest ones; newest first.
pub(super) async fn of(
    site: &Site,
    who: &Who,
    (project, environment): (&str, &str),
) -> Result<Vec<ReleaseEntry>, Fault> {
    let store = &site.web.store;
    let live = store.live(project, environment).await?;
    let mut kept: BTreeMap<ReleaseId, BTreeSet<String>> = BTreeMap::new();
    for (host, live) in &live {
        for release in live.kept.iter().chain([&live.release]) {
            let hosts = kept.entry(release.clone()).or_default();
            hosts.insert(host.clone());
        }
    }
    let records = store.releases(project, environment).await?;
    for record in records.iter().take(NEWEST) {
        kept.entry(record.release.clone()).or_default();
    }
    let place = PermissionTarget::new(project, environment, "");
    let may_run = who.at(&place).may(Ability::Run, "roll back").is_ok();
    let now = HostsNow::of(site).await?;
    let mut entries = Vec::new();
    for (release, hosts) in kept.into_iter().rev().take(LISTED_MAX) {
        let is_live = live.values().any(|live| live.release == release);
        let is_everywhere = live.values().all(|live| live.release == release);
        let made = match store.release(project, environment, &release).await? {
            Some(record) => Some(made(site, &record).await?),
            None => None,
        };
        let goal = made.as_ref().filter(|made| made.good).map(|made| made.task);
        let rollback = match goal.filter(|_| may_run && !is_everywhere) {
            Some(task) => {
                request::has_rollback(store, &RollbackTarget::ToTask(task), now.present())
                    .await?
                    .then_some(task)
            }
            None => None,
        };
        entries.push(ReleaseEntry {
            release,
            made,
            hosts: hosts.into_iter().collect::<Vec<_>>().join(", "),
            is_live,
            rollback,
        });
    }
    Ok(entries)
}

async fn made(site: &Site, record: &ReleaseRecord) -> Result<MadeRelease, Fault> {
    let head = site.web.store.head(record.task).await?;
    Ok(MadeRelease {
        task: record.task,
        tag: head.tag().to_owned(),
        commit: record.commit.clone(),
        by: head.who().to_owned(),
        at: head.created_at,
        good: record.good,
    })
}

/// Returns the releases after the older and up to the newer one of two; `None` if one is unknown.
pub(super) async fn compared(
    site: &Site,
    (project, environment): (&str, &str),
    [one, other]: [&str; 2],
) -> Result<Option<ReleaseComparison>, Fault> {
    let store = &site.web.store;
    let (older, newer) = if one <= other {
        (one, other)
    } else {
        (other, one)
    };
    let mut named = Vec::new();
    for release in [older, newer] {
        let release = ReleaseId(release.to_owned());
        match store.release(project, environment, &release).await? {
            Some(record) => named.push(made(site, &record).await?.tag),
            None => return Ok(None),
        }
    }
    let mut between = Vec::new();
    for record in store.releases(project, environment).await? {
        let release = record.release.0.as_str();
        if older < release && release <= newer {
            between.push(made(site, &record).await?);
        }
    }
    let to = named.pop().unwrap_or_default();
    let from = named.pop().unwrap_or_default();
    Ok(Some(ReleaseComparison { from, to, between }))
}
