//! The life of a task without crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use tagship::base::clock::Clock as _;
use tagship::domain::host::RunEnd;
use tagship::domain::rule::Schedule;
use tagship::domain::task::{Pause, State};
use tagship::engine::request::{RequestError, RollbackTarget, TaskRequest};
use tagship::store::kv::{Commit, Kv as _};
use tagship::store::memory::CommitFault;

use crate::driver::{Sim, TEMPLATE, object_of};
use crate::host::{Program, well};
use crate::immediate::at_once;

/// A program whose result is unknown.
fn unknown() -> Program {
    Arc::new(|_, _| (RunEnd::Unknown, Duration::ZERO))
}

#[test]
fn a_ready_tag_goes_live_on_every_host() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
    assert!(sim.serves('1'));
    let disks = sim.disks("production");
    let started: Vec<&u32> = disks.values().flat_map(|d| d.started.values()).collect();
    assert_eq!(started, [&1], "`once` runs on one host");
}

#[test]
fn a_new_tag_waits_for_an_approval_of_its_plan() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("release-1", &object_of('1'), Schedule::New);
    sim.rest();
    assert_eq!(sim.task(id).state, State::Waiting);
    assert!(sim.served().is_empty(), "no host was touched");
    sim.approve(id).unwrap();
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
    assert!(sim.serves('1'));
}

#[test]
fn the_submitter_may_not_approve() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("release-1", &object_of('1'), Schedule::New);
    sim.rest();
    let plan = sim.task(id).landed.unwrap().terms.plan;
    let request = TaskRequest::Approve {
        plan,
        comment: String::new(),
        not_before: None,
        emergency: None,
    };
    let refused = sim.ask(id, "alice", &request).unwrap_err();
    assert!(matches!(refused, RequestError::Refused(_)), "{refused}");
    sim.rest();
    assert_eq!(sim.task(id).state, State::Waiting);
}

#[test]
fn a_push_that_never_lands_expires() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.propose("refs/tags/qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    let State::Expired { reason } = sim.task(id).state else {
        panic!("not expired");
    };
    assert!(reason.contains("qa-1 is not on the git server"), "{reason}");
    assert!(sim.served().is_empty());
}

#[test]
fn a_newer_tag_supersedes_one_that_waits() {
    let mut sim = Sim::new(TEMPLATE);
    let older = sim.push("release-1", &object_of('1'), Schedule::New);
    sim.rest();
    let newer = sim.push("release-2", &object_of('2'), Schedule::New);
    sim.rest();
    assert_eq!(sim.task(older).state, State::Superseded { by: newer });
    assert_eq!(sim.task(newer).state, State::Waiting);
}

#[test]
fn no_host_switches_when_one_cannot_be_staged() {
    let mut sim = Sim::new(TEMPLATE);
    sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    sim.faults.refuse("host.seal", "b", "disk full");
    let id = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.rest();
    let State::Failed { reason } = sim.task(id).state else {
        panic!("not failed");
    };
    assert!(
        reason.contains("b: ") && reason.contains("disk full"),
        "{reason}"
    );
    assert!(sim.serves('1'));
    sim.faults.refuse_nothing();
    sim.ask(id, "bob", &TaskRequest::Retry).unwrap();
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
    assert!(sim.serves('2'));
}

#[test]
fn failed_check_rolls_back_every_switched_host() {
    let mut sim = Sim::new(TEMPLATE);
    sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    *sim.well.lock().unwrap() = false;
    let id = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.rest();
    // The check fails in the rollback too: the service fails with the old release as well.
    assert!(matches!(sim.task(id).state, State::RollbackFailed { .. }));
    assert!(sim.serves('1'));
    *sim.well.lock().unwrap() = true;
    sim.ask(id, "bob", &TaskRequest::Retry).unwrap();
    sim.rest();
    assert!(matches!(sim.task(id).state, State::RolledBack { .. }));
    assert!(sim.serves('1'));
    sim.ask(id, "bob", &TaskRequest::Retry).unwrap();
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
    assert!(sim.serves('2'));
}

