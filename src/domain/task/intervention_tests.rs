//! Interventions in a running task: a host is stopped or skipped, a pause times out.

#![allow(clippy::unwrap_used)]

use super::walk_tests::{SWITCH, Walk, bad, good, plan};
use super::*;
use crate::domain::plan::Plan;
use crate::domain::template::{Gate, OnFailure};

const EVERY: [OnFailure; 4] = [
    OnFailure::Rollback,
    OnFailure::Pause,
    OnFailure::Stop,
    OnFailure::Continue,
];

fn stop_on(host: u16) -> Event {
    Event::HostStopRequested {
        host,
        name: format!("web{host}"),
        by: "alice".to_owned(),
    }
}

fn skip(host: u16) -> Event {
    Event::HostSkipped {
        host,
        name: format!("web{host}"),
        by: "alice".to_owned(),
        reason: "its disk is broken".to_owned(),
    }
}

/// Begins everything that may be begun now.
fn begin(walk: &mut Walk) {
    for action in walk.actions() {
        if let NextAction::Perform { at, attempt } = action {
            walk.apply(Event::Began { at, attempt });
        }
    }
}

/// Performs everything that is offered, with success, except on `held` hosts, until nothing is
/// offered.
fn go_on(walk: &mut Walk, held: &[u16]) {
    for _ in 0..200 {
        let next = walk.actions().into_iter().find(|action| match action {
            NextAction::Perform { at, .. }
            | NextAction::Resume { at, .. }
            | NextAction::Kill { at } => !held.contains(&at.host),
            NextAction::At(..) => false,
            _ => true,
        });
        match next {
            Some(NextAction::Perform { at, attempt }) => walk.apply(Event::Began { at, attempt }),
            Some(NextAction::Resume { at, .. }) => {
                let result = good(walk, at, false);
                walk.apply(Event::Ended { at, result });
            }
            Some(NextAction::Kill { at }) => walk.apply(Event::Ended {
                at,
                result: StepResult::Stopped,
            }),
            Some(NextAction::Record(event)) => walk.apply(event),
            _ => return,
        }
    }
    panic!("it goes on for ever");
}

/// Until every host runs its first step of the stage that stages.
fn staging(on_failure: OnFailure) -> Walk {
    let mut walk = Walk::new(plan(3, None, on_failure, Gate::None));
    begin(&mut walk);
    let at = StepRef {
        way: Direction::Forward,
        stage: 0,
        host: AGENT_INDEX,
        step: 0,
    };
    let result = good(&walk, at, false);
    walk.apply(Event::Ended { at, result });
    begin(&mut walk);
    walk
}

fn switched(walk: &Walk, host: u16) -> bool {
    walk.succeeded(Direction::Forward, SWITCH, host, 0)
}

#[test]
fn stopped_hosts_program_is_killed_and_others_continue() {
    for on_failure in EVERY {
        let mut walk = staging(on_failure);
        walk.apply(stop_on(1));
        let killed: Vec<u16> = walk
            .actions()
            .iter()
            .filter_map(|action| match action {
                NextAction::Kill { at } => Some(at.host),
                _ => None,
            })
            .collect();
        assert_eq!(killed, [1]);
        go_on(&mut walk, &[]);
        assert!(walk.succeeded(Direction::Forward, 1, 0, 0));
        assert!(walk.succeeded(Direction::Forward, 1, 2, 0));
        assert!(!walk.succeeded(Direction::Forward, 1, 1, 0));
    }
}

#[test]
fn task_pauses_after_a_host_is_stopped() {
    for on_failure in EVERY {
        let mut walk = staging(on_failure);
        walk.apply(stop_on(1));
        go_on(&mut walk, &[]);
        let paused = matches!(
            &walk.task.state,
            State::Paused { why: Pause::HostFailed { message } } if message.contains("web1")
        );
        assert!(paused, "{on_failure:?}: {:?}", walk.task.state);
        assert!(
            (0..3).all(|host| !switched(&walk, host)),
            "not all are staged"
        );
    }
}

