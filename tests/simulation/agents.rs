//! More than one agent: one that was suspended and resumes too late, one whose store was restored
//! from a backup, one whose machine was cloned.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use tagship::base::clock::Clock as _;
use tagship::domain::host::{FENCE_SALT_BITS, ReleaseId};
use tagship::domain::rule::Schedule;
use tagship::domain::task::State;
use tagship::engine::request::TaskRequest;

use crate::driver::{Halt, Sim, TEMPLATE, object_of};
use crate::immediate::at_once;
use crate::invariants::promises_hold;

fn released(sim: &mut Sim, tag: &str, digit: char) -> u64 {
    let id = sim.push(tag, &object_of(digit), Schedule::Ready);
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
    id
}

#[test]
fn suspended_agent_has_no_effect_after_a_takeover() {
    let mut effect = 0;
    loop {
        let mut sim = Sim::new(TEMPLATE);
        released(&mut sim, "prod-1", '1');
        sim.faults.share_store(true);
        sim.faults.pause_at(sim.faults.count() + effect);
        let id = sim.push("prod-2", &object_of('2'), Schedule::Ready);
        if sim.run() == Halt::AtRest {
            break;
        }
        sim.stall();
        sim.start();
        sim.rest();
        assert_eq!(sim.task(id).state, State::Succeeded, "effect {effect}");
        let (events, disks) = (sim.task(id).events, sim.disks("production"));
        sim.go_on();
        sim.resume();
        sim.rest();
        let trace = || sim.faults.trace(0);
        assert_eq!(sim.task(id).events, events, "effect {effect}\n{}", trace());
        assert!(sim.serves('2'), "effect {effect}");
        for (host, disk) in sim.disks("production") {
            assert_eq!(
                disk.history,
                disks[&host].history,
                "effect {effect}\n{}",
                trace()
            );
            assert_eq!(
                disk.fence,
                disks[&host].fence,
                "effect {effect}\n{}",
                trace()
            );
        }
        promises_hold(&sim);
        effect += 1;
    }
    assert!(effect > 15, "{effect} effects");
}

/// The suspended one resumes while the other one still works.
#[test]
fn superseded_agent_leaves_work_to_its_successor() {
    let mut played = 0;
    for effect in 0.. {
        for later in (1..).step_by(2) {
            let mut sim = Sim::new(TEMPLATE);
            released(&mut sim, "prod-1", '1');
            sim.faults.share_store(true);
            sim.faults.pause_at(sim.faults.count() + effect);
            let id = sim.push("prod-2", &object_of('2'), Schedule::Ready);
            if sim.run() == Halt::AtRest {
                assert!(played > 200, "{played} played");
                return;
            }
            sim.stall();
            sim.faults.pause_at(sim.faults.count() + later);
            sim.start();
            let halt = sim.run();
            sim.go_on();
            sim.resume();
            sim.rest();
            let trace = || format!("{effect} {later}\n{}", sim.faults.trace(0));
            assert_eq!(sim.task(id).state, State::Succeeded, "{}", trace());
            assert!(sim.serves('2'), "{}", trace());
            promises_hold(&sim);
            played += 1;
            if halt == Halt::AtRest {
                break;
            }
        }
    }
}

#[test]
fn two_agents_over_one_store_do_each_thing_once() {
    let mut sim = Sim::new(TEMPLATE);
    sim.faults.share_store(true);
    sim.start();
    sim.start();
    for (tag, digit) in [("prod-1", '1'), ("prod-2", '2'), ("prod-3", '3')] {
        sim.push_tag(tag, &object_of(digit));
        sim.rest();
    }
    assert_eq!(sim.crashes, 0);
    assert!(sim.serves('3'));
    for disk in sim.disks("production").values() {
        assert_eq!(disk.history.len(), 3);
    }
    promises_hold(&sim);
}

#[test]
fn a_restored_agent_claims_above_every_fence_that_hosts_show() {
    let mut sim = Sim::new(TEMPLATE);
    released(&mut sim, "prod-1", '1');
    let backup = sim.backup();
    released(&mut sim, "prod-2", '2');
    released(&mut sim, "prod-3", '3');
    sim.clock.advance(std::time::Duration::from_secs(60));
    sim.restore(&backup);
    // Task numbers begin again; what hosts know under them must not count.
    let id = released(&mut sim, "prod-4", '4');
    assert_eq!(id, 2);
    assert!(sim.serves('4'));
    let started: usize = sim
        .disks("production")
        .values()
        .map(|disk| disk.started.len())
        .sum();
    assert_eq!(started, 4, "each release has migrated");
}

