//! Hosts as directory trees in memory, with the promises that the real operations make.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tagship::executor::effects::Fleet;
use tagship::host::{
    HostError, Hosts, Op, Output, Place, Release, ReleaseId, Reply, RunEnd, Standing, TreeDigest,
};
use tagship::plan::Plan;

use crate::world::Fate;

/// One place on one host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) fence: u64,
    pub(crate) live: Option<ReleaseId>,
    pub(crate) releases: BTreeMap<ReleaseId, TreeDigest>,
    pub(crate) partial: Partial,
    /// Publish journal: key → what was live.
    journal: BTreeMap<String, Option<ReleaseId>>,
    /// Runner journal.
    runs: BTreeMap<String, RunEnd>,
    /// How often each program was started, by key.
    pub(crate) started: BTreeMap<String, u32>,
    /// Every release that `current` ever named, in order.
    pub(crate) history: Vec<ReleaseId>,
}

/// What stands in the partial directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Partial {
    #[default]
    None,
    Empty,
    Filled,
}

/// What a program of a test does when it is started.
pub(crate) type Program = Arc<dyn Fn(&str, &str) -> RunEnd + Send + Sync>;

pub(crate) struct SimFleet {
    pub(crate) disks: Arc<Mutex<BTreeMap<String, Disk>>>,
    pub(crate) fate: Fate,
    pub(crate) program: Arc<Mutex<Program>>,
}

impl Fleet for SimFleet {
    fn hosts(&self, _plan: &Plan) -> Arc<dyn Hosts> {
        Arc::new(SimHosts {
            disks: self.disks.clone(),
            fate: self.fate.clone(),
            program: self.program.clone(),
        })
    }
}

struct SimHosts {
    disks: Arc<Mutex<BTreeMap<String, Disk>>>,
    fate: Fate,
    program: Arc<Mutex<Program>>,
}

impl Hosts for SimHosts {
    fn perform<'a>(
        &'a self,
        host: &'a str,
        op: &'a Op,
        _output: &'a dyn Output,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        async move {
            let lost = || HostError::Lost("cut by the test".to_owned());
            self.fate
                .host(op.label(), host)
                .await
                .map_err(|()| lost())?;
            let reply = self.act(host, op);
            self.fate
                .host_after(op.label(), host)
                .await
                .map_err(|()| lost())?;
            reply
        }
        .boxed()
    }
}

impl SimHosts {
    fn act(&self, host: &str, op: &Op) -> Result<Reply, HostError> {
        if let Some(message) = self.fate.refusal(op.label(), host) {
            return Err(HostError::Refused(message));
        }
        let program = self.program.lock().unwrap().clone();
        let mut disks = self.disks.lock().unwrap();
        let disk = disks.entry(host.to_owned()).or_default();
        match op {
            Op::Prepare {
                place,
                release,
                base,
                ..
            } => prepare(disk, place, release, base.as_ref()),
            Op::Transfer { place, .. } => {
                take_fence(disk, place)?;
                assert_ne!(disk.partial, Partial::None, "transfer without prepare");
                disk.partial = Partial::Filled;
                Ok(Reply::Transferred {
                    bytes_sent: 1,
                    files_sent: 1,
                })
            }
            Op::Seal { place, release, .. } => {
                take_fence(disk, place)?;
                if disk.releases.get(&release.id) != Some(&release.digest) {
                    if disk.partial == Partial::None {
                        return Err(HostError::Refused("nothing to seal".to_owned()));
                    }
                    disk.partial = Partial::None;
                    disk.releases
                        .insert(release.id.clone(), release.digest.clone());
                }
                Ok(Reply::Sealed)
            }
            Op::Verify { release, .. } => {
                if disk.releases.get(&release.id) == Some(&release.digest) {
                    Ok(Reply::Verified)
                } else {
                    Err(HostError::Refused(format!("{} is not whole", release.id)))
                }
            }
            Op::Inspect { .. } => Ok(Reply::Inspected(standing(disk))),
            Op::Publish {
                place,
                release,
                key,
            } => publish(disk, place, release, key),
            Op::Run { place, run } => {
                take_fence(disk, place)?;
                if let Some(end) = disk.runs.get(&run.key) {
                    return Ok(Reply::Run(end.clone()));
                }
                *disk.started.entry(run.key.clone()).or_default() += 1;
                let end = program(host, &run.key);
                disk.runs.insert(run.key.clone(), end.clone());
                Ok(Reply::Run(end))
            }
            Op::RunResult { key, .. } => {
                let end = disk.runs.get(key).cloned().unwrap_or(RunEnd::NotBegun);
                Ok(Reply::Run(end))
            }
            Op::Kill { .. } => Ok(Reply::Killed),
            Op::Prune { place, .. } => {
                take_fence(disk, place)?;
                Ok(Reply::Pruned {
                    deleted: Vec::new(),
                })
            }
        }
    }
}

fn take_fence(disk: &mut Disk, place: &Place) -> Result<(), HostError> {
    if disk.fence > place.fence {
        return Err(HostError::Fenced {
            ours: place.fence,
            held: disk.fence,
        });
    }
    disk.fence = place.fence;
    Ok(())
}

fn standing(disk: &Disk) -> Standing {
    Standing {
        live: disk.live.clone(),
        releases: disk
            .releases
            .iter()
            .map(|(id, digest)| Release {
                id: id.clone(),
                digest: digest.clone(),
            })
            .collect(),
        fence: disk.fence,
    }
}

fn prepare(
    disk: &mut Disk,
    place: &Place,
    release: &Release,
    base: Option<&Release>,
) -> Result<Reply, HostError> {
    take_fence(disk, place)?;
    let staged = disk.releases.get(&release.id) == Some(&release.digest);
    let based = base.is_some_and(|base| {
        disk.live.as_ref() == Some(&base.id) && disk.releases.get(&base.id) == Some(&base.digest)
    });
    disk.partial = if staged {
        Partial::None
    } else {
        Partial::Empty
    };
    Ok(Reply::Prepared {
        standing: standing(disk),
        staged,
        based,
    })
}

fn publish(
    disk: &mut Disk,
    place: &Place,
    release: &ReleaseId,
    key: &str,
) -> Result<Reply, HostError> {
    take_fence(disk, place)?;
    if !disk.releases.contains_key(release) {
        return Err(HostError::Refused(format!("{release} is not complete")));
    }
    let was = disk
        .journal
        .entry(key.to_owned())
        .or_insert_with(|| disk.live.clone())
        .clone();
    if disk.live.as_ref() != Some(release) {
        disk.live = Some(release.clone());
        disk.history.push(release.clone());
    }
    Ok(Reply::Published { was })
}
