//! An authenticated host. See the parent module for why it may use several links, one after the
//! other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Mutex, Notify};

use super::SshTarget;
use super::channel::{Keepalive, Open};
use super::dial::{self, Dialer, Reachability};
use super::error::{RemoteError, WaitPhase};
use super::idle;
use super::inbox::{ChannelEvent, Exit, Stream};
use super::interpreter::{Interpreter, ScriptEnd};
use super::jump::JumpHost;
use super::known_hosts::HostKey;
use super::link::{ChannelOpenError, Destination, Link, LinkEnd};
use crate::base::mutex::lock;

/// The longest command in bytes: the host's kernel takes no single argument over 128 KiB.
const COMMAND_MAX: usize = 120_000;

/// A command's exit with the beginning of its output.
#[derive(Clone, Debug)]
pub struct CommandOutput {
    pub exit: Exit,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Bytes dropped because the output exceeded the limit.
    pub dropped: u64,
}

/// One authenticated host. Cheap to clone; runs any number of commands at once. When the last clone
/// is dropped, the connection ends or is kept for the next task.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    presence: Reachability,
    target: SshTarget,
    dialer: Arc<Dialer>,
    current: Mutex<Option<Arc<Link>>>,
    /// Idle shells.
    shells: std::sync::Mutex<Vec<Interpreter>>,
    closed: AtomicBool,
    /// Whether the next task needs a new login.
    outdated: AtomicBool,
}

impl Inner {
    fn shells(&self) -> MutexGuard<'_, Vec<Interpreter>> {
        lock(&self.shells)
    }

    /// Returns an idle shell; drops those that can no longer be used.
    fn idle_shell(&self) -> Option<Interpreter> {
        let mut shells = self.shells();
        shells.retain(Interpreter::is_ready);
        shells.pop()
    }

    async fn why_ended(&self, link: &Link) -> LinkEnd {
        let end = link.why_ended().await;
        if let LinkEnd::Rekeyed = end {
            self.dialer.note_rekeying(&self.target);
        }
        end
    }

    /// Opens a channel; uses another link if this one is full or has ended.
    async fn channel(&self, destination: Destination<'_>) -> Result<Open, RemoteError> {
        let patience = self.dialer.settings.handshake_timeout;
        let (mut ended, mut refused) = (0, 0);
        // A link may end just when it is needed, but not repeatedly by accident. Also, other
        // callers may fill a new link before us.
        while ended < 3 && refused < 100 {
            let link = self.link().await?;
            match link.open(destination, patience).await {
                Ok((channel, inbox)) => return Ok(Open::new(link, channel, inbox)),
                // The limit of sessions per connection; a new connection is empty.
                Err(ChannelOpenError::Refused { opened_before, .. })
                    if opened_before > 0 && matches!(destination, Destination::Session) =>
                {
                    link.retire();
                    refused += 1;
                }
                Err(ChannelOpenError::Refused { reason, .. }) => {
                    return Err(RemoteError::ChannelRefused {
                        host: self.target.to_string(),
                        reason,
                    });
                }
                Err(ChannelOpenError::Ended) => {
                    self.why_ended(&link).await;
                    ended += 1;
                }
                // A link that was idle may have died unnoticed.
                Err(ChannelOpenError::Silent { opened_before }) if opened_before > 0 => {
                    link.kill("it does not answer");
                    ended += 1;
                }
                Err(ChannelOpenError::Silent { .. }) => {
                    link.kill("it does not answer");
                    return Err(RemoteError::Silent {
                        host: self.target.to_string(),
                        phase: WaitPhase::OpeningChannel,
                        after: patience,
                    });
                }
            }
        }
        Err(RemoteError::Unreachable {
            host: self.target.to_string(),
            reason: "connections to it end before a command can be sent".into(),
        })
    }

    /// Returns the link for the next channel; opens one if none accepts any.
    async fn link(&self) -> Result<Arc<Link>, RemoteError> {
        let mut current = self.current.lock().await;
        if self.closed.load(Ordering::SeqCst) {
            return Err(RemoteError::Unreachable {
                host: self.target.to_string(),
                reason: "the connection was closed by the agent".into(),
            });
        }
        if let Some(link) = current.as_ref().filter(|link| link.takes_channels()) {
            return Ok(Arc::clone(link));
        }
        let link = Arc::new(link(&self.dialer, &self.target, &self.presence).await?);
        *current = Some(Arc::clone(&link));
        Ok(link)
    }
}

impl JumpHost for Inner {
    fn forward<'a>(
        &'a self,
        address: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Open, RemoteError>> {
        Box::pin(self.channel(Destination::Tcp { address, port }))
    }

