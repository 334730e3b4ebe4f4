//! What several integration tests need: `#[path = "../support/mod.rs"] mod support;`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test target includes this module and uses a part of it"
)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

pub mod eventually;
pub mod git;
pub mod hook;
pub mod proxy;
pub mod sshd;

/// Looks again and again until something holds, for twenty seconds at most; whether it came to
/// hold. For what tells nobody when it happens; everything else is waited for by its event.
pub fn until(mut holds: impl FnMut() -> bool) -> bool {
    (0..2000).any(|_| {
        let held = holds();
        if !held {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        held
    })
}
