//! Commits and tags as git reads them, as values for display.
//!
//! git decides what a commit is and how its texts are encoded: everything that `git log` shows is
//! accepted, however odd its author line. Remaining bytes that are not UTF-8 are replaced; every
//! text is bounded.

use std::io::{self, BufRead};

use jiff::Timestamp;

use crate::domain::rule::TAGS;
use crate::domain::task::{CommitLine, CommitPerson, TagInfo};

const MESSAGE_CHARS_MAX: usize = 4_000;
const SUBJECT_CHARS_MAX: usize = 200;
/// For names and addresses of people, and tag names; a commit may contain megabytes of them.
const NAME_CHARS_MAX: usize = 200;

/// The format of `git log -z` for [`commits`]. A field contains no NUL.
pub(super) const FORMAT: &str = "--format=tformat:%H%x00%ct%x00%at%x00%an%x00%ae%x00%s";
/// More of a field than any text shows.
const FIELD_BYTES_MAX: usize = 4_000;

/// A commit from `git log`.
pub(super) struct ShownCommit {
    pub(super) id: String,
    pub(super) committed_at: Timestamp,
    pub(super) author: CommitPerson,
    pub(super) subject: String,
}

impl ShownCommit {
    pub(super) fn into_line(self) -> CommitLine {
        CommitLine {
            commit: self.id,
            subject: self.subject,
            author: self.author.shown().to_owned(),
            at: self.committed_at,
        }
    }
}

/// Parses the output of `git log -z` in [`FORMAT`].
pub(super) fn commits(pipe: &mut impl BufRead) -> io::Result<Vec<ShownCommit>> {
    let mut commits = Vec::new();
    let mut fields: [Vec<u8>; 6] = Default::default();
    loop {
        for field in &mut fields {
            if !read_field(pipe, field)? {
                return Ok(commits);
            }
        }
        let [id, committed_at, written_at, name, email, subject] = &fields;
        commits.push(ShownCommit {
            id: String::from_utf8_lossy(id).into_owned(),
            committed_at: time(committed_at),
            author: CommitPerson {
                name: bounded(name, NAME_CHARS_MAX),
                email: bounded(email, NAME_CHARS_MAX),
                at: time(written_at),
            },
            subject: bounded(subject, SUBJECT_CHARS_MAX),
        });
    }
}

/// Reads a NUL-terminated field, truncating a long one; returns `false` at the end.
pub(super) fn read_field(pipe: &mut impl BufRead, field: &mut Vec<u8>) -> io::Result<bool> {
    field.clear();
    loop {
        let ready = pipe.fill_buf()?;
        if ready.is_empty() {
            return Ok(false);
        }
        let end = ready.iter().position(|byte| *byte == 0);
        let more = &ready[..end.unwrap_or(ready.len())];
        let bytes_left = FIELD_BYTES_MAX.saturating_sub(field.len());
        field.extend_from_slice(&more[..more.len().min(bytes_left)]);
        let taken = more.len() + usize::from(end.is_some());
        pipe.consume(taken);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Parses a tag object; all parts of it are optional.
pub(super) fn tag(object: &[u8], reference: &str) -> TagInfo {
    let end = object.windows(2).position(|pair| pair == b"\n\n");
    let (head, message) = match end {
        Some(at) => (&object[..at], &object[at + 2..]),
        None => (object, &[][..]),
    };
    let header = |name: &[u8]| {
        head.split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(name))
    };
    let name = header(b"tag ").unwrap_or_default();
    let short = reference.strip_prefix(TAGS).unwrap_or(reference);
    TagInfo {
        name: bounded(name, NAME_CHARS_MAX),
        named_as_ref: name == short.as_bytes(),
        tagger: header(b"tagger ").map(person),
        message: bounded(message, MESSAGE_CHARS_MAX),
    }
}

/// Parses `NAME <EMAIL> SECONDS ZONE`, as far as possible.
fn person(line: &[u8]) -> CommitPerson {
    let cut = |bytes: &[u8], at: u8| {
        let end = bytes.iter().position(|byte| *byte == at);
        match end {
            Some(end) => (bytes[..end].to_vec(), bytes[end + 1..].to_vec()),
            None => (bytes.to_vec(), Vec::new()),
        }
    };
    let (name, rest) = cut(line, b'<');
    let (email, date) = cut(&rest, b'>');
    let seconds = date.trim_ascii_start();
    let (seconds, _) = cut(seconds, b' ');
    CommitPerson {
        name: bounded(&name, NAME_CHARS_MAX),
        email: bounded(&email, NAME_CHARS_MAX),
        at: time(&seconds),
    }
}

pub(super) fn bounded(bytes: &[u8], chars_max: usize) -> String {
    // A character has at most four bytes, so the rest is irrelevant.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * chars_max)]);
    text.trim_end().chars().take(chars_max).collect()
}

/// A commit may contain any number; an invalid date counts as 1970.
fn time(seconds: &[u8]) -> Timestamp {
    let seconds = std::str::from_utf8(seconds).ok();
    let seconds = seconds.and_then(|text| text.parse().ok());
    seconds
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tag_needs_neither_tagger_nor_message() {
        let bare = tag(b"object 1\ntype commit\ntag v1\n", "refs/tags/v1");
        assert!(bare.named_as_ref);
        assert_eq!((bare.tagger, bare.message.as_str()), (None, ""));
        let invalid = tag(
            b"tag v2\ntagger Alice <al\nice@> x\n\nhello\n",
            "refs/tags/v1",
        );
        assert!(!invalid.named_as_ref);
        let tagger = invalid
            .tagger
            .map(|tagger| (tagger.name, tagger.email, tagger.at));
        let expected = ("Alice".to_owned(), "al".to_owned(), Timestamp::UNIX_EPOCH);
        assert_eq!(tagger, Some(expected));
        assert_eq!(invalid.message, "hello");
    }

    #[test]
    fn a_long_field_is_cut_and_the_next_commit_whole() {
        let long = "x".repeat(100_000);
        let text = format!("c1\x0010\x009\0Alice\0a@example.com\0{long}\0c2\0odd\0\0\0\0two\0c3\0");
        let mut pipe = io::BufReader::with_capacity(7, text.as_bytes());
        let shown = commits(&mut pipe).unwrap();
        let lengths: Vec<_> = shown
            .iter()
            .map(|c| (c.id.as_str(), c.subject.len()))
            .collect();
        assert_eq!(lengths, [("c1", SUBJECT_CHARS_MAX), ("c2", 3)]);
        assert_eq!(shown[0].author.name, "Alice");
        assert_eq!(shown[1].committed_at, Timestamp::UNIX_EPOCH);
    }
}
