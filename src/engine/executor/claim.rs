//! Which task may run: one per project and environment, in order; rollbacks first.

mod lookup;

use std::sync::Arc;

use futures::future::FutureExt as _;
use jiff::Timestamp;

pub(super) use self::lookup::Claim;
use self::lookup::next_claim;
use super::active::Active;
use super::push_order::RETRY_AFTER;
use super::{CompletedEffect, Executor};
use crate::domain::host::ReleaseId;
use crate::domain::task::{Event, Origin, State, StopRequester, Task};

impl Executor {
    /// Returns the first task of a queue that may begin: frozen tasks do not block the others.
    fn first_ready(&self, mut queue: impl Iterator<Item = u64>, now: Timestamp) -> Option<u64> {
        let free = |active: &Active| self.frozen_until(&active.task, now).is_none();
        queue.find(|id| self.tasks.get(id).is_some_and(free))
    }

    /// Returns the first task of every queue that may begin when another task has ended. A frozen
    /// one is decided once it is compared with what is live now, and wakes at the freeze's end.
    pub(super) fn first_of_each_queue(&self) -> Vec<u64> {
        let now = self.world.clock.now();
        let queues = self.queues.queues();
        queues
            .filter_map(|queue| self.first_ready(queue, now))
            .collect()
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
    fn take_over(&mut self, id: u64) {
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
            let requester = StopRequester::Tagship;
            self.record(holder, Event::StopRequested { by, requester });
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
        let world = self.world.clone();
        let task = active.task.clone();
        self.effects.push(
            async move {
                let result = next_claim(&world, &task, now).await;
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
        // Its ref may have been reported as gone during the claim.
        let queued = active.is_queued();
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
        match claim.newer_sibling {
            Ok(None) => {}
            Ok(Some(by)) => {
                active.outbox.push(Event::Superseded { by });
                self.decide(id);
                return;
            }
            Err(error) => {
                tracing::warn!(task = id, error, "the tags of a push are not compared");
                self.wake_at(now.checked_add(RETRY_AFTER).unwrap_or(now));
                return;
            }
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
