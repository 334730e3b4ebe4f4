//! The format of every script that a host performs, and of its answer. Scripts are text for `sh
//! -s`: first assignments of quoted values, then fixed text, and as the last line one call, so that
//! a connection lost while the text is sent starts nothing. It never touches a connection; `sync`,
//! `publish` and the runner build on it, `SshHosts` performs.
//!
//! The answer follows a marker, so that earlier output of a login shell is skipped. It consists of
//! lines `word value`; `data OFFSET LENGTH` and `values LENGTH` are followed by that many raw
//! bytes; `done` is the last line. Anything else is an error: an answer is never guessed.

use std::fmt::Write as _;

use super::preamble::{EndlessPreamble, Preamble};
use crate::domain::host::{self, DeployTarget, HostError};

/// The command on the host; any login shell replaces itself with it.
pub(super) const COMMAND: &str = "exec sh -s";

/// Marks the beginning of an answer, at the beginning of a line.
const MARKER: &[u8] = b"\n@tagship-answer-1\n";

/// The maximum length of a line of an answer.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// The maximum size of all lines of an answer, including an overhead for each.
const LINES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many characters of an invalid line are shown.
const LINE_CHARS_SHOWN: usize = 500;
const LINE_COST: usize = 64;
/// The maximum length in `values`.
pub(crate) const VALUES_BYTES_MAX: u64 = 64 * 1024;
/// Linux limits a single argument or variable; the rest is left for the name.
const ARGUMENT_BYTES_MAX: usize = 120 * 1024;

const ANSWER: &str = include_str!("sh/answer.sh");

/// Set first: if a startup file consumed the beginning of the script, it is missing.
const FIRST_LINE: &str = "ts_whole=yes\n";
/// A group is executed only once its closing brace was read.
const LAST_LINES: &str = include_str!("sh/last.sh");

/// Fence, sequence number, and the renames under them; needs the values of [`Script::at`].
pub(crate) const FENCE: &str = concat!(include_str!("sh/mounts.sh"), include_str!("sh/fence.sh"));

/// A value cannot be passed to a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// `sh` values cannot contain this byte.
    #[error("{what} holds a NUL byte: take it out")]
    Nul { what: String },
    /// The value would have another meaning on the host.
    #[error("{what} `{value}` {why}")]
    Form {
        what: String,
        value: String,
        why: &'static str,
    },
    /// The kernel of the host would refuse it.
    #[error(
        "{what} has {bytes} bytes, more than a program can be given at once ({ARGUMENT_BYTES_MAX}): put it into a file of the release"
    )]
    TooLong { what: String, bytes: usize },
}

impl From<InvalidValue> for HostError {
    fn from(unfit: InvalidValue) -> Self {
        Self::Refused(unfit.to_string())
    }
}

/// Orders the scripts of one agent in one place under one fence. A later script has a higher
/// number, so an earlier one that was believed lost can no longer rename anything into place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpSequence(pub u64);

/// Quotes a value so that `sh` reads back the same bytes, and none of them as syntax.
///
/// # Errors
/// [`InvalidValue::Nul`], which names `what`.
pub fn quote(what: &str, value: &str) -> Result<String, InvalidValue> {
    if value.contains('\0') {
        return Err(InvalidValue::Nul { what: what.into() });
    }
    Ok(format!("'{}'", value.replace('\'', r"'\''")))
}

/// Encodes paths of any bytes for `printf %b`, each ended by a NUL. A path is made relative to the
/// working directory (`./`), so that a leading dash is no option.
#[must_use]
pub fn encode_paths<'a>(paths: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut text = String::new();
    for path in paths {
        text.push_str("./");
        for &byte in path {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                    text.push(char::from(byte));
                }
                _ => push_octal(&mut text, byte),
            }
        }
        push_octal(&mut text, 0);
    }
    text
}

fn push_octal(text: &mut String, byte: u8) {
    // Writing to a String never fails.
    let _ = write!(text, "\\0{byte:03o}");
}

