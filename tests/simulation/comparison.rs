//! Waiting tasks are compared with what is live now, whatever goes live meanwhile.

use std::collections::BTreeSet;

use tagship::domain::rule::Schedule;
use tagship::domain::task::{Description, Event, Relation, State, Task};
use tagship::engine::request::RollbackTarget;
use tagship::store::Store;

use crate::driver::{Sim, TEMPLATE, object_of};
use crate::faults::Fault;
use crate::immediate::at_once;
use crate::invariants::promises_hold;

/// A waiting task is compared with what is live now on its hosts, and its summary says so.
pub(crate) fn compared_with_now(store: &Store, task: &Task, trace: &impl Fn() -> String) {
    if !task.is_compared() {
        return;
    }
    let what = || format!("task {} is {}\n{}", task.id, task.state, trace());
    let landed = task.landed.as_ref().unwrap();
    let live = at_once(store.live("shop", &task.submission.environment)).unwrap();
    let blob = at_once(store.blob(&landed.description)).unwrap();
    let description: Description = serde_json::from_slice(&blob).unwrap();
    let mut releases = BTreeSet::new();
    let mut hosts = 0;
    for comparison in &description.comparisons {
        for host in &comparison.hosts {
            let now = live.get(host).and_then(|live| live.commit.as_ref());
            assert_eq!(comparison.live.as_ref(), now, "{host}: {}", what());
            releases.extend(live.get(host).map(|live| live.release.clone()));
            hosts += 1;
        }
    }
    assert!(hosts > 0 || live.is_empty(), "{}", what());
    let live_releases = landed.compared.live.iter().map(|live| live.release.clone());
    assert_eq!(
        live_releases.collect::<BTreeSet<_>>(),
        releases,
        "{}",
        what()
    );
    assert_eq!(
        landed.compared.relations,
        description.relations(),
        "{}",
        what()
    );
    let head = at_once(store.head(task.id)).unwrap();
    assert_eq!(head.relations, landed.compared.relations, "{}", what());
}

fn relations(sim: &Sim, id: u64) -> Vec<Relation> {
    sim.task(id).landed.unwrap().compared.relations
}

/// Commit 1 is live, and commit 5 waits for an approval.
fn one_waits() -> (Sim, u64) {
    let mut sim = Sim::new(TEMPLATE);
    sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    let waiting = sim.push_lasting("release-5", &object_of('5'), Schedule::New);
    sim.rest();
    assert_eq!(relations(&sim, waiting), [Relation::Ahead { commits: 4 }]);
    (sim, waiting)
}

fn goes_live(sim: &mut Sim, digit: char) {
    sim.push(&format!("qa-{digit}"), &object_of(digit), Schedule::Ready);
    sim.rest();
    assert!(sim.serves(digit));
}

#[test]
fn waiting_task_is_compared_again_when_another_goes_live() {
    let (mut sim, waiting) = one_waits();
    let before = sim.task(waiting);
    goes_live(&mut sim, '3');
    promises_hold(&sim);
    let after = sim.task(waiting);
    assert_eq!(after.state, State::Waiting);
    assert_eq!(relations(&sim, waiting), [Relation::Ahead { commits: 2 }]);
    let (old, new) = (before.landed.unwrap(), after.landed.unwrap());
    assert_eq!(old.terms, new.terms, "the plan stays");
    assert_eq!(after.landed_at, before.landed_at, "it expires when it did");
    assert_eq!(new.compared.live[0].tag, "qa-3");
    goes_live(&mut sim, '8');
    assert_eq!(relations(&sim, waiting), [Relation::Back { commits: 3 }]);
}

#[test]
fn waiting_task_is_compared_again_after_a_rollback() {
    let (mut sim, waiting) = one_waits();
    goes_live(&mut sim, '3');
    let back = RollbackTarget::Before {
        project: "shop".to_owned(),
        environment: "production".to_owned(),
    };
    sim.roll_back(&back).unwrap();
    sim.rest();
    assert!(sim.serves('1'));
    assert_eq!(relations(&sim, waiting), [Relation::Ahead { commits: 4 }]);
    promises_hold(&sim);
}

