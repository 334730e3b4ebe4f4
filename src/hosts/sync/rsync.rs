//! rsync's arguments for one transfer, and the meaning of its exit code. Pure.
//!
//! rsync never decides what is deleted (the partial directory is new) and never writes into an
//! existing file. It writes a changed file to `temporary` and renames it over the old name, so that
//! the earlier release behind a hard link keeps its bytes and modes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::domain::host::{DeployTarget, Inodes, ReleaseId, Reply, TransferSet};
use crate::hosts::ssh::script::{InvalidValue, absolute, explain, file_name};

/// rsync's timeout without a byte from the other side.
const SILENCE_SECONDS_MAX: u32 = 120;

/// What a shell says of a command that was split into words: dash and busybox, bash, ksh and mksh.
const SPLIT: [&str; 4] = [
    "unterminated quoted string",
    "unexpected eof while looking for matching",
    "`'' unmatched",
    "no closing quote",
];

/// How many lines of rsync's errors are reported.
const COMPLAINT_LINES_MAX: usize = 8;

/// rsync's input, except its transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Options, then `--`, source and `host:` with the path on the host. Without `-e` and
    /// `--secluded-args`, which the connection adds.
    pub arguments: Vec<OsString>,
    /// The paths for `--files-from=-`, each ended by a NUL; else empty.
    pub stdin: Vec<u8>,
}

/// Returns the arguments that send the files of `from` into the partial directory.
///
/// # Errors
/// [`InvalidValue`] if a path or name is invalid on the host.
pub fn transfer(
    target: &DeployTarget,
    from: &Path,
    set: &TransferSet,
    inodes: Inodes,
) -> Result<Transfer, InvalidValue> {
    let deploy_to = absolute("deploy_to", &target.deploy_to)?;
    let fence = format!("{deploy_to}/.tagship/fence-{}", target.fence);
    let release = |id: &ReleaseId| -> Result<String, InvalidValue> {
        let id = file_name("release", &id.0)?;
        Ok(format!("{deploy_to}/releases/{id}"))
    };
    // Symbolic links as they are; owner and group are those of the user on the host; the times of
    // directories and links do not matter.
    let mut arguments: Vec<OsString> = [
        "--links",
        "--perms",
        "--times",
        "--omit-dir-times",
        "--omit-link-times",
        "--chmod=D755",
        "--stats",
        "--no-human-readable",
    ]
    .map(OsString::from)
    .into();
    arguments.push(format!("--timeout={SILENCE_SECONDS_MAX}").into());
    arguments.push(format!("--temp-dir={fence}/temporary").into());
    let live = |id: &ReleaseId| -> Result<String, InvalidValue> {
        let option = match inodes {
            Inodes::Shared => "--link-dest",
            Inodes::Own => "--copy-dest",
        };
        Ok(format!("{option}={}", release(id)?))
    };
    let mut stdin = Vec::new();
    match set {
        TransferSet::Changed(paths) => {
            // `--ignore-times`: otherwise a file with only a new mode would get it through the hard
            // link. `--force`: a file may have to replace a directory.
            for argument in ["--ignore-times", "--force", "--from0", "--files-from=-"] {
                arguments.push(argument.into());
            }
            for path in paths {
                super::inside("a path to send", path)?;
                // Without `./`, a name with a leading `#` or `;` would be a comment.
                stdin.extend_from_slice(b"./");
                stdin.extend_from_slice(path);
                stdin.push(0);
            }
        }
        TransferSet::LinkDest(id) => {
            arguments.push("--recursive".into());
            arguments.push(live(id)?.into());
        }
        TransferSet::Compare(id) => {
            arguments.push("--recursive".into());
            arguments.push("--checksum".into());
            arguments.push(live(id)?.into());
        }
        TransferSet::Whole => arguments.push("--recursive".into()),
    }
    arguments.push("--".into());
    let mut source = from.as_os_str().to_owned().into_vec();
    source.push(b'/');
    arguments.push(OsString::from_vec(source));
    arguments.push(format!("host:{fence}/partial/").into());
    Ok(Transfer { arguments, stdin })
}

/// Reads the output of `--stats`. Missing counts are 0: they are informational.
#[must_use]
pub fn read_stats(stdout: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(stdout);
    let count = |names: &[&str]| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| names.contains(name))
            .find_map(|(_, value)| {
                let digits: String = value
                    .trim_start()
                    .chars()
                    .take_while(|&c| c.is_ascii_digit() || c == ',' || c == '.')
                    .filter(char::is_ascii_digit)
                    .collect();
                digits.parse().ok()
            })
            .unwrap_or(0)
    };
    Reply::Transferred {
        bytes_sent: count(&["Total bytes sent"]),
        // The second is the text of rsync before 3.1.
        files_sent: count(&[
            "Number of regular files transferred",
            "Number of files transferred",
        ]),
    }
}

/// The result of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferEnd {
    Complete,
    /// The connection or the other side failed: the same transfer may be retried.
    Again(String),
    /// Hard links to the live release are impossible (symbolic links of another user, another file
    /// system): the same transfer without it completes what has arrived.
    Unlinkable(String),
    /// A retry would fail; the text says why and what to do.
    Failed(String),
}

