//! The executor: claim, next action, durable intent, effect, result.
//!
//! One future drives every task of the agent. It keeps the fold of each active task, asks
//! [`next_actions`] what to do, appends the intent of a step **before** it performs the step, and
//! appends the result after. What may happen is decided in `task`, never here. Sockets and files
//! are behind the traits of [`effects`] and the other effect modules. While an append of a task is
//! under way, its further events are collected for the next commit.
//!
//! After a crash the fold shows which steps began and did not end. They are resumed: the agent's
//! own operations are repeated, and a program is first asked for its result.

mod active;
mod append;
mod claim;
mod compare;
pub mod drift;
pub mod effects;
mod land;
mod mask;
mod newest;
mod push_order;
mod queues;
mod retry;
mod schedule;
mod state;
mod step;
mod steps;

use std::sync::Arc;

use futures::future::FutureExt as _;
use futures::stream::StreamExt as _;

use self::active::Active;
pub use self::effects::World;
pub use self::retry::RetryingHosts;
use self::state::{CompletedEffect, Ids};
pub use self::state::{Executor, ExecutorLimits, MissedPolicy};
use crate::domain::task::{Event, NextAction, StepRef, Task, next_actions};
use crate::store::kv::{KeyWrite, Revision, Watch, WatchEnd};
use crate::store::{HeadFields, StoreError};

/// The store failed: restart the agent.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    #[error("the executor cannot continue: {0}")]
    Store(#[from] StoreError),
    #[error("the store was closed")]
    Closed,
}

impl Executor {
    /// Runs until the store is closed or fails. Dropping the future is equivalent to a crash: the
    /// next executor resumes from what was durable.
    ///
    /// # Errors
    /// [`ExecutorError`]: restart the agent.
    pub async fn run(mut self) -> Result<(), ExecutorError> {
        let (ids, mut revision) = self.world.store.active().await?;
        for id in ids {
            let task = self.world.store.task(id).await?;
            let fence = task.fence;
            self.adopt(task).await?;
            if let Some(active) = self.tasks.get_mut(&id) {
                active.former_claim = fence;
            }
        }
        loop {
            let mut watch = self.world.store.watch_heads(revision);
            self.decide_each();
            match self.drive(&mut watch).await? {
                WatchEnd::Lagged => revision = self.read_again().await?,
                WatchEnd::Closed => return Err(ExecutorError::Closed),
            }
        }
    }

    /// Reads every task again after the watch has lost changes.
    async fn read_again(&mut self) -> Result<Revision, ExecutorError> {
        let (mut ids, revision) = self.world.store.active().await?;
        // Includes tasks that ended meanwhile, so that they are dropped.
        ids.extend(self.tasks.keys());
        for id in ids.into_iter().collect::<Ids>() {
            let task = self.world.store.task(id).await?;
            self.adopt(task).await?;
        }
        self.comparisons.mark_all_stale();
        Ok(revision)
    }

    async fn drive(&mut self, watch: &mut Watch) -> Result<WatchEnd, ExecutorError> {
        loop {
            tokio::select! {
                biased;
                // Changes first: otherwise each pending change of a task that has ended and was
                // dropped would cause another read.
                update = watch.next() => match update {
                    Err(end) => return Ok(end),
                    Ok(update) => {
                        for change in update.changes {
                            if let KeyWrite::Put(value) = change.write {
                                self.head_changed(&value);
                            }
                        }
                    }
                },
                done = self.effects.next(), if !self.effects.is_empty() => {
                    if let Some(done) = done {
                        self.handle_effect(done).await?;
                    }
                }
            }
        }
    }

    /// Handles a change to a task, by this executor or anyone else.
    fn head_changed(&mut self, value: &[u8]) {
        let Ok(head) = serde_json::from_slice::<HeadFields>(value) else {
            return;
        };
        match self.tasks.get_mut(&head.id) {
            Some(active) => {
                active.events_read = active.events_read.max(head.events);
                self.decide(head.id);
            }
            None if head.state.is_settled() => {}
            None => {
                self.first_reads.insert(head.id);
                self.refresh(head.id);
            }
        }
    }

