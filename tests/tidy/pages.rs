//! Pages for those who change the code: the files and suites that they name exist, and the diagram
//! of the states is that of the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::{docs, report, sources};

const SNAPSHOT: &str =
    "src/domain/task/snapshots/tagship__domain__task__tests__every_state_and_event.snap";

const SENTENCE_WORDS_MAX: usize = 25;

/// The pages with their text.
pub(crate) fn pages() -> Vec<(PathBuf, String)> {
    let listed = ["docs", "docs/decisions"].map(|place| std::fs::read_dir(place).unwrap());
    let listed = listed.into_iter().flatten();
    let pages = listed.map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let pages = pages.chain(["CONTRIBUTING.md", "Makefile"].map(PathBuf::from));
    pages
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

#[test]
fn files_that_pages_name_exist() {
    let named =
        Regex::new(r"`((?:src|hooks/src|tests|templates|docs|examples)/[\w./-]*\w/?)`").unwrap();
    let linked = Regex::new(r"\]\(([\w./-]+\.md)(?:#[\w-]+)?\)").unwrap();
    let mut complaints = BTreeSet::new();
    let mut found = 0;
    for (page, text) in pages() {
        let beside = page.parent().unwrap();
        let named = named
            .captures_iter(&text)
            .map(|path| PathBuf::from(&path[1]));
        let linked = linked
            .captures_iter(&text)
            .map(|path| beside.join(&path[1]));
        for path in named.chain(linked) {
            found += 1;
            if !path.exists() {
                complaints.insert(format!("{}: no {}", page.display(), path.display()));
            }
        }
    }
    report(&complaints);
    assert!(found > 100, "pages name files in another way: {found}");
}

#[test]
fn every_page_opens_with_a_task_and_its_example() {
    let pages = pages().into_iter();
    let pages = pages.filter(|(page, _)| page.parent() == Some(Path::new("docs")));
    let lacks = pages.filter(|(_, text)| {
        let first = text.split("\n## ").nth(1).unwrap_or_default();
        !first.contains("\n```")
    });
    report(
        &lacks
            .map(|(page, _)| format!("{}: its first section has no example", page.display()))
            .collect(),
    );
}

/// Sentences of a page that are too long. What is between backticks counts as one word.
fn long_sentences(text: &str) -> Vec<String> {
    let example = Regex::new(r"(?s)```.*?```").unwrap();
    let code = Regex::new(r"`[^`]*`").unwrap();
    let part = Regex::new(r"(?m)^\s*(?:[-*]|\d+\.) |^#.*$|\|").unwrap();
    let paragraph = Regex::new(r"\n\s*\n").unwrap();
    let end = Regex::new(r#"[.!?]["')*\]]*\s"#).unwrap();
    let text = example.replace_all(text, "\n\n");
    let text = code.replace_all(&text, "CODE");
    let text = part.replace_all(&text, "\n\n");
    let mut long = Vec::new();
    for paragraph in paragraph.split(&text) {
        for sentence in end.split(paragraph) {
            let words: Vec<&str> = sentence.split_whitespace().collect();
            if words.len() > SENTENCE_WORDS_MAX {
                long.push(words.join(" "));
            }
        }
    }
    long
}

#[test]
fn sentences_of_pages_are_short() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let changes = std::fs::read_to_string("CHANGELOG.md").unwrap();
    let unreleased = changes.split("\n## ").nth(1).unwrap_or_default().to_owned();
    let mut all = pages();
    all.retain(|(page, _)| page != Path::new("Makefile"));
    all.push((PathBuf::from("README.md"), readme));
    all.push((PathBuf::from("CHANGELOG.md"), unreleased));
    let mut complaints = BTreeSet::new();
    for (page, text) in all {
        for sentence in long_sentences(&text) {
            complaints.insert(format!("{}: {sentence}", page.display()));
        }
    }
    report(&complaints);
    let words = ["word"; SENTENCE_WORDS_MAX].join(" ");
    let text = format!("- {words}. {words}\n\n{words}\n- {words} `a b`\n");
    assert_eq!(long_sentences(&text), [format!("{words} CODE")]);
}

#[test]
fn suites_that_pages_name_exist() {
    let all = sources(&["src", "tests"]);
    let command = Regex::new(r"(--lib|--test \w+)((?: [a-z][\w:]*)?)").unwrap();
    let mut complaints = BTreeSet::new();
    for (page, text) in pages() {
        for line in text.lines().filter(|line| line.contains("test ")) {
            for named in command.captures_iter(line) {
                let arguments = &named[0];
                if arguments != "--lib" && !docs::finds(&all, arguments) {
                    complaints.insert(format!("{}: no {arguments}", page.display()));
                }
            }
        }
    }
    report(&complaints);
}

/// Every change of state, as `from -> to`.
fn transitions_of_the_code() -> BTreeSet<String> {
    let table = std::fs::read_to_string(SNAPSHOT).unwrap();
    let name = |text: &str| {
        let text = text.split([',', '(']).next().unwrap();
        text.trim().replace(' ', "-")
    };
    let mut from = String::new();
    let mut changes = BTreeSet::new();
    for line in table.lines().skip_while(|line| *line != "proposed") {
        match line.rsplit_once(" -> ") {
            Some((_, to)) if name(to) != from => {
                changes.insert(format!("{from} -> {}", name(to)));
            }
            Some(_) => {}
            None => from = name(line),
        }
    }
    changes
}

/// Those of the diagram: each line is a chain of groups, parted by arrows with labels.
fn transitions_of_the_diagram() -> BTreeSet<String> {
    let page = std::fs::read_to_string("docs/ARCHITECTURE.md").unwrap();
    let (_, diagram) = page.split_once("flowchart LR\n").unwrap();
    let arrow = Regex::new(r"-->\|[^|]+\|").unwrap();
    let mut changes = BTreeSet::new();
    for line in diagram.lines().take_while(|line| *line != "```") {
        let groups: Vec<Vec<&str>> = arrow
            .split(line)
            .map(|group| group.split('&').map(str::trim).collect())
            .collect();
        for pair in groups.windows(2) {
            for (from, to) in pair[0]
                .iter()
                .flat_map(|from| pair[1].iter().map(move |to| (from, to)))
            {
                changes.insert(format!("{from} -> {to}"));
            }
        }
    }
    changes
}

#[test]
fn state_diagram_has_the_transitions_of_the_code() {
    let (code, diagram) = (transitions_of_the_code(), transitions_of_the_diagram());
    let lacks = code
        .difference(&diagram)
        .map(|one| format!("it lacks {one}"));
    let more = diagram
        .difference(&code)
        .map(|one| format!("no event leads {one}"));
    report(&lacks.chain(more).collect());
    assert!(code.len() > 30, "{code:?}");
}

#[test]
fn every_decision_is_in_the_index() {
    let index = std::fs::read_to_string("docs/decisions/README.md").unwrap();
    let files = std::fs::read_dir("docs/decisions").unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| Path::new(name) != Path::new("README.md"));
    let lacks = names.filter(|name| !index.contains(&format!("]({name})")));
    report(
        &lacks
            .map(|name| format!("the index lacks {name}"))
            .collect(),
    );
}
