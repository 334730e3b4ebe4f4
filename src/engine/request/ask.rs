//! Applies a request to a task in the store.

use super::advice::decide;
use super::rollback::possible_rollbacks;
use super::{Present, RequestContext, RequestError, Rollbacks, TaskRequest};
use crate::domain::approval::Actor;
use crate::domain::task::{Recorded, Task};
use crate::store::kv::Commit;
use crate::store::{Store, StoreError};

/// How often a request is decided again when the task changes meanwhile.
const TRIES: u32 = 8;

/// Applies a request to a task; returns its new state, durably. `also` is part of the same commit:
/// the audit entry.
///
/// # Errors
/// [`RequestError`]; nothing was changed then.
pub async fn ask(
    store: &Store,
    id: u64,
    actor: &Actor,
    request: &TaskRequest,
    present: Present<'_>,
    also: &Commit,
) -> Result<Task, RequestError> {
    let Present {
        now,
        calendar,
        hosts,
    } = present;
    for _ in 1..TRIES {
        let task = store.task(id).await?;
        let plan = store.plan_of(&task).await?;
        let mut moment = RequestContext {
            now,
            calendar,
            plan: plan.as_deref(),
            newer: store.ran_since(&task).await?,
            rollbacks: Rollbacks::default(),
        };
        let events = match decide(&task, actor, request, &moment) {
            Err(RequestError::State { .. } | RequestError::Newer { .. }) => {
                moment.rollbacks = possible_rollbacks(store, &task, hosts).await?;
                decide(&task, actor, request, &moment)?
            }
            decided => decided?,
        };
        let recorded = events
            .into_iter()
            .map(|event| Recorded { time: now, event })
            .collect();
        match store.append_with(&task, recorded, also.clone()).await {
            Err(StoreError::Changed(_)) => {}
            result => return Ok(result?),
        }
    }
    Err(StoreError::Changed(id).into())
}
