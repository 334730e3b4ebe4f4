//! A temporary directory on this machine.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use crate::base::secret;

pub(super) fn scratch() -> std::io::Result<Scratch> {
    let random = secret::random_bytes::<8>().map_err(std::io::Error::other)?;
    let name = format!("tagship-check-{}", secret::hex(&random));
    let path: PathBuf = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(Scratch(path))
}

/// A directory that is deleted on drop.
pub(super) struct Scratch(pub(super) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Its content is worthless; the system cleans its temporary directory in time.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