#[test]
fn first_release_has_no_rollback_target() {
    let mut sim = Sim::new(TEMPLATE);
    *sim.well.lock().unwrap() = false;
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    assert!(matches!(sim.task(id).state, State::Failed { .. }));
}

#[test]
fn a_rollback_needs_no_git_server() {
    let mut sim = Sim::new(TEMPLATE);
    let first = sim.push("release-1", &object_of('1'), Schedule::New);
    sim.rest();
    sim.approve(first).unwrap();
    sim.rest();
    let second = sim.push("release-2", &object_of('2'), Schedule::New);
    sim.rest();
    sim.approve(second).unwrap();
    sim.rest();
    assert!(sim.serves('2'));
    sim.refs.lock().unwrap().clear();
    let back = sim.roll_back(&RollbackTarget::ToTask(first)).unwrap();
    sim.rest();
    assert_eq!(sim.task(back).state, State::Succeeded);
    assert!(sim.serves('1'));
    let again = sim.ask(second, "bob", &TaskRequest::Retry);
    assert!(
        matches!(again, Err(RequestError::Newer { .. })),
        "{again:?}"
    );
}

#[test]
fn an_older_commit_under_a_new_tag_goes_live() {
    let mut sim = Sim::new(TEMPLATE);
    for (tag, digit) in [("qa-1", '1'), ("qa-2", '2'), ("qa-3", '1')] {
        sim.push(tag, &object_of(digit), Schedule::Ready);
        sim.rest();
        assert!(sim.serves(digit));
    }
}

#[test]
fn an_unknown_result_waits_for_a_person() {
    let mut sim = Sim::new(TEMPLATE);
    *sim.fleet.program.lock().unwrap() = unknown();
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    assert!(matches!(sim.task(id).state, State::Paused { .. }));
    assert!(sim.served().values().all(Option::is_none));
    *sim.fleet.program.lock().unwrap() = well();
    sim.ask(id, "bob", &TaskRequest::Retry).unwrap();
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
}

#[test]
fn forgotten_program_is_rerun_only_after_a_person_confirms() {
    let mut sim = Sim::new(TEMPLATE);
    let long: Program = Arc::new(|_, _| (well()("", "").0, Duration::from_secs(600)));
    *sim.fleet.program.lock().unwrap() = long;
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.run_for(jiff::SignedDuration::from_secs(60));
    let starts = |sim: &Sim| -> u32 {
        let disks = sim.disks("production");
        disks.values().flat_map(|disk| disk.started.values()).sum()
    };
    assert_eq!((starts(&sim), sim.task(id).state), (1, State::Running));
    sim.kill();
    for disk in sim.fleet.disks.lock().unwrap().values_mut() {
        disk.forget_programs();
    }
    sim.rest();
    let State::Paused { why } = sim.task(id).state else {
        panic!("it does not ask: {}", sim.task(id).state);
    };
    assert!(format!("{why:?}").contains("knows nothing of it any more"));
    assert_eq!(starts(&sim), 1);
    *sim.fleet.program.lock().unwrap() = well();
    sim.ask(id, "bob", &TaskRequest::Retry).unwrap();
    sim.rest();
    assert_eq!((starts(&sim), sim.task(id).state), (2, State::Succeeded));
}

#[test]
fn a_deleted_tag_withdraws_its_waiting_task() {
    use tagship::domain::task::{Event, Recorded};
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("release-1", &object_of('1'), Schedule::New);
    sim.rest();
    sim.refs.lock().unwrap().clear();
    let store = sim.store();
    let task = sim.task(id);
    let doubted = Recorded {
        time: sim.clock.now(),
        event: Event::RefDoubted,
    };
    at_once(store.append(&task, vec![doubted])).unwrap();
    sim.rest();
    assert!(matches!(sim.task(id).state, State::Withdrawn { .. }));
}

