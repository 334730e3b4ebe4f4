//! Landing when the git server, the mirror or the names of refs have faults: an accepted push waits
//! until its timeout, and affects no others.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use tagship::base::clock::Clock as _;
use tagship::domain::host::RunEnd;
use tagship::domain::rule::Schedule;
use tagship::domain::task::{Event, Recorded, State, StateName};
use tagship::domain::template::OnFailure;

use crate::driver::{Halt, Sim, TEMPLATE, object_of};
use crate::immediate::at_once;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn expired(sim: &Sim, id: u64) -> String {
    match sim.task(id).state {
        State::Expired { reason } => reason,
        other => panic!("{other:?}"),
    }
}

fn doubt(sim: &Sim, id: u64) {
    let event = Event::RefDoubted;
    let time = sim.clock.now();
    at_once(
        sim.store()
            .append(&sim.task(id), vec![Recorded { time, event }]),
    )
    .unwrap();
}

#[test]
fn a_ref_with_an_odd_name_expires_alone() {
    let mut sim = Sim::new(TEMPLATE);
    let odd = ["qa-1\u{85}", "qa-1 x"].map(|tag| sim.push(tag, &object_of('1'), Schedule::Ready));
    let others = ["qa-2", "qa-3"].map(|tag| sim.push_kept(tag, &object_of('2')));
    sim.rest();
    for id in others {
        assert_eq!(sim.task(id).state, State::Succeeded);
    }
    for id in odd {
        let reason = expired(&sim, id);
        assert!(
            reason.contains("push the commit under another tag"),
            "{reason}"
        );
    }
}

/// A failed landing is retried; tasks behind it wait meanwhile.
fn lands_once_all_is_well(sim: &mut Sim, id: u64) {
    sim.run_for(MINUTE);
    assert_eq!(sim.task(id).state, State::Proposed);
    sim.faults.refuse_nothing();
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
}

#[test]
fn agent_checks_refs_more_than_once_after_long_downtime() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.clock.set(sim.clock.now() + MINUTE * 60);
    // Both machines come up at the same time.
    sim.faults.refuse("git.ls_remote", "", "Connection refused");
    lands_once_all_is_well(&mut sim, id);
}

#[test]
fn unreachable_git_server_expires_a_push_on_time() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    let pushed = sim.clock.now() + MINUTE * 60;
    sim.clock.set(pushed);
    sim.faults.refuse("git.ls_remote", "", "Connection refused");
    sim.rest();
    assert!(expired(&sim, id).contains("Connection refused"));
    let took = sim.task(id).updated.duration_since(pushed);
    assert!((MINUTE * 5..MINUTE * 6).contains(&took), "{took}");
}

#[test]
fn slow_fetch_that_fails_once_is_retried() {
    let release = |at: Option<usize>| {
        let mut sim = Sim::new(TEMPLATE);
        // The hook comes before the ref.
        let id = sim.propose("refs/tags/qa-1", &object_of('1'), Schedule::Ready);
        sim.run_for(SignedDuration::from_secs(1));
        sim.move_ref("qa-1", &object_of('1'));
        if let Some(at) = at {
            sim.faults.pause_at(at);
            assert_eq!(sim.run(), Halt::Interrupted);
            sim.clock.set(sim.clock.now() + MINUTE * 20);
            sim.faults
                .refuse("git.fetch", "refs/tags/qa-1", "Connection reset");
            sim.resume();
            sim.run_for(MINUTE);
            assert_eq!(sim.task(id).state, State::Proposed);
            sim.faults.refuse_nothing();
        }
        sim.rest();
        assert_eq!(sim.task(id).state, State::Succeeded);
        sim.faults.trace(0)
    };
    let trace = release(None);
    let fetch = trace.lines().position(|line| line.contains("git.fetch"));
    release(Some(fetch.unwrap()));
}

#[test]
fn unfetchable_commit_expires_its_push_on_time() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    let pushed = sim.clock.now();
    sim.faults
        .refuse("git.fetch", "refs/tags/qa-1", "Connection reset");
    sim.rest();
    assert!(expired(&sim, id).contains("Connection reset"));
    let took = sim.task(id).updated.duration_since(pushed);
    assert!((MINUTE * 5..MINUTE * 6).contains(&took), "{took}");
}

