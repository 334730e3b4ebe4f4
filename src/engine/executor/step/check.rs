//! `check` steps: query the service until it is healthy or the tries are used up.

use std::time::Duration;

use super::context::{StepContext, StepError, unexpected};
use super::program;
use crate::domain::host::{HostError, Op, Reply, RunEnd};
use crate::domain::task::StepResult;
use crate::domain::template::{self, HealthCheck, Probe, Program};
use crate::engine::executor::effects::AgentProbe;

/// The shortest pause between two queries.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Why a check did not succeed.
enum ProbeFailure {
    /// It may be retried.
    Retryable(String),
    /// A retry would not help, or would do harm.
    Final(StepError),
}

/// Retries the check until it succeeds.
pub(super) async fn check(
    ctx: &StepContext<'_>,
    check: &HealthCheck,
) -> Result<StepResult, StepError> {
    let mut last = String::new();
    for number in 0..=check.retries {
        if number > 0 {
            ctx.wait(check.interval.max(INTERVAL_MIN)).await;
        }
        match probe(ctx, check, number).await {
            Ok(()) => {
                ctx.output.line("the check passed");
                return Ok(StepResult::Done {
                    values: std::collections::BTreeMap::new(),
                });
            }
            Err(ProbeFailure::Retryable(message)) => {
                ctx.output.line(&message);
                last = message;
            }
            Err(ProbeFailure::Final(error)) => return Err(error),
        }
    }
    Err(StepError::Failed(format!(
        "health check failed {} times; last: {last}",
        check.retries + 1
    )))
}

async fn probe(
    ctx: &StepContext<'_>,
    check: &HealthCheck,
    number: u32,
) -> Result<(), ProbeFailure> {
    let values = ctx.values().await;
    let question = match &check.probe {
        Probe::Http { url, status } => AgentProbe::Http {
            url: template::fill(url, &values),
            status: *status,
        },
        Probe::Tcp { address } => AgentProbe::Tcp {
            address: template::fill(address, &values),
        },
        Probe::Command { command, directory } => {
            let program = Program {
                command: command.clone(),
                args: Vec::new(),
                directory: directory.clone(),
                timeout: check.timeout,
                repeat: true,
                outputs: Vec::new(),
                secret_outputs: Vec::new(),
            };
            return probe_on_host(ctx, &program, number).await;
        }
    };
    let answer = ctx.world.probes.check(question, check.timeout).await;
    answer.map_err(ProbeFailure::Retryable)
}

async fn probe_on_host(
    ctx: &StepContext<'_>,
    program: &Program,
    number: u32,
) -> Result<(), ProbeFailure> {
    let work = ctx.work;
    let key = program::key(&work.task, work.at, work.attempt);
    // A check changes nothing, so it is repeated under a new name.
    let nonce = ctx.world.clock.now().as_millisecond();
    let key = program::key_part(&key, &format!("{number}-{nonce}"));
    let limit = program.timeout;
    let run = program::prepare(ctx, program, key.clone());
    let run = run.await;
    let run = run.map_err(|error| ProbeFailure::Retryable(error.into_message()))?;
    let op = Op::Run {
        target: work.target(),
        run,
    };
    let output = ctx.output.as_ref();
    let message = match work
        .hosts
        .perform(&work.plan.host_with_user(work.at), &op, output)
        .await
    {
        Ok(Reply::Run(RunEnd::Ended { code: 0, values })) if values.is_empty() => return Ok(()),
        Ok(Reply::Run(RunEnd::Ended { code: 0, values })) => {
            let names: Vec<&str> = values.keys().map(String::as_str).collect();
            return Err(ProbeFailure::Final(program::undeclared(ctx, &names)));
        }
        // It still runs: a second one would run beside it.
        Ok(Reply::Run(RunEnd::Unended)) => {
            return Err(ProbeFailure::Final(program::unended(limit)));
        }
        Ok(Reply::Run(RunEnd::BadOutput { why })) => why,
        Ok(Reply::Run(RunEnd::Ended { code, .. })) => {
            format!("ended with {code}{}", ctx.last.text())
        }
        Ok(Reply::Run(end)) => format!("{end:?}"),
        Ok(other) => unexpected(&other).into_message(),
        Err(error @ HostError::Lost(_)) => {
            // It may still begin after the check is over: bar it, if the host can be reached.
            let op = Op::Kill {
                deploy_to: super::context::program_directory(&work.task, &work.plan, work.at),
                key,
            };
            let _ = work
                .hosts
                .perform(&work.plan.host_with_user(work.at), &op, output)
                .await;
            error.to_string()
        }
        Err(error) => error.to_string(),
    };
    Err(ProbeFailure::Retryable(message))
}
