//! An exact commit becomes a manifest, and the manifest becomes a tree on the agent's disk.
//!
//! The executor calls it through [`Checkout`]. It reads the mirror that `landing` filled and writes
//! below the agent's data directory; it never uses the network, never runs code from a repository
//! and never touches a host. What becomes part of a release is told in `docs/checkout.md`.
//!
//! - [`Manifest`] (pure): paths, blobs, modes, mtimes; digest, difference, stored form
//! - [`plan`]: the walk over a commit's tree that makes a manifest
//! - [`write_tree`]: brings a directory to equal a manifest, writing only what differs

mod attributes;
mod exclude;
mod links;
mod manifest;
mod plan;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::crash;
pub use crate::plan::Submodules;
pub use manifest::{Entry, HOST_LISTING, Kind, Manifest, ManifestDiff, ManifestError, Mode};
pub use plan::plan;
pub use write::{Written, write_tree};

/// Which part of a commit becomes the release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanOptions {
    /// Sub-directory of the repository that becomes the release; `None` for all of it.
    pub source: Option<String>,
    pub submodules: Submodules,
    /// Patterns as in `.gitignore`, relative to the release; see `docs/checkout.md`.
    pub exclude: Vec<String>,
    /// Paths that become links into `shared/`, beside `releases/` on the host.
    pub shared: Vec<String>,
}

/// The directories that must exist in a host's `shared/` before a release with these `shared` paths
/// is of use: a path that is a directory itself, else its parent.
///
/// A path is taken for a file when its last name holds a dot (`config/secrets.toml`, `.env`), unless
/// it ends in `/`. Files in `shared/` are the operator's to put there.
#[must_use]
pub fn shared_directories(shared: &[String]) -> Vec<String> {
    let mut directories: Vec<String> = Vec::new();
    for path in shared {
        let directory = match (path.strip_suffix('/'), path.rsplit_once('/')) {
            (Some(directory), _) => directory,
            (None, Some((parent, name))) if name.contains('.') => parent,
            (None, None) if path.contains('.') => continue,
            (None, _) => path,
        };
        if !directories.iter().any(|known| known == directory) {
            directories.push(directory.to_owned());
        }
    }
    directories
}

/// Everything that a plan of a tree depends on.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// The bare repository that `landing` filled.
    pub mirror: PathBuf,
    /// The commit, hex digits.
    pub commit: String,
    pub options: PlanOptions,
    /// What is live: its files keep their mtimes where nothing changed.
    pub base: Option<Arc<Manifest>>,
    /// Seconds since 1970: the mtime of what changed, unless `base` is newer still.
    pub now_s: i64,
}

/// Why a commit cannot become a release, or a release not a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutError {
    /// The mirror holds no such commit.
    #[error("commit {commit} is not in the mirror {mirror}: fetch it again")]
    NoCommit { mirror: PathBuf, commit: String },
    /// The project's `source` is not a directory of this commit.
    #[error("commit {commit} has no directory {source_dir:?}: correct `source` of the project")]
    NoSource { commit: String, source_dir: String },
    /// The tree holds submodules.
    #[error(
        "submodule at {}: its content is not in the repository; set `submodules = \"skip\"` to release without it",
        .0.join(", ")
    )]
    Submodule(Vec<String>),
    /// The tree holds Git LFS pointers in place of files.
    #[error(
        "Git LFS pointers instead of content: {}; commit the files themselves, build them in a stage, or exclude them",
        .0.join(", ")
    )]
    LfsPointer(Vec<String>),
    /// A symbolic link names something outside the release.
    #[error("symbolic link {path:?} -> {target:?} leaves the release: correct or exclude it")]
    EscapingLink { path: String, target: String },
    /// A symbolic link has a target that no system could hold.
    #[error("symbolic link {0:?} has an empty or impossible target: correct or exclude it")]
    BadLink(String),
    /// A shared path that cannot be one.
    #[error("shared path {path:?} {reason}: correct `shared` of the environment")]
    Shared { path: String, reason: &'static str },
    /// An exclude pattern that cannot be read.
    #[error("exclude pattern {pattern:?}: {reason}")]
    Exclude { pattern: String, reason: String },
    /// More than a release may hold.
    #[error("the tree holds more than {0} entries: exclude what is not needed")]
    TooMany(usize),
    /// A path that must not be written, or a damaged manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Content that the manifest names is no longer in the mirror.
    #[error("blob {blob} of {path:?} is not in the mirror: fetch and plan again")]
    MissingBlob { path: String, blob: String },
    /// Another process writes the same tree.
    #[error("{0}: another process is writing this tree; wait for it to end")]
    Busy(PathBuf),
    /// git could not read its own objects.
    #[error("mirror {mirror}: {detail}; if it is damaged, delete it: the next fetch makes it anew")]
    Mirror { mirror: PathBuf, detail: String },
    /// The disk said no.
    #[error("{path}: {detail}; check space and permissions, then retry")]
    Io { path: PathBuf, detail: String },
    /// A worker thread ended without a result.
    #[error("the checkout ended without a result ({0}): retry, and report it")]
    Ended(String),
}

