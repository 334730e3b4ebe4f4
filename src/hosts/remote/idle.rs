//! Connections that no task uses at the moment: kept for a while, so that the next task, and above all a
//! rollback, needs no handshake. Bounded in number and age; the one that was used the longest time ago is
//! closed first. One is given out only for the target, key file and host key that it was opened for, and
//! only after its shells have answered: nothing was asked of the host by then, so a new connection takes its
//! place where there is any doubt. Used by `connection` alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::SshTarget;
use super::dial::Dialer;
use super::inbox::Exit;
use super::interpreter::{Interpreter, ScriptEnd};
use super::known_hosts::{HostKeyTrust, HostName};
use super::link::Link;

/// A connection is given out for so long after its login: what the host says of a user (groups, a key that
/// was taken away) is looked at by its sshd at the login alone.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// What is kept is looked at no more often.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// A host that takes longer to answer costs less by a new connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many connections are kept, and how long. None by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdleLimits {
    /// How long after its last use; zero keeps none.
    pub timeout: Duration,
    /// How many at most, over all hosts.
    pub connections: usize,
}

/// What is kept, the one that was used last at the end.
#[derive(Default)]
pub(super) struct IdleConnections(Mutex<KeptConnections>);

#[derive(Default)]
struct KeptConnections {
    connections: Vec<IdleConnection>,
    /// A task of the runtime looks after them.
    watched: bool,
}

struct IdleConnection {
    target: SshTarget,
    /// All of one link; at least one.
    shells: Vec<Interpreter>,
    since: Instant,
}

impl IdleConnection {
    fn link(&self) -> Option<&Arc<Link>> {
        self.shells.first().map(Interpreter::link)
    }

    /// How much longer it may be kept.
    fn rest(&self, limits: IdleLimits) -> Duration {
        let Some(link) = self.link().filter(|_| self.is_ready()) else {
            return Duration::ZERO;
        };
        let unused = limits.timeout.saturating_sub(self.since.elapsed());
        unused.min(AGE_MAX.saturating_sub(link.shared.pulse.age()))
    }

    fn is_ready(&self) -> bool {
        self.shells.iter().all(Interpreter::is_ready)
    }

    /// Has each shell perform a script that does nothing: it may have ended although its connection is
    /// there. Says whether all did.
    async fn is_alive(&self) -> bool {
        let answers = join_all(self.shells.iter().map(async |shell| {
            let end = shell.perform(b":", &mut |_, _| ()).await;
            matches!(end, ScriptEnd::Ended(Exit::Code(0)))
        }));
        let answers = tokio::time::timeout(PATIENCE, answers).await;
        answers.is_ok_and(|answers| answers.into_iter().all(|alive| alive)) && self.is_ready()
    }
}

impl IdleConnections {
    fn lock(&self) -> MutexGuard<'_, KeptConnections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, target: &SshTarget) -> Option<IdleConnection> {
        let mut kept = self.lock();
        let of_target = |idle: &IdleConnection| idle.target == *target;
        let at = kept.connections.iter().rposition(of_target)?;
        Some(kept.connections.remove(at))
    }

    /// Takes one in; returns what has to go for it, and whether a task has to be started that looks
    /// after them. Connections are dropped by the caller: one may end another one, of a jump host.
    fn put(&self, idle: IdleConnection, limits: IdleLimits) -> (Vec<IdleConnection>, bool) {
        let mut kept = self.lock();
        kept.connections.push(idle);
        let surplus = kept.connections.len().saturating_sub(limits.connections);
        let gone = kept.connections.drain(..surplus).collect();
        (gone, !std::mem::replace(&mut kept.watched, true))
    }

    /// Removes what may not be kept any longer, and asks the others for a sign of life where they were
    /// silent for `quiet`. Says when to look again; never, where nothing is left.
    fn sweep(
        &self,
        limits: IdleLimits,
        quiet: Duration,
    ) -> (Vec<IdleConnection>, Option<Duration>) {
        let mut kept = self.lock();
        let silent = |idle: &IdleConnection| {
            let link = idle.link();
            link.map_or(Duration::MAX, |link| link.shared.pulse.silent_for())
        };
        let gone = kept
            .connections
            .extract_if(.., |idle| {
                idle.rest(limits).is_zero() || silent(idle) >= quiet.saturating_mul(3)
            })
            .collect();
        for idle in kept.connections.iter().filter(|idle| silent(idle) >= quiet) {
            if let Some(shell) = idle.shells.first() {
                shell.open().probe();
            }
        }
        let soonest = kept.connections.iter().map(|idle| idle.rest(limits)).min();
        kept.watched = soonest.is_some();
        (gone, soonest.map(|rest| rest.min(quiet)))
    }
}

