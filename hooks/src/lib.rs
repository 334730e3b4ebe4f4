//! What the hook and the agent share. Everything here works from its arguments: no network, no
//! child process; only [`spool`] and [`settings`] touch files.

/// Which repository git is working on and who pushes, from the environment that a server gives.
pub mod origin;
/// Who pushes, and whose account that is (pure).
pub mod pusher;
/// Which ref of which repository becomes which task, and why not (pure).
pub mod rule;
/// The small file beside the hook that says where the spool is.
pub mod settings;
/// Hook → agent: temporary file, fsync, rename, fsync of the directory.
pub mod spool;

/// The version of this package, as `update --version` prints it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
