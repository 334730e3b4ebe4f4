//! Gates of steps, hosts of single steps, and the task's time.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::invariant_tests::approval;
use super::tests::{at, landed, submission};
use super::walk_tests::{SWITCH, Walk, any_on_failure, bad, good, plan, play, run, step};
use super::*;
use crate::domain::plan::{Plan, PlannedHost};
use crate::domain::template::{Gate, OnFailure};

const GATED: u16 = 1;

/// Two hosts; `publish`, then a program behind this gate.
fn gated(gate: Gate, on_failure: OnFailure) -> Plan {
    let mut plan = plan(2, None, on_failure, Gate::None);
    plan.stages[usize::from(SWITCH)].steps[usize::from(GATED)].gate = gate;
    plan
}

/// Adds a step with its own host to the switching stage, at this position.
pub(super) fn with_forced(mut plan: Plan, position: usize) -> Plan {
    let lone = PlannedHost {
        name: "balancer".to_owned(),
        ..plan.hosts[0].clone()
    };
    plan.hosts.push(lone);
    let mut on_balancer = step("tell", false, run());
    on_balancer.host = Some("balancer".to_owned());
    plan.stages[usize::from(SWITCH)]
        .steps
        .insert(position, on_balancer);
    plan
}

pub(super) fn step_at(host: u16, step: u16) -> StepRef {
    StepRef {
        way: Direction::Forward,
        stage: SWITCH,
        host,
        step,
    }
}

fn go(host: Option<&str>) -> Event {
    Event::Continued {
        by: "bob".to_owned(),
        host: host.map(str::to_owned),
    }
}

/// What may be begun now.
fn offered(walk: &Walk) -> Vec<StepRef> {
    let actions = walk.actions();
    let begins = actions.iter().filter_map(|action| match action {
        NextAction::Perform { at, .. } => Some(*at),
        _ => None,
    });
    begins.collect()
}

fn do_it(walk: &mut Walk, at: StepRef) {
    walk.apply(Event::Began { at, attempt: 1 });
    let result = good(walk, at, false);
    walk.apply(Event::Ended { at, result });
}

/// Performs all actions until this one is offered; the caller continues from there.
fn until(plan: Plan, expected: StepRef) -> Walk {
    let mut walk = Walk::new(plan);
    while !offered(&walk).contains(&expected) {
        let first = offered(&walk)[0];
        do_it(&mut walk, first);
    }
    walk
}

#[test]
fn host_at_a_gate_does_not_block_other_hosts() {
    let mut walk = until(gated(Gate::Hand, OnFailure::Rollback), step_at(0, 0));
    do_it(&mut walk, step_at(0, 0));
    let held = walk.actions().into_iter().find_map(|action| match action {
        NextAction::Record(event @ Event::Held { .. }) => Some(event),
        _ => None,
    });
    walk.apply(held.unwrap());
    assert_eq!(walk.task.state, State::Running);
    assert_eq!(offered(&walk), [step_at(1, 0)], "the other host goes on");
    // The gate opens for the waiting host, while the other still works.
    walk.apply(go(Some("web0")));
    assert_eq!(offered(&walk), [step_at(0, GATED), step_at(1, 0)]);
}

#[test]
fn task_pauses_when_only_gates_remain() {
    let walk = play(gated(Gate::Hand, OnFailure::Rollback), &[]);
    let paused = State::Paused {
        why: Pause::StepGate,
    };
    assert_eq!(walk.task.state, paused);
    assert!(
        walk.succeeded(Direction::Forward, SWITCH, 0, 0)
            && walk.succeeded(Direction::Forward, SWITCH, 1, 0)
    );
    assert!(
        walk.steps()
            .keys()
            .all(|at| (at.stage, at.step) != (SWITCH, GATED))
    );
}

#[test]
fn resume_opens_a_gate_for_all_hosts_or_one() {
    let mut walk = play(gated(Gate::Hand, OnFailure::Rollback), &[]);
    walk.apply(go(Some("web1")));
    assert_eq!(offered(&walk), [step_at(1, GATED)]);
    do_it(&mut walk, step_at(1, GATED));
    let pause = walk.actions().remove(0);
    let NextAction::Record(pause) = pause else {
        panic!("{pause:?}")
    };
    walk.apply(pause);
    assert!(matches!(walk.task.state, State::Paused { .. }));
    for nobody in ["web1", "web9", ""] {
        let refused = walk.task.clone().apply(&Recorded {
            time: at(900),
            event: go(Some(nobody)),
        });
        assert!(refused.is_err(), "{nobody} does not wait");
    }
    walk.apply(go(None));
    assert_eq!(offered(&walk), [step_at(0, GATED)]);
}

