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
    outcomes: [&'static str; 8],
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

    /// Returns the projects that a push concerns; its repository if there are none.
    fn place(&self, hook: &HookEntry) -> String {
        let projects: Vec<&str> = hook
            .outcomes
            .iter()
            .filter_map(|result| result.project.as_deref())
            .collect();
        match (&hook.push, projects.as_slice()) {
            (Some(push), []) => push.repository.clone(),
            (_, projects) => projects.join(", "),
        }
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
        let problem = unseen.problem(|at| shown_times.minute(&at));
        let said = who.language.say("hooks-unseen-of");
        said.with("project", unseen.project.clone())
            .with("problem", problem.in_language(who.language))
            .to_string()
    });
    let unseen = unseen.collect();
    let page = HooksPage {
        frame: Frame::of(site, &who).await?,
        times: times(site),
        projects: projects.map(|project| project.name.clone()).collect(),
        outcomes: OUTCOME_NAMES,
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

impl HookDetailPage {
    /// Describes an outcome.
    fn explained(&self, result: &ProjectOutcome) -> String {
        let id = match &result.outcome {
            HookOutcome::Proposed { .. } => "hook-result-proposed",
            HookOutcome::Joined { .. } => "hook-result-joined",
            HookOutcome::Duplicate { .. } => "hook-result-duplicate",
            HookOutcome::NoRule { .. } => "hook-result-no-rule",
            HookOutcome::Deleted => "hook-result-deleted",
            HookOutcome::UnknownRepository => "hook-result-unknown",
            HookOutcome::Unreadable { reason } => {
                let said = self.frame.say("hook-result-unreadable");
                return said.with("reason", reason.clone()).to_string();
            }
            HookOutcome::Refused { reason } => return reason.clone(),
        };
        self.frame.say(id).to_string()
    }
}

/// Returns why each rule did not match.
fn reasons(result: &ProjectOutcome) -> &[String] {
    match &result.outcome {
        HookOutcome::NoRule { reasons } => reasons,
        _ => &[],
    }
}
