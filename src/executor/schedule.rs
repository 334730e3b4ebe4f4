//! Times that were given, and times at which nothing may run.

use jiff::Timestamp;

use super::{Executor, Missed};
use crate::task::{Asker, Event, State, Task};

impl Executor {
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
        self.limits.missed == Missed::Expire && task.time() == Some(time) && could < self.began
    }
}

fn missed(task: &Task, time: &str) -> Event {
    let why = format!("its time, {time}, passed while the agent was down (missed_schedule)");
    match task.state {
        State::Scheduled { .. } => Event::Expired {
            reason: format!("{why}; take it up again with `tagship retry`"),
        },
        // Its work has begun.
        _ => Event::StopRequested {
            by: format!("tagship, since {why}"),
            asker: Asker::Tagship,
        },
    }
}
