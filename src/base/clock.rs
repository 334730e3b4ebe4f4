//! The only module that reads the current time or waits for a time of day. It never decides what is
//! due. `executor`, `account`, `session` and others hold an `Arc<dyn Clock>`: [`SystemClock`] in
//! the agent, [`ManualClock`] in tests and simulation. Limits on the duration of an operation do
//! not use a clock, but `tokio::time::timeout`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use super::mutex::lock;

/// Longest single sleep of [`SystemClock`]: the maximum delay before it notices that the wall clock
/// was set or the machine was suspended.
const CHUNK_MAX: Duration = Duration::from_secs(30);

/// A source of the current time.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;

    /// Waits until `now()` is at or past `at`; returns at once if it already is. Cancel-safe.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;

    /// Waits for this duration, even if the time of day is changed meanwhile. Cancel-safe.
    fn pause(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's wall clock.
///
/// It sleeps for at most 30 seconds at a time and rereads the wall clock after each sleep. A clock
/// set forward, or a suspended machine, wakes a sleeper at most 30 seconds late. A clock set back
/// never wakes it early.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        wrong::corrected(Timestamp::now())
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Some(chunk) = chunk(SystemClock.now(), at) {
                tokio::time::sleep(chunk).await;
            }
        })
    }

    fn pause(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// A machine clock that changes while the agent runs. In builds with debug assertions, the file
/// named by `TAGSHIP_CLOCK` holds its error in seconds. `tests/hosts/chaos` writes it.
#[cfg(debug_assertions)]
mod wrong {
    use std::path::PathBuf;
    use std::sync::LazyLock;

    use jiff::{SignedDuration, Timestamp};

    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("TAGSHIP_CLOCK").map(PathBuf::from));

    pub(super) fn corrected(now: Timestamp) -> Timestamp {
        let Some(file) = &*FILE else { return now };
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let seconds = text.trim().parse().unwrap_or(0);
        now.saturating_add(SignedDuration::from_secs(seconds))
            .unwrap_or(now)
    }
}

#[cfg(not(debug_assertions))]
mod wrong {
    pub(super) fn corrected(now: jiff::Timestamp) -> jiff::Timestamp {
        now
    }
}

/// Returns how long to sleep before rereading the wall clock; `None` once `at` is reached.
fn chunk(now: Timestamp, at: Timestamp) -> Option<Duration> {
    let left = Duration::try_from(at.duration_since(now)).ok()?;
    // Timers have millisecond resolution: a shorter sleep would spin.
    (!left.is_zero()).then(|| left.clamp(Duration::from_millis(1), CHUNK_MAX))
}

/// A clock that is advanced manually.
#[derive(Debug)]
pub struct ManualClock {
    state: Arc<Mutex<ManualClockState>>,
    /// Number of sleepers, for callers that wait until there is one.
    sleepers: watch::Sender<usize>,
}

#[derive(Debug)]
struct ManualClockState {
    now: Timestamp,
    /// Total time by which the clock was advanced; setting it back does not reduce it.
    elapsed: Duration,
    /// Sleepers, ordered by wake-up time, then by arrival.
    waiting: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
    /// Pauses, ordered by the elapsed time at which they end.
    pausing: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    arrivals: u64,
}

impl ManualClock {
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let state = ManualClockState {
            now,
            elapsed: Duration::ZERO,
            waiting: BTreeMap::new(),
            pausing: BTreeMap::new(),
            arrivals: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            sleepers: watch::Sender::new(0),
        }
    }

    /// Advances the clock and wakes the sleepers whose time has come, earliest first.
    pub fn advance(&self, by: Duration) {
        let now = lock(&self.state).now;
        // Timestamps end in the year 9999: the clock stops there.
        self.set(now.saturating_add(by).unwrap_or(Timestamp::MAX));
    }

    /// Sets the clock, forward or back, and wakes the sleepers whose time has come.
    pub fn set(&self, now: Timestamp) {
        let mut state = lock(&self.state);
        let on = Duration::try_from(now.duration_since(state.now)).unwrap_or_default();
        let elapsed = state.elapsed + on;
        state.elapsed = elapsed;
        state.now = now;
        while let Some(first) = state.pausing.first_entry() {
            if first.key().0 > elapsed {
                break;
            }
            let _ = first.remove().send(());
        }
        while let Some(first) = state.waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            // A cancelled sleeper no longer listens.
            let _ = first.remove().send(());
        }
        self.count(&mut state);
    }

    /// Returns the earliest time a sleeper waits for. A simulation advances to it when it has
    /// nothing else to do.
    #[must_use]
    pub fn next_sleeper(&self) -> Option<Timestamp> {
        let mut state = lock(&self.state);
        self.count(&mut state);
        let waiting = state.waiting.keys().next().map(|(at, _)| *at);
        let pausing = state.pausing.keys().next().map(|(until, _)| {
            let left = until.saturating_sub(state.elapsed);
            state.now.saturating_add(left).unwrap_or(Timestamp::MAX)
        });
        waiting.into_iter().chain(pausing).min()
    }

    /// Returns the total time by which the clock was advanced; setting it back does not reduce it.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        lock(&self.state).elapsed
    }

    /// Waits until there are at least `count` sleepers.
    pub async fn wait_for_sleepers(&self, count: usize) {
        let mut sleepers = self.sleepers.subscribe();
        // Cannot fail: the sender lives in `self`.
        let _ = sleepers.wait_for(|waiting| *waiting >= count).await;
    }

    /// Removes cancelled sleepers and publishes how many are left.
    fn count(&self, state: &mut ManualClockState) {
        state.waiting.retain(|_, wake| !wake.is_closed());
        state.pausing.retain(|_, wake| !wake.is_closed());
        let sleepers = state.waiting.len() + state.pausing.len();
        self.sleepers.send_replace(sleepers);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        lock(&self.state).now
    }

    /// Registers the sleeper when called, not when first polled.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut state = lock(&self.state);
        if at <= state.now {
            return Box::pin(std::future::ready(()));
        }
        let (wake, woken) = oneshot::channel();
        state.arrivals += 1;
        let key = (at, state.arrivals);
        state.waiting.insert(key, wake);
        self.count(&mut state);
        drop(state);
        Box::pin(wait(woken))
    }

    fn pause(&self, time: Duration) -> BoxFuture<'static, ()> {
        let mut state = lock(&self.state);
        if time.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let (wake, woken) = oneshot::channel();
        state.arrivals += 1;
        let key = (state.elapsed + time, state.arrivals);
        state.pausing.insert(key, wake);
        self.count(&mut state);
        drop(state);
        Box::pin(wait(woken))
    }
}

