//! What has to be done now and then, and is never urgent: sessions that have ended and logs that are
//! old or too large go.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use crate::clock::Clock;
use crate::log::LogBook;
use crate::session::Sessions;

/// How often, in seconds.
const PAUSE_S: i64 = 3600;
/// Output of steps is kept so long.
const LOG_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// And so much of it, all tasks together, in bytes; the oldest goes first.
const LOG_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Goes on for ever. What fails is told, and tried again an hour later.
pub(super) async fn run(clock: Arc<dyn Clock>, sessions: Arc<Sessions>, logs: LogBook) {
    loop {
        if let Err(error) = sessions.purge().await {
            tracing::warn!(%error, "ended sessions were not deleted");
        }
        let now = clock.now();
        let since_1970 = Duration::try_from(now.as_duration()).unwrap_or_default();
        let oldest = since_1970.saturating_sub(LOG_AGE_MAX);
        let swept = {
            let logs = logs.clone();
            tokio::task::spawn_blocking(move || logs.sweep(oldest, LOG_BYTES_MAX)).await
        };
        match swept {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(tasks)) => tracing::info!(tasks, "old logs deleted"),
            Ok(Err(error)) => tracing::warn!(%error, "old logs were not deleted"),
        }
        let next = now
            .checked_add(SignedDuration::from_secs(PAUSE_S))
            .unwrap_or(now);
        clock.sleep_until(next).await;
    }
}
