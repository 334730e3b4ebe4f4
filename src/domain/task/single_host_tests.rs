//! Single-host steps in a stage with other hosts: which host waits for which when something fails.

#![allow(clippy::unwrap_used)]

use super::gate_tests::{step_at, with_forced};
use super::walk_tests::{SWITCH, Walk, good, plan, play};
use super::*;
use crate::domain::plan::Plan;
use crate::domain::template::{Gate, OnFailure};

/// The only host of the step, and that step, which follows `publish`.
const BALANCER: u16 = 2;
const TELL: u16 = 1;
const RELOAD: u16 = 2;

fn alone(on_failure: OnFailure) -> Plan {
    with_forced(plan(2, None, on_failure, Gate::None), usize::from(TELL))
}

/// The host of another single-host step, `note`, right after `tell`.
const DB: u16 = 3;
const NOTE: u16 = TELL + 1;

/// Two hosts do single-host steps, one after the other.
fn two_alone(on_failure: OnFailure) -> Plan {
    let mut plan = alone(on_failure);
    plan.hosts.push(crate::domain::plan::PlannedHost {
        name: "db".to_owned(),
        ..plan.hosts[0].clone()
    });
    let steps = &mut plan.stages[usize::from(SWITCH)].steps;
    let mut note = steps[usize::from(TELL)].clone();
    note.name = "note".to_owned();
    note.host = Some("db".to_owned());
    steps.insert(usize::from(NOTE), note);
    plan
}

fn skip(host: u16, name: &str) -> Event {
    Event::HostSkipped {
        host,
        name: name.to_owned(),
        by: "alice".to_owned(),
        reason: "its disk is broken".to_owned(),
    }
}

/// Performs what is offered, with success, until nothing is offered.
fn go_on(walk: &mut Walk) {
    while let Some(action) = walk.actions().into_iter().next() {
        match action {
            NextAction::Perform { at, attempt } => {
                walk.apply(Event::Began { at, attempt });
                let result = good(walk, at, false);
                walk.apply(Event::Ended { at, result });
            }
            NextAction::Record(event) => walk.apply(event),
            other => panic!("{other:?}"),
        }
    }
}

fn done(walk: &Walk, host: u16, step: u16) -> bool {
    walk.succeeded(Direction::Forward, SWITCH, host, step)
}

