//! Tags that no hook reported: the first scan releases nothing, later ones propose new or moved
//! tags.

use tagship::domain::rule::Schedule;
use tagship::domain::task::{State, StateName};
use tagship::store::{Filter, Head};

use crate::driver::{Sim, TEMPLATE, object_of};
use crate::faults::Fault;
use crate::immediate::at_once;

const REPOSITORY: &str = "alice/shop";

/// A world that scans its repository, and has seen `prod-0` there.
fn scanned() -> Sim {
    let mut sim = Sim::new(TEMPLATE);
    sim.reconciles = true;
    sim.move_ref("prod-0", &object_of('9'));
    sim.rest();
    assert_eq!(tasks(&sim), []);
    sim
}

/// All tasks, oldest first.
fn tasks(sim: &Sim) -> Vec<Head> {
    let mut heads = at_once(sim.store().list(&Filter::default(), None, usize::MAX)).unwrap();
    heads.reverse();
    heads
}

fn made(sim: &mut Sim, tag: &str, digit: char) {
    sim.move_ref(tag, &object_of(digit));
    sim.scan();
}

#[test]
fn a_tag_made_on_the_server_is_released_once() {
    let mut sim = scanned();
    made(&mut sim, "prod-1", '1');
    assert!(sim.serves('1'));
    sim.scan();
    sim.kill();
    sim.rest();
    let [task] = &tasks(&sim)[..] else {
        panic!("{:?}", tasks(&sim));
    };
    assert_eq!(task.state, StateName::Succeeded);
    // Its author is unknown.
    assert_eq!(sim.task(task.id).submission.submitter.account, None);
}

#[test]
fn tags_of_the_first_poll_are_not_released() {
    let mut sim = scanned();
    for _ in 0..3 {
        sim.scan();
        sim.kill();
    }
    assert_eq!(tasks(&sim), []);
}

#[test]
fn tag_from_the_hook_is_proposed_once() {
    let mut sim = scanned();
    sim.faults.refuse("git.tags", "", "Connection reset");
    sim.push_tag("prod-1", &object_of('1'));
    sim.rest();
    assert!(sim.serves('1'));
    sim.faults.refuse_nothing();
    sim.scan();
    assert_eq!(tasks(&sim).len(), 1);
    assert!(sim.serves('1'));
}

#[test]
fn record_after_the_poll_joins_its_task() {
    let mut sim = scanned();
    sim.faults
        .refuse("git.fetch", "refs/tags/prod-1", "Connection reset");
    sim.move_ref("prod-1", &object_of('1'));
    sim.ring();
    sim.run_for(jiff::SignedDuration::from_secs(5));
    sim.hook("prod-1", &object_of('1'));
    sim.run_for(jiff::SignedDuration::from_secs(5));
    sim.faults.refuse_nothing();
    sim.rest();
    sim.scan();
    assert_eq!(tasks(&sim).len(), 1);
    assert!(sim.serves('1'));
}

#[test]
fn unreadable_record_makes_no_second_task() {
    let mut sim = scanned();
    sim.faults.refuse("spool.read", "", "Input/output error");
    sim.push_tag("prod-1", &object_of('1'));
    sim.rest();
    sim.faults.refuse_nothing();
    sim.scan();
    sim.scan();
    assert_eq!(tasks(&sim).len(), 1);
    assert!(sim.serves('1'));
}

#[test]
fn a_late_ref_of_an_unfinished_task_is_released_once() {
    let mut sim = scanned();
    sim.hook("prod-1", &object_of('1'));
    sim.run_for(jiff::SignedDuration::from_secs(200));
    // A restarted agent waits for the full time again.
    sim.kill();
    sim.run_for(jiff::SignedDuration::from_secs(150));
    sim.ring();
    sim.run_for(jiff::SignedDuration::from_secs(1));
    assert_eq!(sim.task(1).state, State::Proposed);
    sim.move_ref("prod-1", &object_of('1'));
    sim.rest();
    assert!(sim.serves('1'));
    sim.scan();
    assert_eq!(tasks(&sim).len(), 1);
}

