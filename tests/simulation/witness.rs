//! Checks every effect on hosts, and fails at once if one breaks a promise: an intent that is not
//! durable, a plan without approval, a host that switches before all are staged, a task that works
//! while another holds its queue, a `current` that names no complete release.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tagship::domain::host::{DeployTarget, Op, ReleaseId, TreeDigest};
use tagship::domain::plan::{AGENT, Plan, PlanDigest};
use tagship::domain::rule::Schedule;
use tagship::domain::task::{
    AGENT_INDEX, Direction, Event, Origin, Recorded, State, StepRef, StepResult, StopRequester,
    Task,
};
use tagship::domain::template::{self, Gate, OnFailure};
use tagship::store::Store;
use tagship::store::kv::Range;

use crate::host::{Disk, DiskPlace, Disks};
use crate::immediate::at_once;

/// What was seen so far.
#[derive(Default)]
struct Seen {
    store: Option<Store>,
    tasks: BTreeMap<u64, Known>,
    plans: BTreeMap<PlanDigest, Arc<Plan>>,
    /// The commit of each tree.
    trees: BTreeMap<TreeDigest, String>,
    /// The plans that an authorized user approved.
    approved: BTreeSet<(u64, PlanDigest)>,
    /// The rollbacks that an authorized user requested.
    asked_back: BTreeSet<u64>,
    /// How often a user asked to retry a task; a restored store may not know it.
    retries: BTreeMap<u64, u32>,
}

/// A task, as far as its log was read.
#[derive(Clone)]
struct Known {
    /// The rows of the store, byte by byte.
    rows: Vec<Vec<u8>>,
    events: Vec<Recorded>,
    task: Arc<Task>,
}

#[derive(Default)]
pub(crate) struct Witness {
    seen: Mutex<Seen>,
}

impl Witness {
    /// From now on this is the store. A restored store has another history.
    pub(crate) fn reads(&self, store: Store) {
        let mut seen = self.seen.lock().unwrap();
        seen.store = Some(store);
        seen.tasks.clear();
    }

    pub(crate) fn tree(&self, digest: TreeDigest, commit: &str) {
        let mut seen = self.seen.lock().unwrap();
        let known = seen
            .trees
            .entry(digest)
            .or_insert_with(|| commit.to_owned());
        assert_eq!(known, commit, "two commits, one digest");
    }

    pub(crate) fn knows_trees_of(&self, other: &Self) {
        let (trees, retries) = {
            let other = other.seen.lock().unwrap();
            (other.trees.clone(), other.retries.clone())
        };
        let mut seen = self.seen.lock().unwrap();
        seen.trees.extend(trees);
        seen.retries.extend(retries);
    }

    pub(crate) fn approval(&self, task: u64, plan: PlanDigest) {
        self.seen.lock().unwrap().approved.insert((task, plan));
    }

    pub(crate) fn retried(&self, task: u64) {
        *self.seen.lock().unwrap().retries.entry(task).or_default() += 1;
    }

    pub(crate) fn retries(&self, task: u64) -> u32 {
        let seen = self.seen.lock().unwrap();
        seen.retries.get(&task).copied().unwrap_or_default()
    }

    pub(crate) fn asked_back(&self, task: u64) {
        self.seen.lock().unwrap().asked_back.insert(task);
    }

    /// The commit of a release on a disk.
    pub(crate) fn commit_on(&self, disk: &Disk) -> Option<String> {
        let digest = disk.releases.get(disk.live.as_ref()?)?;
        self.seen.lock().unwrap().trees.get(digest).cloned()
    }

    /// A task, read again as far as it has grown. What was read before must be unchanged.
    pub(crate) fn task(&self, id: u64) -> Arc<Task> {
        self.seen.lock().unwrap().task(id)
    }

    /// The log of a task, as far as it was read.
    pub(crate) fn events(&self, id: u64) -> Vec<Recorded> {
        self.seen.lock().unwrap().tasks[&id].events.clone()
    }

