//! The events of every task and the indexes to find them, over [`kv::Kv`].

/// What every storage engine promises.
pub mod kv;
/// The in-memory twin, for tests and simulation.
pub mod memory;
/// The engine on disk.
pub mod sled;
