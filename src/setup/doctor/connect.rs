//! Connects to one host and performs a script there, as a release would.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::probe;
use crate::agent::resolve;
use crate::config::Config;
use crate::domain::host::HostState;
use crate::domain::plan::PlannedHost;
use crate::hosts::publish;
use crate::hosts::ssh::preamble::EndlessPreamble;
use crate::hosts::ssh::script::{AnswerLines, AnswerReader};
use crate::hosts::ssh::{Connection, Dialer, RemoteError, Stream};

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
    let target = resolve::target(host, &config.known_hosts(), passphrase_file);
    Connection::open(&target, dialer).await
}

/// Why a host did not answer a script.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Preamble(#[from] EndlessPreamble),
    /// The script was never begun.
    #[error(
        "no command ran within {} s of the login: a startup file of it (.bashrc, .zshenv, .ssh/rc) prints, waits or starts other shells without end; let it do so only where the shell is interactive",
        TIMEOUT.as_secs()
    )]
    NotBegun,
}

/// Returns a host's answer to a script, without the earlier output of its login.
pub(super) async fn answer(connection: &Connection, script: &str) -> Result<String, ProbeError> {
    let mut answer = probe::ProbeAnswer::default();
    let too_much = Notify::new();
    let mut receive = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => {
            if answer.read(bytes).is_err() {
                too_much.notify_one();
            }
        }
        Stream::Stderr => answer.read_errors(bytes),
    };
    let sent = Notify::new();
    let ended = tokio::select! {
        ended = connection.script(script.as_bytes(), &mut receive, &sent, TIMEOUT) => Some(ended),
        () = too_much.notified() => None,
    };
    match ended {
        None => Err(EndlessPreamble.into()),
        Some(Err(RemoteError::TimedOut { .. })) if !answer.has_begun() => Err(ProbeError::NotBegun),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(_)) => Ok(answer.into_text()),
    }
}

/// Returns what is live at a place; `None` if the host does not say.
pub(super) async fn inspect(connection: &Connection, deploy_to: &str) -> Option<HostState> {
    let script = publish::inspect(deploy_to).ok()?;
    let (mut answer, mut lines) = (AnswerReader::default(), AnswerLines::default());
    let mut refused = false;
    let mut receive = |stream, bytes: &[u8]| {
        if stream == Stream::Stdout {
            let mut answers = |answers| refused |= lines.add_item(answers, 0).is_err();
            let invalid = answer.feed(bytes, &mut answers).is_err();
            refused |= invalid;
        }
    };
    let ended = connection
        .script(&script, &mut receive, &Notify::new(), TIMEOUT)
        .await;
    let whole = ended.is_ok() && answer.is_done() && !refused;
    whole.then(|| publish::read_host_state(&lines).ok())?
}

/// Returns a host's answer to a script.
pub(super) async fn run_script(
    config: &Config,
    dialer: &Arc<Dialer>,
    host: &PlannedHost,
    script: &str,
) -> Result<String, ProbeError> {
    let connection = open(config, dialer, host).await?;
    let answer = answer(&connection, script).await;
    connection.close().await;
    answer
}
