//! Steps that one host does alone, beside a stage's hosts: who waits for whom when something fails.

#![allow(clippy::unwrap_used)]

use super::gate_tests::{place, with_forced};
use super::walk_tests::{SWITCH, Walk, good, plan, play};
use super::*;
use crate::plan::Plan;
use crate::template::{Gate, OnFailure};

/// The host that does the step alone, and that step, which stands after `publish`.
const BALANCER: u16 = 2;
const TELL: u16 = 1;
const RELOAD: u16 = 2;

fn alone(on_failure: OnFailure) -> Plan {
    with_forced(plan(2, None, on_failure, Gate::None), usize::from(TELL))
}

fn done(walk: &Walk, host: u16, step: u16) -> bool {
    walk.succeeded(Way::Forward, SWITCH, host, step)
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
fn with_continue_a_host_that_failed_before_is_not_waited_for() {
    let walk = play(alone(OnFailure::Continue), &[place(1, 0)]);
    assert!(done(&walk, BALANCER, TELL) && done(&walk, 0, RELOAD));
    assert_eq!(reason(&walk), "web1: publish: no");
}

#[test]
fn otherwise_nothing_is_told_of_hosts_that_failed_before() {
    for on_failure in [OnFailure::Pause, OnFailure::Stop] {
        let walk = play(alone(on_failure), &[place(1, 0)]);
        assert!(!walk.steps().contains_key(&place(BALANCER, TELL)));
        assert_eq!(reason(&walk), "web1: publish: no", "{on_failure:?}");
    }
}

#[test]
fn with_continue_everybody_who_waited_for_a_step_that_failed_has_failed() {
    let walk = play(alone(OnFailure::Continue), &[place(BALANCER, TELL)]);
    let reason = reason(&walk);
    assert!(reason.contains("balancer: tell: no"), "{reason}");
    assert!(
        reason.contains("tell did not succeed on balancer"),
        "{reason}"
    );
    assert!(!walk.steps().contains_key(&place(0, RELOAD)));
}

#[test]
fn otherwise_the_one_that_failed_is_named_alone() {
    for on_failure in [OnFailure::Pause, OnFailure::Stop] {
        let walk = play(alone(on_failure), &[place(BALANCER, TELL)]);
        assert_eq!(reason(&walk), "balancer: tell: no", "{on_failure:?}");
    }
}

#[test]
fn without_a_failure_the_others_go_on_when_the_step_is_done() {
    for on_failure in [OnFailure::Continue, OnFailure::Pause] {
        let walk = play(alone(on_failure), &[]);
        assert_eq!(walk.task.state, State::Succeeded, "{on_failure:?}");
        assert!(done(&walk, 0, RELOAD) && done(&walk, 1, RELOAD));
    }
}

#[test]
fn what_a_skipped_host_would_have_done_holds_nobody() {
    let mut walk = play(alone(OnFailure::Pause), &[place(BALANCER, TELL)]);
    walk.apply(Event::HostSkipped {
        host: BALANCER,
        name: "balancer".to_owned(),
        by: "alice".to_owned(),
        reason: "its disk is broken".to_owned(),
    });
    let offered = walk.actions();
    let reloads = [place(0, RELOAD), place(1, RELOAD)];
    assert_eq!(
        offered,
        reloads.map(|at| Action::Perform { at, attempt: 1 })
    );
}

#[test]
fn the_first_attempt_of_a_step_is_its_first_and_the_next_one_its_second() {
    let mut walk = play(alone(OnFailure::Pause), &[place(BALANCER, TELL)]);
    walk.apply(Event::RetryRequested {
        by: "alice".to_owned(),
    });
    let at = place(BALANCER, TELL);
    assert_eq!(walk.steps().get(&place(0, 0)).unwrap().attempt, 1);
    assert_eq!(walk.actions(), [Action::Perform { at, attempt: 2 }]);
    walk.apply(Event::Began { at, attempt: 2 });
    let result = good(&walk, at, false);
    walk.apply(Event::Ended { at, result });
    assert!(done(&walk, BALANCER, TELL));
}

#[test]
fn no_host_is_taken_for_the_agent_however_many_there_are() {
    let mut crowd = alone(OnFailure::Pause);
    let one = crowd.hosts[0].clone();
    crowd.hosts = (0..70_000)
        .map(|number| crate::plan::PlannedHost {
            name: format!("web{number}"),
            ..one.clone()
        })
        .collect();
    assert_eq!(host_index(&crowd, "web7"), 7);
    assert_ne!(host_index(&crowd, "web69999"), AGENT_INDEX);
    assert_eq!(host_index(&crowd, crate::plan::AGENT), AGENT_INDEX);
}
