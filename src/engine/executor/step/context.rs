//! The inputs of a step, and how it queries its host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use super::events::LastLine;
use crate::domain::host::{
    DeployTarget, HostError, Hosts, Op, Output, ReleaseId, Reply, TASKS, TreeDigest,
};
use crate::domain::plan::{AGENT, Plan};
use crate::domain::task::{Direction, Event, Origin, StepRef, StepResult, Task};
use crate::engine::executor::effects::World;
use crate::store::StoreError;

/// Whether this executor made the intent durable, or a previous one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::executor) enum IntentRecorded {
    Now,
    Before,
}

/// The inputs of a step.
pub(in crate::engine::executor) struct StepInputs {
    pub(in crate::engine::executor) task: Arc<Task>,
    pub(in crate::engine::executor) plan: Arc<Plan>,
    pub(in crate::engine::executor) hosts: Arc<dyn Hosts>,
    pub(in crate::engine::executor) claim: u64,
    /// The claim's fence on this host.
    pub(in crate::engine::executor) fence: u64,
    pub(in crate::engine::executor) at: StepRef,
    pub(in crate::engine::executor) attempt: u32,
    pub(in crate::engine::executor) begun: IntentRecorded,
    pub(in crate::engine::executor) tree: Arc<Mutex<Option<TreeDigest>>>,
    /// Receives the step's events before its result.
    pub(in crate::engine::executor) event_sender: mpsc::UnboundedSender<Event>,
}

/// Why a step did not succeed.
pub(in crate::engine::executor) enum StepError {
    Failed(String),
    /// A retry would fail the same.
    Final(String),
    Unknown(String),
}

impl StepError {
    pub(in crate::engine::executor) fn into_message(self) -> String {
        match self {
            Self::Failed(message) | Self::Final(message) | Self::Unknown(message) => message,
        }
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<StepError> for StepResult {
    fn from(error: StepError) -> Self {
        let is_final = matches!(error, StepError::Final(_));
        match error {
            StepError::Failed(message) | StepError::Final(message) => Self::Failed {
                message,
                exit_code: None,
                omits_exit: false,
                is_final,
            },
            StepError::Unknown(message) => Self::Unknown { message },
        }
    }
}

/// Returns the directory of a step's attempts on its host: beside the releases. If the step has its
/// own user or host, or belongs to no project, it is a directory of the task's own, so that it
/// shares no fence with others.
pub(super) fn program_directory(task: &Task, plan: &Plan, at: StepRef) -> String {
    let host = plan.host_name(at);
    let own = plan
        .step(at)
        .is_some_and(|step| step.user.is_some() || step.host.is_some());
    if let Some(placement) = plan.placement.as_ref().filter(|_| !own) {
        return placement.path_on(host);
    }
    let base = match &plan.named.local {
        Some(local) if host == AGENT => format!("{}/.tagship-tasks", local.directory),
        _ => TASKS.to_owned(),
    };
    // Hosts may share their homes.
    format!("{base}/{}-{host}", started_text(task))
}

/// Returns a name for the task's work on hosts. It stays unique if the store is replaced.
pub(super) fn started_text(task: &Task) -> String {
    let started = task.work.as_ref().map(|work| work.started.as_second());
    format!("{}-{:x}", task.id, started.unwrap_or_default().max(0))
}

/// The output of operations that print nothing.
pub(in crate::engine::executor) struct Silent;

impl Output for Silent {
    fn write_at(&self, _offset: u64, _bytes: &[u8]) {}
    fn line(&self, _text: &str) {}
}

/// A step under way.
pub(super) struct StepContext<'a> {
    pub(super) world: &'a World,
    pub(super) work: &'a StepInputs,
    pub(super) output: Arc<dyn Output>,
    /// The same output as it is logged.
    pub(super) last: Arc<LastLine>,
}

impl StepInputs {
    pub(super) fn host(&self) -> &str {
        self.plan.host_name(self.at)
    }

    /// Whether the host's report that the attempt's program has begun is recorded.
    pub(super) fn has_program(&self) -> bool {
        let work = self.task.work.as_ref();
        work.and_then(|work| work.steps.get(&self.at))
            .is_some_and(|step| step.attempt == self.attempt && step.program.is_some())
    }

