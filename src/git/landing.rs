//! Does the ref stand on the pushed object? Fetch it, pin it, compare it with what is live.
//!
//! The executor calls it through [`Git`]. What crosses the network (`ls-remote`, `fetch`) is done by
//! the system's git program under an environment of our own, and so is what reads commits and tags: git
//! decides what a commit is. git2 keeps the refs of the mirror and compares trees. It never
//! checks anything out, never writes outside the mirror, and asks nobody for a password.
//!
//! The mirror of a project is a bare repository that holds only refs of our own:
//! `refs/tagship/tasks/ID` pins what task ID releases, `refs/tagship/last` keeps the newest history
//! for the next fetch to build on, `refs/tagship/incoming/ID` is a fetch that nobody has looked at
//! yet. git's own maintenance runs at the end of a fetch, in the foreground, so that nothing works in
//! the mirror when no call does. Nothing fetched is ever pruned (`gc.pruneExpire = never`): to give space back, delete the
//! mirror, and the next fetch makes it anew.

mod adapter;
mod ask;
mod changes;
mod describe;
mod fsck;
mod objects;
pub(crate) mod program;
mod progress;
mod system;
mod url;

use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::domain::plan::PushLimits;

pub use crate::domain::task::{
    ChangedPath, CommitLine, CommitPerson, Comparison, Description, Relation, TagInfo,
};
pub use adapter::SystemGit;
pub use ask::{heads, tags};
pub use describe::{DescribeRequest, LiveOn, describe};
pub use system::{fetch, ls_remote, unpin};

/// Where a project's objects come from, and where they are kept.
#[derive(Clone, Debug)]
pub struct GitSource {
    /// The project's name, for messages.
    pub project: String,
    /// `ssh://`, `user@host:path`, `https://`, `http://`, `file://` or an absolute path.
    pub git_url: String,
    /// The bare repository that is kept for the project; made at first use.
    pub mirror: PathBuf,
    /// Private key for `ssh`; `None` leaves the choice to OpenSSH.
    pub identity: Option<PathBuf>,
    /// Host keys for `ssh`: a host that is not in it is refused.
    pub known_hosts: PathBuf,
    /// File with a token, or `USER:TOKEN`, for `https`.
    pub token_file: Option<PathBuf>,
    pub timeouts: Timeouts,
    pub limits: PushLimits,
}

/// After how long git is ended, with everything that it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub ls_remote: Duration,
    /// Bounds the first fetch of a large repository too. A connection that stalls ends sooner.
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

/// A ref as the git server shows it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRef {
    /// Full name: `refs/tags/release-1`.
    pub name: String,
    /// What it stands on: the tag object of an annotated tag, else the commit.
    pub object: String,
    /// What an annotated tag leads to in the end.
    pub peeled: Option<String>,
}

/// What a fetch is to bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// Full name of the ref.
    pub reference: String,
    /// The object on which it must stand, hex digits.
    pub object: String,
    /// The task for which it is pinned.
    pub task: u64,
}

/// What went wrong on the other side, as far as git's words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteFailure {
    HostKey,
    Credentials,
    NotFound,
    /// More memory than `git_memory_bytes`.
    Memory,
    Other,
}

impl RemoteFailure {
    fn advice(self) -> &'static str {
        match self {
            Self::HostKey => {
                "add the server's host key to that file (`ssh-keyscan`, then compare its fingerprint with the server's own)"
            }
            Self::Credentials => {
                "give the agent's key or token access to it (`[git] identity`, `token_file`)"
            }
            Self::NotFound => "correct `git_url`, or give the agent access to it",
            Self::Memory => "push less, or raise `git_memory_bytes` in `[projects.limits]`",
            Self::Other => "see whether the agent's machine reaches the git server",
        }
    }
}

