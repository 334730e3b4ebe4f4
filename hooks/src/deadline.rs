//! Limits the whole hook to two seconds, however slow the disk: git and the pusher wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tagship_hook::origin::Server;
use tagship_hook::rule::OnSpoolError;

use crate::message::PusherMessage;

const LIMIT: Duration = Duration::from_secs(2);

const REFUSE: u8 = 0;
const TAKE: u8 = 1;
const RECORDED: u8 = 2;

/// A thread that ends the process at the deadline. It needs no stopping: it ends with the process.
pub(crate) struct Deadline {
    outcome: Arc<AtomicU8>,
}

impl Deadline {
    /// Starts the timer. If no thread can be started, there is no deadline, which is better than no
    /// hook.
    pub(crate) fn start(server: Server) -> Self {
        let outcome = Arc::new(AtomicU8::new(REFUSE));
        let seen = Arc::clone(&outcome);
        drop(
            std::thread::Builder::new()
                .stack_size(64 * 1024)
                .spawn(move || {
                    std::thread::sleep(LIMIT);
                    expire(seen.load(Ordering::SeqCst), server);
                }),
        );
        Self { outcome }
    }

    /// Sets what happens to the ref if the record is not durable at the deadline.
    pub(crate) fn on_expiry(&self, policy: OnSpoolError) {
        let outcome = match policy {
            OnSpoolError::Reject => REFUSE,
            OnSpoolError::Accept => TAKE,
        };
        self.outcome.store(outcome, Ordering::SeqCst);
    }

    /// Notes that the record is durable: from now on only the pusher's connection can be slow.
    pub(crate) fn recorded(&self) {
        self.outcome.store(RECORDED, Ordering::SeqCst);
    }
}

fn expire(outcome: u8, server: Server) -> ! {
    if outcome == RECORDED {
        std::process::exit(0);
    }
    // In a thread of its own: if the pusher's connection hangs, this write would hang as well.
    drop(std::thread::Builder::new().spawn(move || {
        let mut message = PusherMessage::new(server);
        message.add_line("the spool did not answer within 2 seconds");
        if outcome == REFUSE {
            message.add_line("the tag is refused, so that it is not lost; push it again later");
            message.refuse("the spool did not answer within 2 seconds");
        } else {
            message.add_line("the tag is accepted, and nothing will be released unless a user runs: tagship submit");
        }
        message.flush();
    }));
    std::thread::sleep(Duration::from_millis(50));
    std::process::exit(if outcome == REFUSE { 1 } else { 0 })
}
