//! The progress of each host in a stage, and what it waits for: for the stage's hosts, for hosts
//! that run single steps, and during a rollback. Pure; called by `next`.

use jiff::Timestamp;

use super::failure_summary::FailureCause;
use super::step_position::{host_index, index};
use super::{Direction, StepRef, StepResult, TaskWork};
use crate::domain::plan::Plan;
use crate::domain::template::{self, Gate, OnFailure};

/// The progress of one host in a stage.
pub(super) enum HostProgress {
    Done,
    Next {
        at: StepRef,
        attempt: u32,
    },
    Running {
        at: StepRef,
        attempt: u32,
    },
    /// It waits at the gate of its next step.
    Gated {
        at: StepRef,
        gate: Gate,
    },
    /// Its next step depends on a step that another host of the stage has yet to do.
    Follows,
    Failed(FailureCause),
    Unknown(String),
    /// It failed in an earlier stage and is excluded from this one.
    Excluded,
}

impl HostProgress {
    fn failed(message: String) -> Self {
        Self::Failed(FailureCause::Message(message))
    }

    /// Whether nothing is left to do or to report.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Excluded)
    }

    /// Whether nothing more is done, successfully or not.
    pub(super) fn is_finished(&self) -> bool {
        self.is_over() || matches!(self, Self::Failed(_) | Self::Unknown(_))
    }
}

/// One stage in one direction.
pub(super) struct StageProgress<'a> {
    work: &'a TaskWork,
    plan: &'a Plan,
    direction: Direction,
    stage: usize,
    pub(super) hosts: Vec<&'a str>,
    /// The task's scheduled time, while timed gates wait for it.
    time: Option<Timestamp>,
    /// Which hosts are excluded, except from rollback steps that name them.
    absent: &'a dyn Fn(&str) -> bool,
    /// For each step with `once`, the host that does it.
    assigned_hosts: Vec<Option<usize>>,
}

impl<'a> StageProgress<'a> {
    pub(super) fn new(
        (work, plan): (&'a TaskWork, &'a Plan),
        direction: Direction,
        stage: usize,
        time: Option<Timestamp>,
        absent: &'a dyn Fn(&str) -> bool,
    ) -> Self {
        let mut course = Self {
            work,
            plan,
            direction,
            stage,
            hosts: plan.stages[stage].host_names(),
            time,
            absent,
            assigned_hosts: Vec::new(),
        };
        let steps = 0..plan.stages[stage].steps.len();
        course.assigned_hosts = steps.map(|step| course.assigned_host(step)).collect();
        course
    }

    fn step_ref(&self, host: &str, step: usize) -> StepRef {
        StepRef {
            way: self.direction,
            stage: index(self.stage),
            host: host_index(self.plan, host),
            step: index(step),
        }
    }

    /// Returns the progress of the host at this index.
    pub(super) fn host_progress(&self, index: usize) -> HostProgress {
        let stage = &self.plan.stages[self.stage];
        let name = self.hosts[index];
        let absent = (self.absent)(name);
        if absent && self.direction == Direction::Forward {
            return HostProgress::Excluded;
        }
        for (step, described) in stage.steps.iter().enumerate() {
            let label = &described.name;
            if !self.runs_step(index, step) {
                if let Some(host) = &described.host
                    && index < stage.hosts.len()
                    && !absent
                    && let Some(progress) = self.other_host_progress(host, step)
                {
                    return progress;
                }
                continue;
            }
            let at = self.step_ref(name, step);
            // An excluded host only does steps that name it, and none if it is skipped.
            if absent && (described.host.is_none() || self.work.skipped.contains_key(&at.host)) {
                continue;
            }
            match self.work.steps.get(&at) {
                None => return self.readiness(at, described),
                Some(progress) => match &progress.end {
                    None => {
                        let attempt = progress.attempt;
                        return HostProgress::Running { at, attempt };
                    }
                    Some((_, result)) if result.succeeded() => {}
                    Some((_, StepResult::Failed { message, .. })) => {
                        return HostProgress::failed(format!("{name}: {label}: {message}"));
                    }
                    Some((_, StepResult::Unknown { message })) => {
                        return HostProgress::Unknown(format!("{name}: {label}: {message}"));
                    }
                    Some(_) => return HostProgress::failed(format!("{name}: {label} was stopped")),
                },
            }
        }
        HostProgress::Done
    }

    /// Whether the host at this index does a step.
    fn runs_step(&self, index: usize, step: usize) -> bool {
        let stage = &self.plan.stages[self.stage];
        match self.assigned_hosts[step] {
            Some(assigned) => index == assigned,
            None => stage.runs(index, step),
        }
    }

