//! The state of a task after its events: its state, its release, what was live.

#![allow(clippy::unwrap_used)]

use super::tests::{at, landed, release, submission};
use super::walk_tests::{SWITCH, Walk, good, plan};
use super::*;
use crate::domain::host::TreeDigest;
use crate::domain::template::{Gate, OnFailure};

const TREE: StepRef = StepRef {
    way: Direction::Forward,
    stage: 0,
    host: AGENT_INDEX,
    step: 0,
};
const SWITCH_OF_WEB0: StepRef = StepRef {
    way: Direction::Forward,
    stage: SWITCH,
    host: 0,
    step: 0,
};

fn fold(events: impl IntoIterator<Item = Event>) -> Task {
    let recorded = events
        .into_iter()
        .map(|event| Recorded { time: at(1), event })
        .collect::<Vec<_>>();
    Task::fold(7, &recorded).unwrap()
}

fn proposed(submission: Submission) -> Event {
    Event::Proposed(Box::new(submission))
}

/// Performs one step with this result.
fn done(walk: &mut Walk, at: StepRef, result: StepResult) {
    let attempt = walk.task.work.as_ref().unwrap().attempts(at) + 1;
    walk.apply(Event::Began { at, attempt });
    walk.apply(Event::Ended { at, result });
}

#[test]
fn failed_ref_lookup_reason_is_kept_until_the_ref_is_seen() {
    let unseen = || Event::RefUnseen {
        reason: "the server is away".to_owned(),
    };
    let mut task = fold([
        proposed(submission(Schedule::New)),
        Event::Landed(Box::new(landed())),
    ]);
    let tell = |task: &mut Task, event| task.advance(&Recorded { time: at(2), event });
    assert!(tell(&mut task, unseen()).is_err(), "nobody doubts it");
    tell(&mut task, Event::RefDoubted).unwrap();
    tell(&mut task, unseen()).unwrap();
    assert_eq!(task.ref_error.as_deref(), Some("the server is away"));
    tell(&mut task, Event::RefConfirmed).unwrap();
    assert_eq!((task.ref_error, task.doubted), (None, None));
}

#[test]
fn doubted_ref_stops_a_queued_task_that_has_not_begun() {
    let mut task = fold([
        proposed(submission(Schedule::Ready)),
        Event::Landed(Box::new(landed())),
        Event::Due,
    ]);
    let tell = |task: &mut Task, event| task.advance(&Recorded { time: at(2), event });
    tell(&mut task, Event::RefDoubted).unwrap();
    assert_eq!(next_actions(&task, None), [NextAction::Recheck]);
    let unseen = Event::RefUnseen {
        reason: "the server is away".to_owned(),
    };
    tell(&mut task, unseen).unwrap();
    tell(&mut task, Event::Claimed { fence: 1 }).unwrap();
    let started = || Event::Started { release: release() };
    assert!(tell(&mut task, started()).is_err());
    tell(&mut task, Event::RefConfirmed).unwrap();
    assert_eq!(next_actions(&task, None), [NextAction::Start]);
    tell(&mut task, started()).unwrap();
    // From here on, what the hook saw is released.
    let failed = Outcome::Failed {
        message: "no".to_owned(),
    };
    tell(&mut task, Event::Finished(failed)).unwrap();
    let by = "bob".to_owned();
    tell(&mut task, Event::RetryRequested { by }).unwrap();
    assert_eq!(task.state, State::Queued);
    assert!(tell(&mut task, Event::RefDoubted).is_err());
}

#[test]
fn queued_rollback_needs_no_tag() {
    let back = Submission {
        origin: Origin::Rollback {
            to: Some(1),
            release: release(),
        },
        ..submission(Schedule::Ready)
    };
    let mut task = fold([
        proposed(back),
        Event::Landed(Box::new(landed())),
        Event::Due,
    ]);
    let event = Event::RefDoubted;
    assert!(task.advance(&Recorded { time: at(2), event }).is_err());
}

#[test]
fn retried_rollback_keeps_its_plan_and_needs_no_tag() {
    let back = Submission {
        origin: Origin::Rollback {
            to: Some(1),
            release: release(),
        },
        ..submission(Schedule::Ready)
    };
    let mut task = fold([
        proposed(back),
        Event::Landed(Box::new(landed())),
        Event::Withdrawn {
            by: "bob".to_owned(),
            reason: String::new(),
        },
    ]);
    let by = "bob".to_owned();
    let event = Event::Reopened { by };
    task.advance(&Recorded { time: at(2), event }).unwrap();
    assert_eq!(task.state, State::Scheduled { at: at(2) });
    assert!(task.landed.is_some() && !task.depends_on_ref());
}

#[test]
fn retry_is_futile_only_while_the_tag_can_never_land() {
    let expired = |is_final| {
        let reason = "it points to a tree".to_owned();
        fold([
            proposed(submission(Schedule::New)),
            Event::Expired { reason, is_final },
        ])
    };
    assert!(!expired(false).is_retry_futile());
    let mut task = expired(true);
    assert!(task.is_retry_futile());
    let by = "bob".to_owned();
    let event = Event::Reopened { by };
    task.advance(&Recorded { time: at(2), event }).unwrap();
    assert!(!task.is_retry_futile());
}

