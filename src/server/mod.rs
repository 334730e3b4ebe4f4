//! Web pages, the JSON API and event streams.
//!
//! [`Web::serve`] answers HTTP on a TCP socket, where a cookie or a token identifies the user, and
//! on a Unix socket, where the kernel does; both serve the same URLs. It reads the store and
//! appends requests ([`request`](crate::engine::request)). It never executes anything: it starts no
//! program and contacts no git repository or host. The agent calls it, once.
//!
//! A request passes through `serve` (connections, limits), [`route`] (routing), `authentication`,
//! and one of `api`, `pages`, `stream`, `output`.

mod actions;
mod answer;
mod api;
mod assets;
mod authentication;
mod board;
mod board_cache;
mod call;
mod changes;
mod codo;
mod cursor;
mod fault;
mod login_audit;
pub mod openapi;
mod output;
mod pages;
mod route;
mod serve;
mod stream;
mod stream_slots;
mod text;
pub mod view;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::base::clock::Clock;
use crate::config::{Config, TemplateCache};
use crate::identity::account::Accounts;
use crate::identity::session::Sessions;
use crate::store::Store;
use crate::store::audit::Ledger;
use crate::store::log::LogBook;

/// What the pages and the API are built from.
pub struct Web {
    pub store: Store,
    pub accounts: Arc<Accounts>,
    pub sessions: Arc<Sessions>,
    pub config: Arc<Config>,
    pub templates: Arc<TemplateCache>,
    pub logs: LogBook,
    pub clock: Arc<dyn Clock>,
    pub limits: WebLimits,
}

/// Limits on what a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebLimits {
    /// Concurrent connections on both sockets together; more wait to be accepted.
    pub connections: usize,
    /// Concurrent event streams and followed logs.
    pub streams: usize,
    /// The same for one account, so that none takes all of them.
    pub streams_each: usize,
    /// From the start of a connection, or the end of a response, to the end of the next request's
    /// head.
    pub head: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// Changes of a task within this time are sent together.
    pub together: Duration,
    /// How often an idle event stream sends a heartbeat.
    pub heartbeat: Duration,
    /// How long an event stream or a followed log lasts; the client then reconnects and
    /// authenticates again.
    pub stream: Duration,
    /// How long requests may take to finish after shutdown begins.
    pub grace: Duration,
}

impl Default for WebLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            streams: 256,
            streams_each: 64,
            head: Duration::from_secs(15),
            body: Duration::from_secs(15),
            together: Duration::from_millis(200),
            heartbeat: Duration::from_secs(15),
            stream: Duration::from_secs(30 * 60),
            grace: Duration::from_secs(10),
        }
    }
}

/// What every request needs.
struct Site {
    web: Web,
    started: Timestamp,
    /// Becomes true at shutdown.
    stop: watch::Receiver<bool>,
    ledger: Ledger,
    lockouts: login_audit::lockouts::LockoutEnds,
    streams: Arc<stream_slots::Streams>,
    board: board_cache::BoardCache,
    /// Number of requests, by the hundreds digit of the status.
    answered: [AtomicU64; 6],
    /// The user, apart from root, whose requests over the Unix socket are accepted.
    uid: u32,
}
