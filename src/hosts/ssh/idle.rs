//! Idle connections: kept for a while after a task, so that the next one, above all a rollback, needs
//! no handshake. Bounded in number and age; the least recently used one is closed first. One is
//! reused only for the same target, key file, host key and address, and only after its shells have
//! answered. Until then nothing was requested of the host, so in any doubt a new connection is
//! opened instead. Used by `connection`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::net::lookup_host;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::SshTarget;
use super::channel::Keepalive;
use super::identity::Keyring;
use super::inbox::Exit;
use super::interpreter::{Interpreter, ScriptEnd};
use super::known_hosts::{HostKeyTrust, HostName};
use super::link::{Link, Route};
use super::pin::PinCache;
use crate::base::mutex::lock;

/// How long after its login a connection may be reused: sshd checks the user (key, groups, limits)
/// only at the login.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// The shortest pause between two sweeps.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// How long to wait at least for a sign that a connection may be reused. Where its login took longer, a
/// new one would cost as much, so the wait is as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many idle connections are kept, and how long. None by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdleLimits {
    /// How long after its last use; zero keeps none.
    pub timeout: Duration,
    /// The maximum number, over all hosts.
    pub connections: usize,
}

/// The most recently used one is last.
pub(super) struct IdleConnections {
    limits: IdleLimits,
    keepalive: Keepalive,
    kept: Mutex<KeptConnections>,
}

#[derive(Default)]
struct KeptConnections {
    connections: Vec<IdleConnection>,
    /// A task of the runtime sweeps them.
    watched: bool,
}

struct IdleConnection {
    target: SshTarget,
    link: Arc<Link>,
    /// All of this link.
    shells: Vec<Interpreter>,
    since: Instant,
}

impl IdleConnection {
    /// How much longer it may be kept.
    fn time_left(&self, limits: IdleLimits) -> Duration {
        if !self.is_ready() {
            return Duration::ZERO;
        }
        let unused = limits.timeout.saturating_sub(self.since.elapsed());
        unused.min(AGE_MAX.saturating_sub(self.link.shared.pulse.age()))
    }

    fn is_ready(&self) -> bool {
        self.shells.iter().all(Interpreter::is_ready)
    }

    fn silent_for(&self) -> Duration {
        self.link.shared.pulse.silent_for()
    }

    /// Runs an empty script in each shell: one may have ended although its connection has not.
    async fn is_alive(&self) -> bool {
        let answers = join_all(self.shells.iter().map(async |shell| {
            let end = shell.run(b":", &mut |_, _| (), &Notify::new()).await;
            matches!(end, ScriptEnd::Ended(Exit::Code(0)))
        }));
        let answers = timeout(self.link.login_time.max(PATIENCE), answers).await;
        answers.is_ok_and(|answers| answers.into_iter().all(|alive| alive)) && self.is_ready()
    }
}

impl IdleConnections {
    pub(super) fn new(limits: IdleLimits, keepalive: Keepalive) -> Arc<Self> {
        Arc::new(Self {
            limits,
            keepalive,
            kept: Mutex::default(),
        })
    }

