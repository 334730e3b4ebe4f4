//! Looks up the release of a host in a rollback to what other tools left live. Nothing is built: a
//! release that is gone fails here, before any host switches.

use super::context::{StepContext, StepError, unexpected};
use super::release::drift;
use crate::domain::host::{Existing, Inodes, Op, Release, Reply, TreeDigest};
use crate::domain::task::StepResult;

/// Takes the fence, and checks that the host's target is there.
pub(super) async fn look_up(scene: &StepContext<'_>) -> Result<StepResult, StepError> {
    let Some(release) = scene.work.release() else {
        return Err(StepError::Failed("the host has no target".to_owned()));
    };
    let op = Op::Prepare {
        place: scene.work.place(),
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
    let standing = match scene.perform(&op).await? {
        Reply::Prepared {
            standing,
            staged: true,
            ..
        } => standing,
        other => return Err(unexpected(&other)),
    };
    let drift = drift(scene, &standing).await?;
    scene.output.line(&format!("{release} is here"));
    Ok(StepResult::Staged {
        live: standing.live,
        files_sent: 0,
        bytes_sent: 0,
        drift,
        notes: Vec::new(),
    })
}
