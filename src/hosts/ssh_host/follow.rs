//! Follows a `run` step to its end. The program runs under its runner on the host, independent of
//! the connection. After a loss the same attempt is requested again, by its key, from the output's
//! offset on. A request can start it only if the host has never reported that it began.

use std::time::Duration;

use super::exchange::{self, NoReply};
use super::{SshHosts, unexpected};
use crate::base::clock::{Clock as _, SystemClock};
use crate::domain::host::{DeployTarget, HostError, Output, PROGRAM_PAUSES_S, Reply, Run};
use crate::hosts::ssh::runner::{self, Attempt, AttemptEnd};
use crate::hosts::ssh::script::AnswerItem;

/// How long after the program's own time limit the host is given up.
const GRACE: Duration = Duration::from_secs(60);

/// Performs [`Op::Run`](crate::domain::host::Op::Run).
pub(super) async fn run(
    hosts: &SshHosts,
    host: &str,
    target: &DeployTarget,
    run: &Run,
    output: &dyn Output,
) -> Result<Reply, HostError> {
    let mut seen = AttemptOutput::default();
    let mut overtaken = false;
    let mut lost: Option<String> = None;
    let mut pauses = PROGRAM_PAUSES_S.iter();
    loop {
        let before = seen.offset;
        let error = match once(hosts, host, target, run, &mut seen, output).await {
            Ok(AttemptEnd::Run(end)) => return Ok(Reply::Run(end)),
            Ok(AttemptEnd::Barred) => {
                return Err(HostError::Refused(format!(
                    "attempt {} was stopped before it began",
                    run.key
                )));
            }
            Ok(AttemptEnd::Killed) => return Err(unexpected("killed")),
            Err(NoReply::Overtaken(seq)) if !overtaken => {
                hosts.counter(host).see(seq, target.fence);
                overtaken = true;
                continue;
            }
            Err(error) => HostError::from(error),
        };
        match error {
            HostError::Lost(message) => lost = Some(message),
            HostError::NotReached(message) if lost.is_some() => lost = Some(message),
            error => return Err(error),
        }
        if seen.offset > before {
            // It was reachable since the last loss.
            pauses = PROGRAM_PAUSES_S.iter();
        }
        let Some(pause) = pauses.next() else {
            return Err(HostError::Lost(lost.unwrap_or_default()));
        };
        tracing::info!(key = run.key, lost, "connection lost while a program runs");
        let rest: u64 = pauses.clone().sum::<u64>() + pause;
        let reason = format!(
            "connection lost ({}); the program continues there",
            lost.as_deref().unwrap_or_default()
        );
        output.unreachable(&reason, SystemClock.now() + Duration::from_secs(rest));
        seen.away = true;
        tokio::time::sleep(Duration::from_secs(*pause)).await;
    }
}

/// What is known of an attempt so far.
#[derive(Default)]
struct AttemptOutput {
    /// The end offset of its output.
    offset: u64,
    /// The host reported that it began.
    begun: bool,
    /// Its host was reported as unreachable.
    away: bool,
}

async fn once(
    hosts: &SshHosts,
    host: &str,
    target: &DeployTarget,
    run: &Run,
    seen: &mut AttemptOutput,
    output: &dyn Output,
) -> Result<AttemptEnd, NoReply> {
    let script = match seen.begun {
        true => runner::follow(&target.deploy_to, &run.key, seen.offset)?,
        false => runner::run(
            target,
            hosts.counter(host).next(target.fence),
            run,
            seen.offset,
        )?,
    };
    let shell = hosts.shell(host).await?;
    let mut attempt = Attempt::from_offset(seen.offset);
    let mut receive_one = |item| {
        if std::mem::take(&mut seen.away) {
            output.reachable();
        }
        if is_begun(&item) {
            seen.begun = true;
            output.program_began();
        }
        if let Some(end) = receive(&mut attempt, item, target.fence, output)? {
            seen.offset = end;
        }
        Ok(())
    };
    let timeout = run.timeout.saturating_add(GRACE);
    exchange::ask(&shell, &script, timeout, &mut receive_one).await?;
    Ok(end(attempt, output)?)
}

fn is_begun(item: &AnswerItem) -> bool {
    matches!(item, AnswerItem::Line { word, .. } if word == "begun")
}

/// Handles an item of an answer about an attempt; returns the output's new end offset if it grew.
pub(super) fn receive(
    attempt: &mut Attempt,
    item: AnswerItem,
    ours: u64,
    output: &dyn Output,
) -> Result<Option<u64>, HostError> {
    if let AnswerItem::Data { offset, bytes } = &item {
        let end = attempt.reach(*offset, bytes.len())?;
        output.write_at(*offset, bytes);
        return Ok(Some(end));
    }
    attempt.receive(item, ours).map(|()| None)
}

/// Returns the end that a complete answer names; its notes go to the log.
pub(super) fn end(attempt: Attempt, output: &dyn Output) -> Result<AttemptEnd, HostError> {
    let (end, notes) = attempt.into_end();
    for note in notes {
        output.line(&note);
    }
    end.ok_or_else(|| unexpected("nothing"))
}
