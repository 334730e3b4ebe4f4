//! tagship: push a tag, ship it.
//!
//! Each room uses only rooms above it. `docs/ARCHITECTURE.md` walks one tag through all of them;
//! `tests/architecture` holds who may use whom.

/// The clock, crash points for tests, and secret values: what every room needs.
pub mod base;

/// Templates, plans, approvals and the life of a task: rules without input or output (pure).
pub mod domain;

/// `config.toml`: every key, its default, and what is wrong with it.
pub mod config;

/// The event log of every task, the indexes on it, the audit trail, step output, backups.
pub mod store;

/// Accounts, tokens, second factors and sessions: who sends a request.
pub mod identity;

/// Mirror of each repository: fetch a tag, compare commits, write an exact commit to disk.
pub mod git;

/// SSH connections, the scripts that run on hosts, transfers and releases.
pub mod hosts;

/// From a pushed tag or a request to a finished task: intake, requests, executor.
pub mod engine;

/// Web pages, JSON API, CODO API and the event stream.
pub mod server;

/// Connects all of the above and runs it: `tagship serve`.
pub mod agent;

/// `tagship check` and `tagship install`: everything works before the first push.
pub mod setup;

/// The command line.
pub mod cli;
