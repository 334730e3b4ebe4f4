//! Tasks: find, read and act on them. Shared by the pages, the JSON API and CODO's API.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::super::Site;
use super::super::authentication::{AuditedAction, Who};
use super::super::cursor;
use super::super::fault::Fault;
use super::super::text::{TimeBound, times};
use super::super::view::{TaskViewInputs, task_view};
use super::approvers::who_can_approve;
use super::hosts::HostsNow;
use super::precedents::Precedents;
use super::templates::called;
use crate::api::{RollbackBody, TaskLine, TaskList, TaskQuery, TaskView};
use crate::base::language::Language;
use crate::domain::host::ReleaseId;
use crate::domain::permission::PermissionTarget;
use crate::domain::plan::Plan;
use crate::domain::rule::Schedule;
use crate::domain::task::{Description, Recorded, STATE_NAMES, Task};
use crate::engine::request::{
    self, RequestError, RollbackTarget, Rollbacks, TagsNeed, TaskRequest,
};
use crate::store::{Filter, Head, ListPosition, LiveRelease, SearchScope, Store, StoreError};

const LIST_DEFAULT: usize = 50;

const LIST_MAX: usize = 200;

const SEARCH_WORDS_MAX: usize = 8;

/// Returns the tasks of a list that a user may see, newest first.
pub(in crate::server) async fn lines(
    site: &Site,
    who: &Who,
    query: &TaskQuery,
) -> Result<TaskList, Fault> {
    let filter = filter(site, query).await?;
    let search = query.search();
    let store = &site.web.store;
    let after = match (&query.cursor, query.before) {
        (Some(given), None) => {
            let position = cursor::position(given, &search)?;
            Some(ListPosition::parse(position).ok_or_else(cursor::unknown_position)?)
        }
        (None, Some(id)) => match store.position_of(id).await? {
            Some(position) => Some(position),
            None => return Ok(TaskList::default()),
        },
        (None, None) => None,
        (Some(_), Some(_)) => {
            return Err(Fault::Invalid(
                "`cursor` and `before` exclude each other: send one of them".to_owned(),
            ));
        }
    };
    let limit = query.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let seen = |head: &Head| who.sees(&head.target());
    let targets = who.targets();
    let scope = SearchScope {
        targets: targets.as_deref(),
        matches: &seen,
    };
    let found = store
        .search_scope(&filter, after.as_ref(), limit, scope)
        .await?;
    let next = found.next.as_ref();
    Ok(TaskList {
        tasks: found.heads.into_iter().map(TaskLine::from).collect(),
        next: next.map(|position| cursor::cursor(position.as_str(), &search)),
    })
}

async fn filter(site: &Site, query: &TaskQuery) -> Result<Filter, Fault> {
    if let Some(state) = &query.state
        && !STATE_NAMES.contains(&state.as_str())
    {
        return Err(Fault::Invalid(format!(
            "{state:?} is not a state; use one of {}",
            STATE_NAMES.join(", ")
        )));
    }
    let id = match &query.id {
        Some(id) => Some(id.trim().parse().map_err(|_| {
            Fault::Invalid("`id` must be the number of a task: use digits only".to_owned())
        })?),
        None => None,
    };
    let times = times(site);
    let words = query.words.as_deref().unwrap_or_default();
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    if words.len() > SEARCH_WORDS_MAX {
        return Err(Fault::Invalid(format!(
            "a search has at most {SEARCH_WORDS_MAX} words; remove some"
        )));
    }
    let template = match &query.template {
        Some(given) => {
            let library = site.web.templates.current().await;
            Some(called(&library, given).to_owned())
        }
        None => None,
    };
    Ok(Filter {
        id,
        state: query.state.clone(),
        project: query.project.clone(),
        environment: query.environment.clone(),
        template,
        submitter: query.submitter.clone(),
        approver: query.approver.clone(),
        tag: query.tag.clone(),
        words,
        since: times.bound(query.since.as_deref(), TimeBound::Since)?,
        until: times.bound(query.until.as_deref(), TimeBound::Until)?,
    })
}

