//! Invariants of a world at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tagship::base::clock::Clock as _;
use tagship::domain::host::ReleaseId;
use tagship::domain::rule::{Schedule, is_zero};
use tagship::domain::task::{
    Direction, Event, Origin, OriginKind, Pause, Recorded, State, StepResult, Task,
};
use tagship::engine::spool::Record;
use tagship::store::{Filter, HookFilter, HookOutcome, Store};

use crate::comparison::compared_with_now;
use crate::doubles::leads;
use crate::driver::{REST, Sim};
use crate::faults::REFUSED;
use crate::host::Disk;
use crate::immediate::at_once;
use crate::witness::{index_of, is_settled};

/// All promises that can be checked in a world at rest.
#[track_caller]
pub(crate) fn promises_hold(sim: &Sim) {
    let store = sim.store();
    let trace = || sim.faults.trace(0);
    let tasks = each_holds(sim, &store, &trace);
    refs_stand(sim, &tasks, &trace);
    nothing_lost(sim, &store, &trace);
    submitted_once(sim, &tasks, &trace);
    pushed_once(sim, &tasks, &trace);
    in_order(sim, &store, &tasks, &trace);
    newest_of_push(sim, &tasks, &trace);
    noted_once(sim, &store, &trace);
    for environment in ENVIRONMENTS {
        hosts_agree(sim, &store, environment, &of(environment, &tasks), &trace);
    }
}

/// Those that hold although the store has lost what came after its backup. Only an agent that scans
/// tags learns of a push in that time.
pub(crate) fn promises_hold_after_a_restore(sim: &Sim) {
    let trace = || sim.faults.trace(0);
    let tasks = each_holds(sim, &sim.store(), &trace);
    if sim.reconciles {
        refs_stand(sim, &tasks, &trace);
    }
}

const ENVIRONMENTS: [&str; 2] = ["qa", "production"];

fn of<'t>(environment: &str, tasks: &'t [Arc<Task>]) -> Vec<&'t Task> {
    let tasks = tasks.iter().map(Arc::as_ref);
    tasks
        .filter(|task| task.submission.environment == environment)
        .collect()
}

/// The promises for each single task; returns the tasks.
#[track_caller]
fn each_holds(sim: &Sim, store: &Store, trace: &impl Fn() -> String) -> Vec<Arc<Task>> {
    let heads = at_once(store.list(&Filter::default(), None, usize::MAX)).unwrap();
    let ids: Vec<u64> = heads.iter().map(|head| head.id).collect();
    sim.witness.history(ids.iter().copied());
    let tasks: Vec<Arc<Task>> = ids.iter().map(|id| sim.witness.task(*id)).collect();
    for (head, task) in heads.iter().zip(&tasks) {
        assert_eq!(head.state, task.state.name(), "head of task {}", task.id);
        assert_eq!(head.events, task.events, "head of task {}", task.id);
        settled(sim, task, &tasks, trace);
        started_once(sim, task, trace);
        no_freeze_broken(sim, task, trace);
        compared_with_now(store, task, trace);
    }
    indexed(store, &tasks);
    for environment in ENVIRONMENTS {
        let tasks = of(environment, &tasks);
        let held = tasks.iter().filter(|task| task.state.holds_queue()).count();
        assert!(held <= 1, "{held} tasks hold the queue of {environment}");
    }
    tasks
}

/// The indexes agree with the logs of the tasks, and hold nothing else.
fn indexed(store: &Store, tasks: &[Arc<Task>]) {
    let mut expected: BTreeMap<(Option<&str>, Option<&str>), BTreeSet<u64>> = BTreeMap::new();
    for task in tasks {
        let place = Some(task.submission.environment.as_str());
        for by in [(Some(task.state.name().as_str()), None), (None, place)] {
            expected.entry(by).or_default().insert(task.id);
        }
    }
    // A task without a project is found by no project.
    expected.remove(&(None, Some("")));
    for ((state, environment), ids) in expected {
        let filter = Filter {
            state: state.map(str::to_owned),
            project: environment.map(|_| "shop".to_owned()),
            environment: environment.map(str::to_owned),
            ..Filter::default()
        };
        let found = at_once(store.list(&filter, None, usize::MAX)).unwrap();
        let found: BTreeSet<u64> = found.iter().map(|head| head.id).collect();
        assert_eq!(found, ids, "{filter:?}");
    }
    let (active, _) = at_once(store.active()).unwrap();
    let at_work = tasks.iter().filter(|task| !task.state.is_settled());
    let at_work: BTreeSet<u64> = at_work.map(|task| task.id).collect();
    assert!(active.is_sorted());
    assert_eq!(BTreeSet::from_iter(active), at_work);
}

