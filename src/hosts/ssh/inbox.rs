//! The received but unread data of a channel, and how much may be sent on it.
//!
//! The SSH library grants the other side a new window as soon as data arrives, so its own queue is
//! unbounded. Here the session's task delivers into a bounded [`Inbox`]. When that is full, it
//! either blocks the whole link (a command's output), or the channel fails (rsync and jump hosts,
//! where blocking would also block the window that the other direction waits for).
//!
//! [`SendWindow`] tracks how much may be sent; see there for why the library's own count is not
//! used.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Notify;

use crate::base::mutex::lock;

/// The largest packet to send, whatever the window.
pub(super) const PACKET: u32 = 32 * 1024;

/// Maximum size of the messages queued for the library's session task, plus one in hand.
const IN_FLIGHT: u32 = 11 * PACKET;

/// A command's output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(u32),
    /// The signal's name without `SIG`.
    Signal(String),
}

impl Exit {
    #[must_use]
    pub fn success(&self) -> bool {
        *self == Self::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(name) => write!(f, "signal {name}"),
        }
    }
}

/// An event of a channel.
#[derive(Debug)]
pub(super) enum ChannelEvent {
    Output(Stream, Vec<u8>),
    Exit(Exit),
    /// The peer sends no more data.
    Eof,
    /// The peer closed the channel: nothing more will arrive.
    Closed,
    /// The connection ended before the channel did.
    Lost,
    /// More arrived than [`InboxBound::Fail`] allows to wait.
    Overflow,
}

/// What happens when more than this number of bytes wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum InboxBound {
    /// The link's task blocks, and with it every channel on that link.
    Hold(usize),
    /// The channel fails.
    Fail(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ChannelPhase {
    Open,
    Closed,
    Lost,
    Overflow,
    /// No reader is left: what arrives is dropped.
    Abandoned,
}

pub(super) struct Inbox {
    state: Mutex<InboxState>,
    arrived: Notify,
    drained: Notify,
    pub(super) window: SendWindow,
}

struct InboxState {
    events: VecDeque<ChannelEvent>,
    bytes: usize,
    bound: InboxBound,
    phase: ChannelPhase,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            state: Mutex::new(InboxState {
                events: VecDeque::new(),
                bytes: 0,
                bound: InboxBound::Hold(4 << 20),
                phase: ChannelPhase::Open,
            }),
            arrived: Notify::new(),
            drained: Notify::new(),
            window: SendWindow::default(),
        }
    }
}

impl Inbox {
    pub(super) fn set_bound(&self, bound: InboxBound) {
        lock(&self.state).bound = bound;
    }

    /// Takes data in; waits for room under [`InboxBound::Hold`]. Called by the link's task only.
    pub(super) async fn deliver(&self, stream: Stream, data: &[u8]) {
        while !self.try_deliver(stream, data) {
            self.drained.notified().await;
        }
        self.arrived.notify_one();
    }

    fn try_deliver(&self, stream: Stream, data: &[u8]) -> bool {
        let mut state = lock(&self.state);
        if state.phase != ChannelPhase::Open {
            return true;
        }
        match state.bound {
            // One packet is always accepted; otherwise a small bound would block forever.
            InboxBound::Hold(limit) if state.bytes >= limit => return false,
            InboxBound::Fail(limit) if state.bytes >= limit => {
                state.phase = ChannelPhase::Overflow;
                return true;
            }
            InboxBound::Hold(_) | InboxBound::Fail(_) => {}
        }
        state.bytes += data.len();
        state
            .events
            .push_back(ChannelEvent::Output(stream, data.to_vec()));
        true
    }

    pub(super) fn exited(&self, exit: Exit) {
        self.note(ChannelEvent::Exit(exit));
    }

    pub(super) fn output_ended(&self) {
        self.note(ChannelEvent::Eof);
    }

    fn note(&self, event: ChannelEvent) {
        let mut state = lock(&self.state);
        if state.phase == ChannelPhase::Open {
            state.events.push_back(event);
        }
        drop(state);
        self.arrived.notify_one();
    }

    pub(super) fn is_open(&self) -> bool {
        lock(&self.state).phase == ChannelPhase::Open
    }

    /// Whether the channel is open and everything received was read.
    pub(super) fn is_quiet(&self) -> bool {
        let state = lock(&self.state);
        state.phase == ChannelPhase::Open && state.events.is_empty()
    }

    pub(super) fn close(&self) {
        self.end(ChannelPhase::Closed);
    }

