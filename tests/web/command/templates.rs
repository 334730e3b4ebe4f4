//! `tagship templates`: the agent's templates, and the problems of a file.

use tagship::identity::account::Role;

use crate::command::lab::{Lab, said};
use crate::command::program::Test;

#[tokio::test(flavor = "multi_thread")]
async fn templates_are_shown_to_users_who_may_see_them() {
    let lab = Lab::new().await;
    let listed = said(lab.local(&["templates", "list"])).stdout;
    let line = |name: &str| listed.lines().find(|line| line.starts_with(name));
    let restart = line("restart").unwrap_or_else(|| panic!("{listed}"));
    for part in ["70", "drain, restart", "SERVICE", "restart.toml"] {
        assert!(restart.contains(part), "no {part}: {restart}");
    }
    assert!(
        line("git-release").is_some(),
        "what is built in, too: {listed}"
    );
    for name in ["restart", "70"] {
        let shown = said(lab.local(&["templates", "show", name])).stdout;
        assert!(shown.starts_with("restart ("), "{shown}");
        assert!(
            shown.contains("SERVICE (What to restart): text like [a-z]+; required"),
            "{shown}"
        );
    }
    let json = said(lab.local(&["templates", "show", "restart", "--json"])).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["params"][2]["choices"],
        serde_json::json!(["soft", "hard"])
    );
    let nobody = said(
        lab.remote("nobody", Role::None, &["templates", "list"])
            .await,
    );
    assert!(!nobody.stdout.contains("restart"), "{nobody}");
    let unknown = said(lab.local(&["templates", "show", "restar"]));
    assert_eq!(unknown.status, Some(1), "{unknown}");
}

fn validated(text: &str) -> crate::command::program::Said {
    let test = Test::new().file("t.toml", text);
    let file = test.path("t.toml").display().to_string();
    test.arguments(["templates", "validate", &file]).said()
}

const STAGE: &str = "[[stage]]\nname = \"all\"\nhosts = \"{1}\"\nsteps = [{ run = \"true\" }]\n";

#[test]
fn valid_template_passes_without_agent_or_configuration() {
    let text = format!(
        "name = \"kinds\"\nparams = [{{ name = \"A\", kind = \"choice\", choices = [\"x\", \"y\"], default = \"x\" }}, \
         {{ name = \"B\", kind = \"tag\" }}, {{ name = \"C\", kind = \"secret\", required = true }}]\n{STAGE}"
    );
    let said = validated(&text);
    assert_eq!(
        (said.status, said.stdout.as_str()),
        (Some(0), "kinds: good\n"),
        "{said}"
    );
}

/// An invalid parameter and its error, each with file and line.
const WRONG: [(&str, &str); 12] = [
    ("kind = \"number\"", "number"),
    ("kind = \"choice\"", "choices"),
    ("kind = \"choice\", choices = []", "choices"),
    (
        "kind = \"choice\", choices = [\"x\"], default = \"z\"",
        "choose one",
    ),
    ("choices = [\"x\"]", "choices"),
    (
        "kind = \"tag\", default = \"a b\"",
        "no name that a tag can have",
    ),
    ("kind = \"secret\", default = \"x\"", "take the default out"),
    ("pattern = \"(\"", "bad regular expression"),
    ("pattern = \"[0-9]+\", default = \"x\"", "must match"),
    ("requird = true", "required"),
    ("required = \"yes\"", "boolean"),
    ("kind = \"Secret\"", "secret"),
];

#[test]
fn a_wrong_parameter_is_named_with_file_and_line() {
    for (wrong, words) in WRONG {
        let said = validated(&format!(
            "name = \"t\"\nparams = [\n  {{ name = \"A\", {wrong} }},\n]\n{STAGE}"
        ));
        assert_eq!(
            (said.status, said.stdout.as_str()),
            (Some(1), ""),
            "{wrong}: {said}"
        );
        assert!(said.stderr.contains("t.toml:3:"), "{wrong}: {said}");
        assert!(said.stderr.contains(words), "{wrong}: {said}");
    }
}

#[test]
fn template_check_reports_missing_configuration() {
    let text = "name = \"t\"\n[[stage]]\nname = \"all\"\nhosts = \"{1}\"\nsteps = [{ run = \"true\", user = \"operator\" }]\n";
    let test = Test::new()
        .file("templates/t.toml", text)
        .config(
            r#"
            [agent]
            templates_dir = "templates"
            "#,
        )
        .arguments(["templates", "validate", "--json"]);
    let said = test.said();
    assert_eq!(said.status, Some(1), "{said}");
    let listing: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        listing["good"],
        serde_json::json!(["git-release"]),
        "{listing}"
    );
    let problem = listing["problems"][0].as_str().unwrap();
    assert!(problem.contains("operator"), "{problem}");
}
