//! Performs one script on one connection: reads its answer, and interprets a missing one.

use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::host::HostError;
use crate::hosts::ssh::script::{AnswerItem, AnswerReader, overtaken};
use crate::hosts::ssh::{Connection, Exit, Stream};

use super::LocalShell;

/// How long a login may take to begin a script or rsync that the host has taken.
pub(super) const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How many of the last bytes printed before an answer are kept.
const PRINTED_BYTES_MAX: usize = 512;
/// How many bytes of a script's standard error are kept.
const STDERR_BYTES_MAX: usize = 4096;

/// What performs scripts: a host over its connection, or another user of this machine.
#[derive(Clone)]
pub(super) enum Shell {
    Remote(Connection),
    Local(LocalShell),
}

impl Shell {
    async fn exec(
        &self,
        script: &[u8],
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
        sent: &Notify,
        timeout: Duration,
    ) -> Result<Exit, HostError> {
        match self {
            Self::Remote(connection) => connection
                .script(script, on_output, sent, timeout)
                .await
                .map_err(HostError::from),
            Self::Local(shell) => {
                sent.notify_one();
                shell.exec(script, on_output, timeout).await
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Remote(connection) => connection.target().to_string(),
            Self::Local(shell) => shell.name(),
        }
    }

    /// Returns what to do if the shell ends before it did anything.
    fn remedy(&self) -> String {
        match self {
            Self::Remote(_) => {
                "give that user a login shell that runs commands (chsh -s /bin/sh USER), whose startup files (.bashrc) neither exit nor exec another shell where it is not interactive, and see that the host has `sh`".to_owned()
            }
            Self::Local(shell) => shell.remedy(),
        }
    }
}

/// There is no answer, or not the expected one.
#[derive(Debug)]
pub(super) enum NoReply {
    Host(HostError),
    /// A script with a higher sequence number of the same fence has run there.
    Overtaken(u64),
}

impl From<HostError> for NoReply {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<crate::hosts::ssh::script::InvalidValue> for NoReply {
    fn from(unfit: crate::hosts::ssh::script::InvalidValue) -> Self {
        Self::Host(unfit.into())
    }
}

impl From<NoReply> for HostError {
    fn from(unanswered: NoReply) -> Self {
        match unanswered {
            NoReply::Host(error) => error,
            NoReply::Overtaken(seq) => Self::Refused(format!(
                "a later operation of the same task works there (sequence number {seq}): \
                 if two hosts share this path, put {{HOST}} into deploy_to"
            )),
        }
    }
}

/// Performs a script and passes on its answer as it arrives.
pub(super) async fn ask(
    shell: &Shell,
    script: &[u8],
    timeout: Duration,
    receive: &mut (dyn FnMut(AnswerItem) -> Result<(), HostError> + Send),
) -> Result<(), NoReply> {
    ask_within(shell, script, (timeout, BEGIN_TIMEOUT), receive).await
}

async fn ask_within(
    shell: &Shell,
    script: &[u8],
    (timeout, begin): (Duration, Duration),
    receive: &mut (dyn FnMut(AnswerItem) -> Result<(), HostError> + Send),
) -> Result<(), NoReply> {
    let mut answer = AnswerReader::default();
    let mut stderr = Vec::new();
    let mut printed = Vec::new();
    let mut failure = None;
    let nonsense_came = Notify::new();
    let (sent, begun) = (Notify::new(), Notify::new());
    let mut on_output = |stream, bytes: &[u8]| match stream {
        Stream::Stdout if failure.is_none() => {
            let mut listen = |item: AnswerItem| {
                if failure.is_some() {
                    return;
                }
                if let Some(seq) = overtaken(&item) {
                    failure = Some(NoReply::Overtaken(seq));
                } else if let Err(error) = receive(item) {
                    failure = Some(error.into());
                }
            };
            if !answer.has_begun() {
                printed.extend_from_slice(bytes);
                let before = printed.len().saturating_sub(PRINTED_BYTES_MAX);
                printed.drain(..before);
            }
            if let Err(invalid_answer) = answer.feed(bytes, &mut listen) {
                failure.get_or_insert(HostError::Refused(invalid_answer.to_string()).into());
                nonsense_came.notify_one();
            }
            if answer.has_begun() {
                begun.notify_one();
            }
        }
        Stream::Stdout => {}
        Stream::Stderr => {
            let room = STDERR_BYTES_MAX
                .saturating_sub(stderr.len())
                .min(bytes.len());
            stderr.extend_from_slice(&bytes[..room]);
        }
    };
    // Invalid output may never end: stop reading it.
    let exit = tokio::select! {
        biased;
        () = nonsense_came.notified() => Err(HostError::Lost(String::new())),
        exit = shell.exec(script, &mut on_output, &sent, timeout) => exit,
        () = never_begins(&sent, &begun, begin) => {
            return Err(NoReply::Host(HostError::Lost(format!(
                "no script began on {} within {} s of being sent; a startup file of it (.bashrc, .zshenv, .ssh/rc) waits, or starts other shells without end: let it do so only where the shell is interactive",
                shell.name(),
                begin.as_secs()
            ))));
        }
    };
    if let Some(failure) = failure {
        return Err(failure);
    }
    // A complete answer is valid, even if the connection failed afterwards.
    if answer.is_done() {
        return Ok(());
    }
    let exit = exit?;
    Err(NoReply::Host(if answer.has_begun() {
        let detail = complaint(&stderr);
        HostError::Lost(format!(
            "the script on the host ended with {exit} in the middle{detail}"
        ))
    } else {
        // A login shell that refuses prints the reason on its standard output.
        printed.push(b'\n');
        printed.extend_from_slice(&stderr);
        refused_by_shell(shell, &exit, &printed)
    }))
}

fn refused_by_shell(shell: &Shell, exit: &Exit, printed: &[u8]) -> HostError {
    HostError::Refused(format!(
        "the shell of {} ended with {exit} before it did anything{}: {}",
        shell.name(),
        complaint(printed),
        shell.remedy()
    ))
}

/// Ends if a script has not begun within a time after it was sent. Neither a new login, for which
/// many hosts may wait, nor a slow line counts.
async fn never_begins(sent: &Notify, begun: &Notify, within: Duration) {
    sent.notified().await;
    if tokio::time::timeout(within, begun.notified()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    match lines.as_slice() {
        [] => String::new(),
        lines => format!(" ({})", lines.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn asked(login: &str, begin: Duration) -> Result<(), NoReply> {
        let shell = Shell::Local(LocalShell::of_program("sh", &["-c", login]));
        let script = b"printf '\\n@tagship-answer-1\\n'; sleep 2; printf 'done\\n'";
        let limits = (Duration::from_secs(100), begin);
        ask_within(&shell, script, limits, &mut |_| Ok(())).await
    }

    #[tokio::test]
    async fn login_that_never_begins_a_script_is_named_soon() {
        let login = "while :; do sleep 100; done";
        let Err(NoReply::Host(HostError::Lost(why))) = asked(login, Duration::from_secs(1)).await
        else {
            panic!("it was waited for");
        };
        assert!(why.contains("within 1 s of being sent"), "{why}");
        assert!(why.contains(".zshenv"), "{why}");
    }

    #[tokio::test]
    async fn time_to_begin_counts_from_when_the_script_was_sent() {
        let (sent, begun) = (Notify::new(), Notify::new());
        let mut never = Box::pin(never_begins(&sent, &begun, Duration::ZERO));
        let early = tokio::time::timeout(Duration::from_millis(200), &mut never);
        assert!(early.await.is_err(), "nothing was sent yet");
        sent.notify_one();
        let in_time = tokio::time::timeout(Duration::from_secs(30), never);
        assert!(in_time.await.is_ok(), "it does not end");
    }

    #[tokio::test]
    async fn script_that_began_may_take_its_time() {
        let asked = asked("exec \"$@\"", Duration::from_secs(1)).await;
        assert!(asked.is_ok(), "{asked:?}");
    }
}
