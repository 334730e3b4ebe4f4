//! One TCP connection to an SSH server, authenticated, with its channels. It ends with its last
//! reference; once retired it gets no further channel. Made by `dial`, used by `channel`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use thrussh::client::{Channel, Handle, Handler, Session};
use thrussh::{ChannelId, ChannelOpenFailure, Sig};
use thrussh_keys::PublicKeyBase64;
use thrussh_keys::key::{KeyPair, PublicKey};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::inbox::{Exit, Inbox, Parked, Stream};
use super::known_hosts::{HostKey, HostKeyTrust, HostName, KnownHosts};
use crate::base::mutex::lock;

/// The shared state of a link.
pub(super) struct LinkState {
    inboxes: Mutex<HashMap<ChannelId, Arc<Inbox>>>,
    refusal: Mutex<Option<String>>,
    shown: Mutex<Option<(HostKey, HostKeyTrust)>>,
    reason: Mutex<Option<LinkEnd>>,
    ended: AtomicBool,
    pub(super) pulse: Arc<Liveness>,
}

impl LinkState {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            inboxes: Mutex::default(),
            refusal: Mutex::default(),
            shown: Mutex::default(),
            reason: Mutex::default(),
            ended: AtomicBool::new(false),
            pulse: Arc::new(Liveness::new()),
        })
    }

    /// Returns the inbox of a channel, made at first use: data may arrive before the opener is
    /// notified that the channel is open.
    pub(super) fn inbox(&self, id: ChannelId) -> Arc<Inbox> {
        let mut inboxes = lock(&self.inboxes);
        let inbox = inboxes.entry(id).or_default();
        if self.ended() {
            inbox.lose();
        }
        Arc::clone(inbox)
    }

    /// Removes a channel that has ended and was read to its end.
    pub(super) fn forget(&self, id: ChannelId) {
        lock(&self.inboxes).remove(&id);
    }

    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Returns the key that the server has shown, and what `known_hosts` says about it.
    pub(super) fn shown(&self) -> Option<(HostKey, HostKeyTrust)> {
        lock(&self.shown).clone()
    }

    /// Marks every channel as lost; keeps the first reason.
    fn end(&self, reason: Option<LinkEnd>) {
        if let Some(reason) = reason {
            lock(&self.reason).get_or_insert(reason);
        }
        self.ended.store(true, Ordering::SeqCst);
        for inbox in lock(&self.inboxes).values() {
            inbox.lose();
        }
    }
}

/// Why a link has ended.
#[derive(Clone, Debug)]
pub(super) enum LinkEnd {
    /// As text.
    Closed(String),
    /// The server rekeyed under a cipher that does not support it, see `dial`.
    Rekeyed,
}

impl std::fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(reason) => f.write_str(reason),
            Self::Rekeyed => f.write_str(
                "it asked for new session keys (RekeyLimit in its sshd_config), which this \
                 connection's cipher does not support; the next connection uses another one",
            ),
        }
    }
}

/// When the peer last sent something, and the means to cut the stream.
pub(super) struct Liveness {
    began: Instant,
    received_ms: AtomicU64,
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Liveness {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            received_ms: AtomicU64::new(0),
            cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        }
    }

    fn beat(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.received_ms.store(now, Ordering::Relaxed);
    }

    /// The time since the connection was opened.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn silent_for(&self) -> Duration {
        let received = Duration::from_millis(self.received_ms.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(received)
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
    }

    fn check(&self) -> std::io::Result<()> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// A stream that records when data arrived and that can be cut from outside.
pub(super) struct Metered<S> {
    pub(super) stream: S,
    pub(super) pulse: Arc<Liveness>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.pulse.reader.register(cx.waker());
        self.pulse.check()?;
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.beat();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.pulse.writer.register(cx.waker());
        self.pulse.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Handles every message of the server for the session's task.
pub(super) struct Router {
    shared: Arc<LinkState>,
    host: HostName,
    pins: Arc<KnownHosts>,
}

impl Router {
    pub(super) fn new(shared: Arc<LinkState>, host: HostName, pins: Arc<KnownHosts>) -> Self {
        Self { shared, host, pins }
    }
}

/// The session's task has ended for any reason: nothing more will arrive.
impl Drop for Router {
    fn drop(&mut self) {
        self.shared.end(None);
    }
}

/// Has every default of the library; [`Router`] delegates to it after observing a message.
struct Defaults;

impl Handler for Defaults {
    type Error = thrussh::Error;
}

impl Handler for Router {
    type Error = thrussh::Error;

