//! The position of a step in a plan, by number as in [`StepRef`] and by name as shown to users.
//! Pure; used by `next`, and by the code that performs or shows steps.

use super::{Direction, StepRef};
use crate::domain::plan::{AGENT, Plan};
use crate::domain::template;

/// The agent's own machine in [`StepRef::host`]; every other number is an index into the plan's
/// hosts.
pub const AGENT_INDEX: u16 = u16::MAX;

/// Converts an index of the plan to the type that a [`StepRef`] holds.
pub(super) fn index(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX - 1)
}

/// Returns the index of a host in the plan, as used in [`StepRef::host`].
#[must_use]
pub fn host_index(plan: &Plan, name: &str) -> u16 {
    if name == AGENT {
        return AGENT_INDEX;
    }
    plan.hosts
        .iter()
        .position(|host| host.name == name)
        .map_or(AGENT_INDEX, index)
}

impl Plan {
    /// Returns every forward step of every host, in the plan's order.
    #[must_use]
    pub fn all_steps(&self) -> Vec<StepRef> {
        let mut all = Vec::new();
        for (number, stage) in self.stages.iter().enumerate() {
            for (position, name) in stage.host_names().into_iter().enumerate() {
                let host = host_index(self, name);
                let done = (0..stage.steps.len()).filter(|step| stage.runs(position, *step));
                all.extend(done.map(|step| StepRef {
                    way: Direction::Forward,
                    stage: index(number),
                    host,
                    step: index(step),
                }));
            }
        }
        all
    }

    /// Returns the step at this position; `None` if the plan has no such position.
    #[must_use]
    pub fn step(&self, at: StepRef) -> Option<&template::Step> {
        self.stages
            .get(usize::from(at.stage))?
            .steps
            .get(usize::from(at.step))
    }

    /// Returns the host's name, [`AGENT`] for the agent's own machine.
    #[must_use]
    pub fn host_name(&self, at: StepRef) -> &str {
        self.hosts
            .get(usize::from(at.host))
            .map_or(AGENT, |host| host.name.as_str())
    }

    /// Returns the host's name as [`crate::domain::host::Hosts`] takes it: prefixed with the
    /// execution user if the step has one.
    #[must_use]
    pub fn host_with_user(&self, at: StepRef) -> String {
        let host = self.host_name(at);
        match self.step(at).and_then(|step| step.user.as_ref()) {
            Some(user) => format!("{user}@{host}"),
            None => host.to_owned(),
        }
    }

    /// Returns the name of the step's output log: stage and step, prefixed with `back.` during a
    /// rollback.
    #[must_use]
    pub fn log_name(&self, at: StepRef) -> String {
        let stage = self
            .stages
            .get(usize::from(at.stage))
            .map_or("", |stage| stage.name.as_str());
        let step = self.step(at).map_or("", |step| step.name.as_str());
        match at.way {
            Direction::Forward => format!("{stage}.{step}"),
            Direction::Back => format!("back.{stage}.{step}"),
        }
    }

    /// Whether the step at this position switches.
    #[must_use]
    pub fn is_publish(&self, at: StepRef) -> bool {
        self.step(at)
            .is_some_and(|step| step.action == template::StepAction::Publish)
    }
}
