//! Checks whether an agent can use its `data_dir` before anything is opened there, so that a
//! problem is reported in one sentence and not by whichever file is opened first. Creates the
//! directory if it is missing; changes nothing else. Called by `agent`.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::base::user::user_or_number;

/// The least free space, in bytes: an agent that cannot write this much cannot take in a push.
const FREE_BYTES_MIN: usize = 1024 * 1024;

/// Why an agent cannot use a directory.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    #[error(
        "{key} {} needs a directory, and {} is not one: move that file away, or choose another \
         [agent] {key}",
        .dir.display(), .file.display()
    )]
    NotADirectory {
        key: &'static str,
        dir: PathBuf,
        file: PathBuf,
    },
    #[error(
        "data_dir {} belongs to {owner}, and this program runs as {ours}: run it as {owner}, or, if \
         it is to be {ours}'s from now on, chown -R {ours} {}",
        .dir.display(), .dir.display()
    )]
    Foreign {
        dir: PathBuf,
        owner: String,
        ours: String,
    },
    #[error(
        "data_dir {} cannot be written: {source}; mount its file system writable again (the \
         kernel's log says why it is not), then start tagship; pushes wait in the spool meanwhile",
        .dir.display()
    )]
    ReadOnly { dir: PathBuf, source: io::Error },
    #[error(
        "the disk of data_dir {} is full: {source}; make room (logs of earlier tasks are in {}), then \
         start tagship; pushes wait in the spool meanwhile",
        .dir.display(), .dir.join("logs").display()
    )]
    Full { dir: PathBuf, source: io::Error },
    #[error(
        "data_dir {} cannot be used: {source}; let {ours} write there, or choose another [agent] \
         data_dir",
        .dir.display()
    )]
    Unusable {
        dir: PathBuf,
        ours: String,
        source: io::Error,
    },
}

/// Creates the directory (mode 0700) if it is missing, and checks that it is one, and ours.
///
/// # Errors
/// [`DirectoryError`].
pub(super) fn create(dir: &Path) -> Result<(), DirectoryError> {
    refuse_file("data_dir", dir)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| explain(dir, source))?;
    let owner = fs::metadata(dir)
        .map_err(|source| explain(dir, source))?
        .uid();
    let agent_user = rustix::process::geteuid().as_raw();
    if owner != agent_user {
        return Err(DirectoryError::Foreign {
            dir: dir.to_owned(),
            owner: user_or_number(owner),
            ours: user_or_number(agent_user),
        });
    }
    Ok(())
}

/// Refuses a directory if a file is in its place, or in the place of one above it; `key` names the
/// directory in the configuration.
///
/// # Errors
/// [`DirectoryError::NotADirectory`].
pub(super) fn refuse_file(key: &'static str, dir: &Path) -> Result<(), DirectoryError> {
    match obstacle(dir) {
        Some(file) => Err(DirectoryError::NotADirectory {
            key,
            dir: dir.to_owned(),
            file,
        }),
        None => Ok(()),
    }
}

/// Checks that there is room for a commit and its log.
///
/// # Errors
/// [`DirectoryError`]; the file written as a test is removed.
pub(super) fn check_free_space(dir: &Path) -> Result<(), DirectoryError> {
    let path = dir.join(".room");
    let written = fs::File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; FREE_BYTES_MIN])?;
        file.sync_all()
    });
    let removed = match fs::remove_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    written.and(removed).map_err(|source| explain(dir, source))
}

/// Returns the first of the path's parents (or itself) that exists and is not a directory.
fn obstacle(dir: &Path) -> Option<PathBuf> {
    let mut parents: Vec<&Path> = dir.ancestors().collect();
    parents.reverse();
    let mut parents = parents.into_iter();
    let found = parents.find(|path| fs::metadata(path).is_ok_and(|data| !data.is_dir()));
    found.map(Path::to_owned)
}

fn explain(dir: &Path, source: io::Error) -> DirectoryError {
    let dir = dir.to_owned();
    match source.kind() {
        ErrorKind::ReadOnlyFilesystem => DirectoryError::ReadOnly { dir, source },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DirectoryError::Full { dir, source },
        _ => DirectoryError::Unusable {
            dir,
            ours: user_or_number(rustix::process::geteuid().as_raw()),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn missing_data_directory_is_created_with_room() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("var/lib/tagship");
        create(&dir).unwrap();
        check_free_space(&dir).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "something is left");
    }

    #[test]
    fn file_in_place_of_the_data_directory_is_reported() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("var");
        fs::write(&file, "").unwrap();
        for dir in [file.clone(), file.join("lib/tagship")] {
            let error = create(&dir).unwrap_err();
            let DirectoryError::NotADirectory { file: named, .. } = &error else {
                panic!("{error}");
            };
            assert_eq!(*named, file);
            let error = refuse_file("spool_dir", &dir).unwrap_err().to_string();
            assert!(error.starts_with("spool_dir "), "{error}");
            assert!(error.ends_with("another [agent] spool_dir"), "{error}");
        }
        refuse_file("spool_dir", root.path()).unwrap();
    }
}
