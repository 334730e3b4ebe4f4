//! Runs tasks through plans by what [`next_actions`] offers, in any order and with any results.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{at, landed, release, submission};
use super::*;
use crate::domain::host::{ReleaseId, TreeDigest};
use crate::domain::plan::tests::{host, plain_plan};
use crate::domain::plan::{AGENT, Plan, Stage};
use crate::domain::template::{self, Directory, Gate, OnFailure, Program, ProgramCommand, Step};

pub(super) fn step(name: &str, once: bool, action: template::StepAction) -> Step {
    Step {
        once,
        ..Step::plain(name, action)
    }
}

pub(super) fn run() -> template::StepAction {
    template::StepAction::Run(Program {
        command: ProgramCommand::Shell("true".to_owned()),
        args: Vec::new(),
        directory: Directory::Home,
        timeout: std::time::Duration::from_secs(1),
        repeat: false,
        outputs: Vec::new(),
        secret_outputs: Vec::new(),
    })
}

/// Checkout; sync and a program that runs once; publish and a program; a stage behind a gate.
pub(super) fn plan(hosts: usize, batch: Option<u32>, on_failure: OnFailure, gate: Gate) -> Plan {
    let names: Vec<String> = (0..hosts).map(|host| format!("web{host}")).collect();
    let stage = |name: &str, hosts: &[String], steps| Stage {
        name: name.to_owned(),
        gate: Gate::None,
        batch: None,
        hosts: hosts.to_vec(),
        steps,
    };
    let mut switch = stage(
        "switch",
        &names,
        vec![
            step("publish", false, template::StepAction::Publish),
            step("reload", false, run()),
        ],
    );
    switch.batch = batch;
    let mut after = stage("after", &names, vec![step("warm", false, run())]);
    after.gate = gate;
    let stages = vec![
        stage(
            "checkout",
            &[AGENT.to_owned()],
            vec![step("checkout", false, template::StepAction::Checkout)],
        ),
        stage(
            "stage",
            &names,
            vec![
                step("sync", false, template::StepAction::Sync),
                step("migrate", true, run()),
            ],
        ),
        switch,
        after,
    ];
    Plan {
        commit: "2".repeat(40),
        on_failure,
        ..plain_plan(names.iter().map(|name| host(name)).collect(), stages)
    }
}

pub(super) const SWITCH: u16 = 2;

pub(super) fn started() -> Task {
    let events = [
        Event::Proposed(Box::new(submission(Schedule::Ready))),
        Event::Landed(Box::new(landed())),
        Event::Due,
        Event::Claimed { fence: 1 },
        Event::Started { release: release() },
    ];
    let events = events.map(|event| Recorded { time: at(1), event });
    Task::fold(7, &events).unwrap()
}

/// What a walk has done so far.
pub(super) struct Walk {
    pub(super) plan: Plan,
    pub(super) task: Task,
    second: i64,
}

