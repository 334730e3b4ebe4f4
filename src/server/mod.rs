//! Pages for people, the JSON API, the event stream.
//!
//! [`Web::serve`] answers HTTP on a TCP socket, where a cookie or a token identifies the person, and
//! on a Unix socket, where the kernel does; the same addresses serve both. It reads what is stored
//! and appends what people ask ([`request`](crate::engine::request)): it never performs anything,
//! never starts a program and never touches git or a host. The agent calls it, once.
//!
//! A request goes through `serve` (connections, limits), [`route`] (which address means what),
//! `who` (whose it is), and one of `api`, `pages`, `stream`, `output`.

mod actions;
mod answer;
mod api;
mod assets;
mod call;
mod changes;
mod codo;
mod cursor;
mod door;
mod fault;
mod output;
mod pages;
mod places;
mod route;
mod serve;
mod stream;
pub mod view;
mod who;
mod words;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::base::clock::Clock;
use crate::config::Config;
use crate::identity::account::Accounts;
use crate::identity::session::Sessions;
use crate::store::Store;
use crate::store::audit::Ledger;
use crate::store::log::LogBook;

pub(crate) use output::CUT_BEGINS;

/// What the pages and the API are made from.
pub struct Web {
    pub store: Store,
    pub accounts: Arc<Accounts>,
    pub sessions: Arc<Sessions>,
    pub config: Arc<Config>,
    pub logs: LogBook,
    pub clock: Arc<dyn Clock>,
    pub limits: WebLimits,
}

/// What a client may take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebLimits {
    /// Connections at a time, both sockets together; more wait to be accepted.
    pub connections: usize,
    /// Event streams and followed logs at a time.
    pub streams: usize,
    /// And of one account, so that nobody takes all of them.
    pub streams_each: usize,
    /// From the start of a connection, or the end of an answer, to the end of the next request's
    /// head.
    pub head: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// Changes of a task within this time are told together.
    pub together: Duration,
    /// A quiet event stream says that it lives this often.
    pub heartbeat: Duration,
    /// An event stream or a followed log ends after so long; whoever follows comes back, and proves
    /// again who they are.
    pub stream: Duration,
    /// How long requests may take to end once the agent is to end.
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
    /// Turns true when the agent is to end.
    stop: watch::Receiver<bool>,
    ledger: Ledger,
    shut: door::shut::Shut,
    streams: Arc<places::Streams>,
    /// Requests by the hundreds of their status.
    answered: [AtomicU64; 6],
    /// Whose requests over the Unix socket are believed, besides root's.
    uid: u32,
}
