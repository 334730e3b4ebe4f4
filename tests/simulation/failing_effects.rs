//! Each effect fails once: it does nothing and says so. That is no crash: the task says what failed
//! and where, and a user continues from there, forward or back.

use tagship::domain::task::State;
use tagship::domain::template::OnFailure;
use tagship::engine::request::{RollbackTarget, TaskRequest};

use crate::crash::released;
use crate::driver::{Sim, TEMPLATE, object_of};
use crate::faults::{Fault, REFUSED};
use crate::invariants::promises_hold;

const ON_FAILURE: [OnFailure; 4] = [
    OnFailure::Rollback,
    OnFailure::Pause,
    OnFailure::Stop,
    OnFailure::Continue,
];

/// More answers than one failure needs from a person.
const ANSWERS_MAX: u32 = 6;

/// One release is live, at rest.
pub(crate) fn first_release(on_failure: OnFailure) -> Sim {
    let sim = Sim::new(TEMPLATE);
    sim.ground.lock().unwrap().on_failure = on_failure;
    released(sim)
}

/// The second one, as far as it gets with approvals only.
pub(crate) fn second_release(sim: &mut Sim) {
    sim.push_tag("release-2", &object_of('2'));
    sim.rest();
    // Records that stayed in the spool are read again.
    sim.scan();
    if sim.task(2).state == State::Waiting {
        sim.approve(2).unwrap();
    }
    sim.rest();
}

/// A user retries it until it is live.
pub(crate) fn retried(sim: &mut Sim, what: &str) {
    for _ in 0..ANSWERS_MAX {
        let state = sim.task(2).state;
        match state {
            State::Succeeded => break,
            State::Waiting => drop(sim.approve(2).unwrap()),
            _ => {
                let asked = sim.ask(2, "bob", &TaskRequest::Retry);
                asked.unwrap_or_else(|why| panic!("{what}: {state:?}: {why}"));
            }
        }
        sim.rest();
    }
    let trace = || sim.faults.trace(0);
    assert_eq!(sim.task(2).state, State::Succeeded, "{what}\n{}", trace());
    assert!(sim.serves('2'), "{what}: {:?}\n{}", sim.served(), trace());
    promises_hold(sim);
}

/// A user submits the first release again.
pub(crate) fn gone_back(sim: &mut Sim, what: &str) {
    let back = sim.roll_back(&RollbackTarget::ToTask(1));
    let back = back.unwrap_or_else(|why| panic!("{what}: {why}"));
    sim.rest();
    let trace = || sim.faults.trace(0);
    assert_eq!(
        sim.task(back).state,
        State::Succeeded,
        "{what}\n{}",
        trace()
    );
    assert!(sim.serves('1'), "{what}: {:?}\n{}", sim.served(), trace());
    promises_hold(sim);
}

/// The reason that a task gives for not succeeding.
fn reason(state: &State) -> String {
    match state {
        State::Failed { reason }
        | State::RolledBack { reason }
        | State::RollbackFailed { reason, .. }
        | State::Expired { reason } => reason.clone(),
        State::Paused { why } => format!("{why:?}"),
        _ => String::new(),
    }
}

/// Every other effect, from this one on, with every `on_failure` and both answers.
fn each_effect_fails(part: usize) {
    for on_failure in ON_FAILURE {
        let before = first_release(on_failure).faults.count();
        let mut named = 0;
        'effects: for effect in (before + part..).step_by(2) {
            for answer in [retried, gone_back] {
                let mut sim = first_release(on_failure);
                sim.faults.inject(effect, Fault::Refuse);
                second_release(&mut sim);
                if sim.faults.count() <= effect {
                    break 'effects;
                }
                let (label, host) = sim.faults.effect(effect);
                let what = format!("{on_failure:?}: {effect} {label} {host}");
                promises_hold(&sim);
                let state = sim.task(2).state;
                if state != State::Succeeded {
                    let why = reason(&state);
                    // What the agent's own disk cannot read counts as lost.
                    let expected = match label {
                        "shelf.load" => "its manifest is lost",
                        _ => REFUSED,
                    };
                    assert!(why.contains(expected), "{what}: {state:?}");
                    let names = label.starts_with("host.");
                    assert!(
                        !names || why.contains(&format!("{host}: ")),
                        "{what}: {why}"
                    );
                    named += 1;
                }
                answer(&mut sim, &what);
            }
        }
        assert!(named > 15, "{on_failure:?}: {named} failed their task");
    }
}

#[test]
fn single_failure_is_named_and_can_be_resumed_one() {
    each_effect_fails(0);
}

#[test]
fn single_failure_is_named_and_can_be_resumed_two() {
    each_effect_fails(1);
}
