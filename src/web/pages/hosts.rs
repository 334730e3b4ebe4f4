//! Hosts, which of them are taken out, and what is live on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use serde::Deserialize;

use super::super::Site;
use super::super::answer::{self, Answer};
use super::super::api::{hosts, live, set_disabled};
use super::super::call::Call;
use super::super::view::{HostLine, LiveQuery};
use super::super::who::who;
use super::super::words::{self, Times};
use super::{Frame, sender, shown, times};
use crate::approval::Role;

#[derive(Template)]
#[template(path = "web/hosts.html")]
struct HostsPage {
    frame: Frame,
    times: Times,
    hosts: Vec<HostLine>,
    live: Vec<Environment>,
    may_switch: bool,
    may_roll_back: bool,
}

/// What is live in one environment, by release.
struct Environment {
    project: String,
    environment: String,
    releases: Vec<Release>,
}

impl Environment {
    /// Whether something is live there.
    fn anything(&self) -> bool {
        self.releases.iter().any(|release| release.live.is_some())
    }
}

struct Release {
    /// `None`: nothing is live there.
    live: Option<(String, u64, String)>,
    hosts: String,
}

pub(in crate::web) async fn show(site: &Arc<Site>, call: &mut Call) -> Answer {
    let who = who(site, call).await?;
    let views = live(site, &LiveQuery::default()).await?;
    let live = views
        .into_iter()
        .map(|view| {
            let mut releases: BTreeMap<_, Vec<String>> = BTreeMap::new();
            for (host, live) in view.hosts {
                let live = live.map(|live| {
                    let commit = live.commit.as_deref().map_or("", words::short).to_owned();
                    (live.release.0, live.task, commit)
                });
                releases.entry(live).or_default().push(host);
            }
            Environment {
                project: view.project,
                environment: view.environment,
                releases: releases
                    .into_iter()
                    .map(|(live, hosts)| Release {
                        live,
                        hosts: words::list(&hosts),
                    })
                    .collect(),
            }
        })
        .collect();
    let page = HostsPage {
        frame: Frame::of(site, &who).await?,
        times: times(site),
        hosts: hosts(site).await?,
        live,
        may_switch: who.actor.role >= Role::Admin,
        may_roll_back: who.actor.role >= Role::Approver,
    };
    shown(&page)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    reason: String,
}

pub(in crate::web) async fn switch(
    site: &Arc<Site>,
    call: &mut Call,
    name: &str,
    what: &str,
) -> Answer {
    let Fields { csrf, reason } = call.form(site.web.limits.body).await?;
    let who = sender(site, call, &csrf).await?;
    let reason = (what == "disable").then_some(reason);
    set_disabled(site, &who, name, reason).await?;
    answer::see("/hosts")
}
