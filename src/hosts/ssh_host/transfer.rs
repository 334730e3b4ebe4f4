//! Performs one transfer by rsync. Repeating it is safe: received files stay, partial ones are in a
//! directory of their own, and nothing of it is a release before the seal.

use std::path::Path;
use std::time::Duration;

use super::SshHosts;
use super::exchange::BEGIN_TIMEOUT;
use crate::domain::host::{self, DeployTarget, HostError, Inodes, Reply, TransferSet};
use crate::hosts::ssh::{RsyncCommand, RsyncEnd, RsyncExit, Stream};
use crate::hosts::sync::rsync::{self, TransferEnd};

/// Longer than rsync's own limit, so that rsync can report the problem itself.
const STALL_TIMEOUT: Duration = Duration::from_secs(180);

/// The output of `--stats` is far smaller.
const STDOUT_BYTES_MAX: usize = 64 * 1024;

/// Performs [`Op::Transfer`](crate::domain::host::Op::Transfer).
pub(super) async fn transfer(
    hosts: &SshHosts,
    host: &str,
    target: &DeployTarget,
    from: &Path,
    (set, inodes): (&TransferSet, Inodes),
) -> Result<Reply, HostError> {
    let command = |set| -> Result<RsyncCommand, HostError> {
        let transfer = rsync::transfer(target, from, set, inodes)?;
        Ok(RsyncCommand {
            arguments: transfer.arguments,
            stdin: transfer.stdin,
            directory: from.to_owned(),
            login_timeout: BEGIN_TIMEOUT,
            stall_timeout: STALL_TIMEOUT,
        })
    };
    let mut sent = once(hosts, host, &command(set)?).await;
    if let Ok((TransferEnd::Unlinkable(message), _)) = &sent {
        tracing::info!(message, "sending what the live release cannot lend");
        sent = once(hosts, host, &command(&TransferSet::Whole)?).await;
    }
    let error = match sent {
        Ok((TransferEnd::Complete, reply)) => return Ok(reply),
        Ok((TransferEnd::Failed(message), _)) => HostError::Refused(message),
        Ok((TransferEnd::Unlinkable(message) | TransferEnd::Again(message), _)) => {
            HostError::Lost(message)
        }
        Err(error @ HostError::Lost(_)) => error,
        Err(error) => return Err(error),
    };
    // A lost fence interrupts a transfer, too.
    Err(fenced(hosts, host, target).await.unwrap_or(error))
}

async fn once(
    hosts: &SshHosts,
    host: &str,
    command: &RsyncCommand,
) -> Result<(TransferEnd, Reply), HostError> {
    let connection = hosts.connection(host).await?;
    let mut stdout = Vec::new();
    let mut on_output = |stream, bytes: &[u8]| {
        if stream == Stream::Stdout {
            let room = STDOUT_BYTES_MAX
                .saturating_sub(stdout.len())
                .min(bytes.len());
            stdout.extend_from_slice(&bytes[..room]);
        }
    };
    let exit = connection
        .rsync(&hosts.transport, command, &mut on_output)
        .await
        .map_err(HostError::from)?;
    let RsyncExit { end, stderr, .. } = exit;
    let code = match end {
        RsyncEnd::Code(code) => Some(code),
        RsyncEnd::Signal(_) => None,
    };
    let end = rsync::judge(code, stderr.join("\n").as_bytes());
    Ok((end, rsync::read_stats(&stdout)))
}

/// Whether it failed because another agent has taken the fence.
async fn fenced(hosts: &SshHosts, name: &str, target: &DeployTarget) -> Option<HostError> {
    let held = hosts.inspect(name, &target.deploy_to).await.ok()?.fence;
    (held > target.fence).then(|| host::fenced(target.fence, held))
}
