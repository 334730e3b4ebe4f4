#![allow(clippy::unwrap_used)]

use super::super::tests::{host, placement};
use super::*;

fn ground() -> ResolvedEnvironment {
    let user = PlannedUser {
        user: "op".to_owned(),
        port: None,
        identity: "/operator".to_owned(),
    };
    ResolvedEnvironment {
        project: "shop".to_owned(),
        environment: "production".to_owned(),
        git_url: "/git/shop".to_owned(),
        placement: Some(placement()),
        on_failure: OnFailure::Rollback,
        pause_timeout_s: None,
        approvals: Vec::new(),
        self_approval: false,
        hosts: vec![host("web1"), host("web2")],
        groups: [("caches".to_owned(), vec![host("cache1"), host("web2")])].into(),
        machines: [("db1".to_owned(), host("db1"))].into(),
        users: [("operator".to_owned(), user)].into(),
        local: None,
    }
}

/// The same environment without a project.
fn nowhere() -> ResolvedEnvironment {
    ResolvedEnvironment {
        project: String::new(),
        environment: String::new(),
        git_url: String::new(),
        placement: None,
        hosts: Vec::new(),
        ..ground()
    }
}

/// A template with these stages: the keys besides the name, and the steps.
fn template(head: &str, stages: &[(&str, &str)]) -> Template {
    let mut text = format!("name = \"t\"\n{head}\n");
    for (index, (more, steps)) in stages.iter().enumerate() {
        text += &format!("[[stage]]\nname = \"s{index}\"\n{more}\nsteps = [{steps}]\n");
    }
    match Template::parse("t.toml", &text) {
        Ok(template) => template,
        Err(problems) => panic!("{problems}"),
    }
}

