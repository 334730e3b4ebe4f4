//! The steps that build, transfer and switch releases: `checkout`, `sync`, `publish`.

use std::sync::Arc;

use super::context::{StepContext, StepError, started_text, unexpected};
use super::events::truncate;
use super::replaced::{drift, lost_link, replaceable};
use super::{fetch, shared};
use crate::domain::host::{
    Existing, HostError, HostState, Op, RELEASES_APART, Release, ReleaseId, Reply, TransferSet,
};
use crate::domain::plan::Placement;
use crate::domain::task::{Direction, Origin, StepResult, SwitchReport};
use crate::git::checkout::{Manifest, PlanOptions, PlanRequest};

/// Makes a manifest of the commit, stores it, and makes the agent's tree equal to it.
pub(super) async fn checkout(ctx: &StepContext<'_>) -> Result<StepResult, StepError> {
    let work = ctx.work;
    let Some(progress) = &work.task.work else {
        return Err(StepError::Failed("the task has no release".to_owned()));
    };
    let base = live_manifest(ctx).await?;
    let source = ctx.world.plan_source.source(&work.plan.project);
    let source = source.map_err(StepError::Failed)?;
    let request = PlanRequest {
        mirror: source.mirror,
        commit: work.plan.commit.clone(),
        options: options(placement(ctx)?),
        base,
        now_s: progress.started.as_second(),
        limits: source.limits,
    };
    let checkout = &ctx.world.checkout;
    let manifest = match checkout.plan(request.clone()).await {
        Err(error) if error.is_missing() => {
            fetch::fetch_again(ctx, &error).await?;
            checkout.plan(request).await
        }
        planned => planned,
    };
    let manifest = manifest.map_err(|error| StepError::Failed(error.to_string()))?;
    for note in manifest.notes() {
        ctx.output.line(note);
    }
    let plan = &work.plan;
    ctx.world
        .manifests
        .keep(
            &plan.project,
            &plan.environment,
            &progress.release,
            manifest.clone(),
        )
        .await
        .map_err(StepError::Failed)?;
    write_tree(ctx, &manifest).await?;
    let files = manifest.entries().len() as u64;
    let digest = manifest.digest();
    ctx.output.line(&format!("files: {files}, tree {digest}"));
    Ok(StepResult::CheckedOut { digest, files })
}

/// Returns the manifest of the live release in this environment, from the first host that has one.
async fn live_manifest(ctx: &StepContext<'_>) -> Result<Option<Arc<Manifest>>, StepError> {
    let plan = &ctx.work.plan;
    let live = ctx
        .world
        .store
        .live(&plan.project, &plan.environment)
        .await?;
    for release in live.values() {
        let manifest = load(ctx, &release.release).await;
        if manifest.is_some() {
            return Ok(manifest);
        }
    }
    Ok(None)
}

fn options(placement: &Placement) -> PlanOptions {
    PlanOptions {
        source: placement.source.clone(),
        submodules: placement.submodules,
        exclude: placement.exclude.clone(),
        shared: placement.shared.clone(),
    }
}

/// Returns how releases are kept on the host; every plan with a release has it.
fn placement<'s>(ctx: &'s StepContext<'_>) -> Result<&'s Placement, StepError> {
    let placement = ctx.work.plan.placement.as_ref();
    placement.ok_or_else(|| {
        StepError::Failed("the task belongs to no project, so it releases nothing".to_owned())
    })
}

fn mirror(ctx: &StepContext<'_>) -> Result<std::path::PathBuf, StepError> {
    let source = ctx.world.plan_source.source(&ctx.work.plan.project);
    source
        .map(|source| source.mirror)
        .map_err(StepError::Failed)
}

async fn load(ctx: &StepContext<'_>, release: &ReleaseId) -> Option<Arc<Manifest>> {
    let plan = &ctx.work.plan;
    ctx.world
        .manifests
        .load(&plan.project, &plan.environment, release)
        .await
}

/// Makes the agent's tree equal to a manifest, once per task, however many hosts wait for it.
async fn write_tree(ctx: &StepContext<'_>, manifest: &Arc<Manifest>) -> Result<(), StepError> {
    let digest = manifest.digest();
    let mut tree = ctx.work.tree.lock().await;
    if tree.as_ref() == Some(&digest) {
        return Ok(());
    }
    *tree = None;
    let plan = &ctx.work.plan;
    let directory = ctx.world.manifests.tree(&plan.project, &plan.environment);
    let mirror = mirror(ctx)?;
    let checkout = &ctx.world.checkout;
    let write = || checkout.write(mirror.clone(), manifest.clone(), directory.clone());
    let written = match write().await {
        Err(error) if error.is_missing() => {
            fetch::fetch_again(ctx, &error).await?;
            write().await
        }
        written => written,
    };
    written.map_err(|error| StepError::Failed(error.to_string()))?;
    *tree = Some(digest);
    Ok(())
}

