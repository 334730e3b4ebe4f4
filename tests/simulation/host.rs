//! Hosts as directory trees in memory, with the guarantees of the real operations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tagship::base::clock::{Clock as _, ManualClock};
use tagship::domain::host::{
    BrokenCurrent, DeployTarget, Existing, HostError, HostState, Hosts, Inodes, LocalChanges, Op,
    Output, Release, ReleaseId, Reply, RunEnd, TransferSet, TreeDigest, fenced,
};
use tagship::domain::plan::Plan;
use tagship::engine::executor::effects::Fleet;

use crate::faults::{Fault, Faults, REFUSED};
use crate::retention::{prepare, prune, seal};
use crate::witness::Witness;

/// One environment on one host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) fence: u64,
    /// The last sequence number that was seen.
    pub(crate) seq: u64,
    pub(crate) live: Option<ReleaseId>,
    pub(crate) releases: BTreeMap<ReleaseId, TreeDigest>,
    /// Releases into which something was written since they were sealed.
    pub(crate) written: BTreeSet<ReleaseId>,
    /// What exists instead of a link to a directory.
    pub(crate) obstacle: Option<BrokenCurrent>,
    /// Why no release is compared there.
    pub(crate) uncompared: Option<String>,
    /// The targets that other tools gave `current`.
    pub(crate) foreign: BTreeSet<ReleaseId>,
    /// The partial directory: the digest of its content.
    pub(crate) partial: Option<TreeDigest>,
    /// The partial directory has files that are hard links to those of the live release.
    pub(crate) partial_linked: bool,
    /// Releases that were made with such hard links.
    pub(crate) linked: BTreeSet<ReleaseId>,
    /// What is missing in `shared/`.
    pub(crate) missing: BTreeSet<String>,
    /// Releases are on another file system.
    pub(crate) apart: bool,
    /// Releases that cannot be deleted, and those that were set aside for that.
    pub(crate) stuck: BTreeSet<ReleaseId>,
    pub(crate) trash: BTreeSet<ReleaseId>,
    /// Publish journal: key → what was live.
    pub(crate) journal: BTreeMap<String, Option<ReleaseId>>,
    /// Runner journal.
    runs: BTreeMap<String, Attempt>,
    /// The inputs of each program, by key: working directory and environment.
    pub(crate) given: BTreeMap<String, (String, BTreeMap<String, String>)>,
    /// How often each program was started, by key.
    pub(crate) started: BTreeMap<String, u32>,
    /// Every release that `current` ever named, in order.
    pub(crate) history: Vec<ReleaseId>,
}

impl Disk {
    /// A service writes into what is live.
    pub(crate) fn write_into_live(&mut self) {
        self.written.extend(self.live.clone());
    }

    /// Another tool points `current` elsewhere.
    pub(crate) fn lead(&mut self, to: &str) {
        let to = ReleaseId(to.to_owned());
        self.foreign.insert(to.clone());
        self.live = Some(to);
    }

    /// A release as it is, whatever was written into it.
    pub(crate) fn is_there(&self, release: &ReleaseId) -> bool {
        self.releases.contains_key(release) || self.foreign.contains(release)
    }

    /// A release as it was sealed.
    pub(crate) fn is_whole(&self, release: &Release) -> bool {
        self.releases.get(&release.id) == Some(&release.digest)
            && !self.written.contains(&release.id)
    }

    /// A user deletes the files of programs there.
    pub(crate) fn forget_programs(&mut self) {
        self.runs.clear();
    }
}

/// A program that was started.
#[derive(Clone, Debug)]
struct Attempt {
    /// The elapsed time when it ends.
    until: Duration,
    end: RunEnd,
}

/// An attempt that was stopped before it began.
const BARRED: Attempt = Attempt {
    until: Duration::ZERO,
    end: RunEnd::NotBegun,
};

