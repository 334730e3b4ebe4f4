//! The command line, as people and scripts use it: the real program, its words and its exit codes.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../web/world.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the tests of the web"
)]
mod world;

mod agent;
mod called;
mod check;
mod docs;
mod drift;
mod enroll;
mod errors;
mod hands;
mod help;
mod install;
mod lab;
mod outsider;
mod people;
mod preload;
mod rules;
mod serve;
mod submit;
mod templates;
mod test;
mod unseen;
