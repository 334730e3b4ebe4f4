//! The scripts of a `run` step on the host: start or follow an attempt, query its result, kill it.
//! Pure: it builds text and reads answers. Called by `SshHosts`; it never decides whether a program
//! may be run again.
//!
//! The runner is a process in a session of its own. It has prepared a directory with its process
//! ID, start time and boot ID, and *renames* it to `journal/KEY`. The attempt is begun exactly when
//! that directory exists; only one rename can succeed, and one from under a lost fence cannot. Only
//! then does it start the program, in a second session. The program's output goes through a pipe
//! into files that keep its beginning and its end; its exit status is written there, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::script::{
    AnswerItem, FENCE, InvalidValue, OpSequence, Script, absolute, at_most, file_name,
    invalid_answer, quote,
};
use crate::domain::host::{
    DeployTarget, HOME, HostError, OUTPUT_KEPT_BYTES, Run, RunCommand, RunEnd,
};

/// An upper limit for the output of any program: a petabyte.
const OUTPUT_END_MAX: u64 = 1 << 50;

const PROCESS: &str = include_str!("sh/process.sh");
const ATTEMPT: &str = include_str!("sh/attempt.sh");
const START: &str = include_str!("sh/start.sh");
const FOLLOW: &str = include_str!("sh/follow.sh");
const RESULT: &str = include_str!("sh/result.sh");
const KILL: &str = include_str!("sh/kill.sh");

/// Returns the runner's own text: passed to `sh -c`, so it must be self-contained.
fn runner_text() -> String {
    [
        include_str!("sh/answer.sh"),
        PROCESS,
        include_str!("sh/runner.sh"),
    ]
    .concat()
}

/// Returns the script for [`Op::Run`](crate::domain::host::Op::Run): starts the attempt unless it
/// has begun, then sends its output from `offset` on, and its end.
///
/// # Errors
/// [`InvalidValue`] if the key, directory, command or environment cannot be passed.
pub fn run(
    target: &DeployTarget,
    seq: OpSequence,
    run: &Run,
    offset: u64,
) -> Result<Vec<u8>, InvalidValue> {
    let words = match &run.command {
        RunCommand::Argv(words) if words.first().is_none_or(String::is_empty) => {
            return Err(InvalidValue::Form {
                what: "command".into(),
                value: String::new(),
                why: "names no program",
            });
        }
        RunCommand::Argv(words) => words.clone(),
        RunCommand::Shell(text) => vec!["sh".into(), "-c".into(), text.clone()],
        RunCommand::Script { arguments, .. } => arguments.clone(),
    };
    let (name, text) = match &run.command {
        RunCommand::Script { name, text, .. } => (file_name("script", name)?, text.as_str()),
        _ => ("", ""),
    };
    let directory = match run.directory.as_str() {
        plain @ (HOME | "/") => plain,
        path => absolute("directory", path)?,
    };
    let script = Script::at(target, seq)?
        .set("ts_key", file_name("key", &run.key)?)?
        .set("ts_directory", directory)?
        .number("ts_seconds", seconds(run.timeout))
        .number("ts_keep", OUTPUT_KEPT_BYTES)
        .number("ts_offset", offset)
        .set("ts_exports", &exports(&run.environment)?)?
        .set("ts_runner_text", &runner_text())?
        .set("ts_script_name", name)?
        .set("ts_script_text", text)?
        .arguments(&words)?;
    Ok(script.text(&[FENCE, PROCESS, ATTEMPT, START]))
}

/// Returns the script that follows an attempt that is known to have begun: sends its output from
/// `offset` on, and its end. It starts nothing; an attempt that the host no longer knows is
/// [`RunEnd::Unknown`].
///
/// # Errors
/// [`InvalidValue`] if a path or key is invalid on the host.
pub fn follow(deploy_to: &str, key: &str, offset: u64) -> Result<Vec<u8>, InvalidValue> {
    let script = about(deploy_to, key)?.number("ts_offset", offset);
    Ok(script.text(&[FENCE, PROCESS, ATTEMPT, FOLLOW]))
}

/// Returns the script for [`Op::RunResult`](crate::domain::host::Op::RunResult): sends the output
/// from `offset` on, and the end if known.
///
/// # Errors
/// [`InvalidValue`] if a path or key is invalid on the host.
pub fn result(deploy_to: &str, key: &str, offset: u64) -> Result<Vec<u8>, InvalidValue> {
    let script = about(deploy_to, key)?.number("ts_offset", offset);
    Ok(script.text(&[FENCE, PROCESS, ATTEMPT, RESULT]))
}

