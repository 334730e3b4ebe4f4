//! The work of a task: which step was begun when, and how it ended.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Direction, Event, State, StepRef, StepResult, StopRequester};
use crate::domain::host::{ReleaseId, TreeDigest};
use crate::domain::template::Gate;

/// What is known of one step on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepProgress {
    pub attempt: u32,
    pub began: Timestamp,
    /// When the host was heard to say that the attempt's program is begun.
    pub program: Option<Timestamp>,
    /// Why its host can't be reached, and until when that is tried, as far as was heard.
    pub away: Option<(String, Timestamp)>,
    /// `None` while it runs, or when the agent ended before it did.
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
    /// What it hands on.
    #[must_use]
    pub fn values(&self) -> Option<&BTreeMap<String, String>> {
        match &self.end {
            Some((_, StepResult::Done { values })) if !values.is_empty() => Some(values),
            _ => None,
        }
    }

    /// It was begun, and nobody can say how it ended.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.end, Some((_, StepResult::Unknown { .. })))
    }
}

/// A host without which a task goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub name: String,
    pub by: String,
    pub reason: String,
}

/// The work of a task, from its first claim on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskWork {
    pub release: ReleaseId,
    pub started: Timestamp,
    pub tree: Option<TreeDigest>,
    pub steps: BTreeMap<StepRef, StepProgress>,
    /// How often steps whose progress was forgotten have been tried.
    tried: BTreeMap<StepRef, u32>,
    /// What such steps have handed on: secrets among it stay secret.
    forgotten: Vec<BTreeMap<String, String>>,
    /// What was live on each host (an index into the plan's hosts) before the switch.
    pub live_before: BTreeMap<u16, Option<ReleaseId>>,
    /// Stages whose gate a person has opened.
    pub gates_opened: Vec<u16>,
    /// Steps whose gate a person has opened: stage, step, and the host if it was for that one alone.
    pub steps_opened: BTreeSet<(u16, u16, Option<u16>)>,
    /// Where hosts wait at the gates of steps.
    pub held: BTreeMap<StepRef, HeldHost>,
    /// Hosts that are stopped, and who asked for it.
    pub stopped: BTreeMap<u16, String>,
    /// Hosts without which it goes on.
    pub skipped: BTreeMap<u16, Skipped>,
    /// When the task's time was seen to have come, after the work had begun.
    pub due: Option<Timestamp>,
    /// Steps of which nobody knows whether they ended, since somebody said stop: to be ended, and
    /// shown to be gone.
    pub(super) to_end: BTreeSet<StepRef>,
    /// A person was asked about steps that could not be shown to have ended.
    pub(super) asked: PersonAsked,
}

/// Whether a person was asked to look after steps that nobody could stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PersonAsked {
    #[default]
    No,
    Yes,
    /// They said stop once more: they have seen to it.
    Answered,
}

impl TaskWork {
    pub(super) fn new(release: ReleaseId, started: Timestamp) -> Self {
        Self {
            release,
            started,
            tree: None,
            steps: BTreeMap::new(),
            tried: BTreeMap::new(),
            forgotten: Vec::new(),
            live_before: BTreeMap::new(),
            gates_opened: Vec::new(),
            steps_opened: BTreeSet::new(),
            held: BTreeMap::new(),
            stopped: BTreeMap::new(),
            skipped: BTreeMap::new(),
            due: None,
            to_end: BTreeSet::new(),
            asked: PersonAsked::No,
        }
    }

    /// Whether a person has opened the gate of this step on this host.
    #[must_use]
    pub fn is_open(&self, at: StepRef) -> bool {
        [None, Some(at.host)]
            .iter()
            .any(|host| self.steps_opened.contains(&(at.stage, at.step, *host)))
    }

    /// Opens the gates at which hosts wait for a person, for all hosts or for one; whether one waits.
    pub(super) fn open(&mut self, host: Option<&str>) -> bool {
        let opens =
            |held: &HeldHost| held.gate == Gate::Hand && host.is_none_or(|host| held.host == host);
        let opened = &mut self.steps_opened;
        let before = self.held.len();
        self.held.retain(|at, held| {
            if opens(held) {
                opened.insert((at.stage, at.step, host.map(|_| at.host)));
            }
            !opens(held)
        });
        self.held.len() < before
    }

    /// Whether a host waits at a gate of this kind.
    #[must_use]
    pub fn holds(&self, kind: Gate) -> bool {
        self.held.values().any(|held| held.gate == kind)
    }

