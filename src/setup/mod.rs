//! Before the first push: install the hook, check hosts, repositories and accounts.
//!
//! Checks everything as the agent would use it, and reports problems and their remedies. It never
//! changes a task, a release or the store. `cli` calls it.

// Checks whether a release would work: hosts, repositories, hook and spool.
pub mod doctor;
// Installs the hook beside a git server, and uninstalls it.
pub mod install;
