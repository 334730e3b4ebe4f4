//! Locks of a directory: one within this process, one between processes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::base::mutex::lock;

/// Returns the lock of a directory within this process. It is fair and may be held across awaits.
pub(super) fn of_directory(directory: &Path) -> Arc<tokio::sync::Mutex<()>> {
    type Locks = HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>;
    static LOCKS: LazyLock<Mutex<Locks>> = LazyLock::new(Mutex::default);
    let mut locks = lock(&LOCKS);
    Arc::clone(locks.entry(directory.to_owned()).or_default())
}

/// A lock between processes, held until dropped; the kernel releases it when the process dies.
pub(super) struct LockFile(File);

impl LockFile {
    /// Locks `path` without waiting; `None` if another process holds it.
    pub(super) fn lock(path: &Path) -> io::Result<Option<Self>> {
        let file = File::create(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for LockFile {
    /// Closing is not enough: a child just forked by another thread holds a copy of the descriptor,
    /// and with it the lock, until it executes its program.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