impl Dialer {
    /// Keeps a connection that is not used any more, by its shells that wait. Whatever else may run on
    /// it has retired its link, which is not kept.
    pub(super) fn keep(self: &Arc<Self>, target: &SshTarget, mut shells: Vec<Interpreter>) {
        let limits = self.settings.idle;
        shells.retain(Interpreter::is_ready);
        // Without a runtime nothing would look after them.
        let (Some(link), Ok(runtime)) = (
            shells.first().map(|shell| Arc::clone(shell.link())),
            Handle::try_current(),
        ) else {
            return;
        };
        // Those of a link that was left for another one have no room for a channel any more.
        shells.retain(|shell| Arc::ptr_eq(shell.link(), &link));
        let idle = IdleConnection {
            target: target.clone(),
            shells,
            since: Instant::now(),
        };
        if limits.connections == 0 || idle.rest(limits).is_zero() {
            return;
        }
        let (gone, unwatched) = self.idle.put(idle, limits);
        drop(gone);
        if unwatched {
            runtime.spawn(watch(Arc::downgrade(self)));
        }
    }

    /// A kept connection to `target` that may be used as if it had been opened now.
    pub(super) async fn kept(&self, target: &SshTarget) -> Option<(Arc<Link>, Vec<Interpreter>)> {
        while let Some(idle) = self.idle.take(target) {
            let link = Arc::clone(idle.link()?);
            if !idle.rest(self.settings.idle).is_zero()
                && self.still_trusts(target, &link).await
                && idle.is_alive().await
            {
                return Some((link, idle.shells));
            }
        }
        None
    }

    /// Whether a login would be the same now: the key file is the one that was used, `known_hosts`
    /// trusts the key that the host has shown, and so for every jump host.
    fn still_trusts<'a>(&'a self, target: &'a SshTarget, link: &'a Link) -> BoxFuture<'a, bool> {
        // Boxed, because it calls itself for the jump host.
        Box::pin(async move {
            let key = self.keys.key(&target.identity).await;
            if !key.is_ok_and(|key| Arc::ptr_eq(&key, &link.key)) {
                return false;
            }
            let (Ok(pins), Some((shown, _))) = (self.pins.of(target).await, link.shared.shown())
            else {
                return false;
            };
            let host = HostName::new(&target.address, target.port);
            if pins.check(&host, &shown) != HostKeyTrust::Trusted {
                return false;
            }
            match (&target.jump, &link.jump) {
                (None, None) => true,
                (Some(target), Some(jump)) => match jump.current_link().await {
                    Some(link) => self.still_trusts(target, &link).await,
                    None => false,
                },
                _ => false,
            }
        })
    }
}

/// Looks after what is kept, until there is nothing.
async fn watch(dialer: Weak<Dialer>) {
    loop {
        let next = {
            let Some(dialer) = dialer.upgrade() else {
                return;
            };
            let settings = &dialer.settings;
            let (gone, next) = dialer
                .idle
                .sweep(settings.idle, settings.keepalive.interval);
            drop(gone);
            next
        };
        let Some(next) = next else { return };
        tokio::time::sleep(next.max(PAUSE_MIN)).await;
    }
}