    async fn check_server_key(self, key: &PublicKey) -> Result<(Self, bool), thrussh::Error> {
        let blob = key.public_key_bytes();
        let key = HostKey {
            key_type: key_type(&blob),
            blob,
        };
        let verdict = self.pins.check(&self.host, &key);
        let trusted = verdict == HostKeyTrust::Trusted;
        *lock(&self.shared.shown) = Some((key, verdict));
        Ok((self, trusted))
    }

    async fn channel_open_failure(
        self,
        channel: ChannelId,
        reason: ChannelOpenFailure,
        description: &str,
        language: &str,
        session: Session,
    ) -> Result<(Self, Session), thrussh::Error> {
        *lock(&self.shared.refusal) = Some(format!("{description} ({reason:?})"));
        let (_, session) = Defaults
            .channel_open_failure(channel, reason, description, language, session)
            .await?;
        Ok((self, session))
    }

    async fn data(
        self,
        channel: ChannelId,
        data: &[u8],
        session: Session,
    ) -> Result<(Self, Session), thrussh::Error> {
        let inbox = self.shared.inbox(channel);
        inbox.deliver(Stream::Stdout, data).await;
        Ok((self, session))
    }

    async fn extended_data(
        self,
        channel: ChannelId,
        _code: u32,
        data: &[u8],
        session: Session,
    ) -> Result<(Self, Session), thrussh::Error> {
        let inbox = self.shared.inbox(channel);
        inbox.deliver(Stream::Stderr, data).await;
        Ok((self, session))
    }

    async fn exit_status(
        self,
        channel: ChannelId,
        exit_status: u32,
        session: Session,
    ) -> Result<(Self, Session), thrussh::Error> {
        self.shared.inbox(channel).exited(Exit::Code(exit_status));
        Ok((self, session))
    }

    async fn exit_signal(
        self,
        channel: ChannelId,
        signal: Sig,
        _core_dumped: bool,
        _message: &str,
        _language: &str,
        session: Session,
    ) -> Result<(Self, Session), thrussh::Error> {
        let name = match signal {
            Sig::Custom(name) => name,
            known => format!("{known:?}"),
        };
        self.shared.inbox(channel).exited(Exit::Signal(name));
        Ok((self, session))
    }

    async fn channel_eof(
        self,
        channel: ChannelId,
        session: Session,
    ) -> Result<(Self, Session), thrussh::Error> {
        self.shared.inbox(channel).output_ended();
        Ok((self, session))
    }

    async fn channel_success(
        self,
        _channel: ChannelId,
        session: Session,
    ) -> Result<(Self, Session), thrussh::Error> {
        Ok((self, session))
    }

    async fn channel_close(
        self,
        channel: ChannelId,
        session: Session,
    ) -> Result<(Self, Session), thrussh::Error> {
        self.shared.inbox(channel).close();
        let (_, session) = Defaults.channel_close(channel, session).await?;
        Ok((self, session))
    }