/// A task rests, waits for a person, or waits behind one that does.
fn settled(sim: &Sim, task: &Task, tasks: &[Arc<Task>], trace: &impl Fn() -> String) {
    let behind_another = task.state == State::Queued
        && tasks.iter().any(|other| {
            other.submission.environment == task.submission.environment && other.state.holds_queue()
        });
    assert!(
        is_settled(task) || behind_another,
        "task {} is still {:?}\n{}",
        task.id,
        task.state,
        trace()
    );
    // A task that waits for a time waits for a future one.
    let now = sim.clock.now();
    let (project, environment) = (&task.submission.project, &task.submission.environment);
    let time = match &task.state {
        State::Waiting => task.expires(),
        State::Scheduled { at } => Some(*at),
        State::Paused {
            why: Pause::Time { until },
        } => Some(*until),
        _ => None,
    };
    assert!(
        time.is_none_or(|time| time > now)
            || sim.calendar.frozen(project, environment, now).is_some(),
        "task {} is {:?} since {time:?}, and it is {now}\n{}",
        task.id,
        task.state,
        trace()
    );
    // No one has resumed it within `pause_timeout` (a clock that was set back makes that a day
    // longer than worlds run). A question to a person has no timeout.
    if let State::Paused {
        why: Pause::Gate { .. } | Pause::StepGate | Pause::HostFailed { .. },
    } = &task.state
    {
        let ends = task.pause_ends(&sim.witness.plan(task));
        assert!(
            ends.is_none_or(|end| end.duration_since(now) >= REST),
            "task {} is paused until {ends:?}, and it is {now}\n{}",
            task.id,
            trace()
        );
    }
}

/// Nothing begins or continues while its releases are frozen, unless a user has overridden that.
fn no_freeze_broken(sim: &Sim, task: &Task, trace: &impl Fn() -> String) {
    let (project, environment) = (&task.submission.project, &task.submission.environment);
    let events = sim.witness.events(task.id);
    let (mut overridden, mut before) = (None, None);
    for recorded in &events {
        let state = before.as_ref().map(|task: &Task| &task.state);
        let time = recorded.time;
        let resumes = match &recorded.event {
            Event::Started { .. }
            | Event::Due
            | Event::Continued { .. }
            | Event::HostSkipped { .. } => true,
            // From other states it goes back into the queue.
            Event::RetryRequested { .. } => matches!(
                state,
                Some(State::Paused { .. } | State::RollbackFailed { .. })
            ),
            _ => false,
        };
        let frozen = sim.calendar.frozen(project, environment, time);
        assert!(
            !resumes || frozen.is_none() || overridden.is_some_and(|until| time < until),
            "task {}: {} at {time}, in a freeze\n{}",
            task.id,
            recorded.event.name(),
            trace()
        );
        match &recorded.event {
            Event::FreezeOverridden { until, .. } => overridden = Some(until.unwrap()),
            Event::Reopened { .. } => overridden = None,
            Event::RetryRequested { .. } if !resumes => overridden = None,
            _ => {}
        }
        before = Some(match before {
            Some(task) => task.apply(recorded).unwrap(),
            None => Task::fold(task.id, std::slice::from_ref(recorded)).unwrap(),
        });
    }
}

/// A waiting task of a tag has a ref that exists.
fn refs_stand(sim: &Sim, tasks: &[Arc<Task>], trace: &impl Fn() -> String) {
    for task in tasks {
        let waits = task.state != State::Proposed && task.depends_on_ref();
        if !waits || !matches!(task.submission.origin, Origin::Tag(_)) {
            continue;
        }
        let refs = sim.refs.lock().unwrap();
        let present = refs.get(&task.submission.reference);
        assert!(
            present == Some(&task.submission.object),
            "task {} is {} and its ref is gone: {present:?}\n{}",
            task.id,
            task.state,
            trace()
        );
    }
}

