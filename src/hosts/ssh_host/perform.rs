//! Performs each operation by the scripts of `sync`, `publish` and the runner, or by rsync.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tracing::Instrument as _;

use super::exchange;
use super::{SCRIPT_TIMEOUT, SshHosts, follow, transfer, unexpected};
use crate::base::crash;
use crate::domain::host::{HostError, Hosts, Op, Output, Reply, RunEnd};
use crate::hosts::publish;
use crate::hosts::ssh::Unreachable;
use crate::hosts::ssh::runner::{self, Attempt, AttemptEnd};
use crate::hosts::sync;

/// The limit for a script that works on whole trees; a dead connection is noticed far earlier.
const TREE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

impl SshHosts {
    async fn dispatch(&self, host: &str, op: &Op, output: &dyn Output) -> Result<Reply, HostError> {
        match op {
            Op::Prepare {
                target,
                release,
                base,
                removed,
                inodes,
                shared,
                existing,
            } => {
                let base = base.as_ref().map(|base| (base, *inodes));
                let script =
                    |seq| sync::prepare(target, seq, release, base, removed, shared, *existing);
                let lines = self.claimed(host, target, TREE_TIMEOUT, &script).await?;
                sync::read_prepared(&lines)
            }
            Op::Transfer {
                target,
                from,
                set,
                inodes,
            } => transfer::transfer(self, host, target, from, (set, *inodes)).await,
            Op::Seal {
                target,
                release,
                owner,
            } => {
                let script = |seq| sync::seal(target, seq, release, owner.as_deref());
                let lines = self.claimed(host, target, TREE_TIMEOUT, &script).await?;
                sync::read_sealed(&lines)
            }
            Op::Inspect { deploy_to } => self.inspect(host, deploy_to).await.map(Reply::Inspected),
            Op::Publish {
                target,
                release,
                over,
                key,
                existing,
            } => {
                let script = |seq| publish::publish(target, seq, release, over, key, *existing);
                let lines = self.claimed(host, target, SCRIPT_TIMEOUT, &script).await?;
                publish::read_published(&lines)
            }
            Op::Run { target, run } => follow::run(self, host, target, run, output).await,
            Op::RunResult { deploy_to, key } => {
                let script = runner::result(deploy_to, key, 0)?;
                match self.attempt(host, &script, SCRIPT_TIMEOUT, output).await? {
                    AttemptEnd::Run(end) => Ok(Reply::Run(end)),
                    // The caller learns that it does not run; the attempt can never begin.
                    AttemptEnd::Barred => Ok(Reply::Run(RunEnd::NotBegun)),
                    AttemptEnd::Killed => Err(unexpected("killed")),
                }
            }
            Op::Kill { deploy_to, key } => {
                let script = runner::kill(deploy_to, key)?;
                match self.attempt(host, &script, SCRIPT_TIMEOUT, output).await? {
                    AttemptEnd::Killed => Ok(Reply::Killed),
                    AttemptEnd::Run(_) | AttemptEnd::Barred => {
                        Err(unexpected("the end of an attempt"))
                    }
                }
            }
            Op::Prune {
                target,
                keep,
                protect,
                failed,
            } => {
                let script = |seq| publish::prune(target, seq, *keep, protect, failed);
                let lines = self.claimed(host, target, TREE_TIMEOUT, &script).await?;
                publish::read_pruned(&lines, &target.deploy_to)
            }
        }
    }

    /// Performs an operation, and reports meanwhile if the host refuses connections.
    async fn watched(&self, host: &str, op: &Op, output: &dyn Output) -> Result<Reply, HostError> {
        let reply = self.dispatch(host, op, output);
        let Some(known) = self.hosts.get(host) else {
            return reply.await;
        };
        let mut changes = known.presence.changes();
        let mut reply = std::pin::pin!(reply);
        loop {
            tokio::select! {
                biased;
                reply = &mut reply => return reply,
                Ok(()) = changes.changed() => {
                    let away = changes.borrow_and_update().clone();
                    match away {
                        Some(Unreachable { reason, until }) => output.unreachable(&reason, until),
                        None => output.reachable(),
                    }
                }
            }
        }
    }

    /// Performs a script about an attempt, and passes on its output.
    async fn attempt(
        &self,
        host: &str,
        script: &[u8],
        timeout: Duration,
        output: &dyn Output,
    ) -> Result<AttemptEnd, HostError> {
        let shell = self.shell(host).await?;
        let mut attempt = Attempt::default();
        let mut receive = |item| follow::receive(&mut attempt, item, 0, output).map(drop);
        exchange::ask(&shell, script, timeout, &mut receive).await?;
        follow::end(attempt, output)
    }
}

/// Whether a new login may change this reply: of a refusal, a lost answer, and a program that failed.
fn may_need_another_login(reply: &Result<Reply, HostError>) -> bool {
    match reply {
        Err(HostError::Refused(_) | HostError::Lost(_)) => true,
        Ok(Reply::Run(RunEnd::Ended { code, .. })) => *code != 0,
        _ => false,
    }
}

impl Hosts for SshHosts {
    fn perform<'a>(
        &'a self,
        host: &'a str,
        op: &'a Op,
        output: &'a dyn Output,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        let span = tracing::info_span!("host", host, op = op.label());
        async move {
            crash::before(op.label());
            let reply = self.watched(host, op, output).await;
            if may_need_another_login(&reply) {
                self.discard_after_task(host).await;
            }
            crash::after(op.label());
            reply
        }
        .instrument(span)
        .boxed()
    }
}
