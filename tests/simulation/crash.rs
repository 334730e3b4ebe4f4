//! The agent ends, a connection is cut, a commit is not confirmed, at every effect there is: what
//! was promised holds all the same.

use tagship::domain::task::State;

use crate::driver::{Sim, TEMPLATE, object_of};
use crate::faults::Blow;
use crate::invariants::promises_hold;

/// Every blow, with all that a test says when it fails.
const BLOWS: [Blow; 5] = [
    Blow::CrashBefore,
    Blow::CrashAfter,
    Blow::CutBefore,
    Blow::CutAfter,
    Blow::Twice,
];

const CRASHES: [Blow; 2] = [Blow::CrashBefore, Blow::CrashAfter];

/// Into how many tests the pairs are divided: they run side by side.
const PARTS: usize = 2;

fn first_release() -> Sim {
    released(Sim::new(TEMPLATE))
}

/// One release is live, at rest.
pub(crate) fn released(mut sim: Sim) -> Sim {
    sim.push_tag("release-1", &object_of('1'));
    sim.rest();
    sim.approve(1).unwrap();
    sim.rest();
    assert_eq!(sim.task(1).state, State::Succeeded);
    sim
}

/// A second one is pushed, approved, and struck by these blows.
fn second_release(blows: &[(usize, Blow)]) -> Sim {
    let mut sim = first_release();
    let before = sim.fate.count();
    for (effect, blow) in blows {
        sim.fate.strike(before + effect, *blow);
    }
    sim.push_tag("release-2", &object_of('2'));
    sim.rest();
    sim.approve(2).unwrap();
    sim.rest();
    sim.ring();
    sim.rest();
    sim
}

fn effects_of_a_release() -> usize {
    second_release(&[]).fate.count() - first_release().fate.count()
}

#[track_caller]
fn holds(sim: &Sim, blows: &[(usize, Blow)]) {
    let trace = || sim.fate.trace(first_release().fate.count());
    let task = sim.task(2);
    assert_eq!(task.state, State::Succeeded, "{blows:?}\n{}", trace());
    let served = sim.served();
    assert!(
        served.len() == 3
            && served
                .values()
                .all(|commit| *commit == Some(object_of('2'))),
        "{blows:?}: {served:?}\n{}",
        trace()
    );
    for (host, disk) in sim.disks("production") {
        assert_eq!(disk.partial, None, "{blows:?}: rest on {host}");
        assert_eq!(
            disk.history.len(),
            2,
            "{blows:?}: {host} {:?}",
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
        for blow in BLOWS {
            let blows = [(effect, blow)];
            let sim = second_release(&blows);
            let crash = matches!(blow, Blow::CrashBefore | Blow::CrashAfter);
            assert!(!crash || sim.crashes == 1, "{blows:?}: {}", sim.crashes);
            holds(&sim, &blows);
        }
    }
}

/// Every pair of crashes: the first one at any effect of a release, the second one at any effect of
/// what the agent does after it, each before and after the effect. A part of the first ones.
fn pairs_of_crashes(part: usize) {
    let before = first_release().fate.count();
    for first in (part..effects_of_a_release()).step_by(PARTS) {
        for one in CRASHES {
            let effects = second_release(&[(first, one)]).fate.count() - before;
            for second in first + 1..effects {
                for two in CRASHES {
                    let blows = [(first, one), (second, two)];
                    let sim = second_release(&blows);
                    // While a push is gathered, the agent looks at its spool: a crash there comes first.
                    let lasts = sim.fate.effect(before + first).0 == "push.gather";
                    let overtaken = lasts && one == Blow::CrashAfter && sim.crashes == 1;
                    assert!(sim.crashes == 2 || overtaken, "{blows:?}: {}", sim.crashes);
                    holds(&sim, &blows);
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
        let blows = [(effect, Blow::CrashAfter)];
        assert_eq!(
            second_release(&blows).fate.trace(0),
            second_release(&blows).fate.trace(0)
        );
    }
}
