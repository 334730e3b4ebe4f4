//! The order in which the tasks of one environment run: that of their pushes, whichever lands
//! first; and which of them newer ones supersede, of the same push or of a later one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tagship::base::clock::Clock as _;
use tagship::domain::host::RunEnd;
use tagship::domain::rule::Schedule;
use tagship::domain::task::State;
use tagship::engine::request::RollbackTarget;
use tagship::store::Filter;

use crate::driver::{Sim, TEMPLATE, object_of};
use crate::faults::Fault;
use crate::immediate::at_once;
use crate::invariants::promises_hold;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

#[test]
fn tasks_of_one_environment_run_in_order() {
    let mut sim = Sim::new(TEMPLATE);
    for digit in ['1', '2', '3'] {
        sim.push_kept(&format!("qa-{digit}"), &object_of(digit));
    }
    sim.rest();
    assert!(sim.serves('3'));
    for disk in sim.disks("production").values() {
        assert_eq!(disk.history.len(), 3);
        assert!(disk.history.is_sorted());
    }
}

#[test]
fn late_landing_push_still_runs_before_a_younger_one() {
    let mut sim = Sim::new(TEMPLATE);
    let older = sim.push_kept("qa-1", &object_of('1'));
    sim.faults
        .refuse("git.fetch", "refs/tags/qa-1", "Connection reset");
    sim.run_for(SECOND);
    let newer = sim.push_kept("qa-2", &object_of('2'));
    sim.run_for(SECOND * 20);
    assert_eq!(sim.task(older).state, State::Proposed);
    assert_eq!(sim.task(newer).state, State::Queued);
    sim.faults.refuse_nothing();
    sim.rest();
    assert!(sim.serves('2'));
    for disk in sim.disks("production").values() {
        assert_eq!(disk.history.len(), 2);
    }
}

#[test]
fn push_with_a_missing_ref_blocks_no_other() {
    let mut sim = Sim::new(TEMPLATE);
    let missing = sim.push_kept("qa-1", &object_of('1'));
    sim.move_ref("qa-1", &object_of('0'));
    let there = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.run_for(SECOND * 20);
    assert_eq!(sim.task(missing).state, State::Proposed);
    assert_eq!(sim.task(there).state, State::Succeeded);
    // It arrives late, but was pushed last.
    sim.move_ref("qa-1", &object_of('1'));
    sim.rest();
    assert!(sim.serves('1'));
}

#[test]
fn push_that_never_lands_unblocks_younger_ones() {
    let mut sim = Sim::new(TEMPLATE);
    let never = sim.push_kept("qa-1", &object_of('1'));
    sim.faults
        .refuse("git.fetch", "refs/tags/qa-1", "Connection reset");
    let newer = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.rest();
    assert!(matches!(sim.task(never).state, State::Expired { .. }));
    assert_eq!(sim.task(newer).state, State::Succeeded);
}

#[test]
fn rollback_does_not_wait_for_landing_pushes() {
    let mut sim = Sim::new(TEMPLATE);
    let first = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.faults
        .refuse("git.fetch", "refs/tags/qa-2", "Connection reset");
    sim.run_for(SECOND);
    let back = sim.roll_back(&RollbackTarget::ToTask(first)).unwrap();
    sim.run_for(SECOND * 20);
    assert_eq!(sim.task(back).state, State::Succeeded);
}

#[test]
fn release_names_of_one_second_sort_by_creation() {
    let mut sim = Sim::new(TEMPLATE);
    let mut ids = Vec::new();
    for (tag, digit) in [("qa-1", '9'), ("qa-2", '1'), ("qa-3", '1')] {
        ids.push(sim.push_kept(tag, &object_of(digit)));
    }
    sim.rest();
    let mut names = Vec::new();
    for id in ids {
        let task = sim.task(id);
        assert_eq!(task.state, State::Succeeded);
        names.push(task.work.unwrap().release);
    }
    assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
}

#[test]
fn queued_task_is_superseded_by_a_newer_one() {
    let mut sim = Sim::new(TEMPLATE);
    let ended = RunEnd::Ended {
        code: 0,
        values: BTreeMap::new(),
    };
    *sim.fleet.program.lock().unwrap() =
        Arc::new(move |_, _| (ended.clone(), Duration::from_secs(90)));
    let running = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.run_for(SECOND * 5);
    let queued = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.run_for(SECOND * 5);
    assert_eq!(sim.task(running).state, State::Running);
    assert_eq!(sim.task(queued).state, State::Queued);
    let newer = sim.push("qa-3", &object_of('3'), Schedule::Ready);
    sim.rest();
    assert_eq!(sim.task(running).state, State::Succeeded);
    assert_eq!(sim.task(queued).state, State::Superseded { by: newer });
    assert!(sim.serves('3'));
    for disk in sim.disks("production").values() {
        assert_eq!(disk.history.len(), 2);
    }
}