#[test]
fn resume_for_all_includes_hosts_not_yet_at_the_gate() {
    let mut walk = until(gated(Gate::Hand, OnFailure::Rollback), step_at(0, 0));
    do_it(&mut walk, step_at(0, 0));
    let Some(NextAction::Record(held)) = walk
        .actions()
        .into_iter()
        .find(|action| matches!(action, NextAction::Record(_)))
    else {
        panic!("{:?}", walk.actions())
    };
    walk.apply(held);
    walk.apply(go(None));
    do_it(&mut walk, step_at(1, 0));
    assert_eq!(offered(&walk), [step_at(0, GATED), step_at(1, GATED)]);
}

#[test]
fn a_step_does_not_begin_while_its_host_is_held() {
    let walk = play(gated(Gate::Hand, OnFailure::Rollback), &[]);
    let mut task = walk.task;
    task.state = State::Running;
    let began = Recorded {
        time: at(900),
        event: Event::Began {
            at: step_at(0, GATED),
            attempt: 1,
        },
    };
    assert!(task.apply(&began).is_err());
}

#[test]
fn failure_rolls_back_while_others_wait_at_a_gate() {
    let walk = play(gated(Gate::Hand, OnFailure::Rollback), &[step_at(1, 0)]);
    assert!(
        matches!(walk.task.state, State::RolledBack { .. }),
        "{:?}",
        walk.task.state
    );
    let back = StepRef {
        way: Direction::Back,
        ..step_at(0, GATED)
    };
    assert!(
        walk.steps().contains_key(&back),
        "the way back waits at no gate"
    );
}

/// A task with an approval for second 500 or later.
fn timed(plan: Plan) -> Walk {
    let mut walk = Walk::new(plan);
    let mut approval = approval("bob", "p");
    approval.not_before = Some(at(500));
    walk.task.approvals.push(approval);
    walk
}

#[test]
fn a_task_with_a_timed_gate_begins_as_soon_as_it_is_approved() {
    for (waits, begins) in [
        (ScheduleScope::Task, at(500)),
        (ScheduleScope::Gates, at(10)),
    ] {
        let landed = Landed { waits, ..landed() };
        let mut approval = approval("bob", "p");
        approval.not_before = Some(at(500));
        let events = [
            Event::Proposed(Box::new(submission(Schedule::New))),
            Event::Landed(Box::new(landed)),
            Event::Approved(approval),
        ];
        let events = events.map(|event| Recorded {
            time: at(10),
            event,
        });
        let task = Task::fold(7, &events).unwrap();
        assert_eq!(task.state, State::Scheduled { at: begins }, "{waits:?}");
    }
}

#[test]
fn only_the_timed_step_waits_for_the_time() {
    let mut walk = timed(gated(Gate::Timed, OnFailure::Rollback));
    while let Some(first) = offered(&walk).first() {
        do_it(&mut walk, *first);
    }
    assert!(walk.succeeded(Direction::Forward, SWITCH, 1, 0));
    let due = NextAction::At(at(500), Event::Due);
    let mut seen = walk.actions();
    while let Some(NextAction::Record(event)) = seen
        .iter()
        .find(|action| matches!(action, NextAction::Record(_)))
        .cloned()
    {
        walk.apply(event);
        seen = walk.actions();
    }
    let until = at(500);
    let why = Pause::Time { until };
    assert_eq!(walk.task.state, State::Paused { why });
    assert_eq!(seen, [due]);
    let early = Recorded {
        time: at(400),
        event: go(None),
    };
    assert!(
        walk.task.clone().apply(&early).is_err(),
        "nobody opens it by hand"
    );
    let message = "restored from a backup".to_owned();
    let held = Recorded {
        time: at(450),
        event: Event::Paused(Pause::Unknown { message }),
    };
    let held = walk.task.clone().apply(&held).unwrap();
    let offered_then = next_actions(&held, Some(&walk.plan));
    assert_eq!(offered_then, [], "held, it waits for a person");
    walk.apply(Event::Due);
    assert_eq!(offered(&walk), [step_at(0, GATED), step_at(1, GATED)]);
}