    /// Keeps a connection that is no longer used, with its idle shells. Any other channel that was
    /// in use has retired the link, and then it is not kept.
    pub(super) fn keep(self: &Arc<Self>, target: &SshTarget, mut shells: Vec<Interpreter>) {
        let limits = self.limits;
        shells.retain(Interpreter::is_ready);
        // Without a runtime nothing would close them in time.
        let (Some(link), Ok(runtime)) = (
            shells.first().map(|shell| Arc::clone(shell.link())),
            Handle::try_current(),
        ) else {
            return;
        };
        shells.retain(|shell| Arc::ptr_eq(shell.link(), &link));
        let idle = IdleConnection {
            target: target.clone(),
            link,
            shells,
            since: Instant::now(),
        };
        if limits.connections == 0 || idle.time_left(limits).is_zero() {
            return;
        }
        let (gone, unwatched) = self.put(idle);
        drop(gone);
        if unwatched {
            runtime.spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Returns an idle connection to `target` that may be used like a new one.
    pub(super) async fn kept(
        &self,
        target: &SshTarget,
        (keys, pins): (&Keyring, &PinCache),
    ) -> Option<(Arc<Link>, Vec<Interpreter>)> {
        while let Some(idle) = self.take(target) {
            if !idle.time_left(self.limits).is_zero()
                && may_reuse((keys, pins), target, &idle.link).await
                && idle.is_alive().await
            {
                return Some((idle.link, idle.shells));
            }
            // The jump host may be the one that does not answer.
            if let Route::Jump { link, .. } = &idle.link.route {
                link.retire();
            }
        }
        None
    }

    fn take(&self, target: &SshTarget) -> Option<IdleConnection> {
        let mut kept = lock(&self.kept);
        let of_target = |idle: &IdleConnection| idle.target == *target;
        let at = kept.connections.iter().rposition(of_target)?;
        Some(kept.connections.remove(at))
    }

    /// Adds one. Returns those to drop, and whether the sweeping task must be started. The caller
    /// drops them without the lock: the last one behind a jump host ends the connection to that
    /// host, which comes here too.
    fn put(&self, idle: IdleConnection) -> (Vec<IdleConnection>, bool) {
        let most = self.limits.connections;
        let mut kept = lock(&self.kept);
        kept.connections.push(idle);
        let surplus = kept.connections.len().saturating_sub(most);
        let gone = kept.connections.drain(..surplus).collect();
        (gone, !std::mem::replace(&mut kept.watched, true))
    }

    /// Removes those that may no longer be kept, and sends a keepalive where one is due. Also
    /// returns when to sweep again, unless none is left.
    fn sweep(&self) -> (Vec<IdleConnection>, Option<Duration>) {
        let limits = self.limits;
        let quiet = self.keepalive.interval;
        let mut kept = lock(&self.kept);
        let gone = kept
            .connections
            .extract_if(.., |idle| {
                idle.time_left(limits).is_zero()
                    || idle.silent_for() >= quiet * self.keepalive.missed.max(1)
            })
            .collect();
        for idle in &kept.connections {
            if idle.silent_for() >= quiet
                && let Some(shell) = idle.shells.first()
            {
                shell.open().probe();
            }
        }
        let times = kept.connections.iter().map(|idle| idle.time_left(limits));
        let soonest = times.min();
        kept.watched = soonest.is_some();
        (gone, soonest.map(|left| left.min(quiet)))
    }
}

/// Whether a new login would be the same: the key file is the one that was used, `known_hosts`
/// trusts the key that the host has shown, and the address leads there; the same for every
/// jump host. Only the jump host can resolve a name behind it, so that is not checked.
pub(super) fn may_reuse<'a>(
    (keys, pins): (&'a Keyring, &'a PinCache),
    target: &'a SshTarget,
    link: &'a Link,
) -> BoxFuture<'a, bool> {
    // Boxed, because it calls itself for the jump host.
    Box::pin(async move {
        if link.shared.pulse.age() >= AGE_MAX {
            return false;
        }
        let key = keys.key(&target.identity).await;
        if !key.is_ok_and(|key| Arc::ptr_eq(&key, &link.key)) {
            return false;
        }
        let (Ok(known), Some((shown, _))) = (pins.of(target).await, link.shared.shown()) else {
            return false;
        };
        let host = HostName::new(&target.address, target.port);
        if known.check(&host, &shown) != HostKeyTrust::Trusted {
            return false;
        }
        match (&target.jump, &link.route) {
            (None, Route::Direct(peer)) => leads_to(&target.address, *peer).await,
            (Some(target), Route::Jump { link, .. }) => may_reuse((keys, pins), target, link).await,
            _ => false,
        }
    })
}

/// Whether an address or name leads to this peer.
async fn leads_to(address: &str, peer: SocketAddr) -> bool {
    match timeout(PATIENCE, lookup_host((address, peer.port()))).await {
        Ok(Ok(mut found)) => found.any(|found| found.ip() == peer.ip()),
        _ => false,
    }
}

/// Sweeps until no idle connection is left.
async fn watch(idle: Weak<IdleConnections>) {
    loop {
        let next = {
            let Some(idle) = idle.upgrade() else {
                return;
            };
            let (gone, next) = idle.sweep();
            drop(gone);
            next
        };
        let Some(next) = next else { return };
        tokio::time::sleep(next.max(PAUSE_MIN)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn name_that_moved_to_another_machine_leads_elsewhere() {
        let here = SocketAddr::from(([127, 0, 0, 1], 22));
        assert!(leads_to("localhost", here).await);
        assert!(leads_to("127.0.0.1", here).await);
        let there = SocketAddr::from(([127, 0, 0, 2], 22));
        assert!(!leads_to("localhost", there).await);
        assert!(!leads_to("no-such-host.invalid", here).await);
    }
}
