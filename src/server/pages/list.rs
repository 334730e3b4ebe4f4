//! The list of tasks, newest first, with all filters.

use std::sync::Arc;

use askama::Template;

use super::super::Site;
use super::super::actions::board::{ListedTasks, listed};
use super::super::actions::tasks::lines;
use super::super::answer::HttpResult;
use super::super::authentication::{Who, who_reads};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::text;
use super::board::{Chip, RowReader, TaskRow, address};
use super::{Frame, shown, times};
use crate::api::{BoardQuery, TaskList, TaskQuery};
use crate::base::language::{Language, Sentence};
use crate::domain::task::StateName;

/// How many tasks a page shows.
const PAGE_TASKS: usize = 50;

#[derive(Template)]
#[template(path = "web/list.html")]
struct ListPage {
    frame: Frame,
    l: ListContent,
    query: TaskQuery,
    projects: Vec<String>,
    states: [(&'static str, String); StateName::ALL.len()],
    /// The address of its event stream; only of the newest tasks.
    live: Option<String>,
}

/// What changes on the page.
pub(in crate::server) struct ListContent {
    language: Language,
    chips: Vec<Chip>,
    rows: Vec<TaskRow>,
    /// The address of the next page.
    older: Option<String>,
    /// On a later page, the address of the first.
    newest: Option<String>,
}

impl ListPage {
    fn is_project(&self, name: &str) -> bool {
        self.query.project.as_deref() == Some(name)
    }

    fn is_state(&self, name: &str) -> bool {
        self.query.state.as_deref() == Some(name)
    }

    fn filtered(&self) -> bool {
        self.query.search() != TaskQuery::default()
    }

    /// Whether the query has a filter besides project, state and words.
    fn detailed(&self) -> bool {
        let plain = TaskQuery {
            project: self.query.project.clone(),
            state: self.query.state.clone(),
            words: self.query.words.clone(),
            ..TaskQuery::default()
        };
        self.query.search() != plain
    }
}

impl ListContent {
    /// Returns the tasks that a user sees.
    pub(in crate::server) async fn of(
        site: &Site,
        who: &Who,
        query: &TaskQuery,
    ) -> Result<Self, Fault> {
        let query = TaskQuery {
            limit: Some(PAGE_TASKS),
            ..query.clone()
        };
        let TaskList { tasks, next } = lines(site, who, &query).await?;
        let place = BoardQuery {
            project: query.project.clone(),
            environment: query.environment.clone(),
        };
        let ListedTasks { tasks, states } = listed(site, who, &place, &tasks).await?;
        let (language, times) = (who.language, times(site));
        let reader = RowReader {
            language,
            times: &times,
            name: &who.actor.name,
        };
        let of_state = |state: Option<StateName>| {
            let search = TaskQuery {
                state: state.map(|state| state.to_string()),
                ..query.search()
            };
            address("/tasks", &search)
        };
        let all = query.state.is_none();
        let mut chips = vec![Chip::new(
            of_state(None),
            language.say("list-all-states"),
            None,
            all,
        )];
        let unfinished = states.into_iter().filter(|(state, _)| !state.is_settled());
        let unfinished = unfinished.map(|(state, count)| (state, Some(count)));
        let ended = [StateName::Failed, StateName::Succeeded].map(|state| (state, None));
        chips.extend(unfinished.chain(ended).map(|(state, count)| {
            let current = query.state.as_deref() == Some(state.as_str());
            let label = text::state_in(language, state);
            Chip::new(of_state(Some(state)), label, count, current)
        }));
        let newer = query.before.is_some() || query.cursor.is_some();
        if newer {
            // Counts are of now, and belong to the newest tasks.
            chips.clear();
        }
        let older = |cursor: String| TaskQuery {
            cursor: Some(cursor),
            ..query.search()
        };
        Ok(Self {
            rows: tasks
                .iter()
                .map(|task| TaskRow::of(task, &reader))
                .collect(),
            older: next.map(|cursor| address("/tasks", &older(cursor))),
            newest: newer.then(|| address("/tasks", &query.search())),
            language,
            chips,
        })
    }

    fn say(&self, id: &'static str) -> Sentence {
        self.language.say(id)
    }

    /// Says why there are no tasks.
    fn empty(&self) -> Sentence {
        match self.older {
            Some(_) => self.say("list-none-so-far"),
            None => self.say("list-none"),
        }
    }

    /// Returns the parts that change, by the ids of their elements.
    pub(in crate::server) fn parts(&self) -> Result<Vec<(&'static str, String)>, Fault> {
        let html = TaskListPart { l: self }.render();
        let html = html.map_err(|error| Fault::Broken(error.to_string()))?;
        Ok(vec![("list", html)])
    }
}

#[derive(Template)]
#[template(path = "web/part/task_list.html")]
struct TaskListPart<'a> {
    l: &'a ListContent,
}

/// `/tasks`: the hook prints links to it.
pub(in crate::server) async fn show(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let query: TaskQuery = call.query()?;
    let l = ListContent::of(site, &who, &query).await?;
    let projects = site.web.config.projects.iter();
    let search = query.search();
    let first = l.newest.is_none();
    let page = ListPage {
        frame: Frame::of(site, &who).await?,
        l,
        projects: projects
            .filter(|project| {
                let mut names = project.environments.keys();
                names.any(|name| who.sees_environment(&project.name, name))
            })
            .map(|project| project.name.clone())
            .collect(),
        states: StateName::ALL.map(|state| (state.as_str(), text::state_in(who.language, state))),
        live: first.then(|| {
            address(
                "/events",
                &LiveTasks {
                    page: "tasks",
                    query: &search,
                },
            )
        }),
        query,
    };
    shown(&page)
}

/// The query of the list's event stream.
#[derive(serde::Serialize)]
struct LiveTasks<'a> {
    page: &'static str,
    #[serde(flatten)]
    query: &'a TaskQuery,
}