/// Checks that a path on the host is absolute, plain and safe as the name of files and variables.
///
/// # Errors
/// [`InvalidValue`] names `what`.
pub fn absolute<'a>(what: &str, path: &'a str) -> Result<&'a str, InvalidValue> {
    let trimmed = path.trim_end_matches('/');
    let why = if !path.starts_with('/') {
        "is not absolute: begin it with `/`"
    } else if trimmed.is_empty() {
        "is the root of the host: name a directory of its own"
    } else if path.chars().any(char::is_control) {
        "holds a control character: name another directory"
    } else if trimmed
        .split('/')
        .skip(1)
        .any(|part| matches!(part, "" | "." | ".."))
    {
        "holds an empty part, `.` or `..`: write the directory's plain path"
    } else {
        return Ok(trimmed);
    };
    Err(InvalidValue::Form {
        what: what.into(),
        value: path.escape_debug().to_string(),
        why,
    })
}

/// Checks a name that becomes the name of one file on the host: a release, a key.
///
/// # Errors
/// [`InvalidValue`] names `what`.
pub fn file_name<'a>(what: &str, name: &'a str) -> Result<&'a str, InvalidValue> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.bytes().all(plain) {
        return Ok(name);
    }
    Err(InvalidValue::Form {
        what: what.into(),
        value: name.escape_debug().to_string(),
        why: "cannot be the name of a file: use letters, digits, `-`, `_` and `.`",
    })
}

/// Maximum length of a foreign link's text, in bytes.
const LINK_BYTES_MAX: usize = 1_000;

/// Checks the target of `current`: the name of a release, or the text of another tool's link, which
/// contains a slash.
///
/// # Errors
/// [`InvalidValue`] names the release.
pub fn linked(text: &str) -> Result<&str, InvalidValue> {
    let link = text.contains('/') && text.len() <= LINK_BYTES_MAX;
    // A non-text byte could not be restored unchanged.
    let odd = |letter: char| letter.is_control() || letter == char::REPLACEMENT_CHARACTER;
    if link && !text.contains(odd) {
        return Ok(text);
    }
    file_name("release", text)
}

/// The text of one script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    values: String,
}

impl Script {
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            values: String::new(),
        }
    }

    /// Returns a script for a target, under a fence and sequence number.
    pub(crate) fn at(target: &DeployTarget, seq: OpSequence) -> Result<Self, InvalidValue> {
        Ok(Self::new()
            .deploy_to(&target.deploy_to)?
            .number("ts_fence", target.fence)
            .number("ts_fence_max", host::fence_max(target.fence))
            .number("ts_turn", seq.0)
            .number("ts_turn_max", host::op_sequence_max(seq.0)))
    }

    /// Sets the place on the host: an absolute path, or one below the home directory (`~/…`).
    pub(crate) fn deploy_to(mut self, deploy_to: &str) -> Result<Self, InvalidValue> {
        let Some(below) = deploy_to.strip_prefix('~') else {
            return self.set("ts_at", absolute("deploy_to", deploy_to)?);
        };
        let below = quote("deploy_to", absolute("deploy_to", below)?)?;
        let _ = writeln!(self.values, "ts_at=${{HOME:-}}{below}");
        Ok(self)
    }

    /// Assigns a value. `name` begins with `ts_`.
    pub(crate) fn set(mut self, name: &'static str, value: &str) -> Result<Self, InvalidValue> {
        let quoted = quote(name, value)?;
        let _ = writeln!(self.values, "{name}={quoted}");
        Ok(self)
    }

    /// Assigns a number.
    pub(crate) fn number(mut self, name: &'static str, value: u64) -> Self {
        let _ = writeln!(self.values, "{name}={value}");
        self
    }

    /// Sets the script's own arguments.
    pub(crate) fn arguments(mut self, words: &[String]) -> Result<Self, InvalidValue> {
        self.values.push_str("set --");
        for word in words {
            at_most("an argument of the command", word)?;
            self.values.push(' ');
            self.values
                .push_str(&quote("an argument of the command", word)?);
        }
        self.values.push('\n');
        Ok(self)
    }

    /// Returns the whole text: values, fixed parts (the last defines `ts_main`), the call.
    pub(crate) fn text(&self, parts: &[&str]) -> Vec<u8> {
        let mut text = format!("{FIRST_LINE}{}", self.values);
        text.push_str(ANSWER);
        for part in parts {
            text.push_str(part);
        }
        text.push_str(LAST_LINES);
        text.into_bytes()
    }
}