    fn leave_outdated_link(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let current = self.current.lock().await.clone();
            if let Some(link) = current
                && !idle::may_reuse(self.dialer.trust(), &self.target, &link).await
            {
                link.retire();
            }
        })
    }

    fn keepalive(&self) -> Keepalive {
        self.dialer.settings.keepalive
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.closed.load(Ordering::SeqCst) && !self.outdated.load(Ordering::SeqCst) {
            let shells = std::mem::take(&mut *self.shells());
            self.dialer.idle.keep(&self.target, shells);
        }
    }
}

impl Connection {
    /// Logs in to `target`, through its jump host if it has one.
    ///
    /// # Errors
    /// [`RemoteError`] with [`Reach::NotReached`](super::Reach): nothing was requested of the host.
    pub async fn open(target: &SshTarget, dialer: &Arc<Dialer>) -> Result<Self, RemoteError> {
        Self::open_reporting(target, dialer, Reachability::default()).await
    }

    /// Like [`open`](Self::open); `presence` reports, now and for every further link, while the
    /// host refuses connections.
    ///
    /// # Errors
    /// Same as [`open`](Self::open).
    pub async fn open_reporting(
        target: &SshTarget,
        dialer: &Arc<Dialer>,
        presence: Reachability,
    ) -> Result<Self, RemoteError> {
        let (link, shells) = match dialer.idle.kept(target, dialer.trust()).await {
            Some((link, shells)) => (link, shells),
            None => {
                let link = link(dialer, target, &presence).await?;
                (Arc::new(link), Vec::new())
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                presence,
                target: target.clone(),
                dialer: Arc::clone(dialer),
                current: Mutex::new(Some(link)),
                shells: std::sync::Mutex::new(shells),
                closed: AtomicBool::new(false),
                outdated: AtomicBool::new(false),
            }),
        })
    }

    #[must_use]
    pub fn target(&self) -> &SshTarget {
        &self.inner.target
    }

    /// Runs one command through the user's shell on the host. `stdin` is sent while output is read;
    /// output is passed on in chunks and never kept here. The command must not contain values that
    /// are not quoted for `sh`; long or non-UTF-8 values go through `stdin`.
    ///
    /// Dropping the future abandons the command: it loses its pipes, it is not killed.
    ///
    /// # Errors
    /// [`RemoteError::Lost`] or [`RemoteError::TimedOut`] when the command may have run; otherwise
    /// nothing was done on the host.
    pub async fn exec(
        &self,
        command: &str,
        stdin: &[u8],
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
        timeout: Duration,
    ) -> Result<Exit, RemoteError> {
        if command.len() > COMMAND_MAX {
            return Err(RemoteError::CommandTooLong {
                host: self.host(),
                bytes: command.len(),
                limit: COMMAND_MAX,
            });
        }
        let open = self.session().await?;
        let mut exit = None;
        let run = async {
            let reading = read_out(&open, &mut exit, on_output);
            let writing = async {
                if open.start(command).await.is_ok() {
                    let _ = open.send_all(stdin, |_| ()).await;
                }
                std::future::pending::<std::convert::Infallible>().await
            };
            tokio::select! {
                end = reading => end,
                never = writing => match never {},
                never = open.keep_alive(self.keepalive()) => match never {},
            }
        };
        let end = tokio::time::timeout(timeout, run).await;
        match (end, exit) {
            // The command has ended; a leftover process keeps its output open.
            (Ok(ChannelEvent::Closed) | Err(_), Some(exit)) => Ok(exit),
            (Ok(_), _) => Err(self.lost(&open).await),
            (Err(_), None) => Err(RemoteError::TimedOut {
                host: self.host(),
                after: timeout,
            }),
        }
    }

    /// Runs a script of `sh` in a subshell, in the home directory, with empty standard input. The
    /// shell around it remains for further scripts, so each costs one round trip. `sent` is notified
    /// when the host has taken the script.
    ///
    /// Dropping the future abandons the script: it loses its pipes, it is not killed.
    ///
    /// # Errors
    /// Same as [`exec`](Self::exec).
    pub async fn script(
        &self,
        script: &[u8],
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
        sent: &Notify,
        timeout: Duration,
    ) -> Result<Exit, RemoteError> {
        let shell = match self.inner.idle_shell() {
            Some(shell) => shell,
            None => Interpreter::new(self.session().await?),
        };
        let run = async {
            tokio::select! {
                end = shell.run(script, on_output, sent) => end,
                never = shell.open().keep_alive(self.keepalive()) => match never {},
            }
        };
        match tokio::time::timeout(timeout, run).await {
            Ok(ScriptEnd::Ended(exit)) => {
                self.inner.shells().push(shell);
                Ok(exit)
            }
            Ok(ScriptEnd::ShellEnded(exit)) => Ok(exit),
            Ok(ScriptEnd::Lost) => Err(self.lost(shell.open()).await),
            Err(_) => Err(RemoteError::TimedOut {
                host: self.host(),
                after: timeout,
            }),
        }
    }

    /// Like [`exec`](Self::exec), and keeps up to `limit` bytes of each output; the rest is read
    /// and dropped.
    ///
    /// # Errors
    /// Same as [`exec`](Self::exec).
    pub async fn capture(
        &self,
        command: &str,
        stdin: &[u8],
        limit: usize,
        timeout: Duration,
    ) -> Result<CommandOutput, RemoteError> {
        let (mut stdout, mut stderr, mut dropped) = (Vec::new(), Vec::new(), 0);
        let mut keep = |stream, bytes: &[u8]| {
            let kept = match stream {
                Stream::Stdout => &mut stdout,
                Stream::Stderr => &mut stderr,
            };
            let room = limit.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(&bytes[..room]);
            dropped += (bytes.len() - room) as u64;
        };
        let exit = self.exec(command, stdin, &mut keep, timeout).await?;
        Ok(CommandOutput {
            exit,
            stdout,
            stderr,
            dropped,
        })
    }

    /// Whether the link has ended. The next command opens another one anyway.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        if self.inner.closed.load(Ordering::SeqCst) {
            return true;
        }
        self.inner
            .current
            .try_lock()
            .is_ok_and(|current| current.as_ref().is_none_or(|link| link.shared.ended()))
    }

    /// Ends the connection with its last clone: the next task logs in again. For a failure that a
    /// new login may mend: groups, startup files and `sshd_config` apply from the login on.
    pub fn discard_after_task(&self) {
        self.inner.outdated.store(true, Ordering::SeqCst);
    }

    /// Ends the connection and every command on it that is still followed; further commands are
    /// refused.
    pub async fn close(&self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        self.inner.shells().clear();
        if let Some(link) = self.inner.current.lock().await.take() {
            link.kill("closed by the agent");
        }
    }

    pub(super) fn host(&self) -> String {
        self.inner.target.to_string()
    }

    pub(super) fn keepalive(&self) -> Keepalive {
        self.inner.keepalive()
    }

    /// Returns the error for a channel whose link has ended, or that closed without a result.
    pub(super) async fn lost(&self, open: &Open) -> RemoteError {
        let reason = if open.link().shared.ended() {
            self.inner.why_ended(open.link()).await.to_string()
        } else {
            "the server closed the channel without a result".to_owned()
        };
        RemoteError::Lost {
            host: self.host(),
            reason,
        }
    }

    /// Opens a channel for one command.
    pub(super) async fn session(&self) -> Result<Open, RemoteError> {
        self.inner.channel(Destination::Session).await
    }
}

