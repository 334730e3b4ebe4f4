//! A source file as the rules see it: without comments, texts and tests.

use std::path::Path;

/// One `.rs` file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the project.
    pub(crate) path: String,
    /// The module of `lib.rs` to which it belongs; `main` for the program.
    pub(crate) module: String,
    /// The unchanged text.
    pub(crate) text: String,
    /// The same lines without comments, the insides of texts, and tests.
    pub(crate) code: String,
    /// Only the tests, unchanged.
    pub(crate) tests: String,
}

/// All Rust files below these directories of the project.
pub(crate) fn sources(directories: &[&str]) -> Vec<Source> {
    let mut open: Vec<_> = directories
        .iter()
        .map(|dir| Path::new(dir).to_owned())
        .collect();
    let mut sources = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push(Source::new(path.to_str().unwrap(), text));
            }
        }
    }
    assert!(!sources.is_empty(), "no sources found in {directories:?}");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let below = path.strip_prefix("hooks/").unwrap_or(path);
        let below = below.strip_prefix("src/").unwrap_or(below);
        let module = below.split('/').next().unwrap().trim_end_matches(".rs");
        let is_test_file = below.ends_with("tests.rs") || below.contains("/tests/");
        let tests_start = if is_test_file {
            0
        } else {
            text.find("\n#[cfg(test)]\nmod ")
                .filter(|at| text[at + 1..].lines().nth(1).unwrap().ends_with('{'))
                .unwrap_or(text.len())
        };
        Self {
            path: path.to_owned(),
            module: module.to_owned(),
            code: without_comments_and_texts(&text[..tests_start]),
            tests: text[tests_start..].to_owned(),
            text,
        }
    }

    /// The top-level modules that the code names, each with its line.
    pub(crate) fn uses(&self) -> Vec<(usize, String)> {
        let mut uses = Vec::new();
        for root in ["crate::", "tagship::"] {
            for (at, _) in self.code.match_indices(root) {
                let before = self.code[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let line = line_of(&self.code, at);
                for name in first_names(&self.code[at + root.len()..]) {
                    uses.push((line, name));
                }
            }
        }
        uses.extend(self.uses_by_super());
        uses
    }

    /// `super::super::x`, if that leaves the file's own module.
    fn uses_by_super(&self) -> Vec<(usize, String)> {
        let below = self.path.strip_prefix("hooks/").unwrap_or(&self.path);
        let below = below.strip_prefix("src/").unwrap_or(below);
        let depth = below.trim_end_matches("/mod.rs").split('/').count();
        let root = "super::".repeat(depth);
        let mut uses = Vec::new();
        for (at, _) in self.code.match_indices(&root) {
            let before = self.code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            for name in first_names(&self.code[at + root.len()..]) {
                uses.push((line_of(&self.code, at), name));
            }
        }
        uses
    }

    /// Complaints about these paths in the code.
    pub(crate) fn names(&self, paths: &[&str]) -> Vec<String> {
        let expanded = expand_groups(&self.code);
        let mut complaints = Vec::new();
        for path in paths {
            for (at, _) in expanded.match_indices(path) {
                let before = expanded[..at].chars().next_back();
                let after = expanded[at + path.len()..].chars().next();
                let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                // A single word must be part of a path: `clock` may name a variable.
                let is_path = path.contains("::")
                    || path.starts_with(char::is_uppercase)
                    || expanded[at + path.len()..].starts_with("::")
                    || expanded[..at].ends_with("crate::");
                if !word(before) && !word(after) && is_path {
                    let line = line_of(&expanded, at);
                    complaints.push(format!("{}:{line}: names `{path}`", self.path));
                }
            }
        }
        complaints
    }

    /// Complaints about uses of an external crate.
    pub(crate) fn names_crate(&self, name: &str) -> Vec<String> {
        let mut complaints = Vec::new();
        for (at, _) in self.code.match_indices(name) {
            let before = &self.code[..at];
            let after = &self.code[at + name.len()..];
            let starts_a_path = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                && (!before.ends_with("::") || before.ends_with(" ::"));
            let is_used = after.starts_with("::")
                || before.ends_with("use ") && after.starts_with([';', ' ']);
            if starts_a_path && is_used {
                let line = line_of(&self.code, at);
                complaints.push(format!("{}:{line}: names the crate `{name}`", self.path));
            }
        }
        complaints
    }

    /// Complaints about words anywhere in the file, comments and texts included.
    pub(crate) fn words(&self, words: &[&str]) -> Vec<String> {
        let mut complaints = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            for word in words {
                let found = line.match_indices(word).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    let after = line[at + word.len()..].chars().next();
                    let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                    let starts = word.starts_with(char::is_uppercase) && *word != "XXX";
                    (starts || !letter(before)) && !letter(after)
                });
                if found {
                    complaints.push(format!("{}:{}: holds `{word}`", self.path, index + 1));
                }
            }
        }
        complaints
    }

    /// Line, name and length of every function outside tests, as rustfmt lays them out.
    pub(crate) fn functions(&self) -> Vec<(usize, String, usize)> {
        let lines: Vec<&str> = self.code.lines().collect();
        let mut functions = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = &line[..line.len() - code.len()];
            let Some(name) = function_name(code) else {
                continue;
            };
            let end = lines[index..].iter().position(|line| {
                line.strip_prefix(indent).is_some_and(|rest| {
                    rest == "}" || !rest.starts_with(' ') && rest.ends_with(';')
                })
            });
            if let Some(end) = end {
                functions.push((index + 1, name.to_owned(), end + 1));
            }
        }
        functions
    }
}

