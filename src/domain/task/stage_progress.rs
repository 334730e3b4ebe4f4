//! The progress of each host in a stage, and what it waits for: for the stage's hosts, for hosts
//! that run single steps, and during a rollback. Pure; called by `next`.

use jiff::Timestamp;

use super::failure_summary::Why;
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
    Failed(Why),
    Unknown(String),
    /// It failed in an earlier stage and is excluded from this one.
    LeftBehind,
}

impl HostProgress {
    fn said(message: String) -> Self {
        Self::Failed(Why::Said(message))
    }

    /// Whether nothing is left to do or to report.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::LeftBehind)
    }

    /// Whether nothing more is done, successfully or not.
    pub(super) fn is_through(&self) -> bool {
        self.is_over() || matches!(self, Self::Failed(_) | Self::Unknown(_))
    }
}

/// One stage in one direction.
pub(super) struct StageProgress<'a> {
    work: &'a TaskWork,
    plan: &'a Plan,
    way: Direction,
    stage: usize,
    pub(super) places: Vec<&'a str>,
    /// The task's scheduled time, while timed gates wait for it.
    time: Option<Timestamp>,
    /// Which hosts are excluded, except from rollback steps that name them.
    absent: &'a dyn Fn(&str) -> bool,
    /// For each step with `once`, the host that does it.
    doers: Vec<Option<usize>>,
}

impl<'a> StageProgress<'a> {
    pub(super) fn new(
        (work, plan): (&'a TaskWork, &'a Plan),
        way: Direction,
        stage: usize,
        time: Option<Timestamp>,
        absent: &'a dyn Fn(&str) -> bool,
    ) -> Self {
        let mut course = Self {
            work,
            plan,
            way,
            stage,
            places: plan.stages[stage].places(),
            time,
            absent,
            doers: Vec::new(),
        };
        let steps = 0..plan.stages[stage].steps.len();
        course.doers = steps.map(|step| course.doer(step)).collect();
        course
    }

    fn at(&self, host: &str, step: usize) -> StepRef {
        StepRef {
            way: self.way,
            stage: index(self.stage),
            host: host_index(self.plan, host),
            step: index(step),
        }
    }

    /// Returns the progress of the host at this index.
    pub(super) fn standing(&self, place: usize) -> HostProgress {
        let stage = &self.plan.stages[self.stage];
        let name = self.places[place];
        let absent = (self.absent)(name);
        if absent && self.way == Direction::Forward {
            return HostProgress::LeftBehind;
        }
        for (step, described) in stage.steps.iter().enumerate() {
            let label = &described.name;
            if !self.does(place, step) {
                if let Some(host) = &described.host
                    && place < stage.hosts.len()
                    && !absent
                    && let Some(standing) = self.follows(host, step)
                {
                    return standing;
                }
                continue;
            }
            let at = self.at(name, step);
            // An excluded host only does steps that name it, and none if it is skipped.
            if absent && (described.host.is_none() || self.work.skipped.contains_key(&at.host)) {
                continue;
            }
            match self.work.steps.get(&at) {
                None => return self.before(at, described),
                Some(progress) => match &progress.end {
                    None => {
                        let attempt = progress.attempt;
                        return HostProgress::Running { at, attempt };
                    }
                    Some((_, result)) if result.succeeded() => {}
                    Some((_, StepResult::Failed { message, .. })) => {
                        return HostProgress::said(format!("{name}: {label}: {message}"));
                    }
                    Some((_, StepResult::Unknown { message })) => {
                        return HostProgress::Unknown(format!("{name}: {label}: {message}"));
                    }
                    Some(_) => return HostProgress::said(format!("{name}: {label} was stopped")),
                },
            }
        }
        HostProgress::Done
    }

    /// Whether the host at this index does a step.
    fn does(&self, place: usize, step: usize) -> bool {
        let stage = &self.plan.stages[self.stage];
        match self.doers[step] {
            Some(doer) => place == doer,
            None => stage.runs(place, step),
        }
    }

