//! The order in which the tasks of one environment run: that of their pushes, whichever lands first.

use jiff::SignedDuration;
use tagship::request::Back;
use tagship::rule::Schedule;
use tagship::task::State;

use crate::driver::{Sim, TEMPLATE, object_of};
use crate::life::serves;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

#[test]
fn tasks_of_one_environment_run_in_order() {
    let mut sim = Sim::new(TEMPLATE);
    for digit in ['1', '2', '3'] {
        sim.push(&format!("qa-{digit}"), &object_of(digit), Schedule::Ready);
    }
    sim.rest();
    assert!(serves(&sim, '3'));
    for disk in sim.disks("production").values() {
        assert_eq!(disk.history.len(), 3);
        assert!(disk.history.is_sorted());
    }
}

#[test]
fn a_push_that_lands_later_than_a_younger_one_still_runs_before_it() {
    let mut sim = Sim::new(TEMPLATE);
    let older = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.fate
        .refuse("git.fetch", "refs/tags/qa-1", "Connection reset");
    sim.run_for(SECOND);
    let newer = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.run_for(SECOND * 20);
    assert_eq!(sim.task(older).state, State::Proposed);
    assert_eq!(sim.task(newer).state, State::Queued);
    sim.fate.forgive();
    sim.rest();
    assert!(serves(&sim, '2'));
    for disk in sim.disks("production").values() {
        assert_eq!(disk.history.len(), 2);
    }
}

#[test]
fn a_push_whose_ref_nobody_sees_holds_up_no_other() {
    let mut sim = Sim::new(TEMPLATE);
    let missing = sim.propose("refs/tags/qa-1", &object_of('1'), Schedule::Ready);
    let there = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.run_for(SECOND * 20);
    assert_eq!(sim.task(missing).state, State::Proposed);
    assert_eq!(sim.task(there).state, State::Succeeded);
    // It comes late, and is what was pushed last.
    sim.move_ref("qa-1", &object_of('1'));
    sim.rest();
    assert!(serves(&sim, '1'));
}

#[test]
fn a_push_that_never_lands_lets_the_younger_ones_go() {
    let mut sim = Sim::new(TEMPLATE);
    let never = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.fate
        .refuse("git.fetch", "refs/tags/qa-1", "Connection reset");
    let newer = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.rest();
    assert!(matches!(sim.task(never).state, State::Expired { .. }));
    assert_eq!(sim.task(newer).state, State::Succeeded);
}

#[test]
fn a_rollback_waits_for_no_push_that_lands() {
    let mut sim = Sim::new(TEMPLATE);
    let first = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.fate
        .refuse("git.fetch", "refs/tags/qa-2", "Connection reset");
    sim.run_for(SECOND);
    let back = sim.roll_back(&Back::ToTask(first)).unwrap();
    sim.run_for(SECOND * 20);
    assert_eq!(sim.task(back).state, State::Succeeded);
}

#[test]
fn releases_of_the_same_second_have_names_that_sort_as_they_were_made() {
    let mut sim = Sim::new(TEMPLATE);
    let mut ids = Vec::new();
    for (tag, digit) in [("qa-1", '9'), ("qa-2", '1'), ("qa-3", '1')] {
        ids.push(sim.push(tag, &object_of(digit), Schedule::Ready));
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
