//! What CODO's documents show, on real things: their submissions request by request, their hook as a
//! real `update` hook, an agent of its own process, sshd.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(
    dead_code,
    reason = "the stage is that of the release tests, of which these use a part"
)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../release/agent.rs"]
mod agent;
#[path = "../release/api.rs"]
mod api;
#[path = "../release/stage.rs"]
mod stage;
#[path = "../release/tree.rs"]
mod tree;

mod script;

mod examples;
mod hook;
mod secrets;