    /// Reads the events appended to a task since the last read.
    fn refresh(&mut self, id: u64) {
        let store = self.world.store.clone();
        let known = self.tasks.get(&id).map(|active| Arc::clone(&active.task));
        self.effects.push(
            async move {
                let result = match known {
                    Some(task) => store.task_since((*task).clone()).await,
                    None => store.task(id).await,
                };
                CompletedEffect::Refreshed { id, result }
            }
            .boxed(),
        );
    }

    /// Keeps an unfinished task, with its plan.
    async fn adopt(&mut self, task: Task) -> Result<(), ExecutorError> {
        let id = task.id;
        if self.has_newer_state_than(&task) {
            return Ok(());
        }
        if task.state.is_settled() {
            if let Some(gone) = self.tasks.remove(&id) {
                self.queues.remove(&gone.task);
                self.comparisons.remove(&task);
                gone.abandon();
                self.unpin(&task);
            }
            return Ok(());
        }
        let digest = task.landed.as_ref().map(|landed| landed.terms.plan.clone());
        let task = Arc::new(task);
        let active = self
            .tasks
            .entry(id)
            .or_insert_with(|| Active::new(Arc::clone(&task)));
        active.events_read = active.events_read.max(task.events);
        active.task = task;
        self.queues.update(active);
        self.comparisons.update(&active.task);
        if active.is_taken_over() {
            tracing::warn!(
                task = id,
                "another executor has taken the work over; it is left to that one"
            );
            active.drop_effects();
        }
        if active.plan.is_none()
            && let Some(digest) = digest
        {
            active.plan = Some(self.world.store.plan(&digest).await?);
        }
        Ok(())
    }

    /// Replies can arrive out of order: an event read after an append may arrive before the
    /// append's own reply.
    fn has_newer_state_than(&self, task: &Task) -> bool {
        let active = self.tasks.get(&task.id);
        active.is_some_and(|active| active.task.events > task.events)
    }

    /// Unpins the commit of a task that will not run. (A later push or a retry still finds the
    /// objects: the mirror never deletes any.)
    fn unpin(&mut self, task: &Task) {
        let never_ran = task.work.is_none() && task.landed.is_some();
        let Ok(source) = self.world.plan_source.source(&task.submission.project) else {
            return;
        };
        if !never_ran {
            return;
        }
        let git = self.world.git.clone();
        let id = task.id;
        self.effects.push(
            async move {
                if let Err(error) = git.unpin(&source, id).await {
                    tracing::warn!(task = id, %error, "its commit stays pinned");
                }
                CompletedEffect::Unpinned
            }
            .boxed(),
        );
    }

    async fn handle_effect(&mut self, done: CompletedEffect) -> Result<(), ExecutorError> {
        match done {
            CompletedEffect::Appended { id, events, result } => {
                self.appended(id, events, result).await?;
            }
            CompletedEffect::Refreshed { id, result } => {
                let task = result?;
                if let Some(active) = self.tasks.get_mut(&id) {
                    active.busy.refreshing = false;
                    active.events_read = active.events_read.max(task.events);
                }
                let read = self.first_reads.remove(&id) && self.first_reads.is_empty();
                self.task_changed(task, Vec::new()).await?;
                for id in if read {
                    self.first_of_each_queue()
                } else {
                    Vec::new()
                } {
                    self.decide(id);
                }
            }
            CompletedEffect::Fence { id, result } => {
                let claim = result?;
                self.claimed(id, claim);
            }
            CompletedEffect::Step { id, at, result } => {
                if let Some(active) = self.tasks.get_mut(&id)
                    && active.inflight.remove(&at).is_some()
                {
                    if active.kills.contains(&at) {
                        // The program ended, but its children may still run.
                        active.ended.insert(at, result);
                    } else {
                        active.end_step(at, result);
                    }
                }
                self.decide(id);
            }
            CompletedEffect::StepEvent {
                id,
                at,
                event,
                more,
            } => {
                if let Some(active) = self.tasks.get_mut(&id)
                    && active.inflight.contains_key(&at)
                {
                    active.outbox.push(event);
                    self.forward_events(id, at, more);
                }
                self.decide(id);
            }
            CompletedEffect::Killed { id, at, result } => self.killed(id, at, result),
            CompletedEffect::RefsRead(seen) => self.refs_read(seen),
            CompletedEffect::Landed { id, outcome } => self.landed(id, outcome),
            CompletedEffect::PushComplete { push } => self.push_complete(&push),
            CompletedEffect::Compared { ids, heads } => self.compared(ids, heads),
            CompletedEffect::ComparedWithLive { task, outcome } => {
                self.compared_with_live(&task, outcome);
            }
            CompletedEffect::Unpinned => {}
            CompletedEffect::Time => {
                self.timer = None;
                self.decide_each();
            }
        }
        Ok(())
    }

