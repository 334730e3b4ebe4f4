//! The spool's directories and the files in them.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::{Record, RecordError, RecordId};
use super::{BAD, NEW, RECORD_LIMIT, RULES, SpoolError, TMP};

/// Linux's `O_NONBLOCK` (the same number on every supported architecture): without it, opening a
/// pipe that another user created here would block forever.
const O_NONBLOCK: i32 = 0o4000;

/// Group-writable, sticky (users can't delete each other's files), new entries inherit the group.
const SHARED: u32 = 0o3770;
/// Readable by the group.
const OWN: u32 = 0o2750;

/// How many bad files of one name are kept in `bad/`.
const NAMESAKES_MAX: u32 = 99;

/// A pending record in `new/`, not yet read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// The file's name; names sort by the time at which the hook ran.
    pub name: OsString,
}

/// A record, and the owner of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub record: Record,
    /// The system user who wrote the file: the only fact here that the kernel guarantees.
    pub owner: u32,
}

/// Creates the directories, or corrects their modes; `group` is the git user's group. The agent
/// calls it at startup.
///
/// # Errors
/// A directory cannot be created, or its mode or group cannot be set.
pub fn setup(spool: &Path, group: Option<u32>) -> Result<(), SpoolError> {
    for (path, mode) in [
        (spool.to_owned(), SHARED),
        (spool.join(TMP), SHARED),
        (spool.join(NEW), SHARED),
        (spool.join(BAD), OWN),
        (spool.join(RULES), OWN),
    ] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(SpoolError::io("make directory", &path))?;
        if let Some(group) = group {
            std::os::unix::fs::chown(&path, None, Some(group))
                .map_err(SpoolError::io("give to the git user's group", &path))?;
        }
        // After the change of group, which may clear the bits; and independent of the umask.
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .map_err(SpoolError::io("set the mode of", &path))?;
    }
    Ok(())
}

/// Writes a record durably: on return it survives a power failure.
///
/// # Errors
/// Any step failed; then the record is absent or complete for the agent.
pub fn write(spool: &Path, record: &Record) -> Result<(), SpoolError> {
    let name = format!("{:013}-{}.toml", record.time, record.id);
    let temporary = spool.join(TMP).join(&name);
    let text = record.to_text().map_err(|reason| SpoolError::Malformed {
        path: temporary.clone(),
        reason,
    })?;
    if text.len() as u64 > RECORD_LIMIT {
        return Err(SpoolError::TooLarge(temporary));
    }
    write_durably(&temporary, text.as_bytes())?;
    let new = spool.join(NEW);
    fs::rename(&temporary, new.join(&name)).map_err(|error| {
        drop(fs::remove_file(&temporary));
        SpoolError::io("hand over to", &new)(error)
    })?;
    sync_directory(&new)
}

/// Checks that a hook that runs as this user could write a record: writes an empty file to `tmp/`,
/// and deletes it.
///
/// # Errors
/// What would prevent the hook from writing.
pub fn probe(spool: &Path) -> Result<(), SpoolError> {
    let new = spool.join(NEW);
    fs::metadata(&new).map_err(SpoolError::io("reach", &new))?;
    let id = RecordId::random().map_err(SpoolError::io("read", Path::new("/dev/urandom")))?;
    let path = spool.join(TMP).join(format!("probe-{id}"));
    write_durably(&path, b"")?;
    fs::remove_file(&path).map_err(SpoolError::io("remove", &path))
}

/// Creates a file with these bytes and syncs it; leaves nothing on failure.
fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
    let attempt = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(path)?;
        // The agent reads as a member of the group, whatever git's umask.
        file.set_permissions(Permissions::from_mode(0o640))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    attempt().map_err(|error: io::Error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            drop(fs::remove_file(path));
        }
        SpoolError::io("write", path)(error)
    })
}

pub(super) fn sync_directory(path: &Path) -> Result<(), SpoolError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(SpoolError::io("sync", path))
}

