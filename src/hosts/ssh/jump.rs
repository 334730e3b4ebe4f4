//! A channel of a jump host as a byte stream, for the SSH handshake with the host behind it. Used
//! by `dial` only.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};

use super::channel::{Keepalive, Open};
use super::error::RemoteError;
use super::inbox::{ChannelEvent, InboxBound};
use super::link::Link;

/// The buffer between the bridge and the inner connection.
const PIPE: usize = 256 * 1024;

/// The limit of data for the inner connection: above the windows of all its channels.
const WAITING: usize = 64 << 20;

/// How long the jump host may take to close the channel once our side has ended.
const FAREWELL: Duration = Duration::from_secs(10);

/// An open connection to a host through which others are reached.
pub(super) trait JumpHost: Send + Sync {
    /// Opens a channel on which the host forwards bytes to another one.
    fn forward<'a>(
        &'a self,
        address: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Open, RemoteError>>;

    /// Allows no further channel on the current link if it may not be reused: the next channel
    /// gets a new link.
    fn leave_outdated_link(&self) -> BoxFuture<'_, ()>;

    fn keepalive(&self) -> Keepalive;
}

/// A stream to `address:port`, as seen from the jump host, and the link that carries it. The stream
/// ends with that link, or when it is dropped.
pub(super) async fn stream(
    jump: &dyn JumpHost,
    address: &str,
    port: u16,
) -> Result<(DuplexStream, Arc<Link>), RemoteError> {
    let open = jump.forward(address, port).await?;
    let link = Arc::clone(open.link());
    open.inbox().set_bound(InboxBound::Fail(WAITING));
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let keepalive = jump.keepalive();
    tokio::spawn(async move {
        let (from_inner, to_inner) = tokio::io::split(theirs);
        let passing_on = pass_on(&open, to_inner);
        tokio::pin!(passing_on);
        tokio::select! {
            _ = open.send_all(from_inner, |_| ()) => {
                let _ = tokio::time::timeout(FAREWELL, passing_on).await;
            }
            () = &mut passing_on => {}
            never = open.keep_alive(keepalive) => match never {},
        }
    });
    Ok((ours, link))
}

/// Passes data on until the channel ends. Drops what the inner connection no longer reads.
async fn pass_on(open: &Open, mut to_inner: impl AsyncWrite + Unpin) {
    loop {
        match open.next().await {
            ChannelEvent::Output(_, bytes) => {
                let _ = to_inner.write_all(&bytes).await;
            }
            ChannelEvent::Eof => {
                let _ = to_inner.shutdown().await;
            }
            ChannelEvent::Exit(_) => {}
            ChannelEvent::Closed | ChannelEvent::Lost | ChannelEvent::Overflow => break,
        }
    }
    let _ = to_inner.shutdown().await;
}
