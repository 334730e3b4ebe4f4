//! Requested rollbacks to what other tools left live: each host to its own release, unchanged.

use std::collections::BTreeMap;
use std::sync::Arc;

use tagship::domain::host::ReleaseId;
use tagship::domain::task::{Origin, Relation, State, StepResult, Task};
use tagship::engine::request::RollbackTarget;
use tagship::store::LiveRelease;

use crate::crash::released;
use crate::driver::{Sim, object_of};
use crate::faults::{Fault, crashes_and_repetitions};
use crate::host::Disk;
use crate::immediate::at_once;
use crate::invariants::promises_hold;
use crate::rollback::{TEMPLATE, on_each_disk};

const HOSTS: [&str; 3] = ["a", "b", "c"];

fn named(release: &str) -> ReleaseId {
    ReleaseId(release.to_owned())
}

/// What another tool left live: a directory in `releases/`, and elsewhere.
fn of_host(host: &str) -> &'static str {
    match host {
        "a" => "20260101120000",
        "b" => "20260102120000",
        _ => "/srv/old/v3",
    }
}

fn lead(sim: &Sim, to: impl Fn(&str) -> &'static str) {
    let mut disks = sim.fleet.disks.lock().unwrap();
    for host in HOSTS {
        let place = ("production".to_owned(), host.to_owned());
        disks.entry(place).or_default().lead(to(host));
    }
}

fn release(sim: &mut Sim, number: u32) {
    sim.release(number);
    assert_eq!(sim.task(number.into()).state, State::Succeeded);
}

/// Another tool's releases were live, and that of task 1 is.
fn over_others() -> Sim {
    let sim = Sim::new(TEMPLATE);
    lead(&sim, of_host);
    released(sim)
}

fn before() -> RollbackTarget {
    RollbackTarget::Before {
        project: "shop".to_owned(),
        environment: "production".to_owned(),
    }
}

fn to(release: &str) -> RollbackTarget {
    RollbackTarget::Named {
        project: "shop".to_owned(),
        environment: "production".to_owned(),
        release: named(release),
    }
}

fn live(sim: &Sim) -> BTreeMap<String, LiveRelease> {
    at_once(sim.store().live("shop", "production")).unwrap()
}

fn leads(sim: &Sim) -> BTreeMap<String, ReleaseId> {
    let disks = sim.disks("production").into_iter();
    disks
        .map(|(host, disk)| (host, disk.live.unwrap()))
        .collect()
}

fn each(to: impl Fn(&str) -> &'static str) -> BTreeMap<String, ReleaseId> {
    HOSTS.map(|host| (host.to_owned(), named(to(host)))).into()
}

/// The sealed releases there, and whether something is being built.
fn built(disk: &Disk) -> (Vec<ReleaseId>, bool) {
    let sealed = disk.releases.keys().cloned().collect();
    (sealed, disk.partial.is_some())
}

/// Programs of the rollback received the other tool's release, and no tag or commit.
fn given_of_others(sim: &Sim, id: u64) {
    for (host, disk) in sim.disks("production") {
        let prefix = format!("{id}-");
        let mut given = disk
            .given
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix));
        let (_, (directory, values)) = given.next().unwrap();
        let of = |name: &str| values[name].as_str();
        let expected = named(of_host(&host));
        assert_eq!(
            (of("TAG"), of("COMMIT"), of("RELEASE")),
            ("", "", &*expected.0)
        );
        assert_eq!(*directory, expected.directory(&format!("/srv/{host}/shop")));
    }
}

#[test]
fn rollback_to_other_tools_releases_survives_any_crash() {
    let first = over_others().faults.count();
    let gone_back = |fault: Option<(usize, Fault)>| {
        let mut sim = over_others();
        let sealed = sim
            .disks("production")
            .into_values()
            .map(|disk| built(&disk));
        let sealed: Vec<_> = sealed.collect();
        if let Some((effect, fault)) = fault {
            sim.faults.inject(first + effect, fault);
        }
        let back = sim.roll_back(&before()).unwrap();
        sim.rest();
        sim.scan();
        (sim, back, sealed)
    };
    let effects = gone_back(None).0.faults.count() - first;
    assert!(effects > 20, "{effects} effects");
    for (effect, fault) in crashes_and_repetitions(effects) {
        let (sim, back, sealed) = gone_back(Some((effect, fault)));
        let what = || format!("{effect} {fault:?}\n{}", sim.faults.trace(first));
        assert_eq!(sim.task(back).state, State::Succeeded, "{}", what());
        assert_eq!(leads(&sim), each(of_host), "{}", what());
        let after = sim.disks("production").into_values();
        let after: Vec<_> = after.map(|disk| built(&disk)).collect();
        assert_eq!(after, sealed, "nothing is built: {}", what());
        given_of_others(&sim, back);
        for (host, live) in live(&sim) {
            assert_eq!(live.release, named(of_host(&host)), "{}", what());
            let made = (live.task, live.commit, live.switched_by, live.drift);
            assert_eq!(made, (None, None, back, None), "{host}: {}", what());
        }
        promises_hold(&sim);
    }
}

