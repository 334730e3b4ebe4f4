//! What several integration tests need: `#[path = "mod.rs"] mod support;`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test target includes this module and uses a part of it"
)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

pub mod contract;
pub mod eventually;
pub mod git;
pub mod hook;
pub mod proxy;
pub mod sshd;

pub use eventually::until;
