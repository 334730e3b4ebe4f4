//! The hook, under real `git push`.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod installation;
mod killed;
mod names;
mod program;
mod push;
mod rules;
mod servers;
mod shop;
mod users;
