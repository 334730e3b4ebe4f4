//! The agent ends, or a connection is cut, at every effect: what was promised holds all the same.

use tagship::rule::Schedule;
use tagship::task::State;

use crate::driver::{Sim, TEMPLATE, object};
use crate::host::Partial;
use crate::world::Blow;

/// One release is live; a second one is pushed and approved, and struck by these blows.
async fn release_two(blows: &[(usize, Blow)]) -> (Sim, u64) {
    let mut sim = Sim::new(TEMPLATE).await;
    let first = sim.push("release-1", &object('1'), Schedule::New).await;
    sim.rest().await;
    sim.approve(first).await.unwrap();
    sim.rest().await;
    let before = sim.fate.seen().len();
    for (effect, blow) in blows {
        sim.fate.strike(before + effect, *blow);
    }
    let second = sim.push("release-2", &object('2'), Schedule::New).await;
    sim.rest().await;
    sim.approve(second).await.unwrap();
    sim.rest().await;
    (sim, second)
}

async fn effects_of_a_release() -> usize {
    let (sim, _) = release_two(&[]).await;
    let all = sim.fate.seen().len();
    let mut first = Sim::new(TEMPLATE).await;
    let id = first.push("release-1", &object('1'), Schedule::New).await;
    first.rest().await;
    first.approve(id).await.unwrap();
    first.rest().await;
    all - first.fate.seen().len()
}

async fn holds(sim: &Sim, id: u64, what: &str) {
    let task = sim.task(id).await;
    assert_eq!(
        task.state,
        State::Succeeded,
        "{what}: {:?}",
        sim.fate.seen()
    );
    let served = sim.served().await;
    assert!(
        served.len() == 3 && served.values().all(|commit| *commit == Some(object('2'))),
        "{what}: {served:?}"
    );
    for (host, disk) in sim.disks.lock().unwrap().iter() {
        assert_eq!(disk.partial, Partial::None, "{what}: rest on {host}");
        assert_eq!(
            disk.history.len(),
            2,
            "{what}: {host} switched {:?}",
            disk.history
        );
        for (key, times) in &disk.started {
            assert_eq!(*times, 1, "{what}: {key} was started again on {host}");
        }
    }
}

#[tokio::test]
async fn a_crash_before_or_after_any_effect_loses_nothing() {
    let effects = effects_of_a_release().await;
    assert!(effects > 15, "{effects} effects");
    for effect in 0..effects {
        for blow in [Blow::CrashBefore, Blow::CrashAfter] {
            let what = format!("{blow:?} of effect {effect}");
            let (sim, id) = release_two(&[(effect, blow)]).await;
            assert_eq!(sim.crashes, 1, "{what}");
            holds(&sim, id, &what).await;
        }
    }
}

#[tokio::test]
async fn a_cut_connection_is_mended_by_asking_again() {
    let effects = effects_of_a_release().await;
    for effect in 0..effects {
        for blow in [Blow::CutBefore, Blow::CutAfter] {
            let what = format!("{blow:?} of effect {effect}");
            let (sim, id) = release_two(&[(effect, blow)]).await;
            let task = sim.task(id).await;
            if let State::Failed { .. } = task.state {
                // Only a program that was never started may fail so, and no host has switched.
                let struck = &sim.fate.seen()[sim.fate.seen().len() - 1];
                panic!("{what}: {:?} after {struck}", task.state);
            }
            holds(&sim, id, &what).await;
        }
    }
}

#[tokio::test]
async fn pairs_of_crashes_lose_nothing() {
    let effects = effects_of_a_release().await;
    for first in 0..effects {
        for second in (first + 1..effects + 4).step_by(3) {
            let blows = [(first, Blow::CrashAfter), (second, Blow::CrashBefore)];
            let (sim, id) = release_two(&blows).await;
            holds(&sim, id, &format!("{blows:?}")).await;
        }
    }
}
