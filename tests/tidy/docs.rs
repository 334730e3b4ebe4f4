//! The documentation and the breaks on purpose name tests: each of them exists.

use std::collections::BTreeSet;

use crate::pages::pages;
use crate::{Source, report, sources};

/// The text between backticks, with what follows it.
fn spans(text: &str) -> impl Iterator<Item = (&str, &str)> {
    // Blocks of code are not about tests, and their fences would put spans out of step.
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| {
        let mut at = 0;
        std::iter::from_fn(move || {
            let begin = at + part[at..].find('`')? + 1;
            let end = begin + part[begin..].find('`')?;
            at = end + 1;
            Some((&part[begin..end], &part[at..]))
        })
    })
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// A target, or one of its suites: `simulation`, `hosts/release`.
fn is_place(text: &str) -> bool {
    text.split('/').all(is_name)
}

/// Whether some file below `place` (`tests/web`, `tests/simulation/invariants.rs`) has the function.
fn is_present(all: &[Source], place: &str, name: &str) -> bool {
    let (file, directory) = (format!("{place}.rs"), format!("{place}/"));
    all.iter()
        .filter(|source| {
            let path = source.path.as_str();
            path == place || path == file || path.starts_with(&directory)
        })
        .any(|source| has(source, name))
}

fn has(source: &Source, name: &str) -> bool {
    let text = format!("{}\n{}", source.text, source.tests);
    text.match_indices(&format!("fn {name}"))
        .any(|(at, found)| text[at + found.len()..].starts_with(['(', '<']))
}

/// The complaint about a span that names a missing test; `None` if it names no test, or an existing
/// one.
fn missing(all: &[Source], span: &str, after: &str) -> Option<String> {
    if let Some((suite, name)) = span.split_once(": ")
        && is_place(suite.trim_end_matches(".rs"))
    {
        let place = match suite.strip_suffix(".rs") {
            Some(_) => format!("tests/simulation/{suite}"),
            None => format!("tests/{suite}"),
        };
        let there = match name.strip_suffix(".rs") {
            Some(_) => all.iter().any(|one| one.path == format!("{place}/{name}")),
            None if !is_name(name) => return None,
            None => is_present(all, &place, name),
        };
        return (!there).then(|| format!("{place} has no {name}"));
    }
    if !is_name(span) {
        return None;
    }
    let told = after
        .strip_prefix(" (`")
        .and_then(|rest| rest.split_once('`'));
    if let Some((place, _)) = told
        && place.starts_with("tests/")
    {
        return (!is_present(all, place, span)).then(|| format!("{place} has no {span}"));
    }
    // No configuration key and no field is that long.
    let long = span.matches('_').count() >= 4;
    let nowhere = !all.iter().any(|source| has(source, span));
    (long && nowhere).then(|| format!("no test is called {span}"))
}

#[test]
fn every_test_named_on_a_page_exists() {
    let all = sources(&["src", "hooks/src", "tests"]);
    let mut complaints = BTreeSet::new();
    let mut named = 0;
    for (path, text) in pages() {
        for (span, after) in spans(&text) {
            named += usize::from(span.matches('_').count() >= 4);
            let missing = missing(&all, span, after);
            complaints.extend(missing.map(|what| format!("{}: {what}", path.display())));
        }
    }
    report(&complaints);
    assert!(named > 30, "pages name tests in another way: {named}");
}

/// Whether the arguments of `cargo test` find a test: `modules::`, `name`, `modules::name`, where each may
/// be a part.
pub(crate) fn finds(all: &[Source], arguments: &str) -> bool {
    let words: Vec<&str> = arguments.split(' ').collect();
    let (root, filter) = match words[..] {
        ["--lib", filter] => ("src/".to_owned(), filter),
        ["--test", target, filter] => (format!("tests/{target}/"), filter),
        ["--test", target] => (format!("tests/{target}/"), ""),
        _ => return false,
    };
    let path = filter.replace("::", "/");
    let (modules, name) = path.rsplit_once('/').unwrap_or(("", &path));
    // What follows a module is a prefix of a name.
    let fits = |test: &str| test.starts_with(name) || modules.is_empty() && test.contains(name);
    let has_name = |text: &str| {
        let mut tests = text.lines().filter_map(|line| line.split_once("fn "));
        tests.any(|(_, test)| fits(test))
    };
    all.iter().any(|source| {
        let below = source.path.strip_prefix(&root);
        below.is_some_and(|below| {
            let named = || has_name(&source.text) || has_name(&source.tests);
            below.contains(path.trim_end_matches('/')) || below.contains(modules) && named()
        })
    })
}

#[test]
fn a_missing_test_would_be_detected_on_a_page() {
    let all = sources(&["tests"]);
    let seen = |text: &str| spans(text).any(|(span, after)| missing(&all, span, after).is_some());
    let here = "`a_missing_test_would_be_detected_on_a_page`";
    assert!(!seen(here));
    assert!(!seen(&format!("{here} (`tests/tidy`)")));
    assert!(!seen("`tidy: a_missing_test_would_be_detected_on_a_page`"));
    assert!(seen(&format!("{here} (`tests/web`)")));
    assert!(seen("`web: a_missing_test_would_be_detected_on_a_page`"));
    assert!(seen("`web: nothing.rs`"));
    assert!(seen("`invariants.rs: nothing_of_this_name`"));
    assert!(finds(&all, "--test tidy docs::"));
    assert!(finds(&all, "--test tidy would_be_detected"));
    assert!(!finds(&all, "--test tidy nothing::"));
    assert!(!finds(&all, "--test tidy docs::missing_test_would"));
    assert!(!finds(&all, "--lib task::"), "only tests were read");
    assert!(seen("```\n`\n```\n`a_test_that_was_never_written_down`"));
}