const RUN: &str = r#"{ name = "run", run = "true" }"#;
const RELEASE: [(&str, &str); 3] = [
    ("", r#"{ use = "checkout" }"#),
    ("", r#"{ use = "sync" }"#),
    ("", r#"{ use = "publish" }"#),
];

/// The inputs of a task.
#[derive(Default)]
struct Task {
    parameters: BTreeMap<String, String>,
    secrets: BTreeMap<String, Hidden>,
    unclassified: BTreeMap<String, Hidden>,
    hosts: BTreeMap<u8, Vec<PlannedHost>>,
}

impl Task {
    fn with(parameters: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            parameters: parameters.iter().map(owned).collect(),
            ..Self::default()
        }
    }

    fn plan(
        &self,
        ground: &ResolvedEnvironment,
        template: &Template,
        commit: &str,
    ) -> Result<Plan, PlanError> {
        let inputs = TaskInputs {
            parameters: &self.parameters,
            secrets: &self.secrets,
            unclassified: &self.unclassified,
            hosts: &self.hosts,
        };
        build(ground, template, commit, &inputs)
    }
}

fn plan_of(ground: &ResolvedEnvironment, template: &Template) -> Result<Plan, PlanError> {
    Task::default().plan(ground, template, "c0ffee")
}

fn names(hosts: &[PlannedHost]) -> Vec<&str> {
    hosts.iter().map(|host| host.name.as_str()).collect()
}

#[test]
fn plan_lists_each_host_once_and_the_agent_if_used() {
    let mut stages = RELEASE.to_vec();
    stages.push(("hosts = \"caches\"", RUN));
    let plan = plan_of(&ground(), &template("", &stages)).unwrap();
    assert_eq!(names(&plan.hosts), ["web1", "web2", "cache1"]);
    let of_stages: Vec<&[String]> = plan.stages.iter().map(|stage| &stage.hosts[..]).collect();
    assert_eq!(of_stages[0], [AGENT]);
    assert_eq!(of_stages[1], ["web1", "web2"]);
    assert_eq!(of_stages[3], ["cache1", "web2"]);
    assert_eq!(plan.commit, "c0ffee");
    assert_eq!(plan.placement, ground().placement);
}

#[test]
fn stage_without_hosts_is_refused_with_the_reason() {
    let group = template("", &[("hosts = \"queues\"", RUN)]);
    let refused = plan_of(&ground(), &group);
    assert!(matches!(refused, Err(PlanError::UnknownGroup { group, .. }) if group == "queues"));
    let none_left = ResolvedEnvironment {
        hosts: Vec::new(),
        ..ground()
    };
    let here = template("", &[("", RUN)]);
    let refused = plan_of(&none_left, &here);
    assert!(matches!(refused, Err(PlanError::NoHosts { .. })));
    let refused = plan_of(&nowhere(), &here);
    assert!(matches!(refused, Err(PlanError::NoDeployTarget { .. })));
}

#[test]
fn only_releases_require_a_target_and_a_commit() {
    let release = template("", &RELEASE);
    let refused = plan_of(&nowhere(), &release);
    assert!(matches!(refused, Err(PlanError::NoDeployTarget { stage, .. }) if stage == "s0"));
    let refused = Task::default().plan(&ground(), &release, "");
    assert!(matches!(refused, Err(PlanError::NoCommit { stage, .. }) if stage == "s0"));
    let elsewhere = template("", &[("hosts = \"caches\"", RUN)]);
    for ground in [ground(), nowhere()] {
        let plan = Task::default().plan(&ground, &elsewhere, "").unwrap();
        assert_eq!(plan.commit, "");
    }
}

#[test]
fn task_supplies_hosts_only_where_the_template_asks() {
    let template = template("", &[("hosts = \"{2}\"", RUN)]);
    let with = |count: usize| {
        let given = (0..count).map(|number| host(&format!("given{number}")));
        Task {
            hosts: [(2, given.collect())].into(),
            ..Task::default()
        }
        .plan(&ground(), &template, "")
    };
    assert_eq!(names(&with(2).unwrap().hosts), ["given0", "given1"]);
    assert_eq!(GIVEN_HOSTS_MAX, 100);
    assert_eq!(with(100).unwrap().stages[0].hosts.len(), 100);
    let count = 101;
    assert!(matches!(
        with(count),
        Err(PlanError::TooManyHosts { count: 101, .. })
    ));
    let refused = with(0);
    assert!(matches!(
        refused,
        Err(PlanError::NoGivenHosts { number: 2, .. })
    ));
    let refused = plan_of(&ground(), &template);
    assert!(matches!(
        refused,
        Err(PlanError::HostsNotGiven { number: 2, .. })
    ));
}

#[test]
fn hosts_of_single_host_steps_are_resolved_or_refused() {
    let step = |more: &str| {
        let steps = format!(r#"{RUN}, {{ name = "one", run = "true", {more} }}"#);
        template("", &[("", &steps)])
    };
    let plan = plan_of(&ground(), &step(r#"host = "db1""#)).unwrap();
    assert_eq!(names(&plan.hosts), ["web1", "web2", "db1"]);
    assert_eq!(plan.stages[0].hosts, ["web1", "web2"]);
    let refused = plan_of(&ground(), &step(r#"host = "db2""#));
    assert!(matches!(refused, Err(PlanError::UnknownHost { host, .. }) if host == "db2"));

    let plan = plan_of(&ground(), &step(r#"user = "operator""#)).unwrap();
    assert_eq!(plan.named.users, ground().users);
    let refused = plan_of(&ground(), &step(r#"user = "root""#));
    assert!(matches!(refused, Err(PlanError::UnknownUser { user, .. }) if user == "root"));

    let local = step(r#"host = "agent""#);
    let refused = plan_of(&ground(), &local);
    assert!(matches!(refused, Err(PlanError::NoLocalRun { step, .. }) if step == "one"));
    let allowed = ResolvedEnvironment {
        local: Some(LocalUser {
            user: "build".to_owned(),
            directory: "/srv/build".to_owned(),
        }),
        ..ground()
    };
    let plan = plan_of(&allowed, &local).unwrap();
    assert_eq!(plan.named.local, allowed.local);
    assert_eq!(names(&plan.hosts), ["web1", "web2"], "the agent is no host");
}

#[test]
fn stage_of_single_host_steps_has_no_other_hosts() {
    let alone = template(
        "",
        &[("", r#"{ name = "one", run = "true", host = "db1" }"#)],
    );
    let plan = plan_of(&nowhere(), &alone).unwrap();
    assert_eq!(names(&plan.hosts), ["db1"]);
    assert!(plan.stages[0].hosts.is_empty());
}

#[test]
fn plan_contains_the_digest_of_every_script() {
    let buys = template(
        "",
        &[(
            "hosts = \"caches\"",
            r#"{ name = "buy", script = "buy.sh" }"#,
        )],
    );
    let refused = plan_of(&ground(), &buys);
    assert!(matches!(refused, Err(PlanError::NoScript { script, .. }) if script == "buy.sh"));
    let buys = buys.with_scripts(&[("buy.sh".to_owned(), "echo\n".to_owned())].into());
    let plan = plan_of(&ground(), &buys).unwrap();
    assert_eq!(plan.named.scripts, buys.scripts);
    assert_eq!(plan.named.scripts.len(), 1);
}

const PARAMS: &str = r#"
[[params]]
name = "SIZE"
alias = "how big"
default = "small"
[[params]]
name = "TOKEN"
kind = "secret"
"#;

#[test]
fn plan_contains_every_value_except_secrets() {
    let template = template(PARAMS, &[("hosts = \"caches\"", RUN)]);
    let mut task = Task::with(&[("TOKEN", "hunter2")]);
    let plan = task.plan(&ground(), &template, "").unwrap();
    assert_eq!(plan.parameters, Task::with(&[("SIZE", "small")]).parameters);
    assert_eq!(plan.secrets, ["TOKEN"]);
    assert_eq!(
        plan.named.aliases,
        Task::with(&[("SIZE", "how big")]).parameters
    );
    // The template classifies values of unknown kind.
    let unclassified = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned().into());
    let of_given_hosts = Task {
        unclassified: [("TOKEN", "hunter2"), ("SIZE", "small")]
            .map(unclassified)
            .into(),
        ..Task::default()
    };
    assert_eq!(of_given_hosts.plan(&ground(), &template, "").unwrap(), plan);
    // A value given as a secret is one, whatever the template says.
    task.secrets
        .insert("SIZE".to_owned(), "huge".to_owned().into());
    let plan = task.plan(&ground(), &template, "").unwrap();
    assert!(plan.parameters.is_empty());
    assert_eq!(plan.secrets, ["SIZE", "TOKEN"]);
    let text = String::from_utf8(plan.canonical()).unwrap();
    assert!(
        !text.contains("hunter2") && !text.contains("huge"),
        "{text}"
    );
}

#[test]
fn parameters_that_do_not_fit_make_no_plan() {
    let template = template(PARAMS, &[("hosts = \"caches\"", RUN)]);
    for (name, value) in [("COLOUR", "red"), ("SIZE", "a\0b")] {
        let refused = Task::with(&[(name, value)]).plan(&ground(), &template, "");
        let Err(PlanError::Parameters { errors, .. }) = refused else {
            panic!("{name} {refused:?}");
        };
        assert!(errors.contains(name), "{errors}");
    }
}

#[test]
fn only_tasks_without_project_may_set_project_values() {
    let template = template("", &[("hosts = \"caches\"", RUN)]);
    let task = Task::with(&[("TAG", "release-1"), ("GIT_URL", "/elsewhere")]);
    let plan = task.plan(&nowhere(), &template, "").unwrap();
    assert_eq!(plan.parameters, task.parameters);
    let refused = task.plan(&ground(), &template, "");
    assert!(matches!(refused, Err(PlanError::Parameters { .. })));
    let nul = Task::with(&[("TAG", "a\0b")]).plan(&nowhere(), &template, "");
    assert!(matches!(nul, Err(PlanError::Parameters { errors, .. }) if errors.contains("TAG")));
}
