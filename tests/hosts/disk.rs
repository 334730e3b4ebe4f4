//! A small file system of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unmounted when it is dropped.
pub(crate) struct Disk(pub(crate) PathBuf);

impl Disk {
    /// An empty one of this size; `None` (said aloud) where this user may not mount.
    pub(crate) fn at(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={size}");
        let mounted = mount(&["-t", "tmpfs", "-o", &size, "none"], path);
        if !mounted {
            eprintln!("SKIPPED: this user may not mount a file system");
        }
        mounted.then(|| Self(path.to_owned()))
    }

    /// Mounts it once more, as `ro` or `rw`.
    #[track_caller]
    pub(crate) fn remount(&self, how: &str) {
        assert!(mount(&["-o", &format!("remount,{how}")], &self.0));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str], path: &Path) -> bool {
    let status = Command::new("mount").args(arguments).arg(path).status();
    status.is_ok_and(|status| status.success())
}
