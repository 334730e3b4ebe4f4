//! What a task forgets and what it keeps when somebody stops, skips or does again.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::gate_tests::place;
use super::tests::{at, release};
use super::walk_tests::SWITCH;
use super::*;
use crate::template::Gate;

fn work() -> Work {
    Work::new(release(), at(1))
}

fn skipped() -> Skipped {
    Skipped {
        name: "web0".to_owned(),
        by: "alice".to_owned(),
        reason: "its disk is broken".to_owned(),
    }
}

fn held() -> Held {
    Held {
        host: "web".to_owned(),
        gate: Gate::Hand,
        since: at(2),
    }
}

fn progress(result: Option<StepResult>) -> Progress {
    Progress {
        attempt: 3,
        began: at(2),
        program: None,
        away: None,
        end: result.map(|result| (at(3), result)),
    }
}

fn done() -> StepResult {
    StepResult::Done {
        values: BTreeMap::new(),
    }
}

#[test]
fn whoever_is_stopped_or_skipped_waits_at_no_gate_and_others_do() {
    for skips in [false, true] {
        let mut work = work();
        work.held
            .extend([(place(0, 1), held()), (place(1, 1), held())]);
        let news = if skips {
            work.skip(0, skipped())
        } else {
            work.stop_on(0, "alice")
        };
        assert!(news);
        assert_eq!(work.held.keys().collect::<Vec<_>>(), [&place(1, 1)]);
    }
}

#[test]
fn a_host_is_stopped_once_and_not_when_it_is_skipped() {
    let mut work = work();
    assert!(work.stop_on(0, "alice"));
    assert!(!work.stop_on(0, "bob"));
    assert!(work.skip(0, skipped()) && work.stopped.is_empty());
    assert!(!work.skip(0, skipped()) && !work.stop_on(0, "bob"));
    work.forget_skips();
    assert!(work.skipped.is_empty() && work.stop_on(0, "bob"));
}

#[test]
fn what_is_known_of_absent_hosts_ends_with_them_or_with_the_claim() {
    let mut work = work();
    let here = place(0, 0);
    let tell = |work: &mut Work, event| work.hear(&event, at(4));
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
    assert_eq!(work.steps[&here].away, None);
    tell(&mut work, away()).unwrap();
    work.forget_absences();
    assert_eq!(work.steps[&here].away, None);
}

#[test]
fn what_failed_on_one_way_is_forgotten_and_nothing_else() {
    let back = At {
        way: Way::Back,
        ..place(0, 0)
    };
    let failed = || StepResult::Failed {
        message: "no".to_owned(),
        exit_code: None,
    };
    let mut work = work();
    work.steps.insert(place(0, 0), progress(Some(failed())));
    work.steps.insert(place(0, 1), progress(Some(done())));
    work.steps.insert(place(1, 0), progress(None));
    work.steps.insert(back, progress(Some(failed())));
    work.forget_failures(Way::Forward);
    let left: Vec<At> = work.steps.keys().copied().collect();
    assert_eq!(left, [place(0, 1), place(1, 0), back]);
    assert_eq!(work.attempts(place(0, 0)), 3);
}

#[test]
fn after_going_back_everything_from_the_switch_on_is_done_again_and_nothing_before() {
    let of_stage = |stage| At {
        stage,
        ..place(0, 0)
    };
    let back = At {
        way: Way::Back,
        ..of_stage(SWITCH)
    };
    let published = || progress(Some(StepResult::Published { was: None }));
    let mut work = work();
    work.steps
        .insert(of_stage(SWITCH - 1), progress(Some(done())));
    work.steps.insert(of_stage(SWITCH), published());
    work.steps
        .insert(of_stage(SWITCH + 1), progress(Some(done())));
    work.steps.insert(back, published());
    work.live_before.insert(0, None);
    for stage in [SWITCH - 1, SWITCH, SWITCH + 1] {
        work.held.insert(of_stage(stage), held());
    }
    work.forget_switch();
    assert_eq!(
        work.steps.keys().collect::<Vec<_>>(),
        [&of_stage(SWITCH - 1)]
    );
    assert_eq!(
        work.held.keys().collect::<Vec<_>>(),
        [&of_stage(SWITCH - 1)]
    );
    assert!(work.live_before.is_empty());
}