/// Returns the script for [`Op::Kill`](crate::domain::host::Op::Kill).
///
/// # Errors
/// [`InvalidValue`] if a path or key is invalid on the host.
pub fn kill(deploy_to: &str, key: &str) -> Result<Vec<u8>, InvalidValue> {
    Ok(about(deploy_to, key)?.text(&[FENCE, PROCESS, ATTEMPT, KILL]))
}

/// Returns a script for an attempt, without a fence: every caller may query it.
fn about(deploy_to: &str, key: &str) -> Result<Script, InvalidValue> {
    Script::new()
        .number("ts_fence", 0)
        .number("ts_turn", 0)
        .deploy_to(deploy_to)?
        .set("ts_key", file_name("key", key)?)
}

/// Returns whole seconds, at least one.
fn seconds(timeout: Duration) -> u64 {
    let up = u64::from(timeout.subsec_nanos() > 0);
    // A century is enough, and a valid number for every shell.
    timeout.as_secs().saturating_add(up).clamp(1, 3_000_000_000)
}

/// Returns the step's variables as text for `sh`. The runner sets `TAGSHIP_OUTPUT`.
fn exports(environment: &BTreeMap<String, String>) -> Result<String, InvalidValue> {
    let mut text = String::new();
    for (name, value) in environment {
        if name == "TAGSHIP_OUTPUT" {
            continue;
        }
        if !is_name(name) || name.starts_with("ts_") || name == "TAGSHIP_RUN" {
            return Err(InvalidValue::Form {
                what: "parameter".into(),
                value: name.escape_debug().to_string(),
                why: "cannot be the name of an environment variable: use A-Z, 0-9 and `_`",
            });
        }
        at_most(name, value)?;
        let quoted = quote(name, value)?;
        // Writing to a String never fails.
        let _ = writeln!(text, "{name}={quoted}; export {name}");
    }
    at_most("the environment of the step", &text)?;
    Ok(text)
}

fn is_name(name: &str) -> bool {
    name.bytes().enumerate().all(|(at, byte)| {
        byte.is_ascii_alphabetic() || byte == b'_' || (at > 0 && byte.is_ascii_digit())
    }) && !name.is_empty()
}

/// Reads the answers of [`run`], [`result`] and [`kill`] as they arrive.
#[derive(Debug, Default)]
pub struct Attempt {
    /// The end offset of the output, from the requested offset on.
    reach: u64,
    end: Option<AttemptEnd>,
    values: BTreeMap<String, String>,
    /// Why the outputs for later steps are unreadable.
    unreadable: Option<String>,
    notes: Vec<String>,
}

/// How an attempt ended, as the host reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    Run(RunEnd),
    /// It was stopped before it began, and never will begin.
    Barred,
    Killed,
}

impl Attempt {
    /// Returns a reader of an answer whose output starts at this offset.
    #[must_use]
    pub fn from_offset(offset: u64) -> Self {
        Self {
            reach: offset,
            ..Self::default()
        }
    }

    /// Adds a piece of the output and returns the new end offset. Bytes may be missing only after
    /// the beginning that is always kept, and no more than a program can have printed.
    ///
    /// # Errors
    /// [`HostError::Refused`] if the offset of the piece is invalid.
    pub fn reach(&mut self, offset: u64, length: usize) -> Result<u64, HostError> {
        let end = offset.checked_add(length as u64);
        let continues = offset <= self.reach || self.reach >= OUTPUT_KEPT_BYTES;
        match end.filter(|end| continues && *end <= OUTPUT_END_MAX) {
            Some(end) => {
                self.reach = self.reach.max(end);
                Ok(self.reach)
            }
            None => Err(invalid_answer("data", &format!("{offset} {length}"))),
        }
    }

    /// Handles an item of the answer, except output.
    ///
    /// # Errors
    /// [`HostError`] if the host refuses, or the line belongs to none of these scripts.
    pub fn receive(&mut self, item: AnswerItem, ours: u64) -> Result<(), HostError> {
        match item {
            AnswerItem::Line { word, value } => self.receive_line(&word, &value, ours),
            AnswerItem::Values(bytes) => {
                self.read_values(&bytes);
                Ok(())
            }
            AnswerItem::Data { .. } => Ok(()),
        }
    }