impl From<Head> for TaskLine {
    fn from(head: Head) -> Self {
        Self {
            tag: head.tag().to_owned(),
            head,
        }
    }
}

/// Parses a task id as given in a URL.
pub(in crate::server) fn parse_id(id: &str) -> Result<u64, Fault> {
    let digits = id.bytes().all(|byte| byte.is_ascii_digit());
    id.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| Fault::no_task(&id.escape_debug().take(40).collect::<String>()))
}

/// Everything that the store knows about a task.
pub(in crate::server) struct TaskDetail {
    pub(in crate::server) task: Task,
    pub(in crate::server) plan: Option<Arc<Plan>>,
    pub(in crate::server) description: Option<Description>,
    head: Head,
    events: Vec<Recorded>,
    rollbacks: Rollbacks,
    can_approve: Vec<String>,
    /// The newer task in the same environment whose work a retry would undo.
    pub(in crate::server) newer: Option<u64>,
    /// The running task that this one is queued behind.
    ahead: Option<Head>,
    live: BTreeMap<String, LiveRelease>,
    /// Read when it is first asked for.
    precedents: OnceCell<Precedents>,
}

impl TaskDetail {
    /// Loads what has happened since; returns whether anything has.
    pub(in crate::server) async fn refresh(&mut self, site: &Site) -> Result<bool, Fault> {
        let store = &site.web.store;
        let known = self.events.len() as u64;
        let fresh = store.events_since(self.task.id, known).await?;
        if fresh.is_empty() {
            return Ok(false);
        }
        let mut task = self.task.clone();
        for event in &fresh {
            task = task.apply(event).map_err(StoreError::from)?;
        }
        if task.landed != self.task.landed {
            *self = detail_of(site, task.id).await?;
            return Ok(true);
        }
        self.newer = store.ran_since(&task).await?;
        self.ahead = store.ahead_of(&task).await?;
        if task.state != self.task.state || task.approvals != self.task.approvals {
            let hosts = HostsNow::of(site).await?;
            self.rollbacks = request::possible_rollbacks(store, &task, hosts.present()).await?;
            self.can_approve = who_can_approve(site, &task).await?;
        }
        self.head = store.head(task.id).await?;
        self.events.extend(fresh);
        self.task = task;
        Ok(true)
    }

    /// Returns what earlier tasks tell about it, as of the first call.
    pub(in crate::server) async fn precedents(
        &self,
        site: &Site,
        who: &Who,
    ) -> Result<&Precedents, Fault> {
        let read = || Precedents::of(site, who, &self.task);
        self.precedents.get_or_try_init(read).await
    }

    /// Returns the task as a program sees it, with the actions that its user may take.
    pub(in crate::server) fn view(&self, site: &Site, who: &Who) -> TaskView {
        self.view_in(site, who, Language::English)
    }

    /// As [`view`](Self::view), with sentences in a language.
    pub(in crate::server) fn view_in(
        &self,
        site: &Site,
        who: &Who,
        language: Language,
    ) -> TaskView {
        let calendar = site.web.config.calendar();
        let shown = TaskViewInputs {
            task: &self.task,
            head: &self.head,
            plan: self.plan.as_deref(),
            description: self.description.as_ref(),
            events: &self.events,
            calendar: &calendar,
            rollbacks: self.rollbacks,
            can_approve: &self.can_approve,
            newer: self.newer,
            ahead: self.ahead.as_ref(),
            live: &self.live,
            language,
        };
        task_view(shown, &who.at(&self.task.target()), site.web.clock.now())
    }
}

