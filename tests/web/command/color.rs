//! Colours of states: for terminals and with `--color`, never in JSON.

use std::process::{Command, Stdio};

use tagship::domain::task::{Event, Outcome};

use crate::command::lab::{Lab, said};
use crate::server::{at, ended, staged};

const ESCAPE: char = '\u{1b}';

async fn with_a_failed_and_a_waiting_task() -> Lab {
    let lab = Lab::new().await;
    let task = lab.server.running("release-1").await;
    let message = "x".to_owned();
    let end = Event::Finished(Outcome::Failed { message });
    lab.server
        .append(&task, vec![ended(at(1, 1, 0), staged()), end])
        .await;
    lab.server.waiting("release-2").await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_coloured_and_keep_their_words() {
    let lab = with_a_failed_and_a_waiting_task().await;
    let colored = |arguments: &[&str]| {
        let plain = said(lab.local(arguments)).stdout;
        assert!(!plain.contains(ESCAPE), "no terminal: {plain:?}");
        let arguments: Vec<&str> = [arguments, &["--color", "always"]].concat();
        let colored = said(lab.local(&arguments)).stdout;
        let mut words = colored.clone();
        for sequence in ["[0m", "[32m", "[33m", "[36m", "[1;31m"] {
            words = words.replace(&format!("{ESCAPE}{sequence}"), "");
        }
        assert_eq!(words, plain, "the words are the same");
        colored
    };
    let tasks = colored(&["tasks"]);
    assert!(
        tasks.contains("\n2   \u{1b}[33mwaiting\u{1b}[0m  shop"),
        "{tasks:?}"
    );
    assert!(
        tasks.contains("\n1   \u{1b}[1;31mfailed\u{1b}[0m   shop"),
        "{tasks:?}"
    );
    let shown = colored(&["show", "1"]);
    assert!(
        shown.contains("  state      \u{1b}[1;31mfailed\u{1b}[0m: x\n"),
        "{shown:?}"
    );
    assert!(shown.contains("\u{1b}[32msucceeded\u{1b}[0m"), "{shown:?}");
    let json = said(lab.local(&["tasks", "--json", "--color", "always"]));
    assert!(!json.stdout.contains(ESCAPE), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn terminals_get_colour_unless_no_color_is_set() {
    let lab = with_a_failed_and_a_waiting_task().await;
    let on_terminal = |options: &str, variables: &[(&str, &str)]| {
        let test = lab.local(&[]);
        let program = env!("CARGO_BIN_EXE_tagship");
        let config = test.path("config.toml");
        let call = format!(
            "exec {program} --config {} tasks {options}",
            config.display()
        );
        let output = tokio::task::block_in_place(|| {
            Command::new("script")
                .args(["-qefc", &call, "/dev/null"])
                .env_remove("NO_COLOR")
                .env("TERM", "xterm")
                .envs(variables.iter().copied())
                .stdin(Stdio::null())
                .output()
                .unwrap()
        });
        String::from_utf8(output.stdout).unwrap()
    };
    let colored = on_terminal("", &[]);
    assert!(
        colored.contains("\u{1b}[33mwaiting\u{1b}[0m"),
        "{colored:?}"
    );
    let empty = on_terminal("", &[("NO_COLOR", "")]);
    assert_eq!(empty, colored, "an empty variable is as none");
    for (options, variables) in [
        ("", &[("NO_COLOR", "1")][..]),
        ("", &[("TERM", "dumb")]),
        ("--color never", &[]),
        ("--json", &[]),
    ] {
        let plain = on_terminal(options, variables);
        assert!(plain.contains("waiting"), "{plain:?}");
        assert!(
            !plain.contains(ESCAPE),
            "{options} {variables:?}: {plain:?}"
        );
    }
}

#[test]
fn help_obeys_the_option_too() {
    let help = |color: &str| {
        let arguments = ["tasks", "--help", "--color", color];
        crate::command::program::Test::new()
            .arguments(arguments)
            .said()
    };
    assert!(help("always").stdout.contains(ESCAPE));
    assert!(!help("never").stdout.contains(ESCAPE));
}
