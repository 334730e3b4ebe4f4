//! What every room needs: the clock, crash points for tests, and values that must not be printed.
//!
//! Nothing here knows what a task, a host or a repository is. Never put code here because it has no
//! other place: every room may use this one, and it uses none.

/// The only place that asks what time it is.
pub mod clock;
/// Moments at which a test has the agent killed.
pub mod crash;
/// Values that must not be printed.
pub mod secret;
