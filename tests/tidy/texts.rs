//! Texts of pages and messages: every language has the same ones with the same values, every id that
//! the code names exists, none is unused, and no template has a text of its own.

use std::collections::{BTreeMap, BTreeSet};

use fluent_bundle::FluentResource;
use regex::Regex;
use tagship::domain::task::STATE_NAMES;
use tagship::store::OUTCOME_NAMES;

use crate::report;
use crate::source::sources;

const LANGUAGES: [&str; 2] = ["templates/text/en.ftl", "templates/text/zh.ftl"];

/// Beginnings of ids that the code completes by a name, with these names.
const COMPLETED: [(&str, &[&str]); 7] = [
    ("event-", &EVENTS),
    ("audit-action-", &AUDIT_ACTIONS),
    (
        "project-day-",
        &["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
    ),
    ("hook-outcome-", &OUTCOME_NAMES),
    ("state-", &STATE_NAMES),
    (
        "user-role-",
        &["none", "viewer", "submitter", "approver", "admin"],
    ),
    ("user-scope-", &["read", "submit", "approve", "admin"]),
];

/// The actions of the audit, without blanks and apostrophes.
const AUDIT_ACTIONS: [&str; 30] = [
    "approve",
    "approve-in-an-emergency",
    "reject",
    "withdraw",
    "stop",
    "skip",
    "override-freeze",
    "retry",
    "resume",
    "submit",
    "roll-back",
    "roll-back-in-an-emergency",
    "replay-push",
    "disable-host",
    "enable-host",
    "add-user",
    "change-user",
    "remove-user",
    "set-password",
    "make-token",
    "revoke-token",
    "begin-second-factor",
    "confirm-second-factor",
    "reset-second-factor",
    "delegate",
    "end-delegation",
    "log-in",
    "log-in-for-codos-api",
    "take-backup",
    "restore",
];

/// The events that the history of a task shows, by their names with hyphens.
const EVENTS: [&str; 29] = [
    "approved",
    "compared",
    "continued",
    "due",
    "expired",
    "finished",
    "freeze-overridden",
    "held-at-a-gate",
    "host-away",
    "host-back",
    "host-skipped",
    "host-stop-requested",
    "joined",
    "landed",
    "not-landed-yet",
    "paused",
    "proposed",
    "ref-doubted",
    "ref-not-seen",
    "rejected",
    "reopened",
    "retry-requested",
    "rollback-began",
    "started",
    "step-began",
    "step-ended",
    "stop-requested",
    "superseded",
    "withdrawn",
];

/// What a template may say in every language: names and marks.
const UNTRANSLATED: [&str; 2] = ["tagship", "YAML"];

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The values of each text, by id, in the order of the file.
fn texts(path: &str) -> Vec<(String, BTreeSet<String>)> {
    let source = read(path);
    let parsed = FluentResource::try_new(source.clone());
    assert!(
        parsed.is_ok(),
        "{path}: {:?}",
        parsed.err().map(|(_, errors)| errors)
    );
    let head = Regex::new(r"^([a-z][a-z0-9-]*) =").unwrap();
    let value = Regex::new(r"\$([a-z-]+)").unwrap();
    let mut texts: Vec<(String, BTreeSet<String>)> = Vec::new();
    for line in source.lines() {
        if let Some(found) = head.captures(line) {
            texts.push((found[1].to_owned(), BTreeSet::new()));
        }
        if line.starts_with('#') {
            continue;
        }
        let values = value.captures_iter(line).map(|found| found[1].to_owned());
        if let Some((_, all)) = texts.last_mut() {
            all.extend(values);
        }
    }
    texts
}

/// The sources and templates that name texts, by path.
fn users() -> BTreeMap<String, String> {
    let mut users: BTreeMap<String, String> = sources(&["src"])
        .into_iter()
        .map(|source| (source.path, source.text))
        .collect();
    let mut folders = vec!["templates/web".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(name);
            } else if name.ends_with(".html") {
                users.insert(name.clone(), read(&name));
            }
        }
    }
    users
}

#[test]
fn languages_have_the_same_texts_with_the_same_values() {
    let [english, chinese] = LANGUAGES.map(texts);
    let ids = |texts: &[(String, BTreeSet<String>)]| -> Vec<String> {
        texts.iter().map(|(id, _)| id.clone()).collect()
    };
    let unique: BTreeSet<_> = ids(&english).into_iter().collect();
    assert_eq!(unique.len(), english.len(), "an id occurs twice");
    assert_eq!(ids(&english), ids(&chinese));
    let pairs = english.iter().zip(&chinese);
    let differing = pairs.filter(|(one, other)| one != other);
    let differing = differing.map(|((id, one), (_, other))| format!("{id}: {one:?}, {other:?}"));
    report(&differing.collect());
}

#[test]
fn every_text_is_used_and_every_used_text_exists() {
    let users = users();
    let all: BTreeSet<String> = texts(LANGUAGES[0]).into_iter().map(|(id, _)| id).collect();
    let completed = |id: &str| {
        COMPLETED.iter().any(|(start, names)| {
            id.strip_prefix(start)
                .is_some_and(|name| names.contains(&name))
        })
    };
    let unused = all.iter().filter(|id| {
        let quoted = format!("\"{id}\"");
        !completed(id) && !users.values().any(|text| text.contains(&quoted))
    });
    let unused = unused.map(|id| format!("{id} is not used"));
    let said = Regex::new(r#"(?:\.say|Message::new)\(\s*"([a-z][a-z0-9-]*)""#).unwrap();
    let missing = users.iter().flat_map(|(path, text)| {
        let ids = said.captures_iter(text).map(|found| found[1].to_owned());
        let missing = ids.filter(|id| !all.contains(id) && id != "no-such-text");
        missing.map(move |id| format!("{path}: there is no text {id}"))
    });
    let completions = COMPLETED.iter().flat_map(|(start, names)| {
        let ids = names.iter().map(move |name| format!("{start}{name}"));
        ids.filter(|id| !all.contains(id))
    });
    let completions = completions.map(|id| format!("there is no text {id}"));
    report(&unused.chain(missing).chain(completions).collect());
}

#[test]
fn templates_have_no_text_of_their_own() {
    let code = Regex::new(r"(?s)\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}").unwrap();
    let shown = Regex::new(r#"(?:title|aria-label|placeholder|alt)="([^"]*)""#).unwrap();
    let tag = Regex::new(r"(?s)<[^>]*>").unwrap();
    let entity = Regex::new(r"&[a-z]+;").unwrap();
    let word = Regex::new(r"[A-Za-z]{2,}").unwrap();
    let mut found = BTreeSet::new();
    for (path, text) in users() {
        if !path.ends_with(".html") {
            continue;
        }
        let plain = code.replace_all(&text, " ");
        let attributes = shown.captures_iter(&plain).map(|found| found[1].to_owned());
        let body = tag.replace_all(&plain, " ").into_owned();
        let body = entity.replace_all(&body, " ").into_owned();
        for text in attributes.chain([body]) {
            let words = word.find_iter(&text).map(|word| word.as_str());
            let own = words.filter(|word| !UNTRANSLATED.contains(word));
            found.extend(own.map(|word| format!("{path}: {word}")));
        }
    }
    report(&found);
}
