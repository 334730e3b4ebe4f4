//! What a task's life comes to, without crashes.

use std::collections::BTreeMap;

use tagship::host::RunEnd;
use tagship::request::{Back, Request, RequestError};
use tagship::rule::Schedule;
use tagship::task::State;

use crate::driver::{Sim, TEMPLATE, object};

/// All three hosts serve this commit.
async fn serves(sim: &Sim, digit: char) -> bool {
    let served = sim.served().await;
    served.len() == 3 && served.values().all(|commit| *commit == Some(object(digit)))
}

#[tokio::test]
async fn a_ready_tag_goes_live_on_every_host() {
    let mut sim = Sim::new(TEMPLATE).await;
    let id = sim.push("qa-1", &object('1'), Schedule::Ready).await;
    sim.rest().await;
    assert_eq!(sim.task(id).await.state, State::Succeeded);
    assert!(serves(&sim, '1').await);
    let disks = sim.disks.lock().unwrap();
    let started: Vec<&u32> = disks.values().flat_map(|d| d.started.values()).collect();
    assert_eq!(started, [&1], "`once` runs on one host");
}

#[tokio::test]
async fn a_new_tag_waits_for_an_approval_of_its_plan() {
    let mut sim = Sim::new(TEMPLATE).await;
    let id = sim.push("release-1", &object('1'), Schedule::New).await;
    sim.rest().await;
    assert_eq!(sim.task(id).await.state, State::Waiting);
    assert!(sim.served().await.is_empty(), "no host was touched");
    sim.approve(id).await.unwrap();
    sim.rest().await;
    assert_eq!(sim.task(id).await.state, State::Succeeded);
    assert!(serves(&sim, '1').await);
}

#[tokio::test]
async fn the_submitter_may_not_approve() {
    let mut sim = Sim::new(TEMPLATE).await;
    let id = sim.push("release-1", &object('1'), Schedule::New).await;
    sim.rest().await;
    let plan = sim.task(id).await.landed.unwrap().terms.plan;
    let request = Request::Approve {
        plan,
        comment: String::new(),
        not_before: None,
    };
    let refused = sim.ask(id, "alice", request).await.unwrap_err();
    assert!(matches!(refused, RequestError::Refused(_)), "{refused}");
    sim.rest().await;
    assert_eq!(sim.task(id).await.state, State::Waiting);
}

#[tokio::test]
async fn a_push_that_never_lands_expires() {
    let mut sim = Sim::new(TEMPLATE).await;
    let id = sim
        .propose("refs/tags/qa-1", &object('1'), Schedule::Ready)
        .await;
    sim.rest().await;
    let State::Expired { reason } = sim.task(id).await.state else {
        panic!("not expired");
    };
    assert!(reason.contains("qa-1 is not on the git server"), "{reason}");
    assert!(sim.served().await.is_empty());
}

#[tokio::test]
async fn a_newer_tag_supersedes_one_that_waits() {
    let mut sim = Sim::new(TEMPLATE).await;
    let older = sim.push("release-1", &object('1'), Schedule::New).await;
    sim.rest().await;
    let newer = sim.push("release-2", &object('2'), Schedule::New).await;
    sim.rest().await;
    assert_eq!(sim.task(older).await.state, State::Superseded { by: newer });
    assert_eq!(sim.task(newer).await.state, State::Waiting);
}

#[tokio::test]
async fn tasks_of_one_environment_run_in_order() {
    let mut sim = Sim::new(TEMPLATE).await;
    for digit in ['1', '2', '3'] {
        sim.push(&format!("qa-{digit}"), &object(digit), Schedule::Ready)
            .await;
    }
    sim.rest().await;
    assert!(serves(&sim, '3').await);
    for disk in sim.disks.lock().unwrap().values() {
        assert_eq!(disk.history.len(), 3);
        assert!(disk.history.is_sorted());
    }
}

