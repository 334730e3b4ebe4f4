//! Code shared by the hook and the agent. Everything works from its arguments: no network, no child
//! process; only [`spool`] and [`settings`] access files.

// The repository and the pusher, from the environment that a git server sets.
pub mod origin;
// The pusher and its account (pure).
pub mod pusher;
// Which ref of which repository becomes which task, and why not (pure).
pub mod rule;
// The settings file beside the hook, with the path of the spool.
pub mod settings;
// Hook → agent: temporary file, fsync, rename, fsync of the directory.
pub mod spool;

/// The version of this package, as `update --version` prints it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