/// Transfers the complete release to the host, beside the live one.
pub(super) async fn sync(ctx: &StepContext<'_>) -> Result<StepResult, StepError> {
    let release = own_release(ctx).await?;
    let manifest = load(ctx, &release.id).await;
    let base = base(ctx).await?;
    let difference = match (&manifest, &base) {
        (Some(manifest), Some((_, base))) => Some(manifest.diff(base)),
        _ => None,
    };
    let op = Op::Prepare {
        target: ctx.work.target(),
        release: release.clone(),
        base: base
            .as_ref()
            .filter(|_| difference.is_some())
            .map(|(release, _)| release.clone()),
        removed: difference
            .as_ref()
            .map(|difference| difference.removed.clone())
            .unwrap_or_default(),
        inodes: ctx.work.plan.inodes(ctx.work.host()),
        shared: placement(ctx)?.shared.clone(),
        existing: existing(ctx),
    };
    let (state, staged, based, shared_faults, apart) = match ctx.perform(&op).await? {
        Reply::Prepared {
            state,
            staged,
            based,
            shared_faults,
            apart,
        } => (state, staged, based, shared_faults, apart),
        other => return Err(unexpected(&other)),
    };
    // A rollback intends to undo what is live.
    let is_rollback = existing(ctx) == Existing::AsItIs;
    let mut notes = shared::check(ctx, placement(ctx)?, &shared_faults, is_rollback)?;
    if apart {
        let deploy_to = placement(ctx)?.path_on(ctx.work.host());
        let note = format!("{deploy_to}/releases {RELEASES_APART}");
        ctx.output.line(&note);
        notes.push(note);
    }
    if let Some(live) = state.live.as_ref().filter(|_| !is_rollback) {
        refuse_unknown_newer(ctx, live).await?;
    }
    let drift = drift(ctx, &state).await?;
    notes.extend(lost_link(ctx, &state));
    let (files_sent, bytes_sent) = if staged {
        ctx.output.line(&format!("{} is here", release.id));
        (0, 0)
    } else {
        if is_rollback {
            check_rebuild(ctx, &release.id, &state).await?;
        }
        let Some(manifest) = manifest else {
            return Err(StepError::Failed(format!(
                "release {} is not on the host and its manifest is lost; push its commit under a new tag",
                release.id
            )));
        };
        let set = match (based, difference) {
            (true, Some(difference)) => TransferSet::Changed(difference.changed),
            _ => full_transfer(ctx, &state).await,
        };
        send(ctx, &manifest, set, &release).await?
    };
    Ok(StepResult::Staged {
        live: state.live,
        files_sent,
        bytes_sent,
        drift,
        notes,
    })
}

/// Returns how to treat an existing release. A rollback's target was live once, so it is accepted.
fn existing(ctx: &StepContext<'_>) -> Existing {
    let for_rollback = matches!(ctx.work.task.submission.origin, Origin::Rollback { .. });
    match ctx.work.at.way {
        Direction::Forward if !ctx.work.plan.targets.is_empty() => Existing::Found,
        Direction::Forward if !for_rollback => Existing::Equal,
        _ => Existing::AsItIs,
    }
}

/// Allows a rebuild of a lost release only by plan: files written into it are lost.
async fn check_rebuild(
    ctx: &StepContext<'_>,
    release: &ReleaseId,
    state: &HostState,
) -> Result<(), StepError> {
    let (plan, host) = (&ctx.work.plan, ctx.work.host());
    if plan.rebuilt.iter().any(|rebuilt| rebuilt == host) {
        ctx.output.line(&format!(
            "{release} is gone here; it is built again from commit {}",
            plan.commit
        ));
        return Ok(());
    }
    let target = (plan.project.as_str(), plan.environment.as_str(), host);
    ctx.world.store.keeps(target, state).await?;
    Err(StepError::Final(format!(
        "release {release} is gone from the host, and that was not known when this rollback was asked for; ask for it again, and it is built again from its commit there (without what was written into it on the host)"
    )))
}

/// Refuses a host with a newer release that the store does not know: another agent made it, or this
/// one before its store was restored. It must not be undone.
async fn refuse_unknown_newer(ctx: &StepContext<'_>, live: &ReleaseId) -> Result<(), StepError> {
    let Some(own) = ctx.work.release_made_live() else {
        return Ok(());
    };
    if live == own || live.created_at() <= own.created_at() || known(ctx, live).await?.is_some() {
        return Ok(());
    }
    Err(StepError::Failed(format!(
        "{live} is live there: newer than this task's {own}, and unknown to this agent (was it restored from a backup? does another agent serve this host?); push a new tag to replace it"
    )))
}

