#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::{Value, json};

use crate::domain::permission::Role;

use super::*;
use crate::config::{self, Config, Templates};
use crate::domain::task::Task;
use crate::store::memory::MemoryKv;

const CONFIG: &str = r#"
[agent]
time_zone = "Europe/Berlin"
[hosts.web1]
address = "192.0.2.1"
[hosts.web2]
address = "192.0.2.2"
[hosts.db1]
address = "192.0.2.9"
[hosts.db2]
address = "192.0.2.9"
[groups]
web = ["web1", "web2"]
one = ["web1"]
[[projects]]
name = "shop"
repository = "/srv/git/shop.git"
environments.qa = { group = "one", deploy_to = "/srv/qa" }
environments.production = { group = "web", deploy_to = "/srv/shop", approvals = ["1 of @pm"] }
environments.careful = { group = "web", deploy_to = "/srv/careful", approvals = ["2"] }
environments.own = { group = "web", deploy_to = "/srv/own", approvals = ["1 of @pm"], self_approval = true }
rules = [{ pattern = "release-", environment = "production", refuse_older = true }]
"#;

const RESTART: &str = r#"
id = 7
name = "restart"
params = [{ name = "SERVICE", required = true, pattern = "[a-z]+" }, { name = "PASSWORD" }]
[[stage]]
name = "restart"
hosts = "{1}"
steps = [{ run = "true" }]
"#;

const TIDY: &str = r#"
name = "tidy"
[[stage]]
name = "tidy"
steps = [{ run = "true", host = "db1" }]
"#;

const FREE: &str = r#"
name = "free"
free_hosts = true
[[stage]]
name = "ping"
hosts = "{2}"
steps = [{ run = "true" }]
"#;

/// The user may see everything.
struct Everything;

impl Visibility for Everything {
    fn sees(&self, _: &PermissionTarget) -> bool {
        true
    }

    fn lists(&self, _: &Templates, _: &str) -> bool {
        true
    }

    fn host(&self, _: &str) -> bool {
        true
    }
}

