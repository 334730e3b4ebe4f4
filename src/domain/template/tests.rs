#![allow(clippy::unwrap_used)]

use super::*;

/// The example of the design.
const SHOP: &str = r#"
id = 32
name = "shop-release"
[[stage]]
name = "checkout"
steps = [{ use = "checkout" }]
[[stage]]
name = "stage"
hosts = "{group}"
steps = [{ use = "sync" }, { run = "bin/migrate --check", in = "release", once = true, timeout = "10m" }]
[[stage]]
name = "switch"
gate = "none"
hosts = "{group}"
batch = 1
steps = [{ use = "publish" }, { run = "sudo systemctl reload app" }, { use = "check", http = "http://{HOST}:8080/health" }]
"#;

pub(super) fn parse(text: &str) -> Template {
    match Template::parse("t.toml", text) {
        Ok(template) => template,
        Err(problems) => panic!("{problems}"),
    }
}

pub(super) fn complaints(text: &str) -> Vec<String> {
    match Template::parse("t.toml", text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

/// A template of one stage with this entry in `steps`, on line 4.
pub(super) fn with_step(step: &str) -> String {
    format!("name = \"t\"\n[[stage]]\nname = \"s\"\nsteps = [{step}]\n")
}

/// A template with these stages: name, hosts, steps.
pub(super) fn with_stages(stages: &[(&str, &str)]) -> String {
    let mut text = "name = \"t\"\n".to_owned();
    for (index, (hosts, steps)) in stages.iter().enumerate() {
        text += &format!("[[stage]]\nname = \"s{index}\"\n{hosts}\nsteps = [{steps}]\n");
    }
    text
}

const CHECKOUT: &str = r#"{ use = "checkout" }"#;
const SYNC: &str = r#"{ use = "sync" }"#;
const PUBLISH: &str = r#"{ use = "publish" }"#;

#[test]
fn design_example_parses_as_intended() {
    let template = parse(SHOP);
    assert_eq!(
        (template.id, template.name.as_str()),
        (Some(32), "shop-release")
    );
    assert!(template.publishes());
    let hosts: Vec<_> = template.stages.iter().map(|stage| &stage.hosts).collect();
    assert_eq!(
        hosts,
        [
            &StageHosts::Agent,
            &StageHosts::Environment,
            &StageHosts::Environment
        ]
    );
    let names: Vec<_> = template
        .steps()
        .map(|(_, step)| step.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["checkout", "sync", "run", "publish", "run", "check"]
    );

    let migrate = &template.stages[1].steps[1];
    assert!(migrate.once);
    assert_eq!(
        migrate.action,
        StepAction::Run(Program {
            command: ProgramCommand::Shell("bin/migrate --check".into()),
            args: Vec::new(),
            directory: Directory::Release,
            timeout: Duration::from_secs(600),
            repeat: false,
            outputs: Vec::new(),
            secret_outputs: Vec::new(),
        })
    );
    let switch = &template.stages[2];
    assert_eq!(
        (switch.gate, switch.batch),
        (Gate::None, NonZeroU32::new(1))
    );
    assert_eq!(
        switch.steps[2].action,
        StepAction::Check(HealthCheck {
            probe: Probe::Http {
                url: "http://{HOST}:8080/health".into(),
                status: 200
            },
            retries: CHECK_RETRIES_DEFAULT,
            interval: CHECK_INTERVAL_DEFAULT,
            timeout: CHECK_TIMEOUT_DEFAULT,
        })
    );
}

#[test]
fn the_template_that_is_built_in_is_checkout_sync_publish() {
    let template = parse(include_str!("../../../templates/tasks/git-release.toml"));
    assert!(template.has_name_or_id("git-release") && template.has_name_or_id("1"));
    assert!(!template.has_name_or_id("2"));
    let actions: Vec<_> = template.steps().map(|(_, step)| &step.action).collect();
    assert_eq!(
        actions,
        [
            &StepAction::Checkout,
            &StepAction::Sync,
            &StepAction::Publish
        ]
    );
}

#[test]
fn template_digest_is_that_of_its_text() {
    let same = parse(SHOP);
    assert_eq!(parse(SHOP).digest, same.digest);
    assert_eq!(same.digest.len(), 64);
    assert_ne!(parse(&format!("{SHOP}# \n")).digest, same.digest);
}

#[test]
fn a_template_survives_being_stored_as_json() {
    let template = parse(SHOP);
    let json = serde_json::to_string(&template).unwrap();
    assert_eq!(serde_json::from_str::<Template>(&json).unwrap(), template);
}

#[test]
fn unknown_keys_are_refused_with_line_and_nearest_name() {
    assert_eq!(
        complaints(
            "name = \"t\"\n[[stage]]\nname = \"s\"\nstep = []\nsteps = [{ run = \"true\", timout = \"1m\" }]\n"
        ),
        [
            "t.toml:4:1: unknown key `step`: did you mean `steps`?",
            "t.toml:5:26: unknown key `timout`: did you mean `timeout`?",
        ]
    );
    assert_eq!(
        complaints(&with_step(r#"{ use = "synch" }"#)),
        ["t.toml:4:18: unknown value `synch`: did you mean `sync`?"]
    );
}

#[test]
fn placeholder_in_shell_text_is_refused_naming_the_variable() {
    assert_eq!(
        complaints(&with_step(r#"{ run = "echo '{TAG}' ${TAG}" }"#)),
        [
            "t.toml:4:25: `{TAG}` is not filled in inside text for sh: write \"$TAG\", the environment \
          variable (with its quotes), or give the command as a list"
        ]
    );
    let heredoc = "name = \"t\"\n[[stage]]\nname = \"s\"\n[[stage.steps]]\nrun = \"\"\"\ncat <<END\n  {COMMIT}\nEND\n\"\"\"\n";
    let complaints = complaints(heredoc);
    assert_eq!(complaints.len(), 1);
    assert!(
        complaints[0].starts_with("t.toml:7:3: `{COMMIT}`"),
        "{complaints:?}"
    );
    let check =
        super::tests::complaints(&with_step(r#"{ use = "check", command = "echo {HOST}" }"#));
    assert!(check[0].contains("text for sh"), "{check:?}");
}

#[test]
fn placeholders_of_arguments_must_be_parameters() {
    assert!(
        complaints(&with_step(
            r#"{ run = ["deploy", "--tag={TAG}", "{FLOW_ID}{RELEASE}"] }"#
        ))
        .is_empty()
    );
    assert_eq!(
        complaints(&with_step(r#"{ run = ["deploy", "{VERSON}"] }"#)),
        ["t.toml:4:30: no parameter is named VERSON: declare it in `params`"]
    );
    let declared = format!(
        "params = [{{ name = \"VERSION\" }}]\n{}",
        with_step(r#"{ run = ["deploy", "{VERSON}"] }"#)
    );
    assert_eq!(
        complaints(&declared),
        ["t.toml:5:30: no parameter is named VERSON: did you mean {VERSION}?"]
    );
    assert!(complaints(&declared.replace("VERSON", "VERSION")).is_empty());
}

#[test]
fn a_parameter_never_chooses_the_program() {
    let complaints = complaints(&with_step(r#"{ run = ["{TAG}"] }"#));
    assert!(
        complaints[0].contains("can't choose the program"),
        "{complaints:?}"
    );
}

#[test]
fn no_host_can_switch_before_every_host_is_staged() {
    for (stages, part) in [
        (
            vec![("", CHECKOUT), ("", &format!("{SYNC}, {PUBLISH}"))],
            "can't be in the stage of `sync`",
        ),
        (
            vec![("", CHECKOUT), ("", PUBLISH), ("", SYNC)],
            "`publish` is before `sync`",
        ),
        (
            vec![("", CHECKOUT), ("", PUBLISH)],
            "put a stage with `use = \"sync\"` before it",
        ),
        (
            vec![("", SYNC), ("", PUBLISH)],
            "put a stage with `use = \"checkout\"` before it",
        ),
        (
            vec![("", SYNC), ("", CHECKOUT), ("", PUBLISH)],
            "put a stage with `use = \"checkout\"` before it",
        ),
        (
            vec![("", CHECKOUT), ("", SYNC), ("", PUBLISH), ("", PUBLISH)],
            "one `publish` step at most",
        ),
        (
            vec![("", CHECKOUT), ("", SYNC), ("", SYNC), ("", PUBLISH)],
            "one `sync` step at most",
        ),
        (
            vec![("", CHECKOUT), ("hosts = \"web\"", SYNC), ("", PUBLISH)],
            "has other hosts than `sync`",
        ),
        (
            vec![("", &format!("{CHECKOUT}, {SYNC}")), ("", PUBLISH)],
            "is alone in its stage",
        ),
        (
            vec![("hosts = \"web\"", CHECKOUT), ("", SYNC), ("", PUBLISH)],
            "take `hosts` out",
        ),
        (
            vec![("batch = 2", CHECKOUT), ("", SYNC), ("", PUBLISH)],
            "take `batch` out",
        ),
    ] {
        let text = with_stages(&stages);
        let complaints = complaints(&text);
        assert!(
            complaints.iter().any(|c| c.contains(part)),
            "{part}: {complaints:?}\n{text}"
        );
    }
}

#[test]
fn stages_may_follow_the_switch_or_omit_it() {
    let after =
        format!("{PUBLISH}, {{ run = \"reload\" }}, {{ use = \"check\", tcp = \"{{HOST}}:80\" }}");
    assert!(complaints(&with_stages(&[("", CHECKOUT), ("", SYNC), ("", &after)])).is_empty());
    assert!(complaints(&with_step(r#"{ run = "true" }"#)).is_empty());
}

#[test]
fn working_directory_is_the_release_after_sync() {
    let directory =
        |text: &str, stage: usize, step: usize| match &parse(text).stages[stage].steps[step].action
        {
            StepAction::Run(program) => program.directory.clone(),
            other => panic!("{other:?}"),
        };
    let run = r#"{ run = "true" }"#;
    let text = with_stages(&[
        ("", CHECKOUT),
        ("", &format!("{run}, {SYNC}, {run}")),
        ("hosts = \"build\"", run),
        ("", run),
        ("", r#"{ run = "true", in = "/srv/x" }"#),
        ("", r#"{ run = "true", in = "home" }"#),
    ]);
    assert_eq!(directory(&text, 1, 0), Directory::Home);
    assert_eq!(directory(&text, 1, 2), Directory::Release);
    assert_eq!(directory(&text, 2, 0), Directory::Home);
    assert_eq!(directory(&text, 3, 0), Directory::Release);
    assert_eq!(directory(&text, 4, 0), Directory::Absolute("/srv/x".into()));
    assert_eq!(directory(&text, 5, 0), Directory::Home);
}

#[test]
fn meaningless_step_is_refused() {
    for (step, part) in [
        (r#"{}"#, "a step has either"),
        (r#"{ use = "sync", run = "true" }"#, "a step has either"),
        (r#"{ run = "" }"#, "the command is empty"),
        (r#"{ run = [] }"#, "the command is empty"),
        (r#"{ run = 7 }"#, "text for sh or a list"),
        (r#"{ run = ["a", 7] }"#, "expected a string"),
        (r#"{ run = "a\u0000b" }"#, "NUL"),
        (r#"{ run = "true", timeout = "0s" }"#, "a time limit of 0"),
        (r#"{ run = "true", timeout = "soon" }"#, "is no duration"),
        (
            r#"{ run = "true", in = "release" }"#,
            "no release is on these hosts yet",
        ),
        (r#"{ run = "true", in = "somewhere" }"#, "is no directory"),
        (
            r#"{ run = "true", in = "/srv/{HOST}" }"#,
            "`in` holds no placeholders",
        ),
        (
            r#"{ run = "true", http = "http://x" }"#,
            "`http` means nothing in a run step",
        ),
        (
            r#"{ use = "sync", once = true }"#,
            "`once` means nothing in a sync step",
        ),
        (r#"{ use = "check" }"#, "a check has one of"),
        (
            r#"{ use = "check", http = "http://x", tcp = "x:1" }"#,
            "a check has one of",
        ),
        (r#"{ use = "check", http = "x.example.com" }"#, "is no URL"),
        (
            r#"{ use = "check", http = "http://x", status = 42 }"#,
            "is no HTTP status",
        ),
        (
            r#"{ use = "check", tcp = "x:1", status = 200 }"#,
            "`status` means nothing without `http`",
        ),
        (r#"{ use = "check", tcp = "x" }"#, "is no address"),
        (r#"{ use = "check", tcp = "x:70000" }"#, "is no address"),
        (
            r#"{ use = "check", tcp = "x:1", repeat = true }"#,
            "`repeat` means nothing in a check step",
        ),
        (r#"{ run = "true", name = "a b" }"#, "is no name for a step"),
        (
            r#"{ run = "true", name = "x" }, { run = "true", name = "x" }"#,
            "two steps of this stage",
        ),
    ] {
        let complaints = complaints(&with_step(step));
        assert!(
            complaints.iter().any(|c| c.contains(part)),
            "{step}: {complaints:?}"
        );
        assert!(
            complaints.iter().all(|c| c.starts_with("t.toml:4:")),
            "{step}: {complaints:?}"
        );
    }
}

#[test]
fn invalid_template_is_refused() {
    let run = "steps = [{ run = \"true\" }]";
    for (text, part) in [
        ("name = \"t\"".to_owned(), "a template needs a stage"),
        (
            format!("[[stage]]\nname = \"s\"\n{run}"),
            "key `name` is missing",
        ),
        (
            format!("name = \"../t\"\n[[stage]]\nname = \"s\"\n{run}"),
            "is no name for a template",
        ),
        (
            "name = \"t\"\n[[stage]]\nname = \"s\"".to_owned(),
            "a stage needs a step",
        ),
        (
            format!("name = \"t\"\n[[stage]]\nname = \"s\"\nhosts = \"{{0}}\"\n{run}"),
            "is no group of hosts",
        ),
        (
            format!("name = \"t\"\n[[stage]]\nname = \"s\"\nbatch = 0\n{run}"),
            "nonzero",
        ),
        (
            format!("name = \"t\"\n[[stage]]\nname = \"s\"\ngate = \"hnd\"\n{run}"),
            "did you mean `hand`?",
        ),
        (
            format!("name = \"t\"\n[[stage]]\nname = \"s\"\n{run}\n[[stage]]\nname = \"s\"\n{run}"),
            "two stages are named `s`",
        ),
        (
            format!(
                "name = \"t\"\nparams = [{{ name = \"tag\" }}]\n[[stage]]\nname = \"s\"\n{run}"
            ),
            "is no name for a parameter",
        ),
        (
            format!(
                "name = \"t\"\nparams = [{{ name = \"TAG\" }}]\n[[stage]]\nname = \"s\"\n{run}"
            ),
            "supplied by tagship",
        ),
        (
            format!(
                "name = \"t\"\nparams = [{{ name = \"TAGSHIP_OUTPUT\" }}]\n[[stage]]\nname = \"s\"\n{run}"
            ),
            "supplied by tagship",
        ),
        (
            format!(
                "name = \"t\"\nparams = [{{ name = \"A\" }}, {{ name = \"A\" }}]\n[[stage]]\nname = \"s\"\n{run}"
            ),
            "two parameters",
        ),
        (
            format!(
                "name = \"t\"\nparams = [{{ name = \"A\", pattern = \"a)(b\" }}]\n[[stage]]\nname = \"s\"\n{run}"
            ),
            "bad regular expression",
        ),
        (
            format!(
                "name = \"t\"\nparams = [{{ name = \"A\", pattern = \"a+\", default = \"b\" }}]\n[[stage]]\nname = \"s\"\n{run}"
            ),
            "must match",
        ),
    ] {
        let complaints = complaints(&text);
        assert!(
            complaints.iter().any(|c| c.contains(part)),
            "{part}: {complaints:?}"
        );
    }
}

#[test]
fn unnamed_steps_get_unique_names() {
    let template = parse(&with_step(
        r#"{ run = "a" }, { run = "b", name = "b" }, { run = "c" }"#,
    ));
    let names: Vec<_> = template
        .steps()
        .map(|(_, step)| step.name.as_str())
        .collect();
    assert_eq!(names, ["run", "b", "run-2"]);
}

#[test]
fn task_may_supply_the_hosts() {
    let template = parse(&with_stages(&[
        ("hosts = \"{2}\"", r#"{ run = "true" }"#),
        ("hosts = \"web\"", r#"{ run = "true" }"#),
    ]));
    assert_eq!(template.stages[0].hosts, StageHosts::Given(2));
    assert_eq!(template.stages[1].hosts, StageHosts::Group("web".into()));
}
