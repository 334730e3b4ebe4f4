//! Hosts, which of them are disabled, and what is live on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use serde::Deserialize;

use super::super::Site;
use super::super::actions::hosts::{HostsNow, hosts, live, set_disabled};
use super::super::answer::{self, HttpResult};
use super::super::authentication::{Who, who_reads};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::text::Times;
use super::{Frame, sender, shown, times};
use crate::api::{HostLine, LiveHost, LiveQuery, LiveView};
use crate::domain::permission::{Ability, PermissionTarget};
use crate::engine::request::{self, RollbackTarget};

#[derive(Template)]
#[template(path = "web/hosts.html")]
struct HostsPage {
    frame: Frame,
    times: Times,
    hosts: Vec<HostLine>,
    live: Vec<LiveEnvironment>,
    may_switch: bool,
}

/// What is live in one environment, by release.
pub(super) struct LiveEnvironment {
    pub(super) project: String,
    pub(super) environment: String,
    pub(super) releases: Vec<ReleaseRow>,
    may_roll_back: bool,
}

impl LiveEnvironment {
    /// Whether something is live there that the reader may roll back.
    pub(super) fn can_roll_back(&self) -> bool {
        self.may_roll_back && self.releases.iter().any(|release| release.live.is_some())
    }
}

/// A release, and the hosts where it is live.
pub(super) struct ReleaseRow {
    /// `None`: nothing is live there.
    pub(super) live: Option<LiveHost>,
    /// Where `current` points instead; empty if it points to the release.
    pub(super) drift: String,
    pub(super) hosts: String,
}

pub(in crate::server) async fn show(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let views = live(site, &who, &LiveQuery::default()).await?;
    let frame = Frame::of(site, &who).await?;
    let mut live = Vec::new();
    for view in views {
        live.push(environment(site, &who, &frame, view).await?);
    }
    let page = HostsPage {
        times: times(site),
        hosts: hosts(site, &who).await?,
        live,
        may_switch: who
            .needs(Ability::Manage, "exclude or include hosts")
            .is_ok(),
        frame,
    };
    shown(&page)
}

/// Returns what is live in an environment, by release.
pub(super) async fn environment(
    site: &Site,
    who: &Who,
    frame: &Frame,
    view: LiveView,
) -> Result<LiveEnvironment, Fault> {
    let target = PermissionTarget::new(&view.project, &view.environment, "");
    let back = RollbackTarget::Before {
        project: view.project.clone(),
        environment: view.environment.clone(),
    };
    let now = HostsNow::of(site).await?;
    let may_roll_back = who.at(&target).may(Ability::Run, "roll back").is_ok()
        && request::has_rollback(&site.web.store, &back, now.present()).await?;
    let mut releases: BTreeMap<_, (Option<LiveHost>, Vec<String>)> = BTreeMap::new();
    for (host, live) in view.hosts {
        let drift = live.as_ref().and_then(|live| live.drift.as_ref());
        let drift = drift.map(|drift| frame.drift(drift)).unwrap_or_default();
        let release = live.as_ref().map(|live| live.release.clone());
        let same = releases
            .entry((release, drift))
            .or_insert((live, Vec::new()));
        same.1.push(host);
    }
    Ok(LiveEnvironment {
        may_roll_back,
        project: view.project,
        environment: view.environment,
        releases: releases
            .into_iter()
            .map(|((_, drift), (live, hosts))| ReleaseRow {
                live,
                drift,
                hosts: hosts.join(", "),
            })
            .collect(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostFields {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    reason: String,
}

pub(in crate::server) async fn switch(
    site: &Arc<Site>,
    call: &mut Call,
    name: &str,
    what: &str,
) -> HttpResult {
    let HostFields { csrf, reason } = call.form(site.web.limits.body).await?;
    let who = sender(site, call, &csrf).await?;
    let reason = (what == "disable").then_some(reason);
    set_disabled(site, &who, name, reason).await?;
    answer::see("/hosts")
}
