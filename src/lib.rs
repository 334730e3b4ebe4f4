//! tagship: push a tag, ship it.
//!
//! Each module uses only modules above it. `docs/ARCHITECTURE.md` follows one tag through all of
//! them; `tests/tidy` enforces the dependencies.

// Clock, crash points for tests, durable files, mutexes, and secret values: used by every module.
pub mod base;

// Templates, plans, approvals and the task life cycle: rules without input or output (pure).
pub mod domain;

// `config.toml`: its keys, their defaults, and validation.
pub mod config;

// Event logs of all tasks, their indexes, the audit trail, step output, and backups.
pub mod store;

// Accounts, tokens, second factors and sessions: authenticate each request.
pub mod identity;

// Mirror of each repository: fetch a tag, compare commits, write an exact commit to disk.
pub mod git;

// SSH connections, the scripts that run on hosts, transfers and releases.
pub mod hosts;

// From a pushed tag or a request to a finished task: intake, requests, executor.
pub mod engine;

// Types of the JSON API, for server and command line, with the sentences that both show (pure).
pub mod api;

// Web pages, JSON API, CODO API and the event stream.
pub mod server;

// Connects all of the above and runs it: `tagship serve`.
pub mod agent;

// `tagship check` and `tagship install`: verify the setup before the first push.
pub mod setup;

// The command line.
pub mod cli;
