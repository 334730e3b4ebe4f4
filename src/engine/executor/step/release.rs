//! The steps that build, transfer and switch releases: `checkout`, `sync`, `publish`.

use std::sync::Arc;

use super::context::{StepContext, StepError, TRIES, begun, unexpected};
use super::events::cut;
use super::fetch;
use crate::domain::host::{
    Drift, Existing, HostError, HostState, Op, RELEASES_APART, Release, ReleaseId, Reply,
    TransferSet,
};
use crate::domain::plan::{Placement, SharedMissing};
use crate::domain::task::{Direction, Origin, StepResult, SwitchReport};
use crate::git::checkout::{Manifest, PlanOptions, PlanRequest};

/// Makes a manifest of the commit, stores it, and makes the agent's tree equal to it.
pub(super) async fn checkout(scene: &StepContext<'_>) -> Result<StepResult, StepError> {
    let work = scene.work;
    let Some(progress) = &work.task.work else {
        return Err(StepError::Failed("the task has no release".to_owned()));
    };
    let base = live_manifest(scene).await?;
    let source = scene.world.catalog.source(&work.plan.project);
    let source = source.map_err(StepError::Failed)?;
    let request = PlanRequest {
        mirror: source.mirror,
        commit: work.plan.commit.clone(),
        options: options(placement(scene)?),
        base,
        now_s: progress.started.as_second(),
        limits: source.limits,
    };
    let checkout = &scene.world.checkout;
    let manifest = match checkout.plan(request.clone()).await {
        Err(error) if error.is_missing() => {
            fetch::again(scene, &error).await?;
            checkout.plan(request).await
        }
        planned => planned,
    };
    let manifest = manifest.map_err(|error| StepError::Failed(error.to_string()))?;
    for note in manifest.notes() {
        scene.output.line(note);
    }
    let plan = &work.plan;
    scene
        .world
        .shelf
        .keep(
            &plan.project,
            &plan.environment,
            &progress.release,
            manifest.clone(),
        )
        .await
        .map_err(StepError::Failed)?;
    write_tree(scene, &manifest).await?;
    let files = manifest.entries().len() as u64;
    let digest = manifest.digest();
    scene.output.line(&format!("files: {files}, tree {digest}"));
    Ok(StepResult::CheckedOut { digest, files })
}

