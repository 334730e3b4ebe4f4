//! Sends one small file to a host by rsync over a release's connection, through the login shell;
//! reads it back and deletes it. This reveals shell output, a restricted login or an incompatible
//! rsync before the first release.

use std::time::Duration;

use super::connect::answer;
use super::scratch::scratch;
use super::{CheckFinding, Subject, probe};
use crate::base::secret;
use crate::hosts::ssh::{Connection, RemoteError, RsyncCommand, RsyncEnd, RsyncTransport};
use crate::hosts::sync::rsync::{TransferEnd, judge};

const FILE: &str = "probe";
const TIMEOUT: Duration = Duration::from_secs(30);
/// Below the other, so that it names the cause.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);
/// For a failure whose cause rsync does not tell.
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
    let fail = |what: String, remedy: &str| Some(CheckFinding::fail(subject, what, remedy));
    match sent {
        Some(Err((reason, remedy))) => {
            fail(format!("a file cannot be sent by rsync: {reason}"), remedy)
        }
        Some(Ok(token)) if token != content => {
            let what = "a file that rsync sent did not arrive as it was";
            fail(what.to_owned(), REMEDY)
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

/// Sends a file; returns its content, or the reason of a failure and the remedy, if the reason has
/// none.
async fn send_file(
    connection: &Connection,
    directory: &str,
) -> Result<String, (String, &'static str)> {
    let local = |reason: String| (reason, "");
    let here = scratch();
    let here = here.map_err(|error| local(format!("no temporary directory here: {error}")))?;
    let token = secret::random_bytes::<16>().map_err(|error| local(error.to_string()))?;
    let token = secret::hex(&token);
    let from = here.0.join("from");
    let wrote = std::fs::create_dir(&from)
        .and_then(|()| std::fs::write(from.join(FILE), format!("{token}\n")));
    wrote.map_err(|error| local(format!("{}: {error}", from.display())))?;
    let transport = RsyncTransport::of_this_program(here.0.join("run"));
    let transport = transport.map_err(|error| local(error.to_string()))?;
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
    let exit = exit.map_err(|error: RemoteError| (error.to_string(), REMEDY))?;
    let code = match exit.end {
        RsyncEnd::Code(code) => Some(code),
        RsyncEnd::Signal(_) => None,
    };
    match judge(code, exit.stderr.join("\n").as_bytes()) {
        TransferEnd::Complete => Ok(token),
        TransferEnd::Failed(reason) => Err((reason, "")),
        TransferEnd::Again(reason) | TransferEnd::Unlinkable(reason) => Err((reason, REMEDY)),
    }
}