/// Returns what a task that has not begun will meet on its hosts.
async fn live_now(store: &Store, task: &Task) -> Result<BTreeMap<String, LiveRelease>, StoreError> {
    let submission = &task.submission;
    if !submission.has_environment() || task.work.is_some() || task.state.is_settled() {
        return Ok(BTreeMap::new());
    }
    store
        .live(&submission.project, &submission.environment)
        .await
}

/// As [`detail_of`], for a user: a task that they may not see does not exist.
pub(in crate::server) async fn detail_for(
    site: &Site,
    who: &Who,
    id: u64,
) -> Result<TaskDetail, Fault> {
    let detail = detail_of(site, id).await?;
    who.needs_to_see(id, &detail.task.target())?;
    Ok(detail)
}

/// Reads everything that is shown of a task.
pub(in crate::server) async fn detail_of(site: &Site, id: u64) -> Result<TaskDetail, Fault> {
    let store = &site.web.store;
    let events = store.events(id).await?;
    let task = Task::fold(id, &events).map_err(StoreError::from)?;
    let hosts = HostsNow::of(site).await?;
    let description = match &task.landed {
        Some(landed) if !landed.description.is_empty() => {
            let bytes = store.blob(&landed.description).await?;
            let read = serde_json::from_slice(&bytes);
            Some(read.map_err(|error| {
                Fault::Broken(format!(
                    "the description of task {} cannot be read: {error}; restore the store from a backup",
                    task.id
                ))
            })?)
        }
        _ => None,
    };
    Ok(TaskDetail {
        plan: store.plan_of(&task).await?,
        head: store.head(task.id).await?,
        newer: store.ran_since(&task).await?,
        ahead: store.ahead_of(&task).await?,
        rollbacks: request::possible_rollbacks(store, &task, hosts.present()).await?,
        can_approve: who_can_approve(site, &task).await?,
        live: live_now(store, &task).await?,
        precedents: OnceCell::new(),
        description,
        events,
        task,
    })
}

/// The longest comment or reason, in characters.
const WORDS_MAX: usize = 2_000;

/// Applies a request to a task, with the user's permissions for its target.
pub(in crate::server) async fn ask(
    site: &Site,
    who: &Who,
    id: u64,
    request: &TaskRequest,
) -> Result<Task, Fault> {
    let target = site.web.store.head(id).await?.target();
    who.needs_to_see(id, &target)?;
    let actor = who.at(&target);
    let remark = request.remark();
    if remark.chars().count() > WORDS_MAX {
        return Err(Fault::Invalid(format!(
            "a comment or reason has at most {WORDS_MAX} characters; shorten it"
        )));
    }
    let calendar = site.web.config.calendar();
    let action = AuditedAction {
        what: name(request),
        task: Some(id),
        on: remark.to_owned(),
    };
    let hosts = HostsNow::of(site).await?;
    let present = request::Present {
        now: site.web.clock.now(),
        calendar: &calendar,
        hosts: hosts.present(),
    };
    let entry = who.audit(site, action.clone()).await?;
    let also = entry.also();
    let outcome = request::ask(&site.web.store, id, &actor, request, present, &also).await;
    drop(entry);
    let task = match outcome {
        Err(error @ (RequestError::Refused(_) | RequestError::Right(_))) => {
            who.refused(site, action, &error.to_string()).await;
            return Err(error.into());
        }
        outcome => outcome?,
    };
    tracing::info!(task = id, actor = %actor.name, request = name(request), "a request was accepted");
    Ok(task)
}

/// Returns how the audit log names a request.
fn name(request: &TaskRequest) -> &'static str {
    match request {
        TaskRequest::Approve {
            emergency: Some(_), ..
        } => "approve in an emergency",
        request => request.verb().spec().name,
    }
}

/// Returns the target of a rollback in an environment: the named release, or what was live before.
pub(in crate::server) fn rollback_target(
    project: String,
    environment: String,
    to: Option<String>,
) -> RollbackTarget {
    match to {
        Some(release) => RollbackTarget::Named {
            project,
            environment,
            release: ReleaseId(release),
        },
        None => RollbackTarget::Before {
            project,
            environment,
        },
    }
}