/// `qa-1` runs for a while; `qa-2` and `qa-3` wait for it, in that order.
fn two_wait() -> (Sim, [u64; 3]) {
    let mut sim = Sim::new(TEMPLATE);
    let ended = RunEnd::Ended {
        code: 0,
        values: BTreeMap::new(),
    };
    *sim.fleet.program.lock().unwrap() =
        Arc::new(move |_, _| (ended.clone(), Duration::from_secs(90)));
    let running = sim.push_kept("qa-1", &object_of('1'));
    sim.run_for(SECOND * 5);
    let queued = sim.push_kept("qa-2", &object_of('2'));
    let behind = sim.push_kept("qa-3", &object_of('3'));
    sim.run_for(SECOND * 5);
    let states = [running, queued, behind].map(|id| sim.task(id).state);
    assert_eq!(states, [State::Running, State::Queued, State::Queued]);
    (sim, [running, queued, behind])
}

#[test]
fn queued_task_whose_tag_is_deleted_or_moved_does_not_begin() {
    for digit in ['0', '9'] {
        let (mut sim, [running, queued, behind]) = two_wait();
        sim.hook("qa-2", &object_of(digit));
        sim.move_ref("qa-2", &object_of(digit));
        sim.rest();
        let gone = sim.task(queued);
        assert!(
            matches!(gone.state, State::Withdrawn { .. }),
            "{:?}",
            gone.state
        );
        assert!(gone.work.is_none());
        for id in [running, behind] {
            assert_eq!(sim.task(id).state, State::Succeeded);
        }
    }
}

#[test]
fn queued_task_with_a_doubted_tag_blocks_none_behind_it() {
    let (mut sim, [_, queued, behind]) = two_wait();
    // The git server refuses the deletion.
    let reported_at = sim.clock.now();
    sim.hook("qa-2", &object_of('0'));
    sim.rest();
    let (queued, behind) = (sim.task(queued), sim.task(behind));
    for task in [&queued, &behind] {
        assert_eq!(task.state, State::Succeeded);
    }
    assert!(queued.updated.duration_since(reported_at) >= SECOND * 300);
    assert!(behind.updated < queued.updated);
    assert!(sim.serves('2'));
}

/// The hook reports the deletion before any effect of a task, the claim of its queue included.
#[test]
fn tag_deletion_during_the_claim_leaves_no_task_behind() {
    let (mut withdrawn, mut began) = (0, 0);
    for effect in 0.. {
        let mut sim = Sim::new(TEMPLATE);
        let id = sim.push_kept("qa-1", &object_of('1'));
        let (refs, records, bell) = (sim.refs.clone(), sim.records.clone(), sim.bell.clone());
        let time = sim.clock.now().as_millisecond();
        let before = sim.faults.count();
        sim.faults.meanwhile(before + effect, move || {
            refs.lock().unwrap().remove("refs/tags/qa-1");
            records.write("refs/tags/qa-1", &object_of('1'), &object_of('0'), time, "");
            bell.send_modify(|rung| *rung += 1);
        });
        sim.rest();
        if sim.records.accepted().is_empty() {
            break;
        }
        let task = sim.task(id);
        match task.state {
            State::Succeeded => began += 1,
            State::Withdrawn { .. } | State::Expired { .. } if task.work.is_none() => {
                withdrawn += 1;
            }
            state => panic!("effect {effect}: {state:?}\n{}", sim.faults.trace(0)),
        }
    }
    assert!(
        withdrawn > 0 && began > 0,
        "withdrawn {withdrawn} times, began {began} times"
    );
}

/// The commit of this number; odd and even ones are two lines of history.
fn commit(number: u64) -> String {
    format!("{number:040x}")
}

/// One push of these tags; returns the released tag, and how many were released.
fn released(sim: &mut Sim, tags: &[(&str, String)]) -> (String, usize) {
    sim.push_tags("one push", tags);
    sim.rest();
    sim.scan();
    promises_hold(sim);
    let began = |state: &str| {
        let filter = Filter {
            state: Some(state.to_owned()),
            ..Filter::default()
        };
        at_once(sim.store().list(&filter, None, usize::MAX)).unwrap()
    };
    let done = began("succeeded");
    assert_eq!(began("superseded").len() + done.len(), tags.len());
    let live = sim.served();
    let commit = live.values().next().cloned().flatten().unwrap();
    assert!(live.values().all(|other| *other == Some(commit.clone())));
    let tag = tags.iter().find(|(_, object)| *object == commit).unwrap();
    (tag.0.to_owned(), done.len())
}