/// Returns how to send a whole tree to a host whose live release is not the expected one.
async fn full_transfer(ctx: &StepContext<'_>, state: &HostState) -> TransferSet {
    let Some(live) = &state.live else {
        return TransferSet::Whole;
    };
    let recorded = state
        .releases
        .iter()
        .find(|release| release.id == *live)
        .map(|release| &release.digest);
    match (load(ctx, live).await, recorded) {
        // Same mtime means same content only if the host's tree is the known one.
        (Some(known), Some(digest)) if known.digest() == *digest => {
            TransferSet::LinkDest(live.clone())
        }
        (_, Some(_)) => TransferSet::Compare(live.clone()),
        (_, None) => TransferSet::Whole,
    }
}

async fn send(
    ctx: &StepContext<'_>,
    manifest: &Arc<Manifest>,
    set: TransferSet,
    release: &Release,
) -> Result<(u64, u64), StepError> {
    let mut sent = (0, 0);
    if set != TransferSet::Changed(Vec::new()) {
        write_tree(ctx, manifest).await?;
        let plan = &ctx.work.plan;
        let op = Op::Transfer {
            target: ctx.work.target(),
            from: ctx.world.manifests.tree(&plan.project, &plan.environment),
            set,
            inodes: plan.inodes(ctx.work.host()),
        };
        sent = match ctx.perform(&op).await? {
            Reply::Transferred {
                bytes_sent,
                files_sent,
            } => (files_sent, bytes_sent),
            other => return Err(unexpected(&other)),
        };
    }
    let op = Op::Seal {
        target: ctx.work.target(),
        release: release.clone(),
        owner: placement(ctx)?.owner.clone(),
    };
    match ctx.perform(&op).await? {
        Reply::Sealed => {}
        other => return Err(unexpected(&other)),
    }
    ctx.output.line(&format!(
        "{} is complete: files sent: {}, bytes: {}",
        release.id, sent.0, sent.1
    ));
    Ok(sent)
}

/// Returns this task's release, with its digest.
async fn own_release(ctx: &StepContext<'_>) -> Result<Release, StepError> {
    let task = &ctx.work.task;
    let Some(progress) = &task.work else {
        return Err(StepError::Failed("the task has no release".to_owned()));
    };
    if let Some(digest) = &progress.tree {
        return Ok(Release {
            id: progress.release.clone(),
            digest: digest.clone(),
        });
    }
    known(ctx, &progress.release).await?.ok_or_else(|| {
        StepError::Failed(format!(
            "nothing is known of release {}; push its commit under a new tag",
            progress.release
        ))
    })
}

/// Returns a release of an earlier task, with its digest.
async fn known(ctx: &StepContext<'_>, release: &ReleaseId) -> Result<Option<Release>, StepError> {
    let plan = &ctx.work.plan;
    let record = ctx
        .world
        .store
        .release(&plan.project, &plan.environment, release)
        .await?;
    Ok(record.map(|record| Release {
        id: record.release,
        digest: record.digest,
    }))
}

/// Returns what should be live on the host, if its manifest still exists.
async fn base(ctx: &StepContext<'_>) -> Result<Option<(Release, Arc<Manifest>)>, StepError> {
    let plan = &ctx.work.plan;
    let live = ctx
        .world
        .store
        .live_on(&plan.project, &plan.environment, ctx.work.host())
        .await?;
    let Some(live) = live else { return Ok(None) };
    let Some(release) = known(ctx, &live.release).await? else {
        return Ok(None);
    };
    Ok(load(ctx, &release.id)
        .await
        .filter(|manifest| manifest.digest() == release.digest)
        .map(|manifest| (release, manifest)))
}

/// Makes the release live by one rename, and deletes old releases.
pub(super) async fn publish(ctx: &StepContext<'_>) -> Result<StepResult, StepError> {
    let work = ctx.work;
    let Some(release) = work.release().cloned() else {
        return Err(StepError::Failed(
            "there is nothing to switch to".to_owned(),
        ));
    };
    let way = match work.at.way {
        Direction::Forward => "forward",
        Direction::Back => "back",
    };
    let key = format!("{}-{way}", started_text(&work.task));
    let (previous, mut found) = switch(ctx, &release, key).await?;
    let before = previous
        .as_ref()
        .map_or("nothing".to_owned(), ToString::to_string);
    ctx.output.line(&format!("live: {release}, was: {before}"));
    if let Some(differs) = &found.differs {
        ctx.output.line(&differs.to_string());
    }
    if existing(ctx) == Existing::Equal {
        let keep = placement(ctx)?.keep_releases;
        let (removed, notes) = prune(ctx, &release, previous.as_ref(), keep).await;
        found.notes = notes;
        match removed {
            Some(removed) => found.kept.retain(|kept| !removed.contains(kept)),
            // Some may be deleted, others not.
            None => found.kept.clear(),
        }
    }
    let found = Box::new(found);
    Ok(StepResult::Published {
        was: previous,
        found,
    })
}

