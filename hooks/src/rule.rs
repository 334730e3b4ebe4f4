//! Which ref of a repository becomes which task, and why not.
//!
//! The agent decides with the rules of its own configuration. The hook decides with the copy that
//! the agent published ([`RulesFile`]), only to inform the pusher. This module reads no file, uses
//! no clock and never peels a tag. `intake`, `config` and the command line call it, and the program
//! `update`.
//!
//! A pattern is matched from the start of the tag's short name, like Python's `re.match`: `qa-*`
//! matches `qa-7`, and `$` anchors the end. The first rule that matches wins. Since the hook runs
//! for every ref of every push, a pattern is compiled only if its literal prefix or first letter
//! fits the tag. If tag and pattern are ASCII, it is compiled without Unicode tables (the result is
//! the same).

mod explain;
mod file;
mod prefix;

use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use crate::pusher::{Pusher, Pushers};
pub use explain::{Explained, Verdict};
pub use file::{FORMAT, OnSpoolError, ProjectRules, RulesFile, RulesFileError};

/// The prefix of a tag's full name.
pub const TAGS: &str = "refs/tags/";

/// The maximum compiled size of a pattern, in bytes: a hook has no time for a larger one.
const SIZE_LIMIT: usize = 1 << 20;

/// When a task of a rule starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// As soon as the tag has landed.
    Ready,
    /// When it has been approved.
    New,
    /// Never: the plan is made and displayed, but nothing is done.
    Observe,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::New => "new",
            Self::Observe => "observe",
        })
    }
}

/// One rule: what a matching tag means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// A regular expression of the `regex` crate, matched from the start of the short name.
    pub pattern: String,
    /// The environment that the tag is for.
    pub environment: String,
    /// The template of the task. The hook does not use it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// When the task starts.
    pub schedule: Schedule,
    /// Who must approve, as text for the pusher: `1 of @pm and 1 of @ops`; empty if no one must.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub approval: String,
    /// Whether a newer tag of this rule supersedes an older one that has not begun.
    #[serde(default = "supersede_default")]
    pub supersede: bool,
    /// Whether the pusher's own approval counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_approval: bool,
}

/// Older agents do not publish it.
fn supersede_default() -> bool {
    true
}

/// An invalid pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    pub project: String,
    /// The rule's number in the file, from 1.
    pub number: usize,
    pub pattern: String,
    pub reason: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "project {}, rule {}: pattern {:?} cannot be used: {}; correct the pattern in the configuration",
            self.project, self.number, self.pattern, self.reason
        )
    }
}

impl std::error::Error for RuleError {}

/// The three arguments of git's `update` hook do not fit each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not 40 or 64 lower-case hexadecimal digits.
    ObjectId(String),
    /// The old and the new id belong to different hash functions.
    DifferentLengths,
    /// `refs/tags/` with nothing behind it.
    EmptyTag,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ObjectId(id) => write!(
                f,
                "{:?} is not an object id (40 or 64 lower-case hexadecimal digits)",
                id.chars().take(80).collect::<String>()
            ),
            Self::DifferentLengths => f.write_str("old and new object id differ in length"),
            Self::EmptyTag => f.write_str("the tag has no name"),
        }
    }
}

/// What a ref means for one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// A branch, a note, …: nothing to release.
    NotATag,
    /// A tag whose name is not UTF-8: no pattern can match it, it is never released.
    NotUtf8,
    /// A tag whose name cannot be queried from a git server; see [`is_reference`].
    UnsafeName,
    /// A tag that no rule matches.
    NoRule { tag: &'a str },
    /// A new or moved tag, and the first rule that matches it.
    Matched {
        tag: &'a str,
        /// Counted from 0; messages show it plus one.
        index: usize,
        rule: &'a Rule,
    },
    /// A deleted tag that a rule matches: tasks that wait for it may be withdrawn.
    Deleted {
        tag: &'a str,
        index: usize,
        rule: &'a Rule,
    },
    /// Git never calls its hook with these arguments.
    Malformed(Malformed),
}

/// Whether `id` is an object id as git writes it: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
#[must_use]
pub fn is_object_id(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `id` means "nothing": all zeros, of either length.
#[must_use]
pub fn is_zero(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|b| b == b'0')
}

/// Many refs are queried at once, and they have to fit one command line.
const REFERENCE_BYTES_MAX: usize = 1_000;

/// Whether the ref of this full name can be queried from a git server. Applies git's own rules that
/// matter on a command line and in a refspec; forbids control characters (git accepts those beyond
/// ASCII, terminals obey them) and more than 1,000 bytes.
#[must_use]
pub fn is_reference(name: &str) -> bool {
    let unsafe_name =
        |c: char| c.is_control() || matches!(c, ' ' | ':' | '?' | '*' | '[' | '\\' | '^' | '~');
    name.starts_with("refs/")
        && !name.ends_with('/')
        && name.len() <= REFERENCE_BYTES_MAX
        && !name.contains(unsafe_name)
        && !name.contains("..")
        && !name.contains("@{")
}

/// The rules of one project, in their order.
#[derive(Clone, Debug)]
pub struct RuleSet {
    project: String,
    rules: Vec<Prepared>,
}

#[derive(Clone, Debug)]
struct Prepared {
    rule: Rule,
    prefix: String,
    /// For ASCII names; `None` if the pattern needs Unicode.
    ascii: OnceLock<Option<regex::bytes::Regex>>,
    unicode: OnceLock<Result<regex::Regex, String>>,
}

