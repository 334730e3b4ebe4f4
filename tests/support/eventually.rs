//! The last resort where nothing tells of an event: to look again and again, with a deadline.

#![allow(
    clippy::disallowed_methods,
    reason = "a test bounds how long it waits by the machine's clock"
)]

use std::time::{Duration, Instant};

/// Looks until `found` finds something; panics after ten seconds.
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
