//! Where a step stands in a plan, by number as [`StepRef`] has it and by name as people read it. Pure; used
//! by `next`, by who performs steps and by who shows them.

use super::{Direction, StepRef};
use crate::domain::plan::{AGENT, Plan};
use crate::domain::template;

/// The place of the agent's own machine in [`StepRef::host`]; every other number is an index into the
/// plan's hosts.
pub const AGENT_INDEX: u16 = u16::MAX;

/// A number of the plan's as an [`StepRef`] holds it.
pub(super) fn index(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX - 1)
}

/// The place of a host in the plan: as [`StepRef::host`] names it.
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
    /// Every step that each host does forwards, in the plan's order.
    #[must_use]
    pub fn every_step(&self) -> Vec<StepRef> {
        let mut all = Vec::new();
        for (number, stage) in self.stages.iter().enumerate() {
            for (place, name) in stage.places().into_iter().enumerate() {
                let host = host_index(self, name);
                let done = (0..stage.steps.len()).filter(|step| stage.runs(place, *step));
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

    /// The step of this place; `None` for a place that the plan does not have.
    #[must_use]
    pub fn step(&self, at: StepRef) -> Option<&template::Step> {
        self.stages
            .get(usize::from(at.stage))?
            .steps
            .get(usize::from(at.step))
    }

    /// The name of the host of this place, [`AGENT`] for the agent's own machine.
    #[must_use]
    pub fn host_name(&self, at: StepRef) -> &str {
        self.hosts
            .get(usize::from(at.host))
            .map_or(AGENT, |host| host.name.as_str())
    }

    /// What [`crate::domain::host::Hosts`] knows the host of this place by: its name, with the execution user
    /// before it where the step has one.
    #[must_use]
    pub fn lane(&self, at: StepRef) -> String {
        let host = self.host_name(at);
        match self.step(at).and_then(|step| step.user.as_ref()) {
            Some(user) => format!("{user}@{host}"),
            None => host.to_owned(),
        }
    }

    /// The name under which the output of this place's step is kept: stage and step, with `back.`
    /// before it on the way back.
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

    /// Whether the step of this place switches.
    #[must_use]
    pub fn is_publish(&self, at: StepRef) -> bool {
        self.step(at)
            .is_some_and(|step| step.action == template::StepAction::Publish)
    }
}