/// Checks that a value fits into one argument or variable of a program.
pub(crate) fn at_most(what: &str, value: &str) -> Result<(), InvalidValue> {
    if value.len() > ARGUMENT_BYTES_MAX {
        return Err(InvalidValue::TooLong {
            what: what.into(),
            bytes: value.len(),
        });
    }
    Ok(())
}

/// One item of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerItem {
    /// A line; the value is empty if the line is one word.
    Line { word: String, value: String },
    /// Bytes of an output, at their offset.
    Data { offset: u64, bytes: Vec<u8> },
    /// The program's outputs for later steps.
    Values(Vec<u8>),
}

/// The answer is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswer {
    #[error(
        "the host's answer makes no sense ({0}): does something else answer as `sh` there, or does a startup file of the login (.bashrc) leave a program running that prints?"
    )]
    Words(String),
    #[error(transparent)]
    Preamble(#[from] EndlessPreamble),
}

fn no_answer(what: impl Into<String>) -> InvalidAnswer {
    InvalidAnswer::Words(what.into())
}

#[derive(Debug)]
enum Expect {
    Marker(Preamble),
    Line,
    Data { offset: u64, left: u64 },
    Values { left: u64 },
    Nothing,
}

/// Reads an answer as it arrives, in chunks of any size.
#[derive(Debug)]
pub struct AnswerReader {
    expect: Expect,
    held: Vec<u8>,
}

impl Default for AnswerReader {
    fn default() -> Self {
        Self {
            expect: Expect::Marker(Preamble::new(MARKER)),
            held: Vec::new(),
        }
    }
}

impl AnswerReader {
    /// Whether the host has begun to answer, so that it may have acted.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        !matches!(self.expect, Expect::Marker(_))
    }

    /// Whether the answer is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.expect, Expect::Nothing)
    }

    /// Takes the next bytes and passes on the items in them.
    ///
    /// # Errors
    /// [`InvalidAnswer`] if the bytes are no answer; items passed on before are valid.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        receive: &mut dyn FnMut(AnswerItem),
    ) -> Result<(), InvalidAnswer> {
        while !bytes.is_empty() {
            match &mut self.expect {
                Expect::Marker(preamble) => {
                    let Some(rest) = preamble.pass(bytes)? else {
                        return Ok(());
                    };
                    bytes = rest;
                    self.expect = Expect::Line;
                }
                Expect::Line => bytes = self.take_line(bytes, receive)?,
                Expect::Data { offset, left } => {
                    let count = take_count(*left, bytes.len());
                    receive(AnswerItem::Data {
                        offset: *offset,
                        bytes: bytes[..count].to_vec(),
                    });
                    bytes = &bytes[count..];
                    *offset += count as u64;
                    *left -= count as u64;
                    if *left == 0 {
                        self.expect = Expect::Line;
                    }
                }
                Expect::Values { left } => {
                    let count = take_count(*left, bytes.len());
                    self.held.extend_from_slice(&bytes[..count]);
                    bytes = &bytes[count..];
                    *left -= count as u64;
                    if *left == 0 {
                        receive(AnswerItem::Values(std::mem::take(&mut self.held)));
                        self.expect = Expect::Line;
                    }
                }
                Expect::Nothing => return Err(no_answer("it continues after its end")),
            }
        }
        Ok(())
    }

    fn take_line<'a>(
        &mut self,
        bytes: &'a [u8],
        receive: &mut dyn FnMut(AnswerItem),
    ) -> Result<&'a [u8], InvalidAnswer> {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if self.held.len() + part.len() > LINE_BYTES_MAX {
            return Err(no_answer(format!("a line of over {LINE_BYTES_MAX} bytes")));
        }
        self.held.extend_from_slice(part);
        let Some(end) = end else {
            return Ok(&[]);
        };
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned();
        let (word, value) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "done" if value.is_empty() => self.expect = Expect::Nothing,
            "data" => {
                let (offset, left) = value
                    .split_once(' ')
                    .and_then(|(offset, left)| Some((count(offset)?, count(left)?)))
                    .filter(|(offset, left)| offset.checked_add(*left).is_some())
                    .ok_or_else(|| no_answer(format!("line `{}`", line.escape_debug())))?;
                if left > 0 {
                    self.expect = Expect::Data { offset, left };
                }
            }
            "values" => match count(value) {
                Some(left @ 1..=VALUES_BYTES_MAX) => self.expect = Expect::Values { left },
                _ => return Err(no_answer(format!("line `{}`", line.escape_debug()))),
            },
            _ => receive(AnswerItem::Line {
                word: word.to_owned(),
                value: value.to_owned(),
            }),
        }
        Ok(&bytes[end + 1..])
    }
}

