//! Who waits for whom: which tasks are at work, which stand in which queue, which may take the place
//! of which. Kept as tasks change, so that no decision about one task looks at all the others; pure.
//! Called by the executor; it decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::active::Active;
use crate::task::{Origin, Schedule, State, Submission, Supersede, Task};

/// What of a task others wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    /// It is at work, or about to be.
    works: bool,
    /// It waits for its turn.
    queued: bool,
    /// It is about to wait for its turn.
    comes: bool,
    /// It takes the place of older tasks of its rule.
    replaces: bool,
    /// A newer task of its rule may take its place.
    replaceable: bool,
}

impl Part {
    fn of(active: &Active) -> Self {
        let task = &active.task;
        let waits = matches!(
            task.state,
            State::Proposed | State::Waiting | State::Scheduled { .. }
        );
        let by_approval = task.submission.schedule == Schedule::New;
        let goes_on = matches!(
            task.state,
            State::Waiting | State::Scheduled { .. } | State::Queued | State::Running
        );
        Self {
            works: task.state.holds_queue() || active.busy.claiming,
            queued: task.state == State::Queued,
            comes: active.comes(),
            replaces: by_approval && goes_on && task.landed.is_some(),
            replaceable: by_approval && waits && task.submission.supersede == Supersede::ByNewer,
        }
    }
}

/// A project and environment. A task that belongs to none is in a queue of its own.
type Queue = (String, String, Option<u64>);

fn queue_of(task: &Task) -> Queue {
    let submission = &task.submission;
    let alone = (!submission.has_place()).then_some(task.id);
    let (project, environment) = (&submission.project, &submission.environment);
    (project.clone(), environment.clone(), alone)
}

/// Tasks of one rule in one environment.
type Rule = (String, String, Origin);

fn rule_of(submission: &Submission) -> Rule {
    let (project, environment) = (&submission.project, &submission.environment);
    (
        project.clone(),
        environment.clone(),
        submission.origin.clone(),
    )
}

/// One queue.
#[derive(Default)]
struct Line {
    /// In their order: what goes back comes first.
    queued: BTreeSet<(Turn, u64)>,
    comes: BTreeSet<u64>,
    works: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Rollback,
    Release,
}

fn turn_of(task: &Task) -> Turn {
    match task.submission.origin {
        Origin::Rollback { .. } => Turn::Rollback,
        Origin::Tag { .. } | Origin::Submitted { .. } => Turn::Release,
    }
}

/// Tasks of one rule that wait, by what they may do to each other.
#[derive(Default)]
struct Rivals {
    replacing: BTreeSet<u64>,
    replaceable: BTreeSet<u64>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Lines {
    parts: BTreeMap<u64, Part>,
    queues: BTreeMap<Queue, Line>,
    rules: BTreeMap<Rule, Rivals>,
    works: BTreeSet<u64>,
}

impl Lines {
    /// A task is as it is now.
    pub(super) fn update(&mut self, active: &Active) {
        self.set(&active.task, Part::of(active));
    }

    /// A task is not kept any more.
    pub(super) fn remove(&mut self, task: &Task) {
        self.set(task, Part::default());
        self.parts.remove(&task.id);
    }

    fn set(&mut self, task: &Task, part: Part) {
        let id = task.id;
        let former = self.parts.insert(id, part).unwrap_or_default();
        if former == part {
            return;
        }
        put(&mut self.works, id, part.works);
        let queue = queue_of(task);
        let line = self.queues.entry(queue.clone()).or_default();
        put(&mut line.works, id, part.works);
        put(&mut line.queued, (turn_of(task), id), part.queued);
        put(&mut line.comes, id, part.comes);
        if line.is_empty() {
            self.queues.remove(&queue);
        }
        let rule = rule_of(&task.submission);
        let rivals = self.rules.entry(rule.clone()).or_default();
        put(&mut rivals.replacing, id, part.replaces);
        put(&mut rivals.replaceable, id, part.replaceable);
        if rivals.replacing.is_empty() && rivals.replaceable.is_empty() {
            self.rules.remove(&rule);
        }
    }

    /// How many tasks are at work, or about to be.
    pub(super) fn at_work(&self) -> usize {
        self.works.len()
    }

    /// Who is at work in a task's queue, besides itself.
    pub(super) fn holders(&self, task: &Task) -> impl Iterator<Item = u64> {
        let line = self.queues.get(&queue_of(task));
        let works = line.into_iter().flat_map(|line| line.works.iter());
        works.copied().filter(|holder| *holder != task.id)
    }

    /// Who waits for a turn in a task's queue, in order.
    pub(super) fn queued(&self, task: &Task) -> impl Iterator<Item = u64> {
        let line = self.queues.get(&queue_of(task));
        line.into_iter().flat_map(Line::in_order)
    }

    /// The older tasks that are about to stand in a task's queue; none of them goes before what goes
    /// back.
    pub(super) fn come_before(&self, task: &Task) -> impl Iterator<Item = u64> {
        let line = self.queues.get(&queue_of(task));
        let line = line.filter(|_| turn_of(task) == Turn::Release);
        let older = line.into_iter();
        older.flat_map(|line| line.comes.range(..task.id).copied())
    }

    /// Who waits for a turn, queue by queue.
    pub(super) fn queues(&self) -> impl Iterator<Item = impl Iterator<Item = u64>> {
        self.queues.values().map(Line::in_order)
    }

    /// The oldest newer task that takes a task's place.
    pub(super) fn replaced_by(&self, task: &Task) -> Option<u64> {
        let rivals = self.rules.get(&rule_of(&task.submission))?;
        let own = rivals.replaceable.get(&task.id)?;
        rivals.replacing.range(own + 1..).next().copied()
    }

    /// The older tasks whose place a task takes.
    pub(super) fn replaces(&self, task: &Task) -> Vec<u64> {
        let rivals = self.rules.get(&rule_of(&task.submission));
        let rivals = rivals.filter(|rivals| rivals.replacing.contains(&task.id));
        let older = rivals.into_iter();
        older
            .flat_map(|rivals| rivals.replaceable.range(..task.id).copied())
            .collect()
    }
}

impl Line {
    fn is_empty(&self) -> bool {
        self.works.is_empty() && self.queued.is_empty() && self.comes.is_empty()
    }

    fn in_order(&self) -> impl Iterator<Item = u64> {
        self.queued.iter().map(|(_, id)| *id)
    }
}

fn put<T: Ord>(set: &mut BTreeSet<T>, item: T, stands: bool) {
    if stands {
        set.insert(item);
    } else {
        set.remove(&item);
    }
}
