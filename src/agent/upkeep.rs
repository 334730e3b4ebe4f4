//! Periodic maintenance that is never urgent: removes ended sessions, and entries of the hook log
//! and logs that are too old or too many.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::base::clock::Clock;
use crate::identity::session::Sessions;
use crate::store::Store;
use crate::store::log::LogBook;

/// The interval, in seconds.
const PAUSE_S: i64 = 3600;
/// How long output of steps is kept.
const LOG_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// The size limit of all tasks' output, in bytes; the oldest is removed first.
const LOG_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// The maintained parts.
pub(super) struct Upkeep {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) logs: LogBook,
    pub(super) store: Store,
    pub(super) hook_log_age: Duration,
    pub(super) hook_log_entries: u32,
}

impl Upkeep {
    /// Runs forever. Failures are logged, and retried an hour later.
    pub(super) async fn run(self) {
        loop {
            let now = self.clock.now();
            self.round(now).await;
            let next = now
                .checked_add(SignedDuration::from_secs(PAUSE_S))
                .unwrap_or(now);
            self.clock.sleep_until(next).await;
        }
    }

    async fn round(&self, now: Timestamp) {
        if let Err(error) = self.sessions.purge().await {
            tracing::warn!(%error, "ended sessions were not deleted");
        }
        self.trim_hooks(now).await;
        self.sweep_logs(now).await;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::clock::ManualClock;
    use crate::engine::executor::effects::StepLogs as _;
    use crate::identity::account::{Account, Accounts, NewAccount, Role};
    use crate::identity::session::WebTransport;
    use crate::store::HookFilter;
    use crate::store::kv::{Commit, Kv};
    use crate::store::memory::MemoryKv;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    struct Kept {
        clock: Arc<ManualClock>,
        upkeep: Upkeep,
        alice: Account,
        directory: tempfile::TempDir,
    }

    async fn kept(hook_log_entries: u32) -> Kept {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at("2026-03-01T12:00:00Z".parse().unwrap()));
        let kv: Arc<dyn Kv> = Arc::new(MemoryKv::new());
        let accounts = Arc::new(Accounts::new(kv.clone(), clock.clone()));
        let alice = NewAccount {
            name: "alice".to_owned(),
            display: String::new(),
            role: Role::Viewer,
            groups: [].into(),
            password: None,
        };
        let alice = accounts.add(alice, Commit::new()).await.unwrap();
        let sessions = Sessions::new(kv.clone(), clock.clone(), accounts, WebTransport::Http);
        let upkeep = Upkeep {
            clock: clock.clone(),
            sessions: Arc::new(sessions),
            logs: LogBook::new(directory.path().to_owned()),
            store: Store::open(kv).await.unwrap(),
            hook_log_age: 30 * DAY,
            hook_log_entries,
        };
        Kept {
            clock,
            upkeep,
            alice,
            directory,
        }
    }

    impl Kept {
        async fn record_activity(&self, file: &str) {
            let store = &self.upkeep.store;
            let note = store.hook_note(file, self.clock.now(), None).await.unwrap();
            let result = crate::store::ProjectOutcome {
                project: None,
                outcome: crate::store::HookOutcome::UnknownRepository,
                doubted: Vec::new(),
            };
            store.note_hook(&note, result).await.unwrap();
        }

        async fn round(&self) {
            self.upkeep.round(self.clock.now()).await;
        }

        async fn hooks(&self) -> usize {
            let store = &self.upkeep.store;
            let page = store.hooks(&HookFilter::default(), None, 100).await;
            page.unwrap().entries.len()
        }

        fn logged(&self) {
            self.upkeep.logs.step(7, "web1", "run", 1).write_at(0, b"x");
            let host = self.directory.path().join("7/web1");
            for file in std::fs::read_dir(host).unwrap() {
                let path = file.unwrap().path();
                let file = std::fs::File::options().write(true).open(path).unwrap();
                file.set_modified(self.clock.now().into()).unwrap();
            }
        }

        fn logs(&self) -> usize {
            self.upkeep.logs.entries(7).unwrap().len()
        }
    }

    /// Each kind is kept one moment before its limit, and deleted one moment after it.
    #[tokio::test]
    async fn data_is_deleted_after_its_limit_and_not_before() {
        let kept = kept(100).await;
        let second = Duration::from_secs(1);
        kept.record_activity("old").await;
        kept.logged();
        kept.clock.advance(second);
        kept.record_activity("newest").await;
        let sessions = &kept.upkeep.sessions;
        let cookie = sessions.begin(&kept.alice).await.unwrap().set_cookie;
        let cookie = crate::base::secret::ExposeSecret::expose_secret(&cookie).to_owned();
        kept.clock.advance(30 * DAY - second);
        kept.round().await;
        assert_eq!((kept.hooks().await, kept.logs()), (2, 1));
        assert!(sessions.find(&cookie).await.unwrap().is_none());
        kept.clock.advance(second);
        kept.round().await;
        assert_eq!((kept.hooks().await, kept.logs()), (1, 1));
        kept.clock.advance(60 * DAY - second);
        kept.round().await;
        assert_eq!(kept.logs(), 1, "90 days after its last line");
        kept.clock.advance(second);
        kept.round().await;
        assert_eq!(kept.logs(), 0, "and a second");
        assert_eq!(
            kept.hooks().await,
            1,
            "the newest one stays, however old it is"
        );
    }

    #[tokio::test]
    async fn hook_log_keeps_the_configured_number_of_entries() {
        let kept = kept(3).await;
        for number in 1..=5 {
            kept.record_activity(&format!("{number}")).await;
            kept.round().await;
            assert_eq!(kept.hooks().await, number.min(3));
        }
    }
}
