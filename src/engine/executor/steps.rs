//! Begins steps, and stops them early.

use futures::future::{AbortHandle, Abortable, FutureExt as _};
use tokio::sync::mpsc;

use super::{CompletedEffect, Executor, step};
use crate::domain::task::{Event, StepRef, StepResult};

impl Executor {
    pub(super) fn perform(
        &mut self,
        id: u64,
        at: StepRef,
        attempt: u32,
        begun: step::IntentRecorded,
    ) {
        let world = self.world.clone();
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        let Some(plan) = active.plan.clone() else {
            return;
        };
        let Some(claim) = active.claim else { return };
        if active.inflight.contains_key(&at) {
            return;
        }
        let hosts = active
            .hosts
            .get_or_insert_with(|| world.hosts(&plan))
            .clone();
        let (handle, registration) = AbortHandle::new_pair();
        active.inflight.insert(at, handle);
        let (event_sender, events) = mpsc::unbounded_channel();
        let lift = active.fence_raises.get(plan.host_name(at)).copied();
        let work = step::StepInputs {
            task: active.task.clone(),
            plan,
            hosts,
            claim,
            fence: crate::domain::host::raised(claim, lift.unwrap_or(0)),
            at,
            attempt,
            begun,
            tree: active.tree.clone(),
            event_sender,
        };
        let effect = Abortable::new(step::perform(world, work), registration);
        self.effects.push(
            async move {
                let result = effect.await.unwrap_or(StepResult::Stopped);
                CompletedEffect::Step { id, at, result }
            }
            .boxed(),
        );
        self.forward_events(id, at, events);
    }

    /// Waits for the next event of a running step.
    pub(super) fn forward_events(
        &mut self,
        id: u64,
        at: StepRef,
        mut events: step::StepEventSender,
    ) {
        self.effects.push(
            async move {
                match events.recv().await {
                    Some(event) => CompletedEffect::StepEvent {
                        id,
                        at,
                        event,
                        more: events,
                    },
                    None => CompletedEffect::Unpinned,
                }
            }
            .boxed(),
        );
    }

    /// Stops a running step as its kind requires.
    pub(super) fn kill(&mut self, id: u64, at: StepRef) {
        let world = self.world.clone();
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        let Some(plan) = active.plan.clone() else {
            return;
        };
        match step::stopping(&plan, at) {
            // A switch is one rename: let it end.
            step::Stopping::WaitForEnd => {
                let attempt = active
                    .task
                    .work
                    .as_ref()
                    .map_or(1, |work| work.attempts(at));
                self.perform(id, at, attempt, step::IntentRecorded::Before);
            }
            step::Stopping::Drop => match active.inflight.get(&at) {
                Some(handle) => handle.abort(),
                None => active.outbox.push(Event::Ended {
                    at,
                    result: StepResult::Stopped,
                }),
            },
            step::Stopping::KillOnHost => {
                if !active.kills.insert(at) {
                    return;
                }
                let hosts = active
                    .hosts
                    .get_or_insert_with(|| world.hosts(&plan))
                    .clone();
                let task = active.task.clone();
                self.effects.push(
                    async move {
                        let result = step::kill(&task, &plan, hosts.as_ref(), at).await;
                        CompletedEffect::Killed { id, at, result }
                    }
                    .boxed(),
                );
            }
        }
    }

    pub(super) fn killed(&mut self, id: u64, at: StepRef, result: Result<(), String>) {
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        active.kills.remove(&at);
        let ended = active.ended.remove(&at);
        let reported = match result {
            // Any other result was caused by the stop.
            Ok(()) => ended.filter(StepResult::succeeded),
            Err(message) => Some(StepResult::Unknown {
                message: format!("it could not be shown that it ended: {message}"),
            }),
        };
        active
            .outbox
            .extend(reported.map(|result| Event::Ended { at, result }));
        // The dropped effect reports `Stopped`, which counts if no result exists yet.
        match active.inflight.get(&at) {
            Some(handle) => handle.abort(),
            None => active.outbox.push(Event::Ended {
                at,
                result: StepResult::Stopped,
            }),
        }
        self.decide(id);
    }
}
