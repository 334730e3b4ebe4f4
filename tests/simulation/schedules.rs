//! Times: a freeze blocks a task when it is to run, not when it is approved. A task whose time
//! passed while no agent ran is run once, or expires.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tagship::domain::approval::freeze::{Calendar, Freeze, FreezePeriod};
use tagship::domain::host::RunEnd;
use tagship::domain::rule::Schedule;
use tagship::domain::task::{State, Task};
use tagship::engine::executor::MissedPolicy;
use tagship::engine::request::{RequestError, RollbackTarget, TaskRequest};

use crate::driver::{Sim, TEMPLATE, object_of};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// The only stage waits for a person.
const GATED: &str = r#"
name = "t"
[[stage]]
name = "first"
gate = "hand"
steps = [{ run = ["true"] }]
"#;

/// Simulated clocks begin at 2027-01-15 08:00 UTC; this freeze lasts until 12:00.
fn frozen() -> Arc<Calendar> {
    frozen_from("2027-01-15")
}

fn frozen_from(from: &str) -> Arc<Calendar> {
    Arc::new(Calendar {
        freezes: vec![Freeze {
            name: "fair".to_owned(),
            reason: "everybody is out".to_owned(),
            projects: BTreeSet::new(),
            environments: BTreeSet::from(["production".to_owned()]),
            window: FreezePeriod::parse(from, "2027-01-15 12:00", None).unwrap(),
        }],
        ..Calendar::default()
    })
}

fn frozen_sim() -> Sim {
    let mut sim = Sim::new(TEMPLATE);
    sim.calendar = frozen();
    sim
}

fn override_freeze() -> TaskRequest {
    TaskRequest::OverrideFreeze {
        reason: "the shop is down".to_owned(),
    }
}

fn over(sim: &Sim, task: &Task) -> SignedDuration {
    let end = "2027-01-15T12:00:00Z".parse().unwrap();
    assert_eq!(sim.task(task.id).state, State::Succeeded);
    task.work.as_ref().unwrap().started.duration_since(end)
}

#[test]
fn task_approved_in_a_freeze_runs_after_it() {
    for schedule in [Schedule::New, Schedule::Ready] {
        let mut sim = frozen_sim();
        let id = sim.push("release-1", &object_of('1'), schedule);
        sim.run_for(HOUR);
        if schedule == Schedule::New {
            sim.approve(id).unwrap();
        }
        sim.run_for(HOUR);
        assert!(matches!(sim.task(id).state, State::Scheduled { .. }));
        assert!(sim.served().is_empty(), "no host was touched");
        sim.rest();
        let task = sim.task(id);
        let after = over(&sim, &task);
        assert!(!after.is_negative() && after < HOUR, "{after:?}");
    }
}

#[test]
fn freeze_that_begins_later_holds_a_queued_task() {
    let mut sim = Sim::new(GATED);
    let first = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.run_for(HOUR);
    let second = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.run_for(HOUR);
    assert!(matches!(sim.task(first).state, State::Paused { .. }));
    assert_eq!(sim.task(second).state, State::Queued);
    // The agent is started again with the freeze in its configuration.
    sim.kill();
    sim.calendar = frozen();
    sim.start();
    sim.ask(first, "bob", &TaskRequest::Stop { host: None })
        .unwrap();
    sim.run_for(HOUR);
    assert_eq!(sim.task(first).state, State::Stopped);
    assert_eq!(sim.task(second).state, State::Queued, "it is frozen now");
    sim.rest();
    assert!(matches!(sim.task(second).state, State::Paused { .. }));
}

#[test]
fn queued_task_due_in_a_freeze_runs_after_it() {
    let mut sim = Sim::new(GATED);
    sim.kill();
    sim.calendar = frozen_from("2027-01-15 10:00");
    sim.start();
    let first = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.run_for(HOUR);
    let second = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.run_for(HOUR);
    sim.clock.set("2027-01-15T11:00:00Z".parse().unwrap());
    sim.ask(first, "bob", &TaskRequest::Stop { host: None })
        .unwrap();
    sim.run_for(MINUTE);
    assert_eq!(sim.task(second).state, State::Queued, "it is frozen now");
    sim.run_for(HOUR);
    assert!(matches!(sim.task(second).state, State::Paused { .. }));
}

/// The task ahead of it ends in the freeze, and nothing else wakes the agent.
#[test]
fn task_freed_in_a_freeze_runs_after_it() {
    let mut sim = Sim::new(
        r#"
        name = "t"
        [[stage]]
        name = "only"
        steps = [{ run = ["true"], timeout = "4h" }]
        "#,
    );
    sim.kill();
    sim.calendar = frozen_from("2027-01-15 10:00");
    let values = BTreeMap::new();
    let ended = RunEnd::Ended { code: 0, values };
    let three_hours = Duration::from_secs(3 * 60 * 60);
    *sim.fleet.program.lock().unwrap() = Arc::new(move |_, _| (ended.clone(), three_hours));
    sim.start();
    let [first, second] = ["qa-1", "qa-2"].map(|tag| sim.push_kept(tag, &object_of('1')));
    sim.run_for(HOUR * 3 + MINUTE);
    assert_eq!(sim.task(first).state, State::Succeeded);
    assert_eq!(sim.task(second).state, State::Queued, "it is frozen now");
    sim.run_for(HOUR);
    assert_eq!(sim.task(second).state, State::Running);
}

