//! The hook log, shared by the pages, the JSON API and CODO's API.

use std::time::Duration;

use super::super::Site;
use super::super::authentication::{AuditedAction, Who};
use super::super::cursor;
use super::super::fault::Fault;
use super::super::text::{TimeBound, times};
use crate::api::{HookList, HookQuery, UnseenTags};
use crate::engine::push::{PushReplay, ReplayError};
use crate::store::{HookEntry, HookFilter, OUTCOME_NAMES};

const LIST_DEFAULT: usize = 50;

const LIST_MAX: usize = 200;

/// Returns entries of the hook log, newest first.
pub(in crate::server) async fn hooks(site: &Site, query: &HookQuery) -> Result<HookList, Fault> {
    if let Some(name) = &query.outcome
        && !OUTCOME_NAMES.contains(&name.as_str())
    {
        return Err(Fault::Invalid(format!(
            "{name:?} is not an outcome; use one of {}",
            OUTCOME_NAMES.join(", ")
        )));
    }
    let times = times(site);
    let filter = HookFilter {
        project: query.project.clone(),
        reference: query.reference.clone(),
        pusher: query.pusher.clone(),
        outcome: query.outcome.clone(),
        since: times.bound(query.since.as_deref(), TimeBound::Since)?,
        until: times.bound(query.until.as_deref(), TimeBound::Until)?,
    };
    let search = query.search();
    let before = match &query.cursor {
        Some(given) => {
            let position = cursor::position(given, &search)?;
            let id = u64::from_str_radix(position, 16).map_err(|_| cursor::unknown_position())?;
            Some(id)
        }
        None => None,
    };
    let limit = query.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let page = site.web.store.hooks(&filter, before, limit).await?;
    Ok(HookList {
        next: page
            .next
            .map(|id| cursor::cursor(&format!("{id:x}"), &search)),
        hooks: page.entries,
        unseen: unseen(site, query.project.as_deref()).await?,
    })
}

/// Returns the projects whose tags cannot be listed on the git server.
async fn unseen(site: &Site, only: Option<&str>) -> Result<Vec<UnseenTags>, Fault> {
    let mut unseen = Vec::new();
    for project in &site.web.config.projects {
        let selected = only.is_none_or(|only| only == project.name);
        if !selected || project.reconcile == Some(Duration::ZERO) {
            continue;
        }
        let failed = site.web.store.failed_scans(&project.repository).await?;
        unseen.extend(failed.map(|failed| UnseenTags {
            project: project.name.clone(),
            since: failed.since,
            at: failed.at,
            cause: failed.cause,
        }));
    }
    Ok(unseen)
}

/// Returns one entry by its id, as given in a URL.
pub(in crate::server) async fn hook(site: &Site, id: &str) -> Result<HookEntry, Fault> {
    Ok(site.web.store.hook(parse_id(id)?).await?)
}

fn parse_id(id: &str) -> Result<u64, Fault> {
    let digits = id.bytes().all(|byte| byte.is_ascii_digit());
    id.parse().ok().filter(|_| digits).ok_or_else(|| {
        let id: String = id.escape_debug().take(40).collect();
        Fault::NotFound(format!("the hook log has no entry {id}; see /hooks"))
    })
}

/// Replays a hook entry: decides it again, with an audit entry for each of its projects.
pub(in crate::server) async fn replay_as(
    site: &Site,
    who: &Who,
    id: &str,
) -> Result<HookEntry, Fault> {
    let id = parse_id(id)?;
    let web = &site.web;
    let library = (&*web.config, &web.templates);
    let action = |on: String| AuditedAction::on("replay push", on);
    let entry = format!("entry {id} of the hook log");
    let replay = match PushReplay::of(&web.store, library, id, &who.actor).await {
        Err(error @ ReplayError::Right(_)) => {
            who.refused(site, action(entry), &error.to_string()).await;
            return Err(error.into());
        }
        replay => replay?,
    };
    let now = web.clock.now();
    for project in replay.projects() {
        let on = format!("{entry}, project {}", project.name);
        let pending = who.audit(site, action(on)).await?;
        replay.decide(project, now, &pending.also()).await?;
    }
    Ok(web.store.hook(id).await?)
}