async fn wait(woken: oneshot::Receiver<()>) {
    if woken.await.is_err() {
        // The clock was dropped: its time never comes.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt;

    use super::*;

    fn noon() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn long_sleep_is_split_into_chunks() {
        let at = noon();
        let hour_before = at - Duration::from_secs(3600);
        assert_eq!(chunk(hour_before, at), Some(CHUNK_MAX));
        assert_eq!(
            chunk(at - Duration::from_secs(3), at),
            Some(Duration::from_secs(3))
        );
        assert_eq!(
            chunk(at - Duration::from_nanos(1), at),
            Some(Duration::from_millis(1))
        );
        assert_eq!(chunk(at, at), None);
        assert_eq!(chunk(at + Duration::from_secs(3), at), None);
    }

    #[tokio::test]
    async fn the_system_clock_wakes_at_the_time_and_not_before() {
        let at = SystemClock.now() + Duration::from_millis(20);
        SystemClock.sleep_until(at).await;
        assert!(SystemClock.now() >= at);
    }

    #[test]
    fn a_sleeper_wakes_when_its_time_is_reached() {
        let clock = ManualClock::at(noon());
        let mut sleep = clock.sleep_until(noon() + Duration::from_secs(10));
        assert_eq!((&mut sleep).now_or_never(), None);
        clock.advance(Duration::from_secs(9));
        assert_eq!((&mut sleep).now_or_never(), None);
        clock.advance(Duration::from_secs(1));
        assert_eq!(sleep.now_or_never(), Some(()));
        assert_eq!(clock.now(), noon() + Duration::from_secs(10));
    }

    #[test]
    fn past_deadline_is_not_waited_for() {
        let clock = ManualClock::at(noon());
        assert_eq!(clock.sleep_until(noon()).now_or_never(), Some(()));
    }

    #[test]
    fn pause_keeps_its_length_when_the_clock_is_set_back() {
        let clock = ManualClock::at(noon());
        let mut pause = clock.pause(Duration::from_secs(10));
        clock.advance(Duration::from_secs(9));
        clock.set(noon() - Duration::from_secs(86_400));
        assert_eq!((&mut pause).now_or_never(), None);
        let next = noon() - Duration::from_secs(86_400) + Duration::from_secs(1);
        assert_eq!(clock.next_sleeper(), Some(next));
        clock.set(next);
        assert_eq!(pause.now_or_never(), Some(()));
    }

    #[test]
    fn a_cancelled_sleeper_is_forgotten() {
        let clock = ManualClock::at(noon());
        let cancelled = clock.sleep_until(noon() + Duration::from_secs(1));
        let kept = clock.sleep_until(noon() + Duration::from_secs(2));
        drop(cancelled);
        assert_eq!(clock.next_sleeper(), Some(noon() + Duration::from_secs(2)));
        drop(kept);
        assert_eq!(clock.next_sleeper(), None);
    }

    #[tokio::test]
    async fn manual_clock_waits_for_a_sleeper() {
        let clock = Arc::new(ManualClock::at(noon()));
        let sleeper = tokio::spawn({
            let clock = Arc::clone(&clock);
            async move { clock.sleep_until(noon() + Duration::from_secs(60)).await }
        });
        clock.wait_for_sleepers(1).await;
        clock.set(noon() + Duration::from_secs(60));
        sleeper.await.unwrap();
    }
}
