//! Hosts: SSH connections, the shell scripts that run there, transfers by rsync, releases.
//!
//! Performs what [`domain::host`](crate::domain::host) describes. It never decides what happens to
//! a task, never accepts an unknown host key, and passes values to a shell only as quoted
//! assignments. `engine` calls it through the trait `domain::host::Hosts` (`agent` supplies it);
//! `setup` uses a connection to check a host; `main` starts the transport of rsync.

// Performs operations on a host over its connection.
pub mod ssh_host;
// Makes a complete release live by one rename; also the rollback.
pub mod publish;
// Authenticated SSH connections, the channels on them, and the runner on the host.
pub mod ssh;
// Transfers a complete release to a host, beside the live one.
pub mod sync;
