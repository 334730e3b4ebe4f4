//! Named points at which a test kills the agent: right before and right after each external effect,
//! by the effect labels of the traits.
//!
//! `TAGSHIP_CRASH=host.publish:after:2` ends the process, as `kill -9` does, after its second
//! `host.publish`. Builds without debug assertions contain none of this and ignore the variable.
//! Callers are the modules with effects (`store`, `intake`, `landing`, `checkout`, `ssh_host`,
//! `log`, `agent`); `tests/hosts/chaos` iterates over [`LABELS`].

/// Every effect that has crash points.
pub const LABELS: [&str; 21] = [
    "spool.read",
    "store.commit",
    "spool.remove",
    "git.tags",
    "spool.set_aside",
    "git.ls_remote",
    "git.fetch",
    "git.pin",
    "git.unpin",
    "checkout.plan",
    "shelf.keep",
    "checkout.write",
    "host.prepare",
    "host.transfer",
    "host.seal",
    "host.publish",
    "host.run",
    "host.run_result",
    "host.kill",
    "host.prune",
    "log.write",
];

/// The environment variable that selects one: `LABEL:before:COUNT` or `LABEL:after:COUNT`.
pub const VARIABLE: &str = "TAGSHIP_CRASH";

/// Crash point right before the effect.
#[inline]
pub(crate) fn before(label: &'static str) {
    #[cfg(debug_assertions)]
    armed::pass(label, "before");
    #[cfg(not(debug_assertions))]
    let _ = label;
}

/// Crash point right after the effect, before its result is used.
#[inline]
pub(crate) fn after(label: &'static str) {
    #[cfg(debug_assertions)]
    armed::pass(label, "after");
    #[cfg(not(debug_assertions))]
    let _ = label;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    struct CrashPoint {
        label: String,
        side: String,
        remaining: AtomicU32,
    }

    static CRASH_POINT: LazyLock<Option<CrashPoint>> = LazyLock::new(|| {
        let text = std::env::var(super::VARIABLE).ok()?;
        let mut fields = text.split(':');
        Some(CrashPoint {
            label: fields.next()?.to_owned(),
            side: fields.next()?.to_owned(),
            remaining: AtomicU32::new(fields.next()?.parse().ok()?),
        })
    });

    pub(super) fn pass(label: &'static str, side: &str) {
        let Some(moment) = &*CRASH_POINT else { return };
        if moment.label == label
            && moment.side == side
            && moment.remaining.fetch_sub(1, Ordering::SeqCst) == 1
        {
            let _ = kill_process(getpid(), Signal::KILL);
            // The signal may take a moment: this thread must do nothing more.
            loop {
                std::thread::park();
            }
        }
    }
}