impl RuleSet {
    /// Takes the rules unchecked; a pattern is compiled when a tag first needs it. For rules that
    /// were checked before: the hook's copy.
    #[must_use]
    pub fn new(project: impl Into<String>, rules: Vec<Rule>) -> Self {
        let rules = rules
            .into_iter()
            .map(|rule| Prepared {
                prefix: prefix::literal_prefix(&rule.pattern),
                rule,
                ascii: OnceLock::new(),
                unicode: OnceLock::new(),
            })
            .collect();
        Self {
            project: project.into(),
            rules,
        }
    }

    /// Like [`RuleSet::new`], but checks that every pattern is valid.
    ///
    /// # Errors
    /// The first invalid pattern, with project and number.
    pub fn checked(project: impl Into<String>, rules: Vec<Rule>) -> Result<Self, RuleError> {
        let set = Self::new(project, rules);
        for (index, prepared) in set.rules.iter().enumerate() {
            // Separately first: `a)(b` would become valid inside the group that anchors it.
            unicode(&prepared.rule.pattern)
                .and_then(|_| anchored(&prepared.rule.pattern))
                .map_err(|reason| set.error(index, reason))?;
        }
        Ok(set)
    }

    /// Returns the project of the rules.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Returns the rules in their order.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.iter().map(|prepared| &prepared.rule)
    }

    /// Returns what the ref means; `reference` is the full name (`refs/tags/v1`) as git passes it.
    ///
    /// # Errors
    /// An invalid pattern among those that were needed.
    pub fn decide<'a>(
        &'a self,
        reference: &'a [u8],
        old: &str,
        new: &str,
    ) -> Result<Decision<'a>, RuleError> {
        let Some(tag) = reference.strip_prefix(TAGS.as_bytes()) else {
            return Ok(Decision::NotATag);
        };
        if let Some(id) = [old, new].into_iter().find(|id| !is_object_id(id)) {
            return Ok(Decision::Malformed(Malformed::ObjectId(id.to_owned())));
        }
        if old.len() != new.len() {
            return Ok(Decision::Malformed(Malformed::DifferentLengths));
        }
        if tag.is_empty() {
            return Ok(Decision::Malformed(Malformed::EmptyTag));
        }
        let Ok(name) = std::str::from_utf8(reference) else {
            return Ok(Decision::NotUtf8);
        };
        if !is_reference(name) {
            return Ok(Decision::UnsafeName);
        }
        let tag = &name[TAGS.len()..];
        Ok(match self.first_match(tag)? {
            None => Decision::NoRule { tag },
            Some((index, rule)) if is_zero(new) => Decision::Deleted { tag, index, rule },
            Some((index, rule)) => Decision::Matched { tag, index, rule },
        })
    }

    /// Returns the first rule that matches this short name, with its index counted from 0.
    ///
    /// # Errors
    /// An invalid pattern among those that were needed.
    pub fn first_match(&self, tag: &str) -> Result<Option<(usize, &Rule)>, RuleError> {
        for (index, prepared) in self.rules.iter().enumerate() {
            if self.matches(index, prepared, tag)? {
                return Ok(Some((index, &prepared.rule)));
            }
        }
        Ok(None)
    }

    fn matches(&self, index: usize, prepared: &Prepared, tag: &str) -> Result<bool, RuleError> {
        let pattern = &prepared.rule.pattern;
        if !tag.starts_with(&prepared.prefix) {
            return Ok(false);
        }
        let first = tag.as_bytes().first();
        if prepared.prefix.is_empty()
            && first.is_some_and(|first| !prefix::may_start_with(pattern, *first))
        {
            return Ok(false);
        }
        if tag.is_ascii()
            && let Some(regex) = prepared.ascii.get_or_init(|| ascii(pattern))
        {
            return Ok(regex.is_match(tag.as_bytes()));
        }
        prepared
            .unicode
            .get_or_init(|| anchored(pattern))
            .as_ref()
            .map(|regex| regex.is_match(tag))
            .map_err(|reason| self.error(index, reason.clone()))
    }

    fn error(&self, index: usize, reason: String) -> RuleError {
        RuleError {
            project: self.project.clone(),
            number: index + 1,
            pattern: self.rules[index].rule.pattern.clone(),
            reason,
        }
    }
}

/// Compiles the pattern without Unicode classes; `None` if that fails (`\p{Greek}`, non-ASCII
/// text). For ASCII names it decides like the full one.
fn ascii(pattern: &str) -> Option<regex::bytes::Regex> {
    // An escape may name a non-ASCII character that folds to ASCII: (?i)\x{212A} matches k.
    let escapes = [r"\x", r"\u", r"\U"];
    if !pattern.is_ascii() || escapes.iter().any(|escape| pattern.contains(escape)) {
        return None;
    }
    regex::bytes::RegexBuilder::new(&format!(r"\A(?:{pattern})"))
        .unicode(false)
        .size_limit(SIZE_LIMIT)
        .build()
        .ok()
}

fn anchored(pattern: &str) -> Result<regex::Regex, String> {
    unicode(&format!(r"\A(?:{pattern})"))
}

/// Compiles a pattern. Keeps the last line of the crate's message; the others mark the place.
fn unicode(pattern: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(pattern)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        })
}
