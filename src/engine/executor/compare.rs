//! Compares waiting tasks with the live release: when this executor first sees them, and again
//! after a release or rollback changes what is live in their environment. While a task runs there,
//! hosts switch one by one, so the comparison waits until it ends or pauses. Plan, digest and
//! approvals do not change. Only a rule with `refuse_older` waits for a comparison; a failed
//! comparison blocks nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::land::{live_on, refusal_as_older};
use super::{CompletedEffect, Executor, World};
use crate::domain::plan::Plan;
use crate::domain::task::{ComparedWith, Event, Relation, State, Task};
use crate::git::landing::{DescribeRequest, Description, LandingError};
use crate::store::StoreError;

/// A comparison that failed temporarily is retried after this time.
const RETRY_PAUSE: SignedDuration = SignedDuration::from_secs(15);

/// A project and environment.
pub(super) type EnvironmentKey = (String, String);

fn environment_of(task: &Task) -> EnvironmentKey {
    let submission = &task.submission;
    (submission.project.clone(), submission.environment.clone())
}

/// Which tasks are compared, and which have to be compared again.
#[derive(Default)]
pub(super) struct Comparisons {
    environments: BTreeMap<EnvironmentKey, EnvironmentState>,
}

/// One environment: one comparison at a time, the oldest task first.
#[derive(Default)]
struct EnvironmentState {
    compared: BTreeSet<u64>,
    stale: BTreeSet<u64>,
    running: Option<u64>,
    not_before: Option<Timestamp>,
}

impl Comparisons {
    /// Updates the state of a task.
    pub(super) fn update(&mut self, task: &Task) {
        if !task.is_compared() {
            self.remove(task);
            return;
        }
        let environment = self.environments.entry(environment_of(task)).or_default();
        if environment.compared.insert(task.id) {
            environment.stale.insert(task.id);
        }
    }

    /// Removes a task from the comparison.
    pub(super) fn remove(&mut self, task: &Task) {
        let key = environment_of(task);
        let Some(environment) = self.environments.get_mut(&key) else {
            return;
        };
        environment.compared.remove(&task.id);
        environment.stale.remove(&task.id);
        if environment.compared.is_empty() && environment.running.is_none() {
            self.environments.remove(&key);
        }
    }

    /// Handles a change to a task. If it ended or paused, another release may be live in its
    /// environment. Returns that environment.
    pub(super) fn task_changed(&mut self, task: &Task, frees: bool) -> EnvironmentKey {
        let key = environment_of(task);
        let rests = task.work.is_some() && task.state.is_settled();
        let pauses = matches!(task.state, State::Paused { .. });
        if (frees || rests || pauses)
            && let Some(environment) = self.environments.get_mut(&key)
        {
            environment.stale.clone_from(&environment.compared);
        }
        key
    }

    /// Marks everything for comparison: what went live meanwhile is unknown.
    pub(super) fn mark_all_stale(&mut self) {
        for environment in self.environments.values_mut() {
            environment.stale.clone_from(&environment.compared);
        }
    }

    /// Whether a task has yet to be compared with what is live now.
    pub(super) fn is_pending(&self, task: &Task) -> bool {
        self.environments
            .get(&environment_of(task))
            .is_some_and(|environment| {
                environment.stale.contains(&task.id) || environment.running == Some(task.id)
            })
    }
}

/// A comparison that differs from the previous one.
pub(super) struct NewComparison {
    description: String,
    with: ComparedWith,
    /// Why a rule with `refuse_older` refuses the task now, if it does.
    refused: Option<String>,
}

/// Why there is no comparison.
pub(super) struct NotCompared {
    reason: String,
    is_transient: bool,
}

impl From<LandingError> for NotCompared {
    fn from(error: LandingError) -> Self {
        Self {
            is_transient: error.is_transient(),
            reason: error.to_string(),
        }
    }
}

impl From<StoreError> for NotCompared {
    fn from(error: StoreError) -> Self {
        Self {
            is_transient: !matches!(error, StoreError::TooLong(_) | StoreError::NoBlob(_)),
            reason: error.to_string(),
        }
    }
}