#[tokio::test]
async fn releases_of_the_same_second_have_names_that_sort_as_they_were_made() {
    let mut sim = Sim::new(TEMPLATE).await;
    let mut ids = Vec::new();
    for (tag, digit) in [("qa-1", '9'), ("qa-2", '1'), ("qa-3", '1')] {
        ids.push(sim.push(tag, &object(digit), Schedule::Ready).await);
    }
    sim.rest().await;
    let mut names = Vec::new();
    for id in ids {
        let task = sim.task(id).await;
        assert_eq!(task.state, State::Succeeded);
        names.push(task.work.unwrap().release);
    }
    assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
}

#[tokio::test]
async fn no_host_switches_when_one_cannot_be_staged() {
    let mut sim = Sim::new(TEMPLATE).await;
    sim.push("qa-1", &object('1'), Schedule::Ready).await;
    sim.rest().await;
    sim.fate.refuse("host.seal", "b", "disk full");
    let id = sim.push("qa-2", &object('2'), Schedule::Ready).await;
    sim.rest().await;
    let State::Failed { reason } = sim.task(id).await.state else {
        panic!("not failed");
    };
    assert!(
        reason.contains("b: ") && reason.contains("disk full"),
        "{reason}"
    );
    assert!(serves(&sim, '1').await);
    sim.fate.forgive();
    sim.ask(id, "bob", Request::Retry).await.unwrap();
    sim.rest().await;
    assert_eq!(sim.task(id).await.state, State::Succeeded);
    assert!(serves(&sim, '2').await);
}

#[tokio::test]
async fn a_failed_check_takes_every_switched_host_back() {
    let mut sim = Sim::new(TEMPLATE).await;
    sim.push("qa-1", &object('1'), Schedule::Ready).await;
    sim.rest().await;
    *sim.well.lock().unwrap() = false;
    let id = sim.push("qa-2", &object('2'), Schedule::Ready).await;
    sim.rest().await;
    // The check fails on the way back too: the service is unwell with the old release as well.
    assert!(matches!(
        sim.task(id).await.state,
        State::RollbackFailed { .. }
    ));
    assert!(serves(&sim, '1').await);
    *sim.well.lock().unwrap() = true;
    sim.ask(id, "bob", Request::Retry).await.unwrap();
    sim.rest().await;
    assert!(matches!(sim.task(id).await.state, State::RolledBack { .. }));
    assert!(serves(&sim, '1').await);
    sim.ask(id, "bob", Request::Retry).await.unwrap();
    sim.rest().await;
    assert_eq!(sim.task(id).await.state, State::Succeeded);
    assert!(serves(&sim, '2').await);
}

#[tokio::test]
async fn a_first_release_has_nothing_to_go_back_to() {
    let mut sim = Sim::new(TEMPLATE).await;
    *sim.well.lock().unwrap() = false;
    let id = sim.push("qa-1", &object('1'), Schedule::Ready).await;
    sim.rest().await;
    assert!(matches!(sim.task(id).await.state, State::Failed { .. }));
}

#[tokio::test]
async fn a_rollback_needs_no_git_server() {
    let mut sim = Sim::new(TEMPLATE).await;
    let first = sim.push("release-1", &object('1'), Schedule::New).await;
    sim.rest().await;
    sim.approve(first).await.unwrap();
    sim.rest().await;
    let second = sim.push("release-2", &object('2'), Schedule::New).await;
    sim.rest().await;
    sim.approve(second).await.unwrap();
    sim.rest().await;
    assert!(serves(&sim, '2').await);
    sim.refs.lock().unwrap().clear();
    let back = sim.roll_back(Back::ToTask(first)).await;
    sim.rest().await;
    assert_eq!(sim.task(back).await.state, State::Succeeded);
    assert!(serves(&sim, '1').await);
    let again = sim.ask(second, "bob", Request::Retry).await;
    assert!(
        matches!(again, Err(RequestError::Newer { .. })),
        "{again:?}"
    );
}

#[tokio::test]
async fn an_older_commit_under_a_new_tag_goes_live() {
    let mut sim = Sim::new(TEMPLATE).await;
    for (tag, digit) in [("qa-1", '1'), ("qa-2", '2'), ("qa-3", '1')] {
        sim.push(tag, &object(digit), Schedule::Ready).await;
        sim.rest().await;
        assert!(serves(&sim, digit).await);
    }
}