    fn receive_line(&mut self, word: &str, value: &str, ours: u64) -> Result<(), HostError> {
        let end = match (word, value) {
            ("refused" | "fenced", _) => {
                return super::script::AnswerLines::default().add(word.into(), value.into(), ours);
            }
            ("alive" | "begun", "") => return Ok(()),
            ("clipped", "") => {
                let note =
                    "there was more output, which the host could not keep (is its disk full?)";
                if !self.notes.iter().any(|known| known == note) {
                    self.notes.push(note.to_owned());
                }
                return Ok(());
            }
            ("no-values", "") => {
                let why = "$TAGSHIP_OUTPUT is not a file any more: append lines to it, and do not \
                           delete or replace it";
                self.unreadable = Some(why.to_owned());
                return Ok(());
            }
            ("ended", code) => {
                let code = code.parse().map_err(|_| invalid_answer(word, value))?;
                let values = std::mem::take(&mut self.values);
                AttemptEnd::Run(match self.unreadable.take() {
                    Some(why) if code == 0 => RunEnd::BadOutput { why },
                    _ => RunEnd::Ended { code, values },
                })
            }
            ("unended", "") => AttemptEnd::Run(RunEnd::Unended),
            ("late", "") => AttemptEnd::Run(RunEnd::TimedOut),
            ("running", "") => AttemptEnd::Run(RunEnd::Running),
            ("unknown", "") => AttemptEnd::Run(RunEnd::Unknown),
            ("not-begun", "absent") => AttemptEnd::Run(RunEnd::NotBegun),
            ("not-begun", "not-begun") => AttemptEnd::Barred,
            ("killed", "") => AttemptEnd::Killed,
            _ => return Err(invalid_answer(word, value)),
        };
        match self.end.replace(end) {
            None => Ok(()),
            Some(_) => Err(invalid_answer(word, value)),
        }
    }

    /// Returns the reported end, and lines of the agent's own for the log.
    #[must_use]
    pub fn into_end(self) -> (Option<AttemptEnd>, Vec<String>) {
        (self.end, self.notes)
    }

    /// Reads `NAME=value` lines. An invalid line may be part of a secret, so it is only counted.
    fn read_values(&mut self, bytes: &[u8]) {
        if bytes.len() as u64 == super::script::VALUES_BYTES_MAX {
            self.unreadable = Some(format!(
                "$TAGSHIP_OUTPUT is longer than {} bytes; write a file into the release instead",
                bytes.len()
            ));
            return;
        }
        for (at, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            match name_and_value(line) {
                Ok((name, value)) => {
                    self.values.insert(name.to_owned(), value.to_owned());
                }
                Err(why) => {
                    self.unreadable = Some(format!("line {} of $TAGSHIP_OUTPUT {why}", at + 1));
                    return;
                }
            }
        }
    }
}

