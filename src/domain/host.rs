//! What the agent asks of a host, and what the host answers: words only, no socket, no path of the
//! agent's beyond the tree that is to be sent.
//!
//! Each [`Op`] is one round trip and carries a [label](Op::label), so that a test can stop the agent
//! before or after exactly this effect. `sync` and `publish` turn operations into `sh` text,
//! `remote` performs them, the simulator plays them on a directory tree in memory. Every operation
//! but [`Op::Run`] may be repeated after a lost answer.

mod address;
mod drift;
mod fence;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

pub use self::address::ipv6_address;
pub use self::drift::{BrokenCurrent, Drift};

pub use fence::{FENCE_SALT_BITS, fence_max, fenced, lift_above, lifted, turn_max, turn_of};

/// The name of a release directory: `YYYYMMDD-HHMMSS-<first seven digits of the commit>`, UTC. What
/// another tool made live may have any name; a text with a slash in it is no name in `releases/`, but
/// where `current` leads, as that tool spelled it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(pub String);

impl ReleaseId {
    /// The name of a release of this commit, made at this time.
    #[must_use]
    pub fn new(made: Timestamp, commit: &str) -> Self {
        let commit: String = commit.chars().take(7).collect();
        Self(format!("{}-{commit}", made.strftime("%Y%m%d-%H%M%S")))
    }

    /// The time in the name; `None` where the name is none of ours.
    #[must_use]
    pub fn made_at(&self) -> Option<Timestamp> {
        let made = DateTime::strptime("%Y%m%d-%H%M%S", self.0.get(..15)?).ok()?;
        Some(made.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }

    /// Whether it is a directory in `releases/`.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.0.contains('/')
    }

    /// Its directory, where it is the live release of this place or will be.
    #[must_use]
    pub fn directory(&self, deploy_to: &str) -> String {
        if self.is_named() {
            format!("{deploy_to}/releases/{self}")
        } else {
            format!("{deploy_to}/current")
        }
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 over the listing of a release (see `checkout::Manifest::listing`), as 64 hex digits. The
/// host can compute the same value from what stands on its disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreeDigest(pub String);

impl fmt::Display for TreeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A release and the digest of its tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub id: ReleaseId,
    pub digest: TreeDigest,
}

/// What is asked of a release directory that is on the host already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It equals its manifest: a release that was not live yet.
    Equal,
    /// It is taken as it is: it was live, and what was written into it since belongs to it.
    AsItIs,
}

/// So many names of files that differ are shown.
pub const DIFFERING_NAMES_MAX: usize = 5;

/// What differs in a release from what was released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differs {
    /// 0 where only that it differs is known.
    pub files: u64,
    /// The first of them, without control characters.
    pub names: Vec<String>,
}

impl fmt::Display for Differs {
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

/// Where an environment of a project lives on one host, and under which fence it is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployTarget {
    /// Absolute path on the host, `{HOST}` already replaced: `/srv/shop`. What begins with `~/` is
    /// below the home directory of the user.
    pub deploy_to: String,
    /// The number of the claim under which the operation is made. A host that has seen a higher
    /// one answers [`HostError::Fenced`].
    pub fence: u64,
}

/// Which inodes the files of a new release have that are as in the live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inodes {
    /// The live release's: nothing writes into the new one before it is live.
    Shared,
    /// Their own: bytes, mode, times and owner of the live release's stay as they are, whatever is
    /// done in the new one.
    Own,
}

/// Something that could not be deleted on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is.
    pub path: String,
    /// The system's words.
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

/// Ends the reason of a [`Leftover`] in which something is mounted; before it is where.
const IS_MOUNTED: &str = " is mounted";

/// What to do about something that cannot be deleted since another file system is mounted in it.
#[must_use]
pub fn unmount(mount: &str) -> String {
    format!(
        "what is mounted would be deleted with it; unmount {mount} on the host, the next release deletes the rest"
    )
}

/// Whether a path on a host is of a release, or of what tagship keeps beside them. People are told to
/// delete it as root, so no other one is taken from a host.
#[must_use]
pub fn is_own(path: &str, deploy_to: &str) -> bool {
    let deploy_to = deploy_to.trim_end_matches('/');
    let below = match deploy_to.strip_prefix('~') {
        // Where the home directory is, the host alone knows.
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
    let kind = ["releases/", ".tagship/trash/"];
    let name = kind.iter().find_map(|kind| below.strip_prefix(kind));
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    name.is_some_and(|name| name.split('/').all(plain)) && !path.chars().any(char::is_control)
}

/// What to do about something that the login user cannot delete.
#[must_use]
pub fn remove_as_root(path: &str) -> String {
    let quoted = path.replace('\'', r"'\''");
    format!(
        "as root on the host, run: rm -rf '{quoted}' (chattr -R -i on it first where it is immutable)"
    )
}

/// Which files of the agent's tree rsync is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferSet {
    /// Exactly these paths: `Prepare` made the rest by hard links from the live release.
    Changed(Vec<Vec<u8>>),
    /// Everything, hard-linking what has the same size and mtime in this release.
    LinkDest(ReleaseId),
    /// Everything, hard-linking what has the same *content* in this release, whose manifest is lost.
    Compare(ReleaseId),
    /// Everything; nothing is live there.
    Whole,
}