#[test]
fn a_tag_that_is_moved_or_made_again_on_the_server_is_new() {
    let mut sim = scanned();
    made(&mut sim, "prod-1", '1');
    made(&mut sim, "prod-1", '2');
    assert!(sim.serves('2'));
    made(&mut sim, "prod-1", '0');
    made(&mut sim, "prod-1", '3');
    assert!(sim.serves('3'));
    assert_eq!(tasks(&sim).len(), 3);
}

#[test]
fn poll_that_shows_no_tag_deletes_and_releases_nothing() {
    let mut sim = scanned();
    made(&mut sim, "prod-1", '1');
    made(&mut sim, "release-2", '2');
    assert_eq!(sim.task(2).state, State::Waiting);
    let failed = |sim: &Sim| at_once(sim.store().failed_scans(REPOSITORY)).unwrap();
    let shown = std::mem::take(&mut *sim.refs.lock().unwrap());
    for _ in 0..2 {
        sim.scan();
        let cause = failed(&sim).unwrap().cause;
        assert!(cause.contains("had 3 tags"), "{cause}");
        sim.kill();
    }
    sim.refs.lock().unwrap().extend(shown);
    sim.scan();
    assert_eq!(failed(&sim), None);
    assert_eq!(sim.task(2).state, State::Waiting);
    assert_eq!(tasks(&sim).len(), 2);
    assert!(sim.serves('1'));
}

#[test]
fn a_deleted_tag_that_is_back_on_its_object_is_not_new() {
    let mut sim = scanned();
    made(&mut sim, "prod-1", '1');
    made(&mut sim, "prod-2", '2');
    made(&mut sim, "prod-1", '0');
    sim.kill();
    // The deletion is looked at twice.
    made(&mut sim, "prod-3", '3');
    made(&mut sim, "prod-1", '1');
    assert_eq!(tasks(&sim).len(), 3);
    assert!(sim.serves('3'));
    // On another object it is new, and so is whatever a hook reports.
    made(&mut sim, "prod-1", '0');
    made(&mut sim, "prod-1", '4');
    assert_eq!(tasks(&sim).len(), 4);
    assert!(sim.serves('4'));
    made(&mut sim, "prod-1", '0');
    sim.push_tag("prod-1", &object_of('4'));
    sim.scan();
    assert_eq!(tasks(&sim).len(), 5);
}

/// Pushes `prod-1` without a scan that sees it.
fn push_unscanned(sim: &mut Sim, digit: char) {
    sim.faults.refuse("git.tags", "", "Connection reset");
    sim.push_tag("prod-1", &object_of(digit));
    sim.rest();
    sim.faults.refuse_nothing();
}

#[test]
fn pushes_follow_each_other_after_a_clock_set_back() {
    let mut sim = scanned();
    push_unscanned(&mut sim, '1');
    let earlier =
        tagship::base::clock::Clock::now(&*sim.clock) - jiff::SignedDuration::from_hours(1);
    sim.clock.set(earlier);
    push_unscanned(&mut sim, '2');
    for _ in 0..2 {
        sim.scan();
    }
    assert_eq!(tasks(&sim).len(), 2);
    assert!(sim.serves('2'));
}

/// No scan comes between the push and the change on the server.
#[test]
fn tag_that_the_server_puts_back_after_a_push_is_new() {
    let mut sim = scanned();
    push_unscanned(&mut sim, '1');
    assert!(sim.serves('1'));
    made(&mut sim, "prod-1", '2');
    assert!(sim.serves('2'));
    made(&mut sim, "prod-1", '1');
    assert!(sim.serves('1'));
    assert_eq!(tasks(&sim).len(), 3);
    // Known to be on 1, moved by a push, and moved back before the next scan.
    push_unscanned(&mut sim, '3');
    assert!(sim.serves('3'));
    made(&mut sim, "prod-1", '1');
    assert!(sim.serves('1'));
    assert_eq!(tasks(&sim).len(), 5);
    // Consecutive pushes are reported only by hooks.
    push_unscanned(&mut sim, '3');
    push_unscanned(&mut sim, '1');
    for _ in 0..2 {
        sim.scan();
    }
    assert_eq!(tasks(&sim).len(), 7);
    assert!(sim.serves('1'));
}

