//! `docs/api.md`: every example is run, in the page's order, and answers what the page shows.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tagship_tests::assert_text_eq;

use crate::stage::{Start as _, usual};

const PAGE: &str = include_str!("../../../docs/api.md");

/// A block of shell and its output on the page.
struct Example<'a> {
    shell: &'a str,
    shown: Option<(&'a str, &'a str)>,
}

/// Every block of shell on the page, with the block of output that follows it, if one does.
fn examples() -> Vec<Example<'static>> {
    let mut found: Vec<Example<'_>> = Vec::new();
    for block in PAGE.split("```").skip(1).step_by(2) {
        let (kind, text) = block.split_once('\n').unwrap();
        match kind {
            "sh" => found.push(Example {
                shell: text,
                shown: None,
            }),
            "json" | "" => found.last_mut().unwrap().shown = Some((kind, text)),
            other => panic!("nobody runs a block of {other:?}"),
        }
    }
    found
}

/// Whether the answer contains everything that the page shows; `…` matches anything.
fn shows(shown: &Value, real: &Value) -> bool {
    match (shown, real) {
        (Value::Object(shown), Value::Object(real)) => shown
            .iter()
            .all(|(key, value)| real.get(key).is_some_and(|real| shows(value, real))),
        (Value::Array(shown), Value::Array(real)) => {
            shown.len() <= real.len()
                && shown.iter().zip(real).all(|(one, other)| shows(one, other))
        }
        (Value::String(text), Value::String(real)) if text.ends_with('…') => {
            real.starts_with(text.trim_end_matches('…'))
        }
        _ => shown == real,
    }
}

#[track_caller]
fn run(shell: &str, home: &Path, variables: &[(&str, &str)]) -> String {
    let output = Command::new("sh")
        .args(["-euc", shell])
        .current_dir(home)
        .envs(variables.iter().copied())
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shell}\n{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_api_page_example_answers_as_shown() {
    let stage = usual().start();
    stage.release("qa-1", &[("index.html", "one\n")]);
    stage.release("qa-2", &[("index.html", "two\n")]);
    let waiting = stage.propose("release-1", &[("index.html", "three\n")]);
    stage.api.until_state(waiting, "waiting");
    let (alice, admin) = (
        stage.token("alice", "approver"),
        stage.token("dora", "admin"),
    );
    let url = stage.url();
    let variables = [
        ("TAGSHIP_URL", url.as_str()),
        ("TAGSHIP_TOKEN", alice.as_str()),
        ("ADMIN_TOKEN", admin.as_str()),
    ];
    let examples = examples();
    assert!(
        examples.len() > 10,
        "{} examples were found",
        examples.len()
    );
    for Example { shell, shown } in examples {
        let printed = run(shell, stage.directory(), &variables);
        match shown {
            Some(("json", shown)) => {
                let shown: Value = serde_json::from_str(shown).unwrap();
                let real: Value = serde_json::from_str(&printed)
                    .unwrap_or_else(|error| panic!("{shell}\n{printed}\n{error}"));
                assert!(
                    shows(&shown, &real),
                    "{shell}\nshown: {shown:#}\nreal: {real:#}"
                );
            }
            Some((_, shown)) => assert_text_eq(&printed, shown, shell),
            None => assert!(!printed.is_empty(), "{shell}"),
        }
    }
}

#[test]
fn wrong_api_example_would_be_detected() {
    let real = json!({ "id": 7, "tasks": [{ "tag": "qa-1" }], "next": null });
    for shown in [
        json!({ "id": 8 }),
        json!({ "tag": "qa-1" }),
        json!({ "tasks": [{ "tag": "qa-…", "state": "waiting" }] }),
        json!({ "tasks": [{ "tag": "release-…" }] }),
        json!({ "next": "…" }),
    ] {
        assert!(!shows(&shown, &real), "{shown}");
    }
    assert!(shows(
        &json!({ "tasks": [{ "tag": "qa-…" }], "next": null }),
        &real
    ));
}
