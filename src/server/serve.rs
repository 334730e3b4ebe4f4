//! Accepts, limits and closes connections. `route` handles their requests.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::call::Peer;
use super::stream_slots::Streams;
use super::{Site, Web, route};
use crate::store::audit::Ledger;

/// The longest request head, in bytes. Our cookies and URLs are far shorter.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// Unacknowledged data closes a connection after this time, so that a vanished reader frees its
/// slot.
const UNREAD_MAX: Duration = Duration::from_secs(60);
/// Delay after an error of `accept` (no free descriptor), so that connections can end.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

impl Web {
    /// Serves requests until `shutdown`; then stops accepting, ends event streams, lets requests
    /// finish, and returns.
    pub async fn serve(
        self,
        tcp: TcpListener,
        unix: Option<UnixListener>,
        shutdown: impl Future<Output = ()>,
    ) {
        let limits = self.limits;
        let (stopping, stop) = watch::channel(false);
        let site = Arc::new(Site {
            started: self.clock.now(),
            ledger: Ledger::new(self.store.kv()),
            lockouts: super::login_audit::lockouts::LockoutEnds::default(),
            web: self,
            stop,
            streams: Arc::new(Streams::new(limits.streams, limits.streams_each)),
            board: super::board_cache::BoardCache::default(),
            answered: [const { AtomicU64::new(0) }; 6],
            uid: rustix::process::getuid().as_raw(),
        });
        let permits = Arc::new(Semaphore::new(limits.connections));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&tcp, unix.as_ref(), &permits) => accepted,
                // Removes finished connections.
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok(Accepted { permit, socket }) => {
                    let watcher = graceful.watcher();
                    let site = Arc::clone(&site);
                    connections.spawn(async move {
                        match socket {
                            ServerSocket::Network(socket, peer) => {
                                serve_one(&site, socket, peer, watcher).await;
                            }
                            ServerSocket::Local(socket, peer) => {
                                serve_one(&site, socket, peer, watcher).await;
                            }
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        drop((tcp, unix));
        stopping.send_replace(true);
        if tokio::time::timeout(limits.grace, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(after = ?limits.grace, "connections were cut: their requests took too long");
        }
    }
}

struct Accepted {
    permit: OwnedSemaphorePermit,
    socket: ServerSocket,
}

enum ServerSocket {
    Network(TcpStream, Peer),
    Local(tokio::net::UnixStream, Peer),
}

/// Accepts the next connection, once a slot is free.
async fn accept(
    tcp: &TcpListener,
    unix: Option<&UnixListener>,
    permits: &Arc<Semaphore>,
) -> std::io::Result<Accepted> {
    // The semaphore is never closed.
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let local = async {
        match unix {
            Some(unix) => unix.accept().await,
            None => std::future::pending().await,
        }
    };
    let socket = tokio::select! {
        accepted = tcp.accept() => {
            let (socket, address) = accepted?;
            prepare(&socket);
            ServerSocket::Network(socket, Peer::Network(address.ip()))
        }
        accepted = local => {
            let (socket, _) = accepted?;
            let uid = socket.peer_cred()?.uid();
            ServerSocket::Local(socket, Peer::Local { uid })
        }
    };
    Ok(Accepted { permit, socket })
}

fn prepare(socket: &TcpStream) {
    let unread = u32::try_from(UNREAD_MAX.as_millis()).unwrap_or(u32::MAX);
    let set = socket
        .set_nodelay(true)
        .and_then(|()| Ok(rustix::net::sockopt::set_tcp_user_timeout(socket, unread)?));
    if let Err(error) = set {
        // The connection works without it.
        tracing::debug!(%error, "an option of a connection could not be set");
    }
}

async fn serve_one(
    site: &Arc<Site>,
    socket: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: Peer,
    watcher: Watcher,
) {
    let routes = TowerToHyperService::new(warp::service(route::routes(Arc::clone(site))));
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let answer = hyper::service::Service::call(&routes, request);
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(site.web.limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(socket), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, ?peer, "a connection ended");
    }
}
