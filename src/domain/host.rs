//! The operations that the agent requests from a host, and the replies: data only, no sockets, and
//! no paths on the agent except the tree to send.
//!
//! Each [`Op`] is one round trip and has a [label](Op::label), so that a test can stop the agent
//! right before or after this effect. `sync` and `publish` turn operations into `sh` text,
//! `ssh_host` performs them, and the simulator applies them to an in-memory directory tree. Every
//! operation but [`Op::Run`] may be repeated after a lost reply.

mod address;
mod drift;
mod fence;
mod retry;
mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::address::{ipv6_address, is_address};
pub use self::drift::{Drift, utc};
pub use self::retry::{FOLLOW_PAUSES_S, OPERATION_PAUSES_S, PROGRAM_PAUSES_S};
pub use self::state::{BrokenCurrent, HostState, Release, ReleaseId, TreeDigest};

pub use fence::{
    FENCE_SALT_BITS, fence_max, fenced, op_sequence_max, op_sequence_of, raise_above, raised,
};

/// The required condition of a release directory that already exists on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It must equal its manifest: the release has not been live yet.
    Equal,
    /// It is accepted as it is: it was live, and files written into it since belong to it.
    AsItIs,
    /// As before, but it is never built: another tool may have made it. It has to be there.
    Found,
}

/// Maximum number of differing file names that are shown.
pub const DIFFERING_NAMES_MAX: usize = 5;

/// How a release differs from what was released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalChanges {
    /// 0 if the number is unknown.
    pub files: u64,
    /// The first differing names, without control characters.
    pub names: Vec<String>,
}

impl fmt::Display for LocalChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.names.len() as u64;
        match self.files {
            0 => return f.write_str("it differs from what was released"),
            1 => f.write_str("1 file differs from what was released: ")?,
            files => write!(f, "{files} files differ from what was released: ")?,
        }
        f.write_str(&self.names.join(", "))?;
        if self.files > shown {
            write!(f, " and {} more", self.files - shown)?;
        }
        Ok(())
    }
}

/// The location of a project's environment on one host, and the fence for operations there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployTarget {
    /// Absolute path on the host, with `{HOST}` replaced: `/srv/shop`. A path that begins with `~/`
    /// is relative to the user's home directory.
    pub deploy_to: String,
    /// The number of the claim that the operation belongs to. A host that has seen a higher one
    /// answers [`HostError::Fenced`].
    pub fence: u64,
}

/// The inodes of files in a new release that are unchanged from the live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inodes {
    /// Shared with the live release: nothing writes into the new one before it is live.
    Shared,
    /// Separate: bytes, mode, times and owner of the live release's files do not change, whatever
    /// happens in the new one.
    Own,
}

/// What is wrong with a file of `shared/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedFault {
    /// It is not there, or the login user cannot see it. The reason is empty if no more is known.
    Missing { path: String, reason: String },
    /// A directory is in its place.
    Directory { path: String },
}

impl SharedFault {
    /// The path in `shared/`.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Missing { path, .. } | Self::Directory { path } => path,
        }
    }
}

/// What to do about a directory in the place of a shared file.
pub const SHARED_IS_DIRECTORY: &str =
    "put the file there instead, or write it with a `/` at its end in shared";

/// Something that could not be deleted on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its path.
    pub path: String,
    /// The error message of the system.
    pub reason: String,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, reason } = self;
        let remedy = match reason.strip_suffix(IS_MOUNTED) {
            Some(mount) => unmount(mount),
            None => remove_as_root(path),
        };
        write!(f, "{path} could not be deleted ({reason}): {remedy}")
    }
}

/// Warns of `releases` on another file system than tagship's own files, and says what to do.
pub const RELEASES_APART: &str = "is on another file system than .tagship beside it: a release is copied there instead of renamed, and shares no files with the live one; put both on one file system";

/// Ends the reason of a [`Leftover`] that contains a mount; the mount point precedes it.
const IS_MOUNTED: &str = " is mounted";

/// Returns what to do about a path that cannot be deleted because it contains a mount.
#[must_use]
pub fn unmount(mount: &str) -> String {
    format!(
        "what is mounted would be deleted with it; unmount {mount} on the host, the next release deletes the rest"
    )
}

