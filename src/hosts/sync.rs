//! Transfers a complete release to a host, beside the live one: the scripts that prepare and seal
//! it, and rsync's arguments (`rsync`). Pure: `ssh_host::SshHosts` performs what it builds.
//!
//! A new release is built under `.tagship/fence-N`, and is moved to `releases` by one rename, once
//! its digest is verified and its bytes are on the host's disk. A release is complete when its
//! directory and its manifest exist. It shares files with earlier releases by hard links; nothing
//! here ever writes into a file that has a second name.

// rsync's arguments, and the meaning of its exit codes (pure).
pub mod rsync;

use jiff::Timestamp;

use crate::domain::host::{
    BrokenCurrent, DeployTarget, Existing, HostError, HostState, Inodes, Release, ReleaseId, Reply,
    SharedFault, TreeDigest,
};
use crate::git::checkout::{HOST_LISTING, shared_directories, shared_files};
use crate::hosts::ssh::script::{
    AnswerLines, FENCE, InvalidValue, OpSequence, Script, encode_paths, file_name, invalid_answer,
    linked,
};

/// Functions that read the live and complete releases, and compute a tree's digest.
const HOST_STATE: &str = include_str!("ssh/sh/host_state.sh");

/// Lists the tree of the working directory, as input of its digest.
pub(crate) const WALK: &str = HOST_LISTING;

/// Returns the text of a script that reads the host's state.
pub(crate) fn host_state_text(script: &Script, body: &str) -> Vec<u8> {
    let listing = format!("ts_listing() {{ {HOST_LISTING}; }}\n");
    script.text(&[FENCE, &listing, HOST_STATE, body])
}

fn at_release(
    target: &DeployTarget,
    seq: OpSequence,
    release: &Release,
) -> Result<Script, InvalidValue> {
    at_target(
        target,
        seq,
        file_name("release", &release.id.0)?,
        digest(&release.digest)?,
    )
}

fn at_target(
    target: &DeployTarget,
    seq: OpSequence,
    release: &str,
    digest: &str,
) -> Result<Script, InvalidValue> {
    Script::at(target, seq)?
        .set("ts_release", release)?
        .set("ts_wanted", digest)
}

/// Returns non-empty text if an existing release is accepted as it is.
pub(crate) fn as_it_is(existing: Existing) -> &'static str {
    match existing {
        Existing::Equal => "",
        Existing::AsItIs => "yes",
        Existing::Found => "found",
    }
}

fn digest(digest: &TreeDigest) -> Result<&str, InvalidValue> {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digest.0.len() == 64 && digest.0.bytes().all(hex) {
        return Ok(&digest.0);
    }
    Err(InvalidValue::Form {
        what: "digest".into(),
        value: digest.0.escape_debug().to_string(),
        why: "is no SHA-256: release the commit again",
    })
}

/// Returns the script for [`Op::Prepare`](crate::domain::host::Op::Prepare).
///
/// # Errors
/// [`InvalidValue`] if a path or name is invalid on the host.
pub fn prepare(
    target: &DeployTarget,
    seq: OpSequence,
    release: &Release,
    base: Option<(&Release, Inodes)>,
    removed: &[Vec<u8>],
    shared: &[String],
    existing: Existing,
) -> Result<Vec<u8>, InvalidValue> {
    for path in removed {
        inside("a path to delete", path)?;
    }
    let (directories, files) = (shared_directories(shared), shared_files(shared));
    for path in directories.iter().chain(&files) {
        inside("a shared path", path.as_bytes())?;
    }
    let encode = |paths: &[String]| encode_paths(paths.iter().map(String::as_bytes));
    let (from, from_digest) = match base {
        Some((base, _)) => (file_name("release", &base.id.0)?, digest(&base.digest)?),
        None => ("", ""),
    };
    let script = match existing {
        Existing::Found => at_target(target, seq, linked(&release.id.0)?, ""),
        Existing::Equal | Existing::AsItIs => at_release(target, seq, release),
    }?
    .set("ts_kept", as_it_is(existing))?
    .set("ts_from", from)?
    .set("ts_from_digest", from_digest)?
    .set(
        "ts_removed",
        &encode_paths(removed.iter().map(Vec::as_slice)),
    )?
    .set(
        "ts_inodes",
        match base {
            Some((_, Inodes::Own)) => "own",
            Some((_, Inodes::Shared)) | None => "shared",
        },
    )?
    .set("ts_shared", &encode(&directories))?
    .set("ts_shared_files", &encode(&files))?;
    let body = concat!(
        include_str!("sync/shared.sh"),
        include_str!("sync/tools.sh"),
        include_str!("sync/prepare.sh")
    );
    Ok(host_state_text(&script, body))
}

