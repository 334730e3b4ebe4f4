//! Rollback to a release that was written into, or that another tool had made live; and a `current`
//! that points elsewhere than it was switched to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tagship::base::clock::Clock as _;
use tagship::domain::approval::{Actor, ApprovalWeight};
use tagship::domain::host::{BrokenCurrent, ReleaseId, RunEnd};
use tagship::domain::task::{Direction, Event, Recorded, State, StepResult, Task};
use tagship::engine::request::{RollbackTarget, TagsNeed, TaskRequest};
use tagship::store::LiveRelease;

use crate::crash::released;
use crate::driver::{Sim, object_of};
use crate::faults::{Fault, crashes_and_repetitions};
use crate::host::{Disk, Program};
use crate::immediate::at_once;
use crate::invariants::promises_hold;
use crate::user_actions::actor;

pub(crate) const TEMPLATE: &str = r#"
name = "test"
[[stage]]
name = "checkout"
steps = [{ use = "checkout" }]
[[stage]]
name = "stage"
steps = [{ use = "sync" }]
[[stage]]
name = "switch"
steps = [{ use = "publish" }, { run = ["reload"], in = "release", repeat = true }]
"#;

/// The check of this task's release fails.
pub(crate) fn check_fails(task: u64) -> Program {
    let of_task = format!("{task}-");
    Arc::new(move |_, key| {
        let code = i32::from(key.starts_with(&of_task) && !key.contains("-back-"));
        let values = BTreeMap::new();
        (RunEnd::Ended { code, values }, Duration::ZERO)
    })
}

pub(crate) fn on_each_disk(sim: &Sim, act: impl Fn(&mut Disk)) {
    let mut disks = sim.fleet.disks.lock().unwrap();
    let production = disks
        .iter_mut()
        .filter(|((place, _), _)| place == "production");
    production.for_each(|(_, disk)| act(disk));
}

fn live(sim: &Sim) -> BTreeMap<String, LiveRelease> {
    at_once(sim.store().live("shop", "production")).unwrap()
}

fn leads(sim: &Sim) -> BTreeSet<Option<ReleaseId>> {
    sim.disks("production")
        .into_values()
        .map(|disk| disk.live)
        .collect()
}

/// The release of task 1 is live, something was written into it, and that of task 2 fails.
fn second_release(fault: Option<(usize, Fault)>, prepare: impl Fn(&mut Disk)) -> Sim {
    let mut sim = released(Sim::new(TEMPLATE));
    on_each_disk(&sim, prepare);
    *sim.fleet.program.lock().unwrap() = check_fails(2);
    let before = sim.faults.count();
    if let Some((effect, fault)) = fault {
        sim.faults.inject(before + effect, fault);
    }
    sim.release(2);
    sim.scan();
    sim
}

/// The results of the switches in one direction.
fn switches(task: &Task, way: Direction) -> Vec<StepResult> {
    let steps = task.work.iter().flat_map(|work| &work.steps);
    let ends = steps.filter(|(at, _)| at.way == way).map(|(_, step)| step);
    let ends = ends.filter_map(|step| step.end.as_ref().map(|end| end.1.clone()));
    ends.filter(|end| matches!(end, StepResult::Published { .. }))
        .collect()
}

/// Programs of a rollback received the values of this release.
pub(crate) fn given_of(sim: &Sim, release: &ReleaseId, tag: &str, commit: &str) {
    for (host, disk) in sim.disks("production") {
        let back = disk.given.iter().filter(|(key, _)| key.contains("-back-"));
        let mut count = 0;
        for (key, (directory, given)) in back {
            let of = |name: &str| given[name].as_str();
            assert_eq!((of("TAG"), of("COMMIT")), (tag, commit), "{host} {key}");
            assert_eq!(of("RELEASE"), release.0, "{host} {key}");
            assert_eq!(
                *directory,
                release.directory(&format!("/srv/{host}/shop")),
                "{host} {key}"
            );
            count += 1;
        }
        assert!(count > 0, "{host}");
    }
}

fn differing(switches: &[StepResult]) -> usize {
    let differs = |end: &&StepResult| matches!(end, StepResult::Published { found, .. } if found.differs.is_some());
    switches.iter().filter(differs).count()
}

