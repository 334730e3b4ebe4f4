//! Stopping and skipping single hosts of a running task. Pure.

use super::{Event, Skipped, State, Task};

impl Task {
    /// Stops or skips one host.
    pub(super) fn host_event(&mut self, state: &State, event: &Event) -> Result<Option<State>, ()> {
        let work = self.work.as_mut().ok_or(())?;
        match (state, event) {
            (State::Running, Event::HostStopRequested { host, by, .. }) => {
                work.stop_on(*host, by).then_some(None).ok_or(())
            }
            (
                State::Running | State::Paused { .. },
                Event::HostSkipped {
                    host,
                    name,
                    by,
                    reason,
                },
            ) => {
                let skipped = Skipped {
                    name: name.clone(),
                    by: by.clone(),
                    reason: reason.clone(),
                };
                let skips = work.skip(*host, skipped);
                skips.then_some(Some(State::Running)).ok_or(())
            }
            _ => Err(()),
        }
    }
}
