//! Freezes: every request, and every scheduled time, for a task in every situation from which it
//! could begin or resume. In a freeze nothing begins; with an override it is as without one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tagship::base::clock::Clock as _;
use tagship::domain::approval::freeze::{Calendar, Freeze, FreezePeriod};
use tagship::domain::host::RunEnd;
use tagship::domain::plan::PlanDigest;
use tagship::domain::rule::Schedule;
use tagship::domain::task::{Event, Pause, State};
use tagship::domain::template::OnFailure;
use tagship::engine::request::{RollbackTarget, TaskRequest};
use tagship::store::Filter;

use crate::driver::{Sim, TEMPLATE, object_of};
use crate::host::well;
use crate::immediate::at_once;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const MINUTES: SignedDuration = SignedDuration::from_mins(10);

/// A request for a task.
#[derive(Clone, Debug)]
enum Ask {
    /// Its time comes, or came while no agent ran.
    Nothing,
    Of(TaskRequest),
    RollBack,
}

/// All requests; a new one belongs here, and in the `match` that does not compile without it.
fn every_ask(plan: &PlanDigest) -> Vec<Ask> {
    let (reason, host) = (|| "because".to_owned(), || "b".to_owned());
    let approve = TaskRequest::Approve {
        plan: plan.clone(),
        comment: String::new(),
        not_before: None,
        emergency: None,
    };
    let requests = [
        approve,
        TaskRequest::Reject { reason: reason() },
        TaskRequest::Withdraw { reason: reason() },
        TaskRequest::Stop { host: None },
        TaskRequest::Stop { host: Some(host()) },
        TaskRequest::Skip {
            host: host(),
            reason: reason(),
        },
        TaskRequest::Retry,
        TaskRequest::Resume { host: None },
        TaskRequest::Resume { host: Some(host()) },
    ];
    for request in &requests {
        match request {
            TaskRequest::Approve { .. }
            | TaskRequest::Reject { .. }
            | TaskRequest::Withdraw { .. }
            | TaskRequest::Stop { .. }
            | TaskRequest::Skip { .. }
            | TaskRequest::Retry
            | TaskRequest::Resume { .. }
            // `Freeze::Overridden` does the same.
            | TaskRequest::OverrideFreeze { .. } => {}
        }
    }
    let requests = requests.into_iter().map(Ask::Of);
    [Ask::Nothing, Ask::RollBack]
        .into_iter()
        .chain(requests)
        .collect()
}

/// A world at rest, and the task that is asked about.
type Situation = fn() -> (Sim, u64);

fn gated(gate: &str) -> String {
    TEMPLATE.replace("name = \"switch\"", &format!("name = \"switch\"\n{gate}"))
}

/// Pushed, run for an hour, and in the state that is expected.
fn pushed(mut sim: Sim, schedule: Schedule, is: fn(&State) -> bool) -> (Sim, u64) {
    let id = sim.push("release-2", &object_of('2'), schedule);
    sim.run_for(HOUR);
    let state = sim.task(id).state;
    assert!(is(&state), "{state:?}");
    (sim, id)
}

/// Something is live already.
fn live(template: &str) -> Sim {
    let mut sim = Sim::new(template);
    let id = sim.push("release-1", &object_of('1'), Schedule::Ready);
    sim.run_for(HOUR);
    if matches!(sim.task(id).state, State::Paused { .. }) {
        sim.ask(id, "bob", &TaskRequest::Resume { host: None })
            .unwrap();
        sim.run_for(HOUR);
    }
    assert_eq!(sim.task(id).state, State::Succeeded);
    sim
}

fn live_with(on_failure: OnFailure) -> Sim {
    let sim = live(TEMPLATE);
    sim.ground.lock().unwrap().on_failure = on_failure;
    sim
}

fn mended((sim, id): (Sim, u64)) -> (Sim, u64) {
    sim.faults.refuse_nothing();
    *sim.well.lock().unwrap() = true;
    *sim.fleet.program.lock().unwrap() = well();
    (sim, id)
}

fn hosts_wait() -> (Sim, u64) {
    let template = TEMPLATE.replace("in = \"release\", once = true", "gate = \"hand\"");
    pushed(live(&template), Schedule::Ready, |state| {
        matches!(
            state,
            State::Paused {
                why: Pause::StepGate
            }
        )
    })
}

/// The service fails with the new release and with the previous one.
fn rollback_failed() -> (Sim, u64) {
    let sim = live(TEMPLATE);
    *sim.well.lock().unwrap() = false;
    mended(pushed(sim, Schedule::Ready, |state| {
        matches!(state, State::RollbackFailed { .. })
    }))
}

