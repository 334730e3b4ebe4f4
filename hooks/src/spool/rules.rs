//! The rules files beside the spool: `rules/<escaped key>.toml`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::directory::{read_bounded, sync_directory};
use super::{RULES, RULES_LIMIT, SpoolError};
use crate::rule::RulesFile;

/// File systems allow 255 bytes; `.toml` and the temporary file's suffix need some.
const NAME_LIMIT: usize = 240;

/// Returns the path of a repository's rules. Every byte of the key but `A-Z a-z 0-9 - _` and an
/// inner `.` is written `%XX`, so that two keys never share a file and none leaves the directory.
///
/// # Errors
/// [`SpoolError::Repository`] for a key that is empty or too long.
pub fn rules_path(spool: &Path, repository: &str) -> Result<PathBuf, SpoolError> {
    let mut name = String::with_capacity(repository.len() + 8);
    for (at, byte) in repository.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if at > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.is_empty() || name.len() > NAME_LIMIT {
        return Err(SpoolError::Repository(repository.to_owned()));
    }
    name.push_str(".toml");
    Ok(spool.join(RULES).join(name))
}

/// Reads the rules of a repository; `None` if the agent publishes none.
///
/// # Errors
/// Also if the directory of rules itself is missing or inaccessible: then nothing is known about
/// any repository, and a tag must not pass as if it had no rules.
pub fn read_rules(spool: &Path, repository: &str) -> Result<Option<RulesFile>, SpoolError> {
    let path = match rules_path(spool, repository) {
        Ok(path) => path,
        // No agent could have published it.
        Err(SpoolError::Repository(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = match read_bounded(&path, RULES_LIMIT) {
        Ok((text, _)) => text,
        Err(SpoolError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            let rules = spool.join(RULES);
            fs::metadata(&rules).map_err(SpoolError::io("reach", &rules))?;
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    RulesFile::parse(&text)
        .map(Some)
        .map_err(|error| SpoolError::rules(&path, error))
}

/// Publishes the rules of all repositories: writes each file by rename if it differs, and deletes
/// the files of repositories that are no longer configured.
///
/// # Errors
/// A key that cannot be a file name, or a failed write; files written before it stay.
pub fn publish_rules(spool: &Path, files: &[RulesFile]) -> Result<(), SpoolError> {
    let directory = spool.join(RULES);
    let mut keep: BTreeSet<OsString> = BTreeSet::new();
    for file in files {
        let path = rules_path(spool, &file.repository)?;
        let text = file
            .to_text()
            .map_err(|error| SpoolError::rules(&path, error))?;
        if fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
            replace(&path, text.as_bytes()).map_err(SpoolError::io("write", &path))?;
        }
        keep.extend(path.file_name().map(ToOwned::to_owned));
    }
    let entries = fs::read_dir(&directory).map_err(SpoolError::io("read", &directory))?;
    for entry in entries.flatten() {
        if !keep.contains(&entry.file_name()) {
            fs::remove_file(entry.path()).map_err(SpoolError::io("remove", &entry.path()))?;
        }
    }
    sync_directory(&directory)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("toml.tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)?;
    file.set_permissions(Permissions::from_mode(0o640))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
