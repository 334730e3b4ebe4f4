//! Release rules without input or output: templates, plans, approvals, permissions, tasks.
//!
//! The code here maps values to decisions. It has no runtime, clock, files or sockets: events carry
//! their time, and callers read all text. So it is tested in milliseconds, and the simulation tests
//! and the hook use the same rules as the agent. It uses no other module; every other module may
//! use it.

// Who may approve a plan, how many approvals it needs, and when it is frozen (pure).
pub mod approval;
// Parses TOML text into a value, or into problems with file and line (pure).
pub mod document;
// Operations that the agent requests from a host, and the host's replies (pure).
pub mod host;
// A template, parameters, hosts and a commit, resolved and frozen (pure).
pub mod plan;
// Roles, scopes, grants, and what each ability requires (pure).
pub mod permission;
// The task life cycle: state, event, transition, next actions (pure).
pub mod task;
// Task templates: ordered stages of steps (pure).
pub mod template;
/// Which ref of which repository starts which task (pure; shared with the hook).
pub use tagship_hook::rule;
