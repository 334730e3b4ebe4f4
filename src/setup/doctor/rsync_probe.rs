//! Sends one small file to a host by rsync over a release's connection, through the login shell;
//! reads it back and deletes it. This reveals shell output, a restricted login or an incompatible
//! rsync before the first release.

use std::time::Duration;

use super::connect::answer;
use super::scratch::scratch;
use super::{CheckFinding, Subject, probe};
use crate::base::secret;
use crate::hosts::ssh::{Connection, RemoteError, RsyncCommand, RsyncEnd, RsyncTransport};

const FILE: &str = "probe";
const TIMEOUT: Duration = Duration::from_secs(30);
/// Below the other, so that it names the cause.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How many lines of rsync's errors are reported.
const COMPLAINT_LINES_MAX: usize = 3;
const REMEDY: &str = "let `ssh HOST rsync --version` print nothing else: no output in ~/.bashrc and the like \
                      for logins without a terminal, no ForceCommand, a plain shell";

/// Sends a file to `directory`, which the probe made on the host.
pub(super) async fn finding(
    subject: &Subject,
    connection: &Connection,
    directory: &str,
    send: Send,
) -> Option<CheckFinding> {
    let sent = match send {
        Send::File => Some(send_file(connection, directory).await),
        Send::Nothing => None,
    };
    let script = probe::fetch_script(directory, FILE).ok()?;
    let (content, gone) = match answer(connection, &script).await {
        Ok(answer) => probe::fetched(&answer),
        Err(_) => (String::new(), false),
    };
    let fail = |what: String| Some(CheckFinding::fail(subject, what, REMEDY));
    match sent {
        Some(Err(reason)) => fail(format!("a file cannot be sent by rsync: {reason}")),
        Some(Ok(token)) if token != content => {
            fail("a file that rsync sent did not arrive as it was".to_owned())
        }
        _ if !gone => {
            let what = format!("{directory} could not be deleted again");
            Some(CheckFinding::warn(subject, what, "delete it there"))
        }
        Some(Ok(_)) => Some(CheckFinding::ok(subject, "a file can be sent by rsync")),
        None => None,
    }
}

/// Whether to try a transfer, or only to delete the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Send {
    File,
    Nothing,
}

/// Sends a file; returns its content, or the reason of a failure.
async fn send_file(connection: &Connection, directory: &str) -> Result<String, String> {
    let here = scratch().map_err(|error| format!("no temporary directory here: {error}"))?;
    let token = secret::random_bytes::<16>().map_err(|error| error.to_string())?;
    let token = secret::hex(&token);
    let from = here.0.join("from");
    let wrote = std::fs::create_dir(&from)
        .and_then(|()| std::fs::write(from.join(FILE), format!("{token}\n")));
    wrote.map_err(|error| format!("{}: {error}", from.display()))?;
    let transport = RsyncTransport::of_this_program(here.0.join("run"));
    let transport = transport.map_err(|error| error.to_string())?;
    let command = RsyncCommand {
        arguments: vec![
            "--times".into(),
            format!("--timeout={}", TIMEOUT.as_secs()).into(),
            "--".into(),
            FILE.into(),
            format!("host:{directory}/").into(),
        ],
        stdin: Vec::new(),
        directory: from,
        login_timeout: LOGIN_TIMEOUT,
        stall_timeout: TIMEOUT,
    };
    let exit = connection.rsync(&transport, &command, &mut |_, _| {}).await;
    let exit = exit.map_err(|error: RemoteError| error.to_string())?;
    if exit.end == RsyncEnd::Code(0) {
        return Ok(token);
    }
    let complaints: Vec<String> = exit.stderr.into_iter().take(COMPLAINT_LINES_MAX).collect();
    let how = match exit.end {
        RsyncEnd::Code(code) => format!("rsync ended with {code}"),
        RsyncEnd::Signal(signal) => format!("rsync was ended by signal {signal}"),
    };
    Err(format!("{how} ({})", complaints.join("; ")))
}
