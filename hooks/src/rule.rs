//! Which ref of a repository becomes which task, and why not.
//!
//! The agent decides with the rules of its own configuration; the hook decides with the copy that
//! the agent published ([`RulesFile`]), only to tell the pusher what will happen. This module reads
//! no file, asks no clock and never peels a tag. `intake`, `config` and the command line call it,
//! and the program `update`.
//!
//! A pattern is matched from the start of the tag's short name, as Python's `re.match` does: `qa-*`
//! fits `qa-7`, and `$` pins the end. The first rule that matches wins. Since the hook runs for
//! every ref of every push, a pattern is compiled only when the literal text it starts with, or its
//! first letter, fits the tag, and without Unicode tables where tag and pattern are ASCII (for such names both mean
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

/// What stands before the short name of a tag.
pub const TAGS: &str = "refs/tags/";

/// A pattern that compiles to more than this many bytes is refused: a hook has no time for it.
const SIZE_LIMIT: usize = 1 << 20;

/// When a task of a rule starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// As soon as the tag has landed.
    Ready,
    /// When it has been approved.
    New,
    /// Never: everything is worked out and shown, nothing is done.
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

/// One rule: what a tag of this form means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// A regular expression of the `regex` crate, matched from the start of the short name.
    pub pattern: String,
    /// The environment that the tag is for.
    pub environment: String,
    /// The template of the task. The hook has no use for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// When the task starts.
    pub schedule: Schedule,
    /// Who must approve, in words for the pusher: `1 of @pm and 1 of @ops`; empty where nobody must.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub approval: String,
    /// Whether a newer tag of this rule takes the place of an older one that has not begun.
    #[serde(default = "supersede_default")]
    pub supersede: bool,
    /// Whether the pusher's own approval counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_approval: bool,
}

/// An older agent does not publish it.
fn supersede_default() -> bool {
    true
}

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    pub project: String,
    /// Counted from 1, as people count the rules of a file.
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
    /// A branch, a note, …: nothing that could be released.
    NotATag,
    /// A tag whose name is not UTF-8: no pattern can match it, it is never released.
    NotUtf8,
    /// A tag whose name a git server cannot be asked for; see [`is_reference`].
    OddName,
    /// A tag that no rule matches.
    NoRule { tag: &'a str },
    /// A new or moved tag, and the first rule that matches it.
    Matched {
        tag: &'a str,
        /// Counted from 0; people see it plus one.
        index: usize,
        rule: &'a Rule,
    },
    /// A deleted tag that a rule matches: whatever waits for it may be withdrawn.
    Deleted {
        tag: &'a str,
        index: usize,
        rule: &'a Rule,
    },
    /// Git never calls its hook like this.
    Malformed(Malformed),
}

/// Whether `id` is an object id as git writes it: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
#[must_use]
pub fn is_object_id(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `id` is the id that stands for "nothing": all zeros, of either length.
#[must_use]
pub fn is_zero(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|b| b == b'0')
}

/// A git server is asked for many refs at once, and they have to fit one command line.
const REFERENCE_BYTES_MAX: usize = 1_000;

/// Whether a git server can be asked for the ref of this full name: git's own rules as far as they
/// matter on a command line and in a refspec, no control characters (git takes those beyond ASCII,
/// terminals obey them), and not longer than 1,000 bytes.
#[must_use]
pub fn is_reference(name: &str) -> bool {
    let odd =
        |c: char| c.is_control() || matches!(c, ' ' | ':' | '?' | '*' | '[' | '\\' | '^' | '~');
    name.starts_with("refs/")
        && !name.ends_with('/')
        && name.len() <= REFERENCE_BYTES_MAX
        && !name.contains(odd)
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
    /// For ASCII names; `None` where the pattern needs Unicode.
    ascii: OnceLock<Option<regex::bytes::Regex>>,
    unicode: OnceLock<Result<regex::Regex, String>>,
}

impl RuleSet {
    /// Takes the rules as they are; a pattern is looked at when a tag first needs it. For rules that
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

    /// Like [`RuleSet::new`], and proves that every pattern can be used.
    ///
    /// # Errors
    /// The first pattern that can't, with project and number.
    pub fn checked(project: impl Into<String>, rules: Vec<Rule>) -> Result<Self, RuleError> {
        let set = Self::new(project, rules);
        for (index, prepared) in set.rules.iter().enumerate() {
            // By itself first: `a)(b` would become valid inside the group that anchors it.
            unicode(&prepared.rule.pattern)
                .and_then(|_| anchored(&prepared.rule.pattern))
                .map_err(|reason| set.error(index, reason))?;
        }
        Ok(set)
    }

    /// The project that the rules belong to.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The rules in their order.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.iter().map(|prepared| &prepared.rule)
    }

    /// What the ref means; `reference` is the full name (`refs/tags/v1`) as git passes it.
    ///
    /// # Errors
    /// A pattern that had to be asked and cannot be used.
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
            return Ok(Decision::OddName);
        }
        let tag = &name[TAGS.len()..];
        Ok(match self.first_match(tag)? {
            None => Decision::NoRule { tag },
            Some((index, rule)) if is_zero(new) => Decision::Deleted { tag, index, rule },
            Some((index, rule)) => Decision::Matched { tag, index, rule },
        })
    }

    /// The first rule that matches this short name, with its index counted from 0.
    ///
    /// # Errors
    /// A pattern that had to be asked and cannot be used.
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

/// The pattern without Unicode classes, or `None` where it does not compile so (`\p{Greek}`, text
/// beyond ASCII). On ASCII names it decides as the full one does.
fn ascii(pattern: &str) -> Option<regex::bytes::Regex> {
    // An escape may name a character beyond ASCII that folds to one within: (?i)\x{212A} fits k.
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

/// The last line of the crate's message says what is wrong; those before it draw the place.
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