#[test]
fn a_timed_stage_waits_before_its_first_step() {
    let mut plan = plan(2, None, OnFailure::Rollback, Gate::None);
    plan.stages[usize::from(SWITCH)].gate = Gate::Timed;
    let mut walk = timed(plan.clone());
    while let Some(first) = offered(&walk).first() {
        do_it(&mut walk, *first);
    }
    assert!(
        walk.succeeded(Direction::Forward, 1, 1, 0),
        "what comes before it is done"
    );
    assert!(walk.steps().keys().all(|at| at.stage < SWITCH));
    walk.apply(Event::Due);
    assert_eq!(offered(&walk), [step_at(0, 0), step_at(1, 0)]);
    // Without a time there is nothing to wait for.
    assert_eq!(play(plan, &[]).task.state, State::Succeeded);
}

/// A host waits only at a gate that exists, whatever appends the event.
#[test]
fn no_host_is_held_without_a_closed_gate() {
    let walk = until(gated(Gate::Hand, OnFailure::Rollback), step_at(0, 0));
    let holds = |task: &Task, at, gate| {
        let host = "web0".to_owned();
        let held = Recorded {
            time: task.updated,
            event: Event::Held { at, host, gate },
        };
        task.clone().apply(&held).is_ok()
    };
    let here = step_at(0, GATED);
    assert!(holds(&walk.task, here, Gate::Hand));
    assert!(holds(&walk.task, here, Gate::Timed));
    assert!(!holds(&walk.task, here, Gate::None));
    let back = StepRef {
        way: Direction::Back,
        ..here
    };
    assert!(
        !holds(&walk.task, back, Gate::Hand),
        "the way back waits nowhere"
    );

    let mut due = walk.task.clone();
    let time = due.updated;
    due.advance(&Recorded {
        time,
        event: Event::Due,
    })
    .unwrap();
    assert!(!holds(&due, here, Gate::Timed), "the time has come");
    assert!(
        holds(&due, here, Gate::Hand),
        "and opens no gate of a person's"
    );

    let mut begun = walk;
    do_it(&mut begun, step_at(0, 0));
    assert!(!holds(&begun.task, step_at(0, 0), Gate::Hand), "it is done");
}

#[test]
fn single_host_step_keeps_its_position_in_the_stage() {
    let mut walk = until(
        with_forced(plan(2, None, OnFailure::Rollback, Gate::None), 1),
        step_at(0, 0),
    );
    let tell = step_at(2, 1);
    do_it(&mut walk, step_at(0, 0));
    assert_eq!(offered(&walk), [step_at(1, 0)]);
    do_it(&mut walk, step_at(1, 0));
    assert_eq!(offered(&walk), [tell], "once, on the host of its own");
    do_it(&mut walk, tell);
    assert_eq!(offered(&walk), [step_at(0, 2), step_at(1, 2)]);
}

#[test]
fn single_host_step_runs_again_during_rollback() {
    let plan = with_forced(plan(2, None, OnFailure::Rollback, Gate::None), 1);
    let walk = play(plan, &[step_at(1, 2)]);
    assert!(matches!(walk.task.state, State::RolledBack { .. }));
    assert!(walk.succeeded(Direction::Back, SWITCH, 2, 1));
}

#[test]
fn no_host_passes_a_failed_single_host_step() {
    for on_failure in [
        OnFailure::Rollback,
        OnFailure::Pause,
        OnFailure::Stop,
        OnFailure::Continue,
    ] {
        let plan = with_forced(plan(2, None, on_failure, Gate::None), 1);
        let walk = play(plan, &[step_at(2, 1)]);
        let past =
            |at: &&StepRef| at.way == Direction::Forward && at.stage == SWITCH && at.step == 2;
        assert_eq!(walk.steps().keys().find(past), None, "{on_failure:?}");
        walk.waits_or_is_settled(on_failure);
    }
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let gate = || prop_oneof![Just(Gate::None), Just(Gate::Hand), Just(Gate::Timed)];
    let forced = prop_oneof![Just(None), (0..3_usize).prop_map(Some)];
    (1..4_usize, any_on_failure(), gate(), gate(), gate(), forced).prop_map(
        |(hosts, on_failure, sync, first, stage, forced)| {
            let mut plan = plan(hosts, None, on_failure, stage);
            plan.stages[1].steps[0].gate = sync;
            if let Some(position) = forced {
                plan = with_forced(plan, position);
            }
            plan.stages[usize::from(SWITCH)].steps[1].gate = first;
            plan
        },
    )
}

