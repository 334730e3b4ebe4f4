//! Indexes agree with the event logs.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Mutex;

use futures::FutureExt as _;
use proptest::prelude::*;

use super::memory::{CommitFault, MemoryKv};
use super::*;
use crate::domain::approval::Terms;
use crate::domain::host::{HostState, ReleaseId, TreeDigest};
use crate::domain::plan::tests::{host, plain_plan};
use crate::domain::plan::{Plan, Stage};
use crate::domain::rule::Schedule;
use crate::domain::task::tests::{of_rule, submission as pushed};
use crate::domain::task::{
    AGENT_INDEX, Direction, Event, Landed, Outcome, StepRef, StepResult, Submission, Supersede,
};
use crate::domain::template::{self, Gate, Step};

fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

fn store() -> (Arc<MemoryKv>, Store) {
    let kv = Arc::new(MemoryKv::new());
    let store = at_once(Store::open(kv.clone())).unwrap();
    (kv, store)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn submission(environment: &str, tag: &str, object: char) -> Submission {
    Submission {
        environment: environment.to_owned(),
        reference: format!("refs/tags/{tag}"),
        object: object.to_string().repeat(40),
        expires_s: None,
        origin: of_rule("release-", Supersede::Never),
        ..pushed(Schedule::Ready)
    }
}

/// Takes a push in.
fn push(store: &Store, tag: &str, object: char, record: Option<&str>) -> Proposal {
    at_once(store.propose(submission("production", tag, object), record, at(0))).unwrap()
}

fn append(store: &Store, id: u64, events: Vec<Event>) -> Result<Task, StoreError> {
    let task = at_once(store.task(id)).unwrap();
    let recorded = events
        .into_iter()
        .map(|event| Recorded { time: at(1), event });
    at_once(store.append(&task, recorded.collect()))
}

fn plan() -> Plan {
    let stage = |name: &str, hosts: &[&str], action| Stage {
        name: name.to_owned(),
        gate: Gate::None,
        batch: None,
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        steps: vec![Step::plain(name, action)],
    };
    plain_plan(
        vec![host("web1"), host("web2")],
        vec![
            stage("checkout", &["agent"], template::StepAction::Checkout),
            stage("switch", &["web1", "web2"], template::StepAction::Publish),
        ],
    )
}

fn release(id: u64) -> ReleaseId {
    ReleaseId(format!("20270115-0800{id:02}-ccccccc"))
}

/// The task runs.
fn start(store: &Store, id: u64) -> Result<Task, StoreError> {
    let digest = at_once(store.put_plan(&plan())).unwrap();
    let landed = Landed {
        commit: "c".repeat(40),
        object: String::new(),
        terms: Terms {
            plan: digest,
            approvals: Vec::new(),
            self_approval: false,
            submitters: [].into(),
            more: 0,
        },
        description: String::new(),
        compared: crate::domain::task::ComparedWith::default(),
        waits: crate::domain::task::ScheduleScope::Task,
    };
    let fence = at_once(store.next_fence(at(1))).unwrap();
    append(
        store,
        id,
        vec![
            Event::Landed(Box::new(landed)),
            Event::Due,
            Event::Claimed { fence },
            Event::Started {
                release: release(id),
            },
        ],
    )
}

fn finish(store: &Store, id: u64, outcome: Outcome) -> Task {
    append(store, id, vec![Event::Finished(outcome)]).unwrap()
}

fn failed() -> Outcome {
    Outcome::Failed {
        message: "no".to_owned(),
    }
}

fn done(stage: u16, host: u16, result: StepResult) -> Vec<Event> {
    let at = StepRef {
        way: Direction::Forward,
        stage,
        host,
        step: 0,
    };
    vec![Event::Began { at, attempt: 1 }, Event::Ended { at, result }]
}

fn published(host: u16) -> Vec<Event> {
    let found = Box::default();
    done(1, host, StepResult::Published { was: None, found })
}

#[test]
fn repeated_record_yields_the_same_task() {
    let (_, store) = store();
    assert_eq!(push(&store, "v1", 'a', Some("r1")), Proposal::New(1));
    assert_eq!(
        push(&store, "v1", 'a', Some("r1")),
        Proposal::TakenInBefore(1)
    );
    // Also after the task has ended, and for an agent that has just started.
    let reason = String::new();
    let by = "alice".to_owned();
    append(&store, 1, vec![Event::Withdrawn { by, reason }]).unwrap();
    let again = at_once(Store::open(store.kv())).unwrap();
    assert_eq!(
        push(&again, "v1", 'a', Some("r1")),
        Proposal::TakenInBefore(1)
    );
    assert_eq!(at_once(again.task_of_record("r1")).unwrap(), Some(1));
}

#[test]
fn repeated_push_joins_only_an_unfinished_task() {
    let (_, store) = store();
    assert_eq!(push(&store, "v1", 'a', Some("r1")), Proposal::New(1));
    assert_eq!(push(&store, "v1", 'a', Some("r2")), Proposal::Joined(1));
    assert_eq!(
        push(&store, "v1", 'a', Some("r2")),
        Proposal::TakenInBefore(1)
    );
    assert_eq!(push(&store, "v1", 'b', Some("r3")), Proposal::New(2));
    assert_eq!(push(&store, "v2", 'a', Some("r4")), Proposal::New(3));
    let reason = "late".to_owned();
    append(
        &store,
        1,
        vec![Event::Expired {
            reason,
            is_final: false,
        }],
    )
    .unwrap();
    assert_eq!(push(&store, "v1", 'a', Some("r5")), Proposal::New(4));
}

#[test]
fn task_is_not_reopened_while_its_push_has_another() {
    let (_, store) = store();
    push(&store, "v1", 'a', None);
    let over = |id| {
        let reason = "late".to_owned();
        append(
            &store,
            id,
            vec![Event::Expired {
                reason,
                is_final: false,
            }],
        )
        .unwrap();
    };
    let reopen = |id| {
        let by = "bob".to_owned();
        append(&store, id, vec![Event::Reopened { by }])
    };
    over(1);
    assert_eq!(push(&store, "v1", 'a', None), Proposal::New(2));
    assert!(matches!(reopen(1), Err(StoreError::SamePush(1))));
    over(2);
    reopen(1).unwrap();
    assert_eq!(push(&store, "v1", 'a', None), Proposal::Joined(1));
}

#[test]
fn one_task_holds_the_queue_of_an_environment() {
    let (_, store) = store();
    push(&store, "v1", 'a', None);
    push(&store, "v2", 'b', None);
    start(&store, 1).unwrap();
    let refused = start(&store, 2);
    assert!(
        matches!(refused, Err(StoreError::QueueHeld(_))),
        "{refused:?}"
    );
    assert_eq!(
        at_once(store.task(2)).unwrap().events,
        1,
        "nothing was appended"
    );
    finish(&store, 1, failed());
    start(&store, 2).unwrap();
}

#[test]
fn append_requires_having_seen_the_last_event() {
    let (_, store) = store();
    push(&store, "v1", 'a', None);
    let stale = at_once(store.task(1)).unwrap();
    append(&store, 1, vec![Event::RefDoubted]).unwrap();
    let event = Recorded {
        time: at(2),
        event: Event::RefConfirmed,
    };
    let refused = at_once(store.append(&stale, vec![event]));
    assert!(
        matches!(refused, Err(StoreError::Changed(1))),
        "{refused:?}"
    );
}

#[test]
fn last_begun_task_is_reported_as_run_since() {
    let (_, store) = store();
    for (tag, object) in [("v1", 'a'), ("v2", 'b'), ("v3", 'c')] {
        push(&store, tag, object, None);
    }
    let since = |id| {
        let task = at_once(store.task(id)).unwrap();
        at_once(store.ran_since(&task)).unwrap()
    };
    assert_eq!(since(1), None);
    for id in [3, 2] {
        start(&store, id).unwrap();
        finish(&store, id, failed());
    }
    let begun = at_once(store.begun("shop", "production")).unwrap();
    assert_eq!(
        begun,
        Some(BegunWork {
            last: 2,
            highest: 3
        })
    );
    assert_eq!(since(3), Some(2), "2 has run after it, though it is older");
    assert_eq!(since(2), None);
    assert_eq!(since(1), Some(3));
}

#[test]
fn live_and_existing_releases_follow_from_events() {
    let (_, store) = store();
    push(&store, "v1", 'a', None);
    start(&store, 1).unwrap();
    let digest = TreeDigest("d".to_owned());
    let tree = StepResult::CheckedOut {
        digest: digest.clone(),
        files: 1,
    };
    append(&store, 1, done(0, AGENT_INDEX, tree)).unwrap();
    let record = |good| ReleaseRecord {
        release: release(1),
        commit: "c".repeat(40),
        digest: digest.clone(),
        task: 1,
        good,
        left_live: false,
    };
    let releases = || at_once(store.releases("shop", "production")).unwrap();
    assert_eq!(releases(), [record(false)]);
    assert_eq!(
        at_once(store.newest_release("shop", "production")).unwrap(),
        Some(release(1))
    );
    append(&store, 1, published(1)).unwrap();
    let live = at_once(store.live("shop", "production")).unwrap();
    assert_eq!(live.keys().collect::<Vec<_>>(), ["web2"]);
    assert_eq!(live["web2"].commit, Some("c".repeat(40)));
    assert_eq!(
        at_once(store.live_on("shop", "production", "web1")).unwrap(),
        None
    );
    append(&store, 1, published(0)).unwrap();
    finish(&store, 1, Outcome::Succeeded);
    assert_eq!(releases(), [record(true)]);
}

/// Whether a check of a host counts depends on what was known before it.
#[test]
fn outdated_drift_check_records_no_drift() {
    let (_, store) = store();
    let place = ("shop", "production", "web2");
    let live = || at_once(store.live("shop", "production")).unwrap()["web2"].clone();
    push(&store, "v1", 'a', None);
    start(&store, 1).unwrap();
    append(&store, 1, published(1)).unwrap();
    let known = live();
    let led = |to: &str| HostState {
        live: Some(ReleaseId(to.to_owned())),
        ..HostState::default()
    };
    let saw = |known, to, second| {
        at_once(store.note_host_state(place, known, &led(to), at(second))).unwrap()
    };
    let other = "elsewhere";
    assert_eq!(saw(&known, other, 40), None, "the task is at work there");
    assert_eq!(live().drift, None);
    finish(&store, 1, Outcome::Succeeded);
    let stale = LiveRelease {
        switched_by: 0,
        ..known.clone()
    };
    assert_eq!(saw(&stale, other, 50), None, "a task has switched since");
    assert_eq!(live().drift, None);
    let drift = saw(&known, other, 60).unwrap();
    assert_eq!((&drift.from, drift.since), (&release(1), at(60)));
    assert_eq!(live().drift, Some(drift.clone()));
    assert_eq!(
        saw(&known, other, 70),
        Some(drift),
        "since when it is known"
    );
    assert_eq!(saw(&known, &release(1).0, 80), None);
    assert_eq!(live().drift, None);
    let since = known.since.unwrap().as_second();
    for (changed, is_known) in [
        (None, false),
        (Some(since - 1), false),
        (Some(since), true),
        (Some(at(90).as_second()), true),
        (Some(at(91).as_second()), false),
    ] {
        let changed = changed.map(|second| Timestamp::from_second(second).unwrap());
        let led = HostState {
            changed,
            ..led(other)
        };
        let drift = at_once(store.note_host_state(place, &known, &led, at(90))).unwrap();
        let expected = changed.filter(|_| is_known);
        assert_eq!(drift.unwrap().changed, expected, "{changed:?}");
    }
}

#[test]
fn heads_are_read_together_and_in_order() {
    let (_, store) = store();
    for number in 0..40 {
        push(&store, &format!("v{number}"), 'a', None);
    }
    for step in [1, 3, 9] {
        let ids: Vec<u64> = (1..=40).step_by(step).collect();
        let heads = at_once(store.heads(&ids)).unwrap();
        let read: Vec<u64> = heads.iter().map(|head| head.id).collect();
        assert_eq!(read, ids);
    }
}

#[test]
fn fences_grow_with_the_clock_and_without_it() {
    let (_, store) = store();
    let next = |second| at_once(store.next_fence(at(second))).unwrap();
    let first = next(10);
    assert!(first >= u64::try_from(at(10).as_millisecond()).unwrap());
    let second = next(10);
    assert!(second > first);
    let third = next(0);
    assert!(third > second, "the clock was set back");
    let fourth = next(11);
    assert!(fourth > third, "the clock goes on");
    // A time that does not fit a fence counts as one that was set back.
    let fifth = at_once(store.next_fence(Timestamp::MAX)).unwrap();
    assert!(fifth > fourth && fifth < next(12));
}

#[test]
fn fence_lift_affects_only_its_host_and_target() {
    let (_, store) = store();
    let lift = |place, by| at_once(store.lift_fence(place, by)).unwrap();
    let before = at_once(store.next_fence(at(1))).unwrap();
    lift(("shop", "qa", "web1"), 90_000);
    lift(("shop", "qa", "web1"), 5);
    let lifts = |environment| at_once(store.fence_lifts("shop", environment)).unwrap();
    assert_eq!(lifts("qa"), [("web1".to_owned(), 90_000)].into());
    assert_eq!(lifts("production"), [].into());
    let after = at_once(store.next_fence(at(2))).unwrap();
    assert_eq!((after - before) >> FENCE_SALT_BITS, 1000);
}

#[test]
fn clones_with_slow_clocks_never_share_a_fence() {
    let taken = || -> BTreeSet<u64> {
        let (_, store) = store();
        at_once(store.next_fence(at(3600))).unwrap();
        (0..50)
            .map(|second| at_once(store.next_fence(at(second))).unwrap())
            .collect()
    };
    let (ours, theirs) = (taken(), taken());
    assert_eq!((ours.len(), theirs.len()), (50, 50));
    assert!(ours.is_disjoint(&theirs));
}

#[test]
fn blob_exists_only_once_complete() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for stops_at in 0..5 {
        let (kv, store) = store();
        let seen = Mutex::new(0);
        kv.on_commit(move |_| {
            let mut seen = seen.lock().unwrap();
            *seen += 1;
            if *seen > stops_at {
                CommitFault::Refuse
            } else {
                CommitFault::None
            }
        });
        let kept = at_once(store.put_blob(&bytes));
        let digest = at_once(self::store().1.put_blob(&bytes)).unwrap();
        assert!(kept.is_err());
        let read = at_once(store.blob(&digest));
        assert!(
            matches!(read, Err(StoreError::NoBlob(_))),
            "after {stops_at} commits"
        );
        kv.on_commit(|_| CommitFault::None);
        assert_eq!(at_once(store.put_blob(&bytes)).unwrap(), digest);
        assert_eq!(at_once(store.blob(&digest)).unwrap(), bytes);
        assert_eq!(at_once(store.put_blob(&bytes)).unwrap(), digest, "again");
    }
}

