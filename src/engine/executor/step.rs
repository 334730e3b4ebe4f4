//! One step on one host, from its durable intent to its result.
//!
//! A step is a few operations; each may be repeated, except starting a program. So after a crash a
//! step is repeated, and a program is first asked for its result.

mod check;
mod context;
mod events;
mod fetch;
mod foreign_release;
mod program;
mod release;
mod replaced;
mod shared;

use std::sync::Arc;

use tokio::sync::mpsc;

pub(super) use context::{IntentRecorded, Silent, StepInputs};
use context::{StepContext, StepError, program_directory};
use events::truncate;

use super::World;
use super::mask::Secrets;
use crate::domain::host::{Hosts, Op, Reply};
use crate::domain::plan::Plan;
use crate::domain::task::{Event, StepRef, StepResult, Task};
use crate::domain::template::StepAction;

/// How a step is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    /// It ends quickly and leaves a consistent state: wait for it.
    WaitForEnd,
    /// The next attempt discards its leftovers.
    Drop,
    /// A program runs on the host and must be killed there.
    KillOnHost,
}

/// Returns how the step at `at` is stopped.
pub(super) fn stopping(plan: &Plan, at: StepRef) -> Stopping {
    match plan.step(at).map(|step| &step.action) {
        Some(StepAction::Publish) => Stopping::WaitForEnd,
        Some(StepAction::Run(_)) => Stopping::KillOnHost,
        Some(StepAction::Check(check)) if check.runs_on_host() => Stopping::KillOnHost,
        Some(StepAction::Checkout | StepAction::Sync | StepAction::Check(_)) | None => {
            Stopping::Drop
        }
    }
}

/// Events of a step before its result; there are few.
pub(super) type StepEventSender = mpsc::UnboundedReceiver<Event>;

/// Performs a step whose intent is durable.
pub(super) async fn perform(world: World, work: StepInputs) -> StepResult {
    let Some(step) = work.plan.step(work.at).cloned() else {
        return StepError::Failed("the plan has no such step".to_owned()).into();
    };
    let host = work.host().to_owned();
    tracing::info!(task = work.task.id, host, step = step.name, "step begins");
    let secrets = Secrets::of(&work.plan, &work.task);
    let output = world
        .logs
        .step(work.task.id, &host, &work.label(), work.attempt);
    let last = events::LastLine::of(output);
    let ctx = StepContext {
        last: Arc::clone(&last),
        output: Arc::new(events::StepEvents::new(
            secrets.clone().mask_output(last),
            work.at,
            work.attempt,
            work.event_sender.clone(),
        )),
        world: &world,
        work: &work,
    };
    let result = match &step.action {
        StepAction::Checkout => release::checkout(&ctx).await,
        StepAction::Sync if !work.plan.targets.is_empty() => foreign_release::inspect(&ctx).await,
        StepAction::Sync => release::sync(&ctx).await,
        StepAction::Publish => release::publish(&ctx).await,
        StepAction::Run(program) => program::run(&ctx, program).await,
        StepAction::Check(check) => check::check(&ctx, check).await,
    };
    let result = bounded(result.unwrap_or_else(StepResult::from), &secrets);
    if let StepResult::Failed { message, .. } | StepResult::Unknown { message } = &result {
        ctx.output.line(message);
        tracing::warn!(
            task = work.task.id,
            host,
            step = step.name,
            message,
            "step failed"
        );
    }
    result
}

/// The store keeps what a host reports, so its length is limited: values in bytes, messages in
/// characters.
const VALUES_MAX: usize = 8_000;

fn bounded(mut result: StepResult, secrets: &Secrets) -> StepResult {
    match &mut result {
        StepResult::Failed { message, .. } | StepResult::Unknown { message } => {
            *message = truncate(&secrets.mask(std::mem::take(message)));
        }
        StepResult::Done { values }
            if values.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > VALUES_MAX =>
        {
            result = StepResult::Failed {
                message: format!(
                    "it wrote more than {VALUES_MAX} bytes to $TAGSHIP_OUTPUT; write a file into the release instead"
                ),
                exit_code: Some(0),
                omits_exit: true,
                is_final: false,
            };
        }
        _ => {}
    }
    result
}

/// Kills what a step started on its host, and verifies that nothing of it is left.
pub(super) async fn kill(
    task: &Task,
    plan: &Plan,
    hosts: &dyn Hosts,
    at: StepRef,
) -> Result<(), String> {
    let lane = plan.host_with_user(at);
    let attempts = task.work.as_ref().map_or(1, |work| work.attempts(at));
    // An earlier attempt that was lost on its way to the host may still begin.
    for attempt in (1..=attempts).rev() {
        let op = Op::Kill {
            deploy_to: program_directory(task, plan, at),
            key: program::key(task, at, attempt),
        };
        match hosts.perform(&lane, &op, &Silent).await {
            Ok(Reply::Killed) => {}
            Ok(other) => return Err(format!("unexpected answer {other:?}")),
            Err(error) => return Err(truncate(&error.to_string())),
        }
    }
    Ok(())
}
