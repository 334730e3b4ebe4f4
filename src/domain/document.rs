//! Reads TOML text into a value; every problem names file, line and column (pure).
//!
//! Both kinds of files that users write, `config.toml` and task templates, are read here, so that
//! both report unknown keys alike. This module opens no files: the caller passes the text and the
//! file name to show.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Durations as users write them: `"90s"`, `"5m"`, `"1h30m"`, `"7d"`.
pub mod duration;

// Points in time as users write them.
pub mod moment;

#[cfg(test)]
pub(crate) mod doc_tests;

/// Maximum number of unknown keys reported for one text.
const UNKNOWN_KEYS_MAX: usize = 50;

/// A position in a text; lines and columns start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextPosition {
    pub line: usize,
    /// In characters, not bytes.
    pub column: usize,
}

/// One problem in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentProblem {
    /// The file's name as shown to users.
    pub file: String,
    pub position: Option<TextPosition>,
    /// What is wrong and how the operator can fix it.
    pub message: String,
}

impl fmt::Display for DocumentProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(TextPosition { line, column }) => {
                write!(f, "{}:{line}:{column}: {}", self.file, self.message)
            }
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// All problems in one or more files, one line each; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<DocumentProblem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The path from the root of a document to one of its values.
#[derive(Clone, Debug, Default)]
pub struct Path(Vec<String>);

impl Path {
    /// The document itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Returns the path one step down: into a table by key, or into an array by index.
    #[must_use]
    pub fn join(&self, step: impl fmt::Display) -> Self {
        let mut steps = self.0.clone();
        steps.push(step.to_string());
        Self(steps)
    }
}

/// Well-formed TOML text with the positions of its values.
#[derive(Debug)]
pub struct Document<'t> {
    file: &'t str,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
}

impl<'t> Document<'t> {
    /// Parses `text`; `file` is the name to show for it.
    ///
    /// # Errors
    /// The first position where the text is not TOML.
    pub fn parse(file: &'t str, text: &'t str) -> Result<Self, Problems> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { file, text, root }),
            Err(error) => Err(Problems(vec![DocumentProblem {
                file: file.to_owned(),
                position: error.span().map(|span| position(text, span.start)),
                message: error.message().replace('\n', ", "),
            }])),
        }
    }

    /// Reads the whole document as a `T` whose structs deny unknown fields.
    ///
    /// # Errors
    /// Every unknown key, with the nearest known name; then the first value of a wrong type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problems> {
        let mut root = self.root.clone();
        let mut problems = Vec::new();
        let result = loop {
            match T::deserialize(toml::Deserializer::from(root.clone())) {
                Ok(value) => break Some(value),
                Err(error) => {
                    let missing = error.message().starts_with("missing field");
                    if problems.is_empty() || !missing {
                        problems.push(self.refusal(&error));
                    }
                    // Remove the unknown key and read the rest again, to report all of them at
                    // once.
                    let again = problems.len() < UNKNOWN_KEYS_MAX
                        && error.message().starts_with("unknown field")
                        && error
                            .span()
                            .is_some_and(|span| remove_key(root.get_mut(), &span));
                    if !again {
                        break None;
                    }
                }
            }
        };
        match result {
            Some(value) if problems.is_empty() => Ok(value),
            _ => {
                problems.sort();
                Err(Problems(problems))
            }
        }
    }

    /// Returns a problem with the value at `path`, or with the nearest table around it that exists.
    #[must_use]
    pub fn problem(&self, path: &Path, message: impl Into<String>) -> DocumentProblem {
        DocumentProblem {
            file: self.file.to_owned(),
            position: Some(position(self.text, self.span(path).start)),
            message: message.into(),
        }
    }

    /// Returns a problem with `snippet` inside the value at `path`.
    #[must_use]
    pub fn problem_at(
        &self,
        path: &Path,
        snippet: &str,
        message: impl Into<String>,
    ) -> DocumentProblem {
        let span = self.span(path);
        let inside = self
            .text
            .get(span.clone())
            .and_then(|text| text.find(snippet));
        DocumentProblem {
            file: self.file.to_owned(),
            position: Some(position(self.text, span.start + inside.unwrap_or(0))),
            message: message.into(),
        }
    }

    /// Returns the byte range of the value at `path`.
    fn span(&self, path: &Path) -> Range<usize> {
        let mut span = self.root.span();
        let mut table = Some(self.root.get_ref());
        let mut array = None;
        for step in &path.0 {
            let next = match (table, array) {
                (Some(table), _) => table.get(step.as_str()),
                (None, Some(array)) => step.parse().ok().and_then(|at: usize| {
                    let array: &toml::de::DeArray<'_> = array;
                    array.get(at)
                }),
                (None, None) => None,
            };
            let Some(next) = next else { break };
            // A table defined only by dotted keys or sub-tables has no text of its own.
            if !next.span().is_empty() {
                span = next.span();
            }
            table = next.get_ref().as_table();
            array = next.get_ref().as_array();
        }
        span
    }

    /// Converts serde's error, rephrasing its message.
    fn refusal(&self, error: &toml::de::Error) -> DocumentProblem {
        DocumentProblem {
            file: self.file.to_owned(),
            position: error.span().map(|span| position(self.text, span.start)),
            message: rephrase(error.message()),
        }
    }
}

