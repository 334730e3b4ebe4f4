//! What a task discards and what it keeps after a stop, a skip or a retry.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::gate_tests::step_at;
use super::tests::{at, release};
use super::walk_tests::{SWITCH, Walk, bad, good, plan};
use super::*;
use crate::domain::template::{Gate, OnFailure};

fn work() -> TaskWork {
    TaskWork::new(release(), at(1))
}

fn skipped() -> Skipped {
    Skipped {
        name: "web0".to_owned(),
        by: "alice".to_owned(),
        reason: "its disk is broken".to_owned(),
    }
}

fn held() -> HeldHost {
    HeldHost {
        host: "web".to_owned(),
        gate: Gate::Hand,
        since: at(2),
    }
}

fn progress(result: Option<StepResult>) -> StepProgress {
    StepProgress {
        attempt: 3,
        began: at(2),
        program: None,
        unreachable: None,
        end: result.map(|result| (at(3), result)),
    }
}

fn done() -> StepResult {
    StepResult::Done {
        values: BTreeMap::new(),
    }
}

#[test]
fn stopped_or_skipped_host_leaves_its_gate() {
    for skips in [false, true] {
        let mut work = work();
        work.held_hosts
            .extend([(step_at(0, 1), held()), (step_at(1, 1), held())]);
        let news = if skips {
            work.skip(0, skipped())
        } else {
            work.stop_on(0, "alice")
        };
        assert!(news);
        assert_eq!(work.held_hosts.keys().collect::<Vec<_>>(), [&step_at(1, 1)]);
    }
}

#[test]
fn a_host_is_stopped_once_and_not_when_it_is_skipped() {
    let mut work = work();
    assert!(work.stop_on(0, "alice"));
    assert!(!work.stop_on(0, "bob"));
    assert!(work.skip(0, skipped()) && work.stopped.is_empty());
    assert!(!work.skip(0, skipped()) && !work.stop_on(0, "bob"));
    work.clear_skips();
    assert!(work.skipped.is_empty() && work.stop_on(0, "bob"));
}

#[test]
fn host_absence_ends_on_return_or_with_the_claim() {
    let mut work = work();
    let here = step_at(0, 0);
    let tell = |work: &mut TaskWork, event| work.apply_report(&event, at(4));
    let away = || Event::HostAway {
        at: here,
        reason: "refused".to_owned(),
        until: at(600),
    };
    let back = || Event::HostBack { at: here };
    work.steps.insert(here, progress(None));
    assert!(tell(&mut work, back()).is_err(), "it never was away");
    tell(&mut work, away()).unwrap();
    tell(&mut work, back()).unwrap();
    assert_eq!(work.steps[&here].unreachable, None);
    tell(&mut work, away()).unwrap();
    work.clear_unreachable();
    assert_eq!(work.steps[&here].unreachable, None);
}

#[test]
fn only_failures_of_one_direction_are_forgotten() {
    let back = StepRef {
        way: Direction::Back,
        ..step_at(0, 0)
    };
    let failed = || StepResult::Failed {
        message: "no".to_owned(),
        exit_code: None,
        omits_exit: false,
        is_final: false,
    };
    let mut work = work();
    work.steps.insert(step_at(0, 0), progress(Some(failed())));
    work.steps.insert(step_at(0, 1), progress(Some(done())));
    work.steps.insert(step_at(1, 0), progress(None));
    work.steps.insert(back, progress(Some(failed())));
    work.clear_failures(Direction::Forward);
    let left: Vec<StepRef> = work.steps.keys().copied().collect();
    assert_eq!(left, [step_at(0, 1), step_at(1, 0), back]);
    assert_eq!(work.attempts(step_at(0, 0)), 3);
}

