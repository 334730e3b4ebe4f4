//! Performs operations on a host over its connection: [`SshHosts`] is the
//! [`Hosts`](crate::domain::host::Hosts) of one task. It sends the scripts of `sync`, `publish` and
//! the runner, starts rsync, and distinguishes what was certainly not done, what may have been
//! done, and what was refused. It decides nothing: it never starts an attempt of a program under
//! another key, and repeats only what may be repeated. `agent` passes it to the executor.

// Performs one script on one connection, and reads its answer.
mod exchange;
// Follows a `run` step to its end, over as many connections as it takes.
mod follow;
// Performs an operation by its scripts.
mod perform;
// Performs scripts on the agent's own machine, as another user.
mod local;
// Performs one transfer by rsync.
mod transfer;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::base::clock::{Clock as _, SystemClock};
use crate::domain::host::{DeployTarget, HostError, HostState, op_sequence_max, op_sequence_of};
use crate::hosts::publish;
use crate::hosts::ssh::script::{AnswerLines, InvalidValue, OpSequence};
use crate::hosts::ssh::{Connection, Dialer, Reachability, RsyncTransport, SshTarget};
use exchange::{NoReply, Shell};
pub use local::LocalShell;

/// The limit for a script that only inspects and renames.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(120);

/// The last sequence number given to a script of this process.
static LAST_SEQ: AtomicU64 = AtomicU64::new(0);

/// Returns a sequence number above all earlier ones, including those of an earlier process unless
/// the machine's clock was set back.
fn next_seq() -> u64 {
    let now = u64::try_from(SystemClock.now().as_microsecond()).unwrap_or(0);
    raise(&LAST_SEQ, |last| (last + 1).max(now))
}

fn raise(number: &AtomicU64, next: impl Fn(u64) -> u64) -> u64 {
    let last = number
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(next(last)))
        .unwrap_or_else(|last| last);
    next(last)
}

/// The sequence numbers for one host: above all given by this process, and above what the host
/// reported, in case our clock was set back. A host's report affects no other host.
#[derive(Default)]
struct SequenceCounter {
    shown: AtomicU64,
}

impl SequenceCounter {
    /// Returns the next number, at least the fence's: its clock may have been ahead.
    fn next(&self, fence: u64) -> OpSequence {
        let next = next_seq().max(op_sequence_of(fence));
        OpSequence(raise(&self.shown, |shown| next.max(shown + 1)))
    }

    /// Notes a number that the host reports under our fence. Ignores impossible numbers.
    fn see(&self, seq: u64, fence: u64) {
        if seq <= op_sequence_max(next_seq().max(op_sequence_of(fence))) {
            self.shown.fetch_max(seq, Ordering::SeqCst);
        }
    }
}

/// The hosts of one task over SSH. Connects to a host at its first operation, over an idle
/// connection if there is one. Dropping this value makes the connections idle.
pub struct SshHosts {
    hosts: HashMap<String, SshHost>,
    /// The agent's own machine, by the name that steps use, if it may be used.
    local: Option<(String, Result<LocalShell, String>)>,
    local_counter: SequenceCounter,
    dialer: Arc<Dialer>,
    transport: RsyncTransport,
}

struct SshHost {
    target: SshTarget,
    connection: Mutex<Option<Connection>>,
    presence: Reachability,
    counter: SequenceCounter,
}

impl SshHosts {
    /// Returns the hosts of these targets, by their names. Opens nothing.
    #[must_use]
    pub fn new(targets: Vec<SshTarget>, dialer: Arc<Dialer>, transport: RsyncTransport) -> Self {
        let named = targets.into_iter();
        let named = named.map(|target| (target.name.clone(), target));
        Self::named(named, dialer, transport)
    }

    /// Returns the hosts of these targets, each with its key: a name, or `USER@NAME`.
    #[must_use]
    pub fn named(
        targets: impl IntoIterator<Item = (String, SshTarget)>,
        dialer: Arc<Dialer>,
        transport: RsyncTransport,
    ) -> Self {
        let hosts = targets.into_iter().map(|(name, target)| {
            let host = SshHost {
                target,
                connection: Mutex::new(None),
                presence: Reachability::default(),
                counter: SequenceCounter::default(),
            };
            (name, host)
        });
        Self {
            hosts: hosts.collect(),
            local: None,
            local_counter: SequenceCounter::default(),
            dialer,
            transport,
        }
    }