    pub(super) fn lose(&self) {
        self.end(ChannelPhase::Lost);
    }

    fn end(&self, phase: ChannelPhase) {
        {
            let mut state = lock(&self.state);
            if state.phase == ChannelPhase::Open {
                state.phase = phase;
            }
        }
        self.arrived.notify_one();
        self.drained.notify_one();
        self.window.changed.notify_one();
    }

    /// Drops the reader: frees waiting data and unblocks the link's task.
    pub(super) fn abandon(&self) {
        {
            let mut state = lock(&self.state);
            state.phase = ChannelPhase::Abandoned;
            state.events.clear();
            state.bytes = 0;
        }
        self.drained.notify_one();
    }

    /// Returns the next event, in the order of arrival; the last one is repeated forever. Dropping
    /// the future loses nothing.
    pub(super) async fn next(&self) -> ChannelEvent {
        // A host that sends faster than the reader must not starve the reader's timeout.
        tokio::task::coop::consume_budget().await;
        loop {
            {
                let mut state = lock(&self.state);
                if let Some(event) = state.events.pop_front() {
                    if let ChannelEvent::Output(_, data) = &event {
                        state.bytes -= data.len();
                        drop(state);
                        self.drained.notify_one();
                    }
                    return event;
                }
                match state.phase {
                    ChannelPhase::Open => {}
                    ChannelPhase::Closed => return ChannelEvent::Closed,
                    ChannelPhase::Lost | ChannelPhase::Abandoned => return ChannelEvent::Lost,
                    ChannelPhase::Overflow => return ChannelEvent::Overflow,
                }
            }
            self.arrived.notified().await;
        }
    }
}

/// How much may be sent on a channel.
///
/// The library's `Channel` keeps a count of its own, to which every `WindowAdjusted` message *adds*
/// the whole remaining window: it grows too large and finally overflows, after some 200 MB to an
/// OpenSSH server. So the messages that reach the `Channel` carry an amount chosen here, just
/// enough to keep its count near [`SendWindow::LEVEL`], and the true window is kept in `credit`.
///
/// The true window is known when the peer adjusts it, except for packets still on their way to the
/// library's task. If we sent too much because of that, the library parks the excess and sends it
/// at the next adjustment; its message then carries the exact window, and is used as it is.
#[derive(Default)]
pub(super) struct SendWindow {
    state: Mutex<WindowAccount>,
    pub(super) changed: Notify,
}

#[derive(Default)]
struct WindowAccount {
    credit: Option<u32>,
    /// Our estimate of the `Channel`'s count; an upper bound.
    level: i64,
    messages: VecDeque<InboxMessage>,
}

#[derive(Clone, Copy)]
enum InboxMessage {
    /// Only refills the `Channel`'s count.
    Refund,
    /// Carries the remaining window after parked data was sent.
    Truth,
}

/// Whether the library parks data of the channel for lack of window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Parked {
    Nothing,
    Some,
}

impl SendWindow {
    const LEVEL: i64 = 1 << 30;

    /// The peer has adjusted the window to `left`. Returns the amount to pass on to the `Channel`.
    /// Called by the link's task only, before the message is sent.
    pub(super) fn adjusted(&self, left: u32, parked: Parked) -> u32 {
        let mut account = lock(&self.state);
        let (amount, message) = match parked {
            Parked::Some => (left, InboxMessage::Truth),
            Parked::Nothing => {
                account.credit = Some(usable(left));
                // What was known earlier and not taken yet must not replace it: when the far side has
                // room for all, no further adjustment would come.
                account
                    .messages
                    .iter_mut()
                    .for_each(|message| *message = InboxMessage::Refund);
                let missing = (Self::LEVEL - account.level).max(0);
                (u32::try_from(missing).unwrap_or(0), InboxMessage::Refund)
            }
        };
        account.level += i64::from(amount);
        account.messages.push_back(message);
        amount
    }

    /// Notes that the `Channel` took a message that carried `amount`.
    pub(super) fn taken(&self, amount: u32) {
        let mut account = lock(&self.state);
        if let Some(InboxMessage::Truth) = account.messages.pop_front() {
            account.credit = Some(usable(amount));
        }
    }

    /// Returns how much may be sent now; `None` until the peer has adjusted the window once: until
    /// then the `Channel`'s own count is right.
    pub(super) fn credit(&self) -> Option<u32> {
        lock(&self.state).credit
    }

