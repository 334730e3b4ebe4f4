//! SSH to the hosts: one authenticated connection per host, many commands on it, rsync over it.
//!
//! This module knows who may be talked to (`known_hosts`), with which key (`identity`), how a
//! connection comes about (`dial`), and how one is used ([`Connection`]). It never decides what is
//! to be done on a host and never interprets an exit code: `publish`, `sync` and the runner do. It
//! never accepts a host key silently and never holds more of a command's output than it was asked
//! to. Called by the performer of host operations; nothing else opens a connection to a host.
//!
//! # What is peculiar to the SSH library below
//! It never closes a channel on its own account, so that an OpenSSH server counts every command
//! that was ever run on a connection against `MaxSessions` (10). A [`Connection`] therefore stands
//! for as many *links* (TCP connections) as it needs, one after the other: when the server refuses
//! a further channel, a new link is opened; nothing was run, so nothing is lost. A command that is
//! abandoned (timeout, dropped future) retires its link, whose end is then the end of the
//! command's pipes.

mod channel;
mod connection;
mod dial;
mod error;
mod identity;
mod inbox;
mod jump;
/// Which host key is to be expected: the text of `known_hosts`, and adding a line to it.
pub mod known_hosts;
mod link;
mod pin;
/// What a login prints before the answer.
pub(crate) mod preamble;
mod rsync;
/// What a `run` step needs on a host: start, follow, ask, end.
pub mod runner;
/// The form of every script, and of its answer.
pub mod script;
mod transport;
mod wire;

use std::fmt;
use std::path::PathBuf;

pub use channel::Keepalive;
pub use connection::{Captured, Connection};
pub use dial::{DialSettings, Dialer, Presence, Unreachable, offered_key};
pub use error::{Reach, RemoteError, WaitPhase};
pub use identity::{IdentityError, make_key};
pub use inbox::{Exit, Stream};
pub use pin::{PinError, Pinned, append};
pub use rsync::{RsyncCommand, RsyncEnd, RsyncExit, RsyncTransport};
pub use transport::transport_main;

/// Where a host is, as whom to log in, and what to trust.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SshTarget {
    /// The host's name in the configuration: for messages and for `tagship hosts enroll NAME`.
    pub name: String,
    /// IP address or DNS name; also what is looked up in `known_hosts`.
    pub address: String,
    pub port: u16,
    pub user: String,
    pub identity: SshIdentity,
    pub known_hosts: PathBuf,
    /// The host through which this one is reached.
    pub jump: Option<Box<SshTarget>>,
}

impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            user,
            address,
            port,
            ..
        } = self;
        if address.contains(':') {
            write!(f, "{name} ({user}@[{address}]:{port})")
        } else {
            write!(f, "{name} ({user}@{address}:{port})")
        }
    }
}

/// A private key's file, and the file with the passphrase that opens it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SshIdentity {
    pub file: PathBuf,
    pub passphrase_file: Option<PathBuf>,
}
