//! The list of tasks: first what waits for somebody, then what is at work, then the rest.

use std::sync::Arc;

use askama::Template;

use super::super::Site;
use super::super::answer::Answer;
use super::super::api::lines;
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::view::{TaskLine, TaskQuery};
use super::super::who::{Who, who};
use super::super::words::{self, Times};
use super::{Frame, shown, times};

/// How many of the latest tasks a page shows.
const PAGE_TASKS: usize = 50;
/// How many tasks that are not at rest are shown; the rest of them is behind the filters.
const ACTIVE_MAX: usize = 200;

#[derive(Template)]
#[template(path = "web/list.html")]
struct ListPage {
    frame: Frame,
    times: Times,
    query: TaskQuery,
    projects: Vec<String>,
    states: Vec<(&'static str, String)>,
    groups: Vec<Group>,
    older: Option<String>,
    newer: bool,
}

/// Tasks under one heading.
struct Group {
    name: &'static str,
    /// What is said where there are none.
    empty: &'static str,
    tasks: Vec<TaskLine>,
}

impl ListPage {
    fn is_project(&self, name: &str) -> bool {
        self.query.project.as_deref() == Some(name)
    }

    fn is_state(&self, name: &str) -> bool {
        self.query.state.as_deref() == Some(name)
    }

    fn filtered(&self) -> bool {
        self.query.project.is_some() || self.query.state.is_some()
    }
}

pub(in crate::web) async fn show(site: &Arc<Site>, call: &mut Call) -> Answer {
    let who = who(site, call).await?;
    who.reads()?;
    let mut query: TaskQuery = call.query()?;
    // A form sends what was left empty, too.
    for field in [&mut query.state, &mut query.project, &mut query.environment] {
        if field.as_deref() == Some("") {
            *field = None;
        }
    }
    query.limit = Some(PAGE_TASKS);
    let latest = lines(site, &who, &query).await?;
    let last = (latest.len() == PAGE_TASKS)
        .then(|| latest.last().map(|line| line.head.id))
        .flatten();
    let whole = query.state.is_none() && query.before.is_none();
    let groups = if whole {
        grouped(site, &who, &query, latest).await?
    } else {
        let name = if query.before.is_some() {
            "Older tasks"
        } else {
            "Tasks"
        };
        vec![Group {
            name,
            empty: "There are none.",
            tasks: latest,
        }]
    };
    let page = ListPage {
        frame: Frame::of(site, &who).await?,
        times: times(site),
        projects: site
            .web
            .config
            .projects
            .iter()
            .filter(|project| {
                let mut names = project.environments.keys();
                names.any(|name| who.sees_environment(&project.name, name))
            })
            .map(|project| project.name.clone())
            .collect(),
        states: words::states(),
        groups,
        older: last.map(|last| older(&query, last)),
        newer: query.before.is_some(),
        query,
    };
    shown(&page)
}

/// The address of the next page.
fn older(query: &TaskQuery, last: u64) -> String {
    let next = TaskQuery {
        before: Some(last),
        limit: None,
        ..query.clone()
    };
    format!(
        "/?{}",
        serde_urlencoded::to_string(next).unwrap_or_default()
    )
}

async fn grouped(
    site: &Site,
    who: &Who,
    query: &TaskQuery,
    latest: Vec<TaskLine>,
) -> Result<Vec<Group>, Fault> {
    let store = &site.web.store;
    let (active, _) = store.active().await?;
    let wanted = |line: &TaskLine| {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        is(&query.project, &line.head.project)
            && is(&query.environment, &line.head.environment)
            && who.sees(&line.head.place())
    };
    let (mut waiting, mut working) = (Vec::new(), Vec::new());
    for id in active.iter().rev() {
        if waiting.len() + working.len() == ACTIVE_MAX {
            break;
        }
        let line = TaskLine::from(store.head(*id).await?);
        if !wanted(&line) {
            continue;
        }
        match words::tone(&line.head.state) {
            "asks" => waiting.push(line),
            _ => working.push(line),
        }
    }
    let rest = latest
        .into_iter()
        .filter(|line| !active.contains(&line.head.id))
        .collect();
    Ok(vec![
        Group {
            name: "Waiting for somebody",
            empty: "Nothing waits.",
            tasks: waiting,
        },
        Group {
            name: "At work",
            empty: "Nothing is at work.",
            tasks: working,
        },
        Group {
            name: "Latest",
            empty: "Nothing has been released yet: push a tag.",
            tasks: rest,
        },
    ])
}