impl Walk {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            task: started(),
            second: 2,
        }
    }

    /// Whether it waits for a person, as `on_failure` says; otherwise it must have ended.
    pub(super) fn waits_or_is_settled(&self, on_failure: OnFailure) -> bool {
        let state = &self.task.state;
        let waits = matches!(state, State::Paused { .. });
        assert_eq!(waits, on_failure == OnFailure::Pause);
        assert!(waits || state.is_settled(), "{state:?}");
        waits
    }

    pub(super) fn apply(&mut self, event: Event) {
        self.second += 1;
        let recorded = Recorded {
            time: at(self.second),
            event,
        };
        self.task.advance(&recorded).unwrap();
    }

    pub(super) fn actions(&self) -> Vec<NextAction> {
        next_actions(&self.task, Some(&self.plan))
    }

    pub(super) fn steps(&self) -> &BTreeMap<StepRef, StepProgress> {
        &self.task.work.as_ref().unwrap().steps
    }

    fn failed(&self, host: u16) -> bool {
        self.steps().iter().any(|(at, step)| {
            at.host == host
                && at.way == Direction::Forward
                && matches!(&step.end, Some((_, result)) if !result.succeeded())
        })
    }

    fn begun(&self, stage: u16, host: u16, step: u16) -> bool {
        let way = Direction::Forward;
        self.steps().contains_key(&StepRef {
            way,
            stage,
            host,
            step,
        })
    }

    pub(super) fn succeeded(&self, way: Direction, stage: u16, host: u16, step: u16) -> bool {
        let at = StepRef {
            way,
            stage,
            host,
            step,
        };
        let found = self.steps().get(&at);
        found.is_some_and(|step| matches!(&step.end, Some((_, result)) if result.succeeded()))
    }

    /// Compares what is offered with what may be offered.
    fn holds(&self, actions: &[NextAction]) {
        let begun: Vec<StepRef> = actions
            .iter()
            .filter_map(|action| match action {
                NextAction::Perform { at, .. } => Some(*at),
                _ => None,
            })
            .collect();
        let under_way: Vec<StepRef> = actions
            .iter()
            .filter_map(|action| match action {
                NextAction::Perform { at, .. } | NextAction::Resume { at, .. } => Some(*at),
                _ => None,
            })
            .collect();
        let ways: BTreeSet<Direction> = under_way.iter().map(|at| at.way).collect();
        assert!(
            ways.len() <= 1,
            "forwards and backwards at once: {actions:?}"
        );
        let back = matches!(self.task.state, State::RollingBack { .. });
        for at in &begun {
            assert_eq!(at.way == Direction::Back, back);
            self.may_begin(*at);
        }
        let stages: BTreeSet<u16> = under_way.iter().map(|at| at.stage).collect();
        assert!(stages.len() <= 1, "two stages at once: {actions:?}");
    }

    fn may_begin(&self, at: StepRef) {
        let stage = &self.plan.stages[usize::from(at.stage)];
        let hosts = u16::try_from(self.plan.stages[1].hosts.len()).unwrap();
        let step = &stage.steps[usize::from(at.step)];
        if step.once {
            let others = (0..at.host).all(|host| self.failed(host));
            assert!(others, "`once` runs on the first host that comes to it");
            let again = (0..hosts).any(|host| self.begun(at.stage, host, at.step));
            assert!(!again, "`once` runs once");
        }
        let before = self.steps().get(&at).map(|step| step.end.clone());
        assert_eq!(before, None, "it has been begun");
        if at.way == Direction::Back {
            if step.host.is_some() {
                return;
            }
            let switched = self.steps().keys().any(|done| {
                done.way == Direction::Forward && done.stage == SWITCH && done.host == at.host
            });
            assert!(switched, "going back where nothing switched");
            return;
        }
        if at.stage == 0 {
            return;
        }
        let go_on = self.plan.on_failure == OnFailure::Continue;
        assert!(
            self.succeeded(Direction::Forward, 0, AGENT_INDEX, 0),
            "nothing is checked out"
        );
        assert!(!self.failed(at.host), "it failed there, and goes on there");
        if at.stage >= SWITCH {
            for host in 0..hosts {
                let staged = self.succeeded(Direction::Forward, 1, host, 0);
                assert!(
                    staged || (go_on && self.failed(host)),
                    "host {host} is not staged"
                );
            }
        }
        let failures = (0..hosts).any(|host| self.failed(host));
        match self.plan.on_failure {
            OnFailure::Rollback | OnFailure::Stop => {
                assert!(!failures, "it goes on after a failure");
            }
            OnFailure::Pause | OnFailure::Continue => {}
        }
        if let (SWITCH, Some(size)) = (at.stage, stage.batch) {
            let size = u16::try_from(size).unwrap();
            for earlier in 0..(at.host / size) * size {
                let through = self.succeeded(Direction::Forward, SWITCH, earlier, 1);
                assert!(
                    through || (go_on && self.failed(earlier)),
                    "the batch before is not through"
                );
            }
        }
    }
}