/// Returns the manifest of the live release in this environment, from the first host that has one.
async fn live_manifest(scene: &StepContext<'_>) -> Result<Option<Arc<Manifest>>, StepError> {
    let plan = &scene.work.plan;
    let live = scene
        .world
        .store
        .live(&plan.project, &plan.environment)
        .await?;
    for release in live.values() {
        let manifest = load(scene, &release.release).await;
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
fn placement<'s>(scene: &'s StepContext<'_>) -> Result<&'s Placement, StepError> {
    let placement = scene.work.plan.placement.as_ref();
    placement.ok_or_else(|| {
        StepError::Failed("the task belongs to no project, so it releases nothing".to_owned())
    })
}

fn mirror(scene: &StepContext<'_>) -> Result<std::path::PathBuf, StepError> {
    let source = scene.world.catalog.source(&scene.work.plan.project);
    source
        .map(|source| source.mirror)
        .map_err(StepError::Failed)
}

async fn load(scene: &StepContext<'_>, release: &ReleaseId) -> Option<Arc<Manifest>> {
    let plan = &scene.work.plan;
    scene
        .world
        .shelf
        .load(&plan.project, &plan.environment, release)
        .await
}

/// Makes the agent's tree equal to a manifest, once per task, however many hosts wait for it.
async fn write_tree(scene: &StepContext<'_>, manifest: &Arc<Manifest>) -> Result<(), StepError> {
    let digest = manifest.digest();
    let mut stands = scene.work.tree.lock().await;
    if stands.as_ref() == Some(&digest) {
        return Ok(());
    }
    *stands = None;
    let plan = &scene.work.plan;
    let directory = scene.world.shelf.tree(&plan.project, &plan.environment);
    let mirror = mirror(scene)?;
    let checkout = &scene.world.checkout;
    let write = || checkout.write(mirror.clone(), manifest.clone(), directory.clone());
    let written = match write().await {
        Err(error) if error.is_missing() => {
            fetch::again(scene, &error).await?;
            write().await
        }
        written => written,
    };
    written.map_err(|error| StepError::Failed(error.to_string()))?;
    *stands = Some(digest);
    Ok(())
}

/// Transfers the complete release to the host, beside the live one.
pub(super) async fn sync(scene: &StepContext<'_>) -> Result<StepResult, StepError> {
    let release = own_release(scene).await?;
    let manifest = load(scene, &release.id).await;
    let base = base(scene).await?;
    let difference = match (&manifest, &base) {
        (Some(manifest), Some((_, base))) => Some(manifest.diff(base)),
        _ => None,
    };
    let op = Op::Prepare {
        place: scene.work.place(),
        release: release.clone(),
        base: base
            .as_ref()
            .filter(|_| difference.is_some())
            .map(|(release, _)| release.clone()),
        removed: difference
            .as_ref()
            .map(|difference| difference.removed.clone())
            .unwrap_or_default(),
        inodes: scene.work.plan.inodes(scene.work.host()),
        shared: placement(scene)?.shared.clone(),
        existing: existing(scene),
    };
    let (standing, staged, based, missing, apart) = match scene.perform(&op).await? {
        Reply::Prepared {
            standing,
            staged,
            based,
            missing,
            apart,
        } => (standing, staged, based, missing, apart),
        other => return Err(unexpected(&other)),
    };
    // A rollback intends to undo what is live.
    let back = existing(scene) == Existing::AsItIs;
    let mut notes = missing_files(scene, &missing, back)?;
    if apart {
        let deploy_to = placement(scene)?.on(scene.work.host());
        let note = format!("{deploy_to}/releases {RELEASES_APART}");
        scene.output.line(&note);
        notes.push(note);
    }
    if let Some(live) = standing.live.as_ref().filter(|_| !back) {
        nothing_unknown_is_newer(scene, live).await?;
    }
    let drift = drift(scene, &standing).await?;
    let (files_sent, bytes_sent) = if staged {
        scene.output.line(&format!("{} is here", release.id));
        (0, 0)
    } else {
        if back {
            is_to_be_rebuilt(scene, &release.id, &standing).await?;
        }
        let Some(manifest) = manifest else {
            return Err(StepError::Failed(format!(
                "release {} is not on the host and its manifest is lost; push its commit under a new tag",
                release.id
            )));
        };
        let set = match (based, difference) {
            (true, Some(difference)) => TransferSet::Changed(difference.changed),
            _ => whole_set(scene, &standing).await,
        };
        send(scene, &manifest, set, &release).await?
    };
    Ok(StepResult::Staged {
        live: standing.live,
        files_sent,
        bytes_sent,
        drift,
        notes,
    })
}

/// Returns how to treat an existing release. A rollback's target was live once, so it is accepted.
fn existing(scene: &StepContext<'_>) -> Existing {
    let asked = matches!(scene.work.task.submission.origin, Origin::Rollback { .. });
    match scene.work.at.way {
        Direction::Forward if !scene.work.plan.targets.is_empty() => Existing::Found,
        Direction::Forward if !asked => Existing::Equal,
        _ => Existing::AsItIs,
    }
}

/// Whether the live release on the host differs from what the store and this task know.
pub(super) async fn drift(
    scene: &StepContext<'_>,
    standing: &HostState,
) -> Result<Option<Drift>, StepError> {
    let known = replaceable(scene).await?;
    let is_known = known
        .iter()
        .any(|known| Some(known) == standing.live.as_ref());
    if is_known && standing.broken.is_none() {
        return Ok(None);
    }
    let (plan, host) = (&scene.work.plan, scene.work.host());
    let place = (plan.project.as_str(), plan.environment.as_str(), host);
    let now = scene.world.clock.now();
    let drift = scene.world.store.drift_of(place, standing, now).await?;
    if let Some(drift) = &drift {
        scene.output.line(&format!("{drift}; it is replaced"));
    }
    Ok(drift)
}

/// Allows a rebuild of a lost release only if the approved plan says so: files that a build or the
/// service wrote into it are lost.
async fn is_to_be_rebuilt(
    scene: &StepContext<'_>,
    release: &ReleaseId,
    standing: &HostState,
) -> Result<(), StepError> {
    let (plan, host) = (&scene.work.plan, scene.work.host());
    if plan.rebuilt.iter().any(|rebuilt| rebuilt == host) {
        scene.output.line(&format!(
            "{release} is gone here; it is built again from commit {}",
            plan.commit
        ));
        return Ok(());
    }
    let place = (plan.project.as_str(), plan.environment.as_str(), host);
    scene.world.store.keeps(place, standing).await?;
    Err(StepError::Failed(format!(
        "release {release} is gone from the host, and that was not known when this rollback was asked for; ask for it again, and it is built again from its commit there (without what was written into it on the host)"
    )))
}

/// Fails the step or warns if shared files are missing; a rollback is never refused for them.
fn missing_files(
    scene: &StepContext<'_>,
    missing: &[String],
    back: bool,
) -> Result<Vec<String>, StepError> {
    let placement = placement(scene)?;
    // Accept only names that were requested, each once.
    let names: Vec<&str> = placement
        .shared
        .iter()
        .filter(|name| missing.contains(name))
        .map(String::as_str)
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let shared = format!("{}/shared", placement.on(scene.work.host()));
    let what = format!("missing in {shared}: {}", names.join(", "));
    if placement.shared_missing == SharedMissing::Fail && !back {
        return Err(StepError::Failed(format!(
            "{what}; put it there, then retry (a directory is written with a `/` at its end in shared; shared_missing = \"warn\" releases all the same)"
        )));
    }
    scene.output.line(&what);
    Ok(vec![what])
}

/// Refuses a host with a newer release that the store does not know: another agent made it, or this
/// one before its store was restored. It must not be undone.
async fn nothing_unknown_is_newer(
    scene: &StepContext<'_>,
    live: &ReleaseId,
) -> Result<(), StepError> {
    let Some(own) = scene.work.made_live() else {
        return Ok(());
    };
    if live == own || live.made_at() <= own.made_at() || known(scene, live).await?.is_some() {
        return Ok(());
    }
    Err(StepError::Failed(format!(
        "{live} is live there: newer than this task's {own}, and unknown to this agent (was it restored from a backup? does another agent serve this host?); push a new tag to replace it"
    )))
}

/// Returns how to send a whole tree to a host whose live release is not the expected one.
async fn whole_set(scene: &StepContext<'_>, standing: &HostState) -> TransferSet {
    let Some(live) = &standing.live else {
        return TransferSet::Whole;
    };
    let recorded = standing
        .releases
        .iter()
        .find(|release| release.id == *live)
        .map(|release| &release.digest);
    match (load(scene, live).await, recorded) {
        // Same mtime means same content only if the host's tree is the known one.
        (Some(known), Some(digest)) if known.digest() == *digest => {
            TransferSet::LinkDest(live.clone())
        }
        (_, Some(_)) => TransferSet::Compare(live.clone()),
        (_, None) => TransferSet::Whole,
    }
}

async fn send(
    scene: &StepContext<'_>,
    manifest: &Arc<Manifest>,
    set: TransferSet,
    release: &Release,
) -> Result<(u64, u64), StepError> {
    let mut sent = (0, 0);
    if set != TransferSet::Changed(Vec::new()) {
        write_tree(scene, manifest).await?;
        let plan = &scene.work.plan;
        let op = Op::Transfer {
            place: scene.work.place(),
            from: scene.world.shelf.tree(&plan.project, &plan.environment),
            set,
            inodes: plan.inodes(scene.work.host()),
        };
        sent = match scene.perform(&op).await? {
            Reply::Transferred {
                bytes_sent,
                files_sent,
            } => (files_sent, bytes_sent),
            other => return Err(unexpected(&other)),
        };
    }
    let op = Op::Seal {
        place: scene.work.place(),
        release: release.clone(),
        owner: placement(scene)?.owner.clone(),
    };
    match scene.perform(&op).await? {
        Reply::Sealed => {}
        other => return Err(unexpected(&other)),
    }
    scene.output.line(&format!(
        "{} is complete: files sent: {}, bytes: {}",
        release.id, sent.0, sent.1
    ));
    Ok(sent)
}

/// Returns this task's release, with its digest.
async fn own_release(scene: &StepContext<'_>) -> Result<Release, StepError> {
    let task = &scene.work.task;
    let Some(progress) = &task.work else {
        return Err(StepError::Failed("the task has no release".to_owned()));
    };
    if let Some(digest) = &progress.tree {
        return Ok(Release {
            id: progress.release.clone(),
            digest: digest.clone(),
        });
    }
    known(scene, &progress.release).await?.ok_or_else(|| {
        StepError::Failed(format!(
            "nothing is known of release {}; push its commit under a new tag",
            progress.release
        ))
    })
}

/// Returns a release of an earlier task, with its digest.
async fn known(scene: &StepContext<'_>, release: &ReleaseId) -> Result<Option<Release>, StepError> {
    let plan = &scene.work.plan;
    let record = scene
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
async fn base(scene: &StepContext<'_>) -> Result<Option<(Release, Arc<Manifest>)>, StepError> {
    let plan = &scene.work.plan;
    let live = scene
        .world
        .store
        .live_on(&plan.project, &plan.environment, scene.work.host())
        .await?;
    let Some(live) = live else { return Ok(None) };
    let Some(release) = known(scene, &live.release).await? else {
        return Ok(None);
    };
    Ok(load(scene, &release.id)
        .await
        .filter(|manifest| manifest.digest() == release.digest)
        .map(|manifest| (release, manifest)))
}

/// Makes the release live by one rename, and deletes old releases.
pub(super) async fn publish(scene: &StepContext<'_>) -> Result<StepResult, StepError> {
    let work = scene.work;
    let Some(release) = work.release().cloned() else {
        return Err(StepError::Failed(
            "there is nothing to switch to".to_owned(),
        ));
    };
    let way = match work.at.way {
        Direction::Forward => "forward",
        Direction::Back => "back",
    };
    let key = format!("{}-{way}", begun(&work.task));
    let (was, mut found) = switch(scene, &release, key).await?;
    let before = was
        .as_ref()
        .map_or("nothing".to_owned(), ToString::to_string);
    scene
        .output
        .line(&format!("live: {release}, was: {before}"));
    if let Some(differs) = &found.differs {
        scene.output.line(&differs.to_string());
    }
    if existing(scene) == Existing::Equal {
        let keep = placement(scene)?.keep_releases;
        let (gone, notes) = prune(scene, &release, was.as_ref(), keep).await;
        found.notes = notes;
        match gone {
            Some(gone) => found.kept.retain(|kept| !gone.contains(kept)),
            // Some may be deleted, others not.
            None => found.kept.clear(),
        }
    }
    let found = Box::new(found);
    Ok(StepResult::Published { was, found })
}

/// Switches from the known live release. Another live release is inspected first: it appeared after
/// this task's last look, and may be newer.
async fn switch(
    scene: &StepContext<'_>,
    release: &ReleaseId,
    key: String,
) -> Result<(Option<ReleaseId>, SwitchReport), StepError> {
    let mut over = replaceable(scene).await?;
    let mut drifted = None;
    for _ in 0..TRIES {
        let op = Op::Publish {
            place: scene.work.place(),
            release: release.clone(),
            over: over.clone(),
            key: key.clone(),
            existing: existing(scene),
        };
        match scene.asked(&op).await {
            Ok(Reply::Published {
                was,
                standing,
                differs,
            }) => {
                let found = SwitchReport {
                    drift: drifted,
                    differs,
                    kept: standing.there().cloned().collect(),
                    notes: Vec::new(),
                };
                return Ok((was, found));
            }
            Ok(Reply::Occupied { live }) => {
                nothing_unknown_is_newer(scene, &live).await?;
                let standing = HostState {
                    live: Some(live.clone()),
                    ..HostState::default()
                };
                drifted = drift(scene, &standing).await?;
                over.push(live);
            }
            Ok(other) => return Err(unexpected(&other)),
            // The host may have received it. A rollback treats the host as switched.
            Err(lost @ HostError::Lost(_)) => {
                return Err(StepError::Failed(format!(
                    "{lost}; it may have switched all the same: look where `current` leads there"
                )));
            }
            Err(error) => return Err(scene.refused(&error).await),
        }
    }
    Err(StepError::Failed(
        "what is live there changes again and again; look who else releases there".to_owned(),
    ))
}

/// Returns what this task saw or made live on the host, and what the store knows as live.
async fn replaceable(scene: &StepContext<'_>) -> Result<Vec<ReleaseId>, StepError> {
    let (plan, host) = (&scene.work.plan, scene.work.host());
    let store = &scene.world.store;
    let live = store
        .live_on(&plan.project, &plan.environment, host)
        .await?
        .map(|live| live.release);
    let progress = scene.work.task.work.as_ref();
    let own = scene.work.made_live().cloned();
    let before = progress.and_then(|work| work.live_before.get(&scene.work.at.host).cloned());
    Ok(live
        .into_iter()
        .chain(own)
        .chain(before.flatten())
        .collect())
}

/// How many leftovers are reported one by one.
const LEFTOVERS_TOLD_MAX: usize = 5;

/// Deletes old releases. Returns which were deleted, if known, and the warnings. A failed deletion
/// is reported and retried next time: it is no reason for a rollback.
async fn prune(
    scene: &StepContext<'_>,
    live: &ReleaseId,
    was: Option<&ReleaseId>,
    keep: u32,
) -> (Option<Vec<ReleaseId>>, Vec<String>) {
    let plan = &scene.work.plan;
    let releases = scene
        .world
        .store
        .releases(&plan.project, &plan.environment)
        .await
        .unwrap_or_default();
    let failed = releases
        .iter()
        .filter(|record| !record.good && record.release != *live && Some(&record.release) != was)
        .map(|record| record.release.clone())
        .collect();
    let last_good = releases.iter().find(|record| record.good);
    let op = Op::Prune {
        place: scene.work.place(),
        keep,
        protect: was
            .into_iter()
            .chain(last_good.map(|record| &record.release))
            .filter(|release| release.is_named())
            .cloned()
            .collect(),
        failed,
    };
    let mut gone = None;
    let notes = match scene.perform(&op).await {
        Ok(Reply::Pruned { deleted, left }) => {
            for release in &deleted {
                scene.output.line(&format!("deleted {release}"));
            }
            gone = Some(deleted);
            let mut notes: Vec<String> = left
                .iter()
                .take(LEFTOVERS_TOLD_MAX)
                .map(|leftover| cut(&leftover.to_string()))
                .collect();
            if left.len() > notes.len() {
                let more = left.len() - notes.len();
                notes.push(format!(
                    "{more} more could not be deleted: see `tagship check`"
                ));
            }
            notes
        }
        Ok(other) => vec![cut(&format!("unexpected answer {other:?}"))],
        Err(StepError::Failed(message) | StepError::Unknown(message)) => {
            vec![cut(&format!("old releases were not deleted: {message}"))]
        }
    };
    for note in &notes {
        scene.output.line(note);
    }
    (gone, notes)
}
