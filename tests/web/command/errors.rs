//! Error messages: what is wrong, and what to do next.

use crate::command::program::Test;

const SMALL: &str = r#"
[agent]
data_dir = "{dir}/data"
spool_dir = "{dir}/spool"
templates_dir = "{dir}/templates"
time_zone = "Europe/Berlin"
"#;

#[test]
fn missing_agent_error_says_how_to_start_one() {
    for arguments in [
        &["tasks"][..],
        &["show", "7"],
        &["approve", "7"],
        &["reject", "7", "--reason", "no"],
        &["withdraw", "7"],
        &["stop", "7"],
        &["retry", "7", "--wait"],
        &["resume", "7"],
        &["rollback", "7"],
        &["rollback", "--project", "shop", "--environment", "qa"],
        &["log", "7", "-f"],
        &["hosts", "list"],
        &["hosts", "disable", "web1", "--reason", "broken disk"],
        &["hosts", "enable", "web1"],
        &["user", "list"],
        &["user", "remove", "alice"],
        &["token", "list", "alice"],
        &["token", "revoke", "alice", "1234"],
    ] {
        Test::new()
            .config(SMALL)
            .arguments(arguments.iter().copied())
            .stderr(
                "error: no agent answers at {dir}/data/agent.sock: start it with `tagship serve`, or name another one with TAGSHIP_URL\n",
            )
            .status(1)
            .run();
    }
}

#[test]
fn unreachable_remote_agent_is_named_by_its_address() {
    Test::new()
        .arguments(["tasks"])
        .variable("TAGSHIP_URL", "http://127.0.0.1:9")
        .stderr("error: no agent answers at http://127.0.0.1:9: start it with `tagship serve`, or name another one with TAGSHIP_URL\n")
        .status(1)
        .run();
}

#[test]
fn invalid_agent_address_is_refused() {
    Test::new()
        .arguments(["tasks"])
        .variable("TAGSHIP_URL", "ship.example.com")
        .stderr("error: TAGSHIP_URL \"ship.example.com\" is no address: relative URL without a base; write https://ship.example.com\n")
        .status(1)
        .run();
}

#[test]
fn missing_configuration_is_named() {
    Test::new()
        .arguments(["--config", "absent.toml", "tasks"])
        .stderr("error: no configuration at absent.toml: write one, or give --config FILE\n")
        .status(1)
        .run();
}

#[test]
fn mistyped_configuration_key_is_named_with_its_line() {
    let said = Test::new()
        .config(
            r#"
            [agent]
            listen = "127.0.0.1:0"
            spool = "/tmp"
            "#,
        )
        .arguments(["tasks"])
        .said();
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.starts_with("error: "), "{said}");
    assert!(said.stderr.contains("config.toml:3:1: "), "{said}");
    assert!(said.stderr.contains("spool_dir"), "{said}");
}

#[test]
fn unknown_state_error_suggests_and_lists_the_states() {
    let said = Test::new().arguments(["tasks", "--state", "wating"]).said();
    assert_eq!(said.status, Some(2));
    assert!(said.stderr.starts_with("error: "), "{said}");
    assert!(said.stderr.contains("did you mean waiting?"), "{said}");
    for state in tagship::domain::task::STATE_NAMES {
        assert!(said.stderr.contains(state), "{state}: {said}");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_names_what_is_missing() {
    for (arguments, named) in [
        (&["approve"][..], "<ID>"),
        (&["approve", "seven"], "seven"),
        (&["reject", "7"], "--reason <TEXT>"),
        (&["rollback"], "<ID>"),
        (&["rollback", "--project", "shop"], "--environment <NAME>"),
        (
            &["rollback", "7", "--project", "shop", "--environment", "qa"],
            "--project",
        ),
        (&["install"], "--project <NAME>"),
        (&["user", "add", "alice"], "--role <ROLE>"),
        (
            &["user", "add", "alice", "--role", "king"],
            "viewer, submitter, approver or admin",
        ),
        (&["user", "password", "alice"], "--password-stdin"),
        (&["hosts", "disable", "web1"], "--reason <TEXT>"),
        (&["approve", "7", "--at", "soon"], "22:30"),
        (&["token", "new", "alice", "--expires", "soon"], "7d"),
        (&["tasks", "--limit", "0"], "--limit"),
        (&["aprove"], "approve"),
    ] {
        let said = Test::new().arguments(arguments.iter().copied()).said();
        assert_eq!(said.status, Some(2), "{arguments:?}: {said}");
        assert_eq!(said.stdout, "", "{arguments:?}");
        assert!(said.stderr.starts_with("error: "), "{arguments:?}: {said}");
        assert!(said.stderr.contains(named), "{arguments:?}: {said}");
    }
}

#[test]
fn empty_password_is_refused() {
    Test::new()
        .config(SMALL)
        .arguments(["user", "add", "alice", "--role", "admin", "--password-stdin"])
        .stdin("\n")
        .stderr("error: the password on standard input is empty; write it on one line: `echo … | tagship user …`\n")
        .status(1)
        .run();
}

#[test]
fn first_account_and_token_need_no_running_agent() {
    let test = Test::new().file("config.toml", SMALL);
    let run = |arguments: &[&str]| {
        let config = test.path("config.toml").display().to_string();
        Test::new()
            .arguments(["--config", &config])
            .arguments(arguments.iter().copied())
            .stdin("correct horse battery staple\n")
            .said()
    };
    let added = run(&[
        "user",
        "add",
        "alice",
        "--role",
        "admin",
        "--password-stdin",
        "--group",
        "@pm",
    ]);
    assert_eq!(added.stdout, "alice is added as admin\n", "{added}");
    assert_eq!(added.status, Some(0), "{added}");
    let again = run(&["user", "add", "alice", "--role", "admin"]);
    assert_eq!(again.status, Some(1), "{again}");
    assert!(
        again
            .stderr
            .starts_with("error: an account called alice exists"),
        "{again}"
    );

    let token = run(&["token", "new", "alice", "--expires", "90d"]);
    assert_eq!(token.status, Some(0), "{token}");
    let secret = token.stdout.trim_end();
    assert!(
        secret.len() > 32 && !secret.contains(char::is_whitespace),
        "{token}"
    );
    assert!(token.stderr.contains("for alice, valid until "), "{token}");
    assert!(token.stderr.contains(" CE"), "the zone is named: {token}");

    let nobody = run(&["token", "new", "bob"]);
    assert_eq!(nobody.status, Some(1), "{nobody}");
    assert!(
        nobody.stderr.starts_with("error: no account is called bob"),
        "{nobody}"
    );
}

#[test]
fn closed_output_pipe_causes_no_error() {
    use std::process::Stdio;
    let test = Test::new().arguments(["completions", "zsh"]);
    let (reader, stdout) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = test.command();
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}
