//! The command line, as people and scripts use it: the real program, its words and its exit codes.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod docs;
mod enroll;
mod errors;
mod help;
mod install;
mod rules;
mod test;
