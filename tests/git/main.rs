//! Landing and checkout, on real git repositories.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod archive;
mod bounds;
mod landing;
mod looked;
mod odd;
mod releases;
mod transport;
mod world;
