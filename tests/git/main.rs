//! Landing and checkout on real git repositories, and the hook under real `git push`.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod hook;

mod archive;
mod bounds;
mod first_scan;
mod landing;
mod mirror;
mod releases;
mod transport;
mod unusual_objects;