    /// `bytes` were handed to the library.
    pub(super) fn sent(&self, bytes: u32) {
        let mut account = lock(&self.state);
        account.level -= i64::from(bytes);
        account.credit = account.credit.map(|credit| credit.saturating_sub(bytes));
    }
}

/// Returns the usable part of a window. Excludes from a large window what may still be on its way
/// to the library's task; uses all of a small one, since it would otherwise never grow.
fn usable(left: u32) -> u32 {
    if left >= 2 * IN_FLIGHT {
        left - IN_FLIGHT
    } else {
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn full_inbox_blocks_the_connection_until_read() {
        let inbox = Inbox::default();
        inbox.set_bound(InboxBound::Hold(10));
        inbox.deliver(Stream::Stdout, &[1; 10]).await;
        let mut waiting = Box::pin(inbox.deliver(Stream::Stdout, &[2; 10]));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(matches!(inbox.next().await, ChannelEvent::Output(Stream::Stdout, d) if d[0] == 1));
        waiting.await;
        assert!(matches!(inbox.next().await, ChannelEvent::Output(Stream::Stdout, d) if d[0] == 2));
    }

    #[tokio::test]
    async fn abandoned_inbox_unblocks_the_connection() {
        let inbox = Inbox::default();
        inbox.set_bound(InboxBound::Hold(1));
        inbox.deliver(Stream::Stdout, &[1]).await;
        let mut waiting = Box::pin(inbox.deliver(Stream::Stdout, &[2]));
        assert!(futures::poll!(&mut waiting).is_pending());
        inbox.abandon();
        waiting.await;
    }

    #[tokio::test]
    async fn bounded_inbox_delivers_its_content_then_overflows() {
        let inbox = Inbox::default();
        inbox.set_bound(InboxBound::Fail(2));
        for byte in 0..4 {
            inbox.deliver(Stream::Stdout, &[byte]).await;
        }
        assert!(matches!(inbox.next().await, ChannelEvent::Output(_, d) if d == [0]));
        assert!(matches!(inbox.next().await, ChannelEvent::Output(_, d) if d == [1]));
        assert!(matches!(inbox.next().await, ChannelEvent::Overflow));
    }

    #[tokio::test]
    async fn data_before_the_end_of_stream_is_read_first() {
        let inbox = Inbox::default();
        inbox.deliver(Stream::Stderr, b"x").await;
        inbox.exited(Exit::Code(3));
        inbox.close();
        inbox.lose();
        assert!(matches!(
            inbox.next().await,
            ChannelEvent::Output(Stream::Stderr, _)
        ));
        assert!(matches!(
            inbox.next().await,
            ChannelEvent::Exit(Exit::Code(3))
        ));
        assert!(matches!(inbox.next().await, ChannelEvent::Closed));
        assert!(matches!(inbox.next().await, ChannelEvent::Closed));
    }

    #[test]
    fn channel_window_stays_bounded_while_sending() {
        let window = SendWindow::default();
        let mut channel: u32 = 0;
        for _ in 0..200_000 {
            let amount = window.adjusted(2 << 20, Parked::Nothing);
            channel = channel.checked_add(amount).expect("no overflow");
            window.taken(amount);
            assert!(window.credit().is_some_and(|credit| credit > 0));
            window.sent(98_304);
            channel = channel.checked_sub(98_304).expect("no underflow");
        }
        assert!(i64::from(channel) <= SendWindow::LEVEL);
    }

    #[test]
    fn parked_data_makes_the_library_window_authoritative() {
        let window = SendWindow::default();
        window.adjusted(100_000, Parked::Nothing);
        window.taken(1 << 30);
        window.sent(100_000);
        assert_eq!(window.credit(), Some(0));
        assert_eq!(window.adjusted(90_000, Parked::Some), 90_000);
        assert_eq!(window.credit(), Some(0));
        window.taken(40_000);
        assert_eq!(window.credit(), Some(40_000));
    }

    #[test]
    fn older_window_never_replaces_a_newer_one() {
        let window = SendWindow::default();
        window.adjusted(100_000, Parked::Nothing);
        window.taken(1 << 30);
        window.sent(100_000);
        assert_eq!(window.adjusted(90_000, Parked::Some), 90_000);
        let refund = window.adjusted(2 << 20, Parked::Nothing);
        window.taken(40_000);
        window.taken(refund);
        assert_eq!(window.credit(), Some(usable(2 << 20)));
    }
}
