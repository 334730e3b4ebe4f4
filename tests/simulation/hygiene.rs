//! What a release leaves alone and what it reports: the live release's inodes, leftovers that
//! cannot be deleted, shared files that are missing.

use tagship::domain::plan::SharedMissing;
use tagship::domain::rule::Schedule;
use tagship::domain::task::{State, StepResult};
use tagship::domain::template::OnFailure;
use tagship::engine::request::TaskRequest;

use crate::driver::{Sim, TEMPLATE, object_of};
use crate::invariants::promises_hold;

/// The notes of a task's steps besides their results.
fn notes(sim: &Sim, id: u64) -> Vec<String> {
    let task = sim.task(id);
    let steps = task.work.iter().flat_map(|work| work.steps.values());
    let ends = steps.filter_map(|step| step.end.as_ref());
    ends.flat_map(|(_, result)| match result {
        StepResult::Staged { notes, .. } => notes.clone(),
        StepResult::Published { found, .. } => found.notes.clone(),
        _ => Vec::new(),
    })
    .collect()
}

fn released(sim: &mut Sim, tag: &str, digit: char) -> u64 {
    let id = sim.push(tag, &object_of(digit), Schedule::Ready);
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);
    assert!(sim.serves(digit));
    id
}

#[test]
fn leftovers_fail_no_release_and_are_reported_until_deleted() {
    let mut sim = Sim::new(TEMPLATE);
    sim.ground
        .lock()
        .unwrap()
        .placement
        .as_mut()
        .unwrap()
        .keep_releases = 2;
    released(&mut sim, "prod-1", '1');
    for disk in sim.fleet.disks.lock().unwrap().values_mut() {
        disk.stuck = disk.releases.keys().cloned().collect();
    }
    let note_count = |sim: &Sim, id| notes(sim, id).len();
    let second = released(&mut sim, "prod-2", '2');
    assert_eq!(note_count(&sim, second), 0, "two may stay");
    for (tag, digit) in [("prod-3", '3'), ("prod-4", '4'), ("prod-5", '5')] {
        let id = released(&mut sim, tag, digit);
        let notes = notes(&sim, id);
        assert_eq!(notes.len(), 3, "one on each host: {notes:?}");
        for note in notes {
            assert!(
                note.contains("Permission denied") && note.contains("rm -rf"),
                "{note}"
            );
        }
    }
    for disk in sim.fleet.disks.lock().unwrap().values_mut() {
        assert!(disk.releases.len() <= 2, "the others are deleted");
        disk.stuck.clear();
    }
    let last = released(&mut sim, "prod-6", '6');
    assert_eq!(note_count(&sim, last), 0);
    promises_hold(&sim);
}

/// The live release, the previous one and the newest good one are kept, whatever `keep_releases`
/// says.
#[test]
fn newest_good_release_is_kept_despite_a_failed_one() {
    let mut sim = Sim::new(TEMPLATE);
    let mut ground = sim.ground.lock().unwrap();
    ground.on_failure = OnFailure::Stop;
    ground.placement.as_mut().unwrap().keep_releases = 1;
    drop(ground);
    let release = |sim: &mut Sim, digit| {
        let id = released(sim, &format!("prod-{digit}"), digit);
        sim.task(id).work.unwrap().release
    };
    release(&mut sim, '1');
    let good = release(&mut sim, '2');
    *sim.well.lock().unwrap() = false;
    let id = sim.push("prod-3", &object_of('3'), Schedule::Ready);
    sim.rest();
    assert!(matches!(sim.task(id).state, State::Failed { .. }));
    assert!(sim.serves('3'), "what switched stays");
    let failed = sim.task(id).work.unwrap().release;
    *sim.well.lock().unwrap() = true;
    let live = release(&mut sim, '4');
    for (host, disk) in sim.disks("production") {
        let left: Vec<_> = disk.releases.keys().collect();
        assert_eq!(left, [&good, &failed, &live], "{host}");
    }
    promises_hold(&sim);
}

#[test]
fn releases_on_another_file_system_are_noted_on_the_task() {
    let mut sim = Sim::new(TEMPLATE);
    let first = released(&mut sim, "prod-1", '1');
    assert_eq!(notes(&sim, first), [""; 0]);
    for ((_, host), disk) in sim.fleet.disks.lock().unwrap().iter_mut() {
        disk.apart = host == "c";
    }
    let second = released(&mut sim, "prod-2", '2');
    let notes = notes(&sim, second);
    assert!(
        matches!(notes.as_slice(), [note] if note.contains("/releases is on another file system")),
        "{notes:?}"
    );
    promises_hold(&sim);
}

#[test]
fn missing_shared_file_fails_before_any_host_switches() {
    let mut sim = Sim::new(TEMPLATE);
    released(&mut sim, "prod-1", '1');
    let shared = |sim: &Sim, missing| {
        let mut ground = sim.ground.lock().unwrap();
        let placement = ground.placement.as_mut().unwrap();
        placement.shared = vec!["config/secrets.toml".to_owned()];
        placement.shared_missing = missing;
    };
    let lacks = |sim: &Sim, lacks: bool| {
        let mut disks = sim.fleet.disks.lock().unwrap();
        let place = ("production".to_owned(), "c".to_owned());
        let disk = disks.get_mut(&place).unwrap();
        disk.missing.clear();
        if lacks {
            disk.missing.insert("config/secrets.toml".to_owned());
        }
    };
    shared(&sim, SharedMissing::Fail);
    lacks(&sim, true);
    let id = sim.push("prod-2", &object_of('2'), Schedule::Ready);
    sim.rest();
    let State::Failed { reason } = sim.task(id).state else {
        panic!("{:?}", sim.task(id).state);
    };
    assert!(
        reason.contains("c: ") && reason.contains("secrets.toml"),
        "{reason}"
    );
    assert!(sim.serves('1'), "no host switched");
    lacks(&sim, false);
    sim.ask(id, "bob", &TaskRequest::Retry).unwrap();
    sim.rest();
    assert_eq!(sim.task(id).state, State::Succeeded);

    shared(&sim, SharedMissing::Warn);
    lacks(&sim, true);
    let id = released(&mut sim, "prod-3", '3');
    let notes = notes(&sim, id);
    assert!(
        matches!(notes.as_slice(), [note] if note.contains("secrets.toml")),
        "{notes:?}"
    );
    promises_hold(&sim);
}
