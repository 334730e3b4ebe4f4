//! One step on one host, from its durable intent to its result.
//!
//! A step is a few operations; each may be repeated, but for starting a program. So after a crash a
//! step is simply done again, and a program is asked for its result before anything else.

mod check;
mod fetch;
mod program;
mod release;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use super::World;
use super::mask::Secrets;
use crate::domain::host::{
    HostError, Hosts, Op, Output, Place, ReleaseId, Reply, TASKS, TreeDigest,
};
use crate::domain::plan::{AGENT, Plan};
use crate::domain::task::{At, Event, StepResult, Task, Way};
use crate::domain::template::Action;

/// How often an operation is tried when the connection is lost under it.
const TRIES: u32 = 3;

/// Whether the intent was made durable by this executor or by one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    Now,
    Before,
}

/// How a step is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    /// It is over at once and leaves a whole state: wait for it.
    LetEnd,
    /// What it leaves behind is thrown away by the next attempt.
    Drop,
    /// Something runs on the host and has to be ended there.
    KillOnHost,
}

/// How the step of this place is stopped.
pub(super) fn stopping(plan: &Plan, at: At) -> Stopping {
    match plan.step(at).map(|step| &step.action) {
        Some(Action::Publish) => Stopping::LetEnd,
        Some(Action::Run(_)) => Stopping::KillOnHost,
        Some(Action::Check(check)) if check.runs_on_host() => Stopping::KillOnHost,
        _ => Stopping::Drop,
    }
}

/// Everything that a step is done with.
pub(super) struct Work {
    pub(super) task: Arc<Task>,
    pub(super) plan: Arc<Plan>,
    pub(super) hosts: Arc<dyn Hosts>,
    pub(super) claim: u64,
    /// The claim's fence on this host.
    pub(super) fence: u64,
    pub(super) at: At,
    pub(super) attempt: u32,
    pub(super) begun: Begun,
    pub(super) tree: Arc<Mutex<Option<TreeDigest>>>,
    /// Takes what is heard of the step before it ends.
    pub(super) tells: mpsc::UnboundedSender<Event>,
}

/// What is heard of a step before it ends: a few events.
pub(super) type Heard = mpsc::UnboundedReceiver<Event>;

/// Why a step did not succeed.
pub(super) enum Trouble {
    Failed(String),
    Unknown(String),
}

impl From<Trouble> for StepResult {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed(message) => Self::Failed {
                message,
                exit_code: None,
            },
            Trouble::Unknown(message) => Self::Unknown { message },
        }
    }
}

/// Does a step whose intent is durable.
pub(super) async fn perform(world: World, work: Work) -> StepResult {
    let Some(step) = work.plan.step(work.at).cloned() else {
        return Trouble::Failed("the plan has no such step".to_owned()).into();
    };
    let host = work.host().to_owned();
    tracing::info!(task = work.task.id, host, step = step.name, "step begins");
    let secrets = Secrets::of(&work.plan, &work.task);
    let output = world
        .logs
        .step(work.task.id, &host, &work.label(), work.attempt);
    let last = told::LastLine::of(output);
    let scene = Scene {
        last: Arc::clone(&last),
        output: Arc::new(told::Telling::new(
            secrets.clone().kept_from(last),
            work.at,
            work.attempt,
            work.tells.clone(),
        )),
        world: &world,
        work: &work,
    };
    let result = match &step.action {
        Action::Checkout => release::checkout(&scene).await,
        Action::Sync => release::sync(&scene).await,
        Action::Publish => release::publish(&scene).await,
        Action::Run(program) => program::run(&scene, program).await,
        Action::Check(check) => check::check(&scene, check).await,
    };
    let result = bounded(result.unwrap_or_else(StepResult::from), &secrets);
    if let StepResult::Failed { message, .. } | StepResult::Unknown { message } = &result {
        scene.output.line(message);
        tracing::warn!(
            task = work.task.id,
            host,
            step = step.name,
            message,
            "step failed"
        );
    }
    result
}