    pub(crate) fn plan(&self, task: &Task) -> Arc<Plan> {
        self.seen.lock().unwrap().plan(task)
    }

    /// Every log still begins with what was read of it before, and folds to the same state at once as
    /// piece by piece.
    pub(crate) fn history(&self, ids: impl Iterator<Item = u64>) {
        let mut seen = self.seen.lock().unwrap();
        for id in ids {
            if let Some(known) = seen.tasks.get(&id) {
                let rows = seen.rows(id, 0);
                assert!(
                    rows.len() >= known.rows.len() && rows[..known.rows.len()] == known.rows[..],
                    "the history of task {id} was rewritten"
                );
            }
            let task = seen.task(id);
            let fold = Task::fold(id, &seen.tasks[&id].events).unwrap();
            assert_eq!(fold, *task, "task {id} folds to two states");
        }
    }

    /// An operation is about to act on a host.
    pub(crate) fn before(&self, disk: &DiskPlace, host: &str, op: &Op, disks: &Disks) {
        let held = disks.get(disk).map_or(0, |disk| disk.fence);
        match op {
            Op::Publish {
                target: place,
                release,
                key,
                ..
            } if place.fence >= held => {
                let mut seen = self.seen.lock().unwrap();
                seen.switch(&disk.0, host, place, release, key, disks);
            }
            Op::Run { target: place, run } if place.fence >= held => {
                self.seen.lock().unwrap().program(host, place, &run.key);
            }
            _ => {}
        }
    }

    /// A program began that was requested some time ago. (A restored store may not know of its
    /// task.)
    pub(crate) fn late_start(&self, key: &str) {
        let mut seen = self.seen.lock().unwrap();
        let id = key.split('-').next().unwrap().parse().unwrap();
        if seen.rows(id, 0).is_empty() {
            return;
        }
        let task = seen.task(id);
        let started = task
            .work
            .as_ref()
            .map_or(0, |work| work.started.as_second());
        let its = key.starts_with(&format!("{id}-{started:x}-"));
        // A program for which a person has answered may still begin.
        let events = &seen.tasks[&id].events;
        let asked = events.iter().rposition(|kept| {
            matches!(
                &kept.event,
                Event::StopRequested {
                    requester: StopRequester::Person,
                    ..
                }
            )
        });
        let is_unended = |kept: &Recorded| {
            matches!(
                &kept.event,
                Event::Ended {
                    result: StepResult::Unknown { .. },
                    ..
                }
            )
        };
        let is_answered = asked.is_some_and(|asked| events[asked..].iter().any(is_unended));
        let ended = its && task.state == State::Stopped && !is_answered;
        assert!(!ended, "{key} begins");
    }

    /// After any operation: `current` names a complete release everywhere.
    pub(crate) fn after(&self, host: &str, disk: &Disk) {
        if let Some(live) = &disk.live
            && !disk.foreign.contains(live)
        {
            let digest = disk.releases.get(live);
            let digest = digest.unwrap_or_else(|| panic!("{host}: {live} is live and not there"));
            assert!(
                self.seen.lock().unwrap().trees.contains_key(digest),
                "{host}: {live} is live, and no commit"
            );
        }
    }
}

impl Seen {
    fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    /// What the store holds of a log, from event `from` on.
    fn rows(&self, id: u64, from: usize) -> Vec<Vec<u8>> {
        let prefix = format!("task/{id:016x}/event/");
        let mut range = Range::prefix(prefix.as_bytes());
        if let Some(before) = from.checked_sub(1) {
            range = range.after(format!("{prefix}{before:08x}"));
        }
        let page = at_once(self.store().kv().range(range)).unwrap();
        assert!(
            !page.more,
            "task {id} has more events than are read at once"
        );
        page.rows.into_iter().map(|row| row.value).collect()
    }