/// The name of the function that a line begins, if it does.
fn function_name(code: &str) -> Option<&str> {
    let (before, after) = code.split_once("fn ")?;
    let only_qualifiers = before.split_whitespace().all(|word| {
        matches!(word, "const" | "async" | "extern" | "\"C\"")
            || word.starts_with("pub")
            || word.ends_with(')')
    });
    let name = after
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()?;
    (only_qualifiers && !name.is_empty()).then_some(name)
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The first names of `name::…` or of each member of `{a::…, b}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let mut names = vec![name(group)];
    let mut depth = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(name(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Writes `use a::{b, c::{d}};` out as `use a::b; use a::c::d;`, on the line where it begins.
fn expand_groups(code: &str) -> String {
    let mut expanded = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let starts_line = rest[..at].rsplit('\n').next().unwrap_or("");
        let statement_end = rest[at..].find(';').map(|end| at + end);
        let (Some(end), true) = (
            statement_end,
            starts_line.trim().is_empty() || starts_line.trim().starts_with("pub"),
        ) else {
            expanded.push_str(&rest[..at + 4]);
            rest = &rest[at + 4..];
            continue;
        };
        expanded.push_str(&rest[..at]);
        let tree = &rest[at + 4..end];
        let mut paths = Vec::new();
        expand_tree("", tree, &mut paths);
        for path in paths {
            expanded.push_str(&format!("use {path}; "));
        }
        expanded.push_str(&"\n".repeat(tree.matches('\n').count()));
        rest = &rest[end + 1..];
    }
    expanded.push_str(rest);
    expanded
}

pub(crate) fn expand_tree(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        paths.push(format!("{prefix}{tree}"));
        return;
    };
    let group = group.trim_end().trim_end_matches('}');
    let prefix = format!("{prefix}{head}");
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand_tree(&prefix, &group[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !group[start..].trim().is_empty() {
        expand_tree(&prefix, &group[start..], paths);
    }
}

/// Blanks comments and the insides of texts, keeping the lines.
fn without_comments_and_texts(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut kept = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let skipped = if rest.starts_with(b"//") {
            rest.iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            find(rest, b"*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = text_length(rest, kept.last().copied()) {
            length
        } else {
            kept.push(bytes[at]);
            at += 1;
            continue;
        };
        kept.push(b' ');
        let lines = rest[..skipped]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        kept.extend(std::iter::repeat_n(b'\n', lines));
        at += skipped;
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The length of the text or character that begins here, if one does.
fn text_length(rest: &[u8], before: Option<u8>) -> Option<usize> {
    let in_name = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !in_name && (rest[0] == b'r' || rest.starts_with(b"br")) {
        let prefix = if rest[0] == b'b' { 2 } else { 1 };
        let hashes = rest[prefix..]
            .iter()
            .take_while(|byte| **byte == b'#')
            .count();
        if rest.get(prefix + hashes) == Some(&b'"') {
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let from = prefix + hashes + 1;
            return Some(
                find(&rest[from..], &close).map_or(rest.len(), |end| from + end + close.len()),
            );
        }
        return None;
    }
    match rest[0] {
        b'"' => {
            let mut at = 1;
            while at < rest.len() && rest[at] != b'"' {
                at += if rest[at] == b'\\' { 2 } else { 1 };
            }
            Some((at + 1).min(rest.len()))
        }
        // A character, not a lifetime: closed after one character or an escape.
        b'\'' if rest.get(1) == Some(&b'\\') => {
            Some(find(&rest[3..], b"'").map_or(rest.len(), |end| end + 4))
        }
        b'\'' => {
            let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]).into_owned();
            let first = text.chars().next()?;
            text[first.len_utf8()..]
                .starts_with('\'')
                .then(|| first.len_utf8() + 2)
        }
        _ => None,
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[test]
fn every_form_of_use_is_detected() {
    let text = "use crate::{executor::Run, web};\nuse super::super::remote;\nlet x = crate::sync::y();\n\
                // crate::account\nlet t = \"crate::session\"; let c = '\"'; let r = r#\"crate::task\"#;\n\
                use self::super::inner;\nuse mycrate::store;\n\
                #[cfg(test)]\nmod tests {\n    use crate::landing;\n}\n";
    let source = Source::new("src/plan/stage.rs", text.to_owned());
    assert_eq!(source.module, "plan");
    let mut uses = source.uses();
    uses.sort();
    let uses: Vec<(usize, &str)> = uses.iter().map(|(l, name)| (*l, name.as_str())).collect();
    assert_eq!(
        uses,
        [(1, "executor"), (1, "web"), (2, "remote"), (3, "sync")]
    );
}

#[test]
fn paths_are_found_in_groups_but_not_in_words() {
    let text = "struct A;\nuse std::{collections::BTreeMap, fs};\nuse tokio::{\n    net::TcpStream,\n};\n\
                let clock = 1; let o_clock = clock;\nfn f() { crate::clock::now(); std::fs::read(); }\n";
    let source = Source::new("src/plan.rs", text.to_owned());
    let complaints = source.names(&["std::fs", "tokio", "clock"]);
    assert_eq!(
        complaints,
        [
            "src/plan.rs:2: names `std::fs`",
            "src/plan.rs:7: names `std::fs`",
            "src/plan.rs:3: names `tokio`",
            "src/plan.rs:7: names `clock`",
        ]
    );
    let crates = Source::new(
        "src/web.rs",
        "use sled;\nlet x = git2::Oid;\nmod sled_like; store::sled::open();".into(),
    );
    assert_eq!(
        crates.names_crate("sled"),
        ["src/web.rs:1: names the crate `sled`"]
    );
    assert_eq!(crates.names_crate("git2").len(), 1);
}

#[test]
fn the_length_of_a_function_is_counted_to_its_brace() {
    let text = "impl A {\n    pub(crate) fn short(\n        &self,\n    ) -> u8 {\n        1\n    }\n    fn declared(&self);\n}\n";
    let source = Source::new("src/plan.rs", text.to_owned());
    let functions = source.functions();
    assert_eq!(functions[0], (2, "short".to_owned(), 5));
    assert_eq!(functions[1].2, 1);
}
