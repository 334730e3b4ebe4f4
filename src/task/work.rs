//! The work of a task: which step was begun when, and how it ended.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{At, StepResult, Way};
use crate::host::{ReleaseId, TreeDigest};

/// What is known of one step on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub attempt: u32,
    pub began: Timestamp,
    /// `None` while it runs, or when the agent ended before it did.
    pub end: Option<(Timestamp, StepResult)>,
}

/// The work of a task, from its first claim on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    pub release: ReleaseId,
    pub started: Timestamp,
    pub tree: Option<TreeDigest>,
    pub steps: BTreeMap<At, Progress>,
    /// How often steps whose progress was forgotten have been tried.
    tried: BTreeMap<At, u32>,
    /// What was live on each host (an index into the plan's hosts) before the switch.
    pub live_before: BTreeMap<u16, Option<ReleaseId>>,
    /// Stages whose gate a person has opened.
    pub gates_opened: Vec<u16>,
}

impl Work {
    pub(super) fn new(release: ReleaseId, started: Timestamp) -> Self {
        Self {
            release,
            started,
            tree: None,
            steps: BTreeMap::new(),
            tried: BTreeMap::new(),
            live_before: BTreeMap::new(),
            gates_opened: Vec::new(),
        }
    }

    /// How often a step has been tried.
    #[must_use]
    pub fn attempts(&self, at: At) -> u32 {
        let before = self.tried.get(&at).copied().unwrap_or(0);
        self.steps.get(&at).map_or(before, |step| step.attempt)
    }

    /// Steps that did not succeed count as not done. Their attempts stay counted.
    pub(super) fn forget_failures(&mut self, way: Way) {
        self.forget(|at, step| {
            at.way == way
                && step
                    .end
                    .as_ref()
                    .is_some_and(|(_, result)| !result.succeeded())
        });
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
        self.forget(|at, _| at.way == Way::Back || at.stage >= switch);
        self.live_before.clear();
    }

    fn forget(&mut self, which: impl Fn(&At, &Progress) -> bool) {
        let tried = &mut self.tried;
        self.steps.retain(|at, step| {
            let goes = which(at, step);
            if goes {
                tried.insert(*at, step.attempt);
            }
            !goes
        });
    }
}