/// A program that a `run` step starts on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunCommand {
    /// A program and its arguments, each passed whole.
    Argv(Vec<String>),
    /// Text for `sh`, taken as it stands.
    Shell(String),
    /// A file of this name and text, sent with the operation: it is run with these arguments, by what
    /// its first line names (`#!…`) or else by `sh`, and removed.
    Script {
        name: String,
        text: String,
        arguments: Vec<String>,
    },
}

/// Where on a host a task is kept that runs there as somebody else, or where nothing of a project
/// stands: a directory for each task in the home of the user who runs it.
pub const TASKS: &str = "~/.tagship-tasks";

/// Stands in [`Run::directory`] for the home directory of the user.
pub const HOME: &str = "~";

/// One attempt of a `run` step (or of a `check` by command).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Names the attempt in the host's journal: `TASK-STARTED-STAGE-STEP-ATTEMPT`, `[0-9a-z-]` only.
    /// The time at which the work began is in it because a store that was restored from a backup
    /// gives out the numbers of tasks again. Where one attempt of a step starts more than one
    /// program, each is a part of it, `ATTEMPT.PART`, and ends with it.
    pub key: String,
    pub command: RunCommand,
    /// Working directory on the host: an absolute path, or [`HOME`].
    pub directory: String,
    /// Parameters and `TAGSHIP_OUTPUT`, handed over as environment variables.
    pub environment: BTreeMap<String, String>,
    /// After this long the attempt's whole process group is ended.
    pub timeout: Duration,
}

/// One thing that the agent asks of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Take over the fence, make the directories, empty the partial directory; where `base` is the
    /// live release, hard-link it into the partial directory and delete `removed` from the copy.
    Prepare {
        place: DeployTarget,
        release: Release,
        base: Option<Release>,
        removed: Vec<Vec<u8>>,
        /// Those of the copy.
        inodes: Inodes,
        /// Paths in `shared/`: directories are made, files that are missing are said.
        shared: Vec<String>,
        /// Whether a release directory that is there already is looked at; one that is taken as it
        /// is costs no more than a look for its name.
        existing: Existing,
    },
    /// Send files of the agent's tree `from` into the partial directory, by rsync.
    Transfer {
        place: DeployTarget,
        from: PathBuf,
        set: TransferSet,
        inodes: Inodes,
    },
    /// Compare the partial directory with the digest, sync it to disk, rename it into `releases/`.
    Seal {
        place: DeployTarget,
        release: Release,
        /// `USER` or `USER:GROUP` to whom the files are to belong; `None`: the user who logs in.
        owner: Option<String>,
    },
    /// What is live, which releases stand, which fence holds. Changes nothing.
    Inspect { deploy_to: String },
    /// Record durably what is live, then switch `current` to `release` by one rename. Where another
    /// one is live than it may replace, nothing is done: [`Reply::Occupied`]. A release that is taken
    /// as it is is compared with what was released once `current` leads to it, never before.
    Publish {
        place: DeployTarget,
        release: ReleaseId,
        /// What may be live before, besides nothing and the release itself.
        over: Vec<ReleaseId>,
        /// Names the journal entry: the same key asks for the same switch.
        key: String,
        existing: Existing,
    },
    /// Start a program under the runner and follow it to its end.
    Run { place: DeployTarget, run: Run },
    /// What became of an attempt that was started before: asked after a lost connection.
    RunResult { deploy_to: String, key: String },
    /// End the attempt's process group and whatever carries its cookie, those of its parts included;
    /// prove that all are gone, and see to it that none is begun any more.
    Kill { deploy_to: String, key: String },
    /// Delete old releases. Never deletes what `current` names or what `protect` lists.
    Prune {
        place: DeployTarget,
        /// How many complete releases may stay, the live one included.
        keep: u32,
        /// Releases that must stay: the last good one, the one to go back to.
        protect: Vec<ReleaseId>,
        /// Releases of failed tasks, deleted first and never counted.
        failed: Vec<ReleaseId>,
    },
}

impl Op {
    /// The name of the effect, for crash points, simulation and logs.
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

/// What stands on a host at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// What `current` names; `None` before the first release.
    pub live: Option<ReleaseId>,
    /// The complete releases with the digest recorded when they were sealed.
    pub releases: Vec<Release>,
    /// The fence that holds now; 0 where none was ever taken.
    pub fence: u64,
    /// What keeps `current` from being a link to a directory, where that was looked for.
    #[serde(default)]
    pub broken: Option<BrokenCurrent>,
    /// When the link was made, by the host's clock.
    #[serde(default)]
    pub changed: Option<Timestamp>,
}

/// So much is kept of the beginning of what a program prints, and so much of its end, in bytes: in the
/// agent's log and, with a little more, on the host.
pub const OUTPUT_KEPT_BYTES: u64 = 8 * 1024 * 1024;

