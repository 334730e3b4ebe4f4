#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::domain::template::{Directory, HealthCheck, Probe, Program, ProgramCommand};

pub(crate) fn host(name: &str) -> PlannedHost {
    PlannedHost {
        name: name.to_owned(),
        address: "127.0.0.1".to_owned(),
        port: 22,
        user: "deploy".to_owned(),
        identity: "/key".to_owned(),
        jump: None,
    }
}

fn behind(jump: PlannedHost, name: &str) -> PlannedHost {
    PlannedHost {
        jump: Some(Box::new(jump)),
        ..host(name)
    }
}

/// With nothing but what must be there.
pub(crate) fn placement() -> Placement {
    Placement {
        deploy_to: "/srv/shop".to_owned(),
        keep_releases: 3,
        shared: Vec::new(),
        exclude: Vec::new(),
        owner: None,
        source: None,
        submodules: Submodules::Refuse,
        shared_missing: SharedMissing::Fail,
    }
}

/// A release to these hosts by these stages.
pub(crate) fn plain_plan(hosts: Vec<PlannedHost>, stages: Vec<Stage>) -> Plan {
    Plan {
        project: "shop".to_owned(),
        environment: "production".to_owned(),
        git_url: "/git".to_owned(),
        template: "t".to_owned(),
        template_digest: "d".to_owned(),
        commit: "c".repeat(40),
        parameters: BTreeMap::new(),
        secrets: Vec::new(),
        hosts,
        placement: Some(placement()),
        on_failure: OnFailure::Rollback,
        pause_timeout_s: None,
        approvals: Vec::new(),
        self_approval: false,
        named: ResolvedNames::default(),
        rebuilt: Vec::new(),
        targets: BTreeMap::new(),
        left_out: Vec::new(),
        own_task_state: String::new(),
        stages,
    }
}

fn step(name: &str, action: StepAction) -> Step {
    Step::plain(name, action)
}

/// A plan with one of everything.
fn plan() -> Plan {
    let stage = |name: &str, steps| Stage {
        name: name.to_owned(),
        gate: Gate::Hand,
        batch: Some(2),
        hosts: vec!["web1".to_owned(), "web2".to_owned()],
        steps,
    };
    let program = |command| {
        StepAction::Run(Program {
            command,
            args: vec!["TAG".to_owned()],
            directory: Directory::Absolute("/opt".to_owned()),
            timeout: Duration::new(5, 7),
            repeat: false,
            outputs: vec!["BUILD_ID".to_owned()],
            secret_outputs: vec!["SESSION".to_owned()],
        })
    };
    let check = |probe| {
        StepAction::Check(HealthCheck {
            probe,
            retries: 3,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
        })
    };
    Plan {
        project: "shop".to_owned(),
        environment: "production".to_owned(),
        git_url: "/git".to_owned(),
        template: "release".to_owned(),
        template_digest: "d".to_owned(),
        commit: "2".repeat(40),
        parameters: [("MODE".to_owned(), "full".to_owned())].into(),
        secrets: vec!["TOKEN".to_owned()],
        hosts: vec![behind(host("gate"), "web1"), host("web2")],
        placement: Some(Placement {
            deploy_to: "/srv/{HOST}".to_owned(),
            keep_releases: 3,
            shared: vec!["log/".to_owned()],
            exclude: vec!["*.md".to_owned()],
            owner: Some("www".to_owned()),
            source: Some("app".to_owned()),
            submodules: Submodules::Refuse,
            shared_missing: SharedMissing::Warn,
        }),
        on_failure: OnFailure::Rollback,
        pause_timeout_s: None,
        approvals: vec!["1 of @pm".parse().unwrap(), "2".parse().unwrap()],
        self_approval: false,
        named: ResolvedNames {
            users: [(
                "operator".to_owned(),
                PlannedUser {
                    user: "op".to_owned(),
                    port: Some(2222),
                    identity: "/operator".to_owned(),
                },
            )]
            .into(),
            local: Some(LocalUser {
                user: "build".to_owned(),
                directory: "/srv/build".to_owned(),
            }),
            scripts: [("buy.sh".to_owned(), "5".repeat(64))].into(),
            aliases: [("MODE".to_owned(), "how".to_owned())].into(),
        },
        rebuilt: vec!["web2".to_owned()],
        targets: [("web1".to_owned(), ReleaseId("v3".to_owned()))].into(),
        left_out: vec!["web9".to_owned()],
        own_task_state: "failed".to_owned(),
        stages: vec![
            stage("stage", vec![step("sync", StepAction::Sync)]),
            stage(
                "switch",
                vec![
                    step("publish", StepAction::Publish),
                    step(
                        "reload",
                        program(ProgramCommand::Shell("reload".to_owned())),
                    ),
                    step(
                        "warm",
                        program(ProgramCommand::Argv(vec!["warm".to_owned()])),
                    ),
                    step(
                        "http",
                        check(Probe::Http {
                            url: "http://{HOST}/".to_owned(),
                            status: 200,
                        }),
                    ),
                    step(
                        "tcp",
                        check(Probe::Tcp {
                            address: "{HOST}:80".to_owned(),
                        }),
                    ),
                ],
            ),
        ],
    }
}

