//! The table of all states and events, and what must hold for any log.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::invariant_tests::approval;
use super::*;
use crate::domain::approval::Terms;
use crate::domain::host::ReleaseId;
use crate::domain::plan::PlanDigest;
use crate::domain::template::{Gate, Requirement};

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(crate) fn submission(schedule: Schedule) -> Submission {
    Submission {
        origin: of_rule("release-", Supersede::ByNewer),
        project: "shop".to_owned(),
        environment: "production".to_owned(),
        repository: "alice/shop".to_owned(),
        reference: "refs/tags/release-1".to_owned(),
        object: "1".repeat(40),
        template: "git-release".to_owned(),
        schedule,
        submitter: Submitter {
            name: "alice".to_owned(),
            account: Some("alice".to_owned()),
        },
        expires_s: Some(3600),
        refuse_older: false,
        parameters: BTreeMap::new(),
        secrets: BTreeMap::new(),
        unclassified: BTreeMap::new(),
        hosts: BTreeMap::new(),
        title: String::new(),
        involved: BTreeSet::new(),
    }
}

/// The origin of a tag that was pushed alone and matched this rule.
pub(crate) fn of_rule(rule: &str, supersede: Supersede) -> Origin {
    Origin::Tag(PushedTag {
        rule: rule.to_owned(),
        push: None,
        supersede,
    })
}

pub(super) fn landed() -> Landed {
    Landed {
        commit: "2".repeat(40),
        object: String::new(),
        terms: Terms {
            plan: PlanDigest("p".to_owned()),
            approvals: vec!["1".parse::<Requirement>().unwrap()],
            self_approval: false,
            submitters: ["alice".to_owned()].into(),
            more: 0,
        },
        description: "d".to_owned(),
        compared: ComparedWith::default(),
        waits: ScheduleScope::Task,
    }
}

const STEP: StepRef = StepRef {
    way: Direction::Forward,
    stage: 0,
    host: 0,
    step: 0,
};
const STEP_BACK: StepRef = StepRef {
    way: Direction::Back,
    ..STEP
};

pub(super) fn release() -> ReleaseId {
    ReleaseId("20270115-080000-2222222".to_owned())
}

/// A task in a state, with a log that is plausible for it.
fn task_in(state: State, running: Option<StepRef>) -> Task {
    let mut work = TaskWork::new(release(), at(5));
    if let Some(step) = running {
        work.steps.insert(
            step,
            StepProgress {
                attempt: 1,
                began: at(6),
                program: None,
                unreachable: None,
                end: None,
            },
        );
    }
    let waits = |gate| HeldHost {
        host: "web1".to_owned(),
        gate,
        since: at(6),
    };
    let behind = StepRef { host: 1, ..STEP };
    match &state {
        State::Paused {
            why: Pause::StepGate,
        } => drop(work.held_hosts.insert(behind, waits(Gate::Hand))),
        State::Paused {
            why: Pause::Time { .. },
        } => drop(work.held_hosts.insert(behind, waits(Gate::Timed))),
        _ => {}
    }
    let begun = state.holds_queue()
        || matches!(
            state,
            State::Stopped
                | State::Failed { .. }
                | State::RolledBack { .. }
                | State::RollbackFailed { .. }
                | State::Succeeded
        );
    Task {
        id: 7,
        submission: Arc::new(submission(Schedule::New)),
        landed: (state != State::Proposed).then(landed),
        landed_at: Some(at(1)),
        state,
        created: at(0),
        updated: at(7),
        landing_since: at(7),
        events: 9,
        approvals: Vec::new(),
        doubted: None,
        ref_error: None,
        landing_error: None,
        is_final: false,
        freeze_override: None,
        fence: Some(3),
        work: begun.then_some(work),
    }
}

