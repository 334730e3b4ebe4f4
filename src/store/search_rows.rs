//! Indexes to find tasks by other keys than their ids. The rows are written in the same commit as
//! the event they follow from (pure).
//!
//! | key | holds |
//! |---|---|
//! | `by/FIELD/HASH/TIME/ID` | the task has this value in the field |
//! | `text/TIME/ID` | its hashes in one line, then its searchable words in lower case |
//! | `index` | the layout of these rows |
//!
//! TIME is when the task was created, in milliseconds, so all indexes sort alike and can be walked
//! side by side. Values are hashed, since tag names may be longer than a key.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::kv::{Commit, Key};
use super::rows::Filter;
use crate::domain::permission::PermissionTarget;
use crate::domain::rule::TAGS;
use crate::domain::task::{Description, Event, Outcome, Recorded, StateName, Task};

/// The layout version that this code writes, in decimal digits. Raised with every change of the
/// rows, and with every kind of event that the previous version could not read.
pub(super) const LAYOUT: u32 = 2;
pub(super) const LAYOUT_KEY: &[u8] = b"index";
pub(super) const TEXTS: &[u8] = b"text/";
/// The words of a task, in bytes: with its hashes less than what fits beside a key.
const TEXT_BYTES_MAX: usize = 3_700;
/// The pushed object, and the commit.
const HASHES_MAX: usize = 3;
/// How many digits a word needs to be searched as a hash; the maximum is that of SHA-256.
const HASH_DIGITS: std::ops::RangeInclusive<usize> = 7..=64;
/// The maximum that one event adds to the words, in characters.
const WORDS_MAX: usize = 1_000;
/// Lengths of indexed tag prefixes, in bytes. A search uses the longest that it can.
const BEGINNINGS: [usize; 4] = [4, 8, 16, 32];

/// A task's position in lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition(pub(super) String);

impl ListPosition {
    /// Returns the opaque text that [`ListPosition::parse`] reads.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `None` if the text is not a position.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (time, id) = text.split_once('/')?;
        let hex = |part: &str| part.len() == 16 && part.bytes().all(|b| b.is_ascii_hexdigit());
        (hex(time) && hex(id)).then(|| Self(text.to_owned()))
    }

    pub(super) fn id(&self) -> u64 {
        let digits = self.0.rsplit('/').next().unwrap_or_default();
        u64::from_str_radix(digits, 16).unwrap_or(0)
    }
}

/// Returns the position of a task created at this time.
pub(super) fn position(created: Timestamp, id: u64) -> ListPosition {
    ListPosition(format!("{}/{id:016x}", time(created.as_millisecond())))
}

/// Formats milliseconds so that they sort as text, also before 1970.
pub(super) fn time(milliseconds: i64) -> String {
    format!("{:016x}", milliseconds.cast_unsigned() ^ (1 << 63))
}

fn prefix(field: &str, values: &[&str]) -> Key {
    let mut hash = Sha256::new();
    for value in values {
        hash.update(value.as_bytes());
        hash.update([0]);
    }
    let hex: String = hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("by/{field}/{hex}/").into_bytes()
}

fn row(prefix: &[u8], position: &ListPosition) -> Key {
    [prefix, position.0.as_bytes()].concat()
}

pub(super) fn state_row(state: StateName, position: &ListPosition) -> Key {
    row(&prefix("state", &[state.as_str()]), position)
}

pub(super) fn text_row(position: &ListPosition) -> Key {
    row(TEXTS, position)
}

fn of_beginning(tag: &str, length: usize) -> Key {
    let beginning = String::from_utf8_lossy(&tag.as_bytes()[..length]).into_owned();
    prefix("tag", &[&length.to_string(), &beginning])
}

/// Returns the rows that hold from the first event of a task on.
pub(super) fn begun(task: &Task) -> Commit {
    let position = position(task.created, task.id);
    let submission = &task.submission;
    let submitter = &submission.submitter;
    let mut prefixes = vec![
        prefix("template", &[&submission.template]),
        prefix("submitter", &[&submitter.name]),
    ];
    if let Some(account) = &submitter.account {
        prefixes.push(prefix("submitter", &[account]));
    }
    if submission.has_environment() {
        let (project, environment) = (&submission.project, &submission.environment);
        prefixes.extend([
            prefix("project", &[project]),
            prefix("environment", &[environment]),
            prefix("place", &[project, environment]),
        ]);
    }
    let tag = submission.reference.strip_prefix(TAGS).unwrap_or_default();
    let fit = BEGINNINGS.iter().filter(|length| **length <= tag.len());
    prefixes.extend(fit.map(|length| of_beginning(tag, *length)));
    prefixes
        .iter()
        .fold(Commit::new(), |commit, prefix| {
            commit.put(row(prefix, &position), "")
        })
        .put(state_row(task.state.name(), &position), "")
}

/// Returns the rows that an event adds.
pub(super) fn happened(after: &Task, recorded: &Recorded) -> Commit {
    match &recorded.event {
        Event::Approved(approval) => {
            let position = position(after.created, after.id);
            Commit::new().put(row(&prefix("approver", &[&approval.by]), &position), "")
        }
        _ => Commit::new(),
    }
}

