//! Turns an exact commit into a manifest, and the manifest into a tree on the agent's disk.
//!
//! The executor calls it through [`Checkout`]. It reads the mirror that `landing` filled and writes
//! below the agent's data directory. It never uses the network, runs code from a repository or
//! accesses a host. `docs/checkout.md` documents what a release contains.
//!
//! - [`Manifest`] (pure): paths, blobs, modes, mtimes; digest, difference, stored form
//! - [`mod@plan`]: the walk over a commit's tree that makes a manifest
//! - [`write_tree`]: makes a directory equal to a manifest, writing only what differs

mod adapter;
mod attributes;
mod blobs;
mod exclude;
mod links;
mod manifest;
mod plan;
mod walk;
mod write;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use git2::Repository;
use serde::{Deserialize, Serialize};

use crate::domain::plan::PushLimits;
pub use crate::domain::plan::Submodules;
use crate::git::landing::damage;
use crate::git::landing::program::{self, GitFailure};
pub use adapter::{Checkout, MirrorCheckout};
pub use manifest::{
    EntryKind, HOST_LISTING, Manifest, ManifestDiff, ManifestEntry, ManifestError, Mode,
};
pub use plan::plan;
pub use write::{WrittenTree, write_tree};

/// The maximum bytes of a path in an error message.
const DISPLAY_BYTES_MAX: usize = 200;

/// Which part of a commit to release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanOptions {
    /// Sub-directory of the repository to release; `None` for all of it.
    pub source: Option<String>,
    pub submodules: Submodules,
    /// Patterns as in `.gitignore`, relative to the release; see `docs/checkout.md`.
    pub exclude: Vec<String>,
    /// Paths that become links into `shared/`, beside `releases/` on the host.
    pub shared: Vec<String>,
}

/// Returns the directories that must exist in a host's `shared/` for a release with these `shared`
/// paths: the path if it is a directory, else its parent.
///
/// A path whose last name contains a dot (`config/secrets.toml`, `.env`) is a file, unless it ends
/// in `/`. The operator provides files in `shared/`.
#[must_use]
pub fn shared_directories(shared: &[String]) -> Vec<String> {
    let mut directories: Vec<String> = Vec::new();
    for path in shared {
        let directory = match (is_shared_file(path), path.rsplit_once('/')) {
            (false, _) => path.strip_suffix('/').unwrap_or(path),
            (true, Some((parent, _))) => parent,
            (true, None) => continue,
        };
        if !directories.iter().any(|known| known == directory) {
            directories.push(directory.to_owned());
        }
    }
    directories
}

/// Returns the files among these `shared` paths, which the operator provides.
#[must_use]
pub fn shared_files(shared: &[String]) -> Vec<String> {
    let files = shared.iter().filter(|path| is_shared_file(path));
    files.cloned().collect()
}

fn is_shared_file(path: &str) -> bool {
    path.rsplit('/')
        .next()
        .is_some_and(|name| name.contains('.'))
}

/// Everything that a plan of a tree depends on.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// The bare repository that `landing` filled.
    pub mirror: PathBuf,
    /// The commit, in hex.
    pub commit: String,
    pub options: PlanOptions,
    /// The live manifest: unchanged files keep their mtimes.
    pub base: Option<Arc<Manifest>>,
    /// Seconds since 1970: the mtime of changed files, unless `base` is even newer.
    pub now_s: i64,
    /// Limits on the commit's content, and on the cost of reading it.
    pub limits: PushLimits,
}

impl PlanRequest {
    fn limit(&self, limit: String, key: &'static str) -> CheckoutError {
        CheckoutError::Limit {
            commit: self.commit.clone(),
            limit,
            key,
        }
    }
}

/// Why a commit cannot be released, or a manifest not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutError {
    /// The mirror does not have this commit.
    #[error("commit {commit} is not in the mirror {mirror}: fetch it again")]
    NoCommit { mirror: PathBuf, commit: String },
    /// The project's `source` is not a directory in this commit.
    #[error("commit {commit} has no directory {source_dir:?}: correct `source` of the project")]
    NoSource { commit: String, source_dir: String },
    /// The tree contains submodules.
    #[error(
        "submodule at {}: its content is not in the repository; set `submodules = \"skip\"` to release without it",
        .0.join(", ")
    )]
    Submodule(Vec<String>),
    /// The tree contains Git LFS pointers instead of files.
    #[error(
        "Git LFS pointers instead of content: {}; commit the files themselves, build them in a stage, or exclude them",
        .0.join(", ")
    )]
    LfsPointer(Vec<String>),
    /// A symbolic link points outside the release.
    #[error("symbolic link {path:?} -> {target:?} leaves the release: correct or exclude it")]
    EscapingLink { path: String, target: String },
    /// A symbolic link has a target that no system supports.
    #[error("symbolic link {0:?} has an empty or impossible target: correct or exclude it")]
    BadLink(String),
    /// An invalid shared path.
    #[error("shared path {path:?} {reason}: correct `shared` of the environment")]
    Shared { path: String, reason: &'static str },
    /// An invalid exclude pattern.
    #[error("exclude pattern {pattern:?}: {reason}")]
    Exclude { pattern: String, reason: String },
    /// A limit on pushes is exceeded.
    #[error(
        "commit {commit}: {limit}: {}, or raise `{key}` in `[projects.limits]`",
        remedy_of(key)
    )]
    Limit {
        commit: String,
        limit: String,
        key: &'static str,
    },
    /// git took too long on the commit and was killed.
    #[error(
        "commit {commit}: git {operation} took longer than {after_s} s and was ended: simplify its .gitattributes, or raise `git_time` in `[projects.limits]`"
    )]
    TooSlow {
        commit: String,
        operation: &'static str,
        after_s: u64,
    },
    /// git could not read the commit.
    #[error(
        "commit {commit}: git {operation}: {detail}; try the same in a clone of the repository"
    )]
    Git {
        commit: String,
        operation: &'static str,
        detail: String,
    },
    /// A path that must not be written, or a damaged manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Content in the manifest is no longer in the mirror.
    #[error("blob {blob} of {path:?} is not in the mirror, or not whole: fetch and plan again")]
    MissingBlob { path: String, blob: String },
    /// The mirror lost an object of the commit, or cannot read it.
    #[error(
        "commit {commit}: git {operation}: {detail}; the mirror is damaged, and the next fetch creates it again"
    )]
    DamagedMirror {
        commit: String,
        operation: &'static str,
        detail: String,
    },
    /// Another process is writing the same tree.
    #[error("{0}: another process is writing this tree; wait for it to end")]
    Busy(PathBuf),
    /// The mirror is not a repository.
    #[error(
        "mirror {mirror}: {detail}; if it is damaged, delete it: the next fetch creates it again"
    )]
    Mirror { mirror: PathBuf, detail: String },
    /// A disk operation failed.
    #[error("{path}: {detail}; check space and permissions")]
    Io { path: PathBuf, detail: String },
    /// A worker thread ended without a result.
    #[error("the checkout ended without a result ({0}): retry, and report it")]
    Ended(String),
}

