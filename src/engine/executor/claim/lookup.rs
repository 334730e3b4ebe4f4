//! What a claim needs from the store; called by `claim`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::task::Task;
use crate::engine::executor::effects::World;
use crate::engine::executor::push_order::begun_newer_sibling;
use crate::store::StoreError;

/// What a claim needs from the store.
pub(in crate::engine::executor) struct Claim {
    pub(super) fence: u64,
    /// What is known of the hosts' own fences; the task keeps it.
    pub(super) fence_raises: BTreeMap<String, u64>,
    /// The time in the name of a new release.
    pub(super) release_at: Timestamp,
    /// A later task that has changed the same environment: it must not be undone.
    pub(super) later_task: Option<u64>,
    /// A newer task of the same push that has begun already; the error is git's.
    pub(super) newer_sibling: Result<Option<u64>, String>,
}

/// Reads it, and takes the next fence.
pub(super) async fn next_claim(
    world: &World,
    task: &Task,
    now: Timestamp,
) -> Result<Claim, StoreError> {
    let (store, submission) = (&world.store, &task.submission);
    let (project, environment) = (&submission.project, &submission.environment);
    let newest = if submission.has_environment() {
        store.newest_release(project, environment).await?
    } else {
        None
    };
    // Releases sort by name, so a name must be later than all before it, even if the clock was set
    // back. Two releases of one second get two names.
    let release_at = newest
        .and_then(|release| release.created_at())
        .and_then(|newest| newest.checked_add(SignedDuration::from_secs(1)).ok())
        .map_or(now, |after| after.max(now));
    Ok(Claim {
        fence_raises: store.fence_lifts(project, environment).await?,
        later_task: match &task.work {
            Some(_) => store.ran_since(task).await?,
            None => None,
        },
        newer_sibling: begun_newer_sibling(world, task).await?,
        fence: store.next_fence(now).await?,
        release_at,
    })
}
