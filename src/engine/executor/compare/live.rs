//! Compares one task with what is live on its hosts now; called by `compare`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::plan::Plan;
use crate::domain::task::{ComparedWith, Event, Relation, Task};
use crate::engine::executor::effects::World;
use crate::engine::executor::land::{live_on, refusal_as_older};
use crate::git::landing::{DescribeRequest, Description, LandingError};
use crate::store::StoreError;

/// A comparison that differs from the previous one.
pub(in crate::engine::executor) struct NewComparison {
    pub(super) description: String,
    pub(super) with: ComparedWith,
    /// Why a rule with `refuse_older` refuses the task now, if it does.
    pub(super) refused: Option<String>,
}

/// Why there is no comparison.
pub(in crate::engine::executor) struct NotCompared {
    pub(super) reason: String,
    pub(super) is_transient: bool,
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
pub(in crate::engine::executor) type ComparisonOutcome = Result<Option<NewComparison>, NotCompared>;

/// Reads what is live on the task's hosts. If that differs from what the task was compared with,
/// the mirror describes the change.
pub(super) async fn compare(world: &World, task: &Task, plan: &Plan) -> ComparisonOutcome {
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