/// How an attempt of a program ended, as far as the host can tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    /// The journal shows that it was never started.
    NotBegun,
    /// It is still running.
    Running,
    /// It ended with this code (128 + signal where a signal ended it), having written these values.
    Ended {
        code: i32,
        values: BTreeMap<String, String>,
    },
    /// It ended with 0, and what it wrote for later steps can't be read: why.
    BadOutput { why: String },
    /// It ran into its time limit and was ended.
    TimedOut,
    /// It ran into its time limit and could not be ended: it may run on.
    Unended,
    /// It was begun and is gone, and its result was never written.
    Unknown,
}

/// What a host answers to an [`Op`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Prepared {
        standing: HostState,
        /// The release is on the host: its tree has this digest now, or it is taken as it is. Nothing
        /// is to be sent, and no partial directory is there.
        staged: bool,
        /// The partial directory was made from `base`.
        based: bool,
        /// The shared files that are not there.
        missing: Vec<String>,
    },
    Transferred {
        /// Bytes that went over the connection.
        bytes_sent: u64,
        files_sent: u64,
    },
    Sealed,
    Inspected(HostState),
    Published {
        /// What was live before this switch (also when the switch is repeated).
        was: Option<ReleaseId>,
        /// What is on the host since.
        standing: HostState,
        /// How a release that is taken as it is differs from what was released, where that is known.
        differs: Option<Differs>,
    },
    /// Another release is live than the switch may replace: nothing was switched.
    Occupied {
        live: ReleaseId,
    },
    Run(RunEnd),
    /// Nothing of the attempt is left.
    Killed,
    Pruned {
        deleted: Vec<ReleaseId>,
        /// What could not be deleted, now and before.
        left: Vec<Leftover>,
    },
}

/// Why an operation has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The host was never reached, so nothing was done there.
    #[error("{0}")]
    NotReached(String),
    /// The connection ended before the answer: the host may or may not have acted.
    #[error("connection lost before the host answered: {0}")]
    Lost(String),
    /// The host answered that it could not, or would not; it says why.
    #[error("{0}")]
    Refused(String),
    /// Another claim with a higher number holds this place.
    #[error("fence {held} holds this place, ours is {ours}: another agent has taken over")]
    Fenced { ours: u64, held: u64 },
}

/// Where the output of an operation goes while it runs.
pub trait Output: Send + Sync {
    /// Writes bytes at an offset of the step's log; the same bytes at the same place may come twice.
    fn write_at(&self, offset: u64, bytes: &[u8]);
    /// Appends a line of the agent's own (without the newline).
    fn line(&self, text: &str);
    /// The host says that the program of an [`Op::Run`] is begun; it may say so more than once.
    fn begun(&self) {}
    /// The host can't be reached, for this reason; it is tried again until that time.
    fn away(&self, _reason: &str, _until: Timestamp) {}
    /// The host that was away is there again.
    fn back(&self) {}
}

/// The hosts of one task: one authenticated connection for each, opened at first use and kept until
/// this value is dropped.
pub trait Hosts: Send + Sync {
    /// Performs `op` on the host of this name, or as an execution user there: `USER@NAME`.
    ///
    /// # Errors
    /// [`HostError`] says whether the host may have acted.
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
    fn the_name_of_a_release_tells_when_it_was_made() {
        let made: Timestamp = "2026-11-22T03:04:05Z".parse().unwrap();
        let id = ReleaseId::new(made, "0123456789");
        assert_eq!(id.to_string(), "20261122-030405-0123456");
        assert_eq!(id.made_at(), Some(made));
        for other in ["", "current", "20261322-030405-0123456", "é20261122-030405"] {
            assert_eq!(ReleaseId(other.to_owned()).made_at(), None, "{other}");
        }
    }

    #[test]
    fn differing_files_are_counted_and_the_first_named() {
        let differs = |files, names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Differs { files, names }.to_string()
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
    fn every_operation_has_a_label_of_its_own() {
        let deploy_to = String::new;
        let key = String::new;
        let release = || ReleaseId(String::new());
        let whole = || Release {
            id: release(),
            digest: TreeDigest(String::new()),
        };
        let place = || DeployTarget {
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
            Op::Prepare { place: place(), release: whole(), base: None, removed: Vec::new(), inodes: Inodes::Shared, shared: Vec::new(), existing: Existing::Equal },
            Op::Transfer { place: place(), from: PathBuf::new(), set: TransferSet::Whole, inodes: Inodes::Shared },
            Op::Seal { place: place(), release: whole(), owner: None },
            Op::Inspect { deploy_to: deploy_to() },
            Op::Publish { place: place(), release: release(), over: Vec::new(), key: key(), existing: Existing::Equal },
            Op::Run { place: place(), run },
            Op::RunResult { deploy_to: deploy_to(), key: key() },
            Op::Kill { deploy_to: deploy_to(), key: key() },
            Op::Prune { place: place(), keep: 0, protect: Vec::new(), failed: Vec::new() },
        ];
        let labels: BTreeSet<&str> = operations.iter().map(Op::label).collect();
        assert_eq!(labels.len(), operations.len());
        assert!(labels.iter().all(|label| label.starts_with("host.")));
    }
}
