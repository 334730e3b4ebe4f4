//! What was live in an environment before, from its releases and the tasks that made them: releases
//! of tasks, and what other tools had left live. Reads the store only.

use std::collections::{BTreeMap, BTreeSet};

use super::error::RequestError;
use crate::domain::host::ReleaseId;
use crate::domain::plan::Plan;
use crate::domain::task::{Direction, Event, Recorded, StepResult, Task, host_index};
use crate::store::{Filter, LiveRelease, ReleaseRecord, Store, StoreError};

/// How many tasks of an environment are read for the releases that they replaced.
const TASKS_MAX: usize = 200;
/// How many releases an error names.
const NAMED_MAX: usize = 5;

/// What a task replaced, by host name.
type Replaced = BTreeMap<String, ReleaseId>;

/// What a rollback leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollbackGoal {
    /// A release that a task made.
    Made(ReleaseRecord),
    /// Each host's own release, by host name; at least one is another tool's.
    Found(BTreeMap<String, ReleaseId>),
}

impl RollbackGoal {
    /// Whether it is live already on each of these hosts.
    pub(super) fn is_live(&self, live: &BTreeMap<String, LiveRelease>, hosts: &[String]) -> bool {
        hosts.iter().all(|host| {
            let target = match self {
                Self::Made(target) => Some(&target.release),
                Self::Found(targets) => targets.get(host),
            };
            let now = live.get(host).map(|live| &live.release);
            now.is_some() && now == target
        })
    }
}

/// Returns what was live before the newest live release: the last good release before it, or one
/// that it replaced although its task did not succeed. If another tool had left something live in
/// between, each host goes back to what its switch replaced. A host where nothing was live before
/// keeps what it has.
pub(super) async fn before_live(
    store: &Store,
    live: &BTreeMap<String, LiveRelease>,
    by: &Plan,
) -> Result<RollbackGoal, RequestError> {
    let (project, environment) = (&by.project, &by.environment);
    let newest = live.values().map(|live| &live.release).max();
    let Some(newest) = newest else {
        return Err(nothing_live(project, environment));
    };
    let releases = store.releases(project, environment).await?;
    let mut is_past_live = false;
    let mut replaced_last: Vec<ReleaseId> = Vec::new();
    for record in &releases {
        if is_past_live && (record.good || stayed_live(store, record, &replaced_last).await?) {
            return Ok(RollbackGoal::Made(record.clone()));
        }
        let replaced = replaced_by(store, record.task).await?;
        let is_live = live.values().any(|live| live.release == record.release);
        if (is_past_live || is_live) && has_found(store, by, &replaced).await? {
            return Ok(RollbackGoal::Found(on_each_host(replaced, live)));
        }
        // What another tool had left live, and this release replaced, is live again.
        let is_undone = live
            .iter()
            .any(|(host, live)| live.task.is_none() && replaced.get(host) == Some(&live.release));
        is_past_live |= is_live || is_undone;
        if is_live {
            replaced_last.extend(replaced.into_values());
        }
    }
    let older = releases
        .into_iter()
        .find(|record| !is_past_live && record.good && record.release < *newest);
    older.map(RollbackGoal::Made).ok_or_else(|| {
        RequestError::NoRollback(format!(
            "nothing that was live in {project} {environment} before {newest} is known; name a task (`tagship rollback ID`) or a release (`--to`), or release the commit under a new tag"
        ))
    })
}

/// Whether a release is what was live before, although its task did not succeed: what is live now
/// replaced it on most hosts. Never if its task has ever rolled back.
async fn stayed_live(
    store: &Store,
    record: &ReleaseRecord,
    replaced: &[ReleaseId],
) -> Result<bool, StoreError> {
    let hosts = replaced.iter().filter(|was| **was == record.release);
    if 2 * hosts.count() <= replaced.len() {
        return Ok(false);
    }
    let events = match store.events(record.task).await {
        Ok(events) => events,
        Err(StoreError::NoTask(_)) => return Ok(false),
        Err(error) => return Err(error),
    };
    let went_back = |recorded: &Recorded| matches!(recorded.event, Event::RollbackBegan { .. });
    Ok(!events.iter().any(went_back))
}

/// Returns a release as a goal that a user named, if it was ever live: also if its task failed, was
/// stopped or rolled back.
pub(super) async fn once_live(
    store: &Store,
    (project, environment): (&str, &str),
    record: ReleaseRecord,
) -> Result<RollbackGoal, RequestError> {
    if record.good {
        return Ok(RollbackGoal::Made(record));
    }
    let (id, release) = (record.task, &record.release);
    let events = store.events(id).await?;
    let state = Task::fold(id, &events).map_err(StoreError::from)?.state;
    if state.holds_queue() {
        return Err(RequestError::NoRollback(format!(
            "task {id} is {state}: stop it or wait for its end before a rollback to its release"
        )));
    }
    let live = store.live(project, environment).await?;
    if events.iter().any(switches) || was_seen_live(store, &live, release).await? {
        return Ok(RollbackGoal::Made(record));
    }
    Err(RequestError::NoRollback(format!(
        "task {id} is {state}, and {release} was never live; choose a succeeded task (`tagship tasks --state succeeded`)"
    )))
}

/// Whether an event is the switch of a host to the release of its task.
pub(super) fn switches(recorded: &Recorded) -> bool {
    matches!(
        &recorded.event,
        Event::Ended {
            at,
            result: StepResult::Published { .. },
        } if at.way == Direction::Forward
    )
}

