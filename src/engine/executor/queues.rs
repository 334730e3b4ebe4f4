//! Which task waits for which: running tasks, queues, and which tasks may supersede which. Updated
//! as tasks change, so that deciding one task does not scan all others; pure. Called by the
//! executor; it decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::active::Active;
use crate::domain::task::{Origin, OriginKind, Schedule, State, Submission, Task};

/// The properties of a task that others wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct QueuePart {
    /// It runs, or is about to.
    running: bool,
    /// It waits to be claimed.
    queued: bool,
    /// It is about to enter its queue.
    approaching: bool,
    /// It supersedes older tasks of its rule.
    replaces: bool,
    /// A newer task of its rule may supersede it.
    replaceable: bool,
    /// It is about to land.
    landing: bool,
    /// It is the newest of its push.
    newest: bool,
}

/// Pushes are ordered by time; the newest task of a push is its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The first task of the push.
    push: u64,
    newest: bool,
    id: u64,
}

impl Rank {
    fn of(task: &Task, newest: bool) -> Self {
        let id = task.id;
        let push = task.submission.push().map_or(id, |push| push.first);
        Self { push, newest, id }
    }

    /// Returns the lower bound of what is newer: later pushes, and the newest task of the same one.
    fn newer(self) -> Self {
        let id = 0;
        if self.newest {
            let push = self.push + 1;
            let newest = false;
            Self { push, newest, id }
        } else {
            let newest = true;
            Self { newest, id, ..self }
        }
    }

    /// Returns the upper bound of what is older.
    fn older(self) -> Self {
        Self { id: 0, ..self }
    }
}

impl QueuePart {
    fn of(active: &Active) -> Self {
        let task = &active.task;
        let submission = &task.submission;
        let acts = submission.schedule != Schedule::Observe;
        let waits = task.state.can_be_withdrawn() && task.work.is_none();
        let continues = matches!(
            task.state,
            State::Waiting
                | State::Scheduled { .. }
                | State::Queued
                | State::Running
                | State::Paused { .. }
        );
        // A task whose ref is reported as gone supersedes nothing.
        let there = continues && task.landed.is_some() && task.doubted.is_none();
        Self {
            running: task.state.holds_queue() || active.busy.claiming,
            queued: active.is_queued(),
            approaching: active.approaches_queue(),
            replaces: acts && there,
            replaceable: acts && waits && submission.yields_to_newer(),
            landing: active.is_about_to_land(),
            newest: active.newest,
        }
    }
}

/// A project and environment. A task without a project has a queue of its own.
type Queue = (String, String, Option<u64>);

fn queue_of(task: &Task) -> Queue {
    let submission = &task.submission;
    let alone = (!submission.has_environment()).then_some(task.id);
    let (project, environment) = (&submission.project, &submission.environment);
    (project.clone(), environment.clone(), alone)
}

/// Tasks of one rule in one environment.
type RuleKey = (String, String, OriginKind);

fn rule_of(submission: &Submission) -> RuleKey {
    let (project, environment) = (&submission.project, &submission.environment);
    (
        project.clone(),
        environment.clone(),
        OriginKind::from(&submission.origin),
    )
}

/// One queue.
#[derive(Default)]
struct QueueState {
    /// In order: rollbacks first.
    queued: BTreeSet<(QueuePriority, u64)>,
    approaching: BTreeSet<u64>,
    running: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum QueuePriority {
    Rollback,
    Release,
}

fn priority_of(task: &Task) -> QueuePriority {
    match task.submission.origin {
        Origin::Rollback { .. } => QueuePriority::Rollback,
        Origin::Tag(_) | Origin::Submitted(_) => QueuePriority::Release,
    }
}

/// Waiting tasks of one rule, by what they may do to each other.
#[derive(Default)]
struct RuleWaiters {
    replacing: BTreeSet<Rank>,
    replaceable: BTreeSet<Rank>,
}

/// Tasks of one push and rule; only the newest is released.
#[derive(Default)]
pub(super) struct Siblings {
    /// Those that are about to land.
    pub(super) landing: BTreeSet<u64>,
    /// Those that have landed and may begin, or have begun.
    pub(super) landed: BTreeSet<u64>,
    /// Those whose newest task is known.
    pub(super) compared: BTreeSet<u64>,
    /// Whether git is being queried, how often that failed, and when it is retried.
    pub(super) compare_requested: bool,
    pub(super) tries: u32,
    pub(super) retry_at: Option<Timestamp>,
}

/// Returns the siblings' key of a task, if it may have siblings.
fn push_of(task: &Task) -> Option<(u64, RuleKey)> {
    let submission = &task.submission;
    let push = submission.push()?;
    let acts = submission.schedule != Schedule::Observe;
    (submission.yields_to_newer() && acts).then(|| (push.first, rule_of(submission)))
}

/// The queues of all environments. See the module documentation.
#[derive(Default)]
pub(super) struct Queues {
    parts: BTreeMap<u64, QueuePart>,
    queues: BTreeMap<Queue, QueueState>,
    rules: BTreeMap<RuleKey, RuleWaiters>,
    pushes: BTreeMap<(u64, RuleKey), Siblings>,
    running: BTreeSet<u64>,
}

impl Queues {
    /// Updates the state of a task.
    pub(super) fn update(&mut self, active: &Active) {
        self.set(&active.task, QueuePart::of(active));
    }