/// Classifies an exit code (`None`: ended by a signal) by rsync's own messages.
#[must_use]
pub fn judge(code: Option<i32>, stderr: &[u8]) -> TransferEnd {
    let text = String::from_utf8_lossy(stderr);
    let Some(code) = code else {
        return TransferEnd::Again(format!("rsync was ended by a signal{}", complaint(&text)));
    };
    let failure = format!("rsync ended with {code}{}", complaint(&text));
    if code == 11 && text.trim().is_empty() {
        // Seen on a full disk: the host's rsync ended before its message arrived.
        return TransferEnd::Again(format!("{failure} (error in file I/O)"));
    }
    let explained = explain(&failure);
    if code == 0 {
        TransferEnd::Complete
    } else if SPLIT
        .iter()
        .any(|words| text.to_lowercase().contains(words))
    {
        TransferEnd::Failed(format!(
            "a ForceCommand of sshd_config, or a command= of authorized_keys, splits the command at its blanks: let it quote the command for a shell (sh -c \"$SSH_ORIGINAL_COMMAND\"), or take it out for this user: {failure}"
        ))
    } else if explained != failure {
        TransferEnd::Failed(explained)
    } else if text.contains("is your shell clean") {
        TransferEnd::Failed(format!(
            "a startup file of the login (.bashrc) leaves a program running that prints: let it start none where the shell is not interactive, or send its output elsewhere: {failure}"
        ))
    } else if code == 127 || (code == 12 && text.contains("not found")) {
        TransferEnd::Failed(format!("{failure}: install rsync on the host"))
    } else if matches!(code, 10 | 12 | 30 | 35 | 255) {
        TransferEnd::Again(failure)
    } else if code == 23 && text.contains("failed to hard-link") {
        TransferEnd::Unlinkable(failure)
    } else if matches!(code, 23 | 24) {
        TransferEnd::Failed(format!(
            "{failure}: not everything arrived, nothing was switched; mend what rsync names"
        ))
    } else {
        TransferEnd::Failed(format!("{failure}: mend what rsync names"))
    }
}

fn complaint(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(COMPLAINT_LINES_MAX)..];
    if last.is_empty() {
        String::new()
    } else {
        format!(" ({})", last.join("; "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn full_disk_is_reported_for_any_exit_code() {
        for code in [11, 12, 23] {
            let stderr = b"rsync: write failed on \"/srv\": No space left on device (28)\n";
            let TransferEnd::Failed(text) = judge(Some(code), stderr) else {
                panic!("{code} must not be repeated");
            };
            assert!(text.contains("free space"), "{text}");
        }
    }

    #[test]
    fn partial_transfer_is_incomplete_and_lost_one_retryable() {
        for code in [1, 3, 5, 23, 24, 25] {
            assert!(
                matches!(judge(Some(code), b""), TransferEnd::Failed(_)),
                "{code}"
            );
        }
        for code in [11, 12, 30, 255] {
            assert!(
                matches!(judge(Some(code), b""), TransferEnd::Again(_)),
                "{code}"
            );
        }
        let named = b"rsync: [receiver] write failed: Input/output error (5)";
        assert!(matches!(judge(Some(11), named), TransferEnd::Failed(_)));
        assert!(matches!(judge(None, b""), TransferEnd::Again(_)));
        assert_eq!(judge(Some(0), b"warning"), TransferEnd::Complete);
    }

    #[test]
    fn unlinkable_live_release_is_recognized() {
        let stderr = b"rsync: [generator] failed to hard-link /srv/a/l with l: Operation not permitted (1)\n";
        assert!(matches!(
            judge(Some(23), stderr),
            TransferEnd::Unlinkable(_)
        ));
        assert!(matches!(judge(Some(12), stderr), TransferEnd::Again(_)));
    }

    #[test]
    fn missing_remote_rsync_is_reported() {
        let TransferEnd::Failed(text) =
            judge(Some(12), b"bash: line 1: rsync: command not found\n")
        else {
            panic!("repeating does not install it");
        };
        assert!(text.contains("install rsync"), "{text}");
    }

    #[test]
    fn login_that_prints_into_a_transfer_is_named() {
        let printed = b"protocol version mismatch -- is your shell clean?\n";
        let TransferEnd::Failed(text) = judge(Some(2), printed) else {
            panic!("it prints again");
        };
        assert!(text.starts_with("a startup file of the login"), "{text}");
    }

    #[test]
    fn counts_are_read_with_and_without_separators() {
        let stats = b"\nNumber of files: 7 (reg: 5)\nNumber of regular files transferred: 1,234\nTotal bytes sent: 5678\n";
        assert_eq!(
            read_stats(stats),
            Reply::Transferred {
                bytes_sent: 5678,
                files_sent: 1234
            }
        );
        assert_eq!(
            read_stats(b"rubbish"),
            Reply::Transferred {
                bytes_sent: 0,
                files_sent: 0
            }
        );
    }
}
