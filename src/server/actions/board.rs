//! Reads the board. What does not depend on the reader is read once for each state of the store,
//! however many watch it, and what is known of a task is kept while it has no new events.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Site;
use super::super::authentication::Who;
use super::super::board::{self, BoardFacts, CommitFacts, PlaceFacts, TaskFacts};
use super::super::board_cache::{Known, UnfinishedTask};
use super::super::fault::Fault;
use super::tasks::lines;
use crate::api::{BoardEnvironment, BoardQuery, BoardTask, BoardView, TaskLine, TaskQuery};
use crate::domain::permission::PermissionTarget;
use crate::domain::task::{Description, Event, Recorded, StateName, Task};
use crate::store::{Head, Store, StoreError};

/// How many unfinished tasks are read, newest first.
const ACTIVE_MAX: usize = 1_000;
/// How many of those that wait, and of those that do not, are examined further.
const EXAMINED_MAX: usize = 200;
/// How many of the latest tasks are looked at for those that have ended.
const LATEST: usize = 50;
/// How many of the first events of a task are read to find its commit.
const FIRST_EVENTS: usize = 16;
/// How many tasks that have ended are remembered.
const REMEMBERED_MAX: usize = 1_000;

/// A board, with the numbers that its filters show.
pub(in crate::server) struct Board {
    pub(in crate::server) view: BoardView,
    /// How many unfinished tasks each project has that the reader may see.
    pub(in crate::server) projects: BTreeMap<String, u64>,
    /// The same for the environments of what the query covers.
    pub(in crate::server) environments: BTreeMap<String, u64>,
}

/// Returns the board as a user sees it.
pub(in crate::server) async fn board(
    site: &Site,
    who: &Who,
    query: &BoardQuery,
) -> Result<Board, Fault> {
    let latest = TaskQuery {
        project: query.project.clone(),
        environment: query.environment.clone(),
        limit: Some(LATEST),
        ..TaskQuery::default()
    };
    let latest = lines(site, who, &latest).await?.tasks;
    let store = &site.web.store;
    let mut known = site.board.0.lock().await;
    known.refresh(site).await?;
    let active = known.seen(who);
    let covered = |head: &&Head| query.covers(&head.project, &head.environment);
    let mut tasks = Vec::new();
    for head in examined(active.iter().filter(covered)) {
        tasks.push(known.unfinished(store, head).await?);
    }
    let mut ended = Vec::new();
    let over = latest
        .iter()
        .map(|line| &line.head)
        .filter(|head| head.state.is_settled());
    for head in over {
        ended.push(known.ended(store, head).await?);
    }
    let environments = known.environments.iter();
    let environments = environments
        .filter(|place| who.sees_environment(&place.project, &place.environment))
        .cloned()
        .collect::<Vec<_>>();
    let left_out = known.left_out;
    drop(known);
    let (mut projects, mut places) = (BTreeMap::new(), BTreeMap::new());
    for place in &environments {
        projects.entry(place.project.clone()).or_default();
        if query
            .project
            .as_ref()
            .is_none_or(|name| *name == place.project)
        {
            places.entry(place.environment.clone()).or_default();
        }
    }
    for head in &active {
        if let Some(count) = projects.get_mut(&head.project) {
            *count += 1;
        }
        if query
            .project
            .as_ref()
            .is_none_or(|name| *name == head.project)
            && let Some(count) = places.get_mut(&head.environment)
        {
            *count += 1;
        }
    }
    let calendar = site.web.config.calendar();
    let facts = BoardFacts {
        active: &active,
        tasks,
        ended,
        environments,
        left_out,
        query,
        calendar: &calendar,
        now: site.web.clock.now(),
    };
    let at = |place: &PermissionTarget| who.at(place);
    Ok(Board {
        view: board::board(facts, at),
        projects,
        environments: places,
    })
}

/// Tasks of a list as the board shows them, and how many unfinished ones there are by state.
pub(in crate::server) struct ListedTasks {
    pub(in crate::server) tasks: Vec<BoardTask>,
    pub(in crate::server) states: BTreeMap<StateName, u64>,
}

/// Returns the tasks of a list as the board shows them.
pub(in crate::server) async fn listed(
    site: &Site,
    who: &Who,
    query: &BoardQuery,
    lines: &[TaskLine],
) -> Result<ListedTasks, Fault> {
    let store = &site.web.store;
    let mut known = site.board.0.lock().await;
    known.refresh(site).await?;
    let mut states = BTreeMap::new();
    for head in known.seen(who) {
        if query.covers(&head.project, &head.environment) {
            *states.entry(head.state).or_default() += 1;
        }
    }
    let mut facts = Vec::new();
    for line in lines {
        let head = &line.head;
        facts.push(match head.state.is_settled() {
            true => known.ended(store, head).await?,
            false => known.unfinished(store, head).await?,
        });
    }
    drop(known);
    let calendar = site.web.config.calendar();
    let now = site.web.clock.now();
    let shown = |facts: &TaskFacts| facts.shown(&who.at(&facts.head.target()), &calendar, now);
    Ok(ListedTasks {
        tasks: facts.iter().map(shown).collect(),
        states,
    })
}

/// Returns the heads to examine further, oldest first: those that wait for people, and the others,
/// the newest of each if there are too many.
fn examined<'a>(heads: impl DoubleEndedIterator<Item = &'a Head>) -> Vec<&'a Head> {
    let mut room = [EXAMINED_MAX; 2];
    let mut chosen: Vec<&Head> = Vec::new();
    for head in heads.rev() {
        let asks = usize::from(matches!(head.state, StateName::Waiting | StateName::Paused));
        if room[asks] > 0 {
            room[asks] -= 1;
            chosen.push(head);
        }
    }
    chosen.reverse();
    chosen
}

