//! Who may run: one task of a project and environment at a time, in order; a rollback first.

use futures::future::FutureExt as _;
use jiff::{SignedDuration, Timestamp};

use super::{Done, Executor};
use crate::host::ReleaseId;
use crate::task::{Event, Origin, Schedule, State, Supersede};

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
        if first != Some(id) {
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
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        if active.busy.claiming {
            return;
        }
        active.busy.claiming = true;
        let store = self.world.store.clone();
        let submission = active.task.submission.clone();
        self.effects.push(
            async move {
                let claim = async {
                    let fence = store.next_fence().await?;
                    let releases = store
                        .releases(&submission.project, &submission.environment)
                        .await?;
                    let newest = releases.into_iter().next();
                    Ok((fence, newest.map(|record| record.release)))
                };
                let result = claim.await;
                Done::Fence { id, result }
            }
            .boxed(),
        );
    }

    pub(super) fn claimed(&mut self, id: u64, fence: u64, newest: Option<&ReleaseId>) {
        let now = self.world.clock.now();
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        active.busy.claiming = false;
        let queued = active.task.state == State::Queued;
        if !queued && !active.task.state.holds_queue() {
            self.decide(id);
            return;
        }
        active.claim = Some(fence);
        active.outbox.push(Event::Claimed { fence });
        if queued {
            let release = match (&active.task.work, &active.task.submission.origin) {
                (Some(work), _) => work.release.clone(),
                (None, Origin::Rollback { release, .. }) => release.clone(),
                (None, Origin::Tag { .. }) => release_id(now, newest, active.task.commit()),
            };
            active.outbox.push(Event::Started { release });
        }
        self.decide(id);
    }
}

/// The time in the name of a release.
const RELEASE_TIME: &str = "%Y%m%d-%H%M%S";

/// `YYYYMMDD-HHMMSS-<seven digits>`, UTC, and at least a second later than the newest one there is:
/// two releases never share a name, and their names sort in the order in which they were made.
fn release_id(now: Timestamp, newest: Option<&ReleaseId>, commit: Option<&str>) -> ReleaseId {
    let commit: String = commit.unwrap_or_default().chars().take(7).collect();
    let after = newest.and_then(|newest| {
        let (time, _) = newest.0.rsplit_once('-')?;
        let time = jiff::civil::DateTime::strptime(RELEASE_TIME, time).ok()?;
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        time.checked_add(SignedDuration::from_secs(1)).ok()
    });
    let time = after.map_or(now, |after| after.max(now));
    ReleaseId(format!("{}-{commit}", time.strftime(RELEASE_TIME)))
}