/// Rewrites serde's message about an unknown name to suggest the nearest known one. serde and toml
/// have no other form of an error than its text.
fn rephrase(message: &str) -> String {
    let (kind, rest) = if let Some(rest) = message.strip_prefix("unknown field ") {
        ("key", rest)
    } else if let Some(rest) = message.strip_prefix("unknown variant ") {
        ("value", rest)
    } else if let Some(rest) = message.strip_prefix("missing field ") {
        return format!("key {rest} is missing: add it");
    } else if message.ends_with("expected a string") {
        return format!("{message}: write it in quotes");
    } else {
        return message.replace('\n', ", ");
    };
    // serde writes: `given`, expected one of `a`, `b` (or: expected `a` or `b`)
    let (given, expected) = rest.split_once(", ").unwrap_or((rest, ""));
    let given = given.trim_matches('`');
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let hint = hint(given, &known, || match known.is_empty() {
        true => "no keys are allowed here: take it out".to_owned(),
        false => format!("known here: {}", known.join(", ")),
    });
    format!("unknown {kind} `{given}`: {hint}")
}

/// Returns the last line of a multi-line error, which states the cause, after `what`.
#[must_use]
pub fn one_line(what: &str, error: &str) -> String {
    let last = error.trim_end().lines().last().unwrap_or_default().trim();
    format!("{what}: {}", last.strip_prefix("error: ").unwrap_or(last))
}

/// Returns `shop, docs`, or `none`.
#[must_use]
pub fn names_or_none<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

/// Returns the name in `known` that `given` was probably meant to be.
#[must_use]
pub fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    let given = given.to_lowercase();
    let edits_max = (given.chars().count() / 3).max(1);
    known
        .iter()
        .map(|name| (name.to_lowercase(), *name))
        .map(|(lower, name)| {
            let edits = strsim::damerau_levenshtein(&given, &lower);
            (edits, strsim::jaro_winkler(&given, &lower), name)
        })
        .filter(|(edits, likeness, _)| *edits <= edits_max || *likeness > 0.75)
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(_, _, name)| name)
}

/// Asks for the name in `known` that `given` was probably meant to be, or says `otherwise`.
#[must_use]
pub fn hint(given: &str, known: &[&str], otherwise: impl FnOnce() -> String) -> String {
    let ask = |name| format!("did you mean `{name}`?");
    nearest(given, known).map_or_else(otherwise, ask)
}

/// Returns `; did you mean shop?`, to add to an error that lists the known names; empty if none of
/// them is near.
#[must_use]
pub fn meant(given: &str, known: &[&str]) -> String {
    let ask = |name| format!("; did you mean {name}?");
    nearest(given, known).map_or_else(String::new, ask)
}