#[test]
fn after_rollback_steps_repeat_from_the_switch_on() {
    let of_stage = |stage| StepRef {
        stage,
        ..step_at(0, 0)
    };
    let back = StepRef {
        way: Direction::Back,
        ..of_stage(SWITCH)
    };
    let published = || {
        progress(Some(StepResult::Published {
            was: None,
            found: Box::default(),
        }))
    };
    let mut work = work();
    work.steps
        .insert(of_stage(SWITCH - 1), progress(Some(done())));
    work.steps.insert(of_stage(SWITCH), published());
    work.steps
        .insert(of_stage(SWITCH + 1), progress(Some(done())));
    work.steps.insert(back, published());
    work.live_before.insert(0, None);
    for stage in [SWITCH - 1, SWITCH, SWITCH + 1] {
        work.held_hosts.insert(of_stage(stage), held());
    }
    work.clear_switch();
    assert_eq!(
        work.steps.keys().collect::<Vec<_>>(),
        [&of_stage(SWITCH - 1)]
    );
    assert_eq!(
        work.held_hosts.keys().collect::<Vec<_>>(),
        [&of_stage(SWITCH - 1)]
    );
    assert!(work.live_before.is_empty());
}

/// Performs what is offered, with success except for `fails`, until `enough` is true.
fn walk_on(walk: &mut Walk, fails: Option<StepRef>, enough: impl Fn(&Walk) -> bool) {
    for _ in 0..100 {
        let next = walk.actions().into_iter().next().filter(|_| !enough(walk));
        match next {
            Some(NextAction::Perform { at, attempt }) => {
                walk.apply(Event::Began { at, attempt });
                let result = match fails == Some(at) {
                    true => bad(false),
                    false => good(walk, at, false),
                };
                walk.apply(Event::Ended { at, result });
            }
            Some(NextAction::Record(event)) => walk.apply(event),
            Some(other) => panic!("{other:?}"),
            None => return,
        }
    }
    panic!("it goes on for ever");
}

/// A task during its rollback: one of its two hosts has rolled back, the other has not.
fn half_rolled_back() -> Walk {
    let mut walk = Walk::new(plan(2, None, OnFailure::Rollback, Gate::None));
    walk_on(&mut walk, Some(step_at(1, 1)), |walk| {
        walk.succeeded(Direction::Back, SWITCH, 0, 0)
    });
    assert!(!walk.succeeded(Direction::Back, SWITCH, 1, 0));
    walk
}

/// The direction in which each host was switched last.
fn last_switches(walk: &Walk) -> [Option<Direction>; 2] {
    [0, 1].map(|host| {
        let switches = walk
            .steps()
            .iter()
            .filter(|(at, _)| (at.stage, at.host, at.step) == (SWITCH, host, 0));
        let last = switches.max_by_key(|(_, step)| step.began);
        last.map(|(at, _)| at.way)
    })
}

#[test]
fn task_stopped_during_rollback_switches_hosts_again() {
    let mut walk = half_rolled_back();
    let (by, requester) = ("alice".to_owned(), StopRequester::Person);
    walk.apply(Event::StopRequested { by, requester });
    walk_on(&mut walk, None, |_| false);
    assert_eq!(walk.task.state, State::Stopped);
    let by = "alice".to_owned();
    walk.apply(Event::RetryRequested { by });
    walk.apply(Event::Claimed { fence: 2 });
    walk.apply(Event::Started { release: release() });
    walk_on(&mut walk, None, |_| false);
    assert_eq!(walk.task.state, State::Succeeded);
    assert_eq!(last_switches(&walk), [Some(Direction::Forward); 2]);
    assert!(walk.steps().keys().all(|at| at.way == Direction::Forward));
}

#[test]
fn retry_or_skip_after_unstopped_rollback_switches_again() {
    let by = || "alice".to_owned();
    let skip = Event::HostSkipped {
        host: 1,
        name: "web1".to_owned(),
        by: by(),
        reason: "its disk is broken".to_owned(),
    };
    for continues in [Event::RetryRequested { by: by() }, skip] {
        let mut walk = half_rolled_back();
        let at = StepRef {
            way: Direction::Back,
            ..step_at(0, 1)
        };
        walk.apply(Event::Began { at, attempt: 1 });
        walk.apply(Event::StopRequested {
            by: by(),
            requester: StopRequester::Person,
        });
        let result = bad(true);
        walk.apply(Event::Ended { at, result });
        walk_on(&mut walk, None, |_| false);
        assert!(matches!(walk.task.state, State::Paused { .. }));
        walk.apply(continues);
        walk_on(&mut walk, None, |_| false);
        assert_eq!(walk.task.state, State::Succeeded);
        assert_eq!(last_switches(&walk)[0], Some(Direction::Forward));
    }
}
