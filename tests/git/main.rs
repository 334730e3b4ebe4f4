//! Landing and checkout on real git repositories, and the hook under real `git push`.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod hook;

mod archive;
mod bounds;
mod landing;
mod looked;
mod odd;
mod releases;
mod transport;
mod world;
