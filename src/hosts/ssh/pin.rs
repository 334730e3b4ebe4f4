//! The `known_hosts` file on disk: read once for all hosts; keys are added to it. Callers add a key
//! only after a user has confirmed its fingerprint; nothing else in the agent writes the file.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::FlockOperation;

use super::SshTarget;
use super::error::RemoteError;
use super::identity::Stamp;
use super::known_hosts::{HostKey, HostKeyTrust, HostName, KnownHosts};
use crate::base::durable::{directory_of, put_in_place};
use crate::base::mutex::lock;

/// Why a host key was not added.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error("{}: {source}; check that the directory exists and that you may write there", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}:{line} already holds another key for {host}: {expected}; if the host was truly given a new key, delete that line first", path.display())]
    Changed {
        path: PathBuf,
        line: usize,
        host: HostName,
        expected: String,
    },
    #[error("{}:{line} revokes this key; ask the person who revoked it", path.display())]
    Revoked { path: PathBuf, line: usize },
}

/// The files as they were read last, shared by all connections.
#[derive(Default)]
pub(super) struct PinCache {
    files: Mutex<HashMap<PathBuf, (Stamp, Arc<KnownHosts>)>>,
}

impl PinCache {
    /// Returns the current file of `target`, empty if missing; reads it again after a change.
    ///
    /// # Errors
    /// [`RemoteError::KnownHosts`].
    pub(super) async fn of(&self, target: &SshTarget) -> Result<Arc<KnownHosts>, RemoteError> {
        let path = &target.known_hosts;
        match self.read(path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Arc::default()),
            Err(source) => Err(RemoteError::KnownHosts {
                host: target.to_string(),
                known_hosts: path.clone(),
                source,
            }),
            Ok(pins) => Ok(pins),
        }
    }

    async fn read(&self, path: &Path) -> std::io::Result<Arc<KnownHosts>> {
        // Before reading: a write meanwhile changes the stamp for the next time.
        let stamp = Stamp::of(&tokio::fs::metadata(path).await?);
        {
            let files = lock(&self.files);
            if let Some((known, pins)) = files.get(path)
                && *known == stamp
            {
                return Ok(Arc::clone(pins));
            }
        }
        let bytes = tokio::fs::read(path).await?;
        let pins = Arc::new(KnownHosts::parse(&String::from_utf8_lossy(&bytes)));
        lock(&self.files).insert(path.to_owned(), (stamp, Arc::clone(&pins)));
        Ok(pins)
    }
}

/// Whether a line was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    Added,
    WasThere,
}

/// Pins `key` for `host` in the file at `path`: writes the new text to a temporary file, syncs it
/// and renames it into place (mode 0600), while holding a lock against other agents.
///
/// # Errors
/// [`PinError`] if the file holds another key of this type for the host, revokes it, or cannot be
/// written; the file is then unchanged.
pub fn append(path: &Path, host: &HostName, key: &HostKey) -> Result<Pinned, PinError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| PinError::Write { path, source }
    };
    // The file itself is replaced, so the lock is held on its directory.
    let directory = directory_of(path);
    let lock = File::open(directory).map_err(at(directory))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)
        .map_err(std::io::Error::from)
        .map_err(at(directory))?;

    let mut text = read(path).map_err(at(path))?;
    match KnownHosts::parse(&String::from_utf8_lossy(&text)).check(host, key) {
        HostKeyTrust::Trusted => return Ok(Pinned::WasThere),
        HostKeyTrust::Changed { line, expected } => {
            return Err(PinError::Changed {
                path: path.to_owned(),
                line,
                host: host.clone(),
                expected: expected.fingerprint(),
            });
        }
        HostKeyTrust::Revoked { line } => {
            return Err(PinError::Revoked {
                path: path.to_owned(),
                line,
            });
        }
        HostKeyTrust::Unknown | HostKeyTrust::OtherTypes { .. } => {}
    }
    if text.last().is_some_and(|&byte| byte != b'\n') {
        text.push(b'\n');
    }
    text.extend_from_slice(key.line(host).as_bytes());
    text.push(b'\n');

    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    replace(path, &draft, &text).map_err(at(&draft))?;
    Ok(Pinned::Added)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut text)?,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(text)
}

fn replace(path: &Path, draft: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(draft)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(text)?;
    put_in_place(&file, draft, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key(last: u8) -> HostKey {
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend([last; 32]);
        HostKey {
            key_type: "ssh-ed25519".into(),
            blob,
        }
    }

    #[test]
    fn pin_is_added_once_and_keeps_existing_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_hosts");
        std::fs::write(&path, "# by hand, without a last newline").unwrap();
        let host = HostName::new("10.0.0.5", 2222);
        assert_eq!(append(&path, &host, &key(1)).unwrap(), Pinned::Added);
        assert_eq!(append(&path, &host, &key(1)).unwrap(), Pinned::WasThere);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(
            text.starts_with("# by hand, without a last newline\n[10.0.0.5]:2222 ssh-ed25519 ")
        );
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_pin_never_replaces_another_key_of_the_host() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_hosts");
        let host = HostName::new("web1", 22);
        append(&path, &host, &key(1)).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = append(&path, &host, &key(2)).unwrap_err();
        assert!(
            matches!(error, PinError::Changed { line: 1, .. }),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn concurrent_pins_lose_no_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_hosts");
        std::thread::scope(|scope| {
            for number in 0..20 {
                let path = &path;
                scope.spawn(move || {
                    append(
                        path,
                        &HostName::new(&format!("web{number}"), 22),
                        &key(number),
                    )
                    .unwrap()
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 20);
    }
}