/// Why a ref has not landed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LandingError {
    /// The configured address cannot be used.
    #[error("project {project}: git_url {url:?} {reason}")]
    Url {
        project: String,
        url: String,
        reason: &'static str,
    },
    /// A ref or an object id that is none.
    #[error("project {project}: {what:?} is not a full ref name or object id: push the tag again")]
    Name { project: String, what: String },
    /// The repository uses SHA-256 object ids.
    #[error(
        "project {project}: the repository's object format is SHA-256, which is not supported; use a SHA-1 repository"
    )]
    ObjectFormat { project: String },
    /// The git server does not show the ref.
    #[error("project {project}: {reference} is not on the git server: push it again")]
    RefMissing { project: String, reference: String },
    /// The ref stands on something else than was pushed.
    #[error(
        "project {project}: {reference} has moved from {expected} to {found}: the newer push has a task of its own"
    )]
    Moved {
        project: String,
        reference: String,
        expected: String,
        found: String,
    },
    /// The git program ended with an error.
    #[error("project {project}: git {doing}: {detail}; {}", failure.advice())]
    Remote {
        project: String,
        doing: &'static str,
        failure: RemoteFailure,
        detail: String,
    },
    /// The answer was cut.
    #[error("project {project}: the git server has more tags than can be read at once")]
    TooManyTags { project: String },
    /// git took too long and was ended.
    #[error("project {project}: git {doing} took longer than {after_s} s: is the git server up?")]
    TimedOut {
        project: String,
        doing: &'static str,
        after_s: u64,
    },
    /// Another process works in the mirror.
    #[error("mirror {0}: another process is fetching into it; wait for it to end")]
    Busy(PathBuf),
    /// The mirror could not be made, written or read.
    #[error("mirror {mirror}: {detail}; if it is damaged, delete it: the next fetch makes it anew")]
    Mirror { mirror: PathBuf, detail: String },
    /// A file that the configuration names could not be read.
    #[error("{path}: {detail}; correct `[git]` in the configuration")]
    File { path: PathBuf, detail: String },
    /// The git program could not be started.
    #[error("git cannot be started: {0}; install git, version 2.32 or newer")]
    NoGit(String),
    /// Work on the mirror broke off in the middle.
    #[error("mirror {mirror}: work on it broke off: {detail}; the agent's log says more")]
    BrokeOff { mirror: PathBuf, detail: String },
    /// The mirror does not hold the object.
    #[error("object {object} is not in the mirror {mirror}: fetch it first")]
    NoObject { mirror: PathBuf, object: String },
    /// git does not take what was pushed for an object.
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
    /// A git of our own took too long and was ended.
    #[error(
        "{reference}: git {doing} took longer than {after_s} s and was ended: push less, or raise `{key}` in `[projects.limits]`"
    )]
    TooSlow {
        reference: String,
        doing: &'static str,
        after_s: u64,
        key: &'static str,
    },
    /// More than a push may bring.
    #[error("{reference}: {what}: push less, or raise `{key}` in `[projects.limits]`")]
    Limit {
        reference: String,
        what: String,
        key: &'static str,
    },
    /// The tag leads to something that cannot be released.
    #[error("{reference} leads to a {kind}, not to a commit: tag a commit")]
    NotACommit { reference: String, kind: String },
}

impl LandingError {
    /// Whether asking again later may help without anybody doing anything. A full disk, a full table
    /// of processes or of open files looks as a missing program or a damaged mirror does: nobody loses
    /// a push by that before its time is up.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::RefMissing { .. }
            | Self::TimedOut { .. }
            | Self::Busy(_)
            | Self::Mirror { .. }
            | Self::File { .. }
            | Self::NoGit(_)
            | Self::BrokeOff { .. } => true,
            Self::Remote { failure, .. } => *failure == RemoteFailure::Other,
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

/// Receives lines of git's progress, a few dozen for a large fetch.
pub type GitProgress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// git as the executor sees it; a simulation brings its own.
pub trait Git: Send + Sync {
    /// `git.ls_remote`: where the named refs stand on the git server now, in one query; refs that
    /// are not there are not in the answer. Changes nothing: after a crash or an error, ask again.
    fn ls_remote<'a>(
        &'a self,
        source: &'a GitSource,
        refs: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RemoteRef>, LandingError>>;

    /// `git.fetch`: the object with its whole history is in the mirror and pinned for the task.
    /// After a crash or an error the mirror may hold more objects, and nothing is pinned that was
    /// not compared; repeating is always right.
    fn fetch<'a>(
        &'a self,
        source: &'a GitSource,
        wanted: &'a FetchRequest,
        progress: GitProgress<'a>,
    ) -> BoxFuture<'a, Result<(), LandingError>>;

    /// `git.unpin`: the task's pin is gone. Repeating is harmless; after a crash it may stand or
    /// not, and harms nobody.
    fn unpin<'a>(
        &'a self,
        source: &'a GitSource,
        task: u64,
    ) -> BoxFuture<'a, Result<(), LandingError>>;

    /// `git.tags`: all tags of the git server, in one query. Changes nothing.
    fn tags<'a>(
        &'a self,
        source: &'a GitSource,
    ) -> BoxFuture<'a, Result<Vec<RemoteRef>, LandingError>>;

    /// `git.heads`: those of some commits to which none of the others leads. Reads the mirror only;
    /// the same question has the same answer.
    fn heads<'a>(
        &'a self,
        source: &'a GitSource,
        commits: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, LandingError>>;

    /// `git.describe`: what the object is, and how it relates to what is live. Reads the mirror
    /// only; the same question has the same answer.
    fn describe<'a>(
        &'a self,
        source: &'a GitSource,
        question: &'a DescribeRequest,
    ) -> BoxFuture<'a, Result<Description, LandingError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_the_agents_own_machine_is_passing() {
        let mirror = PathBuf::from("/mirror");
        let detail = "No space left on device".to_owned();
        for error in [
            LandingError::NoGit("Resource temporarily unavailable".to_owned()),
            LandingError::Mirror {
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
            assert!(error.is_passing(), "{error}");
        }
    }
}