fn states() -> Vec<State> {
    let text = || "why".to_owned();
    vec![
        State::Proposed,
        State::Waiting,
        State::Scheduled { at: at(8) },
        State::Queued,
        State::Running,
        State::Paused {
            why: Pause::Gate { stage: 1 },
        },
        State::Paused {
            why: Pause::StepGate,
        },
        State::Paused {
            why: Pause::Time { until: at(99) },
        },
        State::Paused {
            why: Pause::Unknown { message: text() },
        },
        State::Stopping { by: text() },
        State::Stopped,
        State::RollingBack { reason: text() },
        State::RolledBack { reason: text() },
        State::RollbackFailed {
            reason: text(),
            back: text(),
        },
        State::Failed { reason: text() },
        State::Succeeded,
        State::Rejected {
            by: text(),
            reason: text(),
        },
        State::Expired { reason: text() },
        State::Withdrawn {
            by: text(),
            reason: text(),
        },
        State::Superseded { by: 8 },
        State::Observed,
    ]
}

pub(super) fn events() -> Vec<(&'static str, Event)> {
    let text = || "why".to_owned();
    let (reason, is_final) = (text(), false);
    let outcome = |outcome| Event::Finished(outcome);
    vec![
        (
            "proposed",
            Event::Proposed(Box::new(submission(Schedule::New))),
        ),
        ("joined", Event::Joined { submitter: text() }),
        ("ref doubted", Event::RefDoubted),
        ("ref confirmed", Event::RefConfirmed),
        ("ref not seen", Event::RefUnseen { reason: text() }),
        ("not landed yet", Event::NotLanded { reason: text() }),
        ("landed", Event::Landed(Box::new(landed()))),
        (
            "compared",
            Event::Compared {
                description: "e".to_owned(),
                with: ComparedWith::default(),
            },
        ),
        ("approved by bob", Event::Approved(approval("bob", "p"))),
        (
            "approved by the submitter",
            Event::Approved(approval("alice", "p")),
        ),
        (
            "approved by the submitter in an emergency",
            Event::Approved(Approval {
                emergency: Some("why".to_owned()),
                ..approval("alice", "p")
            }),
        ),
        (
            "approved, another plan",
            Event::Approved(approval("bob", "q")),
        ),
        (
            "rejected",
            Event::Rejected {
                by: text(),
                reason: text(),
            },
        ),
        (
            "withdrawn",
            Event::Withdrawn {
                by: text(),
                reason: text(),
            },
        ),
        ("superseded", Event::Superseded { by: 8 }),
        ("expired", Event::Expired { reason, is_final }),
        ("reopened", Event::Reopened { by: text() }),
        ("due", Event::Due),
        ("claimed, fence 4", Event::Claimed { fence: 4 }),
        ("claimed, fence 3", Event::Claimed { fence: 3 }),
        ("started", Event::Started { release: release() }),
        (
            "began",
            Event::Began {
                at: STEP,
                attempt: 1,
            },
        ),
        (
            "began, way back",
            Event::Began {
                at: STEP_BACK,
                attempt: 1,
            },
        ),
        (
            "program began",
            Event::ProgramBegan {
                at: STEP,
                attempt: 1,
            },
        ),
        (
            "web1 away",
            Event::HostAway {
                at: STEP,
                reason: text(),
                until: at(60),
            },
        ),
        ("web1 back", Event::HostBack { at: STEP }),
        (
            "program began, another attempt",
            Event::ProgramBegan {
                at: STEP,
                attempt: 2,
            },
        ),
        (
            "ended",
            Event::Ended {
                at: STEP,
                result: StepResult::Stopped,
            },
        ),
        ("paused", Event::Paused(Pause::Gate { stage: 1 })),
        (
            "continued",
            Event::Continued {
                by: text(),
                host: None,
            },
        ),
        (
            "continued, web1 alone",
            Event::Continued {
                by: text(),
                host: Some("web1".to_owned()),
            },
        ),
        (
            "continued, web9 alone",
            Event::Continued {
                by: text(),
                host: Some("web9".to_owned()),
            },
        ),
        (
            "stop requested on web1",
            Event::HostStopRequested {
                host: 1,
                name: "web1".to_owned(),
                by: text(),
            },
        ),
        (
            "web1 skipped",
            Event::HostSkipped {
                host: 1,
                name: "web1".to_owned(),
                by: text(),
                reason: text(),
            },
        ),
        (
            "freeze overridden",
            Event::FreezeOverridden {
                by: text(),
                reason: text(),
                until: Some(at(99)),
            },
        ),
        (
            "held at a gate",
            Event::Held {
                at: STEP,
                host: "web0".to_owned(),
                gate: Gate::Hand,
            },
        ),
        (
            "paused, a host waits at a step",
            Event::Paused(Pause::StepGate),
        ),
        (
            "paused until its time",
            Event::Paused(Pause::Time { until: at(99) }),
        ),
        (
            "stop requested",
            Event::StopRequested {
                by: text(),
                requester: StopRequester::Person,
            },
        ),
        ("retry requested", Event::RetryRequested { by: text() }),
        ("rollback began", Event::RollbackBegan { reason: text() }),
        ("finished: succeeded", outcome(Outcome::Succeeded)),
        (
            "finished: failed",
            outcome(Outcome::Failed { message: text() }),
        ),
        ("finished: stopped", outcome(Outcome::Stopped)),
        (
            "finished: rolled back",
            outcome(Outcome::RolledBack { message: text() }),
        ),
        (
            "finished: rollback failed",
            outcome(Outcome::RollbackFailed { message: text() }),
        ),
    ]
}

