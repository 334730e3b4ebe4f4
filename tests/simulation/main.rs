//! The agent in a simulated world: every effect can have a fault, from a list or from a seed.
#![allow(clippy::unwrap_used)]

mod doubles;
mod driver;
mod faults;
mod generator;
mod host;
mod hygiene;
mod immediate;
mod invariants;
mod rollback;
mod rollback_targets;
mod schedules;
mod spool;
#[path = "../store/submission.rs"]
mod submission;
mod unmanaged_releases;
mod user_actions;
mod witness;

mod advice;
mod agents;
mod comparison;
mod crash;
mod failing_effects;
mod freezes;
mod landing;
mod late_requests;
mod lifecycle;
mod queue_order;
mod reconcile;
mod retention;
mod soak;
