//! Releases on a host, and what is live there.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// The name of a release directory: `YYYYMMDD-HHMMSS-<first seven digits of the commit>`, UTC. A
/// release that another tool made live may have any name. Text with a slash is not a name in
/// `releases/`, but the target of `current` as that tool wrote it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(pub String);

impl ReleaseId {
    /// Returns the name for a release of this commit, made at this time.
    #[must_use]
    pub fn new(created: Timestamp, commit: &str) -> Self {
        let commit: String = commit.chars().take(7).collect();
        Self(format!("{}-{commit}", created.strftime("%Y%m%d-%H%M%S")))
    }

    /// Returns the time in the name; `None` if tagship did not make the name.
    #[must_use]
    pub fn created_at(&self) -> Option<Timestamp> {
        let created = DateTime::strptime("%Y%m%d-%H%M%S", self.0.get(..15)?).ok()?;
        Some(created.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }

    /// Whether it names a directory in `releases/`.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.0.contains('/')
    }

    /// Returns where the release is, as a link in `deploy_to` points there.
    #[must_use]
    pub fn path(&self, deploy_to: &str) -> String {
        let link = self.0.trim_start_matches("./");
        match self.is_named() {
            true => self.directory(deploy_to),
            false if link.starts_with('/') => link.to_owned(),
            false => format!("{deploy_to}/{link}"),
        }
    }

    /// Returns the path of the release, if it is or becomes the live one under `deploy_to`.
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

/// SHA-256 of a release's listing (see `checkout::Manifest::listing`), as 64 hex digits. The host
/// can compute the same value from its files.
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

/// The releases and the fence at one place on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// What `current` points to; `None` before the first release.
    pub live: Option<ReleaseId>,
    /// The complete releases with the digest recorded when they were sealed.
    pub releases: Vec<Release>,
    /// Other directories in `releases/`, which another tool made. Not all if there are many.
    #[serde(default)]
    pub others: Vec<ReleaseId>,
    /// The current fence; 0 if none was ever taken.
    pub fence: u64,
    /// Why `current` is not a link to a directory, if that was checked.
    #[serde(default)]
    pub broken: Option<BrokenCurrent>,
    /// When the link was made, by the host's clock.
    #[serde(default)]
    pub changed: Option<Timestamp>,
}

impl HostState {
    /// Returns the releases that are there, whichever tool made them.
    pub fn all_releases(&self) -> impl Iterator<Item = &ReleaseId> {
        let own = self.releases.iter().map(|release| &release.id);
        own.chain(&self.others)
    }
}

/// Why `current` exists but does not point to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BrokenCurrent {
    /// A directory instead of the link.
    Directory,
    /// Something else that is not a link.
    File,
    /// A link to a path that does not exist; without a target if it points to itself.
    Dangling,
    /// A link whose target cannot be shown.
    Text,
}