    async fn window_adjusted(
        self,
        channel: ChannelId,
        left: u32,
        session: Session,
    ) -> Result<(Self, Session), thrussh::Error> {
        let inbox = self.shared.inbox(channel);
        let parked = if session.has_pending_data(channel) {
            Parked::Some
        } else {
            Parked::Nothing
        };
        let amount = inbox.window.adjusted(left, parked);
        let (_, session) = Defaults.window_adjusted(channel, amount, session).await?;
        inbox.window.changed.notify_one();
        Ok((self, session))
    }
}

/// Returns the type, which is at the beginning of the blob (RFC 4253, 6.6).
fn key_type(blob: &[u8]) -> String {
    let length = blob
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize);
    let name = blob.get(4..4 + length).unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// Why a channel could not be opened. In each case nothing was requested of the host.
pub(super) enum ChannelOpenError {
    /// The server refused, after it had opened this number of others on this link.
    Refused { reason: String, opened_before: u32 },
    /// The link is gone.
    Ended,
    /// No answer in time, after this number of others had been opened on this link.
    Silent { opened_before: u32 },
}

/// The target of a channel.
#[derive(Clone, Copy)]
pub(super) enum Destination<'a> {
    Session,
    Tcp { address: &'a str, port: u16 },
}

/// How a link reaches its host.
pub(super) enum Route {
    Direct(SocketAddr),
    /// Over a channel of this link to a jump host. The connection that shares it stays open as long.
    Jump {
        link: Arc<Link>,
        _connection: Box<dyn Send + Sync>,
    },
}

/// One authenticated SSH connection.
pub(super) struct Link {
    handle: tokio::sync::Mutex<Handle<Router>>,
    pub(super) shared: Arc<LinkState>,
    opened: AtomicU32,
    retired: AtomicBool,
    /// The key that the host accepted at the login.
    pub(super) key: Arc<KeyPair>,
    pub(super) route: Route,
    /// How long its login took.
    pub(super) login_time: Duration,
}

impl Drop for Link {
    fn drop(&mut self) {
        // Even with data in the library's buffers: an unreferenced link has no work left.
        self.shared.pulse.cut();
    }
}

impl Link {
    pub(super) fn new(
        handle: Handle<Router>,
        shared: Arc<LinkState>,
        key: Arc<KeyPair>,
        route: Route,
    ) -> Self {
        Self {
            handle: tokio::sync::Mutex::new(handle),
            login_time: shared.pulse.age(),
            shared,
            opened: AtomicU32::new(0),
            retired: AtomicBool::new(false),
            key,
            route,
        }
    }

    pub(super) fn takes_channels(&self) -> bool {
        !self.retired.load(Ordering::SeqCst) && !self.shared.ended()
    }

    /// Allows no further channel; the link ends with its last channel.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    /// Ends the link now: all its channels are lost, for this reason.
    pub(super) fn kill(&self, reason: &str) {
        self.retire();
        self.shared.end(Some(LinkEnd::Closed(reason.to_owned())));
        self.shared.pulse.cut();
    }

    /// Returns why the link has ended, if known.
    pub(super) async fn why_ended(&self) -> LinkEnd {
        let known = lock(&self.shared.reason).clone();
        if let Some(reason) = known {
            return reason;
        }
        let mut handle = self.handle.lock().await;
        // Another caller may have read it meanwhile, and the result can be read only once.
        let known = lock(&self.shared.reason).clone();
        if let Some(reason) = known {
            return reason;
        }
        let reason = match tokio::time::timeout(Duration::from_secs(1), &mut *handle).await {
            // The first signature was right, or the link would not exist.
            Ok(Err(thrussh::Error::WrongServerSig)) => LinkEnd::Rekeyed,
            Ok(Err(error)) => LinkEnd::Closed(error.to_string().to_lowercase()),
            Ok(Ok(())) | Err(_) => LinkEnd::Closed("closed by the other side".to_owned()),
        };
        lock(&self.shared.reason).get_or_insert(reason).clone()
    }

    /// Opens a channel. One at a time: the library reports a refusal without naming the channel.
    pub(super) async fn open(
        &self,
        destination: Destination<'_>,
        patience: Duration,
    ) -> Result<(Channel, Arc<Inbox>), ChannelOpenError> {
        let opening = async {
            let mut handle = self.handle.lock().await;
            lock(&self.shared.refusal).take();
            let opened = match destination {
                Destination::Session => handle.channel_open_session().await,
                Destination::Tcp { address, port } => {
                    handle
                        .channel_open_direct_tcpip(address, port.into(), "127.0.0.1", 0)
                        .await
                }
            };
            let Ok(channel) = opened else {
                let refusal = lock(&self.shared.refusal).take();
                return Err(match refusal {
                    Some(reason) if !self.shared.ended() => ChannelOpenError::Refused {
                        reason,
                        opened_before: self.opened.load(Ordering::SeqCst),
                    },
                    _ => ChannelOpenError::Ended,
                });
            };
            self.opened.fetch_add(1, Ordering::SeqCst);
            let inbox = self.shared.inbox(channel.id());
            Ok((channel, inbox))
        };
        tokio::time::timeout(patience, opening)
            .await
            .unwrap_or_else(|_| {
                let opened_before = self.opened.load(Ordering::SeqCst);
                Err(ChannelOpenError::Silent { opened_before })
            })
    }
}