/// Creates a rollback task.
pub(in crate::server) async fn request_rollback(
    site: &Site,
    who: &Who,
    body: RollbackBody,
    seen: Option<&BTreeMap<String, ReleaseId>>,
) -> Result<Task, Fault> {
    let (back, target) = match (body.task, body.project, body.environment) {
        (Some(id), None, None) if body.to.is_none() => {
            let target = site.web.store.head(id).await?.target();
            who.needs_to_see(id, &target)?;
            (RollbackTarget::ToTask(id), target)
        }
        (None, Some(project), Some(environment)) => {
            let target = PermissionTarget::new(&project, &environment, "");
            if !who.sees(&target) {
                return Err(nothing_live(&project, &environment));
            }
            (rollback_target(project, environment, body.to), target)
        }
        _ => {
            return Err(Fault::Invalid(
                "the rollback target is missing: send either `task`, or `project` and `environment`, with `to` for a named release".to_owned(),
            ));
        }
    };
    let now = site.web.clock.now();
    let action = audited_rollback(
        &back,
        body.override_freeze.as_deref(),
        body.emergency.as_deref(),
    );
    let actor = who.at(&target);
    let calendar = site.web.config.calendar();
    let hosts = HostsNow::of(site).await?;
    let rollback = request::RollbackRequest {
        back: &back,
        seen,
        override_freeze: body.override_freeze.as_deref(),
        emergency: body.emergency.as_deref(),
        tags: tags_need(site, &target),
        calendar: &calendar,
        hosts: hosts.present(),
    };
    let entry = who.audit(site, action.clone()).await?;
    let also = |id| entry.making(id);
    let done = request::roll_back(&site.web.store, &rollback, &actor, now, &also).await;
    drop(entry);
    let task = match done {
        Err(error @ (RequestError::Refused(_) | RequestError::Right(_))) => {
            who.refused(site, action, &error.to_string()).await;
            return Err(error.into());
        }
        done => done?,
    };
    tracing::info!(task = task.id, actor = %actor.name, "a rollback was requested");
    Ok(task)
}

/// Returns a rollback as the audit names it.
fn audited_rollback(
    back: &RollbackTarget,
    override_freeze: Option<&str>,
    emergency: Option<&str>,
) -> AuditedAction {
    let on = match back {
        RollbackTarget::ToTask(id) => format!("to task {id}"),
        RollbackTarget::Before {
            project,
            environment,
        } => format!("{project} {environment}"),
        RollbackTarget::Named {
            project,
            environment,
            release,
        } => format!("{project} {environment} to {release}"),
    };
    let on = match override_freeze {
        Some(reason) => format!("{on}, override-freeze: {}", reason.trim()),
        None => on,
    };
    let on = match emergency {
        Some(reason) => format!("{on}, EMERGENCY: {}", reason.trim()),
        None => on,
    };
    let what = match emergency {
        Some(_) => "roll back in an emergency",
        None => "roll back",
    };
    AuditedAction::on(what, on)
}

/// Returns whether tags need an approval in the target of a rollback.
fn tags_need(site: &Site, target: &PermissionTarget) -> TagsNeed {
    let projects = site.web.config.projects.iter();
    let mut rules = projects
        .filter(|project| project.name == target.project)
        .flat_map(|project| &project.rules);
    let ready = rules
        .any(|rule| rule.environment == target.environment && rule.schedule == Schedule::Ready);
    if ready {
        TagsNeed::Nothing
    } else {
        TagsNeed::Approval
    }
}

/// Returns the error for an environment where nothing is live, or that the user may not see.
pub(in crate::server) fn nothing_live(project: &str, environment: &str) -> Fault {
    RequestError::NoRollback(format!("nothing is live in {project} {environment}")).into()
}