#[test]
fn unresolved_ref_doubt_is_reported_until_the_server_returns() {
    for (refusal, after) in [("Connection refused", 5), ("Permission denied", 0)] {
        let mut sim = Sim::new(TEMPLATE);
        let id = sim.push("release-1", &object_of('1'), Schedule::New);
        sim.rest();
        doubt(&sim, id);
        sim.faults.refuse("git.ls_remote", "", refusal);
        let doubted = sim.clock.now();
        sim.run_for(MINUTE * 30);
        let head = at_once(sim.store().head(id)).unwrap();
        assert_eq!(head.state, StateName::Waiting);
        assert!(head.detail.contains(refusal), "{}", head.detail);
        let told = head.updated_at.duration_since(doubted);
        assert!(
            (MINUTE * after..MINUTE * (after + 1)).contains(&told),
            "{told}"
        );
        // It waits until its ref was looked for, approved or not.
        sim.approve(id).unwrap();
        sim.run_for(MINUTE * 30);
        let head = at_once(sim.store().head(id)).unwrap();
        assert_eq!(head.state, StateName::Scheduled);
        assert!(head.detail.contains(refusal), "{}", head.detail);
        assert!(sim.served().is_empty(), "no host was touched");
        sim.faults.refuse_nothing();
        sim.rest();
        assert_eq!(sim.task(id).state, State::Succeeded);
    }
}

#[test]
fn a_commit_that_the_mirror_has_lost_is_fetched_again() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("release-1", &object_of('1'), Schedule::New);
    sim.rest();
    sim.mirror.lock().unwrap().clear();
    sim.approve(id).unwrap();
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
}

#[test]
fn a_lost_commit_whose_tag_moved_is_not_released() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("release-1", &object_of('1'), Schedule::New);
    sim.rest();
    sim.mirror.lock().unwrap().clear();
    sim.move_ref("release-1", &object_of('2'));
    sim.approve(id).unwrap();
    sim.rest();
    let State::Failed { reason } = sim.task(id).state else {
        panic!("{:?}", sim.task(id).state);
    };
    assert!(reason.contains("not in the mirror"), "{reason}");
    assert!(sim.served().values().all(Option::is_none));
}

/// So many hosts that their messages together exceed the limit of an event.
fn crowd(sim: &Sim) -> Vec<String> {
    let mut ground = sim.ground.lock().unwrap();
    let pattern = ground.hosts[0].clone();
    for number in 0..100 {
        let mut host = pattern.clone();
        host.name = format!("web{number}");
        ground.hosts.push(host);
    }
    ground.on_failure = OnFailure::Continue;
    ground.hosts.iter().map(|host| host.name.clone()).collect()
}

#[test]
fn long_failures_of_all_hosts_fail_only_their_task() {
    let mut sim = Sim::new(TEMPLATE);
    for host in crowd(&sim) {
        sim.faults.refuse("host.seal", &host, &"x".repeat(5_000));
    }
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    let State::Failed { reason } = sim.task(id).state else {
        panic!("{:?}", sim.task(id).state);
    };
    assert!(reason.contains("a, b and 101 more: "), "{reason}");
    assert_eq!(sim.crashes, 0, "the agent went on");
    sim.faults.refuse_nothing();
    let next = sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.rest();
    assert_eq!(sim.task(next).state, State::Succeeded);
}

#[test]
fn values_that_grow_when_they_are_written_down_fit_the_store() {
    let template = r#"
        name = "test"
        [[stage]]
        name = "make"
        steps = [{ run = ["make"], outputs = ["KEY"] }]
        "#;
    let mut sim = Sim::new(template);
    crowd(&sim);
    sim.parallel_hosts = 60;
    let values = BTreeMap::from([("KEY".to_owned(), "\u{1}".repeat(7_900))]);
    *sim.fleet.program.lock().unwrap() = std::sync::Arc::new(move |_, _| {
        let values = values.clone();
        (RunEnd::Ended { code: 0, values }, Duration::ZERO)
    });
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
    assert_eq!(sim.crashes, 0, "the agent went on");
}

#[test]
fn undeclared_output_reaches_no_later_step() {
    let template = r#"
        name = "test"
        [[stage]]
        name = "make"
        steps = [{ run = ["make"], outputs = ["KEY"] }, { run = ["use"] }]
        "#;
    for name in ["OTHER", "BASH_ENV", "TAG"] {
        let mut sim = Sim::new(template);
        let written = name.to_owned();
        *sim.fleet.program.lock().unwrap() = std::sync::Arc::new(move |_, key| {
            assert!(key.contains("-0-0-"), "the next step began: {key}");
            let values = ["KEY", &written].map(|name| (name.to_owned(), "x".to_owned()));
            let values = BTreeMap::from(values);
            (RunEnd::Ended { code: 0, values }, Duration::ZERO)
        });
        let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
        sim.rest();
        let task = sim.task(id);
        let why = format!("{:?}", task.state);
        assert!(
            why.contains(&format!("wrote {name} to $TAGSHIP_OUTPUT")),
            "{why}"
        );
    }
}

