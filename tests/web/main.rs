//! The web, asked over real connections: pages, API, streams, and what it refuses.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests fail by panicking; `world` is shared with an example"
)]

mod api;
mod audit;
mod browser;
mod client;
mod codo;
mod codo_refused;
mod contract;
mod hands;
mod logs;
mod pages;
mod people;
mod rights;
mod serving;
mod streams;
mod submit;
mod world;