#[test]
fn newest_commit_of_one_push_is_released() {
    let tags = [
        ("prod-3", commit(1)),
        ("prod-1", commit(5)),
        ("prod-2", commit(3)),
    ];
    let mut sim = Sim::new(TEMPLATE);
    assert_eq!(released(&mut sim, &tags), ("prod-1".to_owned(), 1));
}

#[test]
fn highest_version_of_unrelated_commits_is_released() {
    let tags = [
        ("prod-1.9", commit(5)),
        ("prod-1.12", commit(4)),
        ("prod-1.13", commit(2)),
    ];
    let mut sim = Sim::new(TEMPLATE);
    assert_eq!(released(&mut sim, &tags), ("prod-1.12".to_owned(), 1));
}

#[test]
fn one_push_requests_one_approval() {
    let mut sim = Sim::new(TEMPLATE);
    let tags = [
        ("release-1", commit(3)),
        ("release-2", commit(1)),
        ("release-3", commit(2)),
    ];
    sim.push_tags("one push", &tags);
    sim.rest();
    assert_eq!(sim.task(1).state, State::Superseded { by: 3 });
    assert_eq!(sim.task(2).state, State::Superseded { by: 3 });
    assert_eq!(sim.task(3).state, State::Waiting);
}

#[test]
fn push_waits_for_its_late_tag() {
    let mut sim = Sim::new(TEMPLATE);
    sim.faults
        .refuse("git.fetch", "refs/tags/prod-2", "Connection reset");
    let tags = [("prod-1", commit(1)), ("prod-2", commit(3))];
    sim.push_tags("one push", &tags);
    sim.run_for(SECOND * 20);
    assert_eq!(sim.task(1).state, State::Queued);
    sim.faults.refuse_nothing();
    sim.rest();
    assert_eq!(sim.task(1).state, State::Superseded { by: 2 });
    assert_eq!(sim.task(2).state, State::Succeeded);
}

/// The hook writes its second record after the first one was read.
#[test]
fn push_is_read_to_its_end_before_its_tags_are_looked_up() {
    let first = [("prod-1", commit(1))];
    let mut sim = Sim::new(TEMPLATE);
    released(&mut sim, &first);
    let is_gathering = |effect: &usize| sim.faults.effect(*effect).0 == "push.gather";
    let gathering = (0..sim.faults.count()).find(is_gathering).unwrap();

    let mut sim = Sim::new(TEMPLATE);
    let (refs, records, bell) = (sim.refs.clone(), sim.records.clone(), sim.bell.clone());
    let time = sim.clock.now().as_millisecond();
    sim.faults.meanwhile(gathering, move || {
        let (reference, old) = ("refs/tags/prod-2", object_of('0'));
        refs.lock().unwrap().insert(reference.to_owned(), commit(3));
        records.write(reference, &old, &commit(3), time, "one push");
        bell.send_modify(|rung| *rung += 1);
    });
    sim.push_tags("one push", &first);
    sim.rest();
    assert_eq!(sim.task(1).state, State::Superseded { by: 2 });
    assert_eq!(sim.task(2).state, State::Succeeded);
}

/// Its record was read after the other tag was released; then git fails for a while.
#[test]
fn older_tag_of_a_released_push_gives_way() {
    let mut sim = Sim::new(TEMPLATE);
    released(&mut sim, &[("prod-1", commit(3))]);
    sim.faults.refuse("git.heads", "", "Cannot allocate memory");
    sim.push_tags("one push", &[("prod-2", commit(1))]);
    sim.run_for(SECOND * 20);
    assert_eq!(sim.task(2).state, State::Queued);
    sim.faults.refuse_nothing();
    sim.rest();
    assert_eq!(sim.task(2).state, State::Superseded { by: 1 });
    sim.push_tags("one push", &[("prod-3", commit(5))]);
    sim.rest();
    assert_eq!(sim.task(3).state, State::Succeeded);
}

#[test]
fn any_crash_leaves_one_release_of_one_push() {
    let tags = [("prod-1", commit(3)), ("prod-2", commit(1))];
    let mut sim = Sim::new(TEMPLATE);
    released(&mut sim, &tags);
    let effects = sim.faults.count();
    for effect in 0..effects {
        for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::CutBefore] {
            let mut sim = Sim::new(TEMPLATE);
            sim.faults.inject(effect, fault);
            let done = released(&mut sim, &tags);
            assert_eq!(done, ("prod-1".to_owned(), 1), "{effect} {fault:?}");
        }
    }
}
