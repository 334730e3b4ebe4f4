//! What is promised, held against what happens: the agent is killed at every named moment and at
//! random ones, connections are cut and stall, servers and hooks are killed amid what they do, disks
//! are full, the clock is set back, steps do not want to end. Real git, hook, agent, sshd and rsync;
//! what counts is what stands on the hosts' disks afterwards. `docs/testing.md` tells of it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../support/mod.rs"]
mod support;

// The stage is that of `tests/release`; each target uses a part of it.
#[allow(dead_code)]
#[path = "../release/agent.rs"]
mod agent;
#[allow(dead_code)]
#[path = "../release/api.rs"]
mod api;
#[path = "../release/chance.rs"]
mod chance;
#[allow(dead_code)]
#[path = "../release/stage.rs"]
mod stage;
#[allow(dead_code)]
#[path = "../release/tree.rs"]
mod tree;

mod world;

mod crowd;
mod disk;
mod moments;
mod network;
mod points;
mod stop;
mod unknown;
