//! The last resort where nothing tells of an event: to look again and again, with a deadline.

#![allow(
    clippy::disallowed_methods,
    reason = "a test bounds how long it waits by the machine's clock"
)]

use std::time::{Duration, Instant};

/// Looks until `found` finds something; panics after twenty seconds.
#[track_caller]
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    match look(&mut found) {
        Some(found) => found,
        None => panic!("never came: {what}"),
    }
}

/// Whether something comes to hold within twenty seconds.
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
