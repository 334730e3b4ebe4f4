//! The program's own help.

use clap::CommandFactory;
use tagship::cli::Cli;

use crate::command::program::Test;

/// Every command, as the words that call it; the whole program is the first.
pub(crate) fn commands() -> Vec<(Vec<String>, clap::Command)> {
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    let mut open = vec![(Vec::new(), root)];
    while let Some((words, command)) = open.pop() {
        for inner in command.get_subcommands() {
            let mut words: Vec<String> = words.clone();
            words.push(inner.get_name().to_owned());
            open.push((words, inner.clone()));
        }
        found.push((words, command));
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found
}

#[test]
fn every_command_and_option_has_help() {
    for (words, command) in commands() {
        let arguments = words.iter().map(String::as_str).chain(["--help"]);
        let said = Test::new().arguments(arguments).said();
        assert_eq!(said.status, Some(0), "{words:?}: {said}");
        assert_eq!(said.stderr, "", "{words:?}");
        assert!(
            command.get_about().is_some(),
            "{words:?} says nothing about itself"
        );
        for argument in command.get_arguments() {
            let name = argument.get_id();
            assert!(
                argument.get_help().is_some(),
                "{words:?}: {name} is not explained"
            );
            if let Some(long) = argument.get_long() {
                let option = format!("--{long}");
                assert!(
                    said.stdout.contains(&option),
                    "{words:?}: no {option} in {said}"
                );
            }
        }
        for inner in command.get_subcommands() {
            assert!(said.stdout.contains(inner.get_name()), "{words:?}: {said}");
        }
    }
}

#[test]
fn commands_match_the_promised_list() {
    let promised = "serve install uninstall check status tasks show approve reject withdraw stop retry resume \
        rollback log rules hosts user token completions man";
    let commands = commands();
    for name in promised.split_whitespace() {
        let there = commands.iter().any(|(words, _)| words == &[name]);
        assert!(there, "no command {name}");
    }
    for pair in [
        "rules test",
        "hosts enroll",
        "hosts disable",
        "hosts enable",
        "hosts list",
        "user add",
        "user list",
        "user set",
        "user remove",
        "user password",
        "user totp",
        "user delegate",
        "user delegations",
        "user undelegate",
        "token new",
        "token list",
        "token revoke",
    ] {
        let pair: Vec<&str> = pair.split(' ').collect();
        assert!(
            commands.iter().any(|(words, _)| *words == pair),
            "no command {pair:?}"
        );
    }
}

#[test]
fn every_list_and_show_command_supports_json() {
    for name in [
        "status",
        "tasks",
        "show",
        "check",
        "rules test",
        "hosts list",
        "user list",
        "user delegations",
        "token list",
    ] {
        let words: Vec<&str> = name.split(' ').collect();
        let (_, command) = commands().into_iter().find(|(w, _)| *w == words).unwrap();
        let json = command
            .get_arguments()
            .any(|argument| argument.get_long() == Some("json"));
        assert!(json, "{name} has no --json");
    }
}

#[test]
fn every_command_takes_a_configuration() {
    for (words, _) in commands() {
        let arguments = words.iter().map(String::as_str).chain(["--help"]);
        let said = Test::new().arguments(arguments).said();
        assert!(said.stdout.contains("--config <FILE>"), "{words:?}: {said}");
    }
}

#[test]
fn version_is_the_package_version() {
    Test::new()
        .arguments(["--version"])
        .stdout(&format!("tagship {}\n", env!("CARGO_PKG_VERSION")))
        .run();
}