#[test]
fn stopped_host_starts_nothing_until_resumed() {
    let mut walk = staging(OnFailure::Pause);
    // Nothing runs on it: it is between two steps, or has done this stage.
    let at = StepRef {
        way: Direction::Forward,
        stage: 1,
        host: 1,
        step: 0,
    };
    let result = good(&walk, at, false);
    walk.apply(Event::Ended { at, result });
    walk.apply(stop_on(1));
    go_on(&mut walk, &[]);
    assert!(
        !walk
            .steps()
            .keys()
            .any(|at| at.host == 1 && at.stage >= SWITCH)
    );
    walk.apply(Event::RetryRequested {
        by: "alice".to_owned(),
    });
    go_on(&mut walk, &[]);
    assert_eq!(walk.task.state, State::Succeeded);
    assert!((0..3).all(|host| switched(&walk, host)));
}

#[test]
fn task_succeeds_without_a_skipped_host() {
    for on_failure in EVERY {
        let mut walk = staging(on_failure);
        walk.apply(stop_on(1));
        go_on(&mut walk, &[]);
        walk.apply(skip(1));
        go_on(&mut walk, &[]);
        assert_eq!(walk.task.state, State::Succeeded, "{on_failure:?}");
        assert!(switched(&walk, 0) && switched(&walk, 2));
        assert!(!switched(&walk, 1));
        let skipped = &walk.task.work.as_ref().unwrap().skipped[&1];
        assert_eq!(skipped.name, "web1");
    }
}

/// The `once` step, and the hosts that have done it.
fn migrated(walk: &Walk) -> Vec<u16> {
    let hosts = 0..u16::try_from(walk.plan.hosts.len()).unwrap();
    hosts
        .filter(|host| walk.succeeded(Direction::Forward, 1, *host, 1))
        .collect()
}

#[test]
fn next_host_runs_once_steps_of_a_skipped_host() {
    for on_failure in EVERY {
        let mut walk = staging(on_failure);
        walk.apply(stop_on(0));
        go_on(&mut walk, &[]);
        let waits = migrated(&walk).is_empty();
        assert!(waits || on_failure == OnFailure::Continue);
        walk.apply(skip(0));
        go_on(&mut walk, &[]);
        assert_eq!(walk.task.state, State::Succeeded, "{on_failure:?}");
        assert_eq!(migrated(&walk), [1]);
    }
}

#[test]
fn completed_once_step_is_not_repeated_after_a_skip() {
    let mut walk = Walk::new(plan(3, None, OnFailure::Pause, Gate::Hand));
    go_on(&mut walk, &[]);
    assert_eq!(
        migrated(&walk),
        [0],
        "it waits at the gate of the last stage"
    );
    walk.apply(skip(0));
    go_on(&mut walk, &[]);
    walk.apply(Event::Continued {
        by: "bob".to_owned(),
        host: None,
    });
    go_on(&mut walk, &[]);
    assert_eq!(walk.task.state, State::Succeeded);
    assert_eq!(migrated(&walk), [0]);
}

#[test]
fn once_step_of_unknown_result_is_not_begun_elsewhere() {
    for (unknown, does) in [(true, &[][..]), (false, &[1])] {
        let mut walk = Walk::new(plan(3, None, OnFailure::Pause, Gate::None));
        let migrate = StepRef {
            way: Direction::Forward,
            stage: 1,
            host: 0,
            step: 1,
        };
        while !walk.steps().contains_key(&migrate) {
            let next = walk.actions().remove(0);
            match next {
                NextAction::Perform { at, attempt } => walk.apply(Event::Began { at, attempt }),
                NextAction::Resume { at, .. } => {
                    let result = good(&walk, at, false);
                    walk.apply(Event::Ended { at, result });
                }
                other => panic!("{other:?}"),
            }
        }
        let (at, result) = (migrate, bad(unknown));
        walk.apply(Event::Ended { at, result });
        go_on(&mut walk, &[]);
        walk.apply(skip(0));
        go_on(&mut walk, &[]);
        assert_eq!(walk.task.state, State::Succeeded);
        assert_eq!(migrated(&walk), does);
    }
}

