//! What has to be done now and then, and is never urgent: sessions that have ended, entries of the
//! hook log and logs that are old or too many go.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::log::LogBook;
use crate::session::Sessions;
use crate::store::Store;

/// How often, in seconds.
const PAUSE_S: i64 = 3600;
/// Output of steps is kept so long.
const LOG_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// And so much of it, all tasks together, in bytes; the oldest goes first.
const LOG_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// What is looked after.
pub(super) struct Upkeep {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) logs: LogBook,
    pub(super) store: Store,
    pub(super) hook_log_age: Duration,
    pub(super) hook_log_entries: u32,
}

impl Upkeep {
    /// Goes on for ever. What fails is told, and tried again an hour later.
    pub(super) async fn run(self) {
        loop {
            let now = self.clock.now();
            if let Err(error) = self.sessions.purge().await {
                tracing::warn!(%error, "ended sessions were not deleted");
            }
            self.trim_hooks(now).await;
            self.sweep_logs(now).await;
            let next = now
                .checked_add(SignedDuration::from_secs(PAUSE_S))
                .unwrap_or(now);
            self.clock.sleep_until(next).await;
        }
    }

    async fn trim_hooks(&self, now: Timestamp) {
        let oldest = now.checked_sub(self.hook_log_age);
        let oldest = oldest.unwrap_or(Timestamp::MIN);
        let kept = u64::from(self.hook_log_entries);
        match self.store.trim_hooks(oldest, kept).await {
            Ok(0) => {}
            Ok(entries) => tracing::info!(entries, "old entries of the hook log deleted"),
            Err(error) => tracing::warn!(%error, "old entries of the hook log were not deleted"),
        }
    }

    async fn sweep_logs(&self, now: Timestamp) {
        let since_1970 = Duration::try_from(now.as_duration()).unwrap_or_default();
        let oldest = since_1970.saturating_sub(LOG_AGE_MAX);
        let logs = self.logs.clone();
        let swept = tokio::task::spawn_blocking(move || logs.sweep(oldest, LOG_BYTES_MAX)).await;
        match swept {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(tasks)) => tracing::info!(tasks, "old logs deleted"),
            Ok(Err(error)) => tracing::warn!(%error, "old logs were not deleted"),
        }
    }
}