    /// Everything that a step has ever handed on.
    pub fn ever_handed_on(&self) -> impl Iterator<Item = (&String, &String)> {
        let now = self.steps.values().filter_map(StepProgress::values);
        now.chain(&self.forgotten).flatten()
    }

    /// How often a step has been tried.
    #[must_use]
    pub fn attempts(&self, at: StepRef) -> u32 {
        let before = self.tried.get(&at).copied().unwrap_or(0);
        self.steps.get(&at).map_or(before, |step| step.attempt)
    }

    /// A person is asked about what could not be shown to have ended.
    pub(super) fn ask_about_stop(&mut self) {
        self.asked = PersonAsked::Yes;
    }

    /// Somebody says stop: what may still run, for all that is known, is to be ended too.
    pub(super) fn stop(&mut self, asker: StopRequester) {
        if (self.asked, asker) == (PersonAsked::Yes, StopRequester::Person) {
            self.asked = PersonAsked::Answered;
        }
        let unknown = self.steps.iter().filter(|(_, step)| step.is_unknown());
        self.to_end = unknown.map(|(at, _)| *at).collect();
    }

    /// A step that is under way was heard of.
    pub(super) fn hear(&mut self, event: &Event, time: Timestamp) -> Result<Option<State>, ()> {
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
            Event::HostAway { reason, until, .. } => step.away = Some((reason.clone(), *until)),
            Event::HostBack { .. } if step.away.is_some() => step.away = None,
            _ => return Err(()),
        }
        Ok(None)
    }

    /// Another agent tries to reach hosts by itself.
    pub(super) fn forget_absences(&mut self) {
        for step in self.steps.values_mut() {
            step.away = None;
        }
    }

    /// Whether a step of this host was begun and has not ended.
    #[must_use]
    pub fn runs_on(&self, host: u16) -> bool {
        self.steps
            .iter()
            .any(|(at, step)| at.host == host && step.end.is_none())
    }

    /// Nothing more is begun on this host. Whether that is new.
    pub(super) fn stop_on(&mut self, host: u16, by: &str) -> bool {
        let news = !self.stopped.contains_key(&host) && !self.skipped.contains_key(&host);
        if news {
            self.stopped.insert(host, by.to_owned());
            self.held.retain(|at, _| at.host != host);
        }
        news
    }

    /// It goes on without this host, where nothing may run. Whether that is new.
    pub(super) fn skip(&mut self, host: u16, skipped: Skipped) -> bool {
        let news = !self.runs_on(host) && !self.skipped.contains_key(&host);
        if news {
            self.stopped.remove(&host);
            self.held.retain(|at, _| at.host != host);
            self.skipped.insert(host, skipped);
        }
        news
    }

    /// Whoever was stopped takes part again.
    pub(super) fn forget_stops(&mut self) {
        self.stopped.clear();
    }

    /// Whoever was skipped takes part again.
    pub(super) fn forget_skips(&mut self) {
        self.skipped.clear();
    }

    /// Steps that did not succeed count as not done. Their attempts stay counted.
    pub(super) fn forget_failures(&mut self, way: Direction) {
        self.asked = PersonAsked::No;
        self.forget(|at, step| {
            at.way == way
                && step
                    .end
                    .as_ref()
                    .is_some_and(|(_, result)| !result.succeeded())
        });
    }

    /// Whether a step was begun on the way back.
    pub(super) fn went_back(&self) -> bool {
        self.steps.keys().any(|at| at.way == Direction::Back)
    }

    /// After going back, everything from the switch on is to be done again.
    pub(super) fn forget_switch(&mut self) {
        let switch = self
            .steps
            .iter()
            .filter(|(_, step)| matches!(step.end, Some((_, StepResult::Published { .. }))))
            .map(|(at, _)| at.stage)
            .min()
            .unwrap_or(u16::MAX);
        self.forget(|at, _| at.way == Direction::Back || at.stage >= switch);
        self.live_before.clear();
        self.held.retain(|at, _| at.stage < switch);
    }

    fn forget(&mut self, which: impl Fn(&StepRef, &StepProgress) -> bool) {
        let (tried, forgotten) = (&mut self.tried, &mut self.forgotten);
        self.steps.retain(|at, step| {
            let goes = which(at, step);
            if goes {
                forgotten.extend(step.values().cloned());
                self.to_end.remove(at);
                tried.insert(*at, step.attempt);
            }
            !goes
        });
    }
}
