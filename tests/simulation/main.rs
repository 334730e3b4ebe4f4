//! The agent in a simulated world: every effect can be struck, from a list or from a seed.
#![allow(clippy::unwrap_used)]

mod at_once;
mod back;
mod deeds;
mod drawn;
mod driver;
mod fate;
mod found;
mod host;
mod hygiene;
mod random;
mod rest;
mod spool;
#[path = "../store/submission.rs"]
mod submission;
mod times;
mod witness;
mod world;

mod advice;
mod agents;
mod compared;
mod crash;
mod fail;
mod frozen;
mod keeping;
mod landing;
mod late;
mod life;
mod order;
mod reconcile;
mod soak;
