//! Looks into the spool, counted: whoever wants to know whether a record waits there asks for one
//! more, and when it is over every record of before has been taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

/// Records of one pusher that do not say of which push they are belong together when no more time is
/// between them, in milliseconds.
const BURST_MS: i64 = 1_000;
/// Of so many pushes it is remembered when something was last heard of them.
const HEARD_MAX: usize = 1_000;

/// The looks of one intake.
#[derive(Debug, Default)]
pub struct Scans {
    begun: AtomicU64,
    done: AtomicU64,
    /// Whether the last look left a record that could not be read.
    left: AtomicBool,
    /// A look is over, or a push is not held any more: who waits is woken in turn.
    changed: Notify,
    wanted: Notify,
    heard: Mutex<BTreeMap<String, Timestamp>>,
    held: Mutex<BTreeSet<String>>,
    bursts: Mutex<BTreeMap<String, Burst>>,
}

/// Records of one pusher that follow each other closely.
#[derive(Debug)]
struct Burst {
    name: String,
    /// When the last one was written, in milliseconds.
    last_ms: i64,
}

impl Scans {
    /// A look begins; its number.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The look of this number is over; whether it left a record that could not be read.
    pub(super) fn end(&self, number: u64, left: bool) {
        self.left.store(left, Ordering::SeqCst);
        self.done.store(number, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// The push of a record that does not name it: that of the pusher's last one, if that is close.
    pub(super) fn burst(&self, pusher: &str, record: &str, written_ms: i64) -> String {
        let mut bursts = self.bursts.lock().unwrap_or_else(PoisonError::into_inner);
        bursts.retain(|_, burst| written_ms.saturating_sub(burst.last_ms) <= BURST_MS);
        let burst = bursts.entry(pusher.to_owned()).or_insert_with(|| Burst {
            name: format!("near {record}"),
            last_ms: written_ms,
        });
        burst.last_ms = burst.last_ms.max(written_ms);
        burst.name.clone()
    }

    /// Something of this push was taken in.
    pub(super) fn hear(&self, push: &str, now: Timestamp) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= HEARD_MAX
            && let Some(oldest) = heard.iter().min_by_key(|(_, at)| **at)
        {
            let oldest = oldest.0.clone();
            heard.remove(&oldest);
        }
        heard.insert(push.to_owned(), now);
    }

    /// When something of this push was last taken in, as far as that is remembered.
    pub fn heard(&self, push: &str) -> Option<Timestamp> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(push).copied()
    }

    /// More tags are to come of the pushes whose names begin with this.
    pub fn hold(&self, pushes: &str) {
        self.held().insert(pushes.to_owned());
    }

    /// No more are to come of them.
    pub fn release(&self, pushes: &str) {
        self.held().remove(pushes);
        self.changed.notify_waiters();
    }

    /// Ends when nothing more of a push is to come, and what waited in the spool has been taken in.
    pub async fn whole(&self, push: &str) {
        let held = || self.held().iter().any(|pushes| push.starts_with(pushes));
        self.until(|| !held()).await;
        self.another().await;
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            // Made before the question, so that no change is missed.
            let changed = self.changed.notified();
            if holds() {
                return;
            }
            changed.await;
        }
    }

    /// Ends when somebody wants one more look.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Whether a record waits that the last look could not read: of which tag it is, is not known.
    pub fn has_left_some(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// Ends when a look is over that began after this was asked.
    pub async fn another(&self) {
        let begun = self.begun.load(Ordering::SeqCst);
        self.wanted.notify_one();
        self.until(|| self.done.load(Ordering::SeqCst) > begun)
            .await;
    }
}