fn is_barred(disk: &Disk, key: &str) -> bool {
    let whole = key.split('.').next().unwrap_or(key);
    let attempts = [key, whole].map(|key| disk.runs.get(key));
    let mut begun = attempts.into_iter().flatten();
    begun.any(|attempt| attempt.end == RunEnd::NotBegun)
}

/// Disks by environment and host. What another user runs on a host, or a task without a project, is
/// kept in a separate directory there, in place of the environment's.
pub(crate) type Disks = BTreeMap<DiskPlace, Disk>;
pub(crate) type DiskPlace = (String, String);

/// The behavior of a test's program: how it ends, and after how long.
pub(crate) type Program = Arc<dyn Fn(&str, &str) -> (RunEnd, Duration) + Send + Sync>;

/// A program that succeeds at once.
pub(crate) fn well() -> Program {
    let end = RunEnd::Ended {
        code: 0,
        values: BTreeMap::new(),
    };
    Arc::new(move |_, _| (end.clone(), Duration::ZERO))
}

/// Everything that outlives an agent.
#[derive(Clone)]
pub(crate) struct SimFleet {
    pub(crate) disks: Arc<Mutex<Disks>>,
    pub(crate) program: Arc<Mutex<Program>>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) witness: Arc<Witness>,
    pub(crate) faults: Faults,
    /// The agent's trees, by directory.
    pub(crate) trees: Arc<Mutex<BTreeMap<String, TreeDigest>>>,
    pub(crate) wires: Arc<Wires>,
}

/// The network between agents and hosts.
#[derive(Default)]
pub(crate) struct Wires {
    /// Each request has a sequence number; later ones are higher.
    seqs: AtomicU64,
    /// Hosts whose connections are lost, and whose requests arrive later.
    silent: Mutex<BTreeSet<String>>,
    /// The requests still under way, in order.
    letters: Mutex<Vec<Letter>>,
}

/// A request that has not reached its host, and that no caller waits for any more.
struct Letter {
    place: DiskPlace,
    host: String,
    op: Op,
    seq: u64,
}

impl Wires {
    fn seq(&self) -> u64 {
        self.seqs.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// From now on every request to a host arrives later.
    pub(crate) fn silence(&self, host: &str) {
        self.silent.lock().unwrap().insert(host.to_owned());
    }

    /// Connections work again; requests under way stay so.
    pub(crate) fn mend(&self) {
        self.silent.lock().unwrap().clear();
    }

    fn is_silent(&self, host: &str) -> bool {
        self.silent.lock().unwrap().contains(host)
    }
}

impl SimFleet {
    /// Connections work again, and requests under way arrive.
    pub(crate) fn deliver(&self) {
        self.wires.mend();
        let letters = std::mem::take(&mut *self.wires.letters.lock().unwrap());
        for letter in letters {
            let hosts = SimHosts {
                fleet: self.clone(),
                environment: String::new(),
            };
            hosts.arrive(&letter);
        }
    }
}

impl Fleet for SimFleet {
    fn hosts(&self, plan: &Plan) -> Arc<dyn Hosts> {
        Arc::new(SimHosts {
            fleet: self.clone(),
            environment: plan.environment.clone(),
        })
    }
}

struct SimHosts {
    fleet: SimFleet,
    environment: String,
}

impl Hosts for SimHosts {
    fn perform<'a>(
        &'a self,
        host: &'a str,
        op: &'a Op,
        output: &'a dyn Output,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        async move {
            let lost = || Err(HostError::Lost("cut by the test".to_owned()));
            let faults = &self.fleet.faults;
            let fault = faults.before(op.label(), host).await;
            if fault == Some(Fault::CutBefore) {
                return lost();
            }
            if fault == Some(Fault::Refuse) {
                return Err(HostError::Refused(REFUSED.to_owned()));
            }
            let place = self.place(host, op);
            // By any user.
            let host = host.rsplit('@').next().unwrap();
            let late = matches!(fault, Some(Fault::Late | Fault::CrashLate));
            if late || self.fleet.wires.is_silent(host) {
                self.post(place, host, op);
                faults.after(fault).await;
                return lost();
            }
            if fault == Some(Fault::Twice) {
                let _ = self.act(&place, host, op);
            }
            let reply = self.act(&place, host, op);
            faults.after(fault).await;
            if fault == Some(Fault::CutAfter) {
                self.half(&place, op);
                return lost();
            }
            let reply = reply?;
            if let Op::Run { .. } = op {
                output.program_began();
            }
            if let (Op::Run { run, .. }, Reply::Run(RunEnd::Running)) = (op, &reply) {
                return Ok(Reply::Run(self.follow(&place, &run.key).await));
            }
            Ok(reply)
        }
        .boxed()
    }
}