#[test]
fn rollback_to_a_modified_release_survives_any_crash() {
    let first = released(Sim::new(TEMPLATE)).faults.count();
    let effects = second_release(None, Disk::write_into_live).faults.count() - first;
    assert!(effects > 40, "{effects} effects");
    for (effect, fault) in crashes_and_repetitions(effects) {
        let sim = second_release(Some((effect, fault)), Disk::write_into_live);
        let what = || format!("{effect} {fault:?}\n{}", sim.faults.trace(first));
        let task = sim.task(2);
        assert!(
            matches!(task.state, State::RolledBack { .. }),
            "{:?}: {}",
            task.state,
            what()
        );
        let one = sim.task(1).work.unwrap().release;
        assert_eq!(
            leads(&sim),
            BTreeSet::from([Some(one.clone())]),
            "{}",
            what()
        );
        given_of(&sim, &one, "release-1", &object_of('1'));
        let back = switches(&task, Direction::Back);
        assert_eq!((back.len(), differing(&back)), (3, 3), "{}", what());
        for (host, live) in live(&sim) {
            assert_eq!(
                (live.task, live.switched_by),
                (Some(1), 2),
                "{host}: {}",
                what()
            );
        }
        promises_hold(&sim);
    }
}

#[test]
fn rollback_is_two_operations_on_each_host() {
    let mut sim = released(Sim::new(TEMPLATE));
    on_each_disk(&sim, Disk::write_into_live);
    sim.release(2);
    let before = sim.faults.count();
    let back = sim.roll_back(&RollbackTarget::ToTask(1)).unwrap();
    sim.rest();
    let task = sim.task(back);
    assert_eq!(task.state, State::Succeeded);
    assert_eq!(differing(&switches(&task, Direction::Forward)), 3);
    let seen = (before..sim.faults.count()).map(|number| sim.faults.effect(number));
    let mut asked: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (label, host) in seen.filter(|(label, _)| label.starts_with("host.")) {
        asked.entry(host).or_default().push(label);
    }
    assert_eq!(asked.len(), 3);
    for (host, labels) in asked {
        // The template's own program is the third.
        assert_eq!(
            labels,
            ["host.prepare", "host.publish", "host.run"],
            "{host}"
        );
    }
    promises_hold(&sim);
}

/// A build after the checkout passes its number on.
const BUILT: &str = r#"
steps = [{ use = "checkout" }]
[[stage]]
name = "build"
steps = [{ run = ["build"], outputs = ["BUILD_ID"], secret_outputs = ["KEY"] }]
"#;

#[test]
fn rollback_gets_the_outputs_of_the_former_release() {
    let sim = Sim::new(&TEMPLATE.replace("\nsteps = [{ use = \"checkout\" }]\n", BUILT));
    *sim.fleet.program.lock().unwrap() = Arc::new(|_, key| {
        let task = key.split('-').next().unwrap();
        let builds = key.contains("-1-0-");
        let passed = ["BUILD_ID", "KEY"].map(|name| (name.to_owned(), format!("of-{task}")));
        let values = passed.into_iter().filter(|_| builds).collect();
        let fails = task == "2" && !builds && !key.contains("-back-");
        let code = i32::from(fails);
        (RunEnd::Ended { code, values }, Duration::ZERO)
    });
    let mut sim = released(sim);
    sim.release(2);
    let two = sim.task(2).state;
    assert!(matches!(two, State::RolledBack { .. }), "{two:?}");
    sim.release(3);
    let back = sim.roll_back(&RollbackTarget::ToTask(1)).unwrap();
    sim.rest();
    assert_eq!(sim.task(back).state, State::Succeeded);
    let expected = [
        ("2-".to_owned(), false, "of-2", Some("of-2")),
        ("2-".to_owned(), true, "of-1", None),
        ("3-".to_owned(), false, "of-3", Some("of-3")),
        (format!("{back}-"), false, "of-1", None),
    ];
    for (host, disk) in sim.disks("production") {
        for (prefix, is_back, build, secret) in &expected {
            let reloads = disk.given.iter().filter(|(key, _)| {
                let reloads = key.starts_with(prefix.as_str()) && !key.contains("-1-0-");
                reloads && key.contains("-back-") == *is_back
            });
            let mut count = 0;
            for (key, (_, given)) in reloads {
                let of = |name: &str| given.get(name).map(String::as_str);
                assert_eq!(of("BUILD_ID"), Some(*build), "{host} {key}");
                assert_eq!(of("KEY"), *secret, "{host} {key}");
                count += 1;
            }
            assert!(count > 0, "{host} {prefix} {is_back}");
        }
    }
    promises_hold(&sim);
}