/// Splits a line of outputs.
///
/// # Errors
/// What is wrong with it, without its content.
fn name_and_value(line: &[u8]) -> Result<(&str, &str), &'static str> {
    let Ok(line) = std::str::from_utf8(line) else {
        return Err("is not UTF-8: encode the value (`base64 -w0`)");
    };
    if line.contains('\0') {
        return Err("holds a NUL byte: encode the value (`base64 -w0`)");
    }
    if line.starts_with("export ") {
        return Err("begins with `export`: write `NAME=value` alone");
    }
    match line.split_once('=') {
        Some((name, value)) if is_name(name) => Ok((name, value)),
        _ => Err("is not `NAME=value` on one line: encode a value of several lines (`base64 -w0`)"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(word: &str, value: &str) -> AnswerItem {
        AnswerItem::Line {
            word: word.into(),
            value: value.into(),
        }
    }

    #[test]
    fn values_are_read_or_the_bad_line_is_counted() {
        let mut attempt = Attempt::default();
        let bytes = b"URL=http://x/?a=b\n\nlower=1\nEMPTY=\r\nLAST=no newline";
        attempt
            .receive(AnswerItem::Values(bytes.to_vec()), 1)
            .unwrap();
        attempt.receive(line("ended", "3"), 1).unwrap();
        let (end, notes) = attempt.into_end();
        let Some(AttemptEnd::Run(RunEnd::Ended { code: 3, values })) = end else {
            panic!("{end:?}");
        };
        let values: Vec<(&str, &str)> = values.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(
            values,
            [
                ("EMPTY", ""),
                ("LAST", "no newline"),
                ("URL", "http://x/?a=b"),
                ("lower", "1"),
            ]
        );
        assert!(notes.is_empty(), "{notes:?}");
        for line in ["BAD LINE", "A B=1", "=1", "A=\0", "-----BEGIN KEY-----"] {
            for (code, bad) in [("0", true), ("3", false)] {
                let mut attempt = Attempt::default();
                let bytes = format!("URL=1\n{line}\n").into_bytes();
                attempt.receive(AnswerItem::Values(bytes), 1).unwrap();
                attempt.receive(self::line("ended", code), 1).unwrap();
                let end = attempt.into_end().0;
                let read = matches!(
                    &end,
                    Some(AttemptEnd::Run(RunEnd::BadOutput { why })) if why.starts_with("line 2 of ")
                );
                assert_eq!(read, bad, "{line:?} {end:?}");
            }
        }
    }

    #[test]
    fn bad_line_of_values_is_named_with_its_cause() {
        let cases: [(&[u8], &str); 5] = [
            (b"A=\xff", "line 2 of $TAGSHIP_OUTPUT is not UTF-8: "),
            (b"A=1\0", "line 2 of $TAGSHIP_OUTPUT holds a NUL byte: "),
            (
                b"export A=1",
                "line 2 of $TAGSHIP_OUTPUT begins with `export`: write `NAME=value` alone",
            ),
            (
                b"export",
                "line 2 of $TAGSHIP_OUTPUT is not `NAME=value` on one line: ",
            ),
            (
                b"-----BEGIN KEY-----",
                "line 2 of $TAGSHIP_OUTPUT is not `NAME=value` on one line: ",
            ),
        ];
        for (bad, reason) in cases {
            let mut attempt = Attempt::default();
            let bytes = [&b"URL=1\n"[..], bad, b"\n"].concat();
            attempt.receive(AnswerItem::Values(bytes), 1).unwrap();
            attempt.receive(line("ended", "0"), 1).unwrap();
            let end = attempt.into_end().0;
            let Some(AttemptEnd::Run(RunEnd::BadOutput { why })) = end else {
                panic!("{end:?}");
            };
            assert!(why.starts_with(reason), "{why}");
        }
    }

    #[test]
    fn output_is_accepted_only_at_the_next_offset() {
        let mut attempt = Attempt::from_offset(10);
        assert_eq!(attempt.reach(10, 5), Ok(15));
        assert_eq!(attempt.reach(0, 5), Ok(15), "the same bytes may come twice");
        for (offset, length) in [(16, 1), (1 << 60, 1), (u64::MAX, 1)] {
            assert!(attempt.reach(offset, length).is_err(), "{offset}");
        }
        let mut attempt = Attempt::from_offset(OUTPUT_KEPT_BYTES);
        let later = 10 * OUTPUT_KEPT_BYTES;
        assert_eq!(
            attempt.reach(later, 5),
            Ok(later + 5),
            "the beginning is whole"
        );
        for offset in [OUTPUT_END_MAX, 1 << 60, u64::MAX] {
            assert!(attempt.reach(offset, 1).is_err(), "{offset}");
        }
    }

    #[test]
    fn attempt_ends_once_with_a_known_result() {
        let mut attempt = Attempt::default();
        attempt.receive(line("ended", "0"), 1).unwrap();
        assert!(attempt.receive(line("ended", "0"), 1).is_err());
        for (word, value) in [("ended", "x"), ("ended", ""), ("late", "2"), ("hello", "")] {
            assert!(
                Attempt::default().receive(line(word, value), 1).is_err(),
                "{word}"
            );
        }
        assert_eq!(
            Attempt::default().receive(line("fenced", "9"), 4),
            Err(HostError::Fenced { ours: 4, held: 9 })
        );
    }

    #[test]
    fn time_limit_is_at_least_one_whole_second() {
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_millis(1001)), 2);
        assert_eq!(seconds(Duration::from_secs(60)), 60);
        assert_eq!(seconds(Duration::MAX), 3_000_000_000);
    }

    #[test]
    fn invalid_variable_name_never_reaches_a_host() {
        for name in [
            "",
            "1A",
            "A B",
            "A;reboot",
            "A=B",
            "é",
            "ts_at",
            "TAGSHIP_RUN",
        ] {
            let environment = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
            assert!(exports(&environment).is_err(), "{name:?}");
        }
        let too_long = BTreeMap::from([("A".to_owned(), "x".repeat(130_000))]);
        assert!(matches!(
            exports(&too_long),
            Err(InvalidValue::TooLong { .. })
        ));
        let nul = BTreeMap::from([("A".to_owned(), "\0".to_owned())]);
        assert!(matches!(exports(&nul), Err(InvalidValue::Nul { .. })));
    }
}