/// Approved for 13:00; no agent runs until 14:00.
fn due_while_away(template: &str) -> (Sim, u64) {
    let (mut sim, id) = pushed(Sim::new(template), Schedule::New, |state| {
        *state == State::Waiting
    });
    let one = "2027-01-15T13:00:00Z".parse().unwrap();
    sim.approve_from(id, "bob", Some(one)).unwrap();
    sim.run_for(HOUR);
    sim.kill();
    sim.clock.set("2027-01-15T14:00:00Z".parse().unwrap());
    (sim, id)
}

const SITUATIONS: &[(&str, Situation)] = &[
    ("waits for approval", || {
        pushed(live(TEMPLATE), Schedule::New, |state| {
            *state == State::Waiting
        })
    }),
    ("its time came while the agent was away", || {
        due_while_away(TEMPLATE)
    }),
    ("its timed gate came due while the agent was away", || {
        let (sim, id) = due_while_away(&gated("gate = \"timed\""));
        let state = sim.task(id).state;
        let why = Pause::Time {
            until: "2027-01-15T13:00:00Z".parse().unwrap(),
        };
        assert_eq!(state, State::Paused { why });
        (sim, id)
    }),
    ("waits at a gate", || {
        pushed(live(&gated("gate = \"hand\"")), Schedule::Ready, |state| {
            matches!(
                state,
                State::Paused {
                    why: Pause::Gate { .. }
                }
            )
        })
    }),
    ("hosts wait at a step", hosts_wait),
    ("a host works while the last one waits at a step", || {
        let (mut sim, id) = hosts_wait();
        *sim.fleet.program.lock().unwrap() = Arc::new(|host, _| {
            let values = BTreeMap::new();
            let minutes = if host == "a" { 30 } else { 0 };
            let time = Duration::from_secs(minutes * 60);
            (RunEnd::Ended { code: 0, values }, time)
        });
        for host in ["a", "c"] {
            let host = Some(host.to_owned());
            sim.ask(id, "bob", &TaskRequest::Resume { host }).unwrap();
        }
        sim.run_for(MINUTES);
        assert_eq!(sim.task(id).state, State::Running);
        mended((sim, id))
    }),
    ("a host failed", || {
        let sim = live_with(OnFailure::Pause);
        sim.faults.refuse("host.publish", "b", "it would not");
        mended(pushed(sim, Schedule::Ready, |state| {
            matches!(
                state,
                State::Paused {
                    why: Pause::HostFailed { .. }
                }
            )
        }))
    }),
    ("failed", || {
        let sim = live(TEMPLATE);
        sim.faults.refuse("host.seal", "b", "disk full");
        mended(pushed(sim, Schedule::Ready, |state| {
            matches!(state, State::Failed { .. })
        }))
    }),
    ("rolled back", || {
        let (mut sim, id) = rollback_failed();
        sim.ask(id, "bob", &TaskRequest::Retry).unwrap();
        sim.run_for(HOUR);
        assert!(matches!(sim.task(id).state, State::RolledBack { .. }));
        (sim, id)
    }),
    ("its rollback failed", rollback_failed),
    ("stopped", || {
        let (mut sim, id) = pushed(live(&gated("gate = \"hand\"")), Schedule::Ready, |state| {
            matches!(state, State::Paused { .. })
        });
        sim.ask(id, "bob", &TaskRequest::Stop { host: None })
            .unwrap();
        sim.run_for(HOUR);
        assert_eq!(sim.task(id).state, State::Stopped);
        (sim, id)
    }),
    ("withdrawn", || {
        let (sim, id) = pushed(live(TEMPLATE), Schedule::New, |state| {
            *state == State::Waiting
        });
        let reason = "no".to_owned();
        sim.ask(id, "bob", &TaskRequest::Withdraw { reason })
            .unwrap();
        (sim, id)
    }),
    ("succeeded after another one", || {
        let sim = live(TEMPLATE);
        pushed(sim, Schedule::Ready, |state| *state == State::Succeeded)
    }),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Outside,
    Inside,
    Overridden,
}