    fn task(&mut self, id: u64) -> Arc<Task> {
        let read = self.tasks.get(&id).map_or(0, |known| known.rows.len());
        for row in self.rows(id, read) {
            let event: Recorded = serde_json::from_slice(&row).unwrap();
            match self.tasks.get_mut(&id) {
                Some(known) => {
                    Arc::make_mut(&mut known.task).advance(&event).unwrap();
                    known.events.push(event);
                    known.rows.push(row);
                }
                None => {
                    let known = Known {
                        task: Arc::new(Task::begin(id, &event).unwrap()),
                        rows: vec![row],
                        events: vec![event],
                    };
                    self.tasks.insert(id, known);
                }
            }
        }
        self.tasks[&id].task.clone()
    }

    fn plan(&mut self, task: &Task) -> Arc<Plan> {
        let digest = task.landed.as_ref().unwrap().terms.plan.clone();
        if let Some(plan) = self.plans.get(&digest) {
            return plan.clone();
        }
        let plan = at_once(self.store().plan(&digest)).unwrap();
        assert_eq!(
            plan.digest(),
            digest,
            "a plan that is not what was approved"
        );
        self.plans.insert(digest, plan.clone());
        plan
    }

    /// The task of a key, at work.
    fn at_work(&mut self, place: &DeployTarget, key: &str) -> (Arc<Task>, Arc<Plan>) {
        let id = key.split('-').next().unwrap().parse().unwrap();
        let task = self.task(id);
        if task.fence == Some(place.fence) {
            assert!(task.state.holds_queue(), "{key}: it is {}", task.state);
            self.alone(&task);
        }
        let plan = self.plan(&task);
        self.approved(&task);
        (task, plan)
    }

    /// No other task of its project and environment holds the queue.
    fn alone(&mut self, task: &Task) {
        let submission = &task.submission;
        let (active, _) = at_once(self.store().active()).unwrap();
        for id in active.into_iter().filter(|id| *id != task.id) {
            let other = self.task(id);
            let there = submission.has_environment()
                && other.submission.project == submission.project
                && other.submission.environment == submission.environment;
            assert!(
                !there || !other.state.holds_queue(),
                "tasks {} and {id} work in {}",
                task.id,
                submission.environment
            );
        }
    }

    /// An authorized user approved exactly this plan, or no approval is needed.
    fn approved(&self, task: &Task) {
        let id = task.id;
        let plan = &task.landed.as_ref().unwrap().terms.plan;
        match (&task.submission.origin, task.submission.schedule) {
            (Origin::Rollback { .. }, _) => {
                assert!(
                    self.asked_back.contains(&id),
                    "nobody asked for rollback {id}"
                );
            }
            (Origin::Tag(_) | Origin::Submitted(_), Schedule::New) => {
                let said = self.approved.contains(&(id, plan.clone()));
                assert!(said, "task {id} works, and nobody approved its plan");
            }
            (Origin::Tag(_) | Origin::Submitted(_), Schedule::Ready) => {}
            (Origin::Tag(_) | Origin::Submitted(_), Schedule::Observe) => {
                panic!("task {id} only observes")
            }
        }
    }