impl SimHosts {
    /// Where an operation acts.
    fn place(&self, host: &str, op: &Op) -> DiskPlace {
        let deploy_to = match op {
            Op::Prepare { target: place, .. }
            | Op::Transfer { target: place, .. }
            | Op::Seal { target: place, .. }
            | Op::Publish { target: place, .. }
            | Op::Run { target: place, .. }
            | Op::Prune { target: place, .. } => &place.deploy_to,
            Op::Inspect { deploy_to }
            | Op::RunResult { deploy_to, .. }
            | Op::Kill { deploy_to, .. } => deploy_to,
        };
        let of_environment = deploy_to.starts_with("/srv/");
        let directory = if of_environment {
            &self.environment
        } else {
            deploy_to
        };
        (directory.clone(), host.to_owned())
    }

    fn on<T>(&self, place: &DiskPlace, with: impl FnOnce(&mut Disk) -> T) -> T {
        let mut disks = self.fleet.disks.lock().unwrap();
        with(disks.entry(place.clone()).or_default())
    }

    fn act(&self, place: &DiskPlace, host: &str, op: &Op) -> Result<Reply, HostError> {
        if let Some(message) = self.fleet.faults.refusal(op.label(), host) {
            return Err(HostError::Refused(message));
        }
        self.witnessed(place, host, op);
        self.acted(place, host, op, self.fleet.wires.seq())
    }

    fn witnessed(&self, place: &DiskPlace, host: &str, op: &Op) {
        let disks = self.fleet.disks.lock().unwrap();
        self.fleet.witness.before(place, host, op, &disks);
    }

    fn acted(&self, place: &DiskPlace, host: &str, op: &Op, seq: u64) -> Result<Reply, HostError> {
        self.on(place, |disk| {
            take_seq(disk, op, seq)?;
            let reply = self.on_disk(host, disk, op);
            self.fleet.witness.after(host, disk);
            reply
        })
    }

    /// The request is under way, and may arrive at any later time.
    fn post(&self, place: DiskPlace, host: &str, op: &Op) {
        self.witnessed(&place, host, op);
        let letter = Letter {
            place,
            host: host.to_owned(),
            op: op.clone(),
            seq: self.fleet.wires.seq(),
        };
        self.fleet.wires.letters.lock().unwrap().push(letter);
    }

    fn arrive(&self, letter: &Letter) {
        let Letter {
            place,
            host,
            op,
            seq,
        } = letter;
        if let Op::Transfer { .. } = op {
            // The other end is gone: what has arrived stays.
            if self.on(place, |disk| take_seq(disk, op, *seq)).is_ok() {
                self.half(place, op);
            }
            return;
        }
        let starts = |disk: &mut Disk| disk.started.len();
        let before = self.on(place, starts);
        let _ = self.acted(place, host, op, *seq);
        if let Op::Run { run, .. } = op
            && self.on(place, starts) > before
        {
            self.fleet.witness.late_start(&run.key);
        }
    }