/// Returns the rows whose tasks may match; a match has a row in each.
pub(super) fn prefixes(filter: &Filter) -> Vec<Key> {
    let mut prefixes = Vec::new();
    match (&filter.project, &filter.environment) {
        (Some(project), Some(environment)) => {
            prefixes.push(prefix("place", &[project, environment]));
        }
        (Some(project), None) => prefixes.push(prefix("project", &[project])),
        (None, Some(environment)) => prefixes.push(prefix("environment", &[environment])),
        (None, None) => {}
    }
    for (field, value) in [
        ("state", &filter.state),
        ("template", &filter.template),
        ("submitter", &filter.submitter),
        ("approver", &filter.approver),
    ] {
        prefixes.extend(value.as_deref().map(|value| prefix(field, &[value])));
    }
    if let Some(tag) = &filter.tag {
        let longest = BEGINNINGS.iter().rfind(|length| **length <= tag.len());
        prefixes.extend(longest.map(|length| of_beginning(tag, *length)));
    }
    prefixes
}

/// Returns the prefix of the rows that cover all tasks of a scope; an empty field matches any
/// value. `None` if that is every task.
pub(super) fn prefix_of(target: &PermissionTarget) -> Option<Key> {
    let (project, environment) = (target.project.as_str(), target.environment.as_str());
    Some(match (project, environment, target.template.as_str()) {
        ("", "", "") => return None,
        ("", "", template) => prefix("template", &[template]),
        ("", environment, _) => prefix("environment", &[environment]),
        (project, "", _) => prefix("project", &[project]),
        (project, environment, _) => prefix("place", &[project, environment]),
    })
}

/// Where a search for words looks, besides the beginning of a commit's hash: what [`words`] and
/// [`described`] return. Help takes it from here; tests compare page and documentation with it.
pub const SEARCHED: &str = "tag, title, remarks, commit message, comments or reasons";

/// Returns the words in events, and the blob of the description that holds more.
pub(super) fn words(events: &[Recorded]) -> Vec<&str> {
    let mut words: Vec<&str> = Vec::new();
    for recorded in events {
        match &recorded.event {
            Event::Proposed(submission) => {
                let tag = submission.reference.strip_prefix(TAGS);
                words.extend([tag.unwrap_or(&submission.reference)]);
                words.push(&submission.title);
                words.extend(submission.request().map(|request| request.details.as_str()));
            }
            Event::Approved(approval) => words.push(&approval.comment),
            Event::Rejected { reason, .. }
            | Event::Withdrawn { reason, .. }
            | Event::Expired { reason, .. }
            | Event::RollbackBegan { reason } => words.push(reason),
            Event::Finished(
                Outcome::Failed { message }
                | Outcome::RolledBack { message }
                | Outcome::RollbackFailed { message },
            ) => words.push(message),
            _ => {}
        }
    }
    words.retain(|text| !text.trim().is_empty());
    words
}

/// Returns the description in events.
pub(super) fn description(events: &[Recorded]) -> Option<&str> {
    events
        .iter()
        .rev()
        .find_map(|recorded| match &recorded.event {
            Event::Landed(landed) if !landed.description.is_empty() => {
                Some(landed.description.as_str())
            }
            _ => None,
        })
}

/// Returns the words of a description.
pub(super) fn described(description: &Description) -> Vec<&str> {
    let tag = description.tag.as_ref().map(|tag| tag.message.as_str());
    tag.into_iter()
        .chain([description.subject.as_str()])
        .collect()
}

/// Returns the hashes in events: of the pushed object and of the commit.
pub(super) fn hashes(events: &[Recorded]) -> Vec<&str> {
    let mut hashes = Vec::new();
    for recorded in events {
        match &recorded.event {
            Event::Proposed(submission) => hashes.push(submission.object.as_str()),
            Event::Landed(landed) => hashes.extend([landed.commit.as_str(), &landed.object]),
            _ => {}
        }
    }
    hashes.retain(|hash| is_hash(hash));
    hashes
}

/// Whether this is a hash, or a prefix as long as pages show.
fn is_hash(word: &str) -> bool {
    HASH_DIGITS.contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a row's text contains this word (in lower case), or a hash with this prefix.
pub(super) fn has(text: &str, word: &str) -> bool {
    let (hashes, words) = text.split_once('\n').unwrap_or((text, ""));
    words.contains(word) || (is_hash(word) && hashes.split(' ').any(|hash| hash.starts_with(word)))
}

/// Returns the text with these hashes and words added, as many words as fit.
pub(super) fn extended<'a>(
    text: &str,
    hashes: Vec<&'a str>,
    words: impl IntoIterator<Item = &'a str>,
) -> String {
    let (held, text) = text.split_once('\n').unwrap_or((text, ""));
    let mut all: Vec<String> = held.split_whitespace().map(str::to_owned).collect();
    for hash in hashes.into_iter().map(str::to_lowercase) {
        if !all.contains(&hash) && all.len() < HASHES_MAX {
            all.push(hash);
        }
    }
    format!("{}\n{}", all.join(" "), with_words(text, words))
}

fn with_words<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = text.to_owned();
    for more in words {
        let more: String = more.chars().take(WORDS_MAX).collect();
        let more = more.to_lowercase();
        if text.contains(&more) {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&more);
    }
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