    /// Returns the host that does a `once` step: the one that began it, else the first available.
    fn doer(&self, step: usize) -> Option<usize> {
        let stage = &self.plan.stages[self.stage];
        let described = &stage.steps[step];
        if !described.once || described.host.is_some() {
            return None;
        }
        let mut hosts = 0..stage.hosts.len();
        let began = hosts
            .clone()
            .find(|place| self.has_done_for_all(*place, step));
        began
            .or_else(|| hosts.find(|place| self.comes_to(*place, step)))
            .or(Some(0))
    }

    /// Whether a host has done a `once` step or may have: no other host does it then. A host that
    /// was skipped before it finished has not.
    fn has_done_for_all(&self, place: usize, step: usize) -> bool {
        let at = self.at(self.places[place], step);
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
    fn comes_to(&self, place: usize, step: usize) -> bool {
        let name = self.places[place];
        let failed = |earlier: usize| {
            let progress = self.work.steps.get(&self.at(name, earlier));
            let end = progress.and_then(|progress| progress.end.as_ref());
            end.is_some_and(|(_, result)| !result.succeeded())
        };
        let falls_behind = self.plan.on_failure == OnFailure::Continue && (0..step).any(failed);
        !falls_behind && !(self.absent)(name)
    }

    /// Returns what blocks a step that has not begun, or that the step is next.
    fn before(&self, at: StepRef, step: &template::Step) -> HostProgress {
        if let Some(by) = self.work.stopped.get(&at.host)
            && self.way == Direction::Forward
        {
            let name = self.plan.host_name(at);
            return HostProgress::said(format!("{name}: {by} stopped it"));
        }
        if step.host.is_some()
            && let Some(standing) = self.held_back(usize::from(at.step))
        {
            return standing;
        }
        let closed = match step.gate {
            Gate::None => false,
            Gate::Hand => !self.work.is_open(at),
            Gate::Timed => self.time.is_some(),
        };
        if closed && self.way == Direction::Forward {
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
    fn follows(&self, host: &str, step: usize) -> Option<HostProgress> {
        let at = self.at(host, step);
        if self.work.skipped.contains_key(&at.host) {
            return None;
        }
        let progress = self.work.steps.get(&at);
        let end = progress.and_then(|progress| progress.end.as_ref());
        match end {
            Some((_, result)) if result.succeeded() => None,
            // No host will do it any more.
            _ if self.way == Direction::Forward
                && self.plan.on_failure == OnFailure::Continue
                && (end.is_some() || (self.absent)(host)) =>
            {
                let label = &self.plan.stages[self.stage].steps[step].name;
                Some(HostProgress::Failed(Why::Waited {
                    step: label.clone(),
                    host: host.to_owned(),
                }))
            }
            _ => Some(HostProgress::Follows),
        }
    }

    /// Returns what blocks a step with a host of its own: earlier steps with their own host, then
    /// earlier steps of the stage's hosts. Steps only wait for earlier ones, so there is no cycle.
    fn held_back(&self, step: usize) -> Option<HostProgress> {
        let before = self.plan.stages[self.stage].steps[..step].iter();
        let hosts = before.map(|earlier| earlier.host.as_deref());
        hosts
            .enumerate()
            .find_map(|(earlier, host)| self.follows(host?, earlier))
            .or_else(|| (!self.all_before(step)).then_some(HostProgress::Follows))
    }

    /// Whether all hosts of the stage that are not excluded have done all earlier steps.
    fn all_before(&self, step: usize) -> bool {
        let stage = &self.plan.stages[self.stage];
        let present = (0..stage.hosts.len()).filter(|place| !(self.absent)(self.places[*place]));
        present.into_iter().all(|place| {
            for earlier in (0..step).filter(|earlier| self.does(place, *earlier)) {
                let at = self.at(self.places[place], earlier);
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