/// The result of one comparison; `None` if the live release is unchanged since the last one.
pub(super) type ComparisonOutcome = Result<Option<NewComparison>, NotCompared>;

impl Executor {
    pub(super) fn compare_all(&mut self) {
        let environments: Vec<EnvironmentKey> =
            self.comparisons.environments.keys().cloned().collect();
        for environment in environments {
            self.compare_next(&environment);
        }
    }

    /// Compares the waiting tasks of an environment one after the other.
    pub(super) fn compare_next(&mut self, key: &EnvironmentKey) {
        let Some(environment) = self.comparisons.environments.get(key) else {
            return;
        };
        let Some(id) = environment.stale.first().copied() else {
            return;
        };
        if environment.running.is_some() {
            return;
        }
        let not_before = environment.not_before;
        let now = self.world.clock.now();
        if let Some(time) = not_before.filter(|time| *time > now && *time <= now + RETRY_PAUSE) {
            self.wake_at(time);
            return;
        }
        let Some(active) = self.tasks.get(&id) else {
            return;
        };
        let Some(plan) = active.plan.clone() else {
            return;
        };
        let task = active.task.clone();
        if self.may_switch_now(&task) {
            return;
        }
        if let Some(environment) = self.comparisons.environments.get_mut(key) {
            environment.stale.remove(&id);
            environment.running = Some(id);
            environment.not_before = None;
        }
        let world = self.world.clone();
        self.effects.push(
            async move {
                let outcome = compare(&world, &task, &plan).await;
                CompletedEffect::ComparedWithLive { task, outcome }
            }
            .boxed(),
        );
    }

    /// Whether a task is running in the same environment and may switch hosts.
    fn may_switch_now(&self, task: &Task) -> bool {
        self.queues.running_in_queue(task).any(|holder| {
            self.tasks.get(&holder).is_some_and(|holder| {
                matches!(
                    holder.task.state,
                    State::Running | State::Stopping { .. } | State::RollingBack { .. }
                )
            })
        })
    }

    pub(super) fn compared_with_live(&mut self, task: &Task, outcome: ComparisonOutcome) {
        let environment = environment_of(task);
        let id = task.id;
        let now = self.world.clock.now();
        if let Some(environment) = self.comparisons.environments.get_mut(&environment) {
            environment.running = None;
            match &outcome {
                Err(failed) if failed.is_transient && environment.compared.contains(&id) => {
                    environment.stale.insert(id);
                    environment.not_before = Some(now + RETRY_PAUSE);
                }
                _ => {}
            }
        }
        if let Some(active) = self.tasks.get(&id) {
            self.comparisons.update(&active.task);
        } else {
            self.comparisons.remove(task);
        }
        match outcome {
            Ok(None) => {}
            Ok(Some(new)) => {
                let NewComparison {
                    description,
                    with,
                    refused,
                } = new;
                self.record(id, Event::Compared { description, with });
                if let Some(reason) = refused {
                    let by = "tagship".to_owned();
                    self.record(id, Event::Withdrawn { by, reason });
                }
            }
            Err(NotCompared { reason: why, .. }) => {
                tracing::warn!(task = id, why, "not compared with what is live now");
            }
        }
        self.decide(id);
        self.compare_next(&environment);
    }
}

