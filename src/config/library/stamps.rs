//! Notices that files have changed, without reading them.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::base::clock::{Clock as _, SystemClock};

/// File systems keep times in steps of at most this many seconds. Two changes within one step may
/// leave the same stamp.
const TIME_STEP_S: i64 = 2;

/// Device, inode, size, and the time of the last change in seconds and nanoseconds.
type FileStamp = (u64, u64, u64, i64, i64);

/// The files and directories that something was read from; `None` for one that did not exist.
#[derive(Clone, Debug, Default)]
pub(super) struct FileStamps {
    files: BTreeMap<PathBuf, Option<FileStamp>>,
    /// Whether one of them had just been changed.
    just_changed: bool,
}

impl FileStamps {
    /// Notes a file that is about to be read.
    pub(super) fn note(&mut self, path: &Path) {
        let stamp = stamp(path);
        let settled = SystemClock.now().as_second() - TIME_STEP_S;
        self.just_changed |= stamp.is_some_and(|(.., changed, _)| changed >= settled);
        self.files.entry(path.to_owned()).or_insert(stamp);
    }

    /// Whether no file can have changed since it was noted.
    pub(super) fn are_current(&self) -> bool {
        let mut files = self.files.iter();
        !self.just_changed && files.all(|(path, noted)| stamp(path) == *noted)
    }
}

fn stamp(path: &Path) -> Option<FileStamp> {
    let found = path.metadata().ok()?;
    Some((
        found.dev(),
        found.ino(),
        found.size(),
        found.ctime(),
        found.ctime_nsec(),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[test]
    fn changed_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&a, "1").unwrap();
        let noted = || {
            let mut noted = FileStamps::default();
            noted.note(&a);
            noted.note(&b);
            assert!(
                !noted.are_current(),
                "a change within the same step of time"
            );
            noted.just_changed = false;
            assert!(noted.are_current());
            noted
        };
        let before = noted();
        fs::write(&a, "22").unwrap();
        assert!(!before.are_current());
        let before = noted();
        fs::write(dir.path().join("new"), "33").unwrap();
        fs::rename(dir.path().join("new"), &a).unwrap();
        assert!(!before.are_current());
        let before = noted();
        fs::write(&b, "").unwrap();
        assert!(!before.are_current());
        let before = noted();
        fs::remove_file(&a).unwrap();
        assert!(!before.are_current());
    }
}
