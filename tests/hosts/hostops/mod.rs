//! The effects of the scripts on a host, with real shells and a real rsync.

#![allow(
    clippy::disallowed_methods,
    reason = "tests measure how long things take"
)]

mod attempt;
mod destination;
mod durability;
mod error_causes;
mod fence;
mod interruption;
mod isolation;
mod local_host;
pub(crate) mod over_ssh;
mod permissions;
mod quoting;
mod release;
mod retention;
mod rollback;
mod shared;
mod stop;
mod unlinkable_release;
