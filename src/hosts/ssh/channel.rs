//! One channel of a link while it is in use: sends bytes from a source as the window allows, while
//! received data waits in the inbox. A channel that is dropped before its end is abandoned: its
//! link is retired, because the library cannot close a channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use thrussh::client::Channel;
use thrussh::{ChannelId, ChannelMsg};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Mutex;
use tokio::task::coop::unconstrained;

use super::inbox::{ChannelEvent, Inbox, PACKET};
use super::link::Link;

/// How long the output of an ended command may be silent before it counts as complete.
const LINGER: Duration = Duration::from_secs(3);

/// How to detect a dead peer while a command runs.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// After this time without a byte from the host, a keepalive is sent.
    pub interval: Duration,
    /// After this number of silent intervals, the connection counts as lost.
    pub missed: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            missed: 3,
        }
    }
}

/// A channel in use.
pub(super) struct Open {
    link: Arc<Link>,
    inbox: Arc<Inbox>,
    /// Shared between the sender and the keepalive; locked for one packet at a time.
    channel: Mutex<Channel>,
    id: ChannelId,
    finished: AtomicBool,
}

/// The link has ended, so nothing can be sent any more; the inbox notifies the reader.
pub(super) struct LinkEnded;

impl Drop for Open {
    fn drop(&mut self) {
        if self.finished.load(Ordering::SeqCst) {
            self.link.shared.forget(self.id);
        } else {
            // The inbox stays, to discard what still arrives.
            self.inbox.abandon();
            self.link.retire();
        }
    }
}

impl Open {
    pub(super) fn new(link: Arc<Link>, channel: Channel, inbox: Arc<Inbox>) -> Self {
        Self {
            link,
            inbox,
            id: channel.id(),
            channel: Mutex::new(channel),
            finished: false.into(),
        }
    }

    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Requests the server to run `command`. The result arrives in the inbox.
    pub(super) async fn start(&self, command: &str) -> Result<(), LinkEnded> {
        let mut channel = self.channel.lock().await;
        channel.exec(true, command).await.map_err(|_| LinkEnded)
    }

    /// Like [`next`](Self::next), for a command that may have ended. Leftover processes may keep
    /// its output open: after a silent interval the output counts as complete.
    pub(super) async fn next_of(&self, ended: bool) -> ChannelEvent {
        if !ended {
            return self.next().await;
        }
        let last = tokio::time::timeout(LINGER, self.next()).await;
        last.unwrap_or(ChannelEvent::Closed)
    }

    /// Returns the next event of the channel.
    pub(super) async fn next(&self) -> ChannelEvent {
        let event = self.inbox.next().await;
        if let ChannelEvent::Closed | ChannelEvent::Lost = event {
            self.finished.store(true, Ordering::SeqCst);
        }
        event
    }

    /// Sends `source` until its end, then EOF.
    pub(super) async fn send_all<S: AsyncRead + Unpin>(
        &self,
        source: S,
        on_sent: impl FnMut(u64),
    ) -> Result<(), LinkEnded> {
        self.send(source, on_sent).await?;
        self.end_input().await
    }

    /// Sends EOF.
    pub(super) async fn end_input(&self) -> Result<(), LinkEnded> {
        let mut channel = self.channel.lock().await;
        channel.eof().await.map_err(|_| LinkEnded)
    }

    /// Sends `source` until its end, without EOF. Never sends more at once than the window and a
    /// packet allow.
    pub(super) async fn send<S: AsyncRead + Unpin>(
        &self,
        mut source: S,
        mut on_sent: impl FnMut(u64),
    ) -> Result<(), LinkEnded> {
        let mut buffer = vec![0; PACKET as usize];
        loop {
            let read = source.read(&mut buffer).await.unwrap_or(0);
            if read == 0 {
                break;
            }
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let room = self.room().await? as usize;
                let (now, later) = rest.split_at(room.min(rest.len()));
                self.send_packet(now).await?;
                on_sent(now.len() as u64);
                rest = later;
            }
        }
        Ok(())
    }

    async fn send_packet(&self, data: &[u8]) -> Result<(), LinkEnded> {
        let mut channel = self.channel.lock().await;
        // Before sending: an adjustment that arrives meanwhile already includes these bytes.
        self.inbox
            .window
            .sent(u32::try_from(data.len()).unwrap_or(u32::MAX));
        channel.data(data).await.map_err(|_| LinkEnded)
    }

    /// Waits until something may be sent; returns how much.
    async fn room(&self) -> Result<u32, LinkEnded> {
        loop {
            {
                let mut channel = self.channel.lock().await;
                // Ignore the cooperative budget: no wakeup follows for an available message that
                // was not taken, and if hundreds of hosts share a task, little budget is left.
                while let Some(Some(message)) = unconstrained(channel.wait()).now_or_never() {
                    if let ChannelMsg::WindowAdjusted { new_size } = message {
                        self.inbox.window.taken(new_size);
                    }
                }
                let counted = u32::try_from(channel.writable_packet_size()).unwrap_or(PACKET);
                let credit = self.inbox.window.credit().unwrap_or(counted);
                let room = credit.min(counted).min(PACKET);
                if room > 0 {
                    return Ok(room);
                }
            }
            if self.link.shared.ended() || !self.inbox.is_open() {
                return Err(LinkEnded);
            }
            self.inbox.window.changed.notified().await;
        }
    }

    /// Monitors the peer: sends a keepalive whenever nothing was received for an interval, and ends
    /// the link after several silent intervals. Never returns.
    pub(super) async fn keep_alive(&self, keepalive: Keepalive) -> std::convert::Infallible {
        let limit = keepalive.interval * keepalive.missed.max(1);
        loop {
            tokio::time::sleep(keepalive.interval).await;
            let silent = self.link.shared.pulse.silent_for();
            if silent >= limit {
                self.link
                    .kill(&format!("nothing was heard from it for {silent:.0?}"));
            } else if silent >= keepalive.interval {
                self.probe();
            }
        }
    }

    /// Cancels a forwarding that does not exist: the library's only message that a server must
    /// answer and that has no effect. A packet that is being sent serves as well.
    pub(super) fn probe(&self) {
        if let Ok(mut channel) = self.channel.try_lock() {
            let request = channel.cancel_tcpip_forward(true, "keepalive", 0);
            // As above: a probe that was not sent would count as unanswered.
            let _ = unconstrained(request).now_or_never();
        }
    }
}