    /// Adds the agent's own machine by this name: a shell of another user, or why it is missing.
    #[must_use]
    pub fn with_local(mut self, name: &str, shell: Result<LocalShell, String>) -> Self {
        self.local = Some((name.to_owned(), shell));
        self
    }

    fn counter(&self, host: &str) -> &SequenceCounter {
        let known = self.hosts.get(host);
        known.map_or(&self.local_counter, |host| &host.counter)
    }

    /// Returns what performs scripts on the host.
    async fn shell(&self, host: &str) -> Result<Shell, HostError> {
        match &self.local {
            Some((name, shell)) if name == host => match shell {
                Ok(shell) => Ok(Shell::Local(shell.clone())),
                Err(why) => Err(HostError::NotReached(why.clone())),
            },
            _ => self.connection(host).await.map(Shell::Remote),
        }
    }

    /// Returns the host's connection, opened at first use. If it has ended since, it opens another
    /// link by itself.
    async fn connection(&self, host: &str) -> Result<Connection, HostError> {
        let host = self.hosts.get(host).ok_or_else(|| {
            HostError::NotReached(format!(
                "host {host} is not one of this task's hosts: submit the task again"
            ))
        })?;
        let mut connection = host.connection.lock().await;
        if let Some(open) = &*connection {
            return Ok(open.clone());
        }
        let presence = host.presence.clone();
        let opened = Connection::open_reporting(&host.target, &self.dialer, presence).await?;
        *connection = Some(opened.clone());
        Ok(opened)
    }

    /// Lets the host's connection, if one is open, end with this task.
    async fn discard_after_task(&self, host: &str) {
        let Some(host) = self.hosts.get(host) else {
            return;
        };
        if let Some(open) = &*host.connection.lock().await {
            open.discard_after_task();
        }
    }

    async fn inspect(&self, host: &str, deploy_to: &str) -> Result<HostState, HostError> {
        let script = publish::inspect(deploy_to)?;
        let lines = self.lines(host, &script, SCRIPT_TIMEOUT, 0).await?;
        publish::read_host_state(&lines)
    }

    /// Performs a script under a fence. Retries once if the host has seen a later number of this
    /// fence: the fence is ours, so the number was ours, given when this machine's clock was ahead.
    async fn claimed(
        &self,
        host: &str,
        target: &DeployTarget,
        timeout: Duration,
        script: &(dyn Fn(OpSequence) -> Result<Vec<u8>, InvalidValue> + Send + Sync),
    ) -> Result<AnswerLines, HostError> {
        let counter = self.counter(host);
        let ask = || async move {
            let script = script(counter.next(target.fence))?;
            self.lines(host, &script, timeout, target.fence).await
        };
        match ask().await {
            Err(NoReply::Overtaken(seq)) => {
                counter.see(seq, target.fence);
                Ok(ask().await?)
            }
            answer => Ok(answer?),
        }
    }

    /// Performs a script once and returns its lines.
    async fn lines(
        &self,
        host: &str,
        script: &[u8],
        timeout: Duration,
        ours: u64,
    ) -> Result<AnswerLines, NoReply> {
        let shell = self.shell(host).await?;
        let mut lines = AnswerLines::default();
        let mut receive = |item| lines.add_item(item, ours);
        exchange::ask(&shell, script, timeout, &mut receive).await?;
        Ok(lines)
    }
}

fn unexpected(what: &str) -> HostError {
    crate::hosts::ssh::script::invalid_answer("expected another answer than", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_sequence_strictly_increases() {
        let (one, other) = (SequenceCounter::default(), SequenceCounter::default());
        let first = one.next(0);
        assert!(other.next(0) > first);
        let far = first.0 + (1 << 40);
        one.see(far, 0);
        assert!(one.next(0).0 > far);
        assert!(other.next(0).0 < far, "that is the one host's affair");
        for implausible in [u64::MAX, i64::MAX.cast_unsigned()] {
            one.see(implausible, 0);
            assert!(one.next(0).0 < implausible);
        }
    }

    #[test]
    fn sequence_numbers_after_a_clock_jump_remain_usable() {
        let counter = SequenceCounter::default();
        let years_ahead = next_seq() + 20 * 366 * 24 * 3600 * 1_000_000;
        let fence = (years_ahead / 1000) << crate::domain::host::FENCE_SALT_BITS;
        assert!(years_ahead <= op_sequence_max(counter.next(fence).0));
        counter.see(years_ahead + 1, fence);
        assert!(counter.next(fence).0 > years_ahead + 1);
    }
}