#[test]
fn rollback_that_was_not_compared_says_why() {
    let mut sim = released(Sim::new(TEMPLATE));
    sim.release(2);
    let why = "the host has no timeout";
    on_each_disk(&sim, |disk| disk.uncompared = Some(why.to_owned()));
    let back = sim.roll_back(&RollbackTarget::ToTask(1)).unwrap();
    sim.rest();
    let task = sim.task(back);
    assert_eq!(task.state, State::Succeeded);
    let switches = switches(&task, Direction::Forward);
    assert_eq!(switches.len(), 3);
    for switch in switches {
        let StepResult::Published { found, .. } = switch else {
            panic!("{switch:?}");
        };
        let note = format!("not compared with what was released: {why}");
        assert_eq!(found.notes, [note]);
    }
}

#[test]
fn missing_release_is_rebuilt_only_if_planned() {
    let mut sim = released(Sim::new(TEMPLATE));
    sim.release(2);
    let one = sim.task(1).work.unwrap().release;
    on_each_disk(&sim, |disk| drop(disk.releases.remove(&one)));
    let first = sim.roll_back(&RollbackTarget::ToTask(1)).unwrap();
    sim.rest();
    let State::Failed { reason } = sim.task(first).state else {
        panic!("{:?}", sim.task(first).state);
    };
    assert!(reason.contains("is gone from the host"), "{reason}");
    assert!(sim.witness.plan(&sim.task(first)).rebuilt.is_empty());
    let second = sim.roll_back(&RollbackTarget::ToTask(1)).unwrap();
    assert_eq!(sim.witness.plan(&sim.task(second)).rebuilt.len(), 3);
    sim.rest();
    assert_eq!(sim.task(second).state, State::Succeeded);
    promises_hold(&sim);
}

#[test]
fn drift_is_recorded_and_its_target_restored() {
    let sim = second_release(None, |disk| disk.lead("/srv/old/v3"));
    let task = sim.task(2);
    assert!(
        matches!(task.state, State::RolledBack { .. }),
        "{:?}",
        task.state
    );
    let old = ReleaseId("/srv/old/v3".to_owned());
    assert_eq!(leads(&sim), BTreeSet::from([Some(old.clone())]));
    given_of(&sim, &old, "", "");
    let one = sim.task(1).work.unwrap().release;
    let met = task.work.iter().flat_map(|work| work.steps.values());
    let met: Vec<_> = met
        .filter_map(|step| match &step.end {
            Some((_, StepResult::Staged { drift, .. })) => drift.clone(),
            _ => None,
        })
        .collect();
    assert_eq!(met.len(), 3);
    for drift in met {
        assert_eq!((&drift.from, &drift.to), (&one, &Some(old.clone())));
    }
    for (host, live) in live(&sim) {
        assert_eq!((live.release, live.task), (old.clone(), None), "{host}");
        assert_eq!(live.drift, None, "{host}: it was switched there");
    }
}

/// Another tool made the rollback's target live before the rollback.
#[test]
fn drift_to_the_target_of_a_rollback_is_recorded() {
    let mut sim = released(Sim::new(TEMPLATE));
    sim.release(2);
    let [one, two] = [1, 2].map(|id| sim.task(id).work.unwrap().release);
    on_each_disk(&sim, |disk| disk.live = Some(one.clone()));
    let back = sim.roll_back(&RollbackTarget::ToTask(1)).unwrap();
    sim.rest();
    let task = sim.task(back);
    assert_eq!(task.state, State::Succeeded);
    let mut met = 0;
    for step in task.work.iter().flat_map(|work| work.steps.values()) {
        if let Some((_, StepResult::Staged { drift, .. })) = &step.end {
            let drift = drift.as_ref().unwrap();
            assert_eq!((&drift.from, &drift.to), (&two, &Some(one.clone())));
            met += 1;
        }
    }
    assert_eq!(met, 3);
    assert_eq!(leads(&sim), BTreeSet::from([Some(one)]));
    promises_hold(&sim);
}

