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
enum Unwell {
    /// It may be retried.
    Now(String),
    /// A retry would not help, or would do harm.
    Never(StepError),
}

/// Retries the check until it succeeds.
pub(super) async fn check(
    scene: &StepContext<'_>,
    check: &HealthCheck,
) -> Result<StepResult, StepError> {
    let mut last = String::new();
    for number in 0..=check.retries {
        if number > 0 {
            scene.wait(check.interval.max(INTERVAL_MIN)).await;
        }
        match ask(scene, check, number).await {
            Ok(()) => {
                scene.output.line("the check passed");
                return Ok(StepResult::Done {
                    values: std::collections::BTreeMap::new(),
                });
            }
            Err(Unwell::Now(message)) => {
                scene.output.line(&message);
                last = message;
            }
            Err(Unwell::Never(trouble)) => return Err(trouble),
        }
    }
    Err(StepError::Failed(format!(
        "health check failed {} times; last: {last}",
        check.retries + 1
    )))
}

async fn ask(scene: &StepContext<'_>, check: &HealthCheck, number: u32) -> Result<(), Unwell> {
    let values = scene.values().await;
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
            return ask_on_host(scene, &program, number).await;
        }
    };
    let answer = scene.world.probes.ask(question, check.timeout).await;
    answer.map_err(Unwell::Now)
}

async fn ask_on_host(
    scene: &StepContext<'_>,
    program: &Program,
    number: u32,
) -> Result<(), Unwell> {
    let work = scene.work;
    let key = program::key(&work.task, work.at, work.attempt);
    // A check changes nothing, so it is repeated under a new name.
    let nonce = scene.world.clock.now().as_millisecond();
    let key = program::part(&key, &format!("{number}-{nonce}"));
    let limit = program.timeout;
    let run = program::prepare(scene, program, key.clone());
    let run = run.await.map_err(|trouble| match trouble {
        StepError::Failed(message) | StepError::Unknown(message) => Unwell::Now(message),
    })?;
    let op = Op::Run {
        place: work.place(),
        run,
    };
    let output = scene.output.as_ref();
    let message = match work
        .hosts
        .perform(&work.plan.lane(work.at), &op, output)
        .await
    {
        Ok(Reply::Run(RunEnd::Ended { code: 0, values })) if values.is_empty() => return Ok(()),
        Ok(Reply::Run(RunEnd::Ended { code: 0, values })) => {
            let names: Vec<&str> = values.keys().map(String::as_str).collect();
            return Err(Unwell::Never(program::undeclared(scene, &names)));
        }
        // It still runs: a second one would run beside it.
        Ok(Reply::Run(RunEnd::Unended)) => {
            return Err(Unwell::Never(program::unended(limit)));
        }
        Ok(Reply::Run(RunEnd::BadOutput { why })) => why,
        Ok(Reply::Run(RunEnd::Ended { code, .. })) => {
            format!("ended with {code}{}", scene.last.words())
        }
        Ok(Reply::Run(end)) => format!("{end:?}"),
        Ok(other) => match unexpected(&other) {
            StepError::Failed(message) | StepError::Unknown(message) => message,
        },
        Err(error @ HostError::Lost(_)) => {
            // It may still begin after the check is over: bar it, if the host can be reached.
            let op = Op::Kill {
                deploy_to: super::context::kept_in(&work.task, &work.plan, work.at),
                key,
            };
            let _ = work
                .hosts
                .perform(&work.plan.lane(work.at), &op, output)
                .await;
            error.to_string()
        }
        Err(error) => error.to_string(),
    };
    Err(Unwell::Now(message))
}