    /// Handles the new state `task`: its steps in `began` are durable; others may be unblocked.
    async fn task_changed(
        &mut self,
        task: Task,
        began: Vec<(StepRef, u32)>,
    ) -> Result<(), ExecutorError> {
        let id = task.id;
        if self.has_newer_state_than(&task) {
            // Steps that began meanwhile are resumed from the recorded state.
            self.decide(id);
            return Ok(());
        }
        let before = self.tasks.get(&id).map(Active::stage).unwrap_or_default();
        // With another agent, a task may have held the queue between two reads.
        let ends = self.tasks.contains_key(&id) && task.state.is_settled();
        let frees = ends || (before.holds_queue && !task.state.holds_queue());
        let of_push = (ends && task.submission.push().is_some()).then(|| task.clone());
        let begins = !before.holds_queue && task.state.holds_queue();
        let spot = self.comparisons.task_changed(&task, frees);
        self.adopt(task).await?;
        for (at, attempt) in began {
            self.perform(id, at, attempt, step::IntentRecorded::Now);
        }
        self.decide(id);
        // Decide only the tasks that wait for this one: there may be thousands.
        let mut others = Vec::new();
        if let Some(gone) = of_push {
            self.compare(&gone);
        }
        if frees {
            others = self.first_of_each_queue();
        } else if let Some(active) = self.tasks.get(&id)
            && (begins || before.is_released_by(active.stage()))
        {
            others = self.queues.replaces(&active.task);
            // A rollback does not wait for the running task; others wait for tasks about to land.
            others.extend(self.queues.queued(&active.task).next());
        }
        for other in others {
            self.decide(other);
        }
        self.compare_next(&spot);
        Ok(())
    }

    fn decide_each(&mut self) {
        let ids: Vec<u64> = self.tasks.keys().copied().collect();
        for id in ids {
            self.decide(id);
        }
        self.compare_all();
    }

    /// Performs every action that the task allows now.
    fn decide(&mut self, id: u64) {
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        if active.busy.appending || active.busy.refreshing {
            return;
        }
        if active.events_read > active.task.events {
            active.busy.refreshing = true;
            self.refresh(id);
            return;
        }
        active.drop_stale_events(self.world.clock.now());
        if active.outbox.is_empty() {
            if active.task.state.holds_queue() && active.claim.is_none() {
                if active.may_claim() {
                    self.claim(id);
                }
                return;
            }
            let task = Arc::clone(&active.task);
            self.compare(&task);
            if let Some(by) = self.queues.replaced_by(&task) {
                self.record(id, Event::Superseded { by });
            } else {
                self.act(id);
            }
        }
        self.flush(id);
    }

    fn act(&mut self, id: u64) {
        let active = &self.tasks[&id];
        let actions = next_actions(&active.task, active.plan.as_deref());
        for action in actions {
            match action {
                NextAction::Land => self.land(id),
                NextAction::Recheck => self.recheck(id),
                NextAction::At(time, Event::Due) => self.apply_due(id, time),
                NextAction::At(time, event) => {
                    if self.world.clock.now() >= time {
                        self.record(id, event);
                    } else {
                        self.wake_at(time);
                    }
                }
                NextAction::Start => self.start(id),
                NextAction::Perform { at, attempt } => {
                    let active = &self.tasks[&id];
                    let begun = active.outbox.len() + active.inflight.len();
                    if begun < self.limits.parallel_hosts {
                        self.record(id, Event::Began { at, attempt });
                    }
                }
                NextAction::Resume { at, attempt } => {
                    self.perform(id, at, attempt, step::IntentRecorded::Before);
                }
                NextAction::Kill { at } => self.kill(id, at),
                NextAction::Record(event) => self.record(id, event),
            }
        }
    }

    fn record(&mut self, id: u64, event: Event) {
        if let Some(active) = self.tasks.get_mut(&id) {
            active.outbox.push(event);
        }
    }
}
