//! tagship: push a tag, ship it.
//!
//! The modules stand in the order in which a tag meets them. `docs/ARCHITECTURE.md` walks one tag
//! through all of them; `tests/architecture.rs` holds who may use whom.

/// Which ref of which repository becomes which task (pure; shared with the hook).
pub use tagship_hook::rule;
/// How the hook hands a ref over to the agent (shared with the hook).
pub use tagship_hook::spool;

/// People, roles and tokens.
pub mod account;
/// Everything put together and run.
pub mod agent;
/// Who may approve what, how many must, and until when (pure).
pub mod approval;
/// Who did what, each entry bound to the one before.
pub mod audit;
/// Everything durable as one file, and a store made of it again.
pub mod backup;
/// Would a release work? Hosts, repositories, hook and spool, looked at as the agent would.
pub mod check;
/// An exact commit becomes a tree and a manifest.
pub mod checkout;
/// The only place that asks what time it is.
pub mod clock;
/// The command line.
pub mod command;
/// `config.toml`: every key, its default, and what is wrong with it.
pub mod config;
/// Moments at which a test has the agent killed.
pub mod crash;
/// A TOML text becomes a value, or complaints that name file and line (pure).
pub mod document;
/// Claim, next action, durable intent, effect, result.
pub mod executor;
/// What the agent asks of a host, and what the host answers (pure).
pub mod host;
/// Puts the hook in place beside a git server, and takes it out again.
pub mod install;
/// Spool records become proposed tasks.
pub mod intake;
/// Does the ref stand on the pushed object? Fetch it, pin it, compare it with what is live.
pub mod landing;
/// What is logged, and the output of steps as files.
pub mod log;
/// What is asked of a host is performed over its connection.
pub mod perform;
/// A template, parameters, hosts and a commit, worked out and frozen (pure).
pub mod plan;
/// A complete release becomes the live one, by one rename; also the way back.
pub mod publish;
/// What a push means by the rules of today, and whether it is decided anew.
pub mod push;
/// Tags that no hook told of are found and proposed.
pub mod reconcile;
/// Authenticated SSH connections, the channels on them, and the runner on the host.
pub mod remote;
/// What people ask of a task, held against their rights.
pub mod request;
/// Roles, scopes, grants, and what each ability takes (pure).
pub mod right;
/// Values that must not be printed.
pub mod secret;
/// Who is on the other end of a browser or an API client.
pub mod session;
/// The events of every task and the indexes to find them.
pub mod store;
/// What people ask to be run by hand, held against configuration, templates and rights.
pub mod submit;
/// A release is brought to a host, complete, beside the live one.
pub mod sync;
/// The life of a task: state, event, transition, next actions (pure).
pub mod task;
/// Task templates: ordered stages of steps (pure).
pub mod template;
/// Pages for people, the JSON API, the event stream.
pub mod web;
