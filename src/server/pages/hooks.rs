//! The hook log: pushes and their outcomes; one entry, and its replay.

use std::sync::Arc;

use askama::Template;

use super::super::Site;
use super::super::actions::hooks::{hook, hooks, replay_as};
use super::super::answer::{self, HttpResult};
use super::super::authentication::who;
use super::super::call::Call;
use super::super::text::{self, Times};
use super::{Frame, plain_sender, shown, times};
use crate::api::{HookList, HookQuery};
use crate::domain::permission::Ability;
use crate::domain::rule::is_zero;
use crate::store::{HookEntry, HookOutcome, OUTCOME_NAMES, ProjectOutcome};

#[derive(Template)]
#[template(path = "web/hooks.html")]
struct HooksPage {
    frame: Frame,
    times: Times,
    query: HookQuery,
    projects: Vec<String>,
    outcomes: Vec<(&'static str, String)>,
    hooks: Vec<HookEntry>,
    /// Tags that cannot be listed, as text.
    unseen: Vec<String>,
    more: Option<String>,
}

impl HooksPage {
    fn is_project(&self, name: &str) -> bool {
        self.query.project.as_deref() == Some(name)
    }

    fn is_outcome(&self, name: &str) -> bool {
        self.query.outcome.as_deref() == Some(name)
    }

    fn filtered(&self) -> bool {
        self.query.search() != HookQuery::default()
    }
}

pub(in crate::server) async fn list(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who(site, call).await?;
    who.needs(Ability::See, "see the hook log")?;
    let query: HookQuery = call.query()?;
    let HookList {
        hooks,
        next,
        unseen,
    } = hooks(site, &query).await?;
    let more = next.map(|cursor| {
        let next = HookQuery {
            cursor: Some(cursor),
            ..query.clone()
        };
        format!(
            "/hooks?{}",
            serde_urlencoded::to_string(next).unwrap_or_default()
        )
    });
    let projects = site.web.config.projects.iter();
    let shown_times = times(site);
    let unseen = unseen.iter().map(|unseen| {
        let problem = unseen.describe(|at| shown_times.minute(&at));
        format!("{}: {problem}", unseen.project)
    });
    let unseen = unseen.collect();
    let page = HooksPage {
        frame: Frame::of(site, &who).await?,
        times: times(site),
        projects: projects.map(|project| project.name.clone()).collect(),
        outcomes: OUTCOME_NAMES
            .iter()
            .map(|name| (*name, text::state(name)))
            .collect(),
        hooks,
        unseen,
        more,
        query,
    };
    shown(&page)
}

#[derive(Template)]
#[template(path = "web/hook.html")]
struct HookDetailPage {
    frame: Frame,
    times: Times,
    hook: HookEntry,
    may_replay: bool,
}

pub(in crate::server) async fn one(site: &Arc<Site>, call: &mut Call, id: &str) -> HttpResult {
    let who = who(site, call).await?;
    who.needs(Ability::See, "see the hook log")?;
    let hook = hook(site, id).await?;
    let of_a_tag = hook.push.as_ref().is_some_and(|push| !is_zero(&push.new));
    let page = HookDetailPage {
        frame: Frame::of(site, &who).await?,
        times: times(site),
        may_replay: of_a_tag && who.needs(Ability::Run, "replay a push").is_ok(),
        hook,
    };
    shown(&page)
}

pub(in crate::server) async fn replay(site: &Arc<Site>, call: &mut Call, id: &str) -> HttpResult {
    let who = plain_sender(site, call).await?;
    let entry = replay_as(site, &who, id).await?;
    answer::see(&format!("/hooks/{}", entry.id))
}

/// Returns the tone of an outcome.
fn tone(outcome: &HookOutcome) -> &'static str {
    match outcome {
        HookOutcome::Proposed { .. } | HookOutcome::Joined { .. } => "good",
        HookOutcome::Unreadable { .. } | HookOutcome::Refused { .. } => "bad",
        HookOutcome::UnknownRepository => "warn",
        _ => "over",
    }
}

/// Describes an outcome, to follow the project's name.
fn outcome_text(result: &ProjectOutcome) -> String {
    match &result.outcome {
        HookOutcome::Proposed { .. } => "a new task was proposed".to_owned(),
        HookOutcome::Joined { .. } => "it joined the unfinished task of the same push".to_owned(),
        HookOutcome::Duplicate { .. } => "this record was processed before".to_owned(),
        HookOutcome::NoRule { .. } => "no rule matches; nothing is released".to_owned(),
        HookOutcome::Deleted => "the tag was deleted; nothing is started".to_owned(),
        HookOutcome::UnknownRepository => "no configured project has this repository".to_owned(),
        HookOutcome::Unreadable { reason } => {
            format!("the file could not be read, and is kept in the spool's bad/: {reason}")
        }
        HookOutcome::Refused { reason } => reason.clone(),
    }
}

/// Returns why each rule did not match.
fn reasons(result: &ProjectOutcome) -> &[String] {
    match &result.outcome {
        HookOutcome::NoRule { reasons } => reasons,
        _ => &[],
    }
}
