//! Completions: what a shell is offered while a line is typed.

use std::process::Command;

use crate::command::lab::{Lab, said};
use crate::command::program::{Said, Test};

/// The program as a shell asks it to complete the last word of a line.
fn asked(test: Test, words: &[&str]) -> Test {
    let line = ["--", "tagship"].into_iter().chain(words.iter().copied());
    test.variable("TAGSHIP_COMPLETE", "fish").arguments(line)
}

/// What is offered, with a description behind a tab.
#[track_caller]
fn offered(said: Said) -> String {
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said}");
    said.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_tasks_of_the_agent_are_completed() {
    let lab = Lab::new().await;
    lab.server.waiting("release-1").await;
    lab.clock.advance(std::time::Duration::from_secs(60));
    lab.server.running("release-2").await;
    let values = |words: &[&str]| offered(said(asked(lab.local(&[]), words)));
    assert_eq!(values(&["tasks", "--project", ""]), "shop\n");
    assert_eq!(values(&["live", "--environment", "p"]), "production\n");
    let hosts = "web-1\t127.0.0.1\nweb-2\t127.0.0.2\nweb-3\t127.0.0.3\n";
    assert_eq!(values(&["stop", "2", "--host", ""]), hosts);
    assert!(values(&["hosts", "enroll", ""]).starts_with(hosts));
    assert_eq!(values(&["tasks", "--state", "wai"]), "waiting\n");
    assert_eq!(values(&["submit", "rest"]), "restart\n");
    let waiting = "1\trelease-1 of shop production, waiting\n";
    let tasks = format!("2\trelease-2 of shop production, running\n{waiting}");
    assert!(values(&["show", ""]).starts_with(&tasks));
    assert!(values(&["approve", ""]).starts_with(waiting));
    // The number of an entry of the hook log is not that of a task.
    assert!(!values(&["hooks", "show", ""]).contains("release-"));
}

#[test]
fn shell_hears_nothing_of_an_agent_that_does_not_answer() {
    let config = r#"
        [agent]
        socket = "{dir}/agent.sock"
        [hosts.web1]
        address = "192.0.2.1"
        [hosts.web2]
        address = "192.0.2.2"
    "#;
    let local = || Test::new().config(config);
    let hosts = offered(asked(local(), &["hosts", "enroll", "web"]).said());
    assert_eq!(hosts, "web1\nweb2\n", "the configuration has them");
    let remote = Test::new().variable("TAGSHIP_URL", "http://127.0.0.1:9");
    let broken = Test::new().config("[agent]\nlisten = 1\n");
    for test in [local(), remote, broken] {
        let tasks = offered(asked(test, &["tasks", "--id", ""]).said());
        assert_eq!(tasks, "");
    }
}

#[test]
fn every_shell_gets_a_script_that_asks_the_program() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = Test::new().arguments(["completions", shell]).said();
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (Some(0), ""),
            "{shell}"
        );
        for word in ["TAGSHIP_COMPLETE", "tagship -- "] {
            let there = said.stdout.replace("\"tagship\"", "tagship").contains(word);
            assert!(there, "{shell}: no {word} in {said}");
        }
    }
}

#[test]
fn bash_completes_commands_and_options_by_the_script() {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_tagship"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let script = r#"
        source <(tagship completions bash)
        completed() {
            COMP_WORDS=(tagship "$@") COMP_CWORD=$# COMP_TYPE=9
            _clap_complete_tagship tagship "${!#}" ""
            printf '%s\n' "${COMPREPLY[@]}"
        }
        completed app
        completed hosts e
        completed user add alice --pass
    "#;
    let output = Command::new("bash")
        .args(["--norc", "-c", script])
        .env("PATH", path)
        .output()
        .unwrap();
    let said = Said::of(&output);
    assert_eq!(
        said.stdout, "approve\nenroll\nenable\n--password-stdin\n",
        "{said}"
    );
}
