//! Shared basics: the clock, crash points for tests, durable files, the languages of pages, mutexes,
//! values that must not be printed, and the names of users.
//!
//! Nothing here knows tasks, hosts or repositories. Every module may use this one; it uses none.
//! Code does not belong here just because it fits nowhere else.

// The only module that reads the current time.
pub mod clock;
// Points at which a test kills the agent.
pub mod crash;
// Files put in place so that they survive a power failure.
pub mod durable;
// The languages of pages and messages, with their texts.
pub mod language;
// Mutexes that stay usable after a panic.
pub mod mutex;
// Values that must not be printed.
pub mod secret;
// The names of this machine's users.
pub mod user;