/// The operator asked for another place, so nothing needs to lead back to the link.
#[test]
fn rollback_replaces_a_link_that_a_release_refuses() {
    let mut sim = released(Sim::new(TEMPLATE));
    sim.release(2);
    on_each_disk(&sim, |disk| {
        disk.live = None;
        disk.obstacle = Some(BrokenCurrent::Text);
    });
    sim.release(3);
    let third = sim.task(3).state;
    assert!(matches!(third, State::Failed { .. }), "{third:?}");
    let back = sim.roll_back(&RollbackTarget::ToTask(1)).unwrap();
    sim.rest();
    let task = sim.task(back);
    assert_eq!(task.state, State::Succeeded);
    let one = sim.task(1).work.unwrap().release;
    assert_eq!(leads(&sim), BTreeSet::from([Some(one)]));
    let mut met = 0;
    for step in task.work.iter().flat_map(|work| work.steps.values()) {
        if let Some((_, StepResult::Staged { drift, notes, .. })) = &step.end {
            let broken = drift.as_ref().and_then(|drift| drift.broken);
            assert_eq!(broken, Some(BrokenCurrent::Text));
            let noted = notes.iter().any(|note| note.contains("nothing leads back"));
            assert!(noted, "{notes:?}");
            met += 1;
        }
    }
    assert_eq!(met, 3);
}

#[test]
fn release_over_a_link_to_itself_says_so_and_is_not_restored() {
    let sim = second_release(None, |disk| {
        disk.live = None;
        disk.obstacle = Some(BrokenCurrent::Dangling);
    });
    let task = sim.task(2);
    let two = task.work.as_ref().unwrap().release.clone();
    assert_eq!(leads(&sim), BTreeSet::from([Some(two)]), "{:?}", task.state);
    for step in task.work.iter().flat_map(|work| work.steps.values()) {
        if let Some((_, StepResult::Staged { drift, .. })) = &step.end {
            let drift = drift.as_ref().unwrap().to_string();
            assert!(drift.contains("points to itself"), "{drift}");
        }
    }
}

/// The agent's own check, without a task.
#[test]
fn drift_check_records_start_and_end_of_drift() {
    let sim = released(Sim::new(TEMPLATE));
    let one = sim.task(1).work.unwrap().release;
    let world = sim.world(Arc::default());
    let look = || {
        at_once(tagship::engine::executor::drift::check_all(&world));
        live(&sim).into_values().next().unwrap()
    };
    assert_eq!(look().drift, None);
    on_each_disk(&sim, |disk| disk.lead("/srv/old/v3"));
    let drift = look().drift.unwrap();
    let old = ReleaseId("/srv/old/v3".to_owned());
    assert_eq!((&drift.from, &drift.to), (&one, &Some(old)));
    sim.clock
        .set(sim.clock.now() + SignedDuration::from_hours(1));
    assert_eq!(look().drift, Some(drift), "since when it is known");
    on_each_disk(&sim, |disk| disk.live = Some(one.clone()));
    assert_eq!(look().drift, None);
}

/// A host was disabled during the last release.
#[test]
fn drift_check_looks_at_hosts_that_the_last_release_left_out() {
    let mut sim = released(Sim::new(TEMPLATE));
    let (host, before) = live(&sim).pop_first().unwrap();
    sim.set_disabled(&host, true);
    sim.release(2);
    sim.set_disabled(&host, false);
    assert_eq!(live(&sim)[&host].release, before.release);
    on_each_disk(&sim, |disk| {
        if disk.live.as_ref() == Some(&before.release) {
            disk.lead("/srv/old/v3");
        }
    });
    at_once(tagship::engine::executor::drift::check_all(
        &sim.world(Arc::default()),
    ));
    for (name, live) in live(&sim) {
        assert_eq!(live.drift.is_some(), name == host, "{name}");
    }
}