#[test]
fn continue_runs_a_failed_hosts_once_step_before_switch() {
    let mut walk = staging(OnFailure::Continue);
    let at = StepRef {
        way: Direction::Forward,
        stage: 1,
        host: 0,
        step: 0,
    };
    let result = bad(false);
    walk.apply(Event::Ended { at, result });
    go_on(&mut walk, &[]);
    assert!(matches!(walk.task.state, State::Failed { .. }));
    assert_eq!(migrated(&walk), [1]);
    assert!(switched(&walk, 1) && switched(&walk, 2) && !switched(&walk, 0));
}

#[test]
fn a_failed_host_can_be_skipped_where_the_task_paused() {
    let mut walk = staging(OnFailure::Pause);
    let at = StepRef {
        way: Direction::Forward,
        stage: 1,
        host: 2,
        step: 0,
    };
    walk.apply(Event::Ended {
        at,
        result: bad(false),
    });
    go_on(&mut walk, &[]);
    assert!(matches!(walk.task.state, State::Paused { .. }));
    walk.apply(skip(2));
    go_on(&mut walk, &[]);
    assert_eq!(walk.task.state, State::Succeeded);
    assert!(switched(&walk, 0) && switched(&walk, 1) && !switched(&walk, 2));
}

#[test]
fn host_with_a_running_step_is_not_skipped() {
    let walk = staging(OnFailure::Pause);
    let recorded = Recorded {
        time: walk.task.updated,
        event: skip(1),
    };
    assert!(walk.task.clone().apply(&recorded).is_err());
}

#[test]
fn failed_stop_waits_for_a_person_without_time_limit() {
    let mut patient = plan(3, None, OnFailure::Pause, Gate::None);
    patient.pause_timeout_s = Some(3600);
    let mut walk = Walk::new(patient);
    begin(&mut walk);
    let at = *walk.steps().keys().next().unwrap();
    walk.apply(Event::StopRequested {
        by: "alice".to_owned(),
        requester: StopRequester::Person,
    });
    walk.apply(Event::Ended {
        at,
        result: StepResult::Unknown {
            message: "the host is away".to_owned(),
        },
    });
    go_on(&mut walk, &[]);
    assert!(matches!(
        walk.task.state,
        State::Paused {
            why: Pause::Unknown { .. }
        }
    ));
    assert_eq!(walk.actions(), []);
}

fn paused(plan: Plan) -> Walk {
    let mut walk = Walk::new(plan);
    go_on(&mut walk, &[]);
    assert!(matches!(walk.task.state, State::Paused { .. }));
    walk
}

#[test]
fn unattended_pause_becomes_a_stop_on_time() {
    let mut patient = plan(1, None, OnFailure::Pause, Gate::Hand);
    let impatient = paused(patient.clone());
    assert_eq!(impatient.actions(), []);
    assert!(!impatient.task.is_asked_about_stop(), "a gate is no stop");
    patient.pause_timeout_s = Some(3600);
    let walk = paused(patient);
    let since = walk.task.updated.as_second();
    let ends = walk.task.pause_ends(&walk.plan).unwrap();
    assert_eq!(ends.as_second(), since + 3600, "people are told");
    match walk.actions().as_slice() {
        [NextAction::At(time, Event::StopRequested { by, requester })] => {
            assert_eq!(time.as_second(), since + 3600);
            assert!(by.contains("pause_timeout"));
            assert_eq!(*requester, StopRequester::Tagship);
        }
        other => panic!("{other:?}"),
    }
    let mut continues = walk;
    continues.apply(Event::Continued {
        by: "bob".to_owned(),
        host: None,
    });
    assert_eq!(continues.task.pause_ends(&continues.plan), None);
}