#[test]
fn checkout_result_is_recorded() {
    let mut walk = Walk::new(plan(1, None, OnFailure::Stop, Gate::None));
    assert_eq!(walk.task.work.as_ref().unwrap().tree, None);
    let result = good(&walk, TREE, false);
    done(&mut walk, TREE, result);
    let tree = walk.task.work.unwrap().tree;
    assert_eq!(tree, Some(TreeDigest("t".to_owned())));
}

#[test]
fn switch_records_what_was_live_and_rollback_keeps_it() {
    let mut walk = Walk::new(plan(1, None, OnFailure::Rollback, Gate::None));
    let live = |walk: &Walk| {
        walk.task
            .work
            .as_ref()
            .unwrap()
            .live_before
            .get(&0)
            .cloned()
    };
    let id = |name: &str| Some(crate::domain::host::ReleaseId(name.to_owned()));
    let staged = |live| StepResult::Staged {
        live,
        files_sent: 0,
        bytes_sent: 0,
        drift: None,
        notes: Vec::new(),
    };
    let sync = StepRef {
        stage: 1,
        ..SWITCH_OF_WEB0
    };
    done(&mut walk, sync, staged(id("one")));
    assert_eq!(live(&walk), Some(id("one")));
    // Another release went live meanwhile: a rollback returns to what the switch replaced.
    let published = |was| StepResult::Published {
        was,
        found: Box::default(),
    };
    done(&mut walk, SWITCH_OF_WEB0, published(id("two")));
    assert_eq!(live(&walk), Some(id("two")));
    // Staged again after the switch, the host reports the release of this task.
    done(&mut walk, sync, staged(Some(release())));
    assert_eq!(live(&walk), Some(id("two")));
    walk.apply(Event::RollbackBegan {
        reason: "no".to_owned(),
    });
    let back = StepRef {
        way: Direction::Back,
        ..SWITCH_OF_WEB0
    };
    done(&mut walk, back, published(Some(release())));
    assert_eq!(live(&walk), Some(id("two")));
}

#[test]
fn task_has_its_commit_only_after_landing() {
    let begun = fold([proposed(submission(Schedule::New))]);
    assert_eq!(begun.commit(), None);
    let land = |landed| {
        fold([
            proposed(submission(Schedule::New)),
            Event::Landed(Box::new(landed)),
        ])
    };
    assert_eq!(land(landed()).commit(), Some("2".repeat(40).as_str()));
    let nothing = Landed {
        commit: String::new(),
        ..landed()
    };
    assert_eq!(land(nothing).commit(), None);
}

#[test]
fn ref_must_point_to_the_pushed_or_landed_object() {
    let pushed = submission(Schedule::New);
    let named = Submission {
        object: String::new(),
        ..submission(Schedule::New)
    };
    let found = || Landed {
        object: "3".repeat(40),
        ..landed()
    };
    let of = |submission: &Submission, landed: Option<Landed>| {
        let landing = landed.map(|landed| Event::Landed(Box::new(landed)));
        fold([proposed(submission.clone())].into_iter().chain(landing))
    };
    assert_eq!(of(&pushed, Some(found())).object(), "1".repeat(40));
    assert_eq!(of(&named, None).object(), "");
    assert_eq!(of(&named, Some(found())).object(), "3".repeat(40));
}

#[test]
fn task_belongs_to_its_environment_and_is_named_by_tag() {
    let task = fold([proposed(submission(Schedule::New))]);
    let place =
        crate::domain::permission::PermissionTarget::new("shop", "production", "git-release");
    assert_eq!(task.target(), place);
    assert_eq!(task.tag(), "release-1");
    let branch = Submission {
        reference: "refs/heads/main".to_owned(),
        ..submission(Schedule::New)
    };
    assert_eq!(fold([proposed(branch)]).tag(), "refs/heads/main");
}

#[test]
fn task_without_project_or_ref_is_recognized() {
    let here = submission(Schedule::New);
    assert!(here.has_environment() && here.has_reference());
    let nowhere = Submission {
        project: String::new(),
        reference: String::new(),
        ..here
    };
    assert!(!nowhere.has_environment() && !nowhere.has_reference());
}

#[test]
fn secret_is_found_in_current_and_earlier_formats() {
    let submission = Submission {
        parameters: [
            ("OLD".to_owned(), "before".to_owned()),
            ("BOTH".to_owned(), "before".to_owned()),
        ]
        .into(),
        secrets: [
            ("NEW".to_owned(), "now".to_owned().into()),
            ("BOTH".to_owned(), "now".to_owned().into()),
        ]
        .into(),
        unclassified: [("ANY".to_owned(), "told later".to_owned().into())].into(),
        ..submission(Schedule::New)
    };
    assert_eq!(submission.secret("OLD"), Some("before"));
    assert_eq!(submission.secret("NEW"), Some("now"));
    assert_eq!(submission.secret("BOTH"), Some("now"));
    assert_eq!(submission.secret("ANY"), Some("told later"));
    assert_eq!(submission.secret("NONE"), None);
}