impl CheckoutError {
    /// Whether the mirror lacks what landed once: fetching it again may help.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::NoCommit { .. } | Self::MissingBlob { .. } | Self::Mirror { .. }
        )
    }
}

/// The checkout as the executor sees it; a simulation brings its own.
pub trait Checkout: Send + Sync {
    /// `checkout.plan`: a commit's tree as a manifest. It changes nothing that anybody sees; after a
    /// crash or an error it is asked again, and the same request gives the same manifest.
    fn plan(&self, request: PlanRequest) -> BoxFuture<'_, Result<Arc<Manifest>, CheckoutError>>;

    /// `checkout.write`: `dir` equals the manifest. After a crash or an error `dir` is somewhere
    /// between two trees and nothing vouches for it: nothing may be sent from it until a later call
    /// has succeeded. Repeating is always right.
    fn write(
        &self,
        mirror: PathBuf,
        manifest: Arc<Manifest>,
        dir: PathBuf,
    ) -> BoxFuture<'_, Result<Written, CheckoutError>>;
}

/// [`Checkout`] on a real mirror and a real disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct MirrorCheckout;

impl Checkout for MirrorCheckout {
    fn plan(&self, request: PlanRequest) -> BoxFuture<'_, Result<Arc<Manifest>, CheckoutError>> {
        Box::pin(async move {
            crash::before("checkout.plan");
            let planned = blocking(move || plan(&request).map(Arc::new)).await;
            crash::after("checkout.plan");
            planned
        })
    }

    fn write(
        &self,
        mirror: PathBuf,
        manifest: Arc<Manifest>,
        dir: PathBuf,
    ) -> BoxFuture<'_, Result<Written, CheckoutError>> {
        Box::pin(async move {
            // A write whose caller has gone goes on to its end, and then it is the next one's turn;
            // whoever has gone while it waited never begins.
            let turn = turn(&dir).lock_owned().await;
            crash::before("checkout.write");
            let written = blocking(move || {
                let _turn = turn;
                write_tree(&mirror, &manifest, &dir)
            })
            .await;
            crash::after("checkout.write");
            written
        })
    }
}

/// One write at a time into a directory, within this process.
fn turn(dir: &Path) -> Arc<tokio::sync::Mutex<()>> {
    type Turns = HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>;
    static TURNS: LazyLock<Mutex<Turns>> = LazyLock::new(Mutex::default);
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(turns.entry(dir.to_owned()).or_default())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CheckoutError> + Send + 'static,
) -> Result<T, CheckoutError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(CheckoutError::Ended(error.to_string())))
}

/// A path for an error message.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_file_asks_for_its_directory_and_a_shared_directory_for_itself() {
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
    }
}