/// Whether a release is live on a host, or was what was replaced last. Its own task may not know:
/// the answer to a switch can be lost, and other tools switch, too.
async fn was_seen_live(
    store: &Store,
    live: &BTreeMap<String, LiveRelease>,
    release: &ReleaseId,
) -> Result<bool, StoreError> {
    let is_there = |live: &LiveRelease| {
        let drift = live.drift.as_ref().and_then(|drift| drift.to.as_ref());
        live.release == *release || drift == Some(release)
    };
    if live.values().any(is_there) {
        return Ok(true);
    }
    let switched_by = live.values().map(|live| live.switched_by);
    let made_by = live.values().filter_map(|live| live.task);
    let tasks: BTreeSet<u64> = switched_by.chain(made_by).collect();
    for task in tasks {
        let replaced = replaced_by(store, task).await?;
        if replaced.values().any(|was| was == release) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the release of this name. A release of another tool must have been seen live.
pub(super) async fn of_name(
    store: &Store,
    release: &ReleaseId,
    live: &BTreeMap<String, LiveRelease>,
    by: &Plan,
) -> Result<RollbackGoal, RequestError> {
    let (project, environment) = (&by.project, &by.environment);
    if let Some(record) = store.release(project, environment, release).await? {
        return once_live(store, (project, environment), record).await;
    }
    let seen = found(store, live, (project, environment)).await?;
    if seen.contains(release) {
        let targets = switching(by).iter();
        let targets = targets.map(|host| (host.clone(), release.clone()));
        return Ok(RollbackGoal::Found(targets.collect()));
    }
    let named: Vec<&str> = seen.iter().map(|seen| seen.0.as_str()).collect();
    let named = match named.as_slice() {
        [] => "no other tool left a release live there that is known".to_owned(),
        many => format!(
            "other tools left live there: {}",
            many[many.len().saturating_sub(NAMED_MAX)..].join(", ")
        ),
    };
    let shown: String = release.0.escape_debug().take(64).collect();
    Err(RequestError::NoRollback(format!(
        "`{shown}` is no release that was live in {project} {environment}; {named}"
    )))
}

/// Returns the releases of other tools that were seen live in the environment.
///
/// # Errors
/// The store cannot be read.
pub(super) async fn found(
    store: &Store,
    live: &BTreeMap<String, LiveRelease>,
    (project, environment): (&str, &str),
) -> Result<BTreeSet<ReleaseId>, StoreError> {
    let mut seen: BTreeSet<ReleaseId> = BTreeSet::new();
    for live in live.values() {
        seen.insert(live.release.clone());
        let drift = live.drift.iter().filter(|drift| drift.broken.is_none());
        seen.extend(drift.filter_map(|drift| drift.to.clone()));
    }
    let releases = store.releases(project, environment).await?;
    let filter = Filter {
        project: Some(project.to_owned()),
        environment: Some(environment.to_owned()),
        ..Filter::default()
    };
    let tasks = store.list(&filter, None, TASKS_MAX).await?;
    let made = releases.iter().map(|record| record.task);
    let tasks: BTreeSet<u64> = tasks.iter().map(|head| head.id).chain(made).collect();
    for task in tasks {
        seen.extend(replaced_by(store, task).await?.into_values());
    }
    let mut found = BTreeSet::new();
    for release in seen {
        if store
            .release(project, environment, &release)
            .await?
            .is_none()
        {
            found.insert(release);
        }
    }
    Ok(found)
}

/// Returns what was live on each host before a task switched it, or would have. Nothing if the
/// task's history is gone.
async fn replaced_by(store: &Store, task: u64) -> Result<Replaced, StoreError> {
    let task = match store.task(task).await {
        Ok(task) => task,
        Err(StoreError::NoTask(_)) => return Ok(Replaced::new()),
        Err(error) => return Err(error),
    };
    let (Some(work), Some(plan)) = (&task.work, store.plan_of(&task).await?) else {
        return Ok(Replaced::new());
    };
    let hosts = plan.hosts.iter().map(|host| &host.name);
    let of = |host: &String| {
        let before = work.live_before.get(&host_index(&plan, host))?.clone()?;
        Some((host.clone(), before))
    };
    Ok(hosts.filter_map(of).collect())
}

/// Whether another tool had left something live on a host that the plan switches.
async fn has_found(store: &Store, by: &Plan, replaced: &Replaced) -> Result<bool, StoreError> {
    for host in switching(by) {
        if let Some(release) = replaced.get(host)
            && store
                .release(&by.project, &by.environment, release)
                .await?
                .is_none()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns what was replaced; for hosts where nothing was, what is live there.
fn on_each_host(replaced: Replaced, live: &BTreeMap<String, LiveRelease>) -> Replaced {
    let stays = live.iter();
    let stays = stays.map(|(host, live)| (host.clone(), live.release.clone()));
    stays.chain(replaced).collect()
}

/// Returns the hosts that a plan switches.
pub(super) fn switching(plan: &Plan) -> &[String] {
    let stage = plan
        .publish_stage()
        .and_then(|stage| plan.stages.get(stage));
    stage
        .map(|stage| stage.hosts.as_slice())
        .unwrap_or_default()
}

pub(super) fn nothing_live(project: &str, environment: &str) -> RequestError {
    RequestError::NoRollback(format!("nothing is live in {project} {environment}"))
}
