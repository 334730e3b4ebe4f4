//! Which releases a rollback may lead to: named ones, and what was live before. The task of the
//! second release does not succeed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tagship::domain::approval::{Actor, ApprovalWeight};
use tagship::domain::host::{ReleaseId, RunEnd};
use tagship::domain::task::{Origin, Relation, State};
use tagship::domain::template::OnFailure;
use tagship::engine::request::{self, AllowedRequest, RollbackTarget, TagsNeed, TaskRequest};

use crate::advice::{advice_is_accepted, may_of};
use crate::crash::released;
use crate::driver::Sim;
use crate::host::Program;
use crate::immediate::at_once;
use crate::invariants::promises_hold;
use crate::rollback::{TEMPLATE, check_fails, on_each_disk};
use crate::user_actions::{SimHosts, actor};

/// One host after the other.
const CANARY: &str = r#"
name = "test"
[[stage]]
name = "checkout"
steps = [{ use = "checkout" }]
[[stage]]
name = "stage"
steps = [{ use = "sync" }]
[[stage]]
name = "switch"
batch = 1
steps = [{ use = "publish" }, { run = ["reload"], in = "release", repeat = true }]
"#;

/// How the task of the second release ends after the switch, and whether it leaves it live.
const ENDS: [(OnFailure, &str, bool); 3] = [
    (OnFailure::Stop, "failed", true),
    (OnFailure::Pause, "stopped", true),
    (OnFailure::Rollback, "rolled back", false),
];

/// Two releases; the check of the second one fails.
fn two_releases(template: &str, on_failure: OnFailure) -> Sim {
    let mut sim = released(Sim::new(template));
    sim.ground.lock().unwrap().on_failure = on_failure;
    *sim.fleet.program.lock().unwrap() = check_fails(2);
    sim.release(2);
    if on_failure == OnFailure::Pause {
        let why = sim.roll_back(&RollbackTarget::ToTask(2)).unwrap_err();
        assert!(why.to_string().starts_with("task 2 is paused: "), "{why}");
        sim.ask(2, "bob", &TaskRequest::Stop { host: None })
            .unwrap();
        sim.rest();
    }
    sim
}

/// A third one, which succeeds.
fn three_releases(template: &str, on_failure: OnFailure) -> Sim {
    let mut sim = two_releases(template, on_failure);
    sim.release(3);
    assert_eq!(sim.task(3).state, State::Succeeded);
    assert!(sim.serves('3'));
    sim
}

fn release_of(sim: &Sim, id: u64) -> ReleaseId {
    sim.task(id).work.unwrap().release
}

fn before() -> RollbackTarget {
    RollbackTarget::Before {
        project: "shop".to_owned(),
        environment: "production".to_owned(),
    }
}

fn named(release: ReleaseId) -> RollbackTarget {
    RollbackTarget::Named {
        project: "shop".to_owned(),
        environment: "production".to_owned(),
        release,
    }
}

/// The task to which a rollback without a target leads.
fn leads_to(sim: &mut Sim) -> Option<u64> {
    let back = sim.roll_back(&before()).unwrap();
    sim.rest();
    let task = sim.task(back);
    assert_eq!(task.state, State::Succeeded);
    promises_hold(sim);
    match &task.submission.origin {
        Origin::Rollback { to, .. } => *to,
        origin => panic!("{origin:?}"),
    }
}

#[test]
fn named_release_of_an_unsuccessful_task_is_a_target() {
    for (on_failure, state, _) in ENDS {
        for by_name in [false, true] {
            let mut sim = three_releases(TEMPLATE, on_failure);
            assert_eq!(sim.task(2).state.to_string(), state);
            let target = match by_name {
                true => named(release_of(&sim, 2)),
                false => RollbackTarget::ToTask(2),
            };
            let local = Actor {
                counts: ApprovalWeight::NotLocally,
                ..actor("dana")
            };
            let back = sim.roll_back_as(&local, &target, TagsNeed::Approval);
            let back = back.unwrap();
            let task = sim.task(back);
            assert_eq!(task.state, State::Waiting);
            assert_eq!(sim.witness.plan(&task).own_task_state, state);
            sim.approve(back).unwrap();
            sim.rest();
            assert_eq!(sim.task(back).state, State::Succeeded, "{state}");
            assert!(sim.serves('2'), "{state}");
            promises_hold(&sim);
        }
    }
}

#[test]
fn rollback_to_an_unsuccessful_task_is_offered() {
    for (on_failure, state, _) in ENDS {
        let sim = three_releases(TEMPLATE, on_failure);
        let may = may_of(&sim, 2, "bob");
        assert!(may.contains(&AllowedRequest::Rollback), "{state}: {may:?}");
        advice_is_accepted(&sim);
    }
}

#[test]
fn release_that_was_never_live_is_no_target() {
    let mut sim = released(Sim::new(TEMPLATE));
    sim.faults.refuse("host.seal", "b", "disk full");
    sim.release(2);
    sim.faults.refuse_nothing();
    assert!(matches!(sim.task(2).state, State::Failed { .. }));
    let two = release_of(&sim, 2);
    let words = format!("task 2 is failed, and {two} was never live; ");
    for target in [RollbackTarget::ToTask(2), named(two)] {
        let why = sim.roll_back(&target).unwrap_err().to_string();
        assert!(why.starts_with(&words), "{why}");
    }
    let may = may_of(&sim, 2, "bob");
    assert!(!may.contains(&AllowedRequest::Rollback), "{may:?}");
}

