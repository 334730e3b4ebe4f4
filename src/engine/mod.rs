//! From a pushed tag or a person's request to a finished task.
//!
//! `intake` and `reconcile` propose tasks from pushed tags (`push` decides which), `submit` from
//! people; `request` grants or refuses what people ask of a task; `executor` performs what the
//! events of tasks demand, through traits. It never opens a connection to a host, and never decides
//! what may follow in a task: [`domain::task`](crate::domain::task) does. `agent` starts intake,
//! reconciliation and executor; `server` calls `submit`, `request` and `push`, and never the others.

/// How the hook hands a ref over to the agent (shared with the hook).
pub use tagship_hook::spool;
/// Claim, next action, durable intent, effect, result.
pub mod executor;
/// Spool records become proposed tasks.
pub mod intake;
/// What a push means by the rules of today, and whether it is decided anew.
pub mod push;
/// Tags that no hook told of are found and proposed.
pub mod reconcile;
/// What people ask of a task, held against their rights.
pub mod request;
/// What people ask to be run by hand, held against configuration, templates and rights.
pub mod submit;