pub(super) struct World {
    config: Config,
    library: Templates,
    _directory: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("restart.toml", RESTART),
            ("free.toml", FREE),
            ("tidy.toml", TIDY),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Self {
            config: config::parse("config.toml", CONFIG, Path::new("/")).unwrap(),
            library: Templates::load(directory.path()),
            _directory: directory,
        }
    }

    fn sources(&self) -> ResolveSources<'_> {
        ResolveSources {
            viewer: &Everything,
            config: &self.config,
            library: &self.library,
            disabled: &[],
            now: at(0),
        }
    }

    pub(super) fn resolved(&self, order: &Value) -> Result<Resolved, SubmitError> {
        resolve(&SubmissionOrder::read(order)?, &self.sources())
    }

    /// The problems of an order, `field: message`.
    pub(super) fn problems(&self, order: &Value) -> Vec<String> {
        match self.resolved(order) {
            Err(SubmitError::Problems(problems)) => {
                problems.iter().map(ToString::to_string).collect()
            }
            other => panic!("{order}: {other:?}"),
        }
    }

    fn submission(&self, order: &Value) -> Submission {
        self.resolved(order).unwrap().submission
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(super) fn actor(role: Role, groups: &[&str]) -> Actor {
    Actor {
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..Actor::new("alice", role)
    }
}

pub(super) fn restart() -> Value {
    json!({ "template": "restart", "params": { "SERVICE": "shop" }, "hosts": { "1": ["web1"] } })
}

/// The order with these fields set.
fn with(order: Value, fields: &Value) -> Value {
    let mut order = order;
    for (name, value) in fields.as_object().unwrap() {
        order[name] = value.clone();
    }
    order
}

pub(super) fn release(fields: &Value) -> Value {
    with(
        json!({ "template": "git-release", "project": "shop", "tag": "release-1" }),
        fields,
    )
}

#[test]
fn hosts_are_accepted_by_name_or_address() {
    let world = World::new();
    let order = with(
        restart(),
        &json!({ "hosts": { "1": "192.0.2.2, web1,web2" } }),
    );
    assert_eq!(world.submission(&order).hosts[&1], ["web2", "web1"]);
    let wrong = |host: &str| {
        let order = with(restart(), &json!({ "hosts": { "1": [host] } }));
        world.problems(&order).join("\n")
    };
    assert!(
        wrong("web3").contains("did you mean `web"),
        "{}",
        wrong("web3")
    );
    assert!(wrong("203.0.113.5").contains("free_hosts"));
    assert!(wrong("192.0.2.9").contains("db1, db2"));
    assert!(wrong("a\u{7}b").contains("control character"));
    assert!(wrong("$(reboot)").starts_with("hosts.1: "));
}

#[test]
fn unconfigured_host_requires_a_template_that_allows_it() {
    let world = World::new();
    let order = |host: &str| json!({ "template": "free", "hosts": { "2": [host] } });
    assert_eq!(
        world.submission(&order("203.0.113.5")).hosts[&2],
        ["203.0.113.5"]
    );
    assert_eq!(world.submission(&order("192.0.2.1")).hosts[&2], ["web1"]);
    for host in [
        "-oProxyCommand=x",
        "a b",
        "::1::",
        "[::1",
        "[::1]:0",
        "[a]",
        "a/b",
    ] {
        assert!(
            world.problems(&order(host))[0].starts_with("hosts.2: "),
            "{host}"
        );
    }
}

/// As text of a form or the command line, as a list of the API, and as stored.
#[test]
fn ipv6_host_address_is_accepted_with_or_without_brackets() {
    let world = World::new();
    for (given, kept, name, port) in [
        ("2001:DB8:0::7", "2001:db8::7", "ip6-2001-db8--7", 22),
        ("[2001:db8::7]", "2001:db8::7", "ip6-2001-db8--7", 22),
        (
            "[2001:db8::7]:2200",
            "[2001:db8::7]:2200",
            "ip6-2001-db8--7-2200",
            2200,
        ),
    ] {
        for hosts in [json!([given]), json!(given), json!(kept)] {
            let order = json!({ "template": "free", "hosts": { "2": hosts } });
            let submission = world.submission(&order);
            assert_eq!(submission.hosts[&2], [kept], "{given}");
            let planned = &world.config.given_hosts(&submission.hosts, &[])[&2][0];
            let seen = (&*planned.name, &*planned.address, planned.port);
            assert_eq!(seen, (name, "2001:db8::7", port), "{given}");
            // So `--host` of the command line finds it.
            assert!(planned.has_name(given) && planned.has_name(name));
            assert!(!planned.has_name("2001:db8::8") && !planned.has_name("[2001:db8::7]:1"));
        }
    }
}

#[test]
fn groups_must_match_the_template() {
    let world = World::new();
    let wrong = world.problems(&with(restart(), &json!({ "hosts": { "2": ["web1"] } })));
    assert_eq!(
        wrong,
        [
            "hosts.1: is missing: template restart takes it",
            "hosts.2: template restart takes the groups 1: take it out",
        ]
    );
    let many: Vec<String> = (0..101).map(|number| format!("h{number}")).collect();
    let wrong = world.problems(&json!({ "template": "free", "hosts": { "2": many } }));
    assert!(wrong[0].contains("101 hosts, more than 100"), "{wrong:?}");
    let wrong = world.problems(&json!({ "template": "free", "hosts": { "2": [] } }));
    assert!(wrong[0].contains("names no host"), "{wrong:?}");
}

#[test]
fn all_submission_errors_are_reported_at_once() {
    let world = World::new();
    let wrong = world.problems(&json!({
        "template": ["restart"], "params": { "SERVICE": null, "a": "b", "X": "\u{1}" }, "hosts": { "x": "web1" },
        "titel": "a", "title": 5, "approvers": "no one/", "tag": "a..b", "secrets": "x",
    }));
    let fields: Vec<&str> = wrong
        .iter()
        .map(|line| line.split_once(": ").unwrap().0)
        .collect();
    assert_eq!(
        fields,
        [
            "titel",
            "template",
            "params.SERVICE",
            "secrets",
            "hosts.x",
            "title",
            "approvers",
            "tag",
            "params.X",
            "params.a"
        ]
    );
    assert!(wrong[0].contains("`title`"));
    for value in [json!([]), json!("text"), Value::Null] {
        assert!(world.problems(&value)[0].starts_with("body: must be an object"));
    }
}

#[test]
fn each_field_has_its_bounds() {
    let world = World::new();
    let long = |length: usize| "a".repeat(length);
    for (field, most) in [
        ("title", 200),
        ("details", 10_000),
        ("executor", 64),
        ("submitter", 64),
        ("idempotency_key", 200),
    ] {
        let fits = with(restart(), &json!({ field: long(most) }));
        assert!(world.resolved(&fits).is_ok(), "{field}");
        let wrong = world.problems(&with(restart(), &json!({ field: long(most + 1) })));
        assert_eq!(
            wrong,
            [format!(
                "{field}: is longer than {most} characters: shorten it"
            )]
        );
        let wrong = world.problems(&with(restart(), &json!({ field: "a\u{1b}[2J" })));
        assert!(wrong[0].contains("control character"), "{field}");
    }
    let values = json!({ "params": { "SERVICE": long(8 * 1024 + 1) } });
    assert!(world.problems(&with(restart(), &values))[0].contains("longer than 8192 bytes"));
    let many: Vec<String> = (0..51).map(|number| format!("u{number}")).collect();
    let wrong = world.problems(&with(restart(), &json!({ "approvers": many })));
    assert_eq!(wrong.len(), 1);
    let wrong = world.problems(&with(restart(), &json!({ "schedule": "observe" })));
    assert!(wrong[0].starts_with("schedule: must be `new`"));
}

#[test]
fn template_is_found_by_name_or_number_and_checked() {
    let world = World::new();
    for id in [json!(7), json!("7"), json!("restart")] {
        let order = with(restart(), &json!({ "template": id }));
        assert_eq!(world.submission(&order).template, "restart");
    }
    let wrong = world.problems(&json!({ "template": "restrat" }));
    assert_eq!(
        wrong,
        ["template: no template has this name or number: did you mean `restart`?"]
    );
    assert!(world.problems(&json!({}))[0].starts_with("template: is missing"));
    let wrong = world.problems(&with(
        restart(),
        &json!({ "params": { "SERVICE": "a; reboot", "OTHER": "1", "TASK_ID": "1" } }),
    ));
    let fields: Vec<&str> = wrong
        .iter()
        .map(|line| line.split_once(": ").unwrap().0)
        .collect();
    assert_eq!(fields, ["params.OTHER", "params.TASK_ID", "params.SERVICE"]);
    // A secret is checked by the same rules, and not shown.
    let wrong = world.problems(&with(
        restart(),
        &json!({ "params": {}, "secrets": { "SERVICE": "HUNTER2" } }),
    ));
    assert!(wrong[0].starts_with("params.SERVICE: ") && !wrong[0].contains("HUNTER2"));
}

#[test]
fn task_without_project_keeps_its_submitted_values() {
    let world = World::new();
    let order = with(
        restart(),
        &json!({ "params": { "SERVICE": "shop", "TAG": "v1", "GIT_URL": "/srv/git/shop.git" } }),
    );
    let submission = world.submission(&order);
    assert!(!submission.has_environment() && !submission.has_reference());
    assert_eq!(submission.parameters["TAG"], "v1");
    assert_eq!(submission.parameters["GIT_URL"], "/srv/git/shop.git");
}

#[test]
fn a_release_lands_by_the_name_of_its_tag() {
    let world = World::new();
    let by_url = json!({
        "template": "git-release",
        "params": { "TAG": "v9", "GIT_URL": "/srv/git/shop", "ENVIRONMENT": "qa" },
    });
    let submission = world.submission(&by_url);
    assert_eq!(submission.reference, "refs/tags/v9");
    let place = (submission.project, submission.environment);
    assert_eq!(place, ("shop".to_owned(), "qa".to_owned()));
    assert!(submission.object.is_empty() && submission.parameters.is_empty());
    let mut odd = by_url.clone();
    odd["params"]["TAG"] = "v9 x".into();
    let problems = format!("{:?}", world.problems(&odd));
    assert!(
        problems.contains("is no name that a tag can have"),
        "{problems}"
    );
    let wrong = world.problems(&json!({ "template": "git-release" }));
    assert!(wrong[0].starts_with("project: is missing"), "{wrong:?}");
    let wrong = world.problems(&release(&json!({ "tag": "" })));
    assert!(wrong[0].starts_with("tag: is missing"), "{wrong:?}");
    let wrong = world.problems(
        &json!({ "template": "git-release", "params": { "TAG": "v1", "GIT_URL": "/x.git" } }),
    );
    assert!(wrong[0].starts_with("params.GIT_URL: "), "{wrong:?}");
    let wrong = world.problems(&release(&json!({ "params": { "TAG": "release-2" } })));
    assert!(wrong[0].starts_with("tag: says"), "{wrong:?}");
}

#[test]
fn environment_is_explicit_or_follows_from_rule_or_hosts() {
    let world = World::new();
    let environment = |fields: &Value| world.submission(&release(fields)).environment;
    assert_eq!(environment(&json!({})), "production");
    assert_eq!(environment(&json!({ "environment": "qa" })), "qa");
    assert_eq!(
        environment(&json!({ "tag": "v1", "hosts": { "1": "192.0.2.1" } })),
        "qa"
    );
    let wrong = world.problems(&release(&json!({ "tag": "v1" })));
    assert!(
        wrong[0].contains("careful, own, production, qa"),
        "{wrong:?}"
    );
    // Two environments have these hosts.
    let wrong = world.problems(&release(
        &json!({ "tag": "v1", "hosts": { "1": "web1,web2" } }),
    ));
    assert!(wrong[0].starts_with("environment: is missing"), "{wrong:?}");
    let wrong = world.problems(&release(&json!({ "environment": "prodution" })));
    assert!(wrong[0].contains("did you mean `production`?"), "{wrong:?}");
}

#[test]
fn hosts_must_belong_to_the_environment() {
    let world = World::new();
    let wrong = world.problems(&release(&json!({ "hosts": { "1": "web1" } })));
    assert!(
        wrong[0].starts_with("hosts: are not the hosts of shop production"),
        "{wrong:?}"
    );
}

#[test]
fn tag_rule_applies_to_submitted_tasks() {
    let world = World::new();
    assert!(world.submission(&release(&json!({}))).refuse_older);
    let elsewhere = world.submission(&release(&json!({ "environment": "qa" })));
    assert!(!elsewhere.refuse_older);
}

#[test]
fn submitted_time_uses_the_agents_zone_or_its_own() {
    let world = World::new();
    let run_at = |text: &str| {
        let submission = world.submission(&with(restart(), &json!({ "run_at": text })));
        submission.request().unwrap().run_at.unwrap().to_string()
    };
    assert_eq!(run_at("2027-02-01 22:30"), "2027-02-01T21:30:00Z");
    assert_eq!(run_at("2027-02-01T22:30:00Z"), "2027-02-01T22:30:00Z");
    let wrong = world.problems(&with(restart(), &json!({ "run_at": "soon" })));
    assert!(wrong[0].contains("Europe/Berlin"));
}

/// Submits, and returns the error's text if it is refused.
fn submitted(
    world: &World,
    store: &Store,
    name: &str,
    order: &Value,
    second: i64,
) -> Result<Submitted, String> {
    let order = SubmissionOrder::read(order).map_err(|error| error.to_string())?;
    let actor_at = |_: &PermissionTarget| Actor {
        name: name.to_owned(),
        ..actor(Role::Submitter, &[])
    };
    let user = SubmittingUser {
        name,
        actor_at: &actor_at,
        via: Via::Api,
    };
    submit(store, &world.sources(), &order, &user, at(second), &|_| {
        crate::store::kv::Commit::new()
    })
    .now_or_never()
    .unwrap()
    .map_err(|error| error.to_string())
}

fn store() -> Store {
    let opened = Store::open(Arc::new(MemoryKv::new())).now_or_never();
    opened.unwrap().unwrap()
}

#[test]
fn idempotency_key_returns_the_same_task_after_a_day() {
    let world = World::new();
    let store = store();
    let order = with(restart(), &json!({ "idempotency_key": "k1" }));
    let first = submitted(&world, &store, "alice", &order, 0).unwrap();
    assert!(matches!(first, Submitted::New(_)));
    let again = submitted(&world, &store, "alice", &order, 24 * 3600).unwrap();
    assert_eq!(again, Submitted::Before(first.id()));
    let other = with(order.clone(), &json!({ "title": "another" }));
    let error = submitted(&world, &store, "alice", &other, 10).unwrap_err();
    assert!(error.contains("`k1` was used for task 1"), "{error}");
    // Another user's key is a different key, and so is an empty one.
    assert_eq!(
        submitted(&world, &store, "bob", &order, 10).unwrap(),
        Submitted::New(2)
    );
    assert!(matches!(
        submitted(&world, &store, "alice", &restart(), 10),
        Ok(Submitted::New(_))
    ));
    assert!(matches!(
        submitted(&world, &store, "alice", &restart(), 10),
        Ok(Submitted::New(_))
    ));
    // It may be used again after a week, and not a second earlier.
    let week = 7 * 24 * 3600;
    let before = submitted(&world, &store, "alice", &order, week - 1);
    assert_eq!(before, Ok(Submitted::Before(first.id())));
    let later = submitted(&world, &store, "alice", &order, week).unwrap();
    assert!(matches!(later, Submitted::New(_)));
}

#[test]
fn repeated_submission_ignores_configuration_changes() {
    let mut world = World::new();
    let store = store();
    let order = with(restart(), &json!({ "idempotency_key": "k1" }));
    let first = submitted(&world, &store, "alice", &order, 0).unwrap();
    world.config.hosts.clear();
    assert_eq!(
        submitted(&world, &store, "alice", &order, 1),
        Ok(Submitted::Before(first.id()))
    );
}

#[test]
fn invalid_submission_stores_nothing() {
    let world = World::new();
    let store = store();
    let wrong = with(
        restart(),
        &json!({ "idempotency_key": "k1", "hosts": { "1": "web9" } }),
    );
    assert!(submitted(&world, &store, "alice", &wrong, 0).is_err());
    let (active, _) = store.active().now_or_never().unwrap().unwrap();
    assert!(active.is_empty());
    let right = with(restart(), &json!({ "idempotency_key": "k1" }));
    assert!(matches!(
        submitted(&world, &store, "alice", &right, 0),
        Ok(Submitted::New(_))
    ));
}

#[test]
fn secret_is_kept_for_the_run_and_never_shown() {
    let world = World::new();
    let order = with(restart(), &json!({ "secrets": { "PASSWORD": "hunter2!" } }));
    let submission = world.submission(&order);
    assert_eq!(submission.secrets["PASSWORD"].expose(), "hunter2!");
    assert!(!format!("{submission:?}").contains("hunter2!"));
    assert!(!format!("{:?}", SubmissionOrder::read(&order)).contains("hunter2!"));
    let inputs = crate::domain::plan::TaskInputs {
        parameters: &submission.parameters,
        secrets: &submission.secrets,
        unclassified: &submission.unclassified,
        hosts: &world.config.given_hosts(&submission.hosts, &[]),
    };
    let template = world.library.find("restart").unwrap();
    let ground = world.config.resolve_without_project(&[]);
    let plan = crate::domain::plan::build(&ground, template, "", &inputs).unwrap();
    assert_eq!(plan.secrets, ["PASSWORD"]);
    assert!(
        !String::from_utf8(plan.canonical())
            .unwrap()
            .contains("hunter2!")
    );
    // Another secret does not change the plan either.
    let kept = serde_json::to_string(&submission).unwrap();
    assert!(kept.contains("hunter2!"), "it must survive to be run");
}

#[test]
fn resubmission_omits_secrets_and_time() {
    let world = World::new();
    let order = with(
        restart(),
        &json!({ "secrets": { "PASSWORD": "hunter2!" }, "run_at": "2027-02-01 22:30", "title": "restart the shop" }),
    );
    let submission = world.submission(&order);
    let first = crate::domain::task::Recorded {
        time: at(0),
        event: crate::domain::task::Event::Proposed(Box::new(submission)),
    };
    let again = SubmissionOrder::again(&Task::begin(1, &first).unwrap());
    assert!(again.secrets.is_empty() && again.run_at.is_empty());
    assert_eq!(again.title, "restart the shop");
    assert_eq!(again.hosts[&1], ["web1"]);
    assert!(resolve(&again, &world.sources()).is_ok());
}

#[test]
fn task_with_only_single_host_steps_has_no_environment() {
    let world = World::new();
    let submission = world.submission(&json!({ "template": "tidy" }));
    assert!(!submission.has_environment());
}
