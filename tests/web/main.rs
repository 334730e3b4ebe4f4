//! The web, asked over real connections: pages, API, streams, and what it refuses; and the command line.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests fail by panicking; `world` is shared with an example"
)]

mod api;
mod audit;
mod audited;
mod bad_input;
mod browser;
mod client;
mod codo;
mod codo_refused;
mod command;
mod contract;
#[path = "../store/counting.rs"]
mod counting;
mod factor;
mod forwarded;
mod guarded;
mod hands;
mod kinds;
mod logs;
mod many;
mod pages;
mod people;
mod refusals;
mod rights;
mod routes;
mod serving;
mod sight;
mod streams;
mod submit;
mod values;
mod world;