#[test]
fn rollback_to_other_tools_releases_is_two_operations() {
    let mut sim = over_others();
    let first = sim.faults.count();
    sim.roll_back(&before()).unwrap();
    sim.rest();
    let seen = (first..sim.faults.count()).map(|number| sim.faults.effect(number));
    let mut asked: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (label, host) in seen.filter(|(label, _)| label.starts_with("host.")) {
        asked.entry(host).or_default().push(label);
    }
    assert_eq!(asked.len(), 3);
    for (host, labels) in asked {
        // The template's own program is the third.
        let expected = ["host.prepare", "host.publish", "host.run"];
        assert_eq!(labels, expected, "{host}");
    }
}

#[test]
fn target_that_is_gone_on_one_host_switches_none() {
    let mut sim = over_others();
    let (switched, sealed) = (leads(&sim), sim.disks("production"));
    on_each_disk(&sim, |disk| {
        disk.foreign.remove(&named(of_host("b")));
    });
    let back = sim.roll_back(&before()).unwrap();
    sim.rest();
    let State::Failed { reason } = sim.task(back).state else {
        panic!("{:?}", sim.task(back).state);
    };
    assert!(
        reason.contains("20260102120000 is no longer there"),
        "{reason}"
    );
    assert_eq!(leads(&sim), switched);
    for (host, disk) in sim.disks("production") {
        assert_eq!(built(&disk), built(&sealed[&host]), "{host}");
    }
    promises_hold(&sim);
}

/// X was live, then release 1, then Y, then release 2.
#[test]
fn each_rollback_goes_back_to_what_was_live_before() {
    let mut sim = over_others();
    let one = sim.task(1).work.unwrap().release;
    lead(&sim, |_| "v9");
    release(&mut sim, 2);
    let mut back = |to: &RollbackTarget| {
        let id = sim.roll_back(to).unwrap();
        sim.rest();
        assert_eq!(sim.task(id).state, State::Succeeded);
        promises_hold(&sim);
        (id, leads(&sim))
    };
    let (id, led) = back(&before());
    assert_eq!(led, each(|_| "v9"));
    let ours = |led: &BTreeMap<String, ReleaseId>| led.values().all(|led| *led == one);
    assert!(ours(&back(&before()).1), "release 1 was live before v9");
    assert_eq!(back(&before()).1, each(of_host));
    // By name, and by the task that rolled back to it.
    assert_eq!(back(&to("v9")).1, each(|_| "v9"));
    assert!(ours(&back(&to(&one.0)).1));
    assert_eq!(back(&RollbackTarget::ToTask(id)).1, each(|_| "v9"));
    let unknown = sim.roll_back(&to("/etc")).unwrap_err().to_string();
    let words = "`/etc` is no release that was live in shop production; \
                 other tools left live there: /srv/old/v3, 20260101120000, 20260102120000, v9";
    assert_eq!(unknown, words);
    let mut sim = over_others();
    sim.roll_back(&before()).unwrap();
    sim.rest();
    let why = sim.roll_back(&before()).unwrap_err().to_string();
    assert!(
        why.starts_with("nothing that was live in shop production before"),
        "{why}"
    );
}