fn reason(walk: &Walk) -> String {
    match &walk.task.state {
        State::Failed { reason } => reason.clone(),
        State::Paused {
            why: Pause::HostFailed { message },
        } => message.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn continue_does_not_wait_for_a_failed_host() {
    let walk = play(alone(OnFailure::Continue), &[step_at(1, 0)]);
    assert!(done(&walk, BALANCER, TELL) && done(&walk, 0, RELOAD));
    assert_eq!(reason(&walk), "web1: publish: no");
}

#[test]
fn failed_host_blocks_single_host_steps_without_continue() {
    for on_failure in [OnFailure::Pause, OnFailure::Stop] {
        let walk = play(alone(on_failure), &[step_at(1, 0)]);
        assert!(!walk.steps().contains_key(&step_at(BALANCER, TELL)));
        assert_eq!(reason(&walk), "web1: publish: no", "{on_failure:?}");
    }
}

#[test]
fn single_host_steps_run_in_template_order() {
    let mut walk = Walk::new(two_alone(OnFailure::Pause));
    let mut order = Vec::new();
    while let Some(NextAction::Perform { at, attempt }) = walk.actions().first().cloned() {
        let lone = [step_at(BALANCER, TELL), step_at(DB, NOTE)];
        let offered = walk.actions();
        let both = lone.map(|at| NextAction::Perform { at, attempt: 1 });
        assert!(!both.iter().all(|one| offered.contains(one)), "at once");
        order.extend(lone.contains(&at).then_some(at.host));
        walk.apply(Event::Began { at, attempt });
        assert!(
            at != lone[0] || !walk.actions().contains(&both[1]),
            "the one before still runs"
        );
        let result = good(&walk, at, false);
        walk.apply(Event::Ended { at, result });
    }
    assert_eq!(order, [BALANCER, DB]);
    go_on(&mut walk);
    assert_eq!(walk.task.state, State::Succeeded);
}

#[test]
fn failed_single_host_step_blocks_the_later_ones() {
    for on_failure in [
        OnFailure::Rollback,
        OnFailure::Pause,
        OnFailure::Stop,
        OnFailure::Continue,
    ] {
        let mut walk = play(two_alone(on_failure), &[step_at(BALANCER, TELL)]);
        assert!(!walk.steps().contains_key(&step_at(DB, NOTE)));
        if walk.waits_or_is_settled(on_failure) {
            let by = "alice".to_owned();
            walk.apply(Event::RetryRequested { by });
            go_on(&mut walk);
            assert!(done(&walk, DB, NOTE) && walk.task.state == State::Succeeded);
        }
    }
}

#[test]
fn stopped_single_host_blocks_the_next_until_retry_or_skip() {
    for on_failure in [OnFailure::Pause, OnFailure::Continue] {
        for skips in [false, true] {
            let mut walk = Walk::new(two_alone(on_failure));
            walk.apply(Event::HostStopRequested {
                host: BALANCER,
                name: "balancer".to_owned(),
                by: "alice".to_owned(),
            });
            go_on(&mut walk);
            assert_eq!(reason(&walk), "balancer: alice stopped it");
            assert!(!walk.steps().contains_key(&step_at(DB, NOTE)));
            let by = "alice".to_owned();
            walk.apply(match skips {
                true => skip(BALANCER, "balancer"),
                false => Event::RetryRequested { by },
            });
            go_on(&mut walk);
            assert_eq!(walk.task.state, State::Succeeded);
            assert!(done(&walk, DB, NOTE) && done(&walk, BALANCER, TELL) != skips);
        }
    }
}

#[test]
fn single_host_step_on_a_stage_host_keeps_template_order() {
    for (first, second) in [("balancer", "web1"), ("web1", "balancer")] {
        let mut plan = two_alone(OnFailure::Pause);
        let steps = &mut plan.stages[usize::from(SWITCH)].steps;
        steps[usize::from(TELL)].host = Some(first.to_owned());
        steps[usize::from(NOTE)].host = Some(second.to_owned());
        let [tell, note] = [(first, TELL), (second, NOTE)]
            .map(|(name, step)| step_at(host_index(&plan, name), step));
        let walk = play(plan.clone(), &[tell]);
        assert!(!walk.steps().contains_key(&note), "{first} before {second}");
        let walk = play(plan, &[]);
        assert_eq!(walk.task.state, State::Succeeded, "{first} before {second}");
        assert!(done(&walk, note.host, NOTE));
    }
}

#[test]
fn continue_fails_hosts_that_waited_for_a_failed_step() {
    let walk = play(two_alone(OnFailure::Continue), &[step_at(BALANCER, TELL)]);
    assert_eq!(
        reason(&walk),
        "balancer: tell: no; web0, web1, db did not continue: tell did not succeed on balancer"
    );
    assert!(!walk.steps().contains_key(&step_at(0, NOTE + 1)));
}

#[test]
fn continue_names_an_earlier_failure_to_later_waiters() {
    let mut plan = two_alone(OnFailure::Continue);
    let mut check = plan.stages[usize::from(SWITCH)].steps[usize::from(TELL)].clone();
    check.name = "ready".to_owned();
    plan.stages[1].steps.push(check);
    let ready = StepRef {
        stage: 1,
        ..step_at(BALANCER, 2)
    };
    let walk = play(plan, &[ready]);
    assert_eq!(
        reason(&walk),
        "balancer: ready: no; web0, web1 did not continue: ready did not succeed on balancer; \
         db did not continue: tell did not succeed on balancer"
    );
    assert!(!walk.steps().contains_key(&step_at(DB, NOTE)));
}

#[test]
fn without_continue_only_the_failed_host_is_named() {
    for on_failure in [OnFailure::Pause, OnFailure::Stop] {
        let walk = play(alone(on_failure), &[step_at(BALANCER, TELL)]);
        assert_eq!(reason(&walk), "balancer: tell: no", "{on_failure:?}");
    }
}

#[test]
fn hosts_continue_after_a_successful_single_host_step() {
    for on_failure in [OnFailure::Continue, OnFailure::Pause] {
        let walk = play(alone(on_failure), &[]);
        assert_eq!(walk.task.state, State::Succeeded, "{on_failure:?}");
        assert!(done(&walk, 0, RELOAD) && done(&walk, 1, RELOAD));
    }
}

#[test]
fn skipped_single_host_step_blocks_no_host() {
    let mut walk = play(alone(OnFailure::Pause), &[step_at(BALANCER, TELL)]);
    walk.apply(skip(BALANCER, "balancer"));
    let offered = walk.actions();
    let reloads = [step_at(0, RELOAD), step_at(1, RELOAD)];
    assert_eq!(
        offered,
        reloads.map(|at| NextAction::Perform { at, attempt: 1 })
    );
}

#[test]
fn skipped_single_host_step_blocks_no_rollback() {
    // It precedes the switch, so all hosts would wait for it in a rollback.
    let plan = with_forced(plan(2, None, OnFailure::Rollback, Gate::None), 0);
    let mut walk = Walk::new(plan);
    walk.apply(skip(BALANCER, "balancer"));
    let reload = step_at(1, 2);
    while let Some(NextAction::Perform { at, attempt }) = walk.actions().first().cloned() {
        walk.apply(Event::Began { at, attempt });
        let result = match at == reload {
            true => super::walk_tests::bad(false),
            false => good(&walk, at, false),
        };
        walk.apply(Event::Ended { at, result });
    }
    go_on(&mut walk);
    assert!(
        matches!(walk.task.state, State::RolledBack { .. }),
        "{:?}",
        walk.task.state
    );
    for host in [0, 1] {
        assert!(
            walk.succeeded(Direction::Back, SWITCH, host, 1),
            "web{host}"
        );
    }
    assert!(walk.steps().keys().all(|at| at.host != BALANCER));
}

#[test]
fn step_attempts_are_numbered_from_one() {
    let mut walk = play(alone(OnFailure::Pause), &[step_at(BALANCER, TELL)]);
    walk.apply(Event::RetryRequested {
        by: "alice".to_owned(),
    });
    let at = step_at(BALANCER, TELL);
    assert_eq!(walk.steps().get(&step_at(0, 0)).unwrap().attempt, 1);
    assert_eq!(walk.actions(), [NextAction::Perform { at, attempt: 2 }]);
    walk.apply(Event::Began { at, attempt: 2 });
    let result = good(&walk, at, false);
    walk.apply(Event::Ended { at, result });
    assert!(done(&walk, BALANCER, TELL));
}

#[test]
fn no_host_index_is_mistaken_for_the_agent() {
    let mut crowd = alone(OnFailure::Pause);
    let one = crowd.hosts[0].clone();
    crowd.hosts = (0..70_000)
        .map(|number| crate::domain::plan::PlannedHost {
            name: format!("web{number}"),
            ..one.clone()
        })
        .collect();
    assert_eq!(host_index(&crowd, "web7"), 7);
    assert_ne!(host_index(&crowd, "web69999"), AGENT_INDEX);
    assert_eq!(host_index(&crowd, crate::domain::plan::AGENT), AGENT_INDEX);
}
