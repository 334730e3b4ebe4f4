//! Verifies a pushed ref, fetches and pins its object, and compares it with what is live.
//!
//! The executor calls it through [`Git`]. The system's git program runs under a controlled
//! environment. It does all network access (`ls-remote`, `fetch`), and it reads commits and tags,
//! since git decides what a commit is. git2 manages the mirror's refs and compares trees. Nothing
//! here checks out files, writes outside the mirror or prompts for a password.
//!
//! A project's mirror is a bare repository with only tagship's refs. `refs/tagship/tasks/ID` pins
//! what task ID releases. `refs/tagship/last` keeps the newest history for the next fetch to build
//! on. `refs/tagship/incoming/ID` is a fetch that was not checked yet. git's maintenance runs at
//! the end of a fetch, in the foreground, so that the mirror is idle between calls. Fetched objects
//! are never pruned (`gc.pruneExpire = never`): to free space, delete the mirror, and the next
//! fetch recreates it. So does a mirror that lost an object: see `damage`.

mod adapter;
mod changes;
pub(crate) mod damage;
mod describe;
mod environment;
mod failure;
mod fsck;
mod objects;
pub(crate) mod program;
mod progress;
mod queries;
mod system;
mod url;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::plan::PushLimits;

pub use crate::domain::task::{
    ChangedPath, CommitLine, CommitPerson, Comparison, Description, Relation, TagInfo,
};
pub use adapter::{Git, SystemGit};
pub use describe::{DescribeRequest, LiveOn, describe};
pub use queries::{heads, tags};
pub use system::{fetch, ls_remote, unpin};

/// Where a project's objects come from, and where they are stored.
#[derive(Clone, Debug)]
pub struct GitSource {
    /// The project's name, for messages.
    pub project: String,
    /// `ssh://`, `user@host:path`, `https://`, `http://`, `file://` or an absolute path.
    pub git_url: String,
    /// The project's bare repository; created at first use.
    pub mirror: PathBuf,
    /// The private key for `ssh`; `None` lets OpenSSH choose.
    pub identity: Option<PathBuf>,
    /// The known host keys for `ssh`: a host that is not in it is refused.
    pub known_hosts: PathBuf,
    /// A file with a token, or `USER:TOKEN`, for `https`.
    pub token_file: Option<PathBuf>,
    pub timeouts: Timeouts,
    pub limits: PushLimits,
}

/// When to kill git, with everything that it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub ls_remote: Duration,
    /// Also limits the first fetch of a large repository. A stalled connection ends sooner.
    pub fetch: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            ls_remote: Duration::from_secs(30),
            fetch: Duration::from_secs(30 * 60),
        }
    }
}

/// A ref as the git server reports it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRef {
    /// Full name: `refs/tags/release-1`.
    pub name: String,
    /// The object it points to: the tag object of an annotated tag, else the commit.
    pub object: String,
    /// The object that an annotated tag finally points to.
    pub peeled: Option<String>,
}

/// What to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// Full name of the ref.
    pub reference: String,
    /// The object that it must point to, in hex.
    pub object: String,
    /// The task to pin it for.
    pub task: u64,
}

/// What went wrong on the remote side, as far as git's messages show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteFailure {
    HostKey,
    Credentials,
    NotFound,
    /// git exceeded `git_memory_bytes`.
    Memory,
    /// The server cannot read its own repository.
    Damaged,
    /// The server's repository borrows objects from one that is gone.
    Alternate,
    /// The server's repository is a partial clone: it lacks objects by design.
    Partial,
    /// There is no connection to the server.
    Unreachable,
    Other,
}

impl RemoteFailure {
    /// Returns the end of the message. git's own words have to do for an unknown failure.
    fn advice(self) -> &'static str {
        match self {
            Self::HostKey => {
                "; add the server's host key to that file (`ssh-keyscan`, then compare its fingerprint with the server's own)"
            }
            Self::Credentials => {
                "; give the agent's key or token access to it (`[git] identity`, `token_file`)"
            }
            Self::NotFound => "; correct `git_url`, or give the agent access to it",
            Self::Memory => "; push less, or raise `git_memory_bytes` in `[projects.limits]`",
            Self::Damaged => {
                "; the repository on the git server is damaged: run `git fsck` in it there, and put the object back from a clone or a backup"
            }
            Self::Alternate => {
                "; correct `objects/info/alternates` in the repository on the git server, or put that directory back"
            }
            Self::Partial => {
                "; the repository on the git server is a partial clone: run `git fetch --refetch --no-filter --tags` in it there"
            }
            Self::Unreachable => "; see whether the agent's machine reaches the git server",
            Self::Other => "",
        }
    }
}