#[tokio::test]
async fn an_unknown_result_waits_for_a_person() {
    let mut sim = Sim::new(TEMPLATE).await;
    *sim.program.lock().unwrap() = std::sync::Arc::new(|_, _| RunEnd::Unknown);
    let id = sim.push("qa-1", &object('1'), Schedule::Ready).await;
    sim.rest().await;
    assert!(matches!(sim.task(id).await.state, State::Paused { .. }));
    assert!(sim.served().await.values().all(Option::is_none));
    *sim.program.lock().unwrap() = std::sync::Arc::new(|_, _| RunEnd::Ended {
        code: 0,
        values: BTreeMap::new(),
    });
    sim.ask(id, "bob", Request::Retry).await.unwrap();
    sim.rest().await;
    assert_eq!(sim.task(id).await.state, State::Succeeded);
}

#[tokio::test]
async fn a_deleted_tag_withdraws_its_waiting_task() {
    use tagship::clock::Clock as _;
    use tagship::task::{Event, Recorded};
    let mut sim = Sim::new(TEMPLATE).await;
    let id = sim.push("release-1", &object('1'), Schedule::New).await;
    sim.rest().await;
    sim.refs.lock().unwrap().clear();
    let store = sim.store().await;
    let task = store.task(id).await.unwrap();
    let doubted = Recorded {
        time: sim.clock.now(),
        event: Event::RefDoubted,
    };
    store.append(&task, vec![doubted]).await.unwrap();
    sim.rest().await;
    assert!(matches!(sim.task(id).await.state, State::Withdrawn { .. }));
}

#[tokio::test]
async fn a_tag_whose_deletion_is_told_of_is_looked_for_as_long_as_a_push_may_take() {
    use tagship::clock::Clock as _;
    use tagship::task::{Event, Recorded};
    let mut sim = Sim::new(TEMPLATE).await;
    let id = sim.push("release-1", &object('1'), Schedule::New).await;
    sim.rest().await;
    let store = sim.store().await;
    let told = sim.clock.now();
    let doubted = Recorded {
        time: told,
        event: Event::RefDoubted,
    };
    let task = store.task(id).await.unwrap();
    store.append(&task, vec![doubted]).await.unwrap();
    sim.rest().await;
    let task = sim.task(id).await;
    assert_eq!((task.state, task.doubted), (State::Waiting, None));
    assert!(
        task.updated.duration_since(told).as_secs() >= 300,
        "it was believed too early"
    );
    sim.approve(id).await.unwrap();
    sim.rest().await;
    assert_eq!(sim.task(id).await.state, State::Succeeded);
}

#[tokio::test]
async fn a_rollback_takes_over_a_paused_task() {
    let mut sim = Sim::new(TEMPLATE).await;
    let first = sim.push("qa-1", &object('1'), Schedule::Ready).await;
    sim.rest().await;
    sim.push("qa-2", &object('2'), Schedule::Ready).await;
    sim.rest().await;
    *sim.program.lock().unwrap() = std::sync::Arc::new(|_, _| RunEnd::Unknown);
    let stuck = sim.push("qa-3", &object('3'), Schedule::Ready).await;
    sim.rest().await;
    assert!(matches!(sim.task(stuck).await.state, State::Paused { .. }));
    let back = sim.roll_back(Back::ToTask(first)).await;
    sim.rest().await;
    assert_eq!(sim.task(stuck).await.state, State::Stopped);
    assert_eq!(sim.task(back).await.state, State::Succeeded);
    assert!(serves(&sim, '1').await);
}

#[tokio::test]
async fn a_waiting_task_expires() {
    let mut sim = Sim::new(TEMPLATE).await;
    let id = sim.push("release-1", &object('1'), Schedule::New).await;
    sim.rest().await;
    use tagship::clock::Clock as _;
    let week = sim.clock.now() + jiff::SignedDuration::from_hours(7 * 24);
    sim.clock.set(week);
    sim.rest().await;
    assert!(matches!(sim.task(id).await.state, State::Expired { .. }));
}
