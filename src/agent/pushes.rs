//! Detects the end of a push: git's receiving process has ended, and everything its hooks left in
//! the spool has been taken in.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::base::clock::Clock;
use crate::engine::executor::effects::Pushes;
use crate::engine::intake::Scans;
use crate::engine::reconcile::LOOK;

/// A push without news for this long is over: what git still does (other hooks, maintenance)
/// changes no ref.
const QUIET_TIME: SignedDuration = SignedDuration::from_secs(2);
/// The same if git's process cannot be seen.
const QUIET_TIME_UNKNOWN: SignedDuration = SignedDuration::from_millis(300);
/// The longest that the first tag of a push waits.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// [`Pushes`] based on the processes of this machine and the spool.
pub(super) struct SpoolPushes {
    pub(super) scans: Arc<Scans>,
    pub(super) clock: Arc<dyn Clock>,
}

impl SpoolPushes {
    async fn wait_for_end(&self, push: &str) {
        if push.starts_with(LOOK) {
            return;
        }
        let quiet = match find_process(push) {
            Process::Ended => return,
            Process::Unseen => {
                self.wait_for_quiet(push, QUIET_TIME_UNKNOWN).await;
                return;
            }
            Process::Runs(process) => process,
        };
        tokio::select! {
            _ = quiet.ready(Interest::READABLE) => {}
            () = self.wait_for_quiet(push, QUIET_TIME) => {}
        }
    }

    /// Waits until there was no news of a push for this time.
    async fn wait_for_quiet(&self, push: &str, time: SignedDuration) {
        let mut since = self.clock.now();
        loop {
            since = self
                .scans
                .last_record(push)
                .map_or(since, |last_push| last_push.max(since));
            let left = time - self.clock.now().duration_since(since);
            if !left.is_positive() || left > time {
                return;
            }
            let left = Duration::try_from(left).unwrap_or_default();
            self.clock.pause(left).await;
        }
    }
}

impl Pushes for SpoolPushes {
    fn wait_for_records<'a>(&'a self, push: &'a str) -> BoxFuture<'a, ()> {
        async move {
            let whole = async {
                self.wait_for_end(push).await;
                self.scans.whole(push).await;
            };
            tokio::select! {
                () = whole => {}
                () = self.clock.pause(WAIT_MAX) => {
                    tracing::warn!(push, "a push takes long; its tags do not wait for it");
                }
            }
        }
        .boxed()
    }
}

/// The state of the process that receives a push.
enum Process {
    Ended,
    /// Readable when it has ended.
    Runs(AsyncFd<std::os::fd::OwnedFd>),
    /// It is on another machine, or in a container of its own.
    Unseen,
}

/// Finds the process that the hook has named (`hooks/src/process.rs`), after the hook's user.
fn find_process(push: &str) -> Process {
    let named = push.split_once('/').map(|(_, named)| named);
    let words: Vec<&str> = named.unwrap_or_default().split(' ').collect();
    let [boot, space, process, began] = words.as_slice() else {
        return Process::Unseen;
    };
    let own_boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let own_space = fs::read_link("/proc/self/ns/pid");
    let here = own_boot.is_ok_and(|own| own.trim_end() == *boot)
        && own_space.is_ok_and(|own| own.to_str() == Some(*space));
    let Some(pid) = process.parse().ok().and_then(Pid::from_raw) else {
        return Process::Unseen;
    };
    if !here {
        return Process::Unseen;
    }
    // Opened first: a process with this number that began then is the watched one.
    let Ok(watched) = pidfd_open(pid, PidfdFlags::NONBLOCK) else {
        return Process::Ended;
    };
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let mut fields = fields.unwrap_or_default().split_ascii_whitespace();
    if fields.nth(19) != Some(*began) {
        return Process::Ended;
    }
    #[expect(
        deprecated,
        reason = "an owned descriptor is open for as long as it is watched"
    )]
    let watched = AsyncFd::try_with_interest(watched, Interest::READABLE);
    watched.map_or(Process::Unseen, Process::Runs)
}