/// What a host says is kept in the store, so it may not be of any length: values in bytes, messages
/// in characters.
const MESSAGE_MAX: usize = 2_000;
const VALUES_MAX: usize = 8_000;

/// A message that may come from a host, as long as it may be.
fn cut(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => format!("{} …", &message[..end]),
        None => message.to_owned(),
    }
}

fn bounded(result: StepResult, secrets: &Secrets) -> StepResult {
    let cut = |message: String| cut(&secrets.masked(message));
    match result {
        StepResult::Failed { message, exit_code } => StepResult::Failed {
            message: cut(message),
            exit_code,
        },
        StepResult::Unknown { message } => StepResult::Unknown {
            message: cut(message),
        },
        StepResult::Done { values }
            if values.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > VALUES_MAX =>
        {
            StepResult::Failed {
                message: format!(
                    "it wrote more than {VALUES_MAX} bytes to $TAGSHIP_OUTPUT; write a file into the release instead"
                ),
                exit_code: Some(0),
            }
        }
        other => other,
    }
}

/// Ends what a step started on its host, and shows that nothing of it is left.
pub(super) async fn kill(
    task: &Task,
    plan: &Plan,
    hosts: &dyn Hosts,
    at: At,
) -> Result<(), String> {
    let lane = plan.lane(at);
    let attempt = task.work.as_ref().map_or(1, |work| work.attempts(at));
    let op = Op::Kill {
        deploy_to: kept_in(task, plan, at),
        key: program::key(task, at, attempt),
    };
    match hosts.perform(&lane, &op, &Silent).await {
        Ok(Reply::Killed) => Ok(()),
        Ok(other) => Err(format!("unexpected answer {other:?}")),
        Err(error) => Err(cut(&error.to_string())),
    }
}

/// Where the attempts of a step are kept on its host: beside the releases, or in a directory of the
/// task's own (so that it shares no fence with others) where somebody else runs it, or where it
/// belongs to no project.
fn kept_in(task: &Task, plan: &Plan, at: At) -> String {
    let host = plan.host_name(at);
    let own = plan
        .step(at)
        .is_some_and(|step| step.user.is_some() || step.host.is_some());
    if let Some(placement) = plan.placement.as_ref().filter(|_| !own) {
        return placement.on(host);
    }
    let base = match &plan.named.local {
        Some(local) if host == AGENT => format!("{}/.tagship-tasks", local.directory),
        _ => TASKS.to_owned(),
    };
    // Hosts may share their homes.
    format!("{base}/{}-{host}", program::begun(task))
}

/// For operations that print nothing.
pub(super) struct Silent;

impl Output for Silent {
    fn write_at(&self, _offset: u64, _bytes: &[u8]) {}
    fn line(&self, _text: &str) {}
}

/// A step under way.
struct Scene<'a> {
    world: &'a World,
    work: &'a Work,
    output: Arc<dyn Output>,
    /// The same output as it is logged.
    last: Arc<told::LastLine>,
}

impl Work {
    fn host(&self) -> &str {
        self.plan.host_name(self.at)
    }

    /// Whether the host has said that the program of this attempt is begun, as far as is recorded.
    fn has_program(&self) -> bool {
        let work = self.task.work.as_ref();
        work.and_then(|work| work.steps.get(&self.at))
            .is_some_and(|step| step.attempt == self.attempt && step.program.is_some())
    }

    /// The name of the step's log.
    fn label(&self) -> String {
        self.plan.log_name(self.at)
    }

    fn place(&self) -> Place {
        Place {
            deploy_to: kept_in(&self.task, &self.plan, self.at),
            fence: self.fence,
        }
    }

    /// The release that this step brings, starts or goes back to.
    fn release(&self) -> Option<&ReleaseId> {
        if self.plan.commit.is_empty() {
            return None;
        }
        let work = self.task.work.as_ref()?;
        match self.at.way {
            Way::Forward => Some(&work.release),
            Way::Back => work.live_before.get(&self.at.host)?.as_ref(),
        }
    }
}

