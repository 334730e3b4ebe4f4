//! Who may run: one task of a project and environment at a time, in order; a rollback first.

use std::sync::Arc;

use futures::future::FutureExt as _;
use jiff::{SignedDuration, Timestamp};

use super::{Done, Executor};
use crate::host::ReleaseId;
use crate::store::{Store, StoreError};
use crate::task::{Event, Origin, Schedule, State, Supersede, Task};

impl Executor {
    /// A landed task of the same rule that is newer, if its rule says that it takes this one's place.
    pub(super) fn superseded_by(&self, id: u64) -> Option<u64> {
        let own = &self.tasks[&id].task;
        let replaceable = matches!(
            own.state,
            State::Proposed | State::Waiting | State::Scheduled { .. }
        ) && own.submission.schedule == Schedule::New
            && own.submission.supersede == Supersede::ByNewer;
        if !replaceable {
            return None;
        }
        self.tasks
            .range(id + 1..)
            .find(|(_, other)| {
                other.task.landed.is_some()
                    && matches!(
                        other.task.state,
                        State::Waiting | State::Scheduled { .. } | State::Queued | State::Running
                    )
                    && other.task.submission.schedule == Schedule::New
                    && other.task.submission.project == own.submission.project
                    && other.task.submission.environment == own.submission.environment
                    && other.task.submission.origin == own.submission.origin
            })
            .map(|(newer, _)| *newer)
    }

    /// Claims the work of a task if it is first in its queue and nothing holds the queue.
    pub(super) fn start(&mut self, id: u64) {
        let active = &self.tasks[&id];
        let queues = active.task.submission.has_place();
        let at_work = self
            .tasks
            .values()
            .filter(|other| other.task.state.holds_queue() || other.busy.claiming)
            .count();
        let held = self.tasks.iter().any(|(other, candidate)| {
            *other != id
                && candidate.same_queue(active)
                && (candidate.task.state.holds_queue() || candidate.busy.claiming)
        });
        let first = self
            .tasks
            .iter()
            .filter(|(_, candidate)| {
                candidate.same_queue(active) && candidate.task.state == State::Queued
            })
            .min_by_key(|(other, candidate)| {
                let back = matches!(candidate.task.submission.origin, Origin::Rollback { .. });
                (!back, **other)
            })
            .map(|(first, _)| *first);
        if queues && first != Some(id) {
            return;
        }
        let now = self.world.clock.now();
        if let Some(free) = self.frozen_until(&self.tasks[&id].task, now) {
            self.wake_at(free);
            return;
        }
        if held {
            self.take_over(id);
        } else if at_work < self.limits.parallel_tasks {
            self.claim(id);
        }
    }

    /// A rollback does not wait for what runs or is paused: that is stopped first.
    pub(super) fn take_over(&mut self, id: u64) {
        let rollback = &self.tasks[&id];
        if !matches!(rollback.task.submission.origin, Origin::Rollback { .. }) {
            return;
        }
        let holder = self.tasks.iter().find(|(other, candidate)| {
            **other != id
                && candidate.same_queue(rollback)
                && matches!(candidate.task.state, State::Running | State::Paused { .. })
        });
        if let Some((holder, _)) = holder {
            let holder = *holder;
            let by = format!("rollback {id}");
            self.record(holder, Event::StopRequested { by });
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
        let store = self.world.store.clone();
        let task = active.task.clone();
        self.effects.push(
            async move {
                let result = turn(&store, &task, now).await;
                Done::Fence { id, result }
            }
            .boxed(),
        );
    }

    pub(super) fn claimed(&mut self, id: u64, turn: Turn) {
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        active.busy.claiming = false;
        let queued = active.task.state == State::Queued;
        let taken_up = active.task.state.holds_queue() && active.may_claim();
        let (task, now) = (Arc::clone(&active.task), self.world.clock.now());
        // A freeze may have begun while the turn was taken.
        let frozen = queued && self.frozen_until(&task, now).is_some();
        if (!queued && !taken_up) || frozen {
            self.decide(id);
            return;
        }
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        if queued && let Some(later) = turn.later {
            let reason = format!("task {later} has run there since; push a new tag");
            let by = "tagship".to_owned();
            active.outbox.push(Event::Withdrawn { by, reason });
            self.decide(id);
            return;
        }
        let fence = turn.fence;
        active.claim = Some(fence);
        active.outbox.push(Event::Claimed { fence });
        if queued {
            let release = match (&active.task.work, &active.task.submission.origin) {
                (Some(work), _) => work.release.clone(),
                (None, Origin::Rollback { release, .. }) => release.clone(),
                (None, Origin::Tag { .. } | Origin::Submitted { .. }) => {
                    ReleaseId::new(turn.release_at, active.task.commit().unwrap_or_default())
                }
            };
            active.outbox.push(Event::Started { release });
        }
        self.decide(id);
    }
}

/// What a claim takes from the store.
pub(super) struct Turn {
    fence: u64,
    /// The time in the name of a new release.
    release_at: Timestamp,
    /// Another task has done work there since this one did: it must not be undone.
    later: Option<u64>,
}

async fn turn(store: &Store, task: &Task, now: Timestamp) -> Result<Turn, StoreError> {
    let submission = &task.submission;
    let later = match &task.work {
        Some(_) => store.ran_since(task).await?,
        None => None,
    };
    if !submission.has_place() {
        return Ok(Turn {
            fence: store.next_fence(now).await?,
            release_at: now,
            later,
        });
    }
    // Releases sort by name, so a name is later than all before it, whatever the clock says, and two
    // releases of one second have two names.
    let newest = store
        .newest_release(&submission.project, &submission.environment)
        .await?;
    let release_at = newest
        .and_then(|release| release.made_at())
        .and_then(|newest| newest.checked_add(SignedDuration::from_secs(1)).ok())
        .map_or(now, |after| after.max(now));
    Ok(Turn {
        fence: store.next_fence(now).await?,
        release_at,
        later,
    })
}
