//! What one push may cost the agent, before and after anybody approved it.

use std::time::Duration;

use serde::Deserialize;

use crate::domain::document::duration;

/// `[projects.limits]`: bounds of what a pushed commit may hold and of the time that reading it may
/// take. Whoever may push a tag sets that work going, so none of it is without a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushLimits {
    /// Files, links and directories of a release, and files that may differ from what is live.
    pub entries: u64,
    /// Directories above a file.
    pub depth: u64,
    /// Bytes of all paths of a release and targets of its links together.
    pub path_bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all files of a release together.
    pub release_bytes: u64,
    /// Bytes of all `.gitattributes` of a commit together.
    pub attributes_bytes: u64,
    /// Bytes of the changed files, old and new, above which their lines are not counted.
    pub counted_bytes: u64,
    /// How long lines are counted before they are shown as not counted.
    #[serde(deserialize_with = "duration::deserialize")]
    pub count_time: Duration,
    /// How long one call of git that reads the mirror may take.
    #[serde(deserialize_with = "duration::deserialize")]
    pub git_time: Duration,
    /// Bytes of memory of one git, besides the files of the mirror that it maps.
    pub git_memory_bytes: u64,
    /// How long a fetch may take, the first one of a large repository too.
    #[serde(deserialize_with = "duration::deserialize")]
    pub fetch_time: Duration,
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
        }
    }
}
