//! Who may use whom, and what no file may hold: the design's table, held against the sources.
//!
//! A module that needs another edge gets it in [`EDGES`], where a reader of the change sees it.

#![allow(clippy::unwrap_used)]

mod advice;
mod docs;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use source::{Source, sources};

/// What everybody but the pure modules may use.
const COMMON: [&str; 8] = [
    "clock", "config", "crash", "document", "host", "log", "secret", "template",
];

/// Each module of `src/lib.rs` with the modules that it may use, in the path's order. [`COMMON`] is
/// added for all that are not in [`PURE`].
const EDGES: &[(&str, &[&str])] = &[
    ("rule", &[]),
    ("spool", &["rule"]),
    ("document", &[]),
    ("host", &[]),
    ("template", &["rule", "document", "host"]),
    ("plan", &["rule", "template", "host", "document"]),
    ("right", &[]),
    ("approval", &["right", "plan", "template"]),
    (
        "task",
        &["right", "plan", "approval", "template", "host", "rule"],
    ),
    ("store", &["right", "task", "plan", "approval", "rule"]),
    ("push", &["rule", "right", "approval", "store", "task"]),
    (
        "intake",
        &["spool", "rule", "push", "store", "task", "plan"],
    ),
    ("landing", &["task", "rule", "plan"]),
    (
        "reconcile",
        &["rule", "push", "store", "task", "landing", "intake"],
    ),
    // git is started by landing alone, also where a checkout needs it.
    ("checkout", &["landing", "plan"]),
    ("remote", &[]),
    ("sync", &["remote", "checkout"]),
    ("publish", &["remote", "sync"]),
    ("perform", &["remote", "sync", "publish"]),
    (
        "executor",
        &[
            "rule", "spool", "plan", "approval", "task", "store", "intake", "landing", "checkout",
            "remote", "sync", "publish",
        ],
    ),
    // A restored store begins no task by itself: it knows what holds one.
    ("backup", &["store", "task", "audit"]),
    ("audit", &["store"]),
    ("account", &["right", "store"]),
    ("session", &["store", "account"]),
    (
        "request",
        &["rule", "right", "plan", "approval", "task", "store"],
    ),
    (
        "submit",
        &["rule", "right", "plan", "approval", "task", "store"],
    ),
    ("install", &["rule", "spool"]),
    ("web", WEB),
    ("command", COMMAND),
    // Puts everything together; nobody but the command line uses it.
    (
        "agent",
        &[
            "rule",
            "spool",
            "plan",
            "approval",
            "task",
            "store",
            "intake",
            "landing",
            "checkout",
            "remote",
            "sync",
            "publish",
            "perform",
            "executor",
            "account",
            "session",
            "web",
            "reconcile",
        ],
    ),
    // Looks at hosts and repositories as the agent would; changes nothing there.
    (
        "check",
        &[
            "rule", "right", "spool", "plan", "landing", "remote", "install", "agent", "checkout",
        ],
    ),
    ("config", &["rule", "right", "plan", "approval"]),
    ("clock", &[]),
    ("crash", &[]),
    ("secret", &[]),
    // It keeps the output of steps: a trait of the executor's.
    ("log", &["executor"]),
    ("update", &["rule", "spool"]),
    (
        "main",
        &[
            "command", "executor", "intake", "landing", "checkout", "remote", "perform", "web",
            "store",
        ],
    ),
];

/// Pages append events and read what is stored; they perform nothing.
const WEB: &[&str] = &[
    "rule", "right", "store", "task", "plan", "approval", "account", "session", "request",
    "submit", "push", "install", "backup", "audit", "web",
];

/// The command line asks the agent, or starts it; what looks at hosts by itself is `check`.
const COMMAND: &[&str] = &[
    "rule", "right", "spool", "store", "task", "plan", "approval", "account", "submit", "install",
    "backup", "web", "agent", "check", "audit",
];

/// The modules that know no runtime, no clock, no file and no socket.
const PURE: [&str; 8] = [
    "rule", "document", "host", "template", "plan", "right", "approval", "task",
];

/// What no pure module may name.
const IMPURE: [&str; 13] = [
    "tokio",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::io",
    "std::thread",
    "std::os",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "Zoned::now",
    "clock",
];

/// The crates that could be replaced in one place, and that place.
const BEHIND_ONE_MODULE: [(&str, &[&str]); 5] = [
    ("sled", &["store"]),
    ("thrussh", &["remote"]),
    ("thrussh_keys", &["remote"]),
    ("git2", &["checkout", "landing"]),
    ("warp", &["web"]),
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 80;

/// What no file of the project may hold, apart from this one.
const BANNED: [&str; 6] = [
    "FIXME",
    "XXX",
    "todo!",
    "unimplemented!",
    "Manager",
    "utils",
];

fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    EDGES
        .iter()
        .map(|(module, uses)| {
            let mut uses: BTreeSet<&str> = uses.iter().copied().collect();
            if !PURE.contains(module) {
                uses.extend(COMMON);
            }
            uses.insert(module);
            (*module, uses)
        })
        .collect()
}

