//! The last resort if nothing reports an event: polling with a deadline.

#![allow(
    clippy::disallowed_methods,
    reason = "a test bounds how long it waits by the machine's clock"
)]

use std::time::{Duration, Instant};

/// Polls until `found` returns something; panics after a minute.
#[track_caller]
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    match look(&mut found) {
        Some(found) => found,
        None => panic!("never came: {what}"),
    }
}

/// Whether a condition holds within a minute.
pub fn until(mut holds: impl FnMut() -> bool) -> bool {
    look(&mut || holds().then_some(())).is_some()
}

fn look<T>(found: &mut impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let seen = found();
        if seen.is_some() || Instant::now() > deadline {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