/// Passes output on until the channel ends; notes the exit code meanwhile.
async fn read_out(
    open: &Open,
    exit: &mut Option<Exit>,
    on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
) -> ChannelEvent {
    loop {
        match open.next_of(exit.is_some()).await {
            ChannelEvent::Output(stream, bytes) => on_output(stream, &bytes),
            ChannelEvent::Exit(status) => *exit = Some(status),
            ChannelEvent::Eof => {}
            end @ (ChannelEvent::Closed | ChannelEvent::Lost | ChannelEvent::Overflow) => {
                return end;
            }
        }
    }
}

/// Opens an authenticated link to `target`.
fn link<'a>(
    dialer: &'a Arc<Dialer>,
    target: &'a SshTarget,
    presence: &'a Reachability,
) -> BoxFuture<'a, Result<Link, RemoteError>> {
    // Boxed, because it calls itself for the jump host.
    let jump = jump_host(dialer, target, presence);
    Box::pin(dial::dial(dialer, target, presence, jump))
}

/// Returns the connection to the jump host of `target`, shared by all hosts behind it.
async fn jump_host(
    dialer: &Arc<Dialer>,
    target: &SshTarget,
    presence: &Reachability,
) -> Result<Option<Arc<dyn JumpHost>>, RemoteError> {
    let Some(target) = &target.jump else {
        return Ok(None);
    };
    let slot = dialer.jump_slot(target).await;
    let mut slot = slot.lock().await;
    if let Some(jump) = slot.as_ref().and_then(Weak::upgrade) {
        jump.leave_outdated_link().await;
        return Ok(Some(jump));
    }
    // The opener waits for it: if it is unreachable, so is the host behind it.
    let opened = Connection::open_reporting(target, dialer, presence.clone()).await?;
    let jump: Arc<dyn JumpHost> = opened.inner;
    *slot = Some(Arc::downgrade(&jump));
    Ok(Some(jump))
}

/// Returns the host key that a server shows, without logging in; for enrolling it. Trusts nothing.
///
/// # Errors
/// [`RemoteError`] when the host cannot be reached or shows no key of a type that can be used.
pub async fn offered_key(dialer: &Arc<Dialer>, target: &SshTarget) -> Result<HostKey, RemoteError> {
    let presence = Reachability::default();
    let jump = jump_host(dialer, target, &presence);
    dial::offered_key(dialer, target, jump).await
}
