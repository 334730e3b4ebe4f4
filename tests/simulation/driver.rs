//! Everything that outlives an agent, and the agents: polled by hand until nothing moves any more.
//! No runtime, no thread, no clock but ours: the same run is the same every time.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tagship::base::clock::{Clock, ManualClock};
use tagship::config::TemplateCache;
use tagship::domain::approval::freeze::Calendar;
use tagship::domain::plan::ResolvedEnvironment;
use tagship::domain::template::Template;
use tagship::engine::executor::{Executor, ExecutorLimits, MissedPolicy, World};
use tagship::engine::intake::{Intake, Scans};
use tagship::engine::reconcile::{Reconciler, WatchedRepository};
use tagship::store::backup::restore::reset_after_restore;
use tagship::store::kv::{Commit, Kv as _, Row};
use tagship::store::memory::MemoryKv;
use tagship::store::{RestoreOrigin, Store};
use tagship_tests::unindent;
use tokio::sync::watch;

use crate::doubles::{
    AllUsers, Manifests, NoLogs, SimCheckout, SimGit, SimManifests, SimPlans, SimProbes, SimPushes,
    ground, with_scripts,
};
use crate::faults::{Ending, Faults};
use crate::host::{SimFleet, well};
use crate::immediate::at_once;
use crate::spool::{GIT_USER, Records, SimSpool, configuration, rules};
use crate::witness::Witness;

/// The template of most tests: checkout; sync and a program; publish and a check.
pub(crate) const TEMPLATE: &str = r#"
name = "test"
[[stage]]
name = "checkout"
steps = [{ use = "checkout" }]
[[stage]]
name = "stage"
steps = [{ use = "sync" }, { run = ["migrate"], in = "release", once = true }]
[[stage]]
name = "switch"
steps = [{ use = "publish" }, { use = "check", tcp = "{HOST}:80", retries = 1 }]
"#;

/// A world without events for this long is at rest.
pub(crate) const REST: SignedDuration = SignedDuration::from_hours(24);

/// How often agents may be polled in one run: more than any scenario needs.
const POLLS_MAX: u32 = 200_000;

/// An agent's process.
struct Agent {
    number: usize,
    process: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Woken>,
    /// Suspended: it resumes later, unaware of what happened meanwhile.
    stalled: bool,
}

/// Everything that outlives an agent, and the agents that run.
pub(crate) struct Sim {
    pub(crate) kv: Arc<MemoryKv>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) faults: Faults,
    pub(crate) witness: Arc<Witness>,
    pub(crate) refs: Arc<Mutex<BTreeMap<String, String>>>,
    /// The number of records at the last change of a ref.
    pub(crate) moved: Mutex<BTreeMap<String, usize>>,
    /// The clock was set.
    pub(crate) jumped: bool,
    /// The objects in the agent's mirror.
    pub(crate) mirror: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) records: Records,
    pub(crate) fleet: SimFleet,
    pub(crate) well: Arc<Mutex<bool>>,
    pub(crate) ground: Arc<Mutex<ResolvedEnvironment>>,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) missed: MissedPolicy,
    pub(crate) crashes: usize,
    /// Steps of one task under way at the same time.
    pub(crate) parallel_hosts: usize,
    /// Whether agents look for tags that no hook reported.
    pub(crate) reconciles: bool,
    /// Tags made on the git server that no hook reported, with their objects.
    pub(crate) made: Mutex<Vec<(String, String)>>,
    /// The task of every key under which one was submitted.
    pub(crate) submitted: Mutex<BTreeMap<String, u64>>,
    template: Template,
    /// The store as people see it.
    store: Store,
    manifests: Arc<Mutex<Manifests>>,
    pub(crate) bell: watch::Sender<u64>,
    agents: Vec<Agent>,
    started: usize,
    /// How often agents have read the clock.
    pub(crate) looks: Arc<AtomicU32>,
    /// Distinguishes this machine from its clones.
    machine: u64,
}

/// Why the agents are not polled any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// Nothing moves within a day.
    AtRest,
    /// An effect waits until people have acted; see [`Sim::resume`].
    Interrupted,
}

impl Sim {
    #[must_use]
    #[track_caller]
    pub(crate) fn new(template: &str) -> Self {
        let template = Template::parse("test.toml", &unindent(template)).unwrap();
        Self::with(with_scripts(template))
    }