#[test]
fn restored_agent_with_a_slow_clock_reports_it_and_resumes() {
    let mut sim = Sim::new(TEMPLATE);
    released(&mut sim, "prod-1", '1');
    let backup = sim.backup();
    sim.clock.advance(std::time::Duration::from_secs(3600));
    let second = released(&mut sim, "prod-2", '2');
    sim.restore(&backup);
    sim.clock
        .set(sim.clock.now() - SignedDuration::from_secs(1800));
    let id = sim.push("prod-3", &object_of('3'), Schedule::Ready);
    assert_eq!(id, second);
    sim.rest();
    let State::Failed { reason } = sim.task(id).state else {
        panic!("{:?}", sim.task(id).state);
    };
    assert!(reason.contains("restored from a backup"), "{reason}");
    assert!(sim.serves('2'), "no host was touched");
    sim.ask(id, "bob", &TaskRequest::Retry).unwrap();
    sim.rest();
    let State::Failed { reason } = sim.task(id).state else {
        panic!("{:?}", sim.task(id).state);
    };
    assert!(reason.contains("newer than this task's"), "{reason}");
    assert!(sim.serves('2'), "no host was touched");
    sim.clock.advance(std::time::Duration::from_secs(7200));
    released(&mut sim, "prod-4", '4');
    assert!(sim.serves('4'));
}

/// A fence that a host shows raises the claims there; an impossible one raises nothing.
#[test]
fn fence_of_one_host_blocks_no_other_host() {
    let mut sim = Sim::new(TEMPLATE);
    released(&mut sim, "prod-1", '1');
    let fence_of = |sim: &Sim, host: &str| sim.disks("production")[host].fence;
    let set = |sim: &Sim, fence: u64| {
        let place = ("production".to_owned(), "b".to_owned());
        let mut disks = sim.fleet.disks.lock().unwrap();
        disks.get_mut(&place).unwrap().fence = fence;
    };
    let own = fence_of(&sim, "a");
    for odd in [i64::MAX.cast_unsigned(), u64::MAX] {
        set(&sim, odd);
        let id = sim.push("prod-2", &object_of('2'), Schedule::Ready);
        for _ in 0..2 {
            sim.rest();
            let State::Failed { reason } = sim.task(id).state else {
                panic!("{:?}", sim.task(id).state);
            };
            assert!(reason.contains("b: ") && reason.contains(&odd.to_string()));
            assert!(sim.serves('1'), "no host switched");
            sim.ask(id, "bob", &TaskRequest::Retry).unwrap();
        }
        set(&sim, own);
        sim.rest();
        assert_eq!(sim.task(id).state, State::Succeeded);
        assert_eq!(
            fence_of(&sim, "a"),
            fence_of(&sim, "b"),
            "nothing is lifted"
        );
        released(&mut sim, "prod-1", '1');
    }
    // A clock that was 40 days ahead: only that host's claims are raised, after a person retries.
    let ahead = fence_of(&sim, "a") + ((40 * 86_400_000) << FENCE_SALT_BITS);
    set(&sim, ahead);
    let id = sim.push("prod-3", &object_of('3'), Schedule::Ready);
    sim.rest();
    assert!(matches!(sim.task(id).state, State::Failed { .. }));
    sim.ask(id, "bob", &TaskRequest::Retry).unwrap();
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
    assert!(fence_of(&sim, "b") > ahead && fence_of(&sim, "a") < ahead);
    promises_hold(&sim);
}

#[test]
fn restored_agent_drops_work_behind_newer_releases() {
    let mut effect = 0;
    loop {
        let mut sim = Sim::new(TEMPLATE);
        released(&mut sim, "prod-1", '1');
        sim.faults.pause_at(sim.faults.count() + effect);
        sim.push("prod-2", &object_of('2'), Schedule::Ready);
        if sim.run() == Halt::AtRest {
            break;
        }
        let begun = at_once(sim.store().active()).unwrap().0;
        let running = begun.iter().any(|id| sim.task(*id).state.holds_queue());
        let backup = sim.backup();
        sim.resume();
        sim.rest();
        sim.clock.advance(std::time::Duration::from_secs(5));
        released(&mut sim, "prod-3", '3');
        sim.restore(&backup);
        sim.rest();
        if running {
            assert!(sim.serves('3'), "effect {effect}: {:?}", sim.served());
        }
        effect += 1;
    }
}

