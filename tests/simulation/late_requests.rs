//! A request reaches a host late: the connection was lost, this or another agent continued, and
//! then the request arrives.

use tagship::domain::task::State;
use tagship::domain::template::OnFailure;
use tagship::engine::request::TaskRequest;

use crate::driver::{Halt, Sim, object_of};
use crate::failing_effects::{first_release, gone_back, retried};
use crate::faults::Fault;
use crate::invariants::promises_hold;

const ON_FAILURE: [OnFailure; 3] = [OnFailure::Rollback, OnFailure::Pause, OnFailure::Stop];

/// A second release begins, and stops before the effect with this number.
fn amid(effect: usize, on_failure: OnFailure) -> Option<Sim> {
    let mut sim = first_release(on_failure);
    let before = sim.faults.count();
    sim.push_tag("release-2", &object_of('2'));
    sim.rest();
    sim.approve(2).unwrap();
    sim.faults.pause_at(before + effect);
    (sim.run() == Halt::Interrupted).then_some(sim)
}

/// The first effect after an approval.
fn first_of_work() -> usize {
    let mut sim = first_release(OnFailure::Stop);
    let before = sim.faults.count();
    sim.push_tag("release-2", &object_of('2'));
    sim.rest();
    sim.faults.count() - before
}

type Answer = fn(&mut Sim, &str);

/// Stops an unfinished task, and stops it again if its end could not be verified.
fn stopped(sim: &mut Sim) {
    for _ in 0..2 {
        let _ = sim.ask(2, "bob", &TaskRequest::Stop { host: None });
        sim.rest();
    }
}

/// From any effect on, requests to one host are lost, and arrive before any later effect.
#[test]
fn late_data_from_a_silent_host_changes_nothing_more() {
    let mut played = 0;
    for silent in first_of_work().. {
        if amid(silent, OnFailure::Stop).is_none() {
            break;
        }
        for heard in silent + 1.. {
            let on_failure = ON_FAILURE[(silent + heard) % ON_FAILURE.len()];
            let what = format!("{on_failure:?}: silent from {silent} to {heard}");
            let mut sim = amid(silent, on_failure).unwrap();
            let before = first_release(on_failure).faults.count();
            sim.fleet.wires.silence("c");
            sim.faults.pause_at(before + heard);
            sim.resume();
            let halt = sim.run();
            sim.fleet.deliver();
            sim.resume();
            sim.rest();
            promises_hold(&sim);
            let answer: Answer = match heard % 3 {
                0 => gone_back,
                _ => retried,
            };
            answer(&mut sim, &what);
            played += 1;
            if halt == Halt::AtRest {
                break;
            }
        }
    }
    assert!(played > 500, "{played} played");
}

/// A host does not answer until the task is settled, or was stopped.
#[test]
fn late_data_for_a_finished_task_starts_nothing() {
    for on_failure in ON_FAILURE {
        for silent in first_of_work().. {
            let Some(mut sim) = amid(silent, on_failure) else {
                break;
            };
            sim.fleet.wires.silence("c");
            sim.resume();
            sim.rest();
            stopped(&mut sim);
            sim.fleet.deliver();
            sim.rest();
            promises_hold(&sim);
            for answer in [gone_back as Answer, retried] {
                let what = format!("{on_failure:?}: silent from {silent}");
                let mut sim = amid(silent, on_failure).unwrap();
                sim.fleet.wires.silence("c");
                sim.resume();
                sim.rest();
                sim.fleet.deliver();
                promises_hold(&sim);
                answer(&mut sim, &what);
            }
        }
    }
}

/// A program and its retry get no answer. Then the task is stopped, and the host is reachable
/// again. Neither attempt begins when it arrives.
#[test]
fn no_attempt_of_a_stopped_step_begins_late() {
    let mut retries_stopped = 0;
    for silent in first_of_work().. {
        let Some(mut sim) = amid(silent, OnFailure::Pause) else {
            break;
        };
        for host in ["a", "b", "c"] {
            sim.fleet.wires.silence(host);
        }
        sim.resume();
        sim.rest();
        if sim.ask(2, "bob", &TaskRequest::Retry).is_err() {
            continue;
        }
        sim.rest();
        sim.fleet.wires.mend();
        stopped(&mut sim);
        retries_stopped += usize::from(sim.task(2).state == State::Stopped);
        sim.fleet.deliver();
        sim.rest();
        promises_hold(&sim);
    }
    assert!(retries_stopped > 0, "no task was stopped after a retry");
}

/// A switch without an answer may still happen: the failure says so.
#[test]
fn switch_that_may_still_happen_is_reported() {
    let mut switched = 0;
    for silent in first_of_work().. {
        let Some(mut sim) = amid(silent, OnFailure::Stop) else {
            break;
        };
        sim.fleet.wires.silence("c");
        sim.resume();
        sim.rest();
        let (state, served) = (sim.task(2).state, sim.served());
        sim.fleet.deliver();
        sim.rest();
        if sim.served() == served {
            continue;
        }
        switched += 1;
        let State::Failed { reason } = state else {
            panic!("{state:?}\n{}", sim.faults.trace(0));
        };
        assert!(reason.contains("c: "), "{reason}");
        assert!(reason.contains("may have switched"), "{reason}");
        promises_hold(&sim);
    }
    assert!(switched > 0, "no switch was late");
}

/// One request is late, or its agent ends, and it arrives before any later effect.
#[test]
fn one_late_request_at_any_effect_changes_nothing() {
    let mut played = 0;
    for effect in first_of_work().. {
        let before = first_release(OnFailure::Rollback).faults.count();
        if amid(effect, OnFailure::Rollback).is_none() {
            break;
        }
        for fault in [Fault::Late, Fault::CrashLate] {
            for arrives in effect + 1.. {
                let mut sim = amid(effect, OnFailure::Rollback).unwrap();
                sim.faults.inject(before + effect, fault);
                sim.faults.pause_at(before + arrives);
                sim.resume();
                let halt = sim.run();
                sim.fleet.deliver();
                sim.resume();
                sim.rest();
                let trace =
                    || format!("{fault:?} {effect} {arrives}\n{}", sim.faults.trace(before));
                assert_eq!(sim.task(2).state, State::Succeeded, "{}", trace());
                assert!(sim.serves('2'), "{}", trace());
                promises_hold(&sim);
                played += 1;
                if halt == Halt::AtRest {
                    break;
                }
            }
        }
    }
    assert!(played > 1000, "{played} played");
}