fn take_count(left: u64, have: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(have)
}

/// Parses a count as the scripts print it: digits and nothing else.
fn count(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The lines of a complete answer, for the operations without output. `refused` and `fenced` have
/// become errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerLines {
    lines: Vec<(String, String)>,
    bytes: usize,
}

impl AnswerLines {
    /// Adds a line, or returns the error in it. `ours` is the fence of the request.
    ///
    /// # Errors
    /// [`HostError::Refused`], [`HostError::Fenced`], as the host reported.
    pub fn add(&mut self, word: String, value: String, ours: u64) -> Result<(), HostError> {
        match word.as_str() {
            "refused" => Err(HostError::Refused(explain(&value))),
            "fenced" => match count(&value) {
                Some(held) => Err(host::fenced(ours, held)),
                None => Err(invalid_answer(&word, &value)),
            },
            _ => {
                self.bytes += word.len() + value.len() + LINE_COST;
                if self.bytes > LINES_BYTES_MAX {
                    return Err(HostError::Refused(
                        no_answer(format!("over {LINES_BYTES_MAX} bytes of lines")).to_string(),
                    ));
                }
                self.lines.push((word, value));
                Ok(())
            }
        }
    }

    /// Calls [`add`](Self::add) for any item of an answer.
    ///
    /// # Errors
    /// Also [`HostError::Refused`] for output, which these operations do not have.
    pub fn add_item(&mut self, item: AnswerItem, ours: u64) -> Result<(), HostError> {
        match item {
            AnswerItem::Line { word, value } => self.add(word, value, ours),
            AnswerItem::Data { .. } => Err(invalid_answer("data", "")),
            AnswerItem::Values(_) => Err(invalid_answer("values", "")),
        }
    }

    /// Returns the lines as pairs of word and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().map(|(word, value)| (&**word, &**value))
    }

    /// Returns the value of the only line, which must have this word.
    ///
    /// # Errors
    /// [`HostError::Refused`] for anything else.
    pub fn only(&self, word: &str) -> Result<&str, HostError> {
        match self.lines.as_slice() {
            [(only, value)] if only == word => Ok(value),
            [] => Err(invalid_answer(word, "is missing")),
            [(first, value), ..] => Err(invalid_answer(first, value)),
        }
    }
}

/// Returns the number that overtook a script's, if the line reports it: see [`OpSequence`].
#[must_use]
pub fn overtaken(item: &AnswerItem) -> Option<u64> {
    match item {
        AnswerItem::Line { word, value } if word == "overtaken" => count(value),
        _ => None,
    }
}

/// Returns the error for a line that the current script never sends.
#[must_use]
pub fn invalid_answer(word: &str, value: &str) -> HostError {
    let line = format!("{word} {value}");
    let shown: String = line.trim_end().chars().take(LINE_CHARS_SHOWN).collect();
    HostError::Refused(no_answer(format!("line `{}`", shown.escape_debug())).to_string())
}

/// Puts a remedy first if the host's message has a known cause.
#[must_use]
pub fn explain(text: &str) -> String {
    let remedies = [
        (
            "no inodes are left",
            "delete files on the host until df -i shows free inodes there",
        ),
        (
            "No space left on device",
            "free space on the host's disk (df -h), or inodes where there is space (df -i)",
        ),
        (
            "Disk quota exceeded",
            "raise the quota of the user on the host",
        ),
        (
            "Read-only file system",
            "mount the host's file system writable",
        ),
    ];
    for (cause, remedy) in remedies {
        if text.contains(cause) {
            return format!("{remedy}: {text}");
        }
    }
    text.to_owned()
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