    #[must_use]
    pub(crate) fn with(template: Template) -> Self {
        let faults = Faults::default();
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let clock = Arc::new(ManualClock::at(start));
        let witness = Arc::new(Witness::default());
        let kv: Arc<MemoryKv> = Arc::default();
        let mut sim = Self {
            store: opened(&kv),
            kv,
            clock: clock.clone(),
            faults: faults.clone(),
            witness: witness.clone(),
            refs: Arc::default(),
            moved: Mutex::default(),
            jumped: false,
            mirror: Arc::default(),
            records: Records::default(),
            fleet: SimFleet {
                disks: Arc::default(),
                program: Arc::new(Mutex::new(well())),
                clock,
                witness,
                faults,
                trees: Arc::default(),
                wires: Arc::default(),
            },
            well: Arc::new(Mutex::new(true)),
            ground: Arc::new(Mutex::new(ground())),
            calendar: Arc::default(),
            missed: MissedPolicy::Run,
            crashes: 0,
            parallel_hosts: 8,
            reconciles: false,
            made: Mutex::default(),
            submitted: Mutex::default(),
            template,
            manifests: Arc::default(),
            bell: watch::Sender::new(0),
            agents: Vec::new(),
            started: 0,
            looks: Arc::default(),
            machine: 0,
        };
        sim.take_store(MemoryKv::new());
        sim
    }

    fn take_store(&mut self, kv: MemoryKv) {
        let faults = self.faults.clone();
        kv.on_commit(move |label| faults.commit(label));
        self.kv = Arc::new(kv);
        self.store = opened(&self.kv);
        self.witness.reads(self.store());
    }

    /// The store as people see it.
    pub(crate) fn store(&self) -> Store {
        self.store.clone()
    }

    /// Another agent starts. The first one starts by itself.
    pub(crate) fn start(&mut self) {
        self.started += 1;
        let number = self.started;
        let scans: Arc<Scans> = Arc::default();
        let world = self.world(scans.clone());
        let templates = TemplateCache::new(&configuration().agent.templates_dir);
        let intake = Intake {
            store: world.store.clone(),
            clock: self.clock.clone(),
            config: configuration(),
            rules: rules(),
            templates: templates.clone(),
            spool: Arc::new(SimSpool {
                records: self.records.clone(),
                faults: self.faults.clone(),
            }),
            git_user: Some(GIT_USER),
            scans: scans.clone(),
        };
        let reconciler = Reconciler {
            store: intake.store.clone(),
            clock: self.clock.clone(),
            config: configuration(),
            rules: rules(),
            templates,
            git: world.git.clone(),
            scans: scans.clone(),
            watched: WatchedRepository::all(&configuration(), |project| {
                world.plan_source.source(&project.name).unwrap()
            }),
        };
        let reconciles = self.reconciles;
        if reconciles {
            reconciler.hold_all();
        }
        let mut bell = self.bell.subscribe();
        let mut gong = self.bell.subscribe();
        let limits = ExecutorLimits {
            parallel_tasks: 4,
            parallel_hosts: self.parallel_hosts,
            landing_timeout_s: 300,
            missed: self.missed,
        };
        let process = async move {
            let intake = async {
                while intake.take_all().await.is_ok() {
                    tokio::select! {
                        biased;
                        rung = bell.changed() => rung.unwrap(),
                        () = scans.requested() => {}
                    }
                }
            };
            // A failed scan is repeated after the next event.
            let looks = async {
                loop {
                    let _ = reconciler.scan_all().await;
                    gong.changed().await.unwrap();
                }
            };
            tokio::select! {
                biased;
                _ = Executor::new(world, limits).run() => {}
                () = intake => {}
                () = looks, if reconciles => {}
            }
        };
        self.agents.push(Agent {
            number,
            process: Box::pin(tokio::task::unconstrained(process)),
            woken: Arc::new(Woken(AtomicBool::new(true))),
            stalled: false,
        });
    }

    pub(crate) fn world(&self, scans: Arc<Scans>) -> World {
        let faults = &self.faults;
        let number = u64::try_from(self.started).unwrap();
        World {
            store: opened(&self.kv).salted(self.machine + number),
            clock: Arc::new(Watched {
                clock: self.clock.clone(),
                looks: self.looks.clone(),
            }),
            git: Arc::new(SimGit {
                refs: self.refs.clone(),
                mirror: self.mirror.clone(),
                faults: faults.clone(),
            }),
            checkout: Arc::new(SimCheckout {
                mirror: self.mirror.clone(),
                faults: faults.clone(),
                trees: self.fleet.trees.clone(),
                witness: self.witness.clone(),
            }),
            manifests: Arc::new(SimManifests {
                manifests: self.manifests.clone(),
                faults: faults.clone(),
            }),
            fleet: Arc::new(self.fleet.clone()),
            probes: Arc::new(SimProbes {
                well: self.well.clone(),
                faults: faults.clone(),
            }),
            calendar: self.calendar.clone(),
            plan_source: Arc::new(SimPlans {
                faults: faults.clone(),
                ground: self.ground.clone(),
                template: self.template.clone(),
            }),
            accounts: Arc::new(AllUsers),
            pushes: Arc::new(SimPushes {
                scans,
                faults: faults.clone(),
            }),
            logs: Arc::new(NoLogs),
        }
    }

    /// Every agent that runs is suspended.
    pub(crate) fn stall(&mut self) {
        for agent in &mut self.agents {
            agent.stalled = true;
        }
    }

    /// Suspended agents resume.
    pub(crate) fn go_on(&mut self) {
        for agent in &mut self.agents {
            agent.stalled = false;
            agent.woken.0.store(true, Ordering::SeqCst);
        }
    }

