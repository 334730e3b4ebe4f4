//! Outputs of steps for later ones: only declared names, only for the hosts that the template's page names.

use tagship_tests::unindent;
use tagship_tests::world::Settings;

use crate::release::templates::{local_user, open};
use crate::stage::{HOSTS, Start as _, TEMPLATE};

const STAGE: &str = "[[stage]]\nname = \"hand\"\n";

/// `qa-` tags check out, sync and then do these steps.
fn with_steps(steps: &str) -> Settings {
    Settings::default()
        .template("outputs", &format!("{TEMPLATE}{STAGE}{}", unindent(steps)))
        .environment(
            "qa",
            "qa-",
            "on_failure = 'stop'\n--\nschedule = 'ready'\ntemplate = 'outputs'",
        )
}

#[test]
fn undeclared_output_fails_the_step_with_its_name() {
    let steps = r#"
        [[stage.steps]]
        name = "writes"
        run = 'cat writes >>"$TAGSHIP_OUTPUT"'
        outputs = ["BUILD_ID"]
        [[stage.steps]]
        name = "after"
        run = 'printf "%s %s\n" "$TAG" "$BUILD_ID" >>"{DIR}/after"'
        "#;
    let stage = with_steps(steps).start();
    let remedy = "name it in `outputs` or `secret_outputs` of step writes in template outputs";
    let cases = [
        ("BASH_ENV=/tmp/evil\n", "BASH_ENV", remedy),
        ("BUILD_ID=1\nTAG=qa-0\n", "TAG", remedy),
        ("build_id=1\n", "build_id", remedy),
        (
            "BUILD_ID=1\ntwo words\n",
            "line 2 of $TAGSHIP_OUTPUT",
            "`NAME=value`",
        ),
    ];
    for (number, (writes, name, remedy)) in cases.into_iter().enumerate() {
        let id = stage.propose(&format!("qa-{number}"), &[("writes", writes)]);
        let task = stage.api.until_state(id, "failed");
        let detail = task["detail"].as_str().unwrap();
        assert!(detail.contains(name) && detail.contains(remedy), "{detail}");
    }
    assert!(!stage.path("after").exists(), "later steps began");
    stage.release("qa-9", &[("writes", "BUILD_ID=7 8\n")]);
    let after = std::fs::read_to_string(stage.path("after")).unwrap();
    assert_eq!(after, "qa-9 7 8\n".repeat(HOSTS.len()));
}

#[test]
fn check_that_writes_output_fails_at_once() {
    let steps = r#"
        [[stage.steps]]
        use = "check"
        command = ["sh", "-c", 'echo asked; echo PATH=/tmp >>"$TAGSHIP_OUTPUT"']
        retries = 100
        "#;
    let stage = with_steps(steps).start();
    let id = stage.propose("qa-1", &[("index.html", "one\n")]);
    let task = stage.api.until_state(id, "failed");
    let detail = task["detail"].as_str().unwrap();
    assert!(detail.contains("PATH to $TAGSHIP_OUTPUT"), "{detail}");
    // Once on each host that had begun before the first one failed.
    let asked = stage.api.log(id).matches("asked").count();
    assert!((1..=HOSTS.len()).contains(&asked), "{asked}");
}

/// Outputs of the agent's machine reach all hosts, those of a host only itself; the later step's
/// value counts.
const HANDS_ON: &str = r#"
[[stage.steps]]
name = "build"
host = "agent"
run = 'printf "BUILD_ID=agent\nTOKEN=%s\n" "key-$((7000 + 731))" >>"$TAGSHIP_OUTPUT"'
outputs = ["BUILD_ID"]
secret_outputs = ["TOKEN"]
[[stage.steps]]
name = "own"
run = 'echo "OWN=$HOST" >>"$TAGSHIP_OUTPUT"; [ "$HOST" != web2 ] || echo BUILD_ID=web2 >>"$TAGSHIP_OUTPUT"'
outputs = ["OWN", "BUILD_ID"]
[[stage.steps]]
name = "see"
run = 'echo "see $HOST $BUILD_ID $OWN $TOKEN"'
[[stage]]
name = "refuse"
[[stage.steps]]
name = "refuse"
run = '[ "$HOST" != web3 ] || { echo "no entry with $TOKEN"; exit 3; }'
"#;

#[test]
fn outputs_reach_their_host_and_agent_outputs_all_hosts() {
    let Some(user) = local_user() else { return };
    let stage = with_steps(HANDS_ON)
        .more(&format!(
            "[local_run]\nuser = '{user}'\ndirectory = '{{DIR}}/local'"
        ))
        .start_with(open);
    let id = stage.propose("qa-1", &[("index.html", "one\n")]);
    stage.api.until_state(id, "failed");
    let log = stage.api.log(id);
    let stars = "*".repeat("key-7731".len());
    for (host, build) in [("web1", "agent"), ("web2", "web2"), ("web3", "agent")] {
        let line = format!("see {host} {build} {host} {stars}");
        assert!(log.contains(&line), "{line}: {log}");
    }
    let page = stage.api.text(&format!("/tasks/{id}"));
    assert!(
        page.contains("outputs BUILD_ID, TOKEN (a secret)"),
        "{page}"
    );
    let template = stage.api.text("/templates/outputs");
    let line = "outputs BUILD_ID from build, TOKEN (a secret) from build, OWN from own";
    assert!(template.contains(line), "{template}");
    let id = id.to_string();
    let shown = stage.command(&["templates", "show", "outputs"]);
    assert!(String::from_utf8_lossy(&shown).contains(line));
    for text in [
        page,
        stage.api.text(&format!("/api/v1/tasks/{id}")),
        stage.api.text(&format!("/tasks/{id}/log")),
        String::from_utf8_lossy(&stage.command(&["show", &id])).into_owned(),
        log,
        stage.log.text(),
    ] {
        assert!(!text.contains("key-7731"), "{text}");
    }
}
