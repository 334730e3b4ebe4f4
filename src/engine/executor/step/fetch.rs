//! Fetches a commit that landed once and is no longer in the mirror: the mirror was deleted to free
//! space, or the agent was restored on another machine.

use super::context::{StepContext, StepError};
use crate::git::checkout::CheckoutError;
use crate::git::landing::FetchRequest;

/// Fetches a task's commit again and pins it; the ref must still point to it.
pub(super) async fn fetch_again(
    ctx: &StepContext<'_>,
    missing: &CheckoutError,
) -> Result<(), StepError> {
    let task = &ctx.work.task;
    let submission = &task.submission;
    let object = task.object();
    if !submission.has_reference() || object.is_empty() {
        return Err(StepError::Failed(missing.to_string()));
    }
    let source = ctx.world.plan_source.source(&submission.project);
    let source = source.map_err(StepError::Failed)?;
    ctx.output.line(&format!("{missing}; it is fetched again"));
    let request = FetchRequest {
        reference: submission.reference.clone(),
        object: object.to_owned(),
        task: task.id,
    };
    let progress = |line: &str| ctx.output.line(line);
    let git = &ctx.world.git;
    git.fetch(&source, &request, &progress)
        .await
        .map_err(|error| StepError::Failed(format!("{missing}; {error}")))
}