/// Removes the key at `span`, at any depth; returns whether it was found.
fn remove_key(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let found = table.keys().find(|key| key.span() == *span).cloned();
    match found {
        Some(key) => table.remove(&key).is_some(),
        None => table
            .iter_mut()
            .any(|(_, value)| remove_key_below(value.get_mut(), span)),
    }
}

fn remove_key_below(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => remove_key(table, span),
        DeValue::Array(array) => array
            .iter_mut()
            .any(|value| remove_key_below(value.get_mut(), span)),
        _ => false,
    }
}

/// Converts a byte offset to line and column.
fn position(text: &str, offset: usize) -> TextPosition {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    TextPosition {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Outer {
        #[serde(default)]
        listen: String,
        #[serde(default)]
        rules: Vec<Inner>,
        #[serde(default)]
        hosts: BTreeMap<String, Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        pattern: String,
        #[serde(default)]
        schedule: Schedule,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Schedule {
        #[default]
        New,
        Ready,
    }

    fn complaints(text: &str) -> Vec<String> {
        let document = match Document::parse("a.toml", text) {
            Ok(document) => document,
            Err(problems) => return problems.0.iter().map(ToString::to_string).collect(),
        };
        match document.read::<Outer>() {
            Ok(_) => Vec::new(),
            Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn unknown_key_is_reported_with_position_and_suggestion() {
        let text = "listn = 'x'\n[[rules]]\npattern = 'a'\n[[rules]]\n  patern = 'b'\npattern = 'c'\n\
                    [hosts.web]\npattern = 'a'\nquite_else = 1\n";
        assert_eq!(
            complaints(text),
            [
                "a.toml:1:1: unknown key `listn`: did you mean `listen`?",
                "a.toml:5:3: unknown key `patern`: did you mean `pattern`?",
                "a.toml:9:1: unknown key `quite_else`: known here: pattern, schedule",
            ]
        );
    }

    #[test]
    fn misspelt_required_key_is_reported_once() {
        assert_eq!(
            complaints("[[rules]]\npatern = 'a'\n"),
            ["a.toml:2:1: unknown key `patern`: did you mean `pattern`?"]
        );
    }

    #[test]
    fn unknown_value_is_refused_with_a_suggestion() {
        assert_eq!(
            complaints("[[rules]]\npattern = 'a'\nschedule = 'redy'\n"),
            ["a.toml:3:12: unknown value `redy`: did you mean `ready`?"]
        );
    }

    #[test]
    fn a_missing_key_is_reported_where_its_table_starts() {
        assert_eq!(
            complaints("\n[hosts.web]\nschedule = 'new'\n"),
            ["a.toml:2:1: key `pattern` is missing: add it"]
        );
    }

    #[test]
    fn a_wrong_type_is_reported_at_the_value() {
        assert_eq!(
            complaints("listen = 7\n"),
            ["a.toml:1:10: invalid type: integer `7`, expected a string: write it in quotes"]
        );
    }

    #[test]
    fn invalid_toml_is_reported_at_its_position() {
        let complaints = complaints("listen = 'x'\nrules = [\n");
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].starts_with("a.toml:3:1: ") || complaints[0].starts_with("a.toml:2:")
        );
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(
            position("a = 'é' # x\nb", "a = 'é' #".len()),
            TextPosition {
                line: 1,
                column: 10
            }
        );
    }

    #[test]
    fn path_resolves_to_its_value_or_the_nearest_table() {
        let text = "[[rules]]\npattern = 'a'\n[[rules]]\npattern = 'b'\n[hosts.web]\n";
        let document = Document::parse("a.toml", text).unwrap();
        let second = Path::root().join("rules").join(1);
        let line = |path: &Path| document.problem(path, "").position.unwrap().line;
        assert_eq!(line(&second.join("pattern")), 4);
        assert_eq!(line(&second.join("absent")), 3);
        assert_eq!(
            line(&Path::root().join("hosts").join("web").join("jump")),
            5
        );
    }
}