/// A program is started again only if a person requested it.
fn started_once(sim: &Sim, task: &Task, trace: &impl Fn() -> String) {
    let Some(work) = &task.work else { return };
    let asked = sim.witness.retries(task.id);
    let prefix = format!("{}-{:x}-", task.id, work.started.as_second());
    for ((_, host), disk) in sim.fleet.disks.lock().unwrap().iter() {
        let mut starts: BTreeMap<String, u32> = BTreeMap::new();
        for (key, times) in &disk.started {
            assert_eq!(*times, 1, "{key} was started again on {host}\n{}", trace());
            let Some(step) = key.strip_prefix(&prefix) else {
                continue;
            };
            // Other programs of an attempt may be repeated.
            if step.contains('.') {
                continue;
            }
            // Without the number of the attempt.
            let (step, _) = step.rsplit_once('-').unwrap();
            *starts.entry(step.to_owned()).or_default() += 1;
        }
        for (step, times) in starts {
            assert!(
                times <= 1 + asked,
                "task {}: step {step} was started {times} times on {host}, {asked} were asked for\n{}",
                task.id,
                trace()
            );
        }
    }
}

fn count(events: &[Recorded], which: impl Fn(&Event) -> bool) -> u32 {
    let found = events.iter().filter(|recorded| which(&recorded.event));
    u32::try_from(found.count()).unwrap()
}

/// Every push that was accepted and that a rule matches became a task.
fn nothing_lost(sim: &Sim, store: &Store, trace: &impl Fn() -> String) {
    assert!(
        sim.records.waiting().is_empty(),
        "records wait\n{}",
        trace()
    );
    for record in sim.records.accepted() {
        let tag = record.reference.strip_prefix("refs/tags/").unwrap();
        let matched = ["qa-", "prod-", "release-"];
        if is_zero(&record.new) || !matched.iter().any(|prefix| tag.starts_with(prefix)) {
            continue;
        }
        let id = format!("{}/shop", record.id);
        let task = at_once(store.task_of_record(&id)).unwrap();
        let task = task.unwrap_or_else(|| panic!("push of {tag} is lost\n{}", trace()));
        let task = sim.witness.task(task);
        assert_eq!(task.submission.reference, record.reference);
        assert_eq!(task.submission.object, record.new);
        taken_for_missing(sim, &record, &task, trace);
    }
}

/// A ref that existed when its record was reported, and exists, was never missing. (A clock that jumps
/// may end the time that a push has to land in.)
fn taken_for_missing(sim: &Sim, record: &Record, task: &Task, trace: &impl Fn() -> String) {
    let State::Expired { reason } = &task.state else {
        return;
    };
    if task.landed.is_some() || reason.contains(REFUSED) || sim.jumped {
        return;
    }
    let present = sim.refs.lock().unwrap().get(&record.reference) == Some(&record.new);
    let moved = sim.moved.lock().unwrap().get(&record.reference).copied();
    let accepted = sim.records.accepted();
    let number = accepted.iter().position(|other| other.id == record.id);
    let stood = moved.is_some_and(|moved| moved <= number.unwrap() + 1);
    assert!(
        !(present && stood),
        "task {} expired, and its ref exists: {reason}\n{}",
        task.id,
        trace()
    );
}

/// Of two pushes without approval, the earlier one began first if its ref existed before the
/// later one was reported, and no user acted on either since.
fn in_order(sim: &Sim, store: &Store, tasks: &[Arc<Task>], trace: &impl Fn() -> String) {
    let mut told: BTreeMap<u64, usize> = BTreeMap::new();
    for (number, record) in sim.records.accepted().iter().enumerate() {
        let id = format!("{}/shop", record.id);
        if let Some(task) = at_once(store.task_of_record(&id)).unwrap() {
            told.entry(task).or_insert(number);
        }
    }
    let began = tasks.iter().filter_map(|task| {
        let number = told.get(&task.id)?;
        let began = began_undisturbed(&sim.witness.events(task.id))?;
        (task.submission.schedule == Schedule::Ready).then_some((task, *number, began))
    });
    let began: Vec<_> = began.collect();
    let moved = sim.moved.lock().unwrap();
    for (older, _, first) in &began {
        let stood = moved.get(&older.submission.reference);
        for (newer, number, second) in &began {
            let there = newer.submission.environment == older.submission.environment;
            let follows = newer.id > older.id && stood.is_some_and(|moved| moved <= number);
            assert!(
                !(there && follows) || first < second,
                "task {} began after task {}, which was pushed later\n{}",
                older.id,
                newer.id,
                trace()
            );
        }
    }
}