pub(super) fn good(walk: &Walk, at: StepRef, first: bool) -> StepResult {
    let before = (!first).then(|| ReleaseId("20270101-000000-1111111".to_owned()));
    match &walk.plan.step(at).unwrap().action {
        template::StepAction::Checkout => StepResult::CheckedOut {
            digest: TreeDigest("t".to_owned()),
            files: 1,
        },
        template::StepAction::Sync => StepResult::Staged {
            live: before,
            files_sent: 1,
            bytes_sent: 1,
            drift: None,
            notes: Vec::new(),
        },
        template::StepAction::Publish => StepResult::Published {
            was: before,
            found: Box::default(),
        },
        _ => StepResult::Done {
            values: BTreeMap::new(),
        },
    }
}

pub(super) fn bad(unknown: bool) -> StepResult {
    let message = "no".to_owned();
    if unknown {
        StepResult::Unknown { message }
    } else {
        StepResult::Failed {
            message,
            exit_code: None,
            omits_exit: false,
            is_final: false,
        }
    }
}

pub(super) fn any_on_failure() -> impl Strategy<Value = OnFailure> {
    prop_oneof![
        Just(OnFailure::Rollback),
        Just(OnFailure::Pause),
        Just(OnFailure::Stop),
        Just(OnFailure::Continue),
    ]
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let gate = prop_oneof![Just(Gate::None), Just(Gate::Hand)];
    let batch = prop_oneof![Just(None), (1..4_u32).prop_map(Some)];
    (1..6_usize, batch, any_on_failure(), gate)
        .prop_map(|(hosts, batch, on_failure, gate)| plan(hosts, batch, on_failure, gate))
}

