//! Why a request to a host over SSH has no answer: data here, the messages in one place. What
//! matters to a caller is [`RemoteError::reach`]: whether the host may have acted.

use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

use super::identity::IdentityError;
use crate::domain::host::HostError;

/// How far a request got before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing was sent to the host, so nothing was done there.
    NotReached,
    /// The request was sent and its end was not seen: the host may or may not have acted.
    Lost,
    /// The agent's own side failed (a program that does not start, a full disk).
    Local,
}

/// Why a host gave no answer. Every variant names the host as `name (user@address:port)`.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error(
        "cannot reach {host}: {reason}; check that the host is up, its address and port, and the \
         way to it (firewall, jump host)"
    )]
    Unreachable { host: String, reason: String },
    #[error(
        "{host} did not answer while {phase} within {after:?}; check that an SSH server answers \
         there"
    )]
    Silent {
        host: String,
        phase: WaitPhase,
        after: Duration,
    },
    #[error(
        "cannot reach {host}: it turned {attempts} connections away in {} s, before authentication \
         ({reason}); it may be too busy: look at its sshd log and at MaxStartups in its sshd_config",
        within.as_secs()
    )]
    Dropped {
        host: String,
        attempts: u32,
        within: Duration,
        reason: String,
    },
    #[error(
        "the SSH handshake with {host} failed: {reason}; its sshd_config must allow one \
         of each: Ciphers aes256-gcm@openssh.com or chacha20-poly1305@openssh.com; KexAlgorithms \
         curve25519-sha256@libssh.org or mlkem768x25519-sha256; MACs hmac-sha2-256 (even if unused); \
         an ed25519 or RSA host key"
    )]
    Handshake { host: String, reason: String },
    #[error(
        "the host key of {host} is not known: it shows {algorithm} {fingerprint}, and {} holds \
         no key for it; compare the fingerprint with the host's own, then run: tagship hosts enroll {name}", known_hosts.display()
    )]
    UnknownHostKey {
        host: String,
        name: String,
        known_hosts: PathBuf,
        algorithm: String,
        fingerprint: String,
    },
    #[error(
        "the host key of {host} has CHANGED, this may be an attack: it shows {algorithm} {offered}, \
         but {}:{line} says {expected}; nothing was sent. If the host was truly reinstalled, \
         compare the fingerprint on its console, delete that line and run: tagship hosts enroll {name}",
        known_hosts.display()
    )]
    ChangedHostKey {
        host: String,
        name: String,
        known_hosts: PathBuf,
        line: usize,
        algorithm: String,
        expected: String,
        offered: String,
    },
    #[error(
        "the host key of {host} ({fingerprint}) is revoked by {}:{line}; nothing was sent. Give the \
         host a new key, or remove that line if it is wrong", known_hosts.display()
    )]
    RevokedHostKey {
        host: String,
        known_hosts: PathBuf,
        line: usize,
        fingerprint: String,
    },
    #[error(
        "{host} offers no host key that can be checked: {} holds for it only {held}; run: tagship \
         hosts enroll {name}", known_hosts.display()
    )]
    NoUsableHostKey {
        host: String,
        name: String,
        known_hosts: PathBuf,
        held: String,
    },
    #[error("cannot read the known hosts for {host} in {}: {source}; check [ssh] known_hosts and the file's mode", known_hosts.display())]
    KnownHosts {
        host: String,
        known_hosts: PathBuf,
        source: std::io::Error,
    },
    #[error("no key to log in to {host}: {source}")]
    Identity {
        host: String,
        #[source]
        source: IdentityError,
    },
    #[error(
        "{host} refused the key {} ({fingerprint}); add its public half to authorized_keys of that \
         user on the host, and look at the host's sshd log (where AuthenticationMethods asks for more than \
         the key, such as publickey,password, allow `publickey` alone for that user)", identity.display()
    )]
    Unauthorized {
        host: String,
        identity: PathBuf,
        fingerprint: String,
    },
    #[error("the jump host in front of {host} failed: {source}")]
    Jump {
        host: String,
        #[source]
        source: Box<RemoteError>,
    },
    #[error(
        "{host} refused to open a channel: {reason}; look at MaxSessions, AllowTcpForwarding and ForceCommand in its sshd_config"
    )]
    ChannelRefused { host: String, reason: String },
    #[error(
        "the command for {host} has {bytes} bytes, more than {limit}: send it through standard input"
    )]
    CommandTooLong {
        host: String,
        bytes: usize,
        limit: usize,
    },
    #[error(
        "the connection to {host} was lost: {reason}; whether the command ran is not known, look at \
         the host before you repeat it"
    )]
    Lost { host: String, reason: String },
    #[error(
        "{host} did not finish within {after:?}; the command may still run there, look at the host \
         before you repeat it"
    )]
    TimedOut { host: String, after: Duration },
    #[error(
        "cannot {what} for {host}: {source}{}",
        if has_no_file_left(source) {
            "; raise the agent's limit of open files (LimitNOFILE= of its systemd unit, ulimit -n)"
        } else {
            ""
        }
    )]
    Local {
        host: String,
        what: String,
        source: std::io::Error,
    },
}

/// Whether the agent's own machine has reached its limit of open files.
pub(super) fn has_no_file_left(error: &std::io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE))
}

/// What the agent waited for when a host stayed silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitPhase {
    Connecting,
    ShakingHands,
    OpeningChannel,
}

impl std::fmt::Display for WaitPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::ShakingHands => "shaking hands",
            Self::OpeningChannel => "opening a channel",
        })
    }
}

impl RemoteError {
    /// Whether the host may have acted.
    #[must_use]
    pub fn reach(&self) -> Reach {
        match self {
            Self::Lost { .. } | Self::TimedOut { .. } => Reach::Lost,
            Self::Local { .. } | Self::CommandTooLong { .. } => Reach::Local,
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Dropped { .. }
            | Self::Handshake { .. }
            | Self::UnknownHostKey { .. }
            | Self::ChangedHostKey { .. }
            | Self::RevokedHostKey { .. }
            | Self::NoUsableHostKey { .. }
            | Self::KnownHosts { .. }
            | Self::Identity { .. }
            | Self::Unauthorized { .. }
            | Self::Jump { .. }
            | Self::ChannelRefused { .. } => Reach::NotReached,
        }
    }
}

impl From<RemoteError> for HostError {
    fn from(error: RemoteError) -> Self {
        match error.reach() {
            Reach::NotReached => Self::NotReached(error.to_string()),
            Reach::Lost => Self::Lost(error.to_string()),
            Reach::Local => Self::Refused(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_limit_of_open_files_is_named_with_its_remedy() {
        let local = |code: Errno| RemoteError::Local {
            host: "web1".to_owned(),
            what: "start rsync".to_owned(),
            source: code.into(),
        };
        assert!(local(Errno::MFILE).to_string().contains("LimitNOFILE"));
        assert!(!local(Errno::NOENT).to_string().contains("LimitNOFILE"));
    }
}