    /// Returns the host that does a `once` step: the one that began it, else the first available.
    fn assigned_host(&self, step: usize) -> Option<usize> {
        let stage = &self.plan.stages[self.stage];
        let described = &stage.steps[step];
        if !described.once || described.host.is_some() {
            return None;
        }
        let mut hosts = 0..stage.hosts.len();
        let began = hosts
            .clone()
            .find(|index| self.has_run_for_all(*index, step));
        began
            .or_else(|| hosts.find(|index| self.reaches(*index, step)))
            .or(Some(0))
    }

    /// Whether a host has done a `once` step or may have: no other host does it then. A host that
    /// was skipped before it finished has not.
    fn has_run_for_all(&self, index: usize, step: usize) -> bool {
        let at = self.step_ref(self.hosts[index], step);
        let skipped = self.work.skipped.contains_key(&at.host);
        match self.work.steps.get(&at) {
            None => false,
            Some(progress) => match &progress.end {
                Some((_, result)) => {
                    !skipped || result.succeeded() || matches!(result, StepResult::Unknown { .. })
                }
                None => true,
            },
        }
    }

    /// Whether a host reaches this step: with `continue`, one that failed earlier does not.
    fn reaches(&self, index: usize, step: usize) -> bool {
        let name = self.hosts[index];
        let failed = |earlier: usize| {
            let progress = self.work.steps.get(&self.step_ref(name, earlier));
            let end = progress.and_then(|progress| progress.end.as_ref());
            end.is_some_and(|(_, result)| !result.succeeded())
        };
        let falls_behind = self.plan.on_failure == OnFailure::Continue && (0..step).any(failed);
        !falls_behind && !(self.absent)(name)
    }

    /// Returns what blocks a step that has not begun, or that the step is next.
    fn readiness(&self, at: StepRef, step: &template::Step) -> HostProgress {
        if let Some(by) = self.work.stopped.get(&at.host)
            && self.direction == Direction::Forward
        {
            let name = self.plan.host_name(at);
            return HostProgress::failed(format!("{name}: {by} stopped it"));
        }
        if step.host.is_some()
            && let Some(progress) = self.blocker(usize::from(at.step))
        {
            return progress;
        }
        let closed = match step.gate {
            Gate::None => false,
            Gate::Hand => !self.work.is_open(at),
            Gate::Timed => self.time.is_some(),
        };
        if closed && self.direction == Direction::Forward {
            return HostProgress::Gated {
                at,
                gate: step.gate,
            };
        }
        HostProgress::Next {
            at,
            attempt: self.work.attempts(at) + 1,
        }
    }

    /// Returns the state of a host whose next step is another host's; `None` once that is done.
    fn other_host_progress(&self, host: &str, step: usize) -> Option<HostProgress> {
        let at = self.step_ref(host, step);
        if self.work.skipped.contains_key(&at.host) {
            return None;
        }
        let progress = self.work.steps.get(&at);
        let end = progress.and_then(|progress| progress.end.as_ref());
        match end {
            Some((_, result)) if result.succeeded() => None,
            // No host will do it any more.
            _ if self.direction == Direction::Forward
                && self.plan.on_failure == OnFailure::Continue
                && (end.is_some() || (self.absent)(host)) =>
            {
                let label = &self.plan.stages[self.stage].steps[step].name;
                Some(HostProgress::Failed(FailureCause::Blocked {
                    step: label.clone(),
                    host: host.to_owned(),
                }))
            }
            _ => Some(HostProgress::Follows),
        }
    }

    /// Returns what blocks a step with a host of its own: earlier steps with their own host, then
    /// earlier steps of the stage's hosts. Steps only wait for earlier ones, so there is no cycle.
    fn blocker(&self, step: usize) -> Option<HostProgress> {
        let before = self.plan.stages[self.stage].steps[..step].iter();
        let hosts = before.map(|earlier| earlier.host.as_deref());
        hosts
            .enumerate()
            .find_map(|(earlier, host)| self.other_host_progress(host?, earlier))
            .or_else(|| (!self.earlier_steps_done(step)).then_some(HostProgress::Follows))
    }

    /// Whether all hosts of the stage that are not excluded have done all earlier steps.
    fn earlier_steps_done(&self, step: usize) -> bool {
        let stage = &self.plan.stages[self.stage];
        let present = (0..stage.hosts.len()).filter(|index| !(self.absent)(self.hosts[*index]));
        present.into_iter().all(|index| {
            for earlier in (0..step).filter(|earlier| self.runs_step(index, *earlier)) {
                let at = self.step_ref(self.hosts[index], earlier);
                match self.work.steps.get(&at).and_then(|step| step.end.as_ref()) {
                    Some((_, result)) if result.succeeded() => {}
                    // With `continue`, a failed host is not waited for.
                    Some(_) => return self.plan.on_failure == OnFailure::Continue,
                    None => return false,
                }
            }
            true
        })
    }
}