impl Known {
    /// Reads again what has changed since.
    async fn refresh(&mut self, site: &Site) -> Result<(), StoreError> {
        let store = &site.web.store;
        // Read first: what changes meanwhile is read again next time.
        let revision = store.revision().await?;
        if self.revision == Some(revision) {
            return Ok(());
        }
        let (ids, _) = store.active().await?;
        let left_out = ids.len().saturating_sub(ACTIVE_MAX);
        let active = store.heads(&ids[left_out..]).await?;
        let unfinished: BTreeSet<u64> = active.iter().map(|head| head.id).collect();
        self.unfinished.retain(|id, _| unfinished.contains(id));
        while self.ended.len() > REMEMBERED_MAX {
            self.ended.pop_first();
        }
        self.left_out = left_out as u64;
        self.active = active;
        self.environments = environments(site).await?;
        self.revision = Some(revision);
        Ok(())
    }

    /// Returns the heads of unfinished tasks that a user may see, oldest first.
    fn seen(&self, who: &Who) -> Vec<Head> {
        let active = self.active.iter();
        let seen = active.filter(|head| who.sees(&head.target()));
        seen.cloned().collect()
    }

    /// Returns what is shown of a task that has not ended.
    async fn unfinished(&mut self, store: &Store, head: &Head) -> Result<TaskFacts, StoreError> {
        let before = self.unfinished.remove(&head.id);
        let known = match before {
            Some(known) if known.task.events >= head.events => known,
            Some(known) => {
                let task = store.task_since(known.task).await?;
                examine(store, head, task, Some((known.description, known.commit))).await?
            }
            None => examine(store, head, store.task(head.id).await?, None).await?,
        };
        let facts = known.facts.clone();
        self.unfinished.insert(head.id, known);
        Ok(facts)
    }

    /// Returns what is shown of a task that has ended.
    async fn ended(&mut self, store: &Store, head: &Head) -> Result<TaskFacts, StoreError> {
        if let Some(known) = self.ended.get(&head.id)
            && known.head == *head
        {
            return Ok(known.clone());
        }
        let first = store.first_events(head.id, FIRST_EVENTS).await?;
        let commit = commit(store, description(&first)).await?;
        let facts = TaskFacts::settled(head.clone(), &first, commit);
        self.ended.insert(head.id, facts.clone());
        Ok(facts)
    }
}

/// Reads what belongs to a task that has not ended. Its description is read again only if it is
/// another one than before.
async fn examine(
    store: &Store,
    head: &Head,
    task: Task,
    before: Option<(String, CommitFacts)>,
) -> Result<UnfinishedTask, StoreError> {
    let landed = task.landed.as_ref();
    let description = landed.map_or("", |landed| &landed.description).to_owned();
    let commit = match before {
        Some((known, before)) if known == description => before,
        _ => commit(store, &description).await?,
    };
    let plan = match &task.work {
        Some(_) => store.plan_of(&task).await?,
        None => None,
    };
    let facts = TaskFacts::of(head.clone(), &task, plan.as_deref(), commit.clone());
    Ok(UnfinishedTask {
        task,
        description,
        commit,
        facts,
    })
}

/// Returns the blob that describes the commit of a task, by its events; empty without one.
fn description(events: &[Recorded]) -> &str {
    let described = events
        .iter()
        .rev()
        .find_map(|recorded| match &recorded.event {
            Event::Landed(landed) => Some(landed.description.as_str()),
            Event::Compared { description, .. } => Some(description.as_str()),
            _ => None,
        });
    described.unwrap_or_default()
}

/// Reads a commit's description. A list is shown also if one of them is damaged.
async fn commit(store: &Store, digest: &str) -> Result<CommitFacts, StoreError> {
    if digest.is_empty() {
        return Ok(CommitFacts::default());
    }
    let bytes = match store.blob(digest).await {
        Err(StoreError::NoBlob(_)) => return Ok(CommitFacts::default()),
        bytes => bytes?,
    };
    let read = serde_json::from_slice::<Description>(&bytes).ok();
    Ok(read.map_or_else(CommitFacts::default, |read| CommitFacts {
        changes: read.relations(),
        subject: read.subject,
    }))
}

/// Reads what is live in every environment of the configuration.
async fn environments(site: &Site) -> Result<Vec<BoardEnvironment>, StoreError> {
    let (store, config) = (&site.web.store, &site.web.config);
    let disabled = store.disabled().await?;
    let mut found = Vec::new();
    for project in &config.projects {
        for (name, environment) in &project.environments {
            let hosts = config.groups.get(&environment.group);
            let hosts = hosts.map(Vec::as_slice).unwrap_or_default();
            let live = store.live(&project.name, name).await?;
            let makers: BTreeSet<u64> = live.values().filter_map(|live| live.task).collect();
            let makers: Vec<u64> = makers.into_iter().collect();
            let made = store.heads(&makers).await?;
            let last = match store.begun(&project.name, name).await? {
                Some(begun) => store.heads(&[begun.last]).await?.pop(),
                None => None,
            };
            let taken_out = hosts.iter().filter(|host| disabled.contains_key(*host));
            found.push(board::environment(PlaceFacts {
                project: &project.name,
                environment: name,
                hosts,
                disabled: taken_out.cloned().collect(),
                live,
                made: made.into_iter().map(|head| (head.id, head)).collect(),
                last,
            }));
        }
    }
    Ok(found)
}
