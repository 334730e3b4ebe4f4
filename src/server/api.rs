//! `/api/v1/…`: JSON in, JSON out, for the command line and other programs.

mod account;
mod board;
mod hooks;
mod hosts;
mod login;
mod maintenance;
mod submit;
mod tasks;
mod templates;
mod users;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::answer::{self, HttpResult};
use super::call::Call;
use super::{Site, authentication, codo, openapi, output};
use crate::domain::task::StateName;

/// Routes everything under `/api/`: our API in `v1`, and the endpoints for clients of CODO.
pub(super) async fn route(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let segments = call.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = call.method.clone();
    match (method.as_str(), segments.as_slice()) {
        (_, ["api", "task", "v2", "task", "accept"]) => codo::accept(site, call).await,
        ("GET", ["api", "v1", "openapi.json"]) => {
            Ok(answer::of_kind("application/json", openapi::document()))
        }
        ("GET", ["api", "v1", rest @ ..]) => get(site, call, rest).await,
        ("POST", ["api", "accounts", "login"]) => {
            authentication::from_our_site(site, call)?;
            login::log_in(site, call).await
        }
        ("POST", ["api", "v1", rest @ ..]) => {
            authentication::from_our_site(site, call)?;
            post(site, call, rest).await
        }
        ("DELETE", ["api", "v1", rest @ ..]) => {
            authentication::from_our_site(site, call)?;
            match rest {
                ["users", name] => users::remove(site, call, name).await,
                ["users", name, "tokens", id] => users::revoke(site, call, name, id).await,
                ["users", name, "delegations", id] => account::end(site, call, name, id).await,
                _ => Err(call.unknown()),
            }
        }
        _ => Err(call.unknown()),
    }
}

async fn get(site: &Arc<Site>, call: &mut Call, rest: &[&str]) -> HttpResult {
    match rest {
        ["tasks"] => tasks::list(site, call).await,
        ["tasks", id] => tasks::show(site, call, id).await,
        ["tasks", id, "order"] => submit::again(site, call, id).await,
        ["tasks", id, "log"] => output::show(site, call, id).await,
        ["users"] => users::list(site, call).await,
        ["users", name, "tokens"] => users::tokens(site, call, name).await,
        ["hooks"] => hooks::list(site, call).await,
        ["hooks", id] => hooks::show(site, call, id).await,
        ["delegations"] => account::list(site, call).await,
        ["templates"] => templates::list(site, call).await,
        ["templates", name] => templates::show(site, call, name).await,
        ["agent"] => hosts::about(site, call).await,
        ["hosts"] => hosts::list_hosts(site, call).await,
        ["live"] => hosts::list_live(site, call).await,
        ["status"] => board::status(site, call).await,
        ["audit"] => maintenance::audit(site, call).await,
        ["audit", "verify"] => maintenance::verify(site, call).await,
        _ => Err(call.unknown()),
    }
}

async fn post(site: &Arc<Site>, call: &mut Call, rest: &[&str]) -> HttpResult {
    match rest {
        ["tasks"] => submit::submit(site, call).await,
        ["tasks", id, what] => tasks::request(site, call, id, what).await,
        ["hooks", id, "replay"] => hooks::replay(site, call, id).await,
        ["rollback"] => tasks::rollback(site, call).await,
        ["backup"] => maintenance::backup(site, call).await,
        ["users"] => users::add(site, call).await,
        ["users", name] => users::change(site, call, name).await,
        ["users", name, "password"] => users::set_password(site, call, name).await,
        ["users", name, "tokens"] => users::new_token(site, call, name).await,
        [
            "users",
            name,
            "totp",
            what @ ("begin" | "confirm" | "reset"),
        ] => account::factor(site, call, name, what).await,
        ["users", name, "delegations"] => account::add(site, call, name).await,
        ["hosts", name, "disable"] => hosts::disable(site, call, name).await,
        ["hosts", name, "enable"] => hosts::enable(site, call, name).await,
        _ => Err(call.unknown()),
    }
}

/// `/metrics`: metrics in Prometheus text format. Only tasks that have not ended are counted: they
/// are few, however many tasks exist.
pub(super) async fn metrics(site: &Arc<Site>) -> HttpResult {
    let store = &site.web.store;
    let (active, _) = store.active().await?;
    let mut states: BTreeMap<StateName, u64> = BTreeMap::new();
    for id in active {
        *states.entry(store.head(id).await?.state).or_default() += 1;
    }
    let mut text = String::from(
        "# HELP tagship_tasks Tasks that have not ended.\n# TYPE tagship_tasks gauge\n",
    );
    for state in StateName::ALL
        .into_iter()
        .filter(|state| !state.is_settled())
    {
        let count = states.get(&state).copied().unwrap_or(0);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "tagship_tasks{{state=\"{state}\"}} {count}");
    }
    let uptime = site.web.clock.now().duration_since(site.started).as_secs();
    let _ = write!(
        text,
        "# HELP tagship_uptime_seconds Since the agent began to answer.\n\
         # TYPE tagship_uptime_seconds gauge\ntagship_uptime_seconds {uptime}\n\
         # HELP tagship_streams Open event streams and followed logs.\n\
         # TYPE tagship_streams gauge\ntagship_streams {}\n\
         # HELP tagship_web_requests_total Requests by the first digit of their status.\n\
         # TYPE tagship_web_requests_total counter\n",
        site.streams.count()
    );
    for (hundreds, count) in site.answered.iter().enumerate().skip(2) {
        let count = count.load(Ordering::Relaxed);
        let _ = writeln!(
            text,
            "tagship_web_requests_total{{status=\"{hundreds}xx\"}} {count}"
        );
    }
    Ok(answer::of_kind(
        "text/plain; version=0.0.4; charset=utf-8",
        text,
    ))
}