/// Why a ref has not landed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LandingError {
    /// The configured URL cannot be used.
    #[error("project {project}: git_url {url:?} {reason}")]
    Url {
        project: String,
        url: String,
        reason: &'static str,
    },
    /// An invalid ref name or object id.
    #[error("project {project}: {what:?} is not a full ref name or object id: push the tag again")]
    Name { project: String, what: String },
    /// The repository uses SHA-256 object ids.
    #[error(
        "project {project}: the repository's object format is SHA-256, which is not supported; use a SHA-1 repository"
    )]
    ObjectFormat { project: String },
    /// The git server does not report the ref.
    #[error("project {project}: {reference} is not on the git server: push it again")]
    RefMissing { project: String, reference: String },
    /// The ref points to another object than was pushed.
    #[error(
        "project {project}: {reference} has moved from {expected} to {found}: the newer push has a task of its own"
    )]
    Moved {
        project: String,
        reference: String,
        expected: String,
        found: String,
    },
    /// The git program exited with an error.
    #[error("project {project}: git {doing}: {detail}{}", failure.advice())]
    Remote {
        project: String,
        doing: &'static str,
        failure: RemoteFailure,
        detail: String,
    },
    /// The answer was truncated.
    #[error("project {project}: the git server has more tags than can be read at once")]
    TooManyTags { project: String },
    /// git took too long and was killed.
    #[error("project {project}: git {doing} took longer than {after_s} s: is the git server up?")]
    TimedOut {
        project: String,
        doing: &'static str,
        after_s: u64,
    },
    /// Another process is using the mirror.
    #[error("mirror {0}: another process is fetching into it; wait for it to end")]
    Busy(PathBuf),
    /// The mirror could not be created, written or read.
    #[error(
        "mirror {mirror}: {detail}; if it is damaged, delete it: the next fetch creates it again"
    )]
    Mirror { mirror: PathBuf, detail: String },
    /// The mirror lost an object, or cannot read it. It is marked.
    #[error("mirror {mirror} is damaged: {detail}; the next fetch creates it again")]
    DamagedMirror { mirror: PathBuf, detail: String },
    /// A file named in the configuration could not be read.
    #[error("{path}: {detail}; correct `[git]` in the configuration")]
    File { path: PathBuf, detail: String },
    /// The git program could not be started.
    #[error("git cannot be started: {0}; install git, version 2.32 or newer")]
    NoGit(String),
    /// Work on the mirror was interrupted.
    #[error("mirror {mirror}: work on it was interrupted: {detail}; the agent's log says more")]
    BrokeOff { mirror: PathBuf, detail: String },
    /// The mirror does not have the object.
    #[error("object {object} is not in the mirror {mirror}: fetch it first")]
    NoObject { mirror: PathBuf, object: String },
    /// git refuses what was pushed as an invalid object.
    #[error(
        "project {project}: git refuses what was pushed: {detail}; write that object again (`git fsck` in a clone names all of them), and push the tag"
    )]
    Fsck { project: String, detail: String },
    /// git cannot read what was pushed.
    #[error(
        "{reference}: git can't read {object}: {detail}; try `git log {object}` in a clone, make the commit or tag again, and push it"
    )]
    Unreadable {
        reference: String,
        object: String,
        detail: String,
    },
    /// A local git took too long and was killed.
    #[error(
        "{reference}: git {doing} took longer than {after_s} s and was ended: push less, or raise `{key}` in `[projects.limits]`"
    )]
    TooSlow {
        reference: String,
        doing: &'static str,
        after_s: u64,
        key: &'static str,
    },
    /// A limit on pushes is exceeded.
    #[error("{reference}: {what}: push less, or raise `{key}` in `[projects.limits]`")]
    Limit {
        reference: String,
        what: String,
        key: &'static str,
    },
    /// The tag points to an object that cannot be released.
    #[error("{reference} points to a {kind}, not to a commit: tag a commit")]
    NotACommit { reference: String, kind: String },
}

impl LandingError {
    /// Whether what was pushed is at fault, so that no retry can land it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Name { .. }
                | Self::Fsck { .. }
                | Self::Unreadable { .. }
                | Self::NotACommit { .. }
        )
    }

    /// Whether retrying later may help without intervention. A full disk, process table or file
    /// table looks like a missing program or a damaged mirror: such errors do not fail a push
    /// before its timeout.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::RefMissing { .. }
            | Self::TimedOut { .. }
            | Self::Busy(_)
            | Self::Mirror { .. }
            | Self::DamagedMirror { .. }
            | Self::File { .. }
            | Self::NoGit(_)
            | Self::BrokeOff { .. } => true,
            Self::Remote { failure, .. } => matches!(
                failure,
                RemoteFailure::Damaged
                    | RemoteFailure::Alternate
                    | RemoteFailure::Partial
                    | RemoteFailure::Unreachable
                    | RemoteFailure::Other
            ),
            Self::Url { .. }
            | Self::Name { .. }
            | Self::ObjectFormat { .. }
            | Self::Moved { .. }
            | Self::TooManyTags { .. }
            | Self::NoObject { .. }
            | Self::Fsck { .. }
            | Self::Unreadable { .. }
            | Self::TooSlow { .. }
            | Self::Limit { .. }
            | Self::NotACommit { .. } => false,
        }
    }
}

/// A callback for lines of git's progress, a few dozen for a large fetch.
pub type GitProgress<'a> = &'a (dyn Fn(&str) + Send + Sync);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_machine_failures_are_transient() {
        let mirror = PathBuf::from("/mirror");
        let detail = "No space left on device".to_owned();
        for error in [
            LandingError::NoGit("Resource temporarily unavailable".to_owned()),
            LandingError::Mirror {
                mirror: mirror.clone(),
                detail: detail.clone(),
            },
            LandingError::DamagedMirror {
                mirror: mirror.clone(),
                detail: detail.clone(),
            },
            LandingError::BrokeOff {
                mirror: mirror.clone(),
                detail: detail.clone(),
            },
            LandingError::File {
                path: mirror,
                detail,
            },
        ] {
            assert!(error.is_transient(), "{error}");
        }
    }
}
