//! What the tests of this target share: a server, a target for it, short commands.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tagship::hosts::ssh::{
    CommandOutput, Connection, DialSettings, Dialer, Keepalive, RemoteError, SshIdentity, SshTarget,
};
use tagship_tests::sshd::Sshd;

pub(crate) const LONG: Duration = Duration::from_secs(120);

/// The server's host number `host`, by its own port.
pub(crate) fn target(sshd: &Sshd, host: u8) -> SshTarget {
    SshTarget {
        name: format!("web{host}"),
        address: sshd.address(host).to_string(),
        port: sshd.port,
        user: sshd.user.clone(),
        identity: SshIdentity {
            file: sshd.identity(),
            passphrase_file: None,
        },
        known_hosts: sshd.known_hosts(&[]),
        jump: None,
    }
}

/// The server as seen through another port of 127.0.0.1.
pub(crate) fn target_through(sshd: &Sshd, port: u16) -> SshTarget {
    let mut target = target(sshd, 0);
    target.port = port;
    target.known_hosts = sshd.known_hosts(&[port]);
    target
}

pub(crate) fn dialer() -> Arc<Dialer> {
    Dialer::new(DialSettings::default())
}

/// Notices a dead peer within a second.
pub(crate) fn hasty_dialer() -> Arc<Dialer> {
    Dialer::new(DialSettings {
        connect_timeout: Duration::from_secs(2),
        handshake_timeout: Duration::from_secs(2),
        refusal_patience: Duration::from_millis(500),
        keepalive: Keepalive {
            interval: Duration::from_millis(300),
            missed: 3,
        },
        ..DialSettings::default()
    })
}

pub(crate) async fn open(sshd: &Sshd) -> Connection {
    Connection::open(&target(sshd, 0), &dialer()).await.unwrap()
}

pub(crate) async fn refused(target: &SshTarget) -> RemoteError {
    match Connection::open(target, &hasty_dialer()).await {
        Ok(_) => panic!("{target} let us in"),
        Err(error) => error,
    }
}

pub(crate) async fn run(connection: &Connection, command: &str) -> CommandOutput {
    connection
        .capture(command, b"", 1 << 20, LONG)
        .await
        .unwrap()
}

/// A file in the server's directory.
pub(crate) fn file(sshd: &Sshd, name: &str) -> PathBuf {
    sshd.directory().join(name)
}
