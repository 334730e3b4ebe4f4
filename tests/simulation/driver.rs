//! Runs the executor in the simulated world until nothing moves any more.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use jiff::Timestamp;
use tagship::approval::{Actor, Counts, Role};
use tagship::clock::{Clock as _, ManualClock};
use tagship::executor::{Executor, Limits, World};
use tagship::host::RunEnd;
use tagship::plan::Ground;
use tagship::request::{self, Back, Request, RequestError};
use tagship::rule::Schedule;
use tagship::store::Store;
use tagship::store::memory::{Fault, MemoryKv};
use tagship::task::{Origin, Submission, Submitter, Supersede, Task};

use crate::host::{Disk, Program, SimFleet};
use crate::world::{Fate, NoLogs, SimCatalog, SimCheckout, SimGit, SimProbes, SimShelf, ground};

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

/// Everything that outlives a crash of the agent.
pub(crate) struct Sim {
    pub(crate) kv: Arc<MemoryKv>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) fate: Fate,
    pub(crate) refs: Arc<Mutex<BTreeMap<String, String>>>,
    pub(crate) disks: Arc<Mutex<BTreeMap<String, Disk>>>,
    pub(crate) well: Arc<Mutex<bool>>,
    pub(crate) ground: Arc<Mutex<Ground>>,
    pub(crate) program: Arc<Mutex<Program>>,
    pub(crate) crashes: usize,
    world: World,
}

impl Sim {
    pub(crate) async fn new(template: &str) -> Self {
        let kv = Arc::new(MemoryKv::new());
        let fate = Fate::default();
        let clock = Arc::new(ManualClock::at(
            Timestamp::from_second(1_800_000_000).unwrap(),
        ));
        let refs = Arc::default();
        let disks = Arc::default();
        let well = Arc::new(Mutex::new(true));
        let ground = Arc::new(Mutex::new(ground()));
        let program: Arc<Mutex<Program>> = Arc::new(Mutex::new(Arc::new(|_, _| RunEnd::Ended {
            code: 0,
            values: BTreeMap::new(),
        })));
        let world = World {
            store: Store::open(kv.clone()).await.unwrap(),
            clock: clock.clone(),
            git: Arc::new(SimGit {
                refs: Arc::clone(&refs),
                fate: fate.clone(),
            }),
            checkout: Arc::new(SimCheckout { fate: fate.clone() }),
            shelf: Arc::new(SimShelf {
                manifests: Arc::default(),
                fate: fate.clone(),
            }),
            fleet: Arc::new(SimFleet {
                disks: Arc::clone(&disks),
                fate: fate.clone(),
                program: program.clone(),
            }),
            probes: Arc::new(SimProbes { well: well.clone() }),
            catalog: Arc::new(SimCatalog {
                ground: ground.clone(),
                template: template.to_owned(),
            }),
            logs: Arc::new(NoLogs),
        };
        Self {
            kv,
            clock,
            fate,
            refs,
            disks,
            well,
            ground,
            program,
            crashes: 0,
            world,
        }
    }

    /// The store as whoever comes next sees it.
    pub(crate) async fn store(&self) -> Store {
        Store::open(self.kv.clone()).await.unwrap()
    }

    /// A tag is pushed: it stands on the git server, and its record was taken in.
    pub(crate) async fn push(&self, tag: &str, object: &str, schedule: Schedule) -> u64 {
        let reference = format!("refs/tags/{tag}");
        self.refs
            .lock()
            .unwrap()
            .insert(reference.clone(), object.to_owned());
        self.propose(&reference, object, schedule).await
    }