    fn on_disk(&self, host: &str, disk: &mut Disk, op: &Op) -> Result<Reply, HostError> {
        let now = self.fleet.clock.elapsed();
        let switches = matches!(
            op,
            Op::Prepare { .. } | Op::Publish { .. } | Op::Prune { .. }
        );
        let for_rollback = matches!(
            op,
            Op::Prepare { existing, .. } | Op::Publish { existing, .. } if *existing != Existing::Equal
        );
        let in_the_way = match disk.obstacle {
            None | Some(BrokenCurrent::Dangling) => false,
            Some(BrokenCurrent::Text) => !for_rollback,
            Some(BrokenCurrent::Directory | BrokenCurrent::File) => true,
        };
        if switches && in_the_way {
            return Err(HostError::Refused("current is no symbolic link".to_owned()));
        }
        match op {
            Op::Prepare {
                target: place,
                release,
                base,
                existing,
                inodes,
                shared,
                ..
            } => {
                let base = (base.as_ref(), *inodes);
                prepare(disk, place, release, base, shared, *existing)
            }
            Op::Transfer {
                target: place,
                from,
                set,
                inodes,
            } => {
                take_fence(disk, place)?;
                if disk.partial.is_none() {
                    return Err(HostError::Refused("nothing is prepared".to_owned()));
                }
                if let TransferSet::LinkDest(base) | TransferSet::Compare(base) = set
                    && !disk.releases.contains_key(base)
                {
                    return Err(HostError::Refused(format!("{base} does not stand here")));
                }
                let links = matches!(set, TransferSet::LinkDest(_) | TransferSet::Compare(_));
                disk.partial_linked |= links && *inodes == Inodes::Shared;
                let trees = self.fleet.trees.lock().unwrap();
                disk.partial = trees.get(from.to_str().unwrap()).cloned();
                Ok(Reply::Transferred {
                    bytes_sent: 1,
                    files_sent: 1,
                })
            }
            Op::Seal {
                target: place,
                release,
                ..
            } => seal(disk, place, release),
            Op::Inspect { .. } => Ok(Reply::Inspected(host_state(disk))),
            Op::Publish {
                target: place,
                release,
                over,
                key,
                existing,
            } => publish(disk, place, release, over, (key, *existing)),
            Op::Run { target: place, run } => {
                take_fence(disk, place)?;
                if is_barred(disk, &run.key) {
                    return Err(HostError::Refused(
                        "it was stopped before it began".to_owned(),
                    ));
                }
                let of_release = disk.linked.iter().find(|release| {
                    disk.live.as_ref() != Some(release) && run.directory.ends_with(&release.0)
                });
                assert_eq!(
                    of_release, None,
                    "{host}: a program writes into the live release"
                );
                if !disk.runs.contains_key(&run.key) {
                    *disk.started.entry(run.key.clone()).or_default() += 1;
                    let given = (run.directory.clone(), run.environment.clone());
                    disk.given.insert(run.key.clone(), given);
                    let program = self.fleet.program.lock().unwrap().clone();
                    let (end, takes) = program(host, &run.key);
                    let until = now + takes;
                    disk.runs.insert(run.key.clone(), Attempt { until, end });
                }
                Ok(Reply::Run(end_of(disk, &run.key, now)))
            }
            Op::RunResult { key, .. } => Ok(Reply::Run(end_of(disk, key, now))),
            Op::Kill { key, .. } => {
                disk.runs.entry(key.clone()).or_insert(BARRED);
                let part = format!("{key}.");
                for (name, attempt) in &mut disk.runs {
                    if (name == key || name.starts_with(&part)) && attempt.until > now {
                        attempt.until = now;
                        attempt.end = RunEnd::Ended {
                            code: 137,
                            values: BTreeMap::new(),
                        };
                    }
                }
                Ok(Reply::Killed)
            }
            Op::Prune {
                target: place,
                keep,
                protect,
                failed,
            } => prune(disk, place, *keep, protect, failed),
        }
    }