/// Whether a path on a host belongs to a release or to tagship's own files. Users are advised to
/// delete it as root, so no other path is accepted from a host.
#[must_use]
pub fn is_own(path: &str, deploy_to: &str) -> bool {
    let deploy_to = deploy_to.trim_end_matches('/');
    let below = match deploy_to.strip_prefix('~') {
        // Only the host knows where the home directory is.
        Some(in_home) => path
            .split_once(&format!("{in_home}/"))
            .map(|(home, below)| (home.starts_with('/'), below)),
        None => path
            .strip_prefix(deploy_to)
            .and_then(|below| below.strip_prefix('/'))
            .map(|below| (true, below)),
    };
    let Some((true, below)) = below else {
        return false;
    };
    let kind = ["releases/", ".tagship/trash/", ".tagship.new."];
    let name = kind.iter().find_map(|kind| below.strip_prefix(kind));
    let name = name.or_else(|| left_in_fence(below));
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    name.is_some_and(|name| name.split('/').all(plain)) && !path.chars().any(char::is_control)
}

/// Returns the name of what an earlier attempt left in the directory of a fence.
fn left_in_fence(below: &str) -> Option<&str> {
    let (fence, name) = below.strip_prefix(".tagship/fence-")?.split_once('/')?;
    let is_number = !fence.is_empty() && fence.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && name.starts_with("left-")).then_some(name)
}

/// Returns what to do about a path that the login user cannot delete.
#[must_use]
pub fn remove_as_root(path: &str) -> String {
    let quoted = path.replace('\'', r"'\''");
    format!(
        "as root on the host, run: rm -rf '{quoted}' (chattr -R -i on it first where it is immutable)"
    )
}

/// The files of the agent's tree that rsync sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferSet {
    /// Exactly these paths: `Prepare` hard-linked the others from the live release.
    Changed(Vec<Vec<u8>>),
    /// All files, hard-linking those with the same size and mtime in this release.
    LinkDest(ReleaseId),
    /// All files, hard-linking those of the same *content* in this release; its manifest is lost.
    Compare(ReleaseId),
    /// All files; nothing is live there.
    Whole,
}

/// A program that a `run` step starts on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunCommand {
    /// A program and its arguments, each passed unchanged.
    Argv(Vec<String>),
    /// Text for `sh`, unchanged.
    Shell(String),
    /// A file with this name and text, sent with the operation. It is run with these arguments, by
    /// the interpreter in its first line (`#!…`) or else by `sh`, and removed.
    Script {
        name: String,
        text: String,
        arguments: Vec<String>,
    },
}

/// Directory for tasks on a host that run as another user, or without a project's directory: one
/// subdirectory per task, in that user's home directory.
pub const TASKS: &str = "~/.tagship-tasks";

/// The user's home directory in [`Run::directory`].
pub const HOME: &str = "~";

/// One attempt of a `run` step (or of a `check` by command).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The attempt's name in the host's journal: `TASK-STARTED-STAGE-STEP-ATTEMPT`, only
    /// `[0-9a-z-]`. It includes the start time of the work, because a store restored from a backup
    /// reuses task numbers. If one attempt starts several programs, each is a part, `ATTEMPT.PART`,
    /// and ends with the attempt.
    pub key: String,
    pub command: RunCommand,
    /// Working directory on the host: an absolute path, or [`HOME`].
    pub directory: String,
    /// Parameters and `TAGSHIP_OUTPUT`, passed as environment variables.
    pub environment: BTreeMap<String, String>,
    /// When this has elapsed, the attempt's whole process group is killed.
    pub timeout: Duration,
}

