//! Appends the pending events of a task in one commit, and acts on them once they are durable.

use futures::future::FutureExt as _;

use super::{CompletedEffect, Executor, ExecutorError};
use crate::domain::task::{Event, Recorded, StepRef, Task};
use crate::store::{APPEND_EVENTS_MAX, StoreError};

impl Executor {
    pub(super) async fn appended(
        &mut self,
        id: u64,
        events: Vec<Recorded>,
        result: Result<Task, StoreError>,
    ) -> Result<(), ExecutorError> {
        if let Some(active) = self.tasks.get_mut(&id) {
            active.busy.appending = false;
        }
        match result {
            // It has ended since: another writer was faster.
            Ok(task) if !self.tasks.contains_key(&task.id) => Ok(()),
            Ok(task) => {
                for recorded in &events {
                    tracing::info!(task = id, event = recorded.event.name(), "recorded");
                }
                let began: Vec<(StepRef, u32)> = events
                    .iter()
                    .filter_map(|recorded| match recorded.event {
                        Event::Began { at, attempt } => Some((at, attempt)),
                        _ => None,
                    })
                    .collect();
                self.task_changed(task, began).await
            }
            Err(StoreError::Changed(_) | StoreError::Illegal(_)) => {
                // Another writer appended first. Results must not be lost: they are queued again.
                if let Some(active) = self.tasks.get_mut(&id) {
                    active.requeue_results(events);
                    active.busy.refreshing = true;
                    // A claim counts once it is recorded.
                    active.claim = active
                        .claim
                        .filter(|claim| active.task.fence == Some(*claim));
                }
                self.refresh(id);
                Ok(())
            }
            Err(StoreError::QueueHeld(_)) => {
                if let Some(active) = self.tasks.get_mut(&id) {
                    active.claim = None;
                }
                Ok(())
            }
            Err(error @ StoreError::Commit(_)) => {
                // An oversized task must fail alone, never with the agent.
                tracing::error!(task = id, %error, "too long to be kept");
                if let Some(active) = self.tasks.get_mut(&id)
                    && active.shorten(events, &error)
                {
                    self.decide(id);
                } else if let Some(removed) = self.tasks.remove(&id) {
                    removed.abandon();
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Appends the pending events of a task in one commit.
    pub(super) fn flush(&mut self, id: u64) {
        let time = self.world.clock.now();
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        let events = active.take_outbox(APPEND_EVENTS_MAX, time);
        if events.is_empty() {
            return;
        }
        active.busy.appending = true;
        let store = self.world.store.clone();
        let task = active.task.clone();
        self.effects.push(
            async move {
                let result = store.append(&task, events.clone()).await;
                CompletedEffect::Appended { id, events, result }
            }
            .boxed(),
        );
    }
}