/// A staged release does not include later events.
#[test]
fn waiting_task_does_not_undo_another_agents_release() {
    let gated = TEMPLATE.replace("name = \"switch\"", "name = \"switch\"\ngate = \"hand\"");
    let mut sim = Sim::new(&gated);
    let first = sim.push("prod-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    let go = TaskRequest::Resume { host: None };
    sim.ask(first, "bob", &go).unwrap();
    sim.rest();
    assert!(sim.serves('1'));
    let mut twin = sim.twin();
    let ours = sim.push("prod-2", &object_of('2'), Schedule::Ready);
    sim.rest();
    sim.clock.advance(std::time::Duration::from_secs(5));
    let theirs = twin.push("prod-3", &object_of('3'), Schedule::Ready);
    twin.rest();
    sim.witness.knows_trees_of(&twin.witness);
    twin.ask(theirs, "bob", &go).unwrap();
    twin.rest();
    assert_eq!(twin.task(theirs).state, State::Succeeded);
    sim.ask(ours, "bob", &go).unwrap();
    sim.rest();
    // Its fence is lower now; a retry raises it, and reports the release.
    let told = |sim: &Sim, what: &str| match sim.task(ours).state {
        State::Failed { reason: why } | State::RollbackFailed { back: why, .. } => {
            assert!(why.contains(what), "{why}");
        }
        other => panic!("{other:?}"),
    };
    told(&sim, "another agent");
    for _ in 0..2 {
        sim.ask(ours, "bob", &TaskRequest::Retry).unwrap();
        sim.rest();
        told(&sim, "unknown to this agent");
        assert!(twin.serves('3'));
    }
}

/// Whether a task reports that another agent was there.
fn is_told(state: &State) -> bool {
    let told = |why: &str| {
        ["another agent has taken over", "newer than"]
            .iter()
            .any(|words| why.contains(words))
    };
    match state {
        State::Failed { reason } => told(reason),
        State::RollbackFailed { back, .. } => told(back),
        _ => false,
    }
}

/// What the hosts serve, and whether all serve the same.
fn live(sim: &Sim) -> (BTreeSet<Option<ReleaseId>>, bool) {
    let disks = sim.disks("production");
    let live: BTreeSet<_> = disks.values().map(|disk| disk.live.clone()).collect();
    let agree = live.len() == 1;
    (live, agree)
}

/// A world with one release, and a clone of its agent; this agent has reached an effect of a second
/// release. `None` if that has no effect of this number.
fn cloned_amid(effect: usize) -> Option<(Sim, u64, Sim)> {
    let mut sim = Sim::new(TEMPLATE);
    released(&mut sim, "prod-1", '1');
    let twin = sim.twin();
    sim.faults.pause_at(sim.faults.count() + effect);
    sim.clock.advance(std::time::Duration::from_secs(1));
    let ours = sim.push("prod-2", &object_of('2'), Schedule::Ready);
    let halt = sim.run();
    twin.witness.knows_trees_of(&sim.witness);
    sim.clock.advance(std::time::Duration::from_secs(1));
    (halt == Halt::Interrupted).then_some((sim, ours, twin))
}

#[test]
fn overtaken_clone_agrees_or_reports_the_other() {
    let mut effects = 0;
    for effect in 0.. {
        let Some((mut sim, ours, mut twin)) = cloned_amid(effect) else {
            break;
        };
        effects += 1;
        let theirs = twin.push("prod-3", &object_of('3'), Schedule::Ready);
        twin.rest();
        sim.witness.knows_trees_of(&twin.witness);
        assert_eq!(twin.task(theirs).state, State::Succeeded);
        sim.resume();
        sim.rest();
        let ((live, agree), state) = (live(&sim), sim.task(ours).state);
        let told = is_told(&state);
        assert!(agree || told, "effect {effect}: {live:?} {state:?}");
        assert!(
            state == State::Succeeded || told,
            "effect {effect}: {state:?}"
        );
    }
    assert!(effects > 20, "{effects} effects");
}

/// The first stops at any effect, the second at any effect, the first runs to its end, the second resumes.
#[test]
fn two_releasing_clones_agree_or_report_each_other() {
    let mut pairs = 0;
    for effect in 0.. {
        if cloned_amid(effect).is_none() {
            break;
        }
        for other in 0.. {
            let (mut sim, ours, mut twin) = cloned_amid(effect).unwrap();
            twin.faults.pause_at(twin.faults.count() + other);
            let theirs = twin.push("prod-3", &object_of('3'), Schedule::Ready);
            let halt = twin.run();
            sim.witness.knows_trees_of(&twin.witness);
            sim.resume();
            sim.rest();
            twin.witness.knows_trees_of(&sim.witness);
            twin.resume();
            twin.rest();
            let (live, agree) = live(&sim);
            let states = [sim.task(ours).state, twin.task(theirs).state];
            let what = || format!("effects {effect}, {other}: {live:?} {states:?}");
            for state in &states {
                assert!(*state == State::Succeeded || is_told(state), "{}", what());
            }
            assert!(agree || states.iter().any(is_told), "{}", what());
            pairs += 1;
            if halt == Halt::AtRest {
                break;
            }
        }
    }
    assert!(pairs > 400, "{pairs} pairs");
}