#[test]
fn oversized_event_ends_its_task_but_not_the_agent() {
    let mut sim = Sim::new(TEMPLATE);
    sim.faults
        .refuse("catalog.recipe", "", &"x".repeat(200_000));
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    let reason = expired(&sim, id);
    assert!(reason.contains("too long for the store"), "{reason}");
    assert_eq!(sim.crashes, 0, "the agent went on");
}

#[test]
fn briefly_unreadable_template_is_read_again() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.faults.refuse("catalog.read", "", "Too many open files");
    sim.run_for(SignedDuration::from_secs(1));
    let detail = |sim: &Sim| at_once(sim.store().head(id)).unwrap().detail;
    assert_eq!(detail(&sim), "not landed yet: Too many open files");
    sim.faults.refuse_nothing();
    sim.faults.refuse("catalog.read", "", "line 3: no such key");
    sim.run_for(MINUTE);
    assert_eq!(detail(&sim), "not landed yet: line 3: no such key");
    let told = at_once(sim.store().events(id)).unwrap();
    let told = told.iter().map(|recorded| recorded.event.name());
    let told: Vec<&str> = told.filter(|name| *name != "proposed").collect();
    assert_eq!(told, ["not landed yet"; 2], "each reason is said once");
    lands_once_all_is_well(&mut sim, id);
    assert_eq!(detail(&sim), "");
}

#[test]
fn task_without_ref_is_planned_again_beside_other_pushes() {
    let mut sim = Sim::new(TEMPLATE);
    sim.faults.refuse("catalog.read", "", "Too many open files");
    let id = sim.submit("k", "a", Schedule::Ready).id();
    sim.run_for(MINUTE);
    let pushed = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.run_for(MINUTE);
    for id in [id, pushed] {
        let head = at_once(sim.store().head(id)).unwrap();
        assert_eq!(head.detail, "not landed yet: Too many open files");
    }
    sim.faults.refuse_nothing();
    sim.run_for(MINUTE);
    for id in [id, pushed] {
        assert_ne!(sim.task(id).state, State::Proposed);
    }
}

#[test]
fn missing_ref_is_reported_once_it_is_overdue() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.propose("refs/tags/qa-1", &object_of('1'), Schedule::Ready);
    let detail = |sim: &Sim| at_once(sim.store().head(id)).unwrap().detail;
    sim.run_for(SignedDuration::from_secs(5));
    assert_eq!(detail(&sim), "", "a push takes its time");
    sim.run_for(MINUTE);
    assert_eq!(
        detail(&sim),
        "not landed yet: tag qa-1 is not on the git server"
    );
    sim.move_ref("qa-1", &object_of('1'));
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
}

#[test]
fn unreadable_template_expires_its_push_on_time() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    let pushed = sim.clock.now();
    sim.faults.refuse("catalog.read", "", "Input/output error");
    sim.rest();
    assert!(expired(&sim, id).contains("Input/output error"));
    let took = sim.task(id).updated.duration_since(pushed);
    assert!((MINUTE * 5..MINUTE * 6).contains(&took), "{took}");
}

#[test]
fn varying_landing_failures_expire_the_push_on_time() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    for minute in 0..6 {
        let why = format!("it would not, in minute {minute}");
        sim.faults.refuse_nothing();
        sim.faults.refuse("git.fetch", "refs/tags/qa-1", &why);
        let until = sim.clock.now() + MINUTE;
        sim.run_for(MINUTE);
        sim.clock.set(until);
    }
    assert!(expired(&sim, id).contains("it would not"));
}

#[test]
fn missing_template_ends_its_push_at_once() {
    let mut sim = Sim::new(TEMPLATE);
    let id = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    let pushed = sim.clock.now();
    sim.faults
        .refuse("catalog.recipe", "", "there is no template");
    sim.rest();
    assert!(expired(&sim, id).contains("there is no template"));
    let took = sim.task(id).updated.duration_since(pushed);
    assert!(took < MINUTE, "{took}");
}