/// All leaf values below this one, as JSON pointers.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                leaves(value, &format!("{at}/{}", name.replace('/', "~1")), found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                leaves(value, &format!("{at}/{index}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

/// Other values that a field with this value could have.
fn others(value: &Value) -> Vec<Value> {
    let words = [
        "none",
        "hand",
        "timed",
        "stop",
        "pause",
        "skip",
        "refuse",
        "fail",
        "Sync",
        "Publish",
        "Checkout",
        "Home",
        "Release",
        "3 of @ops",
    ];
    match value {
        Value::String(text) => std::iter::once(format!("{text}x"))
            .chain(words.map(str::to_owned))
            .filter(|other| other != text)
            .map(Value::String)
            .collect(),
        Value::Number(number) => vec![(number.as_u64().unwrap() + 1).into()],
        Value::Bool(flag) => vec![(!flag).into()],
        other => panic!("{other}"),
    }
}

#[test]
fn every_field_is_in_the_digest() {
    let plan = plan();
    let value = serde_json::to_value(&plan).unwrap();
    let mut paths = Vec::new();
    leaves(&value, "", &mut paths);
    assert!(paths.len() > 50, "{paths:?}");
    for path in paths {
        let before = value.pointer(&path).unwrap();
        let changed = others(before).into_iter().find_map(|other| {
            let mut value = value.clone();
            *value.pointer_mut(&path).unwrap() = other;
            let read: Plan = serde_json::from_value(value).ok()?;
            (read != plan).then_some(read)
        });
        let changed = changed.unwrap_or_else(|| panic!("nothing else fits {path}"));
        assert_ne!(changed.digest(), plan.digest(), "{path}");
    }
}