/// Walks until nothing is offered any more; `choices` says what is done next and how it ends.
fn walk(plan: Plan, first: bool, choices: &[(u8, u8)]) -> Task {
    let mut walk = Walk::new(plan);
    let mut choices = choices.iter().cycle();
    for _ in 0..400 {
        let actions = walk.actions();
        walk.holds(&actions);
        let (which, how) = choices.next().unwrap();
        if actions.is_empty() {
            match (&walk.task.state, how % 3) {
                (
                    State::Paused {
                        why: Pause::Gate { .. },
                    },
                    _,
                ) => {
                    walk.apply(Event::Continued {
                        by: "bob".to_owned(),
                        host: None,
                    });
                }
                (State::Paused { .. }, 0) => {
                    walk.apply(Event::RetryRequested {
                        by: "bob".to_owned(),
                    });
                }
                (State::Paused { .. }, _) => {
                    walk.apply(Event::StopRequested {
                        by: "bob".to_owned(),
                        requester: StopRequester::Person,
                    });
                }
                _ => return walk.task,
            }
            continue;
        }
        match actions[usize::from(*which) % actions.len()].clone() {
            NextAction::Perform { at, attempt } => walk.apply(Event::Began { at, attempt }),
            NextAction::Resume { at, .. } => {
                let result = match how {
                    0..20 => bad(false),
                    20..28 => bad(true),
                    _ => good(&walk, at, first),
                };
                walk.apply(Event::Ended { at, result });
            }
            NextAction::Kill { at } => walk.apply(Event::Ended {
                at,
                result: StepResult::Stopped,
            }),
            NextAction::Record(event) => walk.apply(event),
            other => panic!("{other:?}"),
        }
    }
    panic!("it does not come to an end: {:?}", walk.task.state);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_next_action_is_accepted(
        plan in any_plan(),
        first in prop::bool::ANY,
        choices in prop::collection::vec((0..=255_u8, 0..=255_u8), 40..80),
    ) {
        let hosts = plan.hosts.len();
        let on_failure = plan.on_failure;
        let task = walk(plan, first, &choices);
        prop_assert!(task.state.is_settled(), "{:?}", task.state);
        match &task.state {
            State::RolledBack { .. } | State::RollbackFailed { .. } => {
                prop_assert_eq!(on_failure, OnFailure::Rollback);
                prop_assert!(!first, "there was nothing to go back to");
            }
            State::Failed { reason } => prop_assert!(!reason.is_empty()),
            State::Succeeded => {
                let work = task.work.as_ref().unwrap();
                let switched = work.steps.iter().filter(|(at, step)| {
                    at.stage == SWITCH && at.step == 0
                        && matches!(&step.end, Some((_, result)) if result.succeeded())
                });
                prop_assert_eq!(switched.count(), hosts);
            }
            State::Stopped => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn without_a_failure_every_plan_succeeds(plan in any_plan(), which in 0..=255_u8) {
        let task = walk(plan, false, &[(which, 255)]);
        prop_assert_eq!(task.state, State::Succeeded);
    }
}

/// Performs everything that is offered, with success except for the steps in `fails`.
pub(super) fn play(plan: Plan, fails: &[StepRef]) -> Walk {
    let mut walk = Walk::new(plan);
    while let Some(action) = walk.actions().into_iter().next() {
        walk.holds(&walk.actions());
        match action {
            NextAction::Perform { at, attempt } => {
                walk.apply(Event::Began { at, attempt });
                let result = if fails.contains(&at) {
                    bad(false)
                } else {
                    good(&walk, at, false)
                };
                walk.apply(Event::Ended { at, result });
            }
            NextAction::Record(event) => walk.apply(event),
            other => panic!("{other:?}"),
        }
    }
    walk
}

fn switch_of(host: u16) -> StepRef {
    StepRef {
        way: Direction::Forward,
        stage: SWITCH,
        host,
        step: 0,
    }
}

fn touched(walk: &Walk, stage: u16) -> Vec<u16> {
    let hosts: BTreeSet<u16> = walk
        .steps()
        .keys()
        .filter(|at| at.stage == stage && at.way == Direction::Forward)
        .map(|at| at.host)
        .collect();
    hosts.into_iter().collect()
}

#[test]
fn failed_canary_leaves_other_hosts_unchanged() {
    for on_failure in [OnFailure::Rollback, OnFailure::Stop, OnFailure::Pause] {
        let walk = play(plan(3, Some(1), on_failure, Gate::None), &[switch_of(0)]);
        assert_eq!(touched(&walk, SWITCH), [0], "{on_failure:?}");
    }
}

#[test]
fn continue_finishes_other_hosts_and_fails_the_task() {
    let sync = StepRef {
        way: Direction::Forward,
        stage: 1,
        host: 1,
        step: 0,
    };
    let walk = play(plan(3, Some(1), OnFailure::Continue, Gate::None), &[sync]);
    assert_eq!(touched(&walk, SWITCH), [0, 2]);
    assert!(
        matches!(&walk.task.state, State::Failed { reason } if reason == "web1: sync: no"),
        "{:?}",
        walk.task.state
    );
}

#[test]
fn continue_does_nothing_without_a_checkout() {
    let checkout = StepRef {
        way: Direction::Forward,
        stage: 0,
        host: AGENT_INDEX,
        step: 0,
    };
    let walk = play(plan(2, None, OnFailure::Continue, Gate::None), &[checkout]);
    assert!(touched(&walk, 1).is_empty());
    assert!(matches!(walk.task.state, State::Failed { .. }));
}

#[test]
fn rollback_reverts_only_switched_hosts() {
    let walk = play(
        plan(3, Some(1), OnFailure::Rollback, Gate::None),
        &[switch_of(1)],
    );
    assert!(matches!(walk.task.state, State::RolledBack { .. }));
    let back: Vec<u16> = walk
        .steps()
        .keys()
        .filter(|at| at.way == Direction::Back && at.step == 0)
        .map(|at| at.host)
        .collect();
    // The switch of host 1 was begun: it may have happened.
    assert_eq!(back, [0, 1]);
}

#[test]
fn a_gate_opens_once() {
    let mut walk = play(plan(2, None, OnFailure::Rollback, Gate::Hand), &[]);
    assert_eq!(
        walk.task.state,
        State::Paused {
            why: Pause::Gate { stage: 3 }
        }
    );
    assert!(touched(&walk, 3).is_empty());
    walk.apply(Event::Continued {
        by: "bob".to_owned(),
        host: None,
    });
    assert!(matches!(walk.actions()[0], NextAction::Perform { .. }));
}
