//! The work of a task: when each step was begun, and how it ended.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Direction, Event, State, StepRef, StepResult, StopRequester};
use crate::domain::host::{ReleaseId, TreeDigest};
use crate::domain::template::Gate;

/// What is known about one step on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepProgress {
    pub attempt: u32,
    pub began: Timestamp,
    /// When the host reported that the attempt's program was begun.
    pub program: Option<Timestamp>,
    /// Why its host is unreachable, and until when it is retried, as last reported.
    pub unreachable: Option<(String, Timestamp)>,
    /// `None` while it runs, or if the agent ended first.
    pub end: Option<(Timestamp, StepResult)>,
}

/// A host that waits at the gate of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldHost {
    pub host: String,
    pub gate: Gate,
    pub since: Timestamp,
}

impl StepProgress {
    /// Returns its outputs.
    #[must_use]
    pub fn values(&self) -> Option<&BTreeMap<String, String>> {
        match &self.end {
            Some((_, StepResult::Done { values })) if !values.is_empty() => Some(values),
            _ => None,
        }
    }

    /// Whether it was begun and its result cannot be determined.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.end, Some((_, StepResult::Unknown { .. })))
    }

    /// Whether it failed, and would fail again.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self.end,
            Some((_, StepResult::Failed { is_final: true, .. }))
        )
    }
}

/// A skipped host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub name: String,
    pub by: String,
    pub reason: String,
}

/// The work of a task, since its first claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskWork {
    pub release: ReleaseId,
    pub started: Timestamp,
    pub tree: Option<TreeDigest>,
    pub steps: BTreeMap<StepRef, StepProgress>,
    /// The number of attempts of steps whose progress was discarded.
    discarded_attempts: BTreeMap<StepRef, u32>,
    /// Outputs of such steps: secrets among them remain secret.
    discarded_outputs: Vec<BTreeMap<String, String>>,
    /// What was live on each host (an index into the plan's hosts) before the switch.
    pub live_before: BTreeMap<u16, Option<ReleaseId>>,
    /// Stages whose gate a person has opened.
    pub gates_opened: Vec<u16>,
    /// Steps whose gate a person has opened: stage, step, and the host if only for that one.
    pub steps_opened: BTreeSet<(u16, u16, Option<u16>)>,
    /// The hosts that wait at gates of steps.
    pub held_hosts: BTreeMap<StepRef, HeldHost>,
    /// Stopped hosts, and who requested it.
    pub stopped: BTreeMap<u16, String>,
    /// Skipped hosts.
    pub skipped: BTreeMap<u16, Skipped>,
    /// When the scheduled time came, if the work had begun before.
    pub due: Option<Timestamp>,
    /// Steps that may still run after a stop request: they must be ended, and proved to be gone.
    pub(super) to_kill: BTreeSet<StepRef>,
    /// Whether a person was asked about steps that could not be proved to have ended.
    pub(super) person_asked: PersonAsked,
}

/// Whether a person was asked to check steps that could not be stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PersonAsked {
    #[default]
    No,
    Yes,
    /// They requested stop again: they have checked the steps.
    Answered,
}

impl TaskWork {
    pub(super) fn new(release: ReleaseId, started: Timestamp) -> Self {
        Self {
            release,
            started,
            tree: None,
            steps: BTreeMap::new(),
            discarded_attempts: BTreeMap::new(),
            discarded_outputs: Vec::new(),
            live_before: BTreeMap::new(),
            gates_opened: Vec::new(),
            steps_opened: BTreeSet::new(),
            held_hosts: BTreeMap::new(),
            stopped: BTreeMap::new(),
            skipped: BTreeMap::new(),
            due: None,
            to_kill: BTreeSet::new(),
            person_asked: PersonAsked::No,
        }
    }

    /// Whether a person has opened the gate of this step on this host.
    #[must_use]
    pub fn is_open(&self, at: StepRef) -> bool {
        [None, Some(at.host)]
            .iter()
            .any(|host| self.steps_opened.contains(&(at.stage, at.step, *host)))
    }

    /// Opens the gates where hosts wait for a person, all or one host's; returns whether any did.
    pub(super) fn open(&mut self, host: Option<&str>) -> bool {
        let opens =
            |held: &HeldHost| held.gate == Gate::Hand && host.is_none_or(|host| held.host == host);
        let opened = &mut self.steps_opened;
        let before = self.held_hosts.len();
        self.held_hosts.retain(|at, held| {
            if opens(held) {
                opened.insert((at.stage, at.step, host.map(|_| at.host)));
            }
            !opens(held)
        });
        self.held_hosts.len() < before
    }

    /// Whether a host waits at a gate of this kind.
    #[must_use]
    pub fn waits_at_gate(&self, kind: Gate) -> bool {
        self.held_hosts.values().any(|held| held.gate == kind)
    }

    /// Returns all outputs that steps have ever produced.
    pub fn all_outputs(&self) -> impl Iterator<Item = (&String, &String)> {
        let now = self.steps.values().filter_map(StepProgress::values);
        now.chain(&self.discarded_outputs).flatten()
    }

