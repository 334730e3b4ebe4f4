//! The executor in a simulated world: every effect can be stopped before or after it acts.
#![allow(clippy::unwrap_used)]

mod driver;
mod host;
mod world;

mod crash;
mod life;