#[test]
fn override_ends_with_its_freeze_and_its_run() {
    let end: Timestamp = "2030-01-01T12:00:00Z".parse().unwrap();
    let mut walk = staging(OnFailure::Stop);
    walk.apply(Event::FreezeOverridden {
        by: "root".to_owned(),
        reason: "the shop is down".to_owned(),
        until: Some(end),
    });
    let second = SignedDuration::from_secs(1);
    assert_eq!(walk.task.freeze_override_at(end - second), Some("root"));
    assert_eq!(
        walk.task.freeze_override_at(end),
        None,
        "a later freeze holds"
    );
    walk.apply(Event::StopRequested {
        by: "alice".to_owned(),
        requester: StopRequester::Person,
    });
    go_on(&mut walk, &[]);
    assert_eq!(walk.task.state, State::Stopped);
    walk.apply(Event::RetryRequested {
        by: "alice".to_owned(),
    });
    assert_eq!(walk.task.freeze_override_at(end - second), None);
}

#[test]
fn override_of_earlier_version_is_honored() {
    let text = r#"{"event":"freeze-overridden","by":"root","reason":"x"}"#;
    let event: Event = serde_json::from_str(text).unwrap();
    let mut walk = staging(OnFailure::Stop);
    walk.apply(event);
    let at = "2030-01-01T12:00:00Z".parse().unwrap();
    assert_eq!(walk.task.freeze_override_at(at), Some("root"));
}

/// Stops a task with a step of unknown result; the kill does not succeed.
fn stop(walk: &mut Walk, requester: StopRequester) {
    let by = "bob".to_owned();
    walk.apply(Event::StopRequested { by, requester });
    while let Some(NextAction::Kill { at }) = walk.actions().first() {
        let at = *at;
        let message = "the host is away".to_owned();
        let result = StepResult::Unknown { message };
        walk.apply(Event::Ended { at, result });
    }
    for action in walk.actions() {
        if let NextAction::Record(event) = action {
            walk.apply(event);
        }
    }
}

#[test]
fn only_an_asked_person_ends_a_program_of_unknown_state() {
    let mut walk = staging(OnFailure::Pause);
    walk.plan.pause_timeout_s = Some(3600);
    let is_paused = |walk: &Walk| matches!(walk.task.state, State::Paused { .. });
    for _ in 0..3 {
        stop(&mut walk, StopRequester::Tagship);
        assert!(is_paused(&walk) && walk.task.is_asked_about_stop());
        assert_eq!(walk.actions(), [], "it is not asked again by itself");
    }
    stop(&mut walk, StopRequester::Person);
    assert_eq!(walk.task.state, State::Stopped);

    let mut walk = staging(OnFailure::Pause);
    assert!(!walk.task.is_asked_about_stop(), "it runs");
    stop(&mut walk, StopRequester::Person);
    assert!(is_paused(&walk), "nobody was asked before");
    stop(&mut walk, StopRequester::Tagship);
    assert!(is_paused(&walk), "a rollback or a time is no person");
    stop(&mut walk, StopRequester::Person);
    assert_eq!(walk.task.state, State::Stopped);
}

#[test]
fn stop_of_older_version_is_no_persons_confirmation() {
    let json = r#"{"time":"2026-11-21T15:00:00Z","event":"stop-requested","by":"bob"}"#;
    let recorded: Recorded = serde_json::from_str(json).unwrap();
    let event = Event::StopRequested {
        by: "bob".to_owned(),
        requester: StopRequester::Tagship,
    };
    assert_eq!(recorded.event, event);
    assert_eq!(serde_json::to_string(&recorded).unwrap(), json);
}

#[test]
fn stop_ends_only_running_and_possibly_running_steps() {
    let mut walk = staging(OnFailure::Pause);
    let running: Vec<StepRef> = walk
        .steps()
        .iter()
        .filter(|(_, step)| step.end.is_none())
        .map(|(at, _)| *at)
        .collect();
    assert!(running.len() > 1 && running.len() < walk.steps().len());
    // The result of one of them is unknown.
    let result = bad(true);
    let at = running[0];
    walk.apply(Event::Ended { at, result });
    walk.apply(Event::StopRequested {
        by: "alice".to_owned(),
        requester: StopRequester::Person,
    });
    let kills: Vec<NextAction> = running
        .iter()
        .map(|at| NextAction::Kill { at: *at })
        .collect();
    assert_eq!(walk.actions(), kills);
}
