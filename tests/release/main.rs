//! The main job on real things: `git push` with the compiled hook, the agent as a process of its
//! own, sshd, rsync; asked through its API, and looked at on the hosts' disks.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../support/mod.rs"]
mod support;

// `tests/chaos` uses these as well; each target uses a part.
#[allow(dead_code)]
mod agent;
#[allow(dead_code)]
mod api;
mod chance;
#[allow(dead_code)]
mod stage;
mod tree;

mod api_doc;
mod chain;
mod faults;
mod found;
mod hands;
mod idle;
mod outputs;
mod projects;
mod pushes;
mod restore;
mod steps;
mod submit;
mod templates;
