//! The agent itself, hosts, and live releases.

use std::sync::Arc;

use hyper::StatusCode;

use super::super::Site;
use super::super::actions::hosts::{hosts, live, no_host, set_disabled};
use super::super::answer::{self, HttpResult};
use super::super::authentication::{Who, who, who_calls, who_reads};
use super::super::call::Call;
use crate::api::{AboutAgent, EmptyBody, HostList, LiveList, LiveQuery, ReasonBody};

/// For every logged-in user, whatever their permissions.
pub(super) async fn about(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    who(site, call).await?;
    let zone = site.web.config.time_zone();
    let about = AboutAgent {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time_zone: zone.iana_name().map(str::to_owned),
    };
    answer::json(StatusCode::OK, &about)
}

pub(super) async fn list_hosts(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let hosts = hosts(site, &who).await?;
    answer::json(StatusCode::OK, &HostList { hosts })
}

pub(super) async fn disable(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who_calls(site, call).await?;
    let ReasonBody { reason } = call.json(site.web.limits.body).await?;
    set_disabled(site, &who, name, Some(reason)).await?;
    host(site, &who, name).await
}

pub(super) async fn enable(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who_calls(site, call).await?;
    let EmptyBody {} = call.json(site.web.limits.body).await?;
    set_disabled(site, &who, name, None).await?;
    host(site, &who, name).await
}

async fn host(site: &Site, who: &Who, name: &str) -> HttpResult {
    let hosts = hosts(site, who).await?;
    match hosts.iter().find(|host| host.name == name) {
        Some(host) => answer::json(StatusCode::OK, host),
        None => Err(no_host(name, hosts.iter().map(|host| &host.name))),
    }
}

pub(super) async fn list_live(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let query: LiveQuery = call.query()?;
    let live = live(site, &who, &query).await?;
    answer::json(StatusCode::OK, &LiveList { live })
}