    /// The state after a transfer whose connection was cut.
    fn half(&self, place: &DiskPlace, op: &Op) {
        if let Op::Transfer { .. } = op {
            self.on(place, |disk| {
                disk.partial = disk.partial.as_ref().map(|_| TreeDigest("half".to_owned()));
            });
        }
    }

    /// Waits for the end of a program.
    async fn follow(&self, place: &DiskPlace, key: &str) -> RunEnd {
        let clock = &self.fleet.clock;
        loop {
            let now = clock.elapsed();
            let (end, until) =
                self.on(place, |disk| (end_of(disk, key, now), disk.runs[key].until));
            if end != RunEnd::Running {
                return end;
            }
            clock.pause(until.saturating_sub(now)).await;
        }
    }
}

fn end_of(disk: &Disk, key: &str, now: Duration) -> RunEnd {
    match disk.runs.get(key) {
        None => RunEnd::NotBegun,
        Some(attempt) if attempt.until > now => RunEnd::Running,
        Some(attempt) => attempt.end.clone(),
    }
}

pub(crate) fn take_fence(disk: &mut Disk, place: &DeployTarget) -> Result<(), HostError> {
    if disk.fence > place.fence {
        return Err(fenced(place.fence, disk.fence));
    }
    if disk.fence < place.fence {
        // The partial release is below the fence's directory and is renamed with it.
        disk.fence = place.fence;
    }
    Ok(())
}

/// The directories `fence-N` and `turn-S` are renamed only upwards: a request finds none of them after a
/// later request.
fn take_seq(disk: &mut Disk, op: &Op, seq: u64) -> Result<(), HostError> {
    let (Op::Prepare { target: place, .. }
    | Op::Transfer { target: place, .. }
    | Op::Seal { target: place, .. }
    | Op::Publish { target: place, .. }
    | Op::Run { target: place, .. }
    | Op::Prune { target: place, .. }) = op
    else {
        return Ok(());
    };
    take_fence(disk, place)?;
    if disk.seq > seq {
        return Err(HostError::Refused(format!("sequence number {seq} is over")));
    }
    disk.seq = seq;
    Ok(())
}

pub(crate) fn host_state(disk: &Disk) -> HostState {
    HostState {
        live: disk.live.clone(),
        releases: disk
            .releases
            .iter()
            .map(|(id, digest)| Release {
                id: id.clone(),
                digest: digest.clone(),
            })
            .collect(),
        others: disk
            .foreign
            .iter()
            .filter(|id| id.is_named())
            .cloned()
            .collect(),
        fence: disk.fence,
        broken: disk.obstacle,
        changed: None,
    }
}

fn publish(
    disk: &mut Disk,
    place: &DeployTarget,
    release: &ReleaseId,
    over: &[ReleaseId],
    (key, existing): (&str, Existing),
) -> Result<Reply, HostError> {
    take_fence(disk, place)?;
    let there = match existing {
        Existing::Equal => disk.releases.contains_key(release),
        Existing::AsItIs | Existing::Found => disk.is_there(release),
    };
    if !there {
        return Err(HostError::Refused(format!("{release} is not complete")));
    }
    if let Some(live) = &disk.live
        && live != release
        && !over.contains(live)
    {
        let live = live.clone();
        return Ok(Reply::Occupied { live });
    }
    let was = disk
        .journal
        .entry(key.to_owned())
        .or_insert_with(|| disk.live.clone())
        .clone();
    if disk.live.as_ref() != Some(release) {
        disk.live = Some(release.clone());
        disk.obstacle = None;
        disk.linked.remove(release);
        disk.history.push(release.clone());
    }
    let written = existing != Existing::Equal && disk.written.contains(release);
    Ok(Reply::Published {
        was,
        state: host_state(disk),
        differs: written.then(|| LocalChanges {
            files: 1,
            names: vec!["log/prod.log".to_owned()],
        }),
        uncompared: disk.uncompared.clone(),
    })
}