#[test]
fn unconfirmed_commit_is_reported() {
    let (kv, store) = store();
    push(&store, "v1", 'a', None);
    for (fault, applied) in [
        (CommitFault::UnknownLost, 0),
        (CommitFault::UnknownApplied, 1),
    ] {
        let before = at_once(store.task(1)).unwrap().events;
        kv.on_commit(move |_| fault.clone());
        let answer = append(&store, 1, vec![Event::RefDoubted]);
        assert!(
            matches!(answer, Err(StoreError::Unknown { id: 1, .. })),
            "{answer:?}"
        );
        kv.on_commit(|_| CommitFault::None);
        assert_eq!(at_once(store.task(1)).unwrap().events, before + applied);
    }
}

#[test]
fn task_read_resumes_at_the_last_known_event() {
    let (_, store) = store();
    push(&store, "v1", 'a', None);
    let before = at_once(store.task(1)).unwrap();
    append(&store, 1, vec![Event::RefDoubted, Event::RefConfirmed]).unwrap();
    let task = at_once(store.task_since(before)).unwrap();
    assert_eq!(task, at_once(store.task(1)).unwrap());
    assert_eq!(task.events, 3);
}

/// The life of a task in the model test: where it is proposed, and what follows.
fn any_lives() -> impl Strategy<Value = Vec<(bool, u8)>> {
    prop::collection::vec((prop::bool::ANY, 0..4_u8), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Lists by every filter, in pages of every size, equal a filter over all tasks.
    #[test]
    fn task_lists_match_the_event_logs(lives in any_lives(), size in 1..7_usize) {
        let (_, store) = store();
        for (number, (qa, life)) in lives.iter().enumerate() {
            let environment = if *qa { "qa" } else { "production" };
            let tag = format!("v{number}");
            let proposed = at_once(store.propose(submission(environment, &tag, 'a'), None, at(0)));
            let id = proposed.unwrap().id();
            let by = "bob".to_owned();
            let reason = "why".to_owned();
            match life {
                0 => {}
                1 => drop(append(&store, id, vec![Event::Withdrawn { by, reason }]).unwrap()),
                2 => drop(append(&store, id, vec![Event::Expired { reason, is_final: false }]).unwrap()),
                _ => {
                    append(&store, id, vec![Event::Expired { reason, is_final: false }]).unwrap();
                    append(&store, id, vec![Event::Reopened { by }]).unwrap();
                }
            }
        }
        let tasks: Vec<Task> = (1..=lives.len() as u64)
            .rev()
            .map(|id| at_once(store.task(id)).unwrap())
            .collect();
        let active: BTreeSet<u64> = at_once(store.active()).unwrap().0.into_iter().collect();
        let states = [None, Some("proposed"), Some("withdrawn"), Some("expired"), Some("running")];
        let places = [(None, None), (Some("shop"), Some("qa")), (Some("shop"), None), (Some("cart"), Some("qa"))];
        for task in &tasks {
            prop_assert_eq!(active.contains(&task.id), !task.state.is_settled());
        }
        for state in states {
            for (project, environment) in places {
                let filter = Filter {
                    state: state.map(str::to_owned),
                    project: project.map(str::to_owned),
                    environment: environment.map(str::to_owned),
                    ..Filter::default()
                };
                let expected: Vec<u64> = tasks
                    .iter()
                    .filter(|task| state.is_none_or(|state| state == task.state.name().as_str()))
                    .filter(|task| project.is_none_or(|name| name == task.submission.project))
                    .filter(|task| environment.is_none_or(|name| name == task.submission.environment))
                    .map(|task| task.id)
                    .collect();
                let mut found = Vec::new();
                loop {
                    let page = at_once(store.list(&filter, found.last().copied(), size)).unwrap();
                    prop_assert!(page.len() <= size);
                    found.extend(page.iter().map(|head| head.id));
                    if page.len() < size {
                        break;
                    }
                }
                prop_assert_eq!(&found, &expected, "{:?}", filter);
            }
        }
    }
}

#[test]
fn shared_plan_is_read_once() {
    let kv = Arc::new(MemoryKv::new());
    let store = at_once(Store::open(kv)).unwrap();
    let digest = at_once(store.put_plan(&plan())).unwrap();
    assert_eq!(digest, plan().digest());
    let first = at_once(store.plan(&digest)).unwrap();
    assert!(Arc::ptr_eq(&first, &at_once(store.plan(&digest)).unwrap()));
    drop(first);
    assert_eq!(*at_once(store.plan(&digest)).unwrap(), plan());
}