/// How often a switch is tried while what is live changes.
const SWITCHES_MAX: usize = 3;

/// Switches from the known live release. Another live release is inspected first: it appeared after
/// this task's last look, and may be newer.
async fn switch(
    ctx: &StepContext<'_>,
    release: &ReleaseId,
    key: String,
) -> Result<(Option<ReleaseId>, SwitchReport), StepError> {
    let mut over = replaceable(ctx).await?;
    let mut drifted = None;
    for _ in 0..SWITCHES_MAX {
        let op = Op::Publish {
            target: ctx.work.target(),
            release: release.clone(),
            over: over.clone(),
            key: key.clone(),
            existing: existing(ctx),
        };
        match ctx.ask(&op).await {
            Ok(Reply::Published {
                was: previous,
                state,
                differs,
                uncompared,
            }) => {
                let note =
                    uncompared.map(|why| format!("not compared with what was released: {why}"));
                if let Some(note) = &note {
                    ctx.output.line(note);
                }
                let found = SwitchReport {
                    drift: drifted,
                    differs,
                    kept: state.all_releases().cloned().collect(),
                    notes: note.into_iter().collect(),
                };
                return Ok((previous, found));
            }
            Ok(Reply::Occupied { live }) => {
                refuse_unknown_newer(ctx, &live).await?;
                let state = HostState {
                    live: Some(live.clone()),
                    ..HostState::default()
                };
                drifted = drift(ctx, &state).await?;
                over.push(live);
            }
            Ok(other) => return Err(unexpected(&other)),
            // The host may have received it. A rollback treats the host as switched.
            Err(lost @ HostError::Lost(_)) => {
                return Err(StepError::Failed(format!(
                    "{lost}; it may have switched all the same: look where `current` points there"
                )));
            }
            Err(error) => return Err(ctx.refusal(&error).await),
        }
    }
    Err(StepError::Failed(
        "what is live there changes again and again; find out who else releases there".to_owned(),
    ))
}

/// How many leftovers are reported one by one.
const LEFTOVERS_NAMED_MAX: usize = 5;

/// Deletes old releases. Returns which were deleted, if known, and the warnings. A failed deletion
/// is reported and retried next time: it is no reason for a rollback.
async fn prune(
    ctx: &StepContext<'_>,
    live: &ReleaseId,
    previous: Option<&ReleaseId>,
    keep: u32,
) -> (Option<Vec<ReleaseId>>, Vec<String>) {
    let plan = &ctx.work.plan;
    let releases = ctx
        .world
        .store
        .releases(&plan.project, &plan.environment)
        .await
        .unwrap_or_default();
    let failed = releases
        .iter()
        .filter(|record| {
            let stays = record.good || record.left_live;
            !stays && record.release != *live && Some(&record.release) != previous
        })
        .map(|record| record.release.clone())
        .collect();
    let last_good = releases.iter().find(|record| record.good);
    let op = Op::Prune {
        target: ctx.work.target(),
        keep,
        protect: previous
            .into_iter()
            .chain(last_good.map(|record| &record.release))
            .cloned()
            .collect(),
        failed,
    };
    let mut removed = None;
    let notes = match ctx.perform(&op).await {
        Ok(Reply::Pruned {
            deleted,
            leftovers: left,
        }) => {
            for release in &deleted {
                ctx.output.line(&format!("deleted {release}"));
            }
            removed = Some(deleted);
            let mut notes: Vec<String> = left
                .iter()
                .take(LEFTOVERS_NAMED_MAX)
                .map(|leftover| truncate(&leftover.to_string()))
                .collect();
            if left.len() > notes.len() {
                let more = left.len() - notes.len();
                notes.push(format!(
                    "{more} more could not be deleted: see `tagship check`"
                ));
            }
            notes
        }
        Ok(other) => vec![truncate(&format!("unexpected answer {other:?}"))],
        Err(error) => vec![truncate(&format!(
            "old releases were not deleted: {}",
            error.into_message()
        ))],
    };
    for note in &notes {
        ctx.output.line(note);
    }
    (removed, notes)
}