    /// Returns the name of the step's log.
    pub(super) fn label(&self) -> String {
        self.plan.log_name(self.at)
    }

    pub(super) fn target(&self) -> DeployTarget {
        DeployTarget {
            deploy_to: program_directory(&self.task, &self.plan, self.at),
            fence: self.fence,
        }
    }

    /// Returns the release that this step makes, starts or rolls back to.
    pub(super) fn release(&self) -> Option<&ReleaseId> {
        if self.plan.commit.is_empty() && self.plan.targets.is_empty() {
            return None;
        }
        match self.at.way {
            Direction::Forward => self.release_made_live(),
            Direction::Back => {
                let work = self.task.work.as_ref()?;
                work.live_before.get(&self.at.host)?.as_ref()
            }
        }
    }

    /// Whether this task has begun to switch its host.
    pub(super) fn may_have_switched(&self) -> bool {
        let (Some(work), Some(stage)) = (&self.task.work, self.plan.publish_stage()) else {
            return false;
        };
        let steps = 0..self.plan.stages[stage].steps.len();
        let positions = steps.filter_map(|step| {
            Some(StepRef {
                way: Direction::Forward,
                stage: u16::try_from(stage).ok()?,
                host: self.at.host,
                step: u16::try_from(step).ok()?,
            })
        });
        let mut switches = positions.filter(|at| self.plan.is_publish(*at));
        switches.any(|at| work.attempts(at) > 0)
    }