impl Scene<'_> {
    /// Performs an operation that may be repeated.
    async fn perform(&self, op: &Op) -> Result<Reply, Trouble> {
        match self.asked(op).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.refused(&error).await),
        }
    }

    /// Asks for an operation that may be repeated, again where the connection was lost under it.
    async fn asked(&self, op: &Op) -> Result<Reply, HostError> {
        let host = &self.work.plan.lane(self.work.at);
        let mut attempt = 1;
        loop {
            let hosts = &self.work.hosts;
            let error = match hosts.perform(host, op, self.output.as_ref()).await {
                Err(error) if matches!(error, HostError::Lost(_)) && attempt < TRIES => error,
                answer => return answer,
            };
            self.output.line(&format!("{error}; trying again"));
            self.wait(Duration::from_secs(attempt.into())).await;
            attempt += 1;
        }
    }

    /// What an answer comes to that is no reply and will be none when it is asked for again.
    async fn refused(&self, error: &HostError) -> Trouble {
        if let HostError::Fenced { held, .. } = error {
            // Whoever retries has seen the message and means it: later claims stand above that one,
            // on this host. (If it was made in this store, they do already.)
            let work = self.work;
            let place = (
                work.plan.project.as_str(),
                work.plan.environment.as_str(),
                work.host(),
            );
            if let Some(lift) = crate::domain::host::lift_above(work.claim, *held)
                && let Err(error) = self.world.store.lift_fence(place, lift).await
            {
                self.output.line(&error.to_string());
            }
            return Trouble::Failed(format!(
                "{error}; if this agent was restored from a backup and no other one serves the host, the next attempt takes a higher fence"
            ));
        }
        Trouble::Failed(error.to_string())
    }

    async fn wait(&self, time: Duration) {
        self.world.clock.pause(time).await;
    }

    /// What earlier steps of this host, or of the agent's own machine, hand on under the names that
    /// the plan has for them. Of two values the later step's counts, as the plan orders them.
    fn handed_on(&self) -> BTreeMap<String, String> {
        let (plan, here) = (&self.work.plan, self.work.at.host);
        let progress = self
            .work
            .task
            .work
            .iter()
            .flat_map(|work| work.steps.iter());
        let mut done: Vec<(&At, &BTreeMap<String, String>)> = progress
            .filter(|(at, _)| at.host == here || plan.host_name(**at) == AGENT)
            .filter_map(|(at, step)| Some((at, step.values()?)))
            .collect();
        done.sort_by_key(|(at, _)| (at.way, at.stage, at.step));
        let mut handed_on = BTreeMap::new();
        for (at, values) in done {
            let declared = values.iter().filter(|(name, _)| {
                plan.step(*at)
                    .is_some_and(|step| step.action.hands_on(name))
            });
            handed_on.extend(declared.map(|(name, value)| (name.clone(), value.clone())));
        }
        handed_on
    }

    /// What every command of this step finds in its environment.
    async fn values(&self) -> BTreeMap<String, String> {
        let work = self.work;
        let (plan, task) = (&work.plan, &work.task);
        let mut values = self.handed_on();
        // What was approved comes last: nothing that a step wrote takes its place.
        values.extend(plan.parameters.clone());
        let submission = &task.submission;
        for name in &plan.secrets {
            let value = submission.secret(name).unwrap_or_default();
            values.insert(name.clone(), value.to_owned());
        }
        let release = work.release().map(ToString::to_string).unwrap_or_default();
        let (tag, commit) = match (work.at.way, work.release()) {
            (Way::Back, Some(release)) => self.made_of(release).await,
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
            // Where a task belongs to no project, its own parameters may have these names.
            if !(value.is_empty() && values.contains_key(name)) {
                values.insert(name.to_owned(), value.to_owned());
            }
        }
        values
    }

    /// Tag and commit of an earlier release; nothing where another tool made it.
    async fn made_of(&self, release: &ReleaseId) -> (String, String) {
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

fn unexpected(reply: &Reply) -> Trouble {
    Trouble::Failed(format!(
        "the host gave an answer to another question: {reply:?}"
    ))
}
