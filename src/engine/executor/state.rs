//! What the executor keeps, and the outcomes of its effects. Its parts use this; nothing here decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;

use super::active::Active;
use super::claim::Claim;
use super::compare::{ComparisonOutcome, Comparisons};
use super::effects::World;
use super::land::{LandingOutcome, RefPoller, SeenRefs};
use super::queues::Queues;
use super::step::StepEventSender;
use crate::domain::task::{Event, Recorded, StepRef, StepResult, Task};
use crate::store::StoreError;

/// Bounds of the executor.
#[derive(Clone, Copy, Debug)]
pub struct ExecutorLimits {
    /// Maximum number of tasks that run concurrently.
    pub parallel_tasks: usize,
    /// Maximum number of steps of one task that run concurrently.
    pub parallel_hosts: usize,
    /// How long a pushed ref may take to appear on the git server, in seconds.
    pub landing_timeout_s: i64,
    pub missed: MissedPolicy,
}

/// What happens to a task whose start time passed while no executor was running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedPolicy {
    #[default]
    Run,
    Expire,
}

/// The outcome of an effect.
pub(super) enum CompletedEffect {
    Appended {
        id: u64,
        events: Vec<Recorded>,
        result: Result<Task, StoreError>,
    },
    Refreshed {
        id: u64,
        result: Result<Task, StoreError>,
    },
    Fence {
        id: u64,
        result: Result<Claim, StoreError>,
    },
    Step {
        id: u64,
        at: StepRef,
        result: StepResult,
    },
    /// A step that is still running reported something.
    StepEvent {
        id: u64,
        at: StepRef,
        event: Event,
        more: StepEventSender,
    },
    Killed {
        id: u64,
        at: StepRef,
        result: Result<(), String>,
    },
    RefsRead(SeenRefs),
    Landed {
        id: u64,
        outcome: LandingOutcome,
    },
    /// Every record of a push has been taken in.
    PushComplete {
        push: String,
    },
    /// Which commits of a push are not ancestors of any other.
    Compared {
        ids: Ids,
        heads: Result<Vec<String>, String>,
    },
    ComparedWithLive {
        task: Arc<Task>,
        outcome: ComparisonOutcome,
    },
    Time,
    Unpinned,
}

/// Drives tasks until the store is closed. See the module documentation.
pub struct Executor {
    pub(super) world: World,
    pub(super) limits: ExecutorLimits,
    pub(super) tasks: BTreeMap<u64, Active>,
    pub(super) effects: FuturesUnordered<BoxFuture<'static, CompletedEffect>>,
    pub(super) lander: RefPoller,
    pub(super) queues: Queues,
    /// Pushes that may still get further records.
    pub(super) incomplete_pushes: BTreeSet<String>,
    /// Tasks that are being read for the first time.
    pub(super) first_reads: Ids,
    pub(super) comparisons: Comparisons,
    /// When this executor started.
    pub(super) began: Timestamp,
    pub(super) timer: Option<Timestamp>,
}

impl Executor {
    #[must_use]
    pub fn new(world: World, limits: ExecutorLimits) -> Self {
        Self {
            began: world.clock.now(),
            world,
            limits,
            tasks: BTreeMap::new(),
            effects: FuturesUnordered::new(),
            lander: RefPoller::default(),
            queues: Queues::default(),
            incomplete_pushes: BTreeSet::new(),
            first_reads: Ids::new(),
            comparisons: Comparisons::default(),
            timer: None,
        }
    }
}

/// Task IDs.
pub(super) type Ids = BTreeSet<u64>;
