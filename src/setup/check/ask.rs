//! Connects to one host and performs a script there, as a release would.

use std::sync::Arc;
use std::time::Duration;

use super::probe;
use crate::agent::reach;
use crate::config::Config;
use crate::domain::plan::PlannedHost;
use crate::hosts::remote::{Connection, Dialer, RemoteError, Stream};

/// Maximum number of hosts that are checked concurrently.
pub(super) const PARALLEL: usize = 50;
/// The limit for the check itself, once the host is connected.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn open(
    config: &Config,
    dialer: &Arc<Dialer>,
    host: &PlannedHost,
) -> Result<Connection, RemoteError> {
    let passphrase_file = config.ssh.passphrase_file.as_deref();
    let target = reach::target(host, &config.known_hosts(), passphrase_file);
    Connection::open(&target, dialer).await
}

/// Returns a host's answer to a script, without the earlier output of its login.
pub(super) async fn answer(connection: &Connection, script: &str) -> Result<String, RemoteError> {
    let mut answer = probe::ProbeAnswer::default();
    let mut hear = |stream, bytes: &[u8]| {
        if stream == Stream::Stdout {
            answer.hear(bytes);
        }
    };
    connection
        .script(script.as_bytes(), &mut hear, TIMEOUT)
        .await?;
    Ok(answer.into_text())
}

/// Returns a host's answer to a script.
pub(super) async fn ask(
    config: &Config,
    dialer: &Arc<Dialer>,
    host: &PlannedHost,
    script: &str,
) -> Result<String, RemoteError> {
    let connection = open(config, dialer, host).await?;
    let answer = answer(&connection, script).await;
    connection.close().await;
    answer
}