/// Another tool switched over our release, so the rollback replaces that, and says so.
#[test]
fn rollback_over_drift_goes_back_to_the_other_tools_release() {
    let mut sim = over_others();
    let one = sim.task(1).work.unwrap().release;
    lead(&sim, |_| "by-hand");
    at_once(tagship::engine::executor::drift::check_all(
        &sim.world(Arc::default()),
    ));
    let kept = live(&sim)
        .into_values()
        .all(|live| live.kept.contains(&named("by-hand")));
    assert!(kept, "the look finds what other tools made");
    let back = sim.roll_back(&before()).unwrap();
    sim.rest();
    let task = sim.task(back);
    assert_eq!(task.state, State::Succeeded);
    assert_eq!(leads(&sim), each(of_host));
    let mut met = 0;
    for step in task.work.iter().flat_map(|work| work.steps.values()) {
        if let Some((_, StepResult::Staged { drift, .. })) = &step.end {
            let drift = drift.as_ref().unwrap();
            assert_eq!((&drift.from, &drift.to), (&one, &Some(named("by-hand"))));
            met += 1;
        }
    }
    assert_eq!(met, 3);
}

/// The reload fails after the switch to the other tool's release: each host rolls back to what was
/// live.
#[test]
fn failed_rollback_to_other_tools_releases_goes_back() {
    let mut sim = over_others();
    let one = sim.task(1).work.unwrap().release;
    *sim.fleet.program.lock().unwrap() = crate::rollback::check_fails(2);
    let back = sim.roll_back(&before()).unwrap();
    sim.rest();
    assert_eq!(back, 2);
    let task = sim.task(back);
    assert!(
        matches!(task.state, State::RolledBack { .. }),
        "{:?}",
        task.state
    );
    assert!(leads(&sim).values().all(|led| *led == one));
    crate::rollback::given_of(&sim, &one, "release-1", &object_of('1'));
    promises_hold(&sim);
}

/// Nothing was live on one host: it keeps its release, and its programs get the values of that one.
#[test]
fn host_where_nothing_was_live_before_keeps_its_release() {
    let sim = Sim::new(TEMPLATE);
    lead(&sim, of_host);
    on_each_disk(&sim, |disk| {
        if disk.live == Some(named(of_host("c"))) {
            disk.live = None;
        }
    });
    let mut sim = released(sim);
    let one = sim.task(1).work.unwrap().release;
    let back = sim.roll_back(&before()).unwrap();
    sim.rest();
    assert_eq!(sim.task(back).state, State::Succeeded);
    let mut expected = each(of_host);
    expected.insert("c".to_owned(), one.clone());
    assert_eq!(leads(&sim), expected);
    let disk = &sim.disks("production")["c"];
    let prefix = format!("{back}-");
    let mut given = disk.given.iter();
    let (_, values) = &given.find(|(key, _)| key.starts_with(&prefix)).unwrap().1;
    assert_eq!(values["RELEASE"], one.0);
    let of = (values["TAG"].as_str(), values["COMMIT"].as_str());
    assert_eq!(of, ("release-1", object_of('1').as_str()));
    promises_hold(&sim);
}

/// The second release failed and was rolled back: what was live before is what the first one
/// replaced.
#[test]
fn release_that_went_back_was_not_live_before() {
    let mut sim = over_others();
    *sim.fleet.program.lock().unwrap() = crate::rollback::check_fails(2);
    sim.release(2);
    assert!(matches!(sim.task(2).state, State::RolledBack { .. }));
    sim.roll_back(&before()).unwrap();
    sim.rest();
    assert_eq!(leads(&sim), each(of_host));
}

/// What is live changes while it waits: it is compared again, without a commit.
#[test]
fn rollback_to_foreign_release_is_compared_with_live() {
    let mut sim = over_others();
    let relations = |task: &Task| task.landed.as_ref().unwrap().compared.relations.clone();
    let back = sim.roll_back(&to(of_host("a"))).unwrap();
    let task = sim.task(back);
    let Origin::Rollback { to: None, release } = &task.submission.origin else {
        panic!("{:?}", task.submission.origin);
    };
    assert_eq!((release, task.tag()), (&named(of_host("a")), ""));
    assert_eq!(task.commit(), None);
    assert_eq!(relations(&task), []);
    // It does not exist on the other hosts.
    sim.rest();
    assert!(matches!(sim.task(back).state, State::Failed { .. }));
    let all = sim.roll_back(&before()).unwrap();
    sim.rest();
    assert_eq!(sim.task(all).state, State::Succeeded);
    let again = sim.roll_back(&RollbackTarget::ToTask(all)).unwrap();
    assert_eq!(relations(&sim.task(again)), [Relation::Same]);
}