/// Returns what makes a commit smaller. Attributes also count where their own file is excluded.
fn remedy_of(key: &str) -> &'static str {
    match key {
        "attributes_bytes" => "shorten or remove some of them",
        _ => "remove or exclude it",
    }
}

impl CheckoutError {
    /// Whether the mirror lacks data that was fetched before: fetching again may help.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::NoCommit { .. }
                | Self::MissingBlob { .. }
                | Self::Mirror { .. }
                | Self::DamagedMirror { .. }
        )
    }

    /// Whether the mirror lacks a part of a commit that it has: only a new mirror helps.
    fn is_damage(&self) -> bool {
        matches!(self, Self::MissingBlob { .. } | Self::DamagedMirror { .. })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CheckoutError> + Send + 'static,
) -> Result<T, CheckoutError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(CheckoutError::Ended(error.to_string())))
}

/// Why git's output was rejected.
enum StreamReadError {
    Io(io::Error),
    /// The part read so far is already invalid.
    Refused(CheckoutError),
}

impl From<io::Error> for StreamReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<CheckoutError> for StreamReadError {
    fn from(error: CheckoutError) -> Self {
        Self::Refused(error)
    }
}

/// Runs a git that reads `commit` in the mirror, passes its output to `read`, and kills it after
/// `time`.
async fn streamed<T: Send + 'static>(
    (commit, operation): (&str, &'static str),
    git: program::GitCommand,
    input: Vec<u8>,
    time: Duration,
    read: impl FnOnce(&mut BufReader<File>) -> Result<T, StreamReadError> + Send + 'static,
) -> Result<T, CheckoutError> {
    let failed = |detail: &str| CheckoutError::Git {
        commit: commit.to_owned(),
        operation,
        detail: detail.to_owned(),
    };
    let ended = program::stream(git, input, time, read).await;
    let ended = ended.map_err(|failure| match failure {
        GitFailure::Start(error) => failed(&error.to_string()),
        GitFailure::TimedOut => CheckoutError::TooSlow {
            commit: commit.to_owned(),
            operation,
            after_s: time.as_secs(),
        },
    })?;
    let reason = ended.reason().to_owned();
    match ended.stdout {
        Some(Err(StreamReadError::Refused(error))) => Err(error),
        // git's message explains a broken answer better than the answer does.
        _ if !ended.success => Err(match program::out_of_memory(&ended.messages) {
            Some(reason) => CheckoutError::Limit {
                commit: commit.to_owned(),
                limit: format!("git {operation} needs more memory than it may take ({reason})"),
                key: "git_memory_bytes",
            },
            None => match damage::unread_object(&ended.messages) {
                Some(object) => CheckoutError::DamagedMirror {
                    commit: commit.to_owned(),
                    operation,
                    detail: object.to_owned(),
                },
                None => failed(&reason),
            },
        }),
        Some(Ok(made)) => Ok(made),
        Some(Err(StreamReadError::Io(error))) => Err(failed(&error.to_string())),
        None => Err(failed("what it wrote was not read")),
    }
}

fn open_mirror(mirror: &Path) -> Result<Repository, CheckoutError> {
    Repository::open_bare(mirror).map_err(|error| CheckoutError::Mirror {
        mirror: mirror.to_owned(),
        detail: error.message().to_owned(),
    })
}

fn missing(path: &[u8], blob: &str) -> CheckoutError {
    CheckoutError::MissingBlob {
        path: display_path(path),
        blob: blob.to_owned(),
    }
}

/// Formats a path for an error message.
fn display_path(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(&path[..path.len().min(DISPLAY_BYTES_MAX)]);
    match path.len() > DISPLAY_BYTES_MAX {
        true => format!("{text}…"),
        false => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_paths_determine_the_required_directories() {
        let shared = [
            "log",
            "conf.d/",
            "public/uploads",
            ".env",
            "config/a.toml",
            "config/b.toml",
            "a.b/c",
        ];
        let directories = shared_directories(&shared.map(str::to_owned));
        assert_eq!(
            directories,
            ["log", "conf.d", "public/uploads", "config", "a.b/c"]
        );
        let files = shared_files(&shared.map(str::to_owned));
        assert_eq!(files, [".env", "config/a.toml", "config/b.toml"]);
    }
}