    pub(crate) async fn propose(&self, reference: &str, object: &str, schedule: Schedule) -> u64 {
        let submission = Submission {
            origin: Origin::Tag {
                rule: "release-".to_owned(),
            },
            project: "shop".to_owned(),
            environment: "production".to_owned(),
            repository: "alice/shop".to_owned(),
            reference: reference.to_owned(),
            object: object.to_owned(),
            template: "test".to_owned(),
            schedule,
            submitter: Submitter {
                name: "alice".to_owned(),
                account: Some("alice".to_owned()),
            },
            expires_s: Some(7 * 86400),
            supersede: Supersede::ByNewer,
            refuse_older: false,
            parameters: BTreeMap::new(),
        };
        let store = self.store().await;
        let proposal = store.propose(submission, None, self.clock.now()).await;
        proposal.unwrap().id()
    }

    /// Runs the agent, started anew after every crash, until it would wait for a person for ever.
    pub(crate) async fn rest(&mut self) {
        loop {
            let store = self.store().await;
            self.world.store = store;
            let executor = Executor::new(
                self.world.clone(),
                Limits {
                    parallel_tasks: 4,
                    parallel_hosts: 8,
                    landing_timeout_s: 300,
                },
            );
            let fate = self.fate.clone();
            let agent = async {
                tokio::select! {
                    biased;
                    () = fate.crash() => {}
                    result = executor.run() => drop(result),
                }
            };
            let agent = tokio::task::unconstrained(agent);
            let ended = quiet(Box::pin(agent), &self.clock);
            match ended {
                Ended::AtRest => return,
                Ended::Crashed => {
                    self.crashes += 1;
                    self.kv.crash();
                    self.kv.on_commit(|_| Fault::None);
                }
            }
        }
    }

    pub(crate) async fn task(&self, id: u64) -> Task {
        self.store().await.task(id).await.unwrap()
    }

    pub(crate) async fn ask(
        &self,
        id: u64,
        who: &str,
        request: Request,
    ) -> Result<(), RequestError> {
        let store = self.store().await;
        request::ask(&store, id, &actor(who), &request, self.clock.now())
            .await
            .map(drop)
    }

    pub(crate) async fn approve(&self, id: u64) -> Result<(), RequestError> {
        let task = self.task(id).await;
        let plan = task.landed.expect("landed").terms.plan;
        let request = Request::Approve {
            plan,
            comment: String::new(),
            not_before: None,
        };
        self.ask(id, "bob", request).await
    }

    pub(crate) async fn roll_back(&self, back: Back) -> u64 {
        let store = self.store().await;
        let task = request::roll_back(&store, &back, &actor("bob"), self.clock.now()).await;
        task.unwrap().id
    }

    /// What each host serves: the commit that its `current` leads to.
    pub(crate) async fn served(&self) -> BTreeMap<String, Option<String>> {
        let store = self.store().await;
        let disks = self.disks.lock().unwrap().clone();
        let mut served = BTreeMap::new();
        for (host, disk) in disks {
            let commit = match &disk.live {
                Some(release) => store
                    .release("shop", "production", release)
                    .await
                    .unwrap()
                    .map(|record| record.commit),
                None => None,
            };
            served.insert(host, commit);
        }
        served
    }
}

enum Ended {
    AtRest,
    Crashed,
}

/// Polls the agent, and moves the clock on when nothing else moves, until no time that would move
/// something lies within a day. No runtime, no thread: the same run is the same every time.
fn quiet(mut agent: Pin<Box<impl Future<Output = ()>>>, clock: &ManualClock) -> Ended {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        while woken.0.swap(false, Ordering::SeqCst) {
            if agent.as_mut().poll(&mut context).is_ready() {
                return Ended::Crashed;
            }
        }
        match clock.next_sleeper() {
            Some(at) if at.duration_since(clock.now()).as_hours() < 24 => clock.set(at),
            _ => return Ended::AtRest,
        }
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub(crate) fn actor(name: &str) -> Actor {
    Actor {
        name: name.to_owned(),
        role: Role::Approver,
        groups: Vec::new(),
        counts: Counts::Yes,
    }
}

/// Forty equal digits.
pub(crate) fn object(digit: char) -> String {
    digit.to_string().repeat(40)
}
