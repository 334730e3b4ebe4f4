//! The limits of values in a template: names, parameters, statuses, ports.

#![allow(clippy::unwrap_used)]

use super::tests::{complaints, parse, with_stages, with_step};
use super::*;

fn accepted(step: &str) {
    assert_eq!(complaints(&with_step(step)), [""; 0], "{step}");
}

fn refused(step: &str, part: &str) {
    let complaints = complaints(&with_step(step));
    assert!(
        complaints.iter().any(|one| one.contains(part)),
        "{step}: {complaints:?}"
    );
}

#[test]
fn names_are_up_to_64_plain_characters() {
    let longest = "a".repeat(64);
    for name in ["a", "Z9", "shop-1.2_x", &longest] {
        assert!(is_name(name), "{name}");
    }
    let too_long = "a".repeat(65);
    for name in ["", "-a", ".a", "_a", "a b", "a/b", "é", &too_long] {
        assert!(!is_name(name), "{name}");
    }
    let longest = "A".repeat(64);
    for name in ["A", "_", "A_1", &longest] {
        assert!(is_parameter_name(name), "{name}");
    }
    let too_long = "A".repeat(65);
    for name in ["", "1A", "a", "Aa", "A-B", &too_long] {
        assert!(!is_parameter_name(name), "{name}");
    }
}

#[test]
fn tag_names_follow_gits_rules() {
    for name in [
        "v1",
        "release-2026/1",
        "a@b",
        "@1",
        "a.b",
        "ünï",
        "a.locked",
    ] {
        assert!(can_be_tag(name), "{name}");
    }
    for name in [
        "", "-v1", "/v1", "v1/", "a//b", "v1.", "a..b", "a@{b", "@", "a b", "a~b", "a^b", "a:b",
        "a?b", "a*b", "a[b", "a\\b", "a\nb", ".a", "a/.b", "a.lock", "a.lock/b",
    ] {
        assert!(!can_be_tag(name), "{name:?}");
    }
}

#[test]
fn value_must_fit_its_kind() {
    let of = |kind| Param {
        name: "P".to_owned(),
        alias: None,
        kind,
        choices: vec!["small".to_owned(), "big".to_owned()],
        required: false,
        default: None,
        pattern: None,
    };
    let choice = of(ParamKind::Choice);
    assert_eq!(choice.check("big"), Ok(()));
    let refused = choice.check("huge").unwrap_err().to_string();
    assert_eq!(refused, "parameter P is one of small, big: choose one");
    let tag = of(ParamKind::Tag);
    assert_eq!(tag.check("v1"), Ok(()));
    assert!(matches!(tag.check("a b"), Err(ParamError::Tag { .. })));
    for kind in [ParamKind::Text, ParamKind::Secret] {
        assert_eq!(of(kind).check("a b"), Ok(()), "{kind:?}");
        assert!(matches!(of(kind).check("a\0"), Err(ParamError::Nul { .. })));
    }
}

