//! Times that were given, and times at which nothing may run.

use std::time::Duration;

use futures::future::FutureExt as _;
use jiff::Timestamp;

use super::{CompletedEffect, Executor, MissedPolicy};
use crate::domain::task::{Event, State, StopRequester, Task};

/// Waits up to this are pauses, longer ones are for a time of day.
const SOON: Duration = Duration::from_secs(60);

impl Executor {
    pub(super) fn wake_at(&mut self, time: Timestamp) {
        if self.timer.is_some_and(|timer| timer <= time) {
            return;
        }
        self.timer = Some(time);
        // What is due soon is due soon also when the clock is set back; what was given a time of day
        // waits for that.
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

    /// What waits for this time goes on when it has come and nothing is frozen.
    pub(super) fn due(&mut self, id: u64, time: Timestamp) {
        let now = self.world.clock.now();
        let task = &self.tasks[&id].task;
        if time <= now && self.is_missed(task, time) {
            let event = missed(task, &self.world.calendar.shown(time));
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

    /// Until when nothing may begin, if releases there are frozen at a time.
    pub(super) fn frozen_until(&self, task: &Task, at: Timestamp) -> Option<Timestamp> {
        let submission = &task.submission;
        let calendar = &self.world.calendar;
        let frozen = calendar.frozen(&submission.project, &submission.environment, at)?;
        task.unfrozen_at(at).is_none().then_some(frozen.until)
    }

    /// Whether somebody gave this time, and it passed before this executor was there to see it.
    fn is_missed(&self, task: &Task, time: Timestamp) -> bool {
        let could = self.frozen_until(task, time).unwrap_or(time);
        self.limits.missed == MissedPolicy::Expire
            && task.time() == Some(time)
            && could < self.began
    }
}

fn missed(task: &Task, time: &str) -> Event {
    let why = format!("its time, {time}, passed while the agent was down (missed_schedule)");
    match task.state {
        State::Scheduled { .. } => Event::Expired { reason: why },
        // Its work has begun.
        _ => Event::StopRequested {
            by: format!("tagship, since {why}"),
            asker: StopRequester::Tagship,
        },
    }
}