/// Reads what is live on the task's hosts. If that differs from what the task was compared with,
/// the mirror describes the change.
async fn compare(world: &World, task: &Task, plan: &Plan) -> ComparisonOutcome {
    let Some(landed) = &task.landed else {
        return Ok(None);
    };
    let former: Option<Description> = match landed.description.as_str() {
        "" => None,
        blob => serde_json::from_slice(&world.store.blob(blob).await?).ok(),
    };
    let comparisons = former.iter().flat_map(|former| &former.comparisons);
    let mut known: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for comparison in comparisons {
        let live = comparison.live.as_deref();
        known.extend(comparison.hosts.iter().map(|host| (host.as_str(), live)));
    }
    let hosts: Vec<&str> = if known.is_empty() {
        let stage = plan
            .publish_stage()
            .and_then(|stage| plan.stages.get(stage));
        stage.map(|stage| stage.host_names()).unwrap_or_default()
    } else {
        known.keys().copied().collect()
    };
    let (live, releases) = live_on(world, &task.submission, &landed.compared, &hosts).await?;
    let is_known = live
        .iter()
        .all(|live| known.get(live.host.as_str()) == Some(&live.commit.as_deref()));
    let mut with = landed.compared.clone();
    with.live = releases;
    if landed.commit.is_empty() {
        return compare_found_release(world, task, plan, with).await;
    }
    if is_known && with == landed.compared {
        return Ok(None);
    }
    let source = world.plan_source.source(&task.submission.project);
    let source = source.map_err(|why| NotCompared {
        reason: why,
        is_transient: false,
    })?;
    let object = match task.object() {
        "" => landed.commit.clone(),
        object => object.to_owned(),
    };
    let question = DescribeRequest {
        reference: task.submission.reference.clone(),
        object,
        live,
        source: plan
            .placement
            .as_ref()
            .and_then(|placement| placement.source.clone()),
    };
    let description = world.git.describe(&source, &question).await?;
    with.relations = description.relations();
    let refused = refusal_as_older(&description.comparisons)
        .filter(|_| task.submission.refuse_older)
        .map(|why| format!("something else went live: by now it {why}"));
    remove_older(world, task, &landed.description).await?;
    let own = OwnDescription {
        of_task: (task.id, task.events),
        description: &description,
    };
    let bytes = serde_json::to_vec(&own).unwrap_or_default();
    Ok(Some(NewComparison {
        description: world.store.put_blob(&bytes).await?,
        with,
        refused,
    }))
}

/// Compares a rollback to what other tools left live: no commit describes it.
async fn compare_found_release(
    world: &World,
    task: &Task,
    plan: &Plan,
    mut with: ComparedWith,
) -> ComparisonOutcome {
    let live = world.store.live(&plan.project, &plan.environment).await?;
    let mut targets = plan.targets.iter();
    let same =
        targets.all(|(host, target)| live.get(host).is_some_and(|live| live.release == *target));
    with.relations = same.then_some(Relation::Same).into_iter().collect();
    let former = task.landed.as_ref();
    if former.is_some_and(|former| former.compared == with) {
        return Ok(None);
    }
    Ok(Some(NewComparison {
        description: String::new(),
        with,
        refused: None,
    }))
}

/// A description tied to one state of one task, so that it can be deleted: blobs of equal content
/// are shared.
#[derive(Serialize)]
struct OwnDescription<'d> {
    of_task: (u64, u64),
    #[serde(flatten)]
    description: &'d Description,
}

/// The owner of a stored description; earlier versions did not record it.
#[derive(Deserialize)]
struct OwnerOfDescription {
    of_task: Option<(u64, u64)>,
}

/// Deletes superseded comparisons, oldest first. Keeps the newest one, which may be newer than this
/// agent's task, and the one of this task: readers still fetch it.
async fn remove_older(world: &World, task: &Task, current: &str) -> Result<(), StoreError> {
    let events = world.store.events(task.id).await?;
    let compared = events
        .iter()
        .rev()
        .filter_map(|recorded| match &recorded.event {
            Event::Compared { description, .. } => Some(description),
            _ => None,
        });
    let mut own = Vec::new();
    for blob in compared.skip(1).filter(|blob| *blob != current) {
        let bytes = match world.store.blob(blob).await {
            Ok(bytes) => bytes,
            Err(StoreError::NoBlob(_)) => break,
            Err(error) => return Err(error),
        };
        match serde_json::from_slice(&bytes) {
            Ok(OwnerOfDescription {
                of_task: Some((id, _)),
            }) if id == task.id => own.push(blob),
            _ => break,
        }
    }
    for blob in own.into_iter().rev() {
        world.store.delete_blob(blob).await?;
    }
    Ok(())
}