#[test]
fn failing_tag_polls_store_their_cause_and_start() {
    let mut sim = scanned();
    let failed = |sim: &Sim| at_once(sim.store().failed_scans(REPOSITORY)).unwrap();
    assert_eq!(failed(&sim), None);
    sim.faults.refuse("git.tags", "", "Permission denied");
    sim.scan();
    let first = failed(&sim).unwrap();
    assert!(first.cause.contains("Permission denied"), "{first:?}");
    sim.faults.refuse_nothing();
    sim.faults.refuse("git.tags", "", "Connection refused");
    let later = tagship::base::clock::Clock::now(&*sim.clock) + jiff::SignedDuration::from_hours(3);
    sim.clock.set(later);
    sim.kill();
    sim.scan();
    let second = failed(&sim).unwrap();
    assert!(second.cause.contains("Connection refused"), "{second:?}");
    assert_eq!(second.since, first.since);
    assert!(second.at > first.at);
    sim.faults.refuse_nothing();
    sim.scan();
    assert_eq!(failed(&sim), None);
    assert_eq!(tasks(&sim), []);
}

#[test]
fn missing_tag_withdraws_its_waiting_task() {
    let mut sim = scanned();
    made(&mut sim, "release-1", '1');
    assert_eq!(sim.task(1).state, State::Waiting);
    assert_eq!(sim.task(1).submission.schedule, Schedule::New);
    made(&mut sim, "release-1", '0');
    assert!(matches!(sim.task(1).state, State::Withdrawn { .. }));
}

#[test]
fn tags_of_one_poll_form_one_push() {
    let mut sim = scanned();
    sim.move_ref("prod-3", &object_of('1'));
    sim.move_ref("prod-1", &object_of('5'));
    made(&mut sim, "prod-2", '3');
    let states: Vec<StateName> = tasks(&sim).iter().map(|task| task.state).collect();
    let superseded = StateName::Superseded;
    assert_eq!(states, [StateName::Succeeded, superseded, superseded]);
    assert!(sim.serves('5'));
}

#[test]
fn a_restored_store_releases_no_tag_by_itself() {
    let mut sim = scanned();
    let (rows, taken) = (sim.backup(), tagship::base::clock::Clock::now(&*sim.clock));
    made(&mut sim, "prod-1", '1');
    sim.restore_properly(&rows, taken);
    sim.scan();
    assert_eq!(tasks(&sim), []);
    made(&mut sim, "prod-2", '2');
    assert!(sim.serves('2'));
}

#[test]
fn fault_at_any_poll_effect_loses_and_repeats_nothing() {
    let play = |fault: Option<(usize, Fault)>| {
        let mut sim = scanned();
        let before = sim.faults.count();
        if let Some((effect, fault)) = fault {
            sim.faults.inject(before + effect, fault);
        }
        sim.move_ref("prod-1", &object_of('1'));
        made(&mut sim, "prod-2", '2');
        sim.scan();
        let states: Vec<StateName> = tasks(&sim).iter().map(|task| task.state).collect();
        // An interrupted scan continues as the same push.
        let [first, last] = &states[..] else {
            panic!("{fault:?}: {states:?}");
        };
        assert_eq!(*last, StateName::Succeeded, "{fault:?}");
        assert_eq!(*first, StateName::Superseded, "{fault:?}");
        assert!(sim.serves('2'), "{fault:?}");
        sim.faults.count() - before
    };
    for effect in 0..play(None) {
        for fault in [
            Fault::CrashBefore,
            Fault::CrashAfter,
            Fault::CutBefore,
            Fault::CutAfter,
        ] {
            play(Some((effect, fault)));
        }
    }
}