/// Checks that a path stays inside its base directory.
fn inside(what: &str, path: &[u8]) -> Result<(), InvalidValue> {
    let bad_part = |part: &[u8]| matches!(part, b"" | b"." | b"..");
    let why = if path.contains(&0) {
        "holds a NUL byte: take it out"
    } else if path.split(|&byte| byte == b'/').any(bad_part) {
        "is not plain and relative: write it without a leading `/`, `.` and `..`"
    } else {
        return Ok(());
    };
    Err(InvalidValue::Form {
        what: what.into(),
        value: path.escape_ascii().to_string(),
        why,
    })
}

/// Reads the answer to [`prepare`].
///
/// # Errors
/// [`HostError::Refused`] if the answer is invalid.
pub fn read_prepared(lines: &AnswerLines) -> Result<Reply, HostError> {
    let mut staged = false;
    let mut based = false;
    let mut shared_faults = Vec::new();
    let mut apart = false;
    let mut state = HostState::default();
    for (word, value) in lines.iter() {
        match (word, value) {
            ("staged", "") => staged = true,
            ("based", "") => based = true,
            ("apart", "") => apart = true,
            ("missing", value) => {
                let (path, reason) = value.split_once('\t').unwrap_or((value, ""));
                shared_faults.push(SharedFault::Missing {
                    path: path.to_owned(),
                    reason: reason.chars().filter(|c| !c.is_control()).collect(),
                });
            }
            ("directory", path) => shared_faults.push(SharedFault::Directory {
                path: path.to_owned(),
            }),
            _ => read_host_state_line(&mut state, word, value)?,
        }
    }
    Ok(Reply::Prepared {
        state,
        staged,
        based,
        shared_faults,
        apart,
    })
}

/// Reads one line of a host's state.
pub(crate) fn read_host_state_line(
    state: &mut HostState,
    word: &str,
    value: &str,
) -> Result<(), HostError> {
    let name = |text: &str| {
        file_name("release", text)
            .map(|name| ReleaseId(name.to_owned()))
            .map_err(|_| invalid_answer(word, value))
    };
    let lead = |text: &str| {
        linked(text)
            .map(|name| ReleaseId(name.to_owned()))
            .map_err(|_| invalid_answer(word, value))
    };
    match word {
        "fence" => state.fence = value.parse().map_err(|_| invalid_answer(word, value))?,
        "live" if state.live.is_none() => state.live = Some(lead(value)?),
        "broken" => {
            state.broken = Some(match value {
                "directory" => BrokenCurrent::Directory,
                "file" => BrokenCurrent::File,
                "dangling" => BrokenCurrent::Dangling,
                "text" => BrokenCurrent::Text,
                _ => return Err(invalid_answer(word, value)),
            });
        }
        // An invalid time counts as none.
        "changed" => {
            let seconds = value.parse().ok();
            state.changed = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        }
        "release" => {
            let (id, sum) = value
                .split_once(' ')
                .ok_or_else(|| invalid_answer(word, value))?;
            let sum = TreeDigest(sum.to_owned());
            digest(&sum).map_err(|_| invalid_answer(word, value))?;
            state.releases.push(Release {
                id: name(id)?,
                digest: sum,
            });
        }
        "other" => state.others.push(name(value)?),
        _ => return Err(invalid_answer(word, value)),
    }
    Ok(())
}

/// Returns the script for [`Op::Seal`](crate::domain::host::Op::Seal).
///
/// # Errors
/// [`InvalidValue`] if a path or name is invalid on the host.
pub fn seal(
    target: &DeployTarget,
    seq: OpSequence,
    release: &Release,
    owner: Option<&str>,
) -> Result<Vec<u8>, InvalidValue> {
    let script = at_release(target, seq, release)?.set("ts_owner", owner.unwrap_or_default())?;
    Ok(host_state_text(&script, include_str!("sync/seal.sh")))
}

/// Reads the answer to [`seal`].
///
/// # Errors
/// [`HostError::Refused`] if the answer is invalid.
pub fn read_sealed(lines: &AnswerLines) -> Result<Reply, HostError> {
    lines.only("sealed").map(|_| Reply::Sealed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_that_leaves_the_release_is_refused() {
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "a/",
            ".",
            "a/./b",
            "a\0b",
        ] {
            assert!(inside("path", path.as_bytes()).is_err(), "{path:?}");
        }
        for path in ["a", "a/b", "-r", "..a", "a b\n'", "*"] {
            assert!(inside("path", path.as_bytes()).is_ok(), "{path:?}");
        }
    }

    #[test]
    fn unknown_prepare_line_is_refused() {
        let lines = |word: &str, value: &str| {
            let mut lines = AnswerLines::default();
            lines.add(word.into(), value.into(), 1).unwrap();
            lines
        };
        for (word, value) in [
            ("live", "x y"),
            ("release", "a"),
            ("release", "a 12"),
            ("fence", "-1"),
            ("welcome", "to this host"),
            ("staged", "perhaps"),
        ] {
            assert!(
                read_prepared(&lines(word, value)).is_err(),
                "{word} {value}"
            );
        }
    }
}
