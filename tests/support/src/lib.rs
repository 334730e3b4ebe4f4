//! What several test targets share: a world of real git repositories, hosts behind an sshd and an agent's
//! configuration, the hook as it is shipped, a proxy that cuts connections, random numbers. It does not
//! use tagship, so that the tests of the library do not build it twice.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

pub mod contract;
pub mod eventually;
pub mod git;
pub mod hook;
pub mod program;
pub mod proxy;
pub mod random;
pub mod sshd;
pub mod text;
pub mod world;

pub use eventually::until;
pub use text::{assert_text_eq, unindent};
