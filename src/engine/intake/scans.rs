//! Numbered scans of the spool. A caller that needs all pending records requests another scan: when
//! that has ended, every earlier record has been taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::base::mutex::lock;

/// Records of one pusher that name no push belong to one push if the time between them is at most
/// this, in milliseconds.
const BURST_MS: i64 = 1_000;
/// For how many pushes the time of the last record is remembered.
const PUSHES_MAX: usize = 1_000;

/// The scans of one intake.
#[derive(Debug, Default)]
pub struct Scans {
    begun: AtomicU64,
    done: AtomicU64,
    /// Whether the last scan left a record that could not be read.
    left: AtomicBool,
    /// A scan ended, or a push was released: wakes the waiting futures.
    changed: Notify,
    requested: Notify,
    records: Mutex<BTreeMap<String, Timestamp>>,
    held: Mutex<BTreeSet<String>>,
    bursts: Mutex<BTreeMap<String, Burst>>,
}

/// Records of one pusher in quick succession.
#[derive(Debug)]
struct Burst {
    name: String,
    /// When the last one was written, in milliseconds.
    last_ms: i64,
}

impl Scans {
    /// Begins a scan; returns its number.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Ends the scan of this number; `left` is whether it left a record that could not be read.
    pub(super) fn end(&self, number: u64, left: bool) {
        self.left.store(left, Ordering::SeqCst);
        self.done.store(number, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Returns the push of a record that names none: that of the pusher's last record, if recent.
    pub(super) fn burst(&self, pusher: &str, record: &str, written_ms: i64) -> String {
        let mut bursts = lock(&self.bursts);
        bursts.retain(|_, burst| written_ms.saturating_sub(burst.last_ms) <= BURST_MS);
        let burst = bursts.entry(pusher.to_owned()).or_insert_with(|| Burst {
            name: format!("near {record}"),
            last_ms: written_ms,
        });
        burst.last_ms = burst.last_ms.max(written_ms);
        burst.name.clone()
    }

    /// Notes that a record of this push was taken in.
    pub(super) fn note_record(&self, push: &str, now: Timestamp) {
        let mut records = lock(&self.records);
        if records.len() >= PUSHES_MAX
            && let Some(oldest) = records.iter().min_by_key(|(_, at)| **at)
        {
            let oldest = oldest.0.clone();
            records.remove(&oldest);
        }
        records.insert(push.to_owned(), now);
    }

    /// Returns when a record of this push was last taken in, if that is remembered.
    pub fn last_record(&self, push: &str) -> Option<Timestamp> {
        let records = lock(&self.records);
        records.get(push).copied()
    }

    /// Holds pushes whose names begin with this prefix: more of their tags are to come.
    pub fn hold(&self, pushes: &str) {
        lock(&self.held).insert(pushes.to_owned());
    }

    /// Releases held pushes: no more of their tags are to come.
    pub fn release(&self, pushes: &str) {
        lock(&self.held).remove(pushes);
        self.changed.notify_waiters();
    }

    /// Waits until a push is not held, and what was pending in the spool has been taken in.
    pub async fn whole(&self, push: &str) {
        let held = || lock(&self.held).iter().any(|name| push.starts_with(name));
        self.until(|| !held()).await;
        self.another().await;
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            // Created before the check, so that no change is missed.
            let changed = self.changed.notified();
            if holds() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until another scan is requested.
    pub async fn requested(&self) {
        self.requested.notified().await;
    }

    /// Whether the last scan left a record that it could not read; the record's tag is unknown.
    pub fn has_left_some(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// Waits for the end of a scan that began after this call.
    pub async fn another(&self) {
        let begun = self.begun.load(Ordering::SeqCst);
        self.requested.notify_one();
        self.until(|| self.done.load(Ordering::SeqCst) > begun)
            .await;
    }
}