/// Of the landed tags of one push, only the newest began, unless a later push superseded it. Tags
/// on which a user acted, or that were pushed again, do not count.
fn newest_of_push(sim: &Sim, tasks: &[Arc<Task>], trace: &impl Fn() -> String) {
    let said = |event: &Event| {
        matches!(
            event,
            Event::RefDoubted
                | Event::Joined { .. }
                | Event::Withdrawn { .. }
                | Event::Rejected { .. }
                | Event::Expired { .. }
                | Event::Reopened { .. }
                | Event::FreezeOverridden { .. }
        )
    };
    let mut pushes: BTreeMap<(u64, OriginKind), Vec<&Arc<Task>>> = BTreeMap::new();
    for task in tasks {
        if let Some(push) = task.submission.push()
            && task.landed.is_some()
            && count(&sim.witness.events(task.id), said) == 0
        {
            let rule = OriginKind::from(&task.submission.origin);
            pushes.entry((push.first, rule)).or_default().push(task);
        }
    }
    for siblings in pushes.into_values() {
        let commit = |task: &Task| task.commit().unwrap().to_owned();
        let is_head = |task: &&&Arc<Task>| {
            let mut others = siblings.iter();
            !others.any(|other| leads(&commit(other), &commit(task)))
        };
        let version = |task: &&&Arc<Task>| -> Vec<u64> {
            let parts = task.tag().split(['-', '.']);
            parts.filter_map(|part| part.parse().ok()).collect()
        };
        let newest = siblings.iter().filter(is_head);
        let newest = newest.max_by_key(version).unwrap();
        let is_sibling = |id: u64| siblings.iter().any(|other| other.id == id);
        if let State::Superseded { by } = newest.state {
            assert!(
                !is_sibling(by),
                "task {} was the newest of its push and gave way to {by}\n{}",
                newest.id,
                trace()
            );
            continue;
        }
        for task in &siblings {
            assert!(
                task.id == newest.id || task.work.is_none(),
                "task {} began, and {} is the newest of its push\n{}",
                task.id,
                newest.id,
                trace()
            );
        }
    }
}

/// The first claim of a task on which no user acted.
fn began_undisturbed(events: &[Recorded]) -> Option<u64> {
    let said = |event: &Event| {
        matches!(
            event,
            Event::RefDoubted
                | Event::Withdrawn { .. }
                | Event::Superseded { .. }
                | Event::Expired { .. }
                | Event::FreezeOverridden { .. }
        )
    };
    if count(events, said) > 0 {
        return None;
    }
    events.iter().find_map(|recorded| match recorded.event {
        Event::Claimed { fence } => Some(fence),
        _ => None,
    })
}

/// Submissions under one key are one task: the one that was returned.
fn submitted_once(sim: &Sim, tasks: &[Arc<Task>], trace: &impl Fn() -> String) {
    for (key, id) in sim.submitted.lock().unwrap().iter() {
        let of_key = tasks.iter().filter(|task| {
            task.submission
                .request()
                .and_then(|request| request.idempotency_key.as_ref())
                == Some(key)
        });
        let of_key: Vec<u64> = of_key.map(|task| task.id).collect();
        assert_eq!(of_key, [*id], "{key}\n{}", trace());
    }
}

/// A tag that was put on an object once, by a push or on the git server, is one task. There is
/// another one only if the first ended without a release because the ref was missing, or if a user
/// requested it.
fn pushed_once(sim: &Sim, tasks: &[Arc<Task>], trace: &impl Fn() -> String) {
    let made = sim.made.lock().unwrap();
    let pushed = sim.records.accepted().into_iter();
    let pushed = pushed.map(|record| (record.reference, record.new));
    let mut put: BTreeMap<(String, String), usize> = BTreeMap::new();
    for tag in pushed.chain(made.iter().cloned()) {
        *put.entry(tag).or_default() += 1;
    }
    let mut once: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    for task in tasks {
        let gone = matches!(task.state, State::Expired { .. } | State::Withdrawn { .. });
        let submission = &task.submission;
        if matches!(submission.origin, Origin::Tag(_)) && !(gone && task.work.is_none()) {
            let tag = (submission.reference.clone(), submission.object.clone());
            once.entry(tag).or_default().push(task.id);
        }
    }
    for (tag, ids) in once {
        // Some tests propose without a push.
        let Some(&times) = put.get(&tag) else {
            continue;
        };
        assert!(
            ids.len() <= times,
            "tasks {ids:?} of {tag:?}, which was put there {times} times\n{}",
            trace()
        );
    }
}