/// Events that were stored before these fields existed keep their bytes.
#[test]
fn default_values_are_not_serialized() {
    let forward = serde_json::to_string(&SWITCH_OF_WEB0).unwrap();
    assert_eq!(forward, r#"{"stage":2,"host":0,"step":0}"#);
    let back = StepRef {
        way: Direction::Back,
        ..SWITCH_OF_WEB0
    };
    let back = serde_json::to_string(&back).unwrap();
    assert_eq!(back, r#"{"way":"back","stage":2,"host":0,"step":0}"#);
    let written = |waits| {
        let landed = Landed { waits, ..landed() };
        serde_json::to_string(&landed).unwrap()
    };
    assert!(!written(ScheduleScope::Task).contains("waits"));
    assert!(written(ScheduleScope::Gates).contains(r#""waits":"gates""#));
}

#[test]
fn task_waits_for_its_time_unless_a_gate_does() {
    let mut timed = plan(1, None, OnFailure::Stop, Gate::None);
    assert_eq!(ScheduleScope::of(&timed), ScheduleScope::Task);
    timed.stages[3].gate = Gate::Timed;
    assert_eq!(ScheduleScope::of(&timed), ScheduleScope::Gates);
}

#[test]
fn submission_channel_name_equals_its_stored_form() {
    for via in [Via::Page, Via::Api, Via::Codo, Via::Command] {
        assert_eq!(serde_json::to_value(via).unwrap(), via.name());
    }
}

#[test]
fn invalid_event_error_names_task_state_and_event() {
    let mut task = fold([proposed(submission(Schedule::New))]);
    let refused = task.advance(&Recorded {
        time: at(2),
        event: Event::Due,
    });
    assert_eq!(
        refused.unwrap_err().to_string(),
        "task 7 is proposed: it cannot be due"
    );
    let reordered = Recorded {
        time: at(2),
        event: Event::RefConfirmed,
    };
    assert_eq!(
        Task::fold(7, [&reordered]).unwrap_err().to_string(),
        "task 7 is not there: it cannot be ref confirmed"
    );
    assert!(Task::fold(7, []).is_err());
}

#[test]
fn step_ref_is_described_by_host_user_stage_and_direction() {
    let mut plan = plan(1, None, OnFailure::Stop, Gate::None);
    let at = SWITCH_OF_WEB0;
    let back = StepRef {
        way: Direction::Back,
        ..at
    };
    assert_eq!(plan.log_name(at), "switch.publish");
    assert_eq!(plan.log_name(back), "back.switch.publish");
    assert_eq!(plan.host_with_user(at), "web0");
    assert_eq!(plan.host_with_user(TREE), crate::domain::plan::AGENT);
    plan.stages[usize::from(SWITCH)].steps[0].user = Some("op".to_owned());
    assert_eq!(plan.host_with_user(at), "op@web0");
    assert!(plan.is_publish(at) && !plan.is_publish(TREE));
    let nowhere = StepRef { stage: 9, ..at };
    assert!(plan.step(nowhere).is_none() && !plan.is_publish(nowhere));
}

#[test]
fn every_step_is_listed_on_the_hosts_that_run_it() {
    let plan = plan(2, None, OnFailure::Stop, Gate::None);
    let labels: Vec<String> = (plan.all_steps().into_iter())
        .map(|at| format!("{} {}", plan.host_name(at), plan.log_name(at)))
        .collect();
    let expected = [
        "agent checkout.checkout",
        "web0 stage.sync",
        "web0 stage.migrate",
        "web1 stage.sync",
        "web0 switch.publish",
        "web0 switch.reload",
        "web1 switch.publish",
        "web1 switch.reload",
        "web0 after.warm",
        "web1 after.warm",
    ];
    assert_eq!(labels, expected);
}

#[test]
fn rollback_names_hosts_without_a_previous_release() {
    let mut walk = Walk::new(plan(2, None, OnFailure::Rollback, Gate::None));
    let switch = |host| StepRef {
        host,
        ..SWITCH_OF_WEB0
    };
    let earlier = || {
        Some(crate::domain::host::ReleaseId(
            "20270101-000000-1111111".to_owned(),
        ))
    };
    done(
        &mut walk,
        switch(0),
        StepResult::Published {
            was: None,
            found: Box::default(),
        },
    );
    done(
        &mut walk,
        switch(1),
        StepResult::Published {
            was: earlier(),
            found: Box::default(),
        },
    );
    walk.apply(Event::RollbackBegan {
        reason: "no".to_owned(),
    });
    let ended = loop {
        match walk.actions().remove(0) {
            NextAction::Perform { at, .. } => {
                assert_eq!(at.host, 1, "web0 stays as it is");
                let result = good(&walk, at, false);
                done(&mut walk, at, result);
            }
            NextAction::Record(event) => break event,
            other => panic!("{other:?}"),
        }
    };
    let message = "web0: nothing was live before".to_owned();
    assert_eq!(ended, Event::Finished(Outcome::RolledBack { message }));
}