fn shown(state: &State) -> String {
    match state {
        State::Paused {
            why: Pause::Gate { .. },
        } => "paused (gate)".to_owned(),
        State::Paused {
            why: Pause::StepGate,
        } => "paused (a host waits at a step)".to_owned(),
        State::Paused {
            why: Pause::Time { .. },
        } => "paused (time)".to_owned(),
        State::Paused { .. } => "paused (unknown)".to_owned(),
        other => other.to_string(),
    }
}

#[test]
fn every_state_and_event() {
    let mut table = String::new();
    for state in states() {
        for running in [None, Some(STEP)] {
            if running.is_some() && !state.holds_queue() {
                continue;
            }
            let with = if running.is_some() {
                ", a step runs"
            } else {
                ""
            };
            table += &format!("{}{with}\n", shown(&state));
            for (name, event) in events() {
                let task = task_in(state.clone(), running);
                let recorded = Recorded {
                    time: at(10),
                    event,
                };
                if let Ok(after) = task.apply(&recorded) {
                    table += &format!("    {name} -> {}\n", shown(&after.state));
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn finished_task_accepts_no_step() {
    for state in states().into_iter().filter(State::is_settled) {
        for (name, event) in events() {
            if matches!(event, Event::Began { .. } | Event::Ended { .. }) {
                let recorded = Recorded {
                    time: at(10),
                    event,
                };
                let result = task_in(state.clone(), Some(STEP)).apply(&recorded);
                assert!(result.is_err(), "{name} in {state}");
            }
        }
    }
}

#[test]
fn unapproved_task_does_not_start() {
    let log = |approvals: Vec<Approval>| {
        let mut events = vec![
            Event::Proposed(Box::new(submission(Schedule::New))),
            Event::Landed(Box::new(landed())),
        ];
        events.extend(approvals.into_iter().map(Event::Approved));
        events.extend([
            Event::Due,
            Event::Claimed { fence: 1 },
            Event::Started { release: release() },
        ]);
        let events: Vec<Recorded> = events
            .into_iter()
            .map(|event| Recorded { time: at(1), event })
            .collect();
        Task::fold(1, &events)
    };
    assert!(log(vec![]).is_err());
    assert!(log(vec![approval("alice", "p")]).is_err(), "the submitter");
    assert!(log(vec![approval("bob", "q")]).is_err(), "another plan");
    assert_eq!(
        log(vec![approval("bob", "p")]).unwrap().state,
        State::Running
    );
}

#[test]
fn a_doubted_ref_keeps_a_task_from_starting() {
    let mut task = task_in(State::Queued, None);
    task.doubted = Some(at(9));
    let started = Recorded {
        time: at(10),
        event: Event::Started { release: release() },
    };
    assert!(task.apply(&started).is_err());
}

#[test]
fn latest_approval_time_schedules_the_task() {
    let mut approval = approval("bob", "p");
    approval.not_before = Some(at(500));
    let task = task_in(State::Waiting, None)
        .apply(&Recorded {
            time: at(10),
            event: Event::Approved(approval),
        })
        .unwrap();
    assert_eq!(task.state, State::Scheduled { at: at(500) });
}

#[test]
fn attempts_stay_counted_when_failures_are_forgotten() {
    let mut task = task_in(State::Running, Some(STEP));
    let time = at(10);
    let failed = StepResult::Failed {
        message: "no".to_owned(),
        exit_code: None,
        omits_exit: false,
        is_final: false,
    };
    for event in [
        Event::Ended {
            at: STEP,
            result: failed,
        },
        Event::Finished(Outcome::Failed {
            message: "no".to_owned(),
        }),
        Event::RetryRequested {
            by: "bob".to_owned(),
        },
    ] {
        task = task.apply(&Recorded { time, event }).unwrap();
    }
    assert_eq!(task.state, State::Queued);
    let work = task.work.unwrap();
    assert!(work.steps.is_empty());
    assert_eq!(work.attempts(STEP), 1);
}

#[test]
fn every_state_has_a_name_that_is_listed() {
    for state in states() {
        let name = state.name();
        assert!(STATE_NAMES.contains(&name.as_str()), "{name}");
        let stored = serde_json::to_value(&state).unwrap();
        assert_eq!(stored["state"], name.as_str());
        assert_eq!(serde_json::to_value(name).unwrap(), stored["state"]);
    }
}

#[test]
fn stored_submission_keeps_every_field() {
    let submission = Submission {
        origin: Origin::Submitted(ManualRequest {
            via: Via::Page,
            details: "one\ntwo".to_owned(),
            run_at: Some(at(60)),
            approvers: vec!["alice".to_owned()],
            executor: "bob".to_owned(),
            claimed_submitter: "root".to_owned(),
            idempotency_key: Some("k".to_owned()),
        }),
        object: String::new(),
        parameters: [("SERVICE".to_owned(), "shop".to_owned())].into(),
        secrets: [("PASSWORD".to_owned(), "hunter2".to_owned().into())].into(),
        title: "脚本任务".to_owned(),
        hosts: [(1, vec!["web1".to_owned()]), (9, vec!["web2".to_owned()])].into(),
        ..submission(Schedule::New)
    };
    let recorded = Recorded {
        time: at(0),
        event: Event::Proposed(Box::new(submission)),
    };
    let kept = serde_json::to_vec(&recorded).unwrap();
    let read: Recorded = serde_json::from_slice(&kept).unwrap();
    assert_eq!(read, recorded);
}

#[test]
fn task_waits_for_its_time_and_its_approvals() {
    let begin = |schedule| {
        let submission = Submission {
            origin: Origin::Submitted(ManualRequest {
                run_at: Some(at(600)),
                ..ManualRequest::default()
            }),
            ..submission(schedule)
        };
        let events = [
            Event::Proposed(Box::new(submission)),
            Event::Landed(Box::new(landed())),
        ];
        let recorded = events.map(|event| Recorded { time: at(0), event });
        Task::fold(1, &recorded).unwrap()
    };
    assert_eq!(
        begin(Schedule::Ready).state,
        State::Scheduled { at: at(600) }
    );
    for (not_before, expected) in [(None, 600), (Some(at(60)), 600), (Some(at(700)), 700)] {
        let approval = Approval {
            not_before,
            at: at(1),
            ..approval("bob", "p")
        };
        let (time, event) = (at(1), Event::Approved(approval));
        let approved = Recorded { time, event };
        let task = begin(Schedule::New).apply(&approved).unwrap();
        assert_eq!(task.state, State::Scheduled { at: at(expected) });
    }
}
