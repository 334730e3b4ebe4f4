//! The rules of releases, without input or output: template, plan, approval, permission, task.
//!
//! Given values, the code here decides and returns values. It has no runtime, clock, file or
//! socket: time arrives inside events, texts are read by the caller. So all of it is tested in
//! milliseconds, and the simulation tests and the hook use the same rules as the agent. It uses no
//! other room; every other room may use it.

/// Who may approve what, how many must, and until when (pure).
pub mod approval;
/// A TOML text becomes a value, or complaints that name file and line (pure).
pub mod document;
/// What the agent asks of a host, and what the host answers (pure).
pub mod host;
/// A template, parameters, hosts and a commit, worked out and frozen (pure).
pub mod plan;
/// Roles, scopes, grants, and what each ability takes (pure).
pub mod right;
/// The life of a task: state, event, transition, next actions (pure).
pub mod task;
/// Task templates: ordered stages of steps (pure).
pub mod template;
/// Which ref of which repository becomes which task (pure; shared with the hook).
pub use tagship_hook::rule;
