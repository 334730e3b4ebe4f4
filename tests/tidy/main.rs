//! Which module uses which (the table of `docs/ARCHITECTURE.md`), and what no file may contain.

#![allow(clippy::unwrap_used)]

mod advice;
mod circles;
mod docs;
mod host_programs;
mod pages;
mod source;
mod texts;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use source::{Source, sources};

/// The pure sources, without runtime, clock, file and socket: prefixes of their paths.
const PURE: [&str; 2] = ["hooks/src/rule", "src/domain"];

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

/// The crates that are used in one place only, with the prefixes of its paths.
const BEHIND_ONE_MODULE: [(&str, &[&str]); 5] = [
    ("sled", &["src/store"]),
    ("thrussh", &["src/hosts/ssh"]),
    ("thrussh_keys", &["src/hosts/ssh"]),
    ("git2", &["src/git"]),
    ("warp", &["src/server"]),
];

/// The modules that perform tasks: the agent starts them, and nothing else calls them.
const PERFORMING: [&str; 3] = ["engine::executor", "engine::intake", "engine::reconcile"];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 80;

/// What no file of the project may contain, except this one.
const BANNED: [&str; 6] = [
    "FIXME",
    "XXX",
    "todo!",
    "unimplemented!",
    "Manager",
    "utils",
];

/// The top-level modules with those that each may use, as the page has them; the program comes last.
fn table() -> Vec<(String, Vec<String>)> {
    let page = std::fs::read_to_string("docs/ARCHITECTURE.md").unwrap();
    let (_, section) = page.split_once("\n## Which module uses which\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut names = row.split('`').skip(1).step_by(2).map(str::to_owned);
        (names.next().unwrap(), names.collect())
    })
    .collect()
}

fn report(complaints: &BTreeSet<String>) {
    let lines: Vec<&str> = complaints.iter().map(String::as_str).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn modules_use_what_the_table_allows_and_need_all_of_it() {
    let table = table();
    let mut unused: BTreeSet<(&str, &str)> = table
        .iter()
        .flat_map(|(module, uses)| uses.iter().map(|other| (module.as_str(), other.as_str())))
        .collect();
    let mut complaints = BTreeSet::new();
    for source in sources(&["src"]) {
        let row = table.iter().find(|(module, _)| *module == source.module);
        for (line, used) in source.uses() {
            if used == source.module {
                continue;
            }
            if let Some((module, uses)) = row
                && let Some(other) = uses.iter().find(|other| **other == used)
            {
                unused.remove(&(module.as_str(), other.as_str()));
            } else {
                complaints.insert(format!(
                    "{}:{line}: `{}` may not use `{used}`",
                    source.path, source.module
                ));
            }
        }
    }
    complaints.extend(
        unused.iter().map(|(module, other)| {
            format!("the table lets `{module}` use `{other}`: nothing does")
        }),
    );
    report(&complaints);
}

#[test]
fn the_table_has_the_modules_of_the_library_in_its_order() {
    let lib = std::fs::read_to_string("src/lib.rs").unwrap();
    let declared = lib.lines().filter_map(|line| {
        let rest = line.strip_prefix("pub mod ");
        let rest = rest.or_else(|| line.strip_prefix("pub use tagship_hook::"));
        rest.or_else(|| line.strip_prefix("mod "))
    });
    let declared = declared.map(|rest| rest.trim_end_matches(';'));
    let declared: Vec<&str> = declared.chain(["main"]).collect();
    let table = table();
    let modules: Vec<&str> = table.iter().map(|(module, _)| module.as_str()).collect();
    assert_eq!(declared, modules);
}

#[test]
fn a_module_may_use_only_modules_above_it() {
    let table = table();
    let mut complaints = BTreeSet::new();
    for (at, (module, uses)) in table.iter().enumerate() {
        for used in uses {
            if !table[..at].iter().any(|(above, _)| above == used) {
                complaints.insert(format!("`{module}` uses `{used}`, which is not above it"));
            }
        }
    }
    report(&complaints);
}

#[test]
fn pure_modules_know_no_runtime_no_clock_no_file_and_no_socket() {
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks/src"]) {
        if PURE.iter().any(|place| source.path.starts_with(place)) {
            complaints.extend(source.names(&IMPURE));
        }
    }
    report(&complaints);
}

#[test]
fn replaceable_crate_is_used_in_one_module() {
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks/src"]) {
        for (name, places) in BEHIND_ONE_MODULE {
            if !places.iter().any(|place| source.path.starts_with(place)) {
                complaints.extend(source.names_crate(name));
            }
        }
    }
    report(&complaints);
}

#[test]
fn server_and_cli_perform_no_effects() {
    let mut complaints = BTreeSet::new();
    for source in sources(&["src/server", "src/cli"]) {
        let code = Source::new(&source.path, source.code);
        complaints.extend(code.names(&PERFORMING));
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
fn no_leftover_markers_or_banned_words_in_sources() {
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks/src", "tests"]) {
        if !source.path.starts_with("tests/tidy") {
            complaints.extend(source.words(&BANNED));
        }
    }
    report(&complaints);
}

/// A reader who meets a name finds one type of that name.
#[test]
fn type_names_are_unique() {
    let declared =
        Regex::new(r"(?m)^(?:pub(?:\([a-z:_ ]+\))? )?(?:struct|enum|trait|type) (\w+)").unwrap();
    let mut first = BTreeMap::new();
    let mut complaints = BTreeSet::new();
    for source in sources(&["src", "hooks/src"]) {
        for found in declared.captures_iter(&source.code) {
            if let Some(other) = first.insert(found[1].to_owned(), source.path.clone()) {
                complaints.insert(format!(
                    "{}: `{}` is in {other}, too",
                    source.path, &found[1]
                ));
            }
        }
    }
    report(&complaints);
}

#[test]
fn no_test_sleeps() {
    // A poll with a deadline is the last resort, and is allowed only in `tests/support`.
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

/// A break that no longer fits the code tests nothing, nor does one whose tests are gone. One that
/// no page names is not found.
#[test]
fn mutations_apply_name_their_tests_and_are_documented() {
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
            let existing = lines.filter_map(|line| line.strip_prefix([' ', '-']));
            let existing = existing.fold(String::new(), |text, line| text + line + "\n");
            if !code.contains(&existing) {
                complaints.insert(format!(
                    "{name} changes what is not there: hunk {}",
                    number + 1
                ));
            }
        }
    }
    report(&complaints);
}