/// Another tool made it live; its own task never did.
#[test]
fn release_that_another_tool_made_live_is_a_target() {
    let mut sim = released(Sim::new(TEMPLATE));
    sim.ground.lock().unwrap().on_failure = OnFailure::Stop;
    for host in ["a", "b", "c"] {
        sim.faults.refuse("host.publish", host, "it would not");
    }
    sim.release(2);
    sim.faults.refuse_nothing();
    let two = release_of(&sim, 2);
    assert!(sim.roll_back(&RollbackTarget::ToTask(2)).is_err());
    on_each_disk(&sim, |disk| disk.live = Some(two.clone()));
    sim.release(3);
    assert!(sim.serves('3'));
    let back = sim.roll_back(&RollbackTarget::ToTask(2)).unwrap();
    sim.rest();
    assert_eq!(sim.task(back).state, State::Succeeded);
    assert!(sim.serves('2'));
}

#[test]
fn release_that_stayed_live_is_what_was_live_before() {
    for (on_failure, state, is_left) in ENDS {
        let mut sim = three_releases(TEMPLATE, on_failure);
        let expected = if is_left { 2 } else { 1 };
        assert_eq!(leads_to(&mut sim), Some(expected), "{state}");
        if is_left {
            assert_eq!(leads_to(&mut sim), Some(1), "{state}");
        }
    }
}

#[test]
fn release_live_on_a_canary_only_is_passed_over() {
    let mut sim = three_releases(CANARY, OnFailure::Stop);
    let two = release_of(&sim, 2);
    for (host, disk) in sim.disks("production") {
        let is_kept = disk.releases.contains_key(&two);
        assert_eq!(
            is_kept,
            host == "a",
            "{host}: it is deleted as a failed one"
        );
    }
    assert_eq!(leads_to(&mut sim), Some(1));
}

/// A user rolled it back: what the next release replaced is another one.
#[test]
fn stopped_release_that_was_rolled_back_is_passed_over() {
    let mut sim = two_releases(TEMPLATE, OnFailure::Pause);
    assert_eq!(leads_to(&mut sim), Some(1));
    sim.release(4);
    assert!(sim.serves('4'));
    assert_eq!(leads_to(&mut sim), Some(1));
}

/// It was rolled back because its check failed, then retried, and stopped while it was live.
#[test]
fn release_whose_check_failed_is_passed_over_after_a_retry() {
    let mut sim = two_releases(TEMPLATE, OnFailure::Rollback);
    let tries_again: Program = Arc::new(|_, key| {
        let takes = u64::from(key.starts_with("2-")) * 3600;
        let values = BTreeMap::new();
        (
            RunEnd::Ended { code: 0, values },
            Duration::from_secs(takes),
        )
    });
    *sim.fleet.program.lock().unwrap() = tries_again;
    sim.ask(2, "bob", &TaskRequest::Retry).unwrap();
    sim.run_for(jiff::SignedDuration::from_secs(60));
    assert!(sim.serves('2'));
    sim.ask(2, "bob", &TaskRequest::Stop { host: None })
        .unwrap();
    sim.rest();
    assert_eq!(sim.task(2).state, State::Stopped);
    sim.release(3);
    assert!(sim.serves('3'));
    assert_eq!(leads_to(&mut sim), Some(1));
}

/// The next release fails and is rolled back to the one that replaced it.
#[test]
fn release_that_was_left_live_is_kept_like_a_good_one() {
    let mut sim = three_releases(TEMPLATE, OnFailure::Stop);
    sim.ground.lock().unwrap().on_failure = OnFailure::Rollback;
    *sim.fleet.program.lock().unwrap() = check_fails(4);
    sim.release(4);
    assert!(matches!(sim.task(4).state, State::RolledBack { .. }));
    let two = release_of(&sim, 2);
    for (host, disk) in sim.disks("production") {
        assert!(disk.releases.contains_key(&two), "{host}");
    }
    let back = sim.roll_back(&before()).unwrap();
    assert!(sim.witness.plan(&sim.task(back)).rebuilt.is_empty());
    sim.rest();
    assert!(sim.serves('2'));
    promises_hold(&sim);
}

/// It is not among the hosts that go back.
#[test]
fn disabled_host_does_not_make_a_rollback_a_change() {
    let mut sim = released(Sim::new(TEMPLATE));
    sim.release(2);
    sim.set_disabled("c", true);
    let store = sim.store();
    let target = RollbackTarget::ToTask(1);
    let is_live = |sim: &Sim| {
        let hosts = SimHosts::of(sim, &store);
        let preview = request::preview(&store, &target, hosts.present());
        at_once(preview).unwrap().is_live
    };
    let compared = |sim: &Sim, id: u64| sim.task(id).landed.unwrap().compared;
    assert!(!is_live(&sim));
    let first = sim.roll_back(&target).unwrap();
    assert_eq!(compared(&sim, first).relations, []);
    sim.rest();
    assert_eq!(sim.task(first).state, State::Succeeded);
    assert_eq!(sim.disks("production")["c"].live, Some(release_of(&sim, 2)));
    assert!(is_live(&sim));
    let again = sim.roll_back(&target).unwrap();
    let compared = compared(&sim, again);
    assert_eq!(compared.relations, [Relation::Same]);
    assert_eq!(compared.live.len(), 1, "{:?}", compared.live);
}