    /// Removes a task.
    pub(super) fn remove(&mut self, task: &Task) {
        self.set(task, QueuePart::default());
        self.parts.remove(&task.id);
    }

    fn set(&mut self, task: &Task, part: QueuePart) {
        let id = task.id;
        let former = self.parts.insert(id, part).unwrap_or_default();
        if former == part {
            return;
        }
        set_membership(&mut self.running, id, part.running);
        let queue = queue_of(task);
        let line = self.queues.entry(queue.clone()).or_default();
        set_membership(&mut line.running, id, part.running);
        set_membership(&mut line.queued, (priority_of(task), id), part.queued);
        set_membership(&mut line.approaching, id, part.approaching);
        if line.is_empty() {
            self.queues.remove(&queue);
        }
        let rule = rule_of(&task.submission);
        let rivals = self.rules.entry(rule.clone()).or_default();
        let (before, now) = (Rank::of(task, former.newest), Rank::of(task, part.newest));
        rivals.replacing.remove(&before);
        rivals.replaceable.remove(&before);
        set_membership(&mut rivals.replacing, now, part.replaces);
        set_membership(&mut rivals.replaceable, now, part.replaceable);
        if rivals.replacing.is_empty() && rivals.replaceable.is_empty() {
            self.rules.remove(&rule);
        }
        if let Some(push) = push_of(task) {
            let siblings = self.pushes.entry(push.clone()).or_default();
            set_membership(&mut siblings.landing, id, part.landing);
            set_membership(&mut siblings.landed, id, part.replaces);
            if siblings.landing.is_empty() && siblings.landed.is_empty() {
                self.pushes.remove(&push);
            }
        }
    }

    /// Returns the tasks of the same push and rule, including this one.
    pub(super) fn siblings(&mut self, task: &Task) -> Option<&mut Siblings> {
        self.pushes.get_mut(&push_of(task)?)
    }

    /// Whether another task of the same push may still supersede this one, or yield to it.
    pub(super) fn has_undecided_siblings(&self, task: &Task) -> bool {
        let siblings = push_of(task).and_then(|push| self.pushes.get(&push));
        let Some(siblings) = siblings else {
            return false;
        };
        let mut others = siblings.landing.iter().chain(&siblings.landed);
        others.any(|id| {
            let part = self.parts.get(id);
            *id != task.id && part.is_some_and(|part| part.landing || part.replaceable)
        })
    }

    /// Returns how many tasks run, or are about to.
    pub(super) fn running_count(&self) -> usize {
        self.running.len()
    }

    /// Returns the other running tasks in a task's queue.
    pub(super) fn running_in_queue(&self, task: &Task) -> impl Iterator<Item = u64> {
        let line = self.queues.get(&queue_of(task));
        let works = line.into_iter().flat_map(|line| line.running.iter());
        works.copied().filter(|holder| *holder != task.id)
    }

    /// Returns the tasks that wait in a task's queue, in order.
    pub(super) fn queued(&self, task: &Task) -> impl Iterator<Item = u64> {
        let line = self.queues.get(&queue_of(task));
        line.into_iter().flat_map(QueueState::in_order)
    }

    /// Returns the older tasks that are about to enter a task's queue; none of them precedes a
    /// rollback.
    pub(super) fn ahead_of(&self, task: &Task) -> impl Iterator<Item = u64> {
        let line = self.queues.get(&queue_of(task));
        let line = line.filter(|_| priority_of(task) == QueuePriority::Release);
        let older = line.into_iter();
        older.flat_map(|line| line.approaching.range(..task.id).copied())
    }

    /// Returns the waiting tasks, queue by queue.
    pub(super) fn queues(&self) -> impl Iterator<Item = impl Iterator<Item = u64>> {
        self.queues.values().map(QueueState::in_order)
    }

    /// Returns the oldest newer task that supersedes a task.
    pub(super) fn replaced_by(&self, task: &Task) -> Option<u64> {
        let rivals = self.rules.get(&rule_of(&task.submission))?;
        let own = rivals.replaceable.get(&self.rank(task))?;
        let mut newer = rivals.replacing.range(own.newer()..);
        newer.next().map(|rank| rank.id)
    }

    /// Returns the older tasks that a task supersedes.
    pub(super) fn replaces(&self, task: &Task) -> Vec<u64> {
        let rank = self.rank(task);
        let rivals = self.rules.get(&rule_of(&task.submission));
        let rivals = rivals.filter(|rivals| rivals.replacing.contains(&rank));
        let older = rivals.into_iter();
        older
            .flat_map(|rivals| rivals.replaceable.range(..rank.older()))
            .map(|rank| rank.id)
            .collect()
    }

    fn rank(&self, task: &Task) -> Rank {
        let part = self.parts.get(&task.id);
        Rank::of(task, part.is_some_and(|part| part.newest))
    }
}

impl QueueState {
    fn is_empty(&self) -> bool {
        self.running.is_empty() && self.queued.is_empty() && self.approaching.is_empty()
    }

    fn in_order(&self) -> impl Iterator<Item = u64> {
        self.queued.iter().map(|(_, id)| *id)
    }
}

fn set_membership<T: Ord>(set: &mut BTreeSet<T>, item: T, is_member: bool) {
    if is_member {
        set.insert(item);
    } else {
        set.remove(&item);
    }
}
