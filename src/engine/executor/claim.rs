//! Which task may run: one per project and environment, in order; rollbacks first.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::FutureExt as _;
use jiff::{SignedDuration, Timestamp};

use super::active::Active;
use super::{CompletedEffect, Executor};
use crate::domain::host::ReleaseId;
use crate::domain::task::{Event, Origin, State, StopRequester, Task};
use crate::store::{Store, StoreError};

impl Executor {
    /// Returns the first task of a queue that may begin: frozen tasks do not block the others.
    fn first_ready(&self, mut queue: impl Iterator<Item = u64>, now: Timestamp) -> Option<u64> {
        let free = |active: &Active| self.frozen_until(&active.task, now).is_none();
        queue.find(|id| self.tasks.get(id).is_some_and(free))
    }

    /// Returns the first task of every queue, which may begin when another task has ended. If all
    /// are frozen, one is needed to notice the end of the freeze.
    pub(super) fn first_of_each_queue(&self) -> Vec<u64> {
        let now = self.world.clock.now();
        let first = |queue| {
            let mut queue = Iterator::peekable(queue);
            let oldest = queue.peek().copied();
            self.first_ready(queue, now).or(oldest)
        };
        self.queues.queues().filter_map(first).collect()
    }

    /// Claims a task's work if it is first in its queue and no other task holds the queue.
    pub(super) fn start(&mut self, id: u64) {
        let task = &self.tasks[&id].task;
        let now = self.world.clock.now();
        if let Some(free) = self.frozen_until(task, now) {
            self.wake_at(free);
            return;
        }
        if self.first_ready(self.queues.queued(task), now) != Some(id) {
            return;
        }
        if task.submission.refuse_older && self.comparisons.is_pending(task) {
            // A newer release may have gone live meanwhile.
            return;
        }
        let held = self.queues.running_in_queue(task).next().is_some();
        if held {
            self.take_over(id);
        } else if !self.waits_for_older(task, now)
            && !self.has_siblings(task)
            && self.queues.running_count() < self.limits.parallel_tasks
        {
            self.claim(id);
        }
    }

    /// Whether more tags of the same push may supersede a task, or have not yet yielded to it.
    fn has_siblings(&self, task: &Task) -> bool {
        let unread = task.submission.push().is_some() && !self.first_reads.is_empty();
        unread || self.queues.has_undecided_siblings(task)
    }

    /// Whether a task has to wait for an older one that is about to enter the same queue: whichever
    /// lands first, the newest push goes live last.
    fn waits_for_older(&self, task: &Task, now: Timestamp) -> bool {
        let comes =
            |active: &Active| active.is_due(now) && self.frozen_until(&active.task, now).is_none();
        let mut older = self.queues.ahead_of(task);
        older.any(|id| self.tasks.get(&id).is_some_and(comes))
    }

    /// Claims the queue for a rollback. It stops a running or paused task first instead of waiting
    /// for it. If nothing could show that the task ended, the rollback waits for a user's decision.
    pub(super) fn take_over(&mut self, id: u64) {
        let rollback = &self.tasks[&id];
        if !matches!(rollback.task.submission.origin, Origin::Rollback { .. }) {
            return;
        }
        let may_be_stopped = |holder: &u64| {
            let holder = self.tasks.get(holder).map(|active| &active.task);
            holder.is_some_and(|task| {
                matches!(task.state, State::Running | State::Paused { .. })
                    && !task.is_asked_about_stop()
            })
        };
        let holder = self
            .queues
            .running_in_queue(&rollback.task)
            .find(may_be_stopped);
        if let Some(holder) = holder {
            let by = format!("rollback {id}");
            let asker = StopRequester::Tagship;
            self.record(holder, Event::StopRequested { by, asker });
            self.decide(holder);
        }
    }

    pub(super) fn claim(&mut self, id: u64) {
        let now = self.world.clock.now();
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        if active.busy.claiming {
            return;
        }
        active.busy.claiming = true;
        self.queues.update(active);
        let store = self.world.store.clone();
        let task = active.task.clone();
        self.effects.push(
            async move {
                let result = next_claim(&store, &task, now).await;
                CompletedEffect::Fence { id, result }
            }
            .boxed(),
        );
    }

    pub(super) fn claimed(&mut self, id: u64, claim: Claim) {
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        active.busy.claiming = false;
        self.queues.update(active);
        let queued = active.task.state == State::Queued;
        let taken_up = active.task.state.holds_queue() && active.may_claim();
        let (task, now) = (Arc::clone(&active.task), self.world.clock.now());
        // A freeze may have begun during the claim.
        let frozen = queued && self.frozen_until(&task, now).is_some();
        if (!queued && !taken_up) || frozen {
            self.decide(id);
            return;
        }
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        if queued && let Some(later) = claim.later_task {
            let reason = format!("task {later} has run there since; push a new tag");
            let by = "tagship".to_owned();
            active.outbox.push(Event::Withdrawn { by, reason });
            self.decide(id);
            return;
        }
        let fence = claim.fence;
        active.claim = Some(fence);
        active.fence_raises = claim.fence_raises;
        active.outbox.push(Event::Claimed { fence });
        if queued {
            let release = match (&active.task.work, &active.task.submission.origin) {
                (Some(work), _) => work.release.clone(),
                (None, Origin::Rollback { release, .. }) => release.clone(),
                (None, Origin::Tag(_) | Origin::Submitted(_)) => {
                    ReleaseId::new(claim.release_at, active.task.commit().unwrap_or_default())
                }
            };
            active.outbox.push(Event::Started { release });
        }
        self.decide(id);
    }
}

/// What a claim needs from the store.
pub(super) struct Claim {
    fence: u64,
    /// What is known of the hosts' own fences, see [`Active::fence_raises`].
    fence_raises: BTreeMap<String, u64>,
    /// The time in the name of a new release.
    release_at: Timestamp,
    /// A later task that has changed the same environment: it must not be undone.
    later_task: Option<u64>,
}

async fn next_claim(store: &Store, task: &Task, now: Timestamp) -> Result<Claim, StoreError> {
    let submission = &task.submission;
    let lifts = store
        .fence_lifts(&submission.project, &submission.environment)
        .await?;
    let later = match &task.work {
        Some(_) => store.ran_since(task).await?,
        None => None,
    };
    if !submission.has_environment() {
        return Ok(Claim {
            fence: store.next_fence(now).await?,
            fence_raises: lifts,
            release_at: now,
            later_task: later,
        });
    }
    // Releases sort by name, so a name must be later than all before it, even if the clock was set
    // back. Two releases of one second get two names.
    let newest = store
        .newest_release(&submission.project, &submission.environment)
        .await?;
    let release_at = newest
        .and_then(|release| release.created_at())
        .and_then(|newest| newest.checked_add(SignedDuration::from_secs(1)).ok())
        .map_or(now, |after| after.max(now));
    Ok(Claim {
        fence: store.next_fence(now).await?,
        fence_raises: lifts,
        release_at,
        later_task: later,
    })
}