    /// Returns the release that the task makes live on this host.
    pub(super) fn release_made_live(&self) -> Option<&ReleaseId> {
        let work = self.task.work.as_ref()?;
        Some(self.plan.target_release(self.host(), &work.release))
    }
}

impl StepContext<'_> {
    /// Performs an operation on the step's host.
    pub(super) async fn perform(&self, op: &Op) -> Result<Reply, StepError> {
        match self.ask(op).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.refusal(&error).await),
        }
    }

    /// Like [`Self::perform`], with the host's own error.
    pub(super) async fn ask(&self, op: &Op) -> Result<Reply, HostError> {
        let host = &self.work.plan.host_with_user(self.work.at);
        self.work
            .hosts
            .perform(host, op, self.output.as_ref())
            .await
    }

    /// Converts a refusal that a retry would not change.
    pub(super) async fn refusal(&self, error: &HostError) -> StepError {
        if let HostError::Fenced { held, .. } = error {
            // A user who retries has seen the message and means it: later claims exceed that fence
            // on this host. (A fence made in this store is exceeded already.)
            let work = self.work;
            let target = (
                work.plan.project.as_str(),
                work.plan.environment.as_str(),
                work.host(),
            );
            if let Some(lift) = crate::domain::host::raise_above(work.claim, *held)
                && let Err(error) = self.world.store.lift_fence(target, lift).await
            {
                self.output.line(&error.to_string());
            }
            return StepError::Failed(format!(
                "{error}; if this agent was restored from a backup and no other one serves the host, the next attempt takes a higher fence"
            ));
        }
        StepError::Failed(error.to_string())
    }

    pub(super) async fn wait(&self, time: Duration) {
        self.world.clock.pause(time).await;
    }

    /// Returns the outputs of earlier steps of this task, under the plan's names. Where a former
    /// release becomes live again, what describes another one is left out: the steps get what the
    /// task of that release passed on. Steps that run again win over it.
    async fn step_outputs(&self) -> BTreeMap<String, String> {
        let work = self.work;
        let for_rollback = matches!(work.task.submission.origin, Origin::Rollback { .. });
        let mut values = match work.release() {
            Some(release) if work.at.way == Direction::Back || for_rollback => {
                self.former_outputs(release).await
            }
            _ => BTreeMap::new(),
        };
        let plan = &work.plan;
        values.extend(passed_on(&work.task, plan, work.host(), |at, name| {
            at.way == work.at.way
                && plan
                    .step(at)
                    .is_some_and(|step| step.action.has_output(name))
        }));
        values
    }

    /// Returns the outputs of the task that made an earlier release, without secret ones: only this
    /// task's secrets are masked.
    async fn former_outputs(&self, release: &ReleaseId) -> BTreeMap<String, String> {
        let (plan, store) = (&self.work.plan, &self.world.store);
        let record = store
            .release(&plan.project, &plan.environment, release)
            .await;
        let Ok(Some(record)) = record else {
            return BTreeMap::new();
        };
        let Ok(task) = store.task(record.task).await else {
            return BTreeMap::new();
        };
        let Ok(Some(made_by)) = store.plan_of(&task).await else {
            return BTreeMap::new();
        };
        let secret = plan.secret_outputs();
        passed_on(&task, &made_by, self.work.host(), |at, name| {
            let step = made_by.step(at);
            let shown = step
                .is_some_and(|step| step.action.outputs().0.iter().any(|output| output == name));
            at.way == Direction::Forward && shown && !secret.contains(name)
        })
    }

    /// Returns the environment variables of every command of this step.
    pub(super) async fn values(&self) -> BTreeMap<String, String> {
        let work = self.work;
        let (plan, task) = (&work.plan, &work.task);
        let mut values = self.step_outputs().await;
        // Approved values come last: no output of a step replaces them.
        values.extend(plan.parameters.clone());
        let submission = &task.submission;
        for name in &plan.secrets {
            let value = submission.secret(name).unwrap_or_default();
            values.insert(name.clone(), value.to_owned());
        }
        let release = work.release().map(ToString::to_string).unwrap_or_default();
        let (tag, commit) = match (work.at.way, work.release()) {
            (Direction::Back, Some(release)) => self.source_of(release).await,
            (Direction::Forward, Some(release)) if plan.commit.is_empty() => {
                self.source_of(release).await
            }
            _ => (task.tag().to_owned(), plan.commit.clone()),
        };
        let id = task.id.to_string();
        for (name, value) in [
            ("TAG", tag.as_str()),
            ("COMMIT", &commit),
            ("PROJECT", &plan.project),
            ("ENVIRONMENT", &plan.environment),
            ("TASK_ID", &id),
            ("FLOW_ID", &id),
            ("GIT_URL", &plan.git_url),
            ("HOST", work.host()),
            ("RELEASE", &release),
        ] {
            // A task without a project may have parameters of these names.
            if !(value.is_empty() && values.contains_key(name)) {
                values.insert(name.to_owned(), value.to_owned());
            }
        }
        values
    }

    /// Returns tag and commit of an earlier release; empty if another tool made it.
    async fn source_of(&self, release: &ReleaseId) -> (String, String) {
        let (plan, store) = (&self.work.plan, &self.world.store);
        let record = store
            .release(&plan.project, &plan.environment, release)
            .await;
        let Ok(Some(record)) = record else {
            return Default::default();
        };
        let task = store.task(record.task).await;
        let tag = task.map(|task| task.tag().to_owned()).unwrap_or_default();
        (tag, record.commit)
    }
}

/// Returns the outputs of a task's steps on a host or on the agent's machine, of those that are
/// accepted by step and name. Of two values, that of the later step in the plan's order counts.
fn passed_on(
    task: &Task,
    plan: &Plan,
    host: &str,
    accepts: impl Fn(StepRef, &str) -> bool,
) -> BTreeMap<String, String> {
    let progress = task.work.iter().flat_map(|work| work.steps.iter());
    let mut done: Vec<(StepRef, &BTreeMap<String, String>)> = progress
        .filter(|(at, _)| [host, AGENT].contains(&plan.host_name(**at)))
        .filter_map(|(at, step)| Some((*at, step.values()?)))
        .collect();
    done.sort_by_key(|(at, _)| (at.stage, at.step));
    let mut handed_on = BTreeMap::new();
    for (at, values) in done {
        let accepted = values.iter().filter(|(name, _)| accepts(at, name));
        handed_on.extend(accepted.map(|(name, value)| (name.clone(), value.clone())));
    }
    handed_on
}

pub(super) fn unexpected(reply: &Reply) -> StepError {
    StepError::Failed(format!(
        "the host gave an answer to another question: {reply:?}"
    ))
}