    /// Returns the number of attempts of a step.
    #[must_use]
    pub fn attempts(&self, at: StepRef) -> u32 {
        let before = self.discarded_attempts.get(&at).copied().unwrap_or(0);
        self.steps.get(&at).map_or(before, |step| step.attempt)
    }

    /// Records that a person is asked about steps that could not be proved to have ended.
    pub(super) fn ask_about_stop(&mut self) {
        self.person_asked = PersonAsked::Yes;
    }

    /// Handles a stop request: steps with an unknown result have to be ended too.
    pub(super) fn stop(&mut self, requester: StopRequester) {
        if (self.person_asked, requester) == (PersonAsked::Yes, StopRequester::Person) {
            self.person_asked = PersonAsked::Answered;
        }
        let unknown = self.steps.iter().filter(|(_, step)| step.is_unknown());
        self.to_kill = unknown.map(|(at, _)| *at).collect();
    }

    /// Applies a progress report of a running step.
    pub(super) fn apply_report(
        &mut self,
        event: &Event,
        time: Timestamp,
    ) -> Result<Option<State>, ()> {
        let (Event::ProgramBegan { at, .. } | Event::HostAway { at, .. } | Event::HostBack { at }) =
            event
        else {
            return Err(());
        };
        let step = self.steps.get_mut(at);
        let step = step.filter(|step| step.end.is_none()).ok_or(())?;
        match event {
            Event::ProgramBegan { attempt, .. }
                if step.attempt == *attempt && step.program.is_none() =>
            {
                step.program = Some(time);
            }
            Event::HostAway { reason, until, .. } => {
                step.unreachable = Some((reason.clone(), *until));
            }
            Event::HostBack { .. } if step.unreachable.is_some() => step.unreachable = None,
            _ => return Err(()),
        }
        Ok(None)
    }

    /// Discards which hosts were unreachable: another agent tries to reach them itself.
    pub(super) fn clear_unreachable(&mut self) {
        for step in self.steps.values_mut() {
            step.unreachable = None;
        }
    }

    /// Whether a step of this host was begun and has not ended.
    #[must_use]
    pub fn runs_on(&self, host: u16) -> bool {
        self.steps
            .iter()
            .any(|(at, step)| at.host == host && step.end.is_none())
    }

    /// Stops a host: nothing more is begun there. Returns whether that is new.
    pub(super) fn stop_on(&mut self, host: u16, by: &str) -> bool {
        let news = !self.stopped.contains_key(&host) && !self.skipped.contains_key(&host);
        if news {
            self.stopped.insert(host, by.to_owned());
            self.held_hosts.retain(|at, _| at.host != host);
        }
        news
    }

    /// Skips a host, unless a step runs there. Returns whether that is new.
    pub(super) fn skip(&mut self, host: u16, skipped: Skipped) -> bool {
        let news = !self.runs_on(host) && !self.skipped.contains_key(&host);
        if news {
            self.stopped.remove(&host);
            self.held_hosts.retain(|at, _| at.host != host);
            self.skipped.insert(host, skipped);
        }
        news
    }

    /// Includes stopped hosts again.
    pub(super) fn clear_stops(&mut self) {
        self.stopped.clear();
    }

    /// Includes skipped hosts again.
    pub(super) fn clear_skips(&mut self) {
        self.skipped.clear();
    }

    /// Marks failed steps as not done. Their attempts still count.
    pub(super) fn clear_failures(&mut self, way: Direction) {
        self.person_asked = PersonAsked::No;
        self.clear(|at, step| {
            at.way == way
                && step
                    .end
                    .as_ref()
                    .is_some_and(|(_, result)| !result.succeeded())
        });
    }

    /// Whether a rollback step was begun.
    pub(super) fn began_rollback(&self) -> bool {
        self.steps.keys().any(|at| at.way == Direction::Back)
    }

    /// Whether its release is live on most of its hosts: they switched, and none was to go back.
    #[must_use]
    pub fn is_left_live(&self) -> bool {
        let switched = self.steps.iter().filter(|(at, step)| {
            at.way == Direction::Forward
                && matches!(step.end, Some((_, StepResult::Published { .. })))
        });
        !self.began_rollback() && 2 * switched.count() > self.live_before.len()
    }

    /// After a rollback, marks everything from the switch on as not done.
    pub(super) fn clear_switch(&mut self) {
        let switch = self
            .steps
            .iter()
            .filter(|(_, step)| matches!(step.end, Some((_, StepResult::Published { .. }))))
            .map(|(at, _)| at.stage)
            .min()
            .unwrap_or(u16::MAX);
        self.clear(|at, _| at.way == Direction::Back || at.stage >= switch);
        self.live_before.clear();
        self.held_hosts.retain(|at, _| at.stage < switch);
    }

    fn clear(&mut self, which: impl Fn(&StepRef, &StepProgress) -> bool) {
        let (tried, forgotten) = (&mut self.discarded_attempts, &mut self.discarded_outputs);
        self.steps.retain(|at, step| {
            let goes = which(at, step);
            if goes {
                forgotten.extend(step.values().cloned());
                self.to_kill.remove(at);
                tried.insert(*at, step.attempt);
            }
            !goes
        });
    }
}
