//! What a switch replaces on a host: what this task and the store know as live there, and what differs
//! from it.

use super::context::{StepContext, StepError};
use crate::domain::host::{BrokenCurrent, Drift, HostState, ReleaseId};

/// Whether the live release on the host differs from what the store and this task know.
pub(super) async fn drift(
    ctx: &StepContext<'_>,
    state: &HostState,
) -> Result<Option<Drift>, StepError> {
    let mut known = replaceable(ctx).await?;
    let own = ctx.work.release_made_live();
    // Another tool may have made this task's release live.
    if !ctx.work.may_have_switched() {
        known.retain(|known| Some(known) != own);
    }
    let is_known = known.iter().any(|known| Some(known) == state.live.as_ref());
    if is_known && state.broken.is_none() {
        return Ok(None);
    }
    let (plan, host) = (&ctx.work.plan, ctx.work.host());
    let target = (plan.project.as_str(), plan.environment.as_str(), host);
    let now = ctx.world.clock.now();
    let drift = ctx.world.store.drift_of(target, state, now).await?;
    if let Some(drift) = &drift {
        let then = match own {
            Some(own) if drift.points_to(own) => "it points to this task's release already",
            _ => "it is replaced",
        };
        ctx.output.line(&format!("{drift}; {then}"));
    }
    Ok(drift)
}

/// Warns of a link to which nothing can lead back.
pub(super) fn lost_link(ctx: &StepContext<'_>, state: &HostState) -> Option<String> {
    if state.broken != Some(BrokenCurrent::Text) {
        return None;
    }
    let note =
        "the text of the link cannot be kept, so nothing leads back there if this task fails";
    ctx.output.line(note);
    Some(note.to_owned())
}

/// Returns what this task saw or made live on the host, and what the store knows as live.
pub(super) async fn replaceable(ctx: &StepContext<'_>) -> Result<Vec<ReleaseId>, StepError> {
    let (plan, host) = (&ctx.work.plan, ctx.work.host());
    let store = &ctx.world.store;
    let live = store
        .live_on(&plan.project, &plan.environment, host)
        .await?
        .map(|live| live.release);
    let progress = ctx.work.task.work.as_ref();
    let own = ctx.work.release_made_live().cloned();
    let before = progress.and_then(|work| work.live_before.get(&ctx.work.at.host).cloned());
    Ok(live
        .into_iter()
        .chain(own)
        .chain(before.flatten())
        .collect())
}
