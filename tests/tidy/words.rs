//! Plain technical English: words that comments, pages, scripts and names of tests may not use.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

use crate::report;
use crate::source::sources;

/// Words and phrases with a standard term: see `docs/decisions` and the style in `CONTRIBUTING.md`.
const BANNED: [&str; 30] = [
    "whoever",
    "whomever",
    "nobody",
    "somebody",
    "anew",
    "hitherto",
    "thereof",
    "in vain",
    "of old",
    "told",
    "stands",
    "stood",
    "is none",
    "way back",
    "taken up",
    "goes on",
    "went on",
    "hands on",
    "handed on",
    "let go on",
    "has it that",
    "what it brings",
    "comes? to rest",
    "says? yes",
    "says? no",
    "said yes",
    "said no",
    "speaks? of",
    "unwell",
    "ring [0-9]",
];

/// Of the name of a test, in characters.
const NAME_LENGTH_MAX: usize = 60;

/// Everything that people read, apart from Rust code.
const PAGES: [&str; 7] = [
    "docs",
    "templates",
    "src",
    "hooks",
    "tests",
    "README.md",
    "CONTRIBUTING.md",
];

/// Files below a path that are prose, markup or scripts.
fn pages(path: &Path, found: &mut Vec<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            pages(&entry.unwrap().path(), found);
        }
    } else if ["md", "html", "js", "sh"]
        .iter()
        .any(|extension| path.extension().is_some_and(|other| other == *extension))
    {
        found.push(path.to_str().unwrap().to_owned());
    }
}

/// The comments of Rust code; other lines become empty.
fn comments(text: &str) -> String {
    let comment = Regex::new(r"(?:^|\s)//[/!]?(.*)$").unwrap();
    let of_line = |line| {
        comment
            .captures(line)
            .map_or("", |found| found.get(1).unwrap().as_str())
    };
    text.lines()
        .map(|line| format!("{}\n", of_line(line)))
        .collect()
}

/// Banned words in a text, each with its line. Code between backticks is exempt: names stay as they are.
fn banned(path: &str, text: &str) -> Vec<String> {
    let code = Regex::new(r"(?s)```.*?```|`[^`\n]*`").unwrap();
    let prose = code.replace_all(text, |found: &regex::Captures<'_>| {
        "\n".repeat(found[0].matches('\n').count())
    });
    let words = BANNED.join("|").replace(' ', r"\s+");
    let banned = Regex::new(&format!(r"(?i)\b(?:{words})\b")).unwrap();
    banned
        .find_iter(&prose)
        .map(|found| {
            let line = prose[..found.start()].matches('\n').count() + 1;
            format!("{path}:{line}: has `{}`", found.as_str())
        })
        .collect()
}

#[test]
fn comments_and_pages_use_standard_terms() {
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks", "tests", "examples"]) {
        if source.path != "tests/tidy/words.rs" {
            complaints.extend(banned(&source.path, &comments(&source.text)));
        }
    }
    let mut found = vec!["Makefile".to_owned(), "tests/mutations/run".to_owned()];
    for page in PAGES {
        pages(Path::new(page), &mut found);
    }
    for page in found {
        complaints.extend(banned(&page, &std::fs::read_to_string(&page).unwrap()));
    }
    let changes = std::fs::read_to_string("CHANGELOG.md").unwrap();
    let unreleased = changes.split("\n## ").nth(1).unwrap_or_default();
    complaints.extend(banned("CHANGELOG.md, unreleased", unreleased));
    report(&complaints);
}

/// Texts without a blank are names: users have them already.
#[test]
fn messages_use_standard_terms() {
    let literal = Regex::new(r#"(?s)"((?:[^"\\]|\\.)*)""#).unwrap();
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks/src"]) {
        let code = &source.text[..source.text.len() - source.tests.len()];
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.collect::<Vec<_>>().join("\n");
        for found in literal.captures_iter(&code) {
            let message = &found[1];
            if message.contains(' ') {
                complaints.extend(banned(&format!("{}, {message:?}", source.path), message));
            }
        }
    }
    report(&complaints);
}

#[test]
fn test_names_use_standard_terms_and_are_short() {
    let test =
        Regex::new(r"#\[(?:tokio::)?test\b[^\n]*\n(?:[ \t]*#\[[^\n]*\n)*[ \t]*(?:async )?fn (\w+)");
    let test = test.unwrap();
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks", "tests"]) {
        for found in test.captures_iter(&source.text) {
            let name = &found[1];
            complaints.extend(banned(
                &format!("{}, {name}", source.path),
                &name.replace('_', " "),
            ));
            if name.len() > NAME_LENGTH_MAX {
                complaints.insert(format!(
                    "{}: `{name}` is longer than {NAME_LENGTH_MAX} characters",
                    source.path
                ));
            }
        }
    }
    report(&complaints);
}

#[test]
fn banned_words_are_found_in_prose_only() {
    let text =
        "/// Nobody reads `nobody`.\nlet told = 1; // in\n// vain\n```\nanew\n```\nhttps://stands";
    assert_eq!(
        banned("a", &comments(text)),
        ["a:1: has `Nobody`", "a:2: has `in\n vain`"]
    );
    assert_eq!(
        banned("b", "```\nanew\n```\nof\nold"),
        ["b:4: has `of\nold`"]
    );
}