#[test]
fn reported_tag_deletion_is_checked_until_landing_timeout() {
    use tagship::domain::task::{Event, Recorded};
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("release-1", &object_of('1'), Schedule::New);
    sim.rest();
    let reported_at = sim.clock.now();
    let doubted = Recorded {
        time: reported_at,
        event: Event::RefDoubted,
    };
    at_once(sim.store().append(&sim.task(id), vec![doubted])).unwrap();
    sim.rest();
    let task = sim.task(id);
    assert_eq!((task.state, task.doubted), (State::Waiting, None));
    assert!(
        task.updated.duration_since(reported_at).as_secs() >= 300,
        "it was believed too early"
    );
    sim.approve(id).unwrap();
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
}

#[test]
fn rollback_replaces_a_paused_task() {
    let mut sim = Sim::new(TEMPLATE);
    let first = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.rest();
    *sim.fleet.program.lock().unwrap() = unknown();
    let stuck = sim.push("qa-3", &object_of('3'), Schedule::Ready);
    sim.rest();
    assert!(matches!(sim.task(stuck).state, State::Paused { .. }));
    let back = sim.roll_back(&RollbackTarget::ToTask(first)).unwrap();
    sim.rest();
    assert_eq!(sim.task(stuck).state, State::Stopped);
    assert_eq!(sim.task(back).state, State::Succeeded);
    assert!(sim.serves('1'));
}

#[test]
fn a_waiting_task_expires() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("release-1", &object_of('1'), Schedule::New);
    sim.rest();
    let week = sim.clock.now() + SignedDuration::from_hours(7 * 24);
    sim.clock.set(week);
    sim.rest();
    assert!(matches!(sim.task(id).state, State::Expired { .. }));
}

/// A task whose program may still run, on a host where nothing can be stopped.
fn out_of_reach(sim: &mut Sim) -> u64 {
    *sim.fleet.program.lock().unwrap() = unknown();
    sim.faults.refuse("host.kill", "a", "the host is away");
    let id = sim.push("qa-9", &object_of('9'), Schedule::Ready);
    sim.run_for(SignedDuration::from_mins(1));
    assert!(is_asked(sim, id));
    id
}

fn is_asked(sim: &Sim, id: u64) -> bool {
    let state = sim.task(id).state;
    matches!(
        state,
        State::Paused {
            why: Pause::Unknown { .. }
        }
    )
}

#[test]
fn rollback_does_not_end_a_task_with_unkillable_program() {
    let mut sim = Sim::new(TEMPLATE);
    let first = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    let stuck = out_of_reach(&mut sim);
    let stop = TaskRequest::Stop { host: None };
    sim.ask(stuck, "bob", &stop).unwrap();
    sim.rest();
    assert!(is_asked(&sim, stuck));
    *sim.fleet.program.lock().unwrap() = well();
    let back = sim.roll_back(&RollbackTarget::ToTask(first)).unwrap();
    sim.rest();
    assert!(is_asked(&sim, stuck), "{:?}", sim.task(stuck).state);
    assert_eq!(sim.task(back).state, State::Queued);
    sim.ask(stuck, "bob", &stop).unwrap();
    sim.rest();
    assert_eq!(sim.task(stuck).state, State::Stopped);
    assert_eq!(sim.task(back).state, State::Succeeded);
}

#[test]
fn timeout_never_ends_a_task_with_unkillable_program() {
    let mut sim = Sim::new(TEMPLATE);
    sim.ground.lock().unwrap().pause_timeout_s = Some(3600);
    let stuck = out_of_reach(&mut sim);
    sim.run_for(SignedDuration::from_hours(48));
    assert!(is_asked(&sim, stuck), "{:?}", sim.task(stuck).state);
    let asked = sim.witness.events(stuck).len();
    assert!(asked < 30, "it is asked again and again: {asked} events");
    sim.ask(stuck, "bob", &TaskRequest::Stop { host: None })
        .unwrap();
    sim.rest();
    assert_eq!(sim.task(stuck).state, State::Stopped);
}

#[test]
fn repeatable_program_is_rerun_after_its_result_is_lost() {
    let template = TEMPLATE.replace("once = true", "once = true, repeat = true");
    assert!(template.contains("repeat"));
    let mut sim = Sim::new(&template);
    let ended = well();
    *sim.fleet.program.lock().unwrap() = Arc::new(move |host, key| {
        if key.ends_with(".again") {
            return ended(host, key);
        }
        (RunEnd::Unknown, Duration::ZERO)
    });
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
}