#[test]
fn unfrozen_task_does_not_wait_behind_a_frozen_one() {
    let mut sim = Sim::new(GATED);
    let [first, frozen_one, free] = ["qa-1", "qa-2", "qa-3"].map(|tag| {
        let id = sim.push_kept(tag, &object_of('1'));
        sim.run_for(SignedDuration::from_mins(10));
        id
    });
    sim.kill();
    sim.calendar = frozen();
    sim.start();
    sim.ask(free, "root", &override_freeze()).unwrap();
    sim.ask(first, "bob", &TaskRequest::Stop { host: None })
        .unwrap();
    sim.run_for(HOUR);
    assert_eq!(sim.task(frozen_one).state, State::Queued);
    assert!(matches!(sim.task(free).state, State::Paused { .. }));
}

#[test]
fn gate_cannot_be_opened_in_a_freeze() {
    let mut sim = Sim::new(GATED);
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.run_for(HOUR);
    sim.calendar = frozen();
    let go = TaskRequest::Resume { host: None };
    for request in [&go, &TaskRequest::Retry] {
        let refused = sim.ask(id, "bob", request);
        assert!(
            matches!(refused, Err(RequestError::Frozen { .. })),
            "{request:?}"
        );
    }
    sim.ask(id, "root", &override_freeze()).unwrap();
    sim.ask(id, "bob", &go).unwrap();
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
}

#[test]
fn an_admin_overrides_a_freeze_for_one_task_and_with_a_reason() {
    let mut sim = frozen_sim();
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.run_for(HOUR);
    let refused = sim.ask(id, "bob", &override_freeze());
    assert!(matches!(refused, Err(RequestError::Right(_))));
    let unreasoned = TaskRequest::OverrideFreeze {
        reason: " ".to_owned(),
    };
    let refused = sim.ask(id, "root", &unreasoned);
    assert!(matches!(refused, Err(RequestError::NoReason(_))));
    sim.ask(id, "root", &override_freeze()).unwrap();
    sim.run_for(HOUR);
    assert_eq!(sim.task(id).state, State::Succeeded);
    let other = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.run_for(HOUR);
    assert!(matches!(sim.task(other).state, State::Scheduled { .. }));
}

#[test]
fn rollback_is_subject_to_the_freeze() {
    let mut sim = Sim::new(TEMPLATE);
    let first = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.run_for(HOUR);
    sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.run_for(HOUR);
    sim.kill();
    sim.calendar = frozen();
    sim.start();
    let back = sim.roll_back(&RollbackTarget::ToTask(first)).unwrap();
    sim.run_for(HOUR);
    assert!(!sim.task(back).state.is_settled());
    assert!(sim.task(back).work.is_none());
    sim.ask(back, "root", &override_freeze()).unwrap();
    sim.run_for(HOUR);
    assert_eq!(sim.task(back).state, State::Succeeded);
}

/// An override applies only to that freeze.
#[test]
fn override_does_not_cover_a_later_freeze() {
    let mut sim = frozen_sim();
    let later = Freeze {
        window: FreezePeriod::parse("2027-01-16", "2027-01-17", None).unwrap(),
        ..sim.calendar.freezes[0].clone()
    };
    let mut calendar = (*sim.calendar).clone();
    calendar.freezes.push(later);
    sim.calendar = Arc::new(calendar);
    sim.kill();
    sim.start();
    let id = sim.push("release-1", &object_of('1'), Schedule::New);
    sim.run_for(HOUR);
    sim.ask(id, "root", &override_freeze()).unwrap();
    let at = "2027-01-16T10:00:00Z".parse().unwrap();
    sim.approve_from(id, "bob", Some(at)).unwrap();
    sim.clock.set("2027-01-16T12:00:00Z".parse().unwrap());
    sim.run_for(HOUR);
    assert!(matches!(sim.task(id).state, State::Scheduled { .. }));
    sim.rest();
    let began = sim.task(id).work.unwrap().started;
    assert!(began >= "2027-01-17T00:00:00Z".parse().unwrap(), "{began}");
}

/// A task that is approved for 10:00; no agent runs until long after.
fn away(missed: MissedPolicy) -> (Sim, u64) {
    let mut sim = Sim::new(TEMPLATE);
    sim.missed = missed;
    let id = sim.push("release-1", &object_of('1'), Schedule::New);
    sim.run_for(HOUR);
    let ten = "2027-01-15T10:00:00Z".parse().unwrap();
    let plan = sim.task(id).landed.unwrap().terms.plan;
    let approve = TaskRequest::Approve {
        plan,
        comment: String::new(),
        not_before: Some(ten),
        emergency: None,
    };
    sim.ask(id, "bob", &approve).unwrap();
    sim.kill();
    sim.clock.advance(Duration::from_secs(6 * 3600));
    sim.start();
    (sim, id)
}

#[test]
fn time_missed_during_downtime_runs_once() {
    let (mut sim, id) = away(MissedPolicy::Run);
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
    let disks = sim.disks("production");
    let started: Vec<&u32> = disks.values().flat_map(|d| d.started.values()).collect();
    assert_eq!(started, [&1]);
}

#[test]
fn time_missed_during_downtime_expires_if_configured() {
    let (mut sim, id) = away(MissedPolicy::Expire);
    sim.rest();
    match &sim.task(id).state {
        State::Expired { reason } => assert!(reason.contains("10:00"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(sim.served().is_empty());
    // Reopened, it waits for a new approval, and then runs at once.
    sim.ask(id, "bob", &TaskRequest::Retry).unwrap();
    sim.run_for(HOUR);
    sim.approve(id).unwrap();
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
}

#[test]
fn time_reached_while_the_agent_runs_is_not_missed() {
    let mut sim = Sim::new(TEMPLATE);
    sim.missed = MissedPolicy::Expire;
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
}
