//! Looks up the release of a host in a rollback to what other tools left live. Nothing is built: a
//! release that is gone fails here, before any host switches.

use super::context::{StepContext, StepError, unexpected};
use super::replaced::{drift, lost_link};
use crate::domain::host::{Existing, Inodes, Op, Release, Reply, TreeDigest};
use crate::domain::task::StepResult;

/// Takes the fence, and checks that the host's target is there.
pub(super) async fn inspect(ctx: &StepContext<'_>) -> Result<StepResult, StepError> {
    let Some(release) = ctx.work.release() else {
        return Err(StepError::Failed("the host has no target".to_owned()));
    };
    let op = Op::Prepare {
        target: ctx.work.target(),
        release: Release {
            id: release.clone(),
            digest: TreeDigest(String::new()),
        },
        base: None,
        removed: Vec::new(),
        inodes: Inodes::Shared,
        shared: Vec::new(),
        existing: Existing::Found,
    };
    let state = match ctx.perform(&op).await? {
        Reply::Prepared {
            state,
            staged: true,
            ..
        } => state,
        other => return Err(unexpected(&other)),
    };
    let drift = drift(ctx, &state).await?;
    let notes = lost_link(ctx, &state).into_iter().collect();
    ctx.output.line(&format!("{release} is here"));
    Ok(StepResult::Staged {
        live: state.live,
        files_sent: 0,
        bytes_sent: 0,
        drift,
        notes,
    })
}