/// Its program may still run: a rollback beside it, or a second request, would be a guess.
#[test]
fn a_check_whose_program_cannot_be_ended_waits_for_a_person() {
    let probe = "tcp = \"{HOST}:80\", retries = 1";
    let template = TEMPLATE.replace(probe, "command = [\"is-well\"], retries = 3");
    assert!(template.contains("is-well"));
    for answer in [TaskRequest::Retry, TaskRequest::Stop { host: None }] {
        let mut sim = Sim::new(&template);
        sim.push("qa-1", &object_of('1'), Schedule::Ready);
        sim.rest();
        assert!(sim.serves('1'));
        let ended = well();
        *sim.fleet.program.lock().unwrap() = Arc::new(move |host, key| {
            // A check runs as parts of its attempt.
            if host == "a" && key.contains('.') {
                return (RunEnd::Unended, Duration::ZERO);
            }
            ended(host, key)
        });
        let id = sim.push("qa-2", &object_of('2'), Schedule::Ready);
        sim.rest();
        assert!(is_asked(&sim, id), "{:?}", sim.task(id).state);
        assert!(sim.serves('2'), "nothing went back");
        let disks = sim.disks("production");
        let asked = disks["a"].started.keys().filter(|key| key.contains('.'));
        assert_eq!(asked.count(), 2, "one check of each release");
        *sim.fleet.program.lock().unwrap() = well();
        sim.ask(id, "bob", &answer).unwrap();
        sim.rest();
        let expected = match answer {
            TaskRequest::Retry => State::Succeeded,
            _ => State::Stopped,
        };
        assert_eq!(sim.task(id).state, expected);
    }
}

/// Another writer's event arrives before the reply to the agent's own append, with more events
/// after it than the watch keeps.
#[test]
fn stop_is_processed_despite_a_lagging_watch() {
    for held in 0.. {
        let mut sim = Sim::new(TEMPLATE);
        let ended = well();
        *sim.fleet.program.lock().unwrap() =
            Arc::new(move |host, key| (ended(host, key).0, Duration::from_secs(3600)));
        let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
        let commits = AtomicU32::new(0);
        sim.kv.on_commit(move |_| {
            if commits.fetch_add(1, Ordering::SeqCst) == held {
                return CommitFault::Hold;
            }
            CommitFault::None
        });
        sim.run_for(SignedDuration::from_mins(1));
        if sim.kv.held() == 0 {
            assert!(held > 5, "{held} commits");
            break;
        }
        sim.kv.flush();
        let asked = sim.clock.now();
        if sim
            .ask(id, "bob", &TaskRequest::Stop { host: None })
            .is_err()
        {
            continue;
        }
        for number in 0..5000 {
            let row = Commit::new().put(format!("other/{number}"), "");
            at_once(sim.kv.commit(row)).unwrap();
        }
        sim.rest();
        let task = sim.task(id);
        assert_eq!(task.state, State::Stopped, "commit {held}");
        let after = task.updated.duration_since(asked);
        assert!(
            after < SignedDuration::from_mins(5),
            "commit {held}: {after:?}"
        );
    }
}

/// How often the executor reads the clock for each of many tasks that are pushed at once: once per
/// decision.
fn looks_per_task(tasks: u32) -> u32 {
    let mut sim = Sim::new(TEMPLATE);
    let pushed: Vec<u64> = (0..tasks)
        .map(|number| sim.push_kept(&format!("qa-{number}"), &object_of('1')))
        .collect();
    sim.rest();
    for id in pushed {
        assert_eq!(sim.task(id).state, State::Succeeded);
    }
    sim.looks.load(Ordering::SeqCst) / tasks
}

#[test]
fn decisions_per_task_do_not_grow_with_waiting_tasks() {
    let (few, many) = (looks_per_task(10), looks_per_task(80));
    assert!(many < few + few / 4, "{few} among 10, {many} among 80");
}