/// The hook log has one entry for each record, with its outcome.
fn noted_once(sim: &Sim, store: &Store, trace: &impl Fn() -> String) {
    let mut entries = Vec::new();
    let mut before = None;
    loop {
        let page = at_once(store.hooks(&HookFilter::default(), before, 7)).unwrap();
        entries.extend(page.entries);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    entries.retain(|entry| {
        let push = entry.push.as_ref().unwrap();
        !push.record.starts_with(tagship::engine::reconcile::LOOK)
    });
    let accepted = sim.records.accepted();
    assert_eq!(entries.len(), accepted.len(), "{entries:#?}\n{}", trace());
    for record in accepted {
        let of_it: Vec<_> = entries
            .iter()
            .filter(|entry| entry.push.as_ref().unwrap().record == record.id.as_str())
            .collect();
        let [entry] = of_it.as_slice() else {
            panic!("{} entries of {record:?}\n{}", of_it.len(), trace());
        };
        let [result] = entry.outcomes.as_slice() else {
            panic!("{entry:?}\n{}", trace());
        };
        assert_eq!(result.project.as_deref(), Some("shop"));
        let task = at_once(store.task_of_record(&format!("{}/shop", record.id))).unwrap();
        assert_eq!(result.outcome.task(), task, "{entry:?}\n{}", trace());
        let first = matches!(
            result.outcome,
            HookOutcome::Proposed { .. } | HookOutcome::Joined { .. }
        );
        assert_eq!(first, task.is_some(), "{entry:?}\n{}", trace());
    }
}

/// Hosts serve what the last task reports, or the failure names them.
fn hosts_agree(
    sim: &Sim,
    store: &Store,
    environment: &str,
    tasks: &[&Task],
    trace: &impl Fn() -> String,
) {
    let Some(begun) = at_once(store.begun("shop", environment)).unwrap() else {
        return;
    };
    let last = tasks.iter().find(|task| task.id == begun.last).unwrap();
    let (plan, work) = (sim.witness.plan(last), last.work.as_ref().unwrap());
    let disks = sim.disks(environment);
    let nothing = Disk::default();
    let recorded = at_once(store.live("shop", environment)).unwrap();
    let mut live: BTreeSet<Option<ReleaseId>> = BTreeSet::new();
    let served = plan.publish_stage().map(|stage| &plan.stages[stage].hosts);
    for host in served.into_iter().flatten() {
        let index = index_of(&plan, host);
        if work.skipped.contains_key(&index) {
            continue;
        }
        let disk = disks.get(host).unwrap_or(&nothing);
        // Another tool has been there since.
        if disk
            .live
            .as_ref()
            .is_some_and(|live| disk.foreign.contains(live))
        {
            continue;
        }
        live.insert(disk.live.clone());
        let what = format!(
            "{host}: {:?} in {environment}, task {:?}",
            disk.live, last.id
        );
        match &last.state {
            State::Succeeded => {
                let target = Some(plan.target_release(host, &work.release));
                assert_eq!(disk.live.as_ref(), target, "{what}\n{}", trace());
                let record = recorded.get(host).map(|live| &live.release);
                assert_eq!(record, target, "{what}\n{}", trace());
            }
            State::RolledBack { .. } => {
                let back = work.steps.iter().any(|(at, step)| {
                    let done = matches!(step.end, Some((_, StepResult::Published { .. })));
                    at.way == Direction::Back && at.host == index && done
                });
                if back {
                    assert_eq!(disk.live, work.live_before[&index], "{what}\n{}", trace());
                }
            }
            _ => {}
        }
    }
    if live.len() > 1 {
        named(sim, tasks, trace);
    }
}

/// Where hosts differ, the failure of the task that switched last names one of them. (What failed
/// after that, and before its own switch, left them as they were.)
fn named(sim: &Sim, tasks: &[&Task], trace: &impl Fn() -> String) {
    let switched = |task: &&&Task| {
        task.work.as_ref().is_some_and(|work| {
            let plan = sim.witness.plan(task);
            work.steps.keys().any(|at| plan.is_publish(*at))
        })
    };
    let Some(last) = tasks.iter().filter(switched).max_by_key(|task| task.fence) else {
        return;
    };
    if let State::Failed { reason } | State::RollbackFailed { back: reason, .. } = &last.state {
        let plan = sim.witness.plan(last);
        let mut names = plan.hosts.iter().map(|host| format!("{}: ", host.name));
        assert!(
            names.any(|name| reason.contains(&name)),
            "hosts differ and nobody is named: {reason}\n{}",
            trace()
        );
    }
}
