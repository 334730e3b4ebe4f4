//! What the executor keeps of one task while it is not at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::AbortHandle;
use jiff::Timestamp;

use crate::host::{Hosts, TreeDigest};
use crate::plan::Plan;
use crate::task::{At, Event, Recorded, State, StepResult, Task};

/// Effects of which a task has at most one under way.
#[derive(Default)]
pub(super) struct Busy {
    pub(super) appending: bool,
    pub(super) refreshing: bool,
    pub(super) claiming: bool,
    pub(super) landing: bool,
}

/// What of a task other tasks wait for.
#[derive(Clone, Copy, Default)]
pub(super) struct Stage {
    pub(super) holds_queue: bool,
    pub(super) landed: bool,
}

pub(super) struct Active {
    /// Shared with what is under way for it.
    pub(super) task: Arc<Task>,
    pub(super) plan: Option<Arc<Plan>>,
    /// Opened with the first step, dropped with the task.
    pub(super) hosts: Option<Arc<dyn Hosts>>,
    /// The fence under which this executor does the work.
    pub(super) claim: Option<u64>,
    /// The claim of an executor before this one, whose work this one takes up.
    pub(super) former: Option<u64>,
    /// How many events the store holds, as far as it was heard.
    pub(super) seen: u64,
    /// Events that come into the next append.
    pub(super) outbox: Vec<Event>,
    pub(super) inflight: BTreeMap<At, AbortHandle>,
    pub(super) killing: BTreeSet<At>,
    /// How steps ended that are being killed: it counts once nothing of them is left.
    pub(super) ended: BTreeMap<At, StepResult>,
    /// Which release the agent's tree was brought to for this task.
    pub(super) tree: Arc<tokio::sync::Mutex<Option<TreeDigest>>>,
    pub(super) busy: Busy,
}

impl Active {
    pub(super) fn new(task: Arc<Task>) -> Self {
        Self {
            seen: task.events,
            task,
            plan: None,
            hosts: None,
            claim: None,
            former: None,
            outbox: Vec::new(),
            inflight: BTreeMap::new(),
            killing: BTreeSet::new(),
            ended: BTreeMap::new(),
            tree: Arc::default(),
            busy: Busy::default(),
        }
    }

    /// Events for the next append, with their time. Those that the task would refuse by now are
    /// left out: the state has changed since they came up.
    pub(super) fn take_outbox(&mut self, limit: usize, time: Timestamp) -> Vec<Recorded> {
        if self.outbox.is_empty() {
            return Vec::new();
        }
        let mut task = (*self.task).clone();
        let mut events = Vec::new();
        let rest = self.outbox.split_off(self.outbox.len().min(limit));
        for event in std::mem::replace(&mut self.outbox, rest) {
            let recorded = Recorded { time, event };
            match task.advance(&recorded) {
                Ok(()) => events.push(recorded),
                Err(refused) => tracing::debug!(task = self.task.id, %refused, "left out"),
            }
        }
        events
    }

    /// What came up while the task changed, and does not fit any more, must not keep it from being
    /// decided anew.
    pub(super) fn drop_stale(&mut self, time: Timestamp) {
        if self.outbox.is_empty() {
            return;
        }
        let mut task = (*self.task).clone();
        self.outbox.retain(|event| {
            let event = event.clone();
            task.advance(&Recorded { time, event }).is_ok()
        });
    }

    /// A step has ended. What was heard of it meanwhile, and not recorded yet, is of no use.
    pub(super) fn end(&mut self, ended: At, result: StepResult) {
        self.outbox.retain(|event| {
            !matches!(
                event,
                Event::ProgramBegan { at, .. } | Event::HostAway { at, .. } | Event::HostBack { at }
                    if *at == ended
            )
        });
        self.outbox.push(Event::Ended { at: ended, result });
    }

    /// After a refused append: results of steps are offered again, everything else is decided anew.
    pub(super) fn keep_results(&mut self, events: Vec<Recorded>) {
        let results = events
            .into_iter()
            .map(|recorded| recorded.event)
            .filter(|event| matches!(event, Event::Ended { .. } | Event::ProgramBegan { .. }));
        self.outbox.splice(0..0, results);
    }

    /// Whether a change of another task may let this one go on.
    pub(super) fn waits_for_others(&self) -> bool {
        matches!(
            self.task.state,
            State::Queued | State::Proposed | State::Waiting | State::Scheduled { .. }
        )
    }

    /// A task that belongs to no project is in no queue.
    pub(super) fn same_queue(&self, other: &Self) -> bool {
        let (own, theirs) = (&self.task.submission, &other.task.submission);
        own.has_place() && own.project == theirs.project && own.environment == theirs.environment
    }

    /// Whether this executor is to claim the work: nobody has, or only one that has ended.
    pub(super) fn may_claim(&self) -> bool {
        self.task.fence.is_none() || self.task.fence == self.former
    }

    /// Whether somebody else has claimed the work since this executor did.
    pub(super) fn is_taken_over(&self) -> bool {
        self.claim
            .is_some_and(|claim| self.task.fence.is_some_and(|fence| fence > claim))
    }

    /// Drops what is under way, unsaid: another executor does the work.
    pub(super) fn let_go(&mut self) {
        for handle in std::mem::take(&mut self.inflight).into_values() {
            handle.abort();
        }
        self.killing.clear();
        self.ended.clear();
        self.outbox.clear();
        self.hosts = None;
        self.claim = None;
    }

    /// What of the task other tasks wait for.
    pub(super) fn stage(&self) -> Stage {
        Stage {
            holds_queue: self.task.state.holds_queue(),
            landed: self.task.landed.is_some(),
        }
    }

    /// Drops what is under way: the task is at rest.
    pub(super) fn abandon(self) {
        for handle in self.inflight.values() {
            handle.abort();
        }
    }
}