/// It has just begun, so that what was due before falls into it. It lasts for the rest of the day
/// on which simulated worlds begin.
fn freeze(now: Timestamp) -> Arc<Calendar> {
    let from = (now - SignedDuration::from_secs(1)).to_zoned(TimeZone::UTC);
    let until = Date::constant(2027, 1, 16).at(0, 0, 0, 0);
    Arc::new(Calendar {
        freezes: vec![Freeze {
            name: "fair".to_owned(),
            reason: String::new(),
            projects: BTreeSet::new(),
            environments: BTreeSet::from(["production".to_owned()]),
            window: FreezePeriod::Once {
                from: from.datetime(),
                until,
            },
        }],
        ..Calendar::default()
    })
}

/// The number of begun steps in all tasks.
fn begun(sim: &Sim) -> usize {
    let tasks = at_once(sim.store().list(&Filter::default(), None, 100)).unwrap();
    let events = tasks.iter().flat_map(|task| {
        sim.task(task.id);
        sim.witness.events(task.id)
    });
    events
        .filter(|one| matches!(one.event, Event::Began { .. } | Event::Started { .. }))
        .count()
}

/// Whether anything begins by this.
fn begins(situation: Situation, ask: &Ask, when: When) -> bool {
    let (mut sim, id) = situation();
    sim.kill();
    if when != When::Outside {
        sim.calendar = freeze(sim.clock.now());
    }
    let before = begun(&sim);
    let despite = |sim: &Sim, id: u64| {
        if when == When::Overridden {
            let reason = "the shop is down".to_owned();
            let _ = sim.ask(id, "root", &TaskRequest::OverrideFreeze { reason });
        }
    };
    despite(&sim, id);
    sim.start();
    let asked = match ask {
        Ask::Nothing => id,
        // An impossible request is refused and begins nothing.
        Ask::Of(request) => sim.ask(id, "bob", request).map_or(id, |task| task.id),
        Ask::RollBack => {
            let before = RollbackTarget::Before {
                project: "shop".to_owned(),
                environment: "production".to_owned(),
            };
            sim.roll_back(&before).unwrap_or(id)
        }
    };
    sim.run_for(MINUTES);
    // A retried one, or one made for the rollback, has its own override.
    despite(&sim, asked);
    sim.run_for(HOUR);
    let now = sim.clock.now();
    assert!(now < "2027-01-16T00:00:00Z".parse().unwrap(), "{now}");
    begun(&sim) != before
}

#[test]
fn no_task_starts_in_a_freeze_without_an_override() {
    let mut begin = BTreeSet::new();
    for (name, situation) in SITUATIONS {
        let (sim, id) = situation();
        let plan = sim.task(id).landed.unwrap().terms.plan;
        for ask in every_ask(&plan) {
            let what = format!("{name}: {ask:?}");
            assert!(
                !begins(*situation, &ask, When::Inside),
                "{what} begins in a freeze"
            );
            let outside = begins(*situation, &ask, When::Outside);
            let overridden = begins(*situation, &ask, When::Overridden);
            assert_eq!(
                outside, overridden,
                "{what}: outside a freeze, and overridden"
            );
            if outside {
                begin.insert(what);
            }
        }
    }
    assert!(
        begin.len() > 15,
        "so much begins outside a freeze: {begin:#?}"
    );
}

/// A freeze begins before any effect of a task that was approved, the claim of its queue included.
#[test]
fn nothing_begins_in_a_freeze_that_began_during_the_claim() {
    let (mut held, mut began) = (0, 0);
    for effect in 0.. {
        let waits = |state: &State| *state == State::Waiting;
        let (mut sim, id) = pushed(live(TEMPLATE), Schedule::New, waits);
        sim.kill();
        let begins = sim.clock.now() + HOUR;
        sim.calendar = freeze(begins + SignedDuration::from_secs(1));
        sim.start();
        sim.run_for(MINUTES);
        let before = sim.faults.count();
        let clock = sim.clock.clone();
        let meanwhile = move || clock.set(begins + MINUTES);
        sim.faults.meanwhile(before + effect, meanwhile);
        sim.approve(id).unwrap();
        sim.run_for(MINUTES);
        if sim.clock.now() < begins {
            break;
        }
        sim.run_for(MINUTES);
        sim.task(id);
        let events = sim.witness.events(id);
        let started = events
            .iter()
            .find(|one| matches!(one.event, Event::Started { .. }));
        match started {
            Some(one) => {
                let trace = sim.faults.trace(before);
                assert!(
                    one.time < begins,
                    "effect {effect}: it began in it\n{trace}"
                );
                began += 1;
            }
            None => held += 1,
        }
    }
    assert!(
        held > 0 && began > 0,
        "held {held} times, began {began} times"
    );
}
