//! From a pushed tag or a user's request to a finished task.
//!
//! `intake` and `reconcile` propose tasks from pushed tags (`push` decides which), `submit` from
//! users. `request` grants or refuses users' requests on a task. `executor` performs, through
//! traits, what the tasks' events require. The engine opens no connections to hosts, and
//! [`domain::task`](crate::domain::task) decides which events a task allows. `agent` starts intake,
//! reconciliation and executor; `server` calls only `submit`, `request` and `push`.

/// How the hook passes a ref to the agent (shared with the hook).
pub use tagship_hook::spool;
// Claim, next action, durable intent, effect, result.
pub mod executor;
// Spool records become proposed tasks.
pub mod intake;
// What a push means by the current rules, and replays of earlier pushes.
pub mod push;
// Finds tags that no hook reported, and proposes tasks for them.
pub mod reconcile;
// Users' requests on a task, checked against their permissions.
pub mod request;
// Manually submitted tasks, checked against configuration, templates and permissions.
pub mod submit;
