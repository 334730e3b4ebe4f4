//! Fetches the key of a new host, and pins it once a user has confirmed it. It never decides
//! whether to trust a key.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};

pub use crate::hosts::ssh::Pinned;

use crate::agent::resolve;
use crate::config::Config;
use crate::hosts::ssh::known_hosts::{HostKey, HostKeyTrust, HostName, KnownHosts};
use crate::hosts::ssh::{self, PinError, RemoteError, SshTarget};

/// Why a host is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    #[error("no host is named {0}; add it to [hosts] of the configuration")]
    NoHost(String),
    #[error(transparent)]
    Remote(Box<RemoteError>),
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error("{}: {error}; check that the directory exists and that you may write there", path.display())]
    File {
        path: PathBuf,
        error: std::io::Error,
    },
}

impl From<RemoteError> for EnrollError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(Box::new(error))
    }
}

/// A host key shown by whichever server answers at the host's address.
#[derive(Debug)]
pub struct HostKeyOffer {
    target: SshTarget,
    key: HostKey,
}

/// Requests a host's key, without logging in.
///
/// # Errors
/// The host cannot be reached.
pub async fn offer(config: &Config, host: &str) -> Result<HostKeyOffer, EnrollError> {
    let planned = config.planned_host(host);
    let planned = planned.ok_or_else(|| EnrollError::NoHost(host.to_owned()))?;
    let passphrase_file = config.ssh.passphrase_file.as_deref();
    let target = resolve::target(&planned, &config.known_hosts(), passphrase_file);
    let key = ssh::offered_key(&resolve::dialer(config), &target).await?;
    Ok(HostKeyOffer { target, key })
}

impl HostKeyOffer {
    /// Returns `SHA256:…`, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint()
    }

    /// Returns for example `ssh-ed25519`.
    #[must_use]
    pub fn key_type(&self) -> &str {
        &self.key.key_type
    }

    /// Returns for example `web1 (deploy@10.0.0.5:22)`.
    #[must_use]
    pub fn target(&self) -> String {
        self.target.to_string()
    }

    /// Returns the file of pinned keys.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.target.known_hosts
    }

    fn host_name(&self) -> HostName {
        HostName::new(&self.target.address, self.target.port)
    }

    /// Whether this very key is pinned already.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn is_pinned(&self) -> Result<bool, EnrollError> {
        let text = match std::fs::read(self.file()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.failed(error)),
        };
        let known = KnownHosts::parse(&String::from_utf8_lossy(&text));
        Ok(known.check(&self.host_name(), &self.key) == HostKeyTrust::Trusted)
    }

    /// Pins the key. If root runs it, the file gets the owner of its directory.
    ///
    /// # Errors
    /// Another key of this host is pinned, or the file cannot be written.
    pub fn pin(&self) -> Result<Pinned, EnrollError> {
        let file = self.file();
        let directory = file.parent().unwrap_or(Path::new("/"));
        self.create_directory(directory)?;
        let pinned = ssh::append(file, &self.host_name(), &self.key)?;
        self.chown_like(directory, file)?;
        Ok(pinned)
    }

    /// Creates a directory if it is missing, with the owner of its parent.
    fn create_directory(&self, directory: &Path) -> Result<(), EnrollError> {
        if directory.is_dir() {
            return Ok(());
        }
        if let Some(above) = directory.parent() {
            self.create_directory(above)?;
            DirBuilder::new()
                .mode(0o700)
                .create(directory)
                .map_err(|error| self.failed(error))?;
            self.chown_like(above, directory)?;
        }
        Ok(())
    }

    fn chown_like(&self, model: &Path, path: &Path) -> Result<(), EnrollError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        std::fs::metadata(model)
            .and_then(|data| chown(path, Some(data.uid()), Some(data.gid())))
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: std::io::Error) -> EnrollError {
        EnrollError::File {
            path: self.file().to_owned(),
            error,
        }
    }
}
