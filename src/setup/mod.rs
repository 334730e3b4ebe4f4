//! Before the first push: install the hook, check hosts, repositories and accounts.
//!
//! It looks at everything as the agent would, reports what does not work and how to correct it, and
//! never changes a task, a release or the store. `cli` calls it.

/// Would a release work? Hosts, repositories, hook and spool, looked at as the agent would.
pub mod check;
/// Puts the hook in place beside a git server, and takes it out again.
pub mod install;