/// The declared outputs of the first program.
fn outputs(plan: &mut Plan) -> (&mut Vec<String>, &mut Vec<String>) {
    match &mut plan.stages[1].steps[1].action {
        StepAction::Run(program) => (&mut program.outputs, &mut program.secret_outputs),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_entry_more_or_less_is_in_the_digest() {
    let digest = plan().digest();
    let changes: [fn(&mut Plan); 12] = [
        |plan| plan.placement = None,
        |plan| plan.secrets.clear(),
        |plan| drop(plan.hosts.pop()),
        |plan| plan.hosts.swap(0, 1),
        |plan| plan.stages.swap(0, 1),
        |plan| drop(plan.stages[1].steps.pop()),
        |plan| drop(plan.approvals.pop()),
        |plan| plan.parameters.clear(),
        |plan| plan.placement.as_mut().unwrap().owner = None,
        |plan| plan.stages[0].batch = None,
        |plan| outputs(plan).0.clear(),
        |plan| outputs(plan).1.push("MORE".to_owned()),
    ];
    for change in changes {
        let mut plan = plan();
        change(&mut plan);
        assert_ne!(plan.digest(), digest);
    }
}

#[test]
fn plan_without_outputs_keeps_its_former_encoding() {
    let mut plan = plan();
    for step in plan.stages.iter_mut().flat_map(|stage| &mut stage.steps) {
        if let StepAction::Run(program) = &mut step.action {
            program.outputs.clear();
            program.secret_outputs.clear();
        }
    }
    let text = String::from_utf8(plan.canonical()).unwrap();
    assert!(!text.contains("outputs"), "{text}");
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

#[test]
fn stored_plan_roundtrips() {
    let plan = plan();
    let read: Plan = serde_json::from_slice(&plan.canonical()).unwrap();
    assert_eq!(read, plan);
    assert_eq!(read.digest(), plan.digest());
    // The order of fields and the white space between them do not matter.
    let value: Value = serde_json::from_slice(&plan.canonical()).unwrap();
    let text = serde_json::to_string_pretty(&value).unwrap();
    let read: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(read.digest(), plan.digest());
}

#[test]
fn rollback_plan_stages_and_switches_without_gates() {
    let back = plan().rollback().unwrap();
    let names: Vec<&str> = back
        .stages
        .iter()
        .map(|stage| stage.name.as_str())
        .collect();
    assert_eq!(names, ["stage", "switch"]);
    assert!(back.stages.iter().all(|stage| stage.gate == Gate::None));
    assert_ne!(back.digest(), plan().digest());
}

#[test]
fn going_back_to_targets_has_no_commit_and_only_their_hosts() {
    let named = |release: &str| ReleaseId(release.to_owned());
    let [own, old] = [named("20261130-120000-2222222"), named("20260101120000")];
    let targets = [("web2", &old), ("db1", &old)];
    let targets = targets.map(|(host, release)| (host.to_owned(), release.clone()));
    let back = plan().rollback_to(&targets.into()).unwrap();
    assert_eq!(back.commit, "");
    assert!(back.rebuilt.is_empty(), "nothing is built");
    assert!(back.stages.iter().all(|stage| stage.hosts == ["web2"]));
    assert_eq!(back.targets, [("web2".to_owned(), old.clone())].into());
    assert_eq!(back.target_release("web2", &own), &old);
    assert_eq!(back.target_release("web1", &own), &own);
    let other = [("web2".to_owned(), own.clone())].into();
    let other = plan().rollback_to(&other).unwrap();
    assert_ne!(back.digest(), other.digest(), "an approval covers it");
    assert!(back.rollback().unwrap().targets.is_empty());
    let elsewhere = [("db1".to_owned(), old)].into();
    assert_eq!(plan().rollback_to(&elsewhere), None);
}

#[test]
fn rollback_plan_reaches_the_hosts_as_they_are_configured_now() {
    let moved = PlannedHost {
        address: "127.0.0.9".to_owned(),
        ..host("web1")
    };
    let present = [("web1".to_owned(), moved.clone())].into();
    let back = plan().rollback().unwrap();
    let now = back.on_present(&present, |host| host.name == "web2");
    assert!(now.stages.iter().all(|stage| stage.hosts == ["web1"]));
    assert_eq!(now.host("web1"), Some(&moved));
    assert_eq!(now.left_out, ["web2"]);
    assert!(now.rollback().unwrap().left_out.is_empty());
}

#[test]
fn each_host_of_a_stage_has_one_index_and_its_own_steps() {
    let named = |name: &str, host: Option<&str>, once| Step {
        host: host.map(str::to_owned),
        once,
        ..step(name, StepAction::Sync)
    };
    let stage = Stage {
        name: "switch".to_owned(),
        gate: Gate::None,
        batch: None,
        hosts: vec!["web1".to_owned(), "web2".to_owned()],
        steps: vec![
            named("all", None, false),
            named("first", None, true),
            named("db", Some("db1"), false),
            named("again", Some("db1"), false),
            named("web", Some("web2"), false),
        ],
    };
    assert_eq!(stage.host_names(), ["web1", "web2", "db1"]);
    let runs = |place| -> Vec<usize> { (0..5).filter(|step| stage.runs(place, *step)).collect() };
    assert_eq!(runs(0), [0, 1], "web1");
    assert_eq!(runs(1), [0, 4], "web2");
    assert_eq!(runs(2), [2, 3], "db1");
    assert!(runs(3).is_empty(), "nobody");
}

#[test]
fn plan_keeps_its_time_if_a_stage_or_step_is_timed() {
    let mut plan = plan();
    assert!(!plan.keeps_time());
    plan.stages[1].steps[1].gate = Gate::Timed;
    assert!(plan.keeps_time());
    plan.stages[1].steps[1].gate = Gate::Hand;
    plan.stages[0].gate = Gate::Timed;
    assert!(plan.keeps_time());
}

#[test]
fn switch_stage_is_the_stage_that_publishes() {
    let mut plan = plan();
    assert_eq!(plan.publish_stage(), Some(1));
    plan.stages.swap(0, 1);
    assert_eq!(plan.publish_stage(), Some(0));
    plan.stages.remove(0);
    assert_eq!(plan.publish_stage(), None);
    assert_eq!(plan.rollback(), None);
}

#[test]
fn host_is_found_by_name_and_reached_as_the_steps_user() {
    let plan = plan();
    let web2 = plan.host("web2").unwrap();
    assert_eq!(web2.name, "web2");
    assert_eq!(
        plan.host("gate"),
        None,
        "the way there is no host of the task"
    );
    let operator = &plan.named.users["operator"];
    let reached = PlannedHost {
        user: "op".to_owned(),
        port: 2222,
        identity: "/operator".to_owned(),
        ..web2.clone()
    };
    assert_eq!(operator.apply_to(web2), reached);
    let by_port = PlannedUser {
        port: None,
        ..operator.clone()
    };
    assert_eq!(
        by_port.apply_to(web2),
        PlannedHost {
            port: 22,
            ..reached
        }
    );
    assert_eq!(plan.placement.unwrap().path_on("web2"), "/srv/web2");
}

#[test]
fn plan_without_resolved_names_keeps_its_former_encoding() {
    let mut plan = plan();
    plan.named = ResolvedNames::default();
    let text = String::from_utf8(plan.canonical()).unwrap();
    assert!(!text.contains("\"named\""), "{text}");
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

#[test]
fn a_digest_is_64_hexadecimal_digits_and_shown_whole() {
    let digest = plan().digest();
    assert_eq!(digest.0.len(), 64);
    assert!(
        digest
            .0
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    );
    assert_eq!(digest.to_string(), digest.0);
}

#[test]
fn program_before_publish_gives_the_release_own_inodes() {
    let mut plan = plan();
    assert_eq!(
        plan.inodes("web1"),
        Inodes::Shared,
        "what comes later is live"
    );
    let reload = plan.stages[1].steps[1].clone();
    plan.stages[0].steps.insert(0, reload.clone());
    assert_eq!(
        plan.inodes("web1"),
        Inodes::Shared,
        "nothing is there before sync"
    );
    plan.stages[0].steps.push(Step {
        once: true,
        ..reload
    });
    assert_eq!(plan.inodes("web1"), Inodes::Own);
    assert_eq!(
        plan.inodes("web2"),
        Inodes::Own,
        "it runs there if the first host is skipped"
    );
    assert_eq!(plan.inodes("web3"), Inodes::Shared);
    plan.stages[0].steps.pop();
    let mut probe = plan.stages[1].steps[4].clone();
    plan.stages[0].steps.push(probe.clone());
    assert_eq!(
        plan.inodes("web1"),
        Inodes::Shared,
        "a check from the agent writes nothing"
    );
    if let StepAction::Check(check) = &mut probe.action {
        check.probe = Probe::Command {
            command: ProgramCommand::Shell("test".to_owned()),
            directory: Directory::Release,
        };
    }
    plan.stages[1].steps.insert(0, probe);
    assert_eq!(plan.inodes("web2"), Inodes::Own);
}
