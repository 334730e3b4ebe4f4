//! Resource limits for one push, before and after approval.

use std::time::Duration;

use serde::Deserialize;

use crate::domain::document::duration;

/// `[projects.limits]`: limits on the content of a pushed commit and on the time to read it. Every
/// user who may push a tag triggers this work, so all of it is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushLimits {
    /// Files, links and directories in a release, and files that differ from what is live.
    pub entries: u64,
    /// Directory depth of a file.
    pub depth: u64,
    /// Total bytes of all paths in a release and of its link targets.
    pub path_bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Total bytes of all files in a release.
    pub release_bytes: u64,
    /// Total bytes of all `.gitattributes` in a commit.
    pub attributes_bytes: u64,
    /// Bytes of changed files, old and new, above which lines are not counted.
    pub counted_bytes: u64,
    /// Maximum time for counting lines; after it they are shown as not counted.
    #[serde(deserialize_with = "duration::deserialize")]
    pub count_time: Duration,
    /// Maximum time for one git command that reads the mirror.
    #[serde(deserialize_with = "duration::deserialize")]
    pub git_time: Duration,
    /// Bytes of memory of one git process, without the mirror's files that it maps.
    pub git_memory_bytes: u64,
    /// Maximum time for a fetch, including the first one of a large repository.
    #[serde(deserialize_with = "duration::deserialize")]
    pub fetch_time: Duration,
    /// Bytes received in one fetch, including the first one of a large repository.
    pub fetch_bytes: u64,
}

impl Default for PushLimits {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            depth: 100,
            path_bytes: 100_000_000,
            file_bytes: 10_000_000_000,
            release_bytes: 100_000_000_000,
            attributes_bytes: 1_000_000,
            counted_bytes: 20_000_000,
            count_time: Duration::from_secs(5),
            git_time: Duration::from_secs(10 * 60),
            git_memory_bytes: 4_000_000_000,
            fetch_time: Duration::from_secs(30 * 60),
            fetch_bytes: 20_000_000_000,
        }
    }
}
