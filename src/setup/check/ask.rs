//! One host is reached and asked, as a release would.

use std::sync::Arc;
use std::time::Duration;

use super::probe;
use crate::agent::reach;
use crate::config::Config;
use crate::domain::plan::PlannedHost;
use crate::hosts::remote::script::COMMAND;
use crate::hosts::remote::{Connection, Dialer, RemoteError, Stream};

/// Hosts that are looked at at the same time.
pub(super) const PARALLEL: usize = 50;
/// For the look itself, once the host is reached.
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

/// What a host answers to a script, without what its login prints before.
pub(super) async fn answer(connection: &Connection, script: &str) -> Result<String, RemoteError> {
    let mut answer = probe::ProbeAnswer::default();
    let mut hear = |stream, bytes: &[u8]| {
        if stream == Stream::Stdout {
            answer.hear(bytes);
        }
    };
    connection
        .exec(COMMAND, script.as_bytes(), &mut hear, TIMEOUT)
        .await?;
    Ok(answer.into_text())
}

/// What a host answers to a script.
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
