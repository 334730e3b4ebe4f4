//! Invariants of any log, with any events in any order.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::tests::{at, events, landed, release, submission};
use super::*;
use crate::domain::plan::PlanDigest;

pub(super) fn approval(by: &str, plan: &str) -> Approval {
    Approval {
        by: by.to_owned(),
        in_stead_of: None,
        groups: Vec::new(),
        plan: PlanDigest(plan.to_owned()),
        comment: String::new(),
        not_before: None,
        emergency: None,
        at: at(9),
    }
}

/// Any event of the table, more steps, and events that let a log advance.
fn any_event() -> impl Strategy<Value = Event> {
    let step =
        (0..2_u16, 0..2_u16, 0..2_u16, prop::bool::ANY).prop_map(|(stage, host, step, forward)| {
            StepRef {
                way: if forward {
                    Direction::Forward
                } else {
                    Direction::Back
                },
                stage,
                host,
                step,
            }
        });
    let table = events();
    let result = prop_oneof![
        Just(StepResult::Done {
            values: [("KEY".to_owned(), "value".to_owned())].into(),
        }),
        Just(StepResult::Published {
            was: Some(release()),
            found: Box::default(),
        }),
        Just(StepResult::Failed {
            message: "no".to_owned(),
            exit_code: Some(1),
            omits_exit: true,
            is_final: false,
        }),
        Just(StepResult::Unknown {
            message: "who knows".to_owned(),
        }),
    ];
    prop_oneof![
        2 => (0..table.len()).prop_map(move |index| table[index].1.clone()),
        1 => Just(Event::Landed(Box::new(landed()))),
        1 => Just(Event::Approved(approval("bob", "p"))),
        1 => Just(Event::Due),
        1 => (1..40_u64).prop_map(|fence| Event::Claimed { fence }),
        1 => Just(Event::Started { release: release() }),
        2 => (step.clone(), 1..3_u32).prop_map(|(at, attempt)| Event::Began { at, attempt }),
        1 => (step.clone(), 1..3_u32)
            .prop_map(|(at, attempt)| Event::ProgramBegan { at, attempt }),
        2 => (step, result).prop_map(|(at, result)| Event::Ended { at, result }),
        1 => Just(Event::RetryRequested { by: "bob".to_owned() }),
    ]
}

fn any_log() -> impl Strategy<Value = Vec<Recorded>> {
    let schedule = prop_oneof![
        2 => Just(Schedule::New),
        1 => Just(Schedule::Ready),
        1 => Just(Schedule::Observe)
    ];
    (schedule, prop::collection::vec(any_event(), 1..120)).prop_map(|(schedule, events)| {
        let first = Event::Proposed(Box::new(submission(schedule)));
        std::iter::once(first)
            .chain(events)
            .zip(0..)
            .map(|(event, second)| Recorded {
                time: at(second),
                event,
            })
            .collect()
    })
}

/// The events that the task accepts, and the task after each of them.
fn accepted(log: &[Recorded]) -> (Vec<Recorded>, Vec<Task>) {
    let mut task = Task::begin(7, &log[0]).unwrap();
    let (mut events, mut tasks) = (vec![log[0].clone()], vec![task.clone()]);
    for event in &log[1..] {
        let before = task.clone();
        if task.advance(event).is_ok() {
            events.push(event.clone());
            tasks.push(task.clone());
        } else {
            assert_eq!(
                task,
                before,
                "{} was refused and left something",
                event.event.name()
            );
        }
    }
    (events, tasks)
}

