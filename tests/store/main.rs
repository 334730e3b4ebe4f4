//! The store: engines, backups, searches, and the hook log.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod counting;
mod submission;

mod backup;
mod crash;
mod engines;
mod history;
mod hook_log;