fn report(complaints: &BTreeSet<String>) {
    let lines: Vec<&str> = complaints.iter().map(String::as_str).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn every_module_uses_only_what_the_table_allows() {
    let allowed = allowed();
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks/src"]) {
        let Some(uses) = allowed.get(source.module.as_str()) else {
            continue;
        };
        for (line, used) in source.uses() {
            if allowed.contains_key(used.as_str()) && !uses.contains(used.as_str()) {
                complaints.insert(format!(
                    "{}:{line}: `{}` may not use `{used}`",
                    source.path, source.module
                ));
            }
        }
    }
    report(&complaints);
}

#[test]
fn the_table_names_every_module_and_no_other() {
    let lib = std::fs::read_to_string("src/lib.rs").unwrap();
    let declared: BTreeSet<&str> = lib
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("pub mod ");
            let rest = rest.or_else(|| line.strip_prefix("pub use tagship_hook::"));
            rest.or_else(|| line.strip_prefix("mod "))
        })
        .map(|rest| rest.trim_end_matches(';'))
        .chain(["main", "update"])
        .collect();
    let in_table: BTreeSet<&str> = EDGES.iter().map(|(module, _)| *module).collect();
    assert_eq!(declared, in_table);
}

#[test]
fn no_module_uses_one_that_uses_it() {
    let allowed = allowed();
    let mut complaints = BTreeSet::new();
    for &(module, _) in EDGES {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = allowed[module].iter().copied().collect();
        while let Some(next) = open.pop() {
            if next != module && reached.insert(next) {
                // The shared modules may know each other.
                if COMMON.contains(&next) {
                    continue;
                }
                let further = &allowed[next];
                if further.contains(module) && !COMMON.contains(&module) {
                    complaints.insert(format!("`{module}` and `{next}` use each other"));
                }
                open.extend(further);
            }
        }
    }
    report(&complaints);
}

#[test]
fn pure_modules_know_no_runtime_no_clock_no_file_and_no_socket() {
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks/src"]) {
        if PURE.contains(&source.module.as_str()) {
            complaints.extend(source.names(&IMPURE));
        }
    }
    report(&complaints);
}

#[test]
fn a_crate_that_could_be_replaced_stands_in_one_module() {
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks/src"]) {
        for (name, modules) in BEHIND_ONE_MODULE {
            if !modules.contains(&source.module.as_str()) {
                complaints.extend(source.names_crate(name));
            }
        }
    }
    report(&complaints);
}

#[test]
fn the_hook_opens_no_connection_and_starts_no_process() {
    let mut complaints = BTreeSet::new();
    for source in sources(&["hooks/src"]) {
        complaints.extend(source.names(&["std::net", "process::Command", "Command::new", "tokio"]));
    }
    report(&complaints);
}

#[test]
fn files_and_functions_stay_short_enough_to_read() {
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks/src"]) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            complaints.insert(format!("{}: {lines} lines", source.path));
        }
        for (line, name, length) in source.functions() {
            if length > FUNCTION_LINES_MAX {
                complaints.insert(format!("{}:{line}: `{name}`: {length} lines", source.path));
            }
        }
    }
    report(&complaints);
}

#[test]
fn nothing_is_left_for_later_and_nothing_is_named_by_habit() {
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks/src", "tests"]) {
        if !source.path.starts_with("tests/architecture") {
            complaints.extend(source.words(&BANNED));
        }
    }
    report(&complaints);
}

#[test]
fn no_test_sleeps() {
    // A poll with a deadline is the last resort, and stands in `tests/support` alone.
    let sleeps = ["thread::sleep", "time::sleep"];
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks/src", "tests"]) {
        if source.path.starts_with("tests/") && !source.path.starts_with("tests/support/") {
            complaints.extend(source.names(&sleeps));
        } else {
            let tests = Source::new(&source.path, source.tests.clone());
            complaints.extend(tests.names(&sleeps));
        }
    }
    report(&complaints);
}

/// A break that no longer fits the code tries nothing, as does one whose tests are gone; and one that no
/// page names is not found.
#[test]
fn breaks_on_purpose_fit_the_code_and_their_tests_and_stand_on_the_page() {
    let all = sources(&["src", "tests"]);
    let page = std::fs::read_to_string("docs/testing.md").unwrap();
    let mut complaints = BTreeSet::new();
    for entry in std::fs::read_dir("tests/mutations").unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "patch")
        {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let patch = std::fs::read_to_string(&path).unwrap();
        let (what, rest) = patch.split_once("\nCaught by: ").unwrap();
        let tests = rest.lines().next().unwrap();
        let row = format!("| `{name}` | {what} | `{tests}` |");
        if !page.lines().any(|line| line == row) {
            complaints.insert(format!("docs/testing.md lacks: {row}"));
        }
        if !docs::finds(&all, tests) {
            complaints.insert(format!("{name}: no test is found by {tests}"));
        }
        let target = patch.lines().find_map(|line| line.strip_prefix("--- "));
        let code = std::fs::read_to_string(target.unwrap()).unwrap();
        let hunks = patch.split("\n@@ ").skip(1);
        for (number, hunk) in hunks.enumerate() {
            let lines = hunk.lines().skip(1);
            let stands = lines.filter_map(|line| line.strip_prefix([' ', '-']));
            let stands = stands.fold(String::new(), |text, line| text + line + "\n");
            if !code.contains(&stands) {
                complaints.insert(format!(
                    "{name} changes what is not there: hunk {}",
                    number + 1
                ));
            }
        }
    }
    report(&complaints);
}