    fn switch(
        &mut self,
        environment: &str,
        host: &str,
        place: &DeployTarget,
        release: &ReleaseId,
        key: &str,
        disks: &Disks,
    ) {
        let (task, plan) = self.at_work(place, key);
        let work = task.work.as_ref().unwrap();
        let way = if key.ends_with("-back") {
            Direction::Back
        } else {
            Direction::Forward
        };
        let begun = work
            .steps
            .keys()
            .find(|at| at.way == way && plan.is_publish(**at) && plan.host_name(**at) == host);
        let at = begun.unwrap_or_else(|| panic!("{key} on {host}: the intent is not durable"));
        let expected = match way {
            Direction::Forward => Some(plan.target_release(host, &work.release)),
            Direction::Back => work.live_before[&at.host].as_ref(),
        };
        assert_eq!(expected, Some(release), "{key} on {host}");
        if way == Direction::Back {
            return;
        }
        open(&task, &plan, *at);
        if let Some(digest) = disks
            .get(&(environment.to_owned(), host.to_owned()))
            .and_then(|disk| disk.releases.get(release))
            .filter(|_| plan.targets.is_empty())
        {
            assert_eq!(self.trees[digest], plan.commit, "{key} on {host}");
        }
        if plan.on_failure != OnFailure::Continue {
            for other in staged_on(&plan) {
                let index = index_of(&plan, other);
                let disk = disks.get(&(environment.to_owned(), other.to_owned()));
                let its = plan.target_release(other, &work.release);
                let found = |disk: &Disk| plan.targets.contains_key(other) && disk.is_there(its);
                assert!(
                    work.skipped.contains_key(&index)
                        || disk.is_some_and(|disk| disk.releases.contains_key(its) || found(disk)),
                    "{host} switches, and {other} is not staged"
                );
            }
        }
    }

    /// `TASK-STARTED-[back-]STAGE-STEP-ATTEMPT[.PART]`
    fn program(&mut self, host: &str, place: &DeployTarget, key: &str) {
        let (task, plan) = self.at_work(place, key);
        let work = task.work.as_ref().unwrap();
        let attempt = key.split('.').next().unwrap_or(key);
        let mut parts: Vec<&str> = attempt.split('-').skip(2).collect();
        let way = if parts[0] == "back" {
            parts.remove(0);
            Direction::Back
        } else {
            Direction::Forward
        };
        let attempt: u32 = parts[2].parse().unwrap();
        let at = StepRef {
            way,
            stage: parts[0].parse().unwrap(),
            host: index_of(&plan, host),
            step: parts[1].parse().unwrap(),
        };
        let begun = work
            .steps
            .get(&at)
            .is_some_and(|step| step.attempt >= attempt);
        let before = work.attempts(at) >= attempt && task.fence != Some(place.fence);
        assert!(
            begun || before,
            "{key} on {host}: the intent is not durable"
        );
        if way == Direction::Forward {
            open(&task, &plan, at);
        }
    }
}

/// A step that waits at a gate begins only once the gate is open.
fn open(task: &Task, plan: &Plan, at: StepRef) {
    let work = task.work.as_ref().unwrap();
    let is_time = work.due.is_some() || task.scheduled_time().is_none();
    let opened = |gate, by_hand| match gate {
        Gate::None => true,
        Gate::Hand => by_hand,
        Gate::Timed => is_time,
    };
    let stage = &plan.stages[usize::from(at.stage)];
    let of_stage = opened(stage.gate, work.gates_opened.contains(&at.stage));
    let of_step = opened(stage.steps[usize::from(at.step)].gate, work.is_open(at));
    assert!(
        of_stage && of_step,
        "task {}: {at:?} begins behind a gate",
        task.id
    );
}

/// The hosts on which a release is staged.
fn staged_on(plan: &Plan) -> impl Iterator<Item = &str> {
    let syncs = |step: &template::Step| step.action == template::StepAction::Sync;
    let stages = plan.stages.iter();
    stages
        .filter(move |stage| stage.steps.iter().any(syncs))
        .flat_map(|stage| stage.hosts.iter().map(String::as_str))
}

pub(crate) fn index_of(plan: &Plan, host: &str) -> u16 {
    if host == AGENT {
        return AGENT_INDEX;
    }
    let place = plan.hosts.iter().position(|known| known.name == host);
    u16::try_from(place.unwrap()).unwrap()
}

/// Whether a task is settled once nothing moves.
pub(crate) fn is_settled(task: &Task) -> bool {
    task.state.is_settled()
        || matches!(
            task.state,
            State::Waiting | State::Scheduled { .. } | State::Paused { .. }
        )
}