/// The conditions for beginning a step, written independently of `next`.
fn may_begin(walk: &Walk, at: StepRef, opened: &BTreeSet<(u16, u16, Option<u16>)>, due: bool) {
    if at.way == Direction::Back {
        return;
    }
    let stage = &walk.plan.stages[usize::from(at.stage)];
    let step = &stage.steps[usize::from(at.step)];
    match step.gate {
        Gate::Hand => assert!(
            opened.contains(&(at.stage, at.step, None))
                || opened.contains(&(at.stage, at.step, Some(at.host))),
            "nobody opened {at:?}"
        ),
        Gate::Timed => assert!(due, "{at:?} before its time"),
        Gate::None => {}
    }
    let go_on = walk.plan.on_failure == OnFailure::Continue;
    let through = |host: u16, step: u16| walk.succeeded(Direction::Forward, at.stage, host, step);
    let hosts = u16::try_from(stage.hosts.len()).unwrap();
    if step.host.is_some() && !go_on {
        for host in 0..hosts {
            for earlier in
                (0..at.step).filter(|earlier| stage.runs(usize::from(host), usize::from(*earlier)))
            {
                assert!(
                    through(host, earlier),
                    "{at:?} before host {host} did {earlier}"
                );
            }
        }
    }
    let balancer = u16::try_from(walk.plan.hosts.len() - 1).unwrap();
    for earlier in 0..at.step {
        if step.host.is_none() && stage.steps[usize::from(earlier)].host.is_some() {
            assert!(
                through(balancer, earlier),
                "{at:?} before the step of one host"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_event_order_passes_a_closed_gate(
        plan in any_plan(),
        choices in prop::collection::vec((0..=255_u8, 0..=255_u8), 40..80),
    ) {
        let mut walk = timed(plan);
        let mut opened = BTreeSet::new();
        let (mut due, mut rounds) = (false, 0);
        let mut choices = choices.iter().cycle();
        while !walk.task.state.is_settled() {
            rounds += 1;
            prop_assert!(rounds < 600, "it does not come to an end: {:?}", walk.task.state);
            let (which, how) = choices.next().unwrap();
            let held: Vec<(StepRef, HeldHost)> = walk.task.work.as_ref().unwrap().held_hosts.clone().into_iter()
                .filter(|(_, held)| held.gate == Gate::Hand).collect();
            let actions = walk.actions();
            let pauses = matches!(walk.task.state, State::Paused { .. });
            let opens = pauses || walk.task.state == State::Running;
            if opens && !held.is_empty() && (how % 4 == 0 || (pauses && actions.is_empty())) {
                let (at, one) = &held[usize::from(*which) % held.len()];
                if how % 8 < 4 {
                    opened.insert((at.stage, at.step, Some(at.host)));
                    walk.apply(go(Some(&one.host)));
                } else {
                    opened.extend(held.iter().map(|(at, _)| (at.stage, at.step, None)));
                    walk.apply(go(None));
                }
                continue;
            }
            if actions.is_empty() {
                match &walk.task.state {
                    State::Paused { why: Pause::Gate { .. } } => walk.apply(go(None)),
                    _ if how % 2 == 0 => walk.apply(Event::RetryRequested { by: "bob".to_owned() }),
                    _ => walk.apply(Event::StopRequested {
                        by: "bob".to_owned(),
                        requester: StopRequester::Person,
                    }),
                }
                continue;
            }
            match actions[usize::from(*which) % actions.len()].clone() {
                NextAction::Perform { at, attempt } => {
                    may_begin(&walk, at, &opened, due);
                    walk.apply(Event::Began { at, attempt });
                }
                NextAction::Resume { at, .. } => {
                    let result = if *how < 12 { bad(*how < 4) } else { good(&walk, at, false) };
                    walk.apply(Event::Ended { at, result });
                }
                NextAction::At(time, event) => {
                    prop_assert_eq!((time, &event), (at(500), &Event::Due));
                    due = true;
                    walk.apply(event);
                }
                NextAction::Kill { at } => walk.apply(Event::Ended { at, result: StepResult::Stopped }),
                NextAction::Record(event) => walk.apply(event),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
