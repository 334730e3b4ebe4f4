//! The private keys that the agent logs in with: read from disk, checked for file permissions, and
//! decrypted once. Keys are used for signing only; they are never written, logged or shown. Called
//! by `dial`.

mod key_text;

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use secrecy::{ExposeSecret, SecretString};
use thrussh_keys::key::KeyPair;

use super::SshIdentity;
use crate::base::mutex::lock;

/// Why a private key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot read {}: {source}; check the path and that the agent's user may read it", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "there is no key {}; make it as the agent's user: {}, and give the .pub file beside it to the \
         hosts' authorized_keys",
        path.display(), make_key(path)
    )]
    Missing { path: PathBuf },
    #[error("{} can be read by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} is encrypted and no passphrase_file is given for it", path.display())]
    NeedsPassphrase { path: PathBuf },
    #[error("the passphrase in {} does not open {}", passphrase_file.display(), path.display())]
    WrongPassphrase {
        path: PathBuf,
        passphrase_file: PathBuf,
    },
    #[error(
        "{} is encrypted with {cipher}, and only aes256-ctr, aes256-cbc and their 128-bit forms can be opened; convert it: ssh-keygen -p -Z aes256-ctr -f {}", path.display(), path.display()
    )]
    Cipher { path: PathBuf, cipher: String },
    #[error("{} {what}; {remedy}", path.display())]
    Kind {
        path: PathBuf,
        what: String,
        remedy: String,
    },
    #[error(
        "{} is not a private key that can be used ({reason}); use an ed25519 or RSA key as made by ssh-keygen", path.display()
    )]
    Unusable { path: PathBuf, reason: String },
}

/// Returns the command that makes a key without a passphrase.
#[must_use]
pub fn make_key(path: &Path) -> String {
    let missing = path.parent().filter(|directory| !directory.exists());
    let directory = missing.map(|missing| format!("install -d -m 700 {} && ", missing.display()));
    format!(
        "{}ssh-keygen -q -t ed25519 -N '' -f {}",
        directory.unwrap_or_default(),
        path.display()
    )
}

/// Decoded keys by file, so that a thousand hosts cost one decryption.
#[derive(Default)]
pub(super) struct Keyring {
    keys: Mutex<HashMap<SshIdentity, (Stamp, Arc<KeyPair>)>>,
}

/// Changes whenever the file is replaced or rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Keyring {
    /// Returns the key of `identity`; reads it again if its file has changed.
    ///
    /// # Errors
    /// [`IdentityError`] names the file and what to do about it.
    pub(super) async fn key(&self, identity: &SshIdentity) -> Result<Arc<KeyPair>, IdentityError> {
        let stamp = Stamp::of(&metadata(&identity.file)?);
        {
            let keys = lock(&self.keys);
            if let Some((known, key)) = keys.get(identity)
                && *known == stamp
            {
                return Ok(Arc::clone(key));
            }
        }
        let copy = identity.clone();
        // Off the async threads: bcrypt takes a tenth of a second. A panic inside the decoder
        // (which can happen for damaged files) becomes an error here.
        let key = tokio::task::spawn_blocking(move || read(&copy))
            .await
            .unwrap_or_else(|_| {
                Err(IdentityError::Unusable {
                    path: identity.file.clone(),
                    reason: "it is damaged".into(),
                })
            })?;
        let mut keys = lock(&self.keys);
        // Another caller may have read it meanwhile: one file is one key.
        if let Some((known, key)) = keys.get(identity)
            && *known == stamp
        {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(key);
        keys.insert(identity.clone(), (stamp, Arc::clone(&key)));
        Ok(key)
    }
}

fn metadata(path: &Path) -> Result<Metadata, IdentityError> {
    std::fs::metadata(path).map_err(|source| {
        let path = path.to_owned();
        match source.kind() {
            std::io::ErrorKind::NotFound => IdentityError::Missing { path },
            _ => IdentityError::Read { path, source },
        }
    })
}

fn read(identity: &SshIdentity) -> Result<KeyPair, IdentityError> {
    let path = &identity.file;
    let text = SecretString::from(key_text::normalize(read_private(path)?.expose_secret()));
    if let Some(cipher) = key_text::unknown_cipher(text.expose_secret()) {
        return Err(IdentityError::Cipher {
            path: path.clone(),
            cipher,
        });
    }
    if let Some((what, remedy)) = key_text::unusable_reason(text.expose_secret()) {
        return Err(IdentityError::Kind {
            path: path.clone(),
            what,
            remedy,
        });
    }
    match decode(text.expose_secret(), None) {
        Err(thrussh_keys::Error::KeyIsEncrypted) => {}
        Ok(key) => return Ok(key),
        Err(error) if !says_encrypted(text.expose_secret()) => {
            return Err(IdentityError::Unusable {
                path: path.clone(),
                reason: error.to_string(),
            });
        }
        Err(_) => {}
    }
    let Some(passphrase_file) = &identity.passphrase_file else {
        return Err(IdentityError::NeedsPassphrase { path: path.clone() });
    };
    let passphrase = read_private(passphrase_file)?;
    let passphrase = passphrase.expose_secret().lines().next().unwrap_or("");
    let wrong = || IdentityError::WrongPassphrase {
        path: path.clone(),
        passphrase_file: passphrase_file.clone(),
    };
    // The decoder may panic on a key decrypted with a wrong passphrase.
    std::panic::catch_unwind(|| decode(text.expose_secret(), Some(passphrase)))
        .map_err(|_| wrong())?
        .map_err(|_| wrong())
}

fn decode(text: &str, passphrase: Option<&str>) -> Result<KeyPair, thrussh_keys::Error> {
    thrussh_keys::decode_secret_key(text, passphrase)
}

/// Whether a PEM header marks the key as encrypted; the decoder reports such keys in several ways.
fn says_encrypted(text: &str) -> bool {
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// Reads a file that no other user may read, as ssh requires. Group permissions are accepted on a
/// file of another owner: a service manager's credentials have them.
fn read_private(path: &Path) -> Result<SecretString, IdentityError> {
    let metadata = metadata(path)?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    let forbidden = if ours { 0o077 } else { 0o007 };
    if metadata.mode() & forbidden != 0 {
        return Err(IdentityError::Exposed {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    std::fs::read_to_string(path)
        .map(SecretString::from)
        .map_err(|source| IdentityError::Read {
            path: path.to_owned(),
            source,
        })
}
