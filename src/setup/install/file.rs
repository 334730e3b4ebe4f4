//! Writes files by rename, with their mode and owner.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::InstallError;
use super::trial::TrialIdentity;
use crate::base::durable::directory_of;

/// Returns a temporary name beside `path` that no server runs: Gitaly skips names that end in `~`,
/// a shell's `*` those that start with a dot.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new~"))
}

/// Creates the directories from `repo` down to `directory`, owned by the git user.
pub(super) fn make_directories(
    repo: &Path,
    directory: &Path,
    identity: &TrialIdentity,
) -> Result<(), InstallError> {
    let missing: Vec<&Path> = directory
        .ancestors()
        .take_while(|path| *path != repo && !path.exists())
        .collect();
    for path in missing.into_iter().rev() {
        fs::create_dir(path).map_err(InstallError::io("make directory", path))?;
        fs::set_permissions(path, Permissions::from_mode(0o755))
            .map_err(InstallError::io("set the mode of", path))?;
        identity.chown(path)?;
    }
    Ok(())
}

/// Copies a program to `to`, mode 0755.
pub(super) fn copy_program(
    from: &Path,
    to: &Path,
    identity: &TrialIdentity,
) -> Result<(), InstallError> {
    if !from.is_file() {
        return Err(InstallError::ProgramMissing(from.to_owned()));
    }
    let bytes = fs::read(from).map_err(InstallError::io("read", from))?;
    create(to, &bytes, 0o755, identity)
}

/// Writes a file to a temporary name and renames it.
pub(super) fn write(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    identity: &TrialIdentity,
) -> Result<(), InstallError> {
    let new = temporary(path);
    create(&new, bytes, mode, identity)?;
    rename(&new, path)
}

fn create(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    identity: &TrialIdentity,
) -> Result<(), InstallError> {
    remove(path)?;
    let attempt = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    };
    attempt().map_err(InstallError::io("write", path))?;
    identity.chown(path)
}

/// Renames within a directory and syncs it.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), InstallError> {
    fs::rename(from, to)
        .and_then(|()| File::open(directory_of(to))?.sync_all())
        .map_err(InstallError::io("put in place", to))
}

/// Deletes a file; false if there was none.
pub(super) fn remove(path: &Path) -> Result<bool, InstallError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(InstallError::io("remove", path)(error)),
    }
}
