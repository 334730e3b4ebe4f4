//! Deletion of earlier releases on a host in memory.

use tagship::domain::host::{
    DeployTarget, Existing, HostError, Inodes, Leftover, Release, ReleaseId, Reply, SharedFault,
    TreeDigest,
};

use crate::host::{Disk, host_state, take_fence};

pub(crate) fn prepare(
    disk: &mut Disk,
    place: &DeployTarget,
    release: &Release,
    (base, inodes): (Option<&Release>, Inodes),
    shared: &[String],
    existing: Existing,
) -> Result<Reply, HostError> {
    take_fence(disk, place)?;
    if existing == Existing::Found && !disk.is_there(&release.id) {
        let why = format!("{} is no longer there", release.id);
        return Err(HostError::Refused(why));
    }
    if existing != Existing::Equal && disk.is_there(&release.id) {
        return Ok(Reply::Prepared {
            state: host_state(disk),
            staged: true,
            based: false,
            shared_faults: Vec::new(),
            apart: false,
        });
    }
    disk.partial = None;
    disk.partial_linked = false;
    let exists = disk.releases.contains_key(&release.id);
    let staged = disk.is_whole(release);
    if exists && !staged {
        if disk.live.as_ref() == Some(&release.id) {
            return Err(HostError::Refused("it is live, and differs".to_owned()));
        }
        disk.releases.remove(&release.id);
        disk.written.remove(&release.id);
    }
    let based =
        base.is_some_and(|base| disk.live.as_ref() == Some(&base.id) && disk.is_whole(base));
    if !staged {
        let empty = TreeDigest("empty".to_owned());
        let copy = base.filter(|_| based).map(|base| base.digest.clone());
        disk.partial = Some(copy.unwrap_or(empty));
        disk.partial_linked = based && inodes == Inodes::Shared;
    }
    Ok(Reply::Prepared {
        state: host_state(disk),
        staged,
        based: based && !staged,
        shared_faults: shared
            .iter()
            .filter(|path| disk.missing.contains(*path))
            .map(|path| SharedFault::Missing {
                path: path.clone(),
                reason: String::new(),
            })
            .collect(),
        apart: disk.apart,
    })
}

pub(crate) fn seal(
    disk: &mut Disk,
    place: &DeployTarget,
    release: &Release,
) -> Result<Reply, HostError> {
    take_fence(disk, place)?;
    match disk.releases.get(&release.id) {
        Some(digest) if *digest == release.digest => return Ok(Reply::Sealed),
        Some(_) => return Err(HostError::Refused("another one stands there".to_owned())),
        None => {}
    }
    if disk.partial.as_ref() != Some(&release.digest) {
        return Err(HostError::Refused(format!(
            "what arrived is not what was sent: {:?}",
            disk.partial
        )));
    }
    disk.partial = None;
    if std::mem::take(&mut disk.partial_linked) {
        disk.linked.insert(release.id.clone());
    }
    disk.releases
        .insert(release.id.clone(), release.digest.clone());
    Ok(Reply::Sealed)
}

pub(crate) fn prune(
    disk: &mut Disk,
    place: &DeployTarget,
    keep: u32,
    protect: &[ReleaseId],
    failed: &[ReleaseId],
) -> Result<Reply, HostError> {
    take_fence(disk, place)?;
    let stays =
        |id: &ReleaseId, disk: &Disk| disk.live.as_ref() == Some(id) || protect.contains(id);
    let mut deleted: Vec<ReleaseId> = failed
        .iter()
        .filter(|id| disk.releases.contains_key(id) && !stays(id, disk))
        .cloned()
        .collect();
    let mut room = usize::try_from(keep).unwrap();
    room = room.saturating_sub(disk.releases.keys().filter(|id| stays(id, disk)).count());
    for id in disk.releases.keys().rev() {
        if stays(id, disk) || failed.contains(id) {
            continue;
        }
        if room > 0 {
            room -= 1;
        } else {
            deleted.push(id.clone());
        }
    }
    for id in &deleted {
        disk.releases.remove(id);
        disk.written.remove(id);
    }
    disk.trash.extend(deleted.iter().cloned());
    disk.trash.retain(|id| disk.stuck.contains(id));
    deleted.retain(|id| !disk.trash.contains(id));
    let left = disk.trash.iter().map(|id| Leftover {
        path: format!("/srv/trash/{id}"),
        reason: "Permission denied".to_owned(),
    });
    let left = left.collect();
    Ok(Reply::Pruned {
        deleted,
        leftovers: left,
    })
}
