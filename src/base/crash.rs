//! Named moments at which a test has the agent killed: right before and right after each effect on
//! the world, by the labels of the effects' traits.
//!
//! `TAGSHIP_CRASH=host.publish:after:2` ends the process, as `kill -9` does, when it has performed
//! its second `host.publish`. In a build without debug assertions there is no such variable and
//! nothing is compiled in. Called where an effect meets the world (`store`, `intake`, `landing`,
//! `checkout`, `perform`, `log`, `agent`); `tests/chaos` goes through [`LABELS`].

/// Every effect that has these moments.
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

/// Names the moment: `LABEL:before:COUNT` or `LABEL:after:COUNT`.
pub const VARIABLE: &str = "TAGSHIP_CRASH";

/// The effect comes next.
#[inline]
pub(crate) fn before(label: &'static str) {
    #[cfg(debug_assertions)]
    armed::pass(label, "before");
    #[cfg(not(debug_assertions))]
    let _ = label;
}

/// The effect has happened, and nobody has heard of it.
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

    struct Moment {
        label: String,
        side: String,
        left: AtomicU32,
    }

    static MOMENT: LazyLock<Option<Moment>> = LazyLock::new(|| {
        let text = std::env::var(super::VARIABLE).ok()?;
        let mut words = text.split(':');
        Some(Moment {
            label: words.next()?.to_owned(),
            side: words.next()?.to_owned(),
            left: AtomicU32::new(words.next()?.parse().ok()?),
        })
    });

    pub(super) fn pass(label: &'static str, side: &str) {
        let Some(moment) = &*MOMENT else { return };
        if moment.label == label
            && moment.side == side
            && moment.left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            let _ = kill_process(getpid(), Signal::KILL);
            // The signal comes at once; until then, this thread does nothing more.
            loop {
                std::thread::park();
            }
        }
    }
}