/// One operation that the agent requests from one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Take the fence, create the directories, empty the partial directory. If `base` is the live
    /// release, hard-link it into the partial directory and delete `removed` from the copy.
    Prepare {
        target: DeployTarget,
        release: Release,
        base: Option<Release>,
        removed: Vec<Vec<u8>>,
        /// The inodes of the copy.
        inodes: Inodes,
        /// Paths in `shared/`: directories are created, missing files are reported.
        shared: Vec<String>,
        /// How to check a release directory that already exists. For one accepted as it is, only
        /// its name is looked up.
        existing: Existing,
    },
    /// Send files of the agent's tree `from` into the partial directory, by rsync.
    Transfer {
        target: DeployTarget,
        from: PathBuf,
        set: TransferSet,
        inodes: Inodes,
    },
    /// Compare the partial directory with the digest, sync it to disk, rename it into `releases/`.
    Seal {
        target: DeployTarget,
        release: Release,
        /// `USER` or `USER:GROUP` that will own the files; `None`: the login user.
        owner: Option<String>,
    },
    /// Report the live release, all releases and the current fence. Changes nothing.
    Inspect { deploy_to: String },
    /// Durably record what is live, then switch `current` to `release` by one rename. If a release
    /// is live that may not be replaced, nothing is done: [`Reply::Occupied`]. A release accepted
    /// as it is, is compared with what was released once `current` points to it, never before.
    Publish {
        target: DeployTarget,
        release: ReleaseId,
        /// Releases that may be live before, apart from none and the release itself.
        over: Vec<ReleaseId>,
        /// Name of the journal entry: the same key means the same switch.
        key: String,
        existing: Existing,
    },
    /// Start a program under the runner and follow it until it ends.
    Run { target: DeployTarget, run: Run },
    /// Report the result of an attempt that was started before: after a lost connection.
    RunResult { deploy_to: String, key: String },
    /// Kill the attempt's process group and every process with its cookie, including its parts.
    /// Verify that all are gone, and prevent new ones.
    Kill { deploy_to: String, key: String },
    /// Delete old releases, but never what contains the target of `current`, or of one that
    /// `protect` lists.
    Prune {
        target: DeployTarget,
        /// Maximum number of complete releases to keep, including the live one.
        keep: u32,
        /// Releases to keep: the last good one and the rollback target, which another tool's link
        /// may have named.
        protect: Vec<ReleaseId>,
        /// Releases of failed tasks, deleted first and not counted.
        failed: Vec<ReleaseId>,
    },
}

impl Op {
    /// Returns the name of the effect, for crash points, simulation and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Prepare { .. } => "host.prepare",
            Self::Transfer { .. } => "host.transfer",
            Self::Seal { .. } => "host.seal",
            Self::Inspect { .. } => "host.inspect",
            Self::Publish { .. } => "host.publish",
            Self::Run { .. } => "host.run",
            Self::RunResult { .. } => "host.run_result",
            Self::Kill { .. } => "host.kill",
            Self::Prune { .. } => "host.prune",
        }
    }
}

/// How much of the beginning, and of the end, of a program's output is kept, in bytes: in the
/// agent's log and, with a little more, on the host.
pub const OUTPUT_KEPT_BYTES: u64 = 8 * 1024 * 1024;

/// How an attempt of a program ended, as reported by the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    /// The journal shows that it was never started.
    NotBegun,
    /// It is still running.
    Running,
    /// It exited with this code (128 + signal if a signal ended it) and wrote these values.
    Ended {
        code: i32,
        values: BTreeMap<String, String>,
    },
    /// It exited with 0, but its output values cannot be read, and why.
    BadOutput { why: String },
    /// It exceeded its time limit and was killed.
    TimedOut,
    /// It exceeded its time limit and could not be killed: it may still run.
    Unended,
    /// It was begun and is gone without a recorded result.
    Unknown,
}

/// A host's reply to an [`Op`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Prepared {
        state: HostState,
        /// The release is on the host: its tree has this digest, or it is accepted as it is.
        /// Nothing needs to be sent, and there is no partial directory.
        staged: bool,
        /// The partial directory was made from `base`.
        based: bool,
        /// What is wrong with the shared files.
        shared_faults: Vec<SharedFault>,
        /// `releases` is on another file system than `.tagship`.
        apart: bool,
    },
    Transferred {
        /// Bytes sent over the connection.
        bytes_sent: u64,
        files_sent: u64,
    },
    Sealed,
    Inspected(HostState),
    Published {
        /// What was live before this switch, also if the switch is repeated.
        was: Option<ReleaseId>,
        /// The state of the host after it.
        state: HostState,
        /// How a release accepted as it is differs from what was released, if known.
        differs: Option<LocalChanges>,
        /// Why such a release was not compared.
        uncompared: Option<String>,
    },
    /// A release is live that may not be replaced: nothing was switched.
    Occupied {
        live: ReleaseId,
    },
    Run(RunEnd),
    /// Nothing of the attempt still runs.
    Killed,
    Pruned {
        deleted: Vec<ReleaseId>,
        /// What could not be deleted, now and earlier.
        leftovers: Vec<Leftover>,
    },
}

