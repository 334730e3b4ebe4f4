//! Gates: where hosts wait for a person or for the task's scheduled time. Part of the fold.

use jiff::Timestamp;

use super::{Direction, Event, HeldHost, Pause, State, StepRef, Task};
use crate::domain::template::Gate;

impl Task {
    /// Opens gates, for a person or because the scheduled time has come.
    pub(super) fn gate_event(
        &mut self,
        state: &State,
        event: &Event,
        time: Timestamp,
    ) -> Result<Option<State>, ()> {
        match (state, event) {
            (State::Paused { .. } | State::Running, Event::Continued { host, .. }) => {
                let work = self.work.as_mut().ok_or(())?;
                let opened = match (state, host) {
                    (
                        State::Paused {
                            why: Pause::Gate { stage },
                        },
                        None,
                    ) => {
                        work.gates_opened.push(*stage);
                        true
                    }
                    _ => work.open(host.as_deref()),
                };
                if opened {
                    Ok(Some(State::Running))
                } else {
                    Err(())
                }
            }
            (
                State::Running
                | State::Paused {
                    why: Pause::StepGate | Pause::Time { .. },
                },
                Event::Due,
            ) => {
                let work = self
                    .work
                    .as_mut()
                    .filter(|work| work.due.is_none())
                    .ok_or(())?;
                work.due = Some(time);
                work.held_hosts.retain(|_, held| held.gate != Gate::Timed);
                Ok(Some(State::Running))
            }
            _ => Err(()),
        }
    }

    /// Checks that a pause at gates is still needed: they may have been opened meanwhile.
    pub(super) fn pause(&self, why: &Pause) -> Result<(), ()> {
        let work = self.work.as_ref().ok_or(())?;
        let waits = match why {
            Pause::StepGate => work.waits_at_gate(Gate::Hand),
            Pause::Time { .. } => work.due.is_none(),
            Pause::Gate { .. } | Pause::HostFailed { .. } | Pause::Unknown { .. } => true,
        };
        if waits { Ok(()) } else { Err(()) }
    }

    pub(super) fn hold(
        &mut self,
        at: StepRef,
        host: &str,
        gate: Gate,
        since: Timestamp,
    ) -> Result<Option<State>, ()> {
        let fits = self.fence.is_some() && at.way == Direction::Forward && gate != Gate::None;
        let work = self.work.as_mut().filter(|_| fits).ok_or(())?;
        let open = match gate {
            Gate::Timed => work.due.is_some(),
            _ => work.is_open(at),
        };
        if open || work.steps.contains_key(&at) || work.held_hosts.contains_key(&at) {
            return Err(());
        }
        let host = host.to_owned();
        work.held_hosts.insert(at, HeldHost { host, gate, since });
        Ok(None)
    }
}