#[test]
fn parameter_attributes_must_be_consistent() {
    let with = |param: &str| {
        format!(
            "{}\n[[params]]\nname = \"P\"\n{param}\n",
            with_step(r#"{ run = "true" }"#)
        )
    };
    for (param, part) in [
        ("kind = \"choice\"", "has no choices"),
        ("choices = [\"a\"]", "means nothing without"),
        (
            "kind = \"secret\"\ndefault = \"x\"",
            "a secret parameter can't have a default",
        ),
        (
            "kind = \"choice\"\nchoices = [\"a\"]\ndefault = \"b\"",
            "is one of a",
        ),
        ("pattern = \"a)|(b\"", "bad regular expression"),
    ] {
        let complaints = complaints(&with(param));
        assert!(
            complaints.iter().any(|one| one.contains(part)),
            "{param}: {complaints:?}"
        );
    }
    for param in [
        "kind = \"choice\"\nchoices = [\"a\"]\ndefault = \"a\"",
        "kind = \"secret\"",
        "default = \"x\"\npattern = \"x|y\"",
    ] {
        assert_eq!(complaints(&with(param)), [""; 0], "{param}");
    }
    let secret = parse(&with("kind = \"secret\""));
    assert_eq!(secret.secrets().collect::<Vec<_>>(), ["P"]);
    assert_eq!(parse(&with("")).secrets().count(), 0);
}

#[test]
fn check_requires_a_valid_status_and_port() {
    for status in [100, 200, 599] {
        accepted(&format!(
            r#"{{ use = "check", http = "https://x/", status = {status} }}"#
        ));
    }
    for status in [99, 600] {
        let step = format!(r#"{{ use = "check", http = "http://x/", status = {status} }}"#);
        refused(&step, "is no HTTP status");
    }
    for url in ["http://", "https://", "http://a b"] {
        let step = format!(r#"{{ use = "check", http = "{url}" }}"#);
        refused(&step, "is no URL to ask");
    }
    for address in ["x:1", "x:65535", "[::1]:80", "{HOST}:{TASK_ID}"] {
        accepted(&format!(r#"{{ use = "check", tcp = "{address}" }}"#));
    }
    for address in ["x:0", ":80", "x:", "x:65536", "x:p"] {
        let step = format!(r#"{{ use = "check", tcp = "{address}" }}"#);
        refused(&step, "is no address");
    }
}

#[test]
fn check_kind_decides_its_keys_and_where_it_runs() {
    accepted(r#"{ use = "check", command = "true", in = "/srv" }"#);
    refused(
        r#"{ use = "check", tcp = "x:1", in = "/srv" }"#,
        "`in` means nothing without `command`",
    );
    let asks = |step: &str| {
        let template = parse(&with_step(step));
        match &template.stages[0].steps[0].action {
            StepAction::Check(check) => check.runs_on_host(),
            other => panic!("{other:?}"),
        }
    };
    assert!(asks(r#"{ use = "check", command = "true" }"#));
    assert!(!asks(r#"{ use = "check", tcp = "x:1" }"#));
}

#[test]
fn user_and_host_are_allowed_only_where_meaningful() {
    for step in [
        r#"{ run = "true", user = "op", host = "db1" }"#,
        r#"{ script = "a.sh", user = "op" }"#,
        r#"{ run = "true", host = "agent" }"#,
        r#"{ use = "check", command = "true", user = "op", host = "db1" }"#,
    ] {
        accepted(step);
    }
    for (step, part) in [
        (
            r#"{ run = "true", user = "o p" }"#,
            "is no name for a user of `[execution_users]`",
        ),
        (r#"{ run = "true", host = "d b" }"#, "is no name for a host"),
        (
            r#"{ use = "check", tcp = "x:1", user = "op" }"#,
            "`user` means nothing in a check",
        ),
        (
            r#"{ use = "check", tcp = "x:1", host = "db1" }"#,
            "`host` means nothing in a check",
        ),
        (
            r#"{ run = "true", host = "db1", once = true }"#,
            "runs once in any case",
        ),
        (
            r#"{ run = "true", host = "agent", user = "op" }"#,
            "take `user` out",
        ),
        (
            r#"{ use = "sync", host = "db1" }"#,
            "`host` means nothing in a sync step",
        ),
    ] {
        refused(step, part);
    }
}

#[test]
fn invalid_arguments_and_directories_are_refused() {
    for (step, part) in [
        (r#"{ run = "true", args = "'a" }"#, "a quote is not closed"),
        (r#"{ run = "true", args = "a\u0000" }"#, "NUL"),
        (r#"{ run = ["a", "b\u0000"] }"#, "NUL"),
        (r#"{ run = [""] }"#, "the command is empty"),
        (r#"{ run = " " }"#, "the command is empty"),
        (r#"{ run = "true", in = "/srv\n" }"#, "is no directory"),
        (
            r#"{ script = "../a.sh" }"#,
            "is no file beside the template",
        ),
        (r#"{ script = "a.sh", run = "true" }"#, "a step has either"),
        (
            r#"{ use = "check", command = ["{HOST}"] }"#,
            "can't choose the program",
        ),
    ] {
        refused(step, part);
    }
    accepted(r#"{ run = ["a", ""], args = "'a b' c", in = "/srv" }"#);
    let template = parse(&with_step(r#"{ run = "true", args = "'a b' TAG" }"#));
    match &template.stages[0].steps[0].action {
        StepAction::Run(program) => assert_eq!(program.args, ["a b", "TAG"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn default_step_names_skip_used_numbers() {
    let template = parse(&with_step(
        r#"{ run = "a" }, { run = "b" }, { run = "c", name = "run-3" }, { run = "d" }"#,
    ));
    let names: Vec<&str> = template
        .steps()
        .map(|(_, step)| step.name.as_str())
        .collect();
    assert_eq!(names, ["run", "run-2", "run-3", "run-4"]);
}

#[test]
fn a_template_answers_to_its_name_and_its_number() {
    let mut template = parse(&with_step(r#"{ run = "true" }"#));
    assert!(template.has_name_or_id("t") && !template.has_name_or_id("32"));
    template.id = Some(32);
    assert!(template.has_name_or_id("t") && template.has_name_or_id("32"));
    assert!(!template.has_name_or_id("3"));
}

#[test]
fn template_knows_whether_it_releases_and_switches() {
    let checkout = ("", r#"{ use = "checkout" }"#);
    let sync = ("", r#"{ use = "sync" }"#);
    let publish = ("", r#"{ use = "publish" }"#);
    let says = |stages: &[(&str, &str)]| {
        let template = parse(&with_stages(stages));
        (template.releases(), template.publishes())
    };
    assert_eq!(says(&[("", r#"{ run = "true" }"#)]), (false, false));
    assert_eq!(says(&[checkout]), (true, false));
    assert_eq!(says(&[checkout, sync]), (true, false));
    assert_eq!(says(&[checkout, sync, publish]), (true, true));
}

#[test]
fn changed_script_changes_the_template_version() {
    let template = parse(&with_step(r#"{ script = "a.sh" }, { run = "true" }"#));
    let with = |text: &str| {
        let scripts = [("a.sh".to_owned(), text.to_owned())].into();
        template.clone().with_scripts(&scripts)
    };
    let digest = "2689367b205c16ce32ed4200942b8b8b1e262dfc70d9bc9fbc77c49699a4f1df";
    assert_eq!(with("ok").scripts["a.sh"], digest);
    assert_ne!(with("ok").digest, template.digest);
    assert_ne!(with("ok").digest, with("no").digest);
    assert_eq!(with("ok"), with("ok"));
    let none = template.clone().with_scripts(&BTreeMap::new());
    assert_eq!(none.digest, template.digest);
}

#[test]
fn a_secret_does_not_print_itself() {
    let hidden = Hidden::from("hunter2".to_owned());
    assert_eq!(hidden.expose(), "hunter2");
    assert_eq!(format!("{hidden:?}"), "[REDACTED]");
}

#[test]
fn absent_gate_is_not_serialized() {
    let step = |gate| Step {
        gate,
        ..Step::plain("run", StepAction::Sync)
    };
    let text = |gate| serde_json::to_string(&step(gate)).unwrap();
    assert!(!text(Gate::None).contains("gate"));
    assert!(text(Gate::Hand).contains(r#""gate":"hand""#));
}
