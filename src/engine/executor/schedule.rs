//! Start times, and freezes.

use std::time::Duration;

use futures::future::FutureExt as _;
use jiff::Timestamp;

use super::{CompletedEffect, Executor, MissedPolicy};
use crate::domain::task::{Event, State, StopRequester, Task};

/// Waits up to this length are delays; longer ones are for a wall-clock time.
const SOON: Duration = Duration::from_secs(60);

impl Executor {
    pub(super) fn wake_at(&mut self, time: Timestamp) {
        if self.timer.is_some_and(|timer| timer <= time) {
            return;
        }
        self.timer = Some(time);
        // A short delay elapses even if the clock is set back; a wall-clock time waits for the
        // clock.
        let clock = &self.world.clock;
        let left = Duration::try_from(time.duration_since(clock.now())).unwrap_or_default();
        let sleep = if left <= SOON {
            clock.pause(left)
        } else {
            clock.sleep_until(time)
        };
        self.effects.push(
            async move {
                sleep.await;
                CompletedEffect::Time
            }
            .boxed(),
        );
    }

    /// Starts what waits for this time, once it has come and no freeze holds.
    pub(super) fn apply_due(&mut self, id: u64, time: Timestamp) {
        let now = self.world.clock.now();
        let task = &self.tasks[&id].task;
        if time <= now && self.is_missed(task, time) {
            let event = missed_event(task, &self.world.calendar.format(time));
            self.record(id, event);
            return;
        }
        let free = self.frozen_until(task, time.max(now)).unwrap_or(time);
        if free <= now {
            self.record(id, Event::Due);
        } else {
            self.wake_at(free);
        }
    }

    /// Returns until when releases there are frozen at a time, if they are.
    pub(super) fn frozen_until(&self, task: &Task, at: Timestamp) -> Option<Timestamp> {
        let submission = &task.submission;
        let calendar = &self.world.calendar;
        let frozen = calendar.frozen(&submission.project, &submission.environment, at)?;
        task.freeze_override_at(at)
            .is_none()
            .then_some(frozen.until)
    }

    /// Whether a user set this time and it passed before this executor started.
    fn is_missed(&self, task: &Task, time: Timestamp) -> bool {
        let could = self.frozen_until(task, time).unwrap_or(time);
        self.limits.missed == MissedPolicy::Expire
            && task.scheduled_time() == Some(time)
            && could < self.began
    }
}

fn missed_event(task: &Task, time: &str) -> Event {
    let why = format!("its time, {time}, passed while the agent was down (missed_schedule)");
    match task.state {
        State::Scheduled { .. } => Event::Expired {
            reason: why,
            is_final: false,
        },
        // Its work has begun.
        _ => Event::StopRequested {
            by: format!("tagship, since {why}"),
            requester: StopRequester::Tagship,
        },
    }
}
