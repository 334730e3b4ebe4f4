//! At every effect the agent ends, a connection is cut, or a commit is not confirmed: the promises
//! still hold.

use tagship::domain::task::State;
use tagship_tests::assert_text_eq;

use crate::driver::{Sim, TEMPLATE, object_of};
use crate::faults::Fault;
use crate::invariants::promises_hold;

/// A crash or cut before and after the effect, and a repetition.
const BLOWS: [Fault; 5] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::Twice,
];

const CRASHES: [Fault; 2] = [Fault::CrashBefore, Fault::CrashAfter];

/// The number of tests into which the pairs are divided: they run in parallel.
const PARTS: usize = 2;

fn first_release() -> Sim {
    released(Sim::new(TEMPLATE))
}

/// One release is live, at rest.
pub(crate) fn released(mut sim: Sim) -> Sim {
    sim.release(1);
    assert_eq!(sim.task(1).state, State::Succeeded);
    sim
}

/// A second one is pushed and approved, with these faults.
fn second_release(faults: &[(usize, Fault)]) -> Sim {
    let mut sim = first_release();
    let before = sim.faults.count();
    for (effect, fault) in faults {
        sim.faults.inject(before + effect, *fault);
    }
    sim.release(2);
    sim.scan();
    sim
}

fn effects_of_a_release() -> usize {
    second_release(&[]).faults.count() - first_release().faults.count()
}

#[track_caller]
fn holds(sim: &Sim, faults: &[(usize, Fault)]) {
    let trace = || sim.faults.trace(first_release().faults.count());
    let task = sim.task(2);
    assert_eq!(task.state, State::Succeeded, "{faults:?}\n{}", trace());
    let served = sim.served();
    assert!(
        served.len() == 3
            && served
                .values()
                .all(|commit| *commit == Some(object_of('2'))),
        "{faults:?}: {served:?}\n{}",
        trace()
    );
    for (host, disk) in sim.disks("production") {
        assert_eq!(disk.partial, None, "{faults:?}: rest on {host}");
        assert_eq!(
            disk.history.len(),
            2,
            "{faults:?}: {host} {:?}",
            disk.history
        );
    }
    promises_hold(sim);
}

#[test]
fn any_fault_at_any_effect_loses_nothing() {
    let effects = effects_of_a_release();
    assert!(effects > 40, "{effects} effects");
    for effect in 0..effects {
        for fault in BLOWS {
            let faults = [(effect, fault)];
            let sim = second_release(&faults);
            let crash = matches!(fault, Fault::CrashBefore | Fault::CrashAfter);
            assert!(!crash || sim.crashes == 1, "{faults:?}: {}", sim.crashes);
            holds(&sim, &faults);
        }
    }
}

/// Every pair of crashes, each before and after the effect. The first is at any effect of a release
/// (a part of them), the second at any later effect.
fn pairs_of_crashes(part: usize) {
    let before = first_release().faults.count();
    for first in (part..effects_of_a_release()).step_by(PARTS) {
        for one in CRASHES {
            let effects = second_release(&[(first, one)]).faults.count() - before;
            for second in first + 1..effects {
                for two in CRASHES {
                    let faults = [(first, one), (second, two)];
                    let sim = second_release(&faults);
                    // While a push is gathered, the agent looks at its spool: a crash there comes first.
                    let lasts = sim.faults.effect(before + first).0 == "push.gather";
                    let overtaken = lasts && one == Fault::CrashAfter && sim.crashes == 1;
                    assert!(sim.crashes == 2 || overtaken, "{faults:?}: {}", sim.crashes);
                    holds(&sim, &faults);
                }
            }
        }
    }
}

#[test]
fn any_pair_of_crashes_loses_nothing_one() {
    pairs_of_crashes(0);
}

#[test]
fn any_pair_of_crashes_loses_nothing_two() {
    pairs_of_crashes(1);
}

#[test]
fn the_same_faults_give_the_same_effects() {
    for effect in (0..effects_of_a_release()).step_by(5) {
        let faults = [(effect, Fault::CrashAfter)];
        let trace = || second_release(&faults).faults.trace(0);
        assert_text_eq(&trace(), &trace(), &format!("effect {effect}"));
    }
}
