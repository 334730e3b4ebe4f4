//! The main job on real things: `git push` with the compiled hook, the agent as a process of its
//! own, sshd, rsync; asked through its API, and looked at on the hosts' disks.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod api;
mod chance;
mod stage;
mod tree;

mod chain;
mod crashes;
mod faults;
mod projects;
mod pushes;
mod restore;
mod steps;
