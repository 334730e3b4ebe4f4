//! `docs/command-line.md` and the program name the same commands.

use std::collections::BTreeSet;

use crate::command::help::commands;

fn text() -> String {
    std::fs::read_to_string("docs/command-line.md").unwrap()
}

#[test]
fn every_command_has_its_heading_and_no_other() {
    let headings: BTreeSet<String> = text()
        .lines()
        .filter(|line| line.starts_with('#'))
        .filter_map(|line| line.split_once("`tagship ")?.1.strip_suffix('`'))
        .map(str::to_owned)
        .collect();
    let known: BTreeSet<String> = commands()
        .into_iter()
        .filter(|(words, _)| !words.is_empty())
        .map(|(words, _)| words.join(" "))
        .collect();
    assert_eq!(headings, known);
}

#[test]
fn every_option_in_an_example_exists() {
    let commands = commands();
    for line in text().lines() {
        let Some((_, called)) = line.split_once("tagship ") else {
            continue;
        };
        let words: Vec<&str> = called.split_whitespace().collect();
        let best = commands
            .iter()
            .filter(|(path, _)| path.iter().zip(&words).all(|(own, word)| own == word))
            .filter(|(path, _)| path.len() <= words.len())
            .max_by_key(|(path, _)| path.len());
        let Some((path, command)) = best.filter(|(path, _)| !path.is_empty()) else {
            continue;
        };
        // What comes after a pipe is another program's.
        let own = words.iter().take_while(|word| !["|", ">"].contains(word));
        for option in own.filter_map(|word| word.strip_prefix("--")) {
            let option: String = option
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect();
            let there = command
                .get_arguments()
                .any(|argument| argument.get_long() == Some(option.as_str()))
                || option == "help";
            assert!(there, "tagship {}: no --{option} ({line})", path.join(" "));
        }
    }
}

#[test]
fn every_command_that_does_something_has_an_example() {
    let text = text();
    let examples: Vec<&str> = text.split("```").skip(1).step_by(2).collect();
    for (words, command) in commands() {
        if words.is_empty() || command.has_subcommands() {
            continue;
        }
        let call = format!("tagship {}", words.join(" "));
        assert!(
            examples.iter().any(|example| example.contains(&call)),
            "no example of {call}"
        );
    }
}

/// Help and page take the sentence from the code; the page repeats it once.
#[test]
fn what_a_search_for_words_covers_is_said_as_in_the_code() {
    assert_eq!(text().matches(tagship::store::SEARCHED).count(), 1);
}