    /// Every agent ends, as by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.agents.clear();
        self.kv.crash();
    }

    /// What a backup of the store holds now.
    pub(crate) fn backup(&self) -> Vec<Row> {
        let snapshot = at_once(self.kv.snapshot()).unwrap();
        at_once(snapshot.rows.map(Result::unwrap).collect())
    }

    /// The agents end, and an unmarked copy of the store takes its place.
    pub(crate) fn restore(&mut self, backup: &[Row]) {
        self.kill();
        let kv = MemoryKv::new();
        for rows in backup.chunks(50) {
            let commit = rows.iter().fold(Commit::new(), |commit, row| {
                commit.put(row.key.clone(), row.value.clone())
            });
            at_once(kv.commit(commit)).unwrap();
        }
        // Keys of the lost days are forgotten.
        self.submitted.lock().unwrap().clear();
        self.take_store(kv);
    }

    /// Does the same as `tagship restore`; returns the tasks that wait for a check by a user.
    pub(crate) fn restore_properly(&mut self, backup: &[Row], taken: Timestamp) -> Vec<u64> {
        let next_id = self.store().last_id() + 1000;
        self.restore(backup);
        let restored = RestoreOrigin {
            at: self.clock.now(),
            backup: taken,
            revision: 0,
            next_id,
        };
        at_once(reset_after_restore(&self.store(), &restored)).unwrap()
    }

    /// Another agent with a copy of this one's store, for the same hosts, like a cloned machine.
    #[must_use]
    pub(crate) fn twin(&self) -> Self {
        let mut twin = Self::with(self.template.clone());
        twin.machine = self.machine + 1000;
        twin.clock = self.clock.clone();
        twin.refs = self.refs.clone();
        twin.mirror = Arc::new(Mutex::new(self.mirror.lock().unwrap().clone()));
        twin.fleet.clock = self.clock.clone();
        twin.fleet.disks = self.fleet.disks.clone();
        twin.fleet.wires = self.fleet.wires.clone();
        twin.manifests = Arc::new(Mutex::new(self.manifests.lock().unwrap().clone()));
        twin.witness.knows_trees_of(&self.witness);
        twin.restore(&self.backup());
        twin
    }

    /// Runs the agents, restarted after every crash, until they would wait for a person forever.
    #[track_caller]
    pub(crate) fn rest(&mut self) {
        while self.run() == Halt::Interrupted {
            self.resume();
        }
    }

    /// Users have acted: interrupted effects resume.
    pub(crate) fn resume(&self) {
        self.faults.resume();
    }

    /// Runs the agents until they rest, or an effect waits for people.
    #[track_caller]
    pub(crate) fn run(&mut self) -> Halt {
        self.run_for(SignedDuration::from_hours(24 * 365))
    }

    /// As [`Sim::run`], for at most this time.
    #[track_caller]
    pub(crate) fn run_for(&mut self, time: SignedDuration) -> Halt {
        let end = self.clock.now() + time;
        for _ in 0..POLLS_MAX {
            if self.agents.is_empty() {
                self.start();
            }
            let next = self
                .agents
                .iter()
                .position(|agent| !agent.stalled && agent.woken.0.swap(false, Ordering::SeqCst));
            if let Some(next) = next {
                self.poll(next);
                if self.faults.take_interrupt() {
                    return Halt::Interrupted;
                }
                continue;
            }
            match self.clock.next_sleeper() {
                Some(at) if at > end => return Halt::AtRest,
                Some(at) if at.duration_since(self.clock.now()) < REST => {
                    self.clock.set(at);
                }
                _ => return Halt::AtRest,
            }
        }
        panic!("it does not come to rest:\n{}", self.faults.trace(0));
    }

    fn poll(&mut self, place: usize) {
        let agent = &mut self.agents[place];
        let waker = Waker::from(agent.woken.clone());
        let number = agent.number;
        self.faults.poll(Some(number));
        let ended = agent
            .process
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        self.faults.poll(None);
        let crash = self.faults.take_crash(number);
        if !ended && crash.is_none() {
            return;
        }
        self.crashes += 1;
        drop(self.agents.remove(place));
        if crash == Some(Ending::Kept) {
            self.kv.flush();
        }
        if self.agents.is_empty() {
            self.kv.crash();
        }
        // The process supervisor restarts the agent.
        self.start();
    }

    pub(crate) fn agents(&self) -> usize {
        self.agents.len()
    }
}

fn opened(kv: &Arc<MemoryKv>) -> Store {
    at_once(Store::open(kv.clone())).unwrap()
}

/// A clock that counts its readings.
struct Watched {
    clock: Arc<ManualClock>,
    looks: Arc<AtomicU32>,
}

impl Clock for Watched {
    fn now(&self) -> Timestamp {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.clock.now()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(at)
    }

    fn pause(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.clock.pause(time)
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Forty equal digits.
pub(crate) fn object_of(digit: char) -> String {
    digit.to_string().repeat(40)
}
