//! The directories and the files in them.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::{Record, RecordError, RecordId};
use super::{BAD, NEW, RECORD_LIMIT, RULES, SpoolError, TMP};

/// Linux's `O_NONBLOCK` (the same number on every architecture that this runs on): without it,
/// opening a pipe that somebody put here would wait for ever.
const O_NONBLOCK: i32 = 0o4000;

/// Group-writable, sticky (nobody removes another's file), group inherited by what is made inside.
const SHARED: u32 = 0o3770;
/// The group may look.
const OWN: u32 = 0o2750;

/// So many bad files of one name are kept apart in `bad/`.
const NAMESAKES_MAX: u32 = 99;

/// A record that waits in `new/`, not yet read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// The file's name; names sort by the time at which the hook ran.
    pub name: OsString,
}

/// A record, and whose file it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub record: Record,
    /// The system user who wrote the file: the one fact here that the kernel vouches for.
    pub owner: u32,
}

/// Makes the directories, or brings their modes in order; `group` is the git user's group. The
/// agent calls it when it starts.
///
/// # Errors
/// A directory cannot be made, or given its mode or group.
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
        // After the change of group, which may clear the bits; and never less for an umask.
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .map_err(SpoolError::io("set the mode of", &path))?;
    }
    Ok(())
}

/// Writes a record durably: when this returns, it survives a power cut.
///
/// # Errors
/// Any step failed; then the agent does not see the record, or sees it whole.
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

/// Whether a hook that runs as this user could hand over a record: writes an empty file into
/// `tmp/`, and removes it.
///
/// # Errors
/// What would keep the hook from it.
pub fn probe(spool: &Path) -> Result<(), SpoolError> {
    let new = spool.join(NEW);
    fs::metadata(&new).map_err(SpoolError::io("reach", &new))?;
    let id = RecordId::random().map_err(SpoolError::io("read", Path::new("/dev/urandom")))?;
    let path = spool.join(TMP).join(format!("probe-{id}"));
    write_durably(&path, b"")?;
    fs::remove_file(&path).map_err(SpoolError::io("remove", &path))
}

/// Makes a new file with these bytes and syncs it; on failure nothing stays.
fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
    let attempt = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(path)?;
        // The agent reads as a member of the group, whatever the umask that git runs with.
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

/// The records that wait, oldest first.
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

/// Reads a record. Follows no link, waits for no pipe, reads no more than [`RECORD_LIMIT`].
///
/// # Errors
/// [`SpoolError::is_bad_file`] says whether it is the file's fault: then [`set_aside`] it. A record
/// of a newer format stays where it is, for the agent that understands it.
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

/// The text of a plain file and its owner.
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
    // Exchanged in between, perhaps for a link to a file that is none of the writer's business.
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

/// Removes a record that the agent has made durable elsewhere. One that is gone already is fine. A
/// removal that a power cut undoes gives the same record again, with the same id.
///
/// # Errors
/// The file cannot be removed.
pub fn remove(spool: &Path, waiting: &Waiting) -> Result<(), SpoolError> {
    let path = spool.join(NEW).join(&waiting.name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SpoolError::io("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Moves what nobody understands to `bad/`, and says where it is now: under a name of its own, so
/// that what stands there stays.
///
/// # Errors
/// It cannot be moved: a directory, for one, by nobody but its owner.
pub fn set_aside(spool: &Path, waiting: &Waiting) -> Result<PathBuf, SpoolError> {
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

/// Removes what hooks that were killed left in `tmp/`, if it is older than `age` by the file
/// system's clock; says how many. `now` is the time since 1970.
///
/// # Errors
/// The directory cannot be read; a single file that resists is left.
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