/// Returns the pending records, oldest first.
///
/// # Errors
/// The directory cannot be read.
pub fn waiting(spool: &Path) -> Result<Vec<Waiting>, SpoolError> {
    let new = spool.join(NEW);
    let names: io::Result<Vec<Waiting>> = fs::read_dir(&new).and_then(|entries| {
        entries
            .map(|e| {
                e.map(|e| Waiting {
                    name: e.file_name(),
                })
            })
            .collect()
    });
    let mut names = names.map_err(SpoolError::io("read", &new))?;
    names.sort();
    Ok(names)
}

/// Reads a record. Follows no link, blocks on no pipe, reads no more than [`RECORD_LIMIT`].
///
/// # Errors
/// [`SpoolError::is_bad_file`] is true if the file is invalid: then [`quarantine`] it. A record of a
/// newer format is kept for an agent that supports it.
pub fn read(spool: &Path, waiting: &Waiting) -> Result<Received, SpoolError> {
    let path = spool.join(NEW).join(&waiting.name);
    let (text, owner) = read_bounded(&path, RECORD_LIMIT)?;
    let record = Record::parse(&text).map_err(|error| match error {
        RecordError::Newer { format } => SpoolError::Newer {
            path: path.clone(),
            format,
        },
        RecordError::Malformed(reason) => SpoolError::Malformed {
            path: path.clone(),
            reason,
        },
    })?;
    Ok(Received { record, owner })
}

/// Returns the text of a plain file and its owner.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<(String, u32), SpoolError> {
    let seen = fs::symlink_metadata(path).map_err(SpoolError::io("read", path))?;
    if !seen.is_file() {
        return Err(SpoolError::NotAFile(path.to_owned()));
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
        .map_err(SpoolError::io("open", path))?;
    let opened = file.metadata().map_err(SpoolError::io("read", path))?;
    // Replaced meanwhile, perhaps by a link to a file that the writer may not read.
    if (opened.dev(), opened.ino()) != (seen.dev(), seen.ino()) {
        return Err(SpoolError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(SpoolError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(SpoolError::TooLarge(path.to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| SpoolError::Malformed {
        path: path.to_owned(),
        reason: "is not UTF-8".to_owned(),
    })?;
    Ok((text, opened.uid()))
}

/// Deletes a record that the agent has made durable elsewhere. A missing one is no error. If a
/// power failure undoes the deletion, the record is read again, with the same ID.
///
/// # Errors
/// The file cannot be deleted.
pub fn remove(spool: &Path, waiting: &Waiting) -> Result<(), SpoolError> {
    let path = spool.join(NEW).join(&waiting.name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SpoolError::io("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Moves an invalid file to `bad/`, and returns its new path: under a unique name, so that existing
/// files stay.
///
/// # Errors
/// It cannot be moved: for example a directory, except by its owner.
pub fn quarantine(spool: &Path, waiting: &Waiting) -> Result<PathBuf, SpoolError> {
    let from = spool.join(NEW).join(&waiting.name);
    let mut to = spool.join(BAD).join(&waiting.name);
    for number in 1..=NAMESAKES_MAX {
        if fs::symlink_metadata(&to).is_err() {
            break;
        }
        let mut name = waiting.name.clone();
        name.push(format!(".{number}"));
        to = spool.join(BAD).join(name);
    }
    fs::rename(&from, &to).map_err(SpoolError::io("set aside", &from))?;
    Ok(to)
}

/// Deletes leftovers of killed hooks in `tmp/` that are older than `age` by the file system's
/// clock; returns how many. `now` is the time since 1970.
///
/// # Errors
/// The directory cannot be read; files that cannot be deleted are left.
pub fn sweep(spool: &Path, now: Duration, age: Duration) -> Result<usize, SpoolError> {
    let tmp = spool.join(TMP);
    let entries = fs::read_dir(&tmp).map_err(SpoolError::io("read", &tmp))?;
    let limit = i64::try_from(now.saturating_sub(age).as_secs()).unwrap_or(i64::MAX);
    let mut removed = 0;
    for entry in entries.flatten() {
        let old = fs::symlink_metadata(entry.path()).is_ok_and(|data| data.mtime() < limit);
        if old && fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}
