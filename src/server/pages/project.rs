//! One project: what is live in each environment, the possible targets of a rollback, the hook
//! and the freezes.

mod freezes;
mod releases;

use std::sync::Arc;

use askama::Template;
use jiff::Timestamp;
use serde::Deserialize;

use super::super::Site;
use super::super::actions::hosts::live;
use super::super::answer::HttpResult;
use super::super::authentication::who_reads;
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::text::Times;
use super::hosts::{LiveEnvironment, environment};
use super::{Frame, shown, times};
use crate::api::LiveQuery;
use crate::domain::permission::Ability;
use freezes::FreezeRow;
use releases::{ReleaseComparison, ReleaseEntry};

#[derive(Template)]
#[template(path = "web/project.html")]
struct ProjectPage {
    frame: Frame,
    times: Times,
    name: String,
    repository: String,
    environments: Vec<ProjectEnvironment>,
    /// Whether the reader may see the hook log.
    sees_hooks: bool,
    /// When the hook of its repository last reported a push.
    heard: Option<Timestamp>,
    freezes: Vec<FreezeRow>,
}

/// One environment of the project.
struct ProjectEnvironment {
    live: LiveEnvironment,
    /// Which freeze is in force there, and until when.
    frozen: Option<String>,
    /// Newest first.
    releases: Vec<ReleaseEntry>,
    query: ProjectQuery,
    compared: Option<ReleaseComparison>,
}

impl ProjectEnvironment {
    /// Whether there are two releases to compare.
    fn can_compare(&self) -> bool {
        let made = self.releases.iter().filter(|entry| entry.made.is_some());
        made.count() > 1
    }

    fn is_from(&self, entry: &ReleaseEntry) -> bool {
        self.query.from.as_deref() == Some(entry.release.0.as_str())
    }

    fn is_to(&self, entry: &ReleaseEntry) -> bool {
        self.query.to.as_deref() == Some(entry.release.0.as_str())
    }
}

/// Two releases to compare.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProjectQuery {
    environment: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

pub(in crate::server) async fn show(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who_reads(site, call).await?;
    let query: ProjectQuery = call.query()?;
    let frame = Frame::of(site, &who).await?;
    let only = LiveQuery {
        project: Some(name.to_owned()),
        ..LiveQuery::default()
    };
    let views = live(site, &who, &only).await?;
    let project = site.web.config.project(name);
    let Some(project) = project.filter(|_| !views.is_empty()) else {
        let name: String = name.escape_debug().take(80).collect();
        let said = frame.say("project-unknown").with("name", name);
        return Err(Fault::NotFound(said.to_string()));
    };
    let seen: Vec<String> = views.iter().map(|view| view.environment.clone()).collect();
    let calendar = site.web.config.calendar();
    let now = site.web.clock.now();
    let times = times(site);
    let mut environments = Vec::new();
    for view in views {
        let place = (name, view.environment.as_str());
        let releases = releases::of(site, &who, place).await?;
        let asked = query.environment.as_deref() == Some(place.1);
        let query = if asked {
            query.clone()
        } else {
            ProjectQuery::default()
        };
        let compared = match (&query.from, &query.to) {
            (Some(from), Some(to)) => releases::compared(site, place, [from, to]).await?,
            _ => None,
        };
        let frozen = calendar.frozen(name, place.1, now).map(|frozen| {
            let said = frame.say("project-frozen");
            said.with("until", times.minute(&frozen.until))
                .with("name", frozen.freeze.name.clone())
                .to_string()
        });
        environments.push(ProjectEnvironment {
            live: environment(site, &who, &frame, view).await?,
            frozen,
            releases,
            query,
            compared,
        });
    }
    let sees_hooks = who.needs(Ability::See, "see the hook log").is_ok();
    let heard = match sees_hooks {
        true => site.web.store.hook_report_at(&project.repository).await?,
        false => None,
    };
    let page = ProjectPage {
        freezes: freezes::of(&calendar, name, &seen, who.language),
        name: name.to_owned(),
        repository: project.repository.clone(),
        environments,
        sees_hooks,
        heard,
        frame,
        times,
    };
    shown(&page)
}
