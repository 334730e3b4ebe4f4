//! What the scripts do on a host, performed by real shells and a real rsync.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod place;
mod release;