/// Why an operation has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The host was not reached, so nothing was done there.
    #[error("{0}")]
    NotReached(String),
    /// The connection was lost before the reply: the host may or may not have acted.
    #[error("connection lost before the host answered: {0}")]
    Lost(String),
    /// The host could not or would not do it; the text says why.
    #[error("{0}")]
    Refused(String),
    /// Another claim with a higher number holds this place.
    #[error("fence {held} holds this place, ours is {ours}: another agent has taken over")]
    Fenced { ours: u64, held: u64 },
}

/// Receives the output of an operation while it runs.
pub trait Output: Send + Sync {
    /// Writes bytes at an offset of the step's log; the same bytes may be written twice.
    fn write_at(&self, offset: u64, bytes: &[u8]);
    /// Appends a line from the agent itself (without the newline).
    fn line(&self, text: &str);
    /// Records that the host began the program of an [`Op::Run`]; may be called repeatedly.
    fn program_began(&self) {}
    /// Records that the host is unreachable, for this reason; it is retried until that time.
    fn unreachable(&self, _reason: &str, _until: Timestamp) {}
    /// Records that the host is reachable again.
    fn reachable(&self) {}
}

/// The hosts of one task: one authenticated connection each, opened on first use and kept until
/// this value is dropped.
pub trait Hosts: Send + Sync {
    /// Performs `op` on the host of this name, or as an execution user there: `USER@NAME`.
    ///
    /// # Errors
    /// [`HostError`] distinguishes whether the host may have acted.
    fn perform<'a>(
        &'a self,
        host: &'a str,
        op: &'a Op,
        output: &'a dyn Output,
    ) -> BoxFuture<'a, Result<Reply, HostError>>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn release_name_contains_its_creation_time() {
        let created: Timestamp = "2026-11-22T03:04:05Z".parse().unwrap();
        let id = ReleaseId::new(created, "0123456789");
        assert_eq!(id.to_string(), "20261122-030405-0123456");
        assert_eq!(id.created_at(), Some(created));
        for other in ["", "current", "20261322-030405-0123456", "é20261122-030405"] {
            assert_eq!(ReleaseId(other.to_owned()).created_at(), None, "{other}");
        }
    }

    #[test]
    fn differing_files_are_counted_and_the_first_named() {
        let differs = |files, names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            LocalChanges { files, names }.to_string()
        };
        assert_eq!(
            differs(1, &["log/prod.log"]),
            "1 file differs from what was released: log/prod.log"
        );
        assert_eq!(
            differs(3, &["a", "b"]),
            "3 files differ from what was released: a, b and 1 more"
        );
        assert_eq!(differs(0, &[]), "it differs from what was released");
    }

    #[test]
    fn a_digest_is_shown_whole() {
        let digest = TreeDigest("0".repeat(64));
        assert_eq!(digest.to_string(), "0".repeat(64));
    }

    #[test]
    fn operation_labels_are_unique() {
        let deploy_to = String::new;
        let key = String::new;
        let release = || ReleaseId(String::new());
        let whole = || Release {
            id: release(),
            digest: TreeDigest(String::new()),
        };
        let target = || DeployTarget {
            deploy_to: deploy_to(),
            fence: 0,
        };
        let run = Run {
            key: key(),
            command: RunCommand::Argv(Vec::new()),
            directory: HOME.to_owned(),
            environment: BTreeMap::new(),
            timeout: Duration::ZERO,
        };
        #[rustfmt::skip]
        let operations = [
            Op::Prepare { target: target(), release: whole(), base: None, removed: Vec::new(), inodes: Inodes::Shared, shared: Vec::new(), existing: Existing::Equal },
            Op::Transfer { target: target(), from: PathBuf::new(), set: TransferSet::Whole, inodes: Inodes::Shared },
            Op::Seal { target: target(), release: whole(), owner: None },
            Op::Inspect { deploy_to: deploy_to() },
            Op::Publish { target: target(), release: release(), over: Vec::new(), key: key(), existing: Existing::Equal },
            Op::Run { target: target(), run },
            Op::RunResult { deploy_to: deploy_to(), key: key() },
            Op::Kill { deploy_to: deploy_to(), key: key() },
            Op::Prune { target: target(), keep: 0, protect: Vec::new(), failed: Vec::new() },
        ];
        let labels: BTreeSet<&str> = operations.iter().map(Op::label).collect();
        assert_eq!(labels.len(), operations.len());
        assert!(labels.iter().all(|label| label.starts_with("host.")));
    }
}