/// Nothing may be switched while `current` is no link, so the check finds it.
#[test]
fn drift_check_finds_a_current_that_is_no_release_link() {
    let sim = released(Sim::new(TEMPLATE));
    let one = sim.task(1).work.unwrap().release;
    let world = sim.world(Arc::default());
    type Change = Box<dyn Fn(&mut Disk)>;
    let put = |live: Option<ReleaseId>, obstacle: Option<BrokenCurrent>| -> Change {
        Box::new(move |disk: &mut Disk| {
            disk.live = live.clone();
            disk.obstacle = obstacle;
        })
    };
    let (directory, file) = (BrokenCurrent::Directory, BrokenCurrent::File);
    let cases = [
        (
            put(None, Some(directory)),
            "current is a directory and no link",
        ),
        (put(None, Some(file)), "current is a file and no link"),
        (
            put(None, Some(BrokenCurrent::Text)),
            "current is a link whose text cannot be shown",
        ),
        (put(None, None), "current is missing"),
        (
            put(Some(one.clone()), Some(BrokenCurrent::Dangling)),
            &*format!("current points to {one}, which is not there"),
        ),
    ];
    for (change, words) in cases {
        on_each_disk(&sim, &change);
        at_once(tagship::engine::executor::drift::check_all(&world));
        for (host, live) in live(&sim) {
            let drift = live.drift.unwrap();
            let whole = format!("{words}, tagship switched it to {one}");
            assert_eq!(drift.to_string(), whole, "{host}");
        }
    }
}

/// Two releases, and a rollback by a user whose approval does not count. The first tag is deleted.
fn rollback_to_a_deleted_tag(tags: TagsNeed) -> (Sim, u64) {
    let mut sim = released(Sim::new(TEMPLATE));
    sim.release(2);
    assert!(sim.serves('2'));
    let local = Actor {
        counts: ApprovalWeight::NotLocally,
        ..actor("dana")
    };
    let back = sim.roll_back_as(&local, &RollbackTarget::ToTask(1), tags);
    sim.hook("release-1", &object_of('0'));
    sim.move_ref("release-1", &object_of('0'));
    (sim, back.unwrap())
}

#[test]
fn waiting_rollback_needs_no_tag() {
    let (mut sim, back) = rollback_to_a_deleted_tag(TagsNeed::Approval);
    sim.scan();
    assert_eq!(sim.task(back).state, State::Waiting);
    // Earlier versions put its tag in doubt.
    let doubted = Recorded {
        time: sim.clock.now(),
        event: Event::RefDoubted,
    };
    at_once(sim.store().append(&sim.task(back), vec![doubted])).unwrap();
    sim.rest();
    let task = sim.task(back);
    assert_eq!((task.state, task.doubted), (State::Waiting, None));
    sim.approve(back).unwrap();
    sim.rest();
    assert_eq!(sim.task(back).state, State::Succeeded);
    assert!(sim.serves('1'));
}

#[test]
fn retried_rollback_needs_no_tag_and_keeps_its_plan() {
    for tags in [TagsNeed::Approval, TagsNeed::Nothing] {
        let (mut sim, back) = rollback_to_a_deleted_tag(tags);
        let plan = sim.task(back).landed.unwrap().terms.plan;
        let reason = "not now".to_owned();
        sim.ask(back, "root", &TaskRequest::Withdraw { reason })
            .unwrap();
        sim.scan();
        assert!(matches!(sim.task(back).state, State::Withdrawn { .. }));
        sim.ask(back, "root", &TaskRequest::Retry).unwrap();
        sim.rest();
        if tags == TagsNeed::Approval {
            sim.approve(back).unwrap();
            sim.rest();
        }
        let task = sim.task(back);
        assert_eq!(task.state, State::Succeeded);
        assert_eq!(task.landed.unwrap().terms.plan, plan);
        assert!(sim.serves('1'));
    }
}