#[test]
fn approvals_stay_when_a_task_is_compared_again() {
    let (mut sim, _) = one_waits();
    sim.ground.lock().unwrap().approvals = vec!["2".parse().unwrap()];
    let waiting = sim.push_lasting("release-6", &object_of('6'), Schedule::New);
    sim.rest();
    sim.approve(waiting).unwrap();
    sim.rest();
    goes_live(&mut sim, '3');
    let task = sim.task(waiting);
    assert_eq!((task.state, task.approvals.len()), (State::Waiting, 1));
    assert_eq!(relations(&sim, waiting), [Relation::Ahead { commits: 3 }]);
    sim.approve_from(waiting, "carol", None).unwrap();
    sim.rest();
    assert!(sim.serves('6'));
}

#[test]
fn rollback_is_compared_with_what_is_live() {
    let (mut sim, _) = one_waits();
    goes_live(&mut sim, '3');
    for (to, relation) in [(1, Relation::Back { commits: 2 }), (1, Relation::Same)] {
        let id = sim.roll_back(&RollbackTarget::ToTask(to)).unwrap();
        sim.rest();
        assert_eq!(sim.task(id).state, State::Succeeded);
        assert_eq!(relations(&sim, id), [relation]);
    }
}

#[test]
fn no_comparison_is_made_where_nothing_changed() {
    let (mut sim, waiting) = one_waits();
    sim.kill();
    sim.start();
    sim.rest();
    let events = at_once(sim.store().events(waiting)).unwrap();
    let compared = |event: &Event| matches!(event, Event::Compared { .. });
    assert!(!events.iter().any(|recorded| compared(&recorded.event)));
}

#[test]
fn fault_during_another_release_leaves_no_stale_comparison() {
    let release = |fault: Option<(usize, Fault)>| {
        let (mut sim, waiting) = one_waits();
        let before = sim.faults.count();
        if let Some((effect, fault)) = fault {
            sim.faults.inject(before + effect, fault);
        }
        sim.push("qa-3", &object_of('3'), Schedule::Ready);
        sim.rest();
        promises_hold(&sim);
        if sim.serves('3') {
            assert_eq!(relations(&sim, waiting), [Relation::Ahead { commits: 2 }]);
        }
        sim.faults.count() - before
    };
    for effect in 0..release(None) {
        for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::Refuse] {
            release(Some((effect, fault)));
        }
    }
}

#[test]
fn queued_task_that_became_older_is_refused_by_its_rule() {
    for refuse_older in [true, false] {
        let mut sim = Sim::new(TEMPLATE);
        sim.push("qa-1", &object_of('1'), Schedule::Ready);
        sim.rest();
        sim.move_ref("qa-5", &object_of('5'));
        sim.move_ref("qa-3", &object_of('3'));
        sim.propose_older("refs/tags/qa-5", &object_of('5'), false);
        let older = sim.propose_older("refs/tags/qa-3", &object_of('3'), refuse_older);
        sim.rest();
        let task = sim.task(older);
        if refuse_older {
            let State::Withdrawn { by, reason } = task.state else {
                panic!("{:?}", task.state);
            };
            assert_eq!(by, "tagship");
            assert!(reason.contains("REMOVES 2 commits"), "{reason}");
            assert!(sim.serves('5'));
        } else {
            assert_eq!(task.state, State::Succeeded);
            assert!(sim.serves('3'));
        }
    }
}

/// The last two stay: a reader may still use the former one.
#[test]
fn superseded_comparisons_are_deleted() {
    let (mut sim, waiting) = one_waits();
    let play = |sim: &mut Sim| {
        for digit in ['2', '3', '4', '2', '3', '4'] {
            goes_live(sim, digit);
        }
    };
    play(&mut sim);
    let store = sim.store();
    let events = at_once(store.events(waiting)).unwrap();
    let compared = events.iter().filter_map(|recorded| match &recorded.event {
        Event::Compared { description, .. } => Some(description),
        _ => None,
    });
    let compared: Vec<&String> = compared.collect();
    assert!(compared.len() >= 6, "{compared:?}");
    let (older, last) = compared.split_at(compared.len() - 2);
    for blob in last {
        at_once(store.blob(blob)).unwrap();
    }
    for blob in older {
        assert!(at_once(store.blob(blob)).is_err(), "{blob}");
    }
    // The description made at landing stays.
    let landed = events.iter().find_map(|recorded| match &recorded.event {
        Event::Landed(landed) => Some(&landed.description),
        _ => None,
    });
    at_once(store.blob(landed.unwrap())).unwrap();
    promises_hold(&sim);
}
