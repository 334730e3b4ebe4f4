//! Releases to real hosts: sshd on loopback addresses, rsync, real shells; and the agent as a process
//! of its own behind a real git server with the real hook.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod agent;
mod api;
mod disk;
mod stage;
mod tree;

mod chaos;
mod codo;
mod hostops;
mod release;
mod ssh;
