//! The web server over real connections: pages, API, streams and refusals; and the command line.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests fail by panicking; `server` is shared with an example"
)]

mod administration;
mod api;
mod audit;
mod audit_coverage;
mod audit_page;
mod authorization;
mod bad_input;
mod board;
mod browser;
mod client;
mod codo;
mod codo_refused;
mod command;
mod connections;
mod contract;
#[path = "../store/counting.rs"]
mod counting;
mod credential_kinds;
mod forwarded;
mod grants;
mod interventions;
mod list_cost;
mod logs;
mod pages;
mod parameter_kinds;
mod refusals;
mod route_access;
mod routes;
mod second_factor;
mod server;
mod streams;
mod submit;
mod task_page;
mod visibility;
