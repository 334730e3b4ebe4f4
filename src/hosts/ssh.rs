//! SSH to the hosts: one authenticated connection per host, many commands on it, rsync over it.
//!
//! This module knows which hosts to trust (`known_hosts`), the key to log in with (`identity`), how
//! to open a connection (`dial`), and how to use it ([`Connection`]). It never decides what to do
//! on a host and never interprets an exit code: `publish`, `sync` and the runner do. It never
//! accepts a host key silently and never keeps more of a command's output than requested. Called by
//! the performer of host operations; nothing else opens a connection to a host.
//!
//! # Limitations of the SSH library
//! It never closes a channel by itself, so an OpenSSH server counts every command ever run on a
//! connection against `MaxSessions` (10). A [`Connection`] therefore uses as many *links* (TCP
//! connections) as it needs, one after the other. When the server refuses a further channel, a new
//! link is opened; nothing was run, so nothing is lost. A command that is abandoned (timeout,
//! dropped future) retires its link; the end of the link closes the command's pipes.
//!
//! Scripts therefore share one channel: a shell on the host runs them one after another
//! (`interpreter`). When a task no longer needs a connection, its link and that shell are kept for
//! the next task (`idle`).

mod channel;
mod connection;
mod dial;
mod error;
mod identity;
mod idle;
mod inbox;
mod interpreter;
mod jump;
// Which host key to expect: the text of `known_hosts`, and adding a line to it.
pub mod known_hosts;
mod link;
mod pin;
// Skips what a login prints before the answer.
pub(crate) mod preamble;
mod rsync;
// The operations of a `run` step on a host: start, follow, query, kill.
pub mod runner;
// The format of every script, and of its answer.
pub mod script;
mod transport;
mod wire;

use std::fmt;
use std::path::PathBuf;

pub use channel::Keepalive;
pub use connection::{CommandOutput, Connection, offered_key};
pub use dial::{DialSettings, Dialer, Reachability, Unreachable};
pub use error::{Reach, RemoteError, WaitPhase};
pub use identity::{IdentityError, make_key};
pub use idle::IdleLimits;
pub use inbox::{Exit, Stream};
pub use pin::{PinError, Pinned, append};
pub use rsync::{RsyncCommand, RsyncEnd, RsyncExit, RsyncTransport};
pub use transport::transport_main;

/// A host's address, the user to log in as, and what to trust.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SshTarget {
    /// The host's name in the configuration: for messages and for `tagship hosts enroll NAME`.
    pub name: String,
    /// IP address or DNS name; also the name to look up in `known_hosts`.
    pub address: String,
    pub port: u16,
    pub user: String,
    pub identity: SshIdentity,
    pub known_hosts: PathBuf,
    /// The jump host for this one.
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

/// A private key's file, and the file with its passphrase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SshIdentity {
    pub file: PathBuf,
    pub passphrase_file: Option<PathBuf>,
}
