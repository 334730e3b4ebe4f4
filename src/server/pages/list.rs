//! The list of tasks: first those that wait for people, then those at work, then the rest.

use std::sync::Arc;

use askama::Template;

use super::super::Site;
use super::super::actions::tasks::lines;
use super::super::answer::HttpResult;
use super::super::authentication::{Who, who_reads};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::text::{self, Times};
use super::{Frame, shown, times};
use crate::api::{TaskLine, TaskList, TaskQuery};

/// How many recent tasks a page shows.
const PAGE_TASKS: usize = 50;
/// How many tasks that have not ended are shown; the others are behind the filters.
const ACTIVE_MAX: usize = 200;
/// How many of them are read, newest first, so that a reader who may see few tasks does not wait
/// until all have been read.
const ACTIVE_LOOKED_AT_MAX: usize = 1_000;

#[derive(Template)]
#[template(path = "web/list.html")]
struct ListPage {
    frame: Frame,
    times: Times,
    query: TaskQuery,
    projects: Vec<String>,
    states: Vec<(&'static str, String)>,
    groups: Vec<TaskGroup>,
    older: Option<String>,
    newer: bool,
    /// The reader's account.
    reader: String,
}

/// Tasks under one heading.
struct TaskGroup {
    name: &'static str,
    /// The text shown if there are none.
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

    /// Whether the reader is asked to approve the task.
    fn asks(&self, task: &TaskLine) -> bool {
        task.head.state == "waiting" && task.head.approvers.contains(&self.reader)
    }

    fn filtered(&self) -> bool {
        self.query.search() != TaskQuery::default()
    }

    /// Whether the query has more than a project and a state.
    fn detailed(&self) -> bool {
        let plain = TaskQuery {
            project: self.query.project.clone(),
            state: self.query.state.clone(),
            ..TaskQuery::default()
        };
        self.query.search() != plain
    }
}

pub(in crate::server) async fn show(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let mut query: TaskQuery = call.query()?;
    query.limit = Some(PAGE_TASKS);
    let TaskList { tasks, next } = lines(site, &who, &query).await?;
    let newer = query.before.is_some() || query.cursor.is_some();
    // Groups are shown only in the overview of everything, or of one environment.
    let whole = !newer
        && query.search()
            == TaskQuery {
                project: query.project.clone(),
                environment: query.environment.clone(),
                ..TaskQuery::default()
            };
    let groups = if whole {
        grouped(site, &who, &query, tasks).await?
    } else {
        let empty = match &next {
            Some(_) => "No match so far; continue with More.",
            None => "No tasks found.",
        };
        vec![TaskGroup {
            name: if newer { "Older tasks" } else { "Tasks" },
            empty,
            tasks,
        }]
    };
    let projects = site.web.config.projects.iter();
    let page = ListPage {
        frame: Frame::of(site, &who).await?,
        times: times(site),
        projects: projects
            .filter(|project| {
                let mut names = project.environments.keys();
                names.any(|name| who.sees_environment(&project.name, name))
            })
            .map(|project| project.name.clone())
            .collect(),
        states: text::states(),
        groups,
        older: next.map(|cursor| older(&query, cursor)),
        newer,
        query,
        reader: who.actor.name.clone(),
    };
    shown(&page)
}

/// Returns the URL of the next page.
fn older(query: &TaskQuery, cursor: String) -> String {
    let next = TaskQuery {
        cursor: Some(cursor),
        ..query.search()
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
) -> Result<Vec<TaskGroup>, Fault> {
    let store = &site.web.store;
    let (active, _) = store.active().await?;
    let is_shown = |line: &TaskLine| {
        let is = |filter: &Option<String>, value: &str| {
            filter.as_deref().is_none_or(|filter| filter == value)
        };
        is(&query.project, &line.head.project)
            && is(&query.environment, &line.head.environment)
            && who.sees(&line.head.target())
    };
    let (mut waiting, mut working) = (Vec::new(), Vec::new());
    for id in active.iter().rev().take(ACTIVE_LOOKED_AT_MAX) {
        if waiting.len() + working.len() == ACTIVE_MAX {
            break;
        }
        let line = TaskLine::from(store.head(*id).await?);
        if !is_shown(&line) {
            continue;
        }
        match text::tone(&line.head.state) {
            "asks" => waiting.push(line),
            _ => working.push(line),
        }
    }
    let rest = latest
        .into_iter()
        .filter(|line| !active.contains(&line.head.id))
        .collect();
    Ok(vec![
        TaskGroup {
            name: "Action required",
            empty: "None.",
            tasks: waiting,
        },
        TaskGroup {
            name: "In progress",
            empty: "None.",
            tasks: working,
        },
        TaskGroup {
            name: "Recent",
            empty: "None yet: push a tag to start one.",
            tasks: rest,
        },
    ])
}