/// Whether enough users other than the submitter approved this plan, or an admin in an emergency.
/// Independent of `approval`, which is tested here.
fn approved(task: &Task) -> bool {
    let terms = &task.landed.as_ref().unwrap().terms;
    task.approvals.iter().any(|yes| {
        let counts = yes.emergency.is_some() || !terms.submitters.contains(&yes.by);
        yes.plan == terms.plan && counts
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn log_folds_to_the_same_state_at_once_and_by_prefix(log in any_log()) {
        let (events, tasks) = accepted(&log);
        for (length, task) in tasks.iter().enumerate() {
            let fold = Task::fold(7, &events[..=length]).unwrap();
            prop_assert_eq!(&fold, task);
            prop_assert_eq!(fold.events, length as u64 + 1);
        }
    }

    #[test]
    fn event_log_roundtrips(log in any_log()) {
        for event in &log {
            let text = serde_json::to_vec(event).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Recorded>(&text).unwrap(), event);
        }
    }

    #[test]
    fn only_approved_claimed_and_verified_tasks_run(log in any_log()) {
        let (events, tasks) = accepted(&log);
        let mut claimed = false;
        for (event, task) in events.iter().zip(&tasks) {
            if let Event::Started { .. } = event.event {
                prop_assert!(task.landed.is_some() && task.fence.is_some());
                prop_assert!(task.doubted.is_none());
                match task.submission.schedule {
                    Schedule::New => prop_assert!(approved(task)),
                    Schedule::Ready => {}
                    Schedule::Observe => prop_assert!(false, "it only observes"),
                }
            }
            if let Event::Began { .. } = event.event {
                prop_assert!(task.state.holds_queue() && task.fence.is_some());
            }
            if let Event::Finished(_) = event.event {
                prop_assert!(claimed, "it ended and nobody had claimed it");
            }
            claimed = task.fence.is_some();
            if task.state.holds_queue() {
                prop_assert!(task.work.is_some());
            }
        }
    }

    #[test]
    fn running_task_has_the_highest_claim_idle_task_none(log in any_log()) {
        let (events, tasks) = accepted(&log);
        let mut highest = None;
        for (event, task) in events.iter().zip(&tasks) {
            if task.state.is_settled() {
                prop_assert_eq!(task.fence, None);
                highest = None;
            } else if let Event::Claimed { fence } = event.event {
                prop_assert!(Some(fence) > highest);
                highest = Some(fence);
                prop_assert_eq!(task.fence, highest);
            }
        }
    }

    #[test]
    fn each_started_step_ends_exactly_once(log in any_log()) {
        let (events, tasks) = accepted(&log);
        let mut open = std::collections::BTreeSet::new();
        // Steps with an unknown result: a stop request ends them in any case.
        let mut unknown = std::collections::BTreeSet::new();
        let mut to_end = std::collections::BTreeSet::new();
        for (event, task) in events.iter().zip(&tasks) {
            match &event.event {
                Event::Began { at, .. } => {
                    unknown.remove(at);
                    to_end.remove(at);
                    prop_assert!(open.insert(*at));
                }
                Event::Ended { at, result } => {
                    prop_assert!(open.remove(at) | to_end.remove(at));
                    match result {
                        StepResult::Unknown { .. } => unknown.insert(*at),
                        _ => unknown.remove(at),
                    };
                }
                Event::ProgramBegan { at, .. }
                | Event::HostAway { at, .. }
                | Event::HostBack { at } => prop_assert!(open.contains(at)),
                Event::StopRequested { .. } => to_end.clone_from(&unknown),
                Event::Finished(_) => prop_assert!(open.is_empty(), "it ended while a step ran"),
                _ => {}
            }
            if task.state.is_settled() {
                prop_assert!(open.is_empty());
            }
        }
    }
}

#[test]
fn reopened_task_gets_its_full_time() {
    let log = |events: Vec<(i64, Event)>| {
        let events: Vec<Recorded> = events
            .into_iter()
            .map(|(second, event)| Recorded {
                time: at(second),
                event,
            })
            .collect();
        Task::fold(7, &events).unwrap()
    };
    let task = log(vec![
        (0, Event::Proposed(Box::new(submission(Schedule::New)))),
        (1, Event::Landed(Box::new(landed()))),
        (
            3601,
            Event::Expired {
                reason: "late".to_owned(),
                is_final: false,
            },
        ),
        (
            9000,
            Event::Reopened {
                by: "bob".to_owned(),
            },
        ),
    ]);
    assert_eq!(task.state, State::Waiting);
    assert_eq!(task.expires(), Some(at(9000 + 3600)));
    assert!(task.approvals.is_empty() && task.doubted.is_some());
}

#[test]
fn reopened_task_with_work_done_keeps_its_plan() {
    let failed = Outcome::Failed {
        message: "no".to_owned(),
    };
    let by = || "bob".to_owned();
    let events = vec![
        Event::Proposed(Box::new(submission(Schedule::Ready))),
        Event::Landed(Box::new(landed())),
        Event::Due,
        Event::Claimed { fence: 1 },
        Event::Started { release: release() },
        Event::Finished(failed),
        Event::RetryRequested { by: by() },
        Event::Withdrawn {
            by: by(),
            reason: String::new(),
        },
        Event::Reopened { by: by() },
    ];
    let events: Vec<Recorded> = events
        .into_iter()
        .map(|event| Recorded { time: at(1), event })
        .collect();
    let task = Task::fold(7, &events).unwrap();
    assert_eq!(task.state, State::Scheduled { at: at(1) });
    assert!(task.landed.is_some() && task.work.is_some() && task.doubted.is_some());
}

#[test]
fn doubted_ref_survives_landing_and_delays_the_start() {
    let events = [
        Event::Proposed(Box::new(submission(Schedule::Ready))),
        Event::RefDoubted,
        Event::Landed(Box::new(landed())),
    ];
    let events = events.map(|event| Recorded { time: at(1), event });
    let task = Task::fold(7, &events).unwrap();
    let due = Recorded {
        time: at(2),
        event: Event::Due,
    };
    assert!(task.clone().apply(&due).is_err());
    assert_eq!(next_actions(&task, None), [NextAction::Recheck]);
}

#[test]
fn new_task_awaits_landing_approval_time_and_queue() {
    let after = |events: &[Event]| {
        let recorded = events.iter().map(|event| Recorded {
            time: at(1),
            event: event.clone(),
        });
        let task = Task::fold(7, &recorded.collect::<Vec<_>>()).unwrap();
        next_actions(&task, None)
    };
    let begins = |schedule| Event::Proposed(Box::new(submission(schedule)));
    let lands = || Event::Landed(Box::new(landed()));
    assert_eq!(after(&[begins(Schedule::New)]), [NextAction::Land]);

    match after(&[begins(Schedule::New), lands()]).as_slice() {
        [NextAction::At(time, Event::Expired { reason, .. })] => {
            assert_eq!(*time, at(3601), "nobody has longer to approve it");
            assert!(reason.contains("it was not approved in time"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let doubted = after(&[begins(Schedule::New), lands(), Event::RefDoubted]);
    assert_eq!(doubted[0], NextAction::Recheck);
    assert!(matches!(doubted[1], NextAction::At(..)), "its time runs on");
    let patient = Submission {
        expires_s: None,
        ..submission(Schedule::New)
    };
    assert_eq!(after(&[Event::Proposed(Box::new(patient)), lands()]), []);

    let scheduled = [begins(Schedule::Ready), lands()];
    assert_eq!(after(&scheduled), [NextAction::At(at(1), Event::Due)]);
    let [first, second] = scheduled;
    assert_eq!(after(&[first, second, Event::Due]), [NextAction::Start]);
}

#[test]
fn finished_task_has_no_next_action() {
    let task = Task::fold(
        7,
        &[
            Event::Proposed(Box::new(submission(Schedule::New))),
            Event::Withdrawn {
                by: "alice".to_owned(),
                reason: String::new(),
            },
        ]
        .map(|event| Recorded { time: at(1), event }),
    );
    assert_eq!(next_actions(&task.unwrap(), None), []);
}
