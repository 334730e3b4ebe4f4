//! Performs one landing once the ref was seen: fetch, pin, compare with what is live, plan. It
//! queries no ref and records nothing; called by `land`.

use crate::domain::approval::{self, Terms};
use crate::domain::plan;
use crate::domain::task::{
    ComparedRelease, ComparedWith, Landed, Origin, ScheduleScope, Submission, Task,
};
use crate::engine::executor::World;
use crate::engine::executor::effects::{NoPlanInputs, PlanInputs};
use crate::git::landing::{
    Comparison, DescribeRequest, FetchRequest, LandingError, LiveOn, Relation,
};
use crate::store::StoreError;

/// The result of a task's landing.
pub(in crate::engine::executor) enum LandingOutcome {
    Landed(Box<Landed>),
    /// It will not land by itself; the reason, and whether the pushed object is at fault.
    Never {
        reason: String,
        is_final: bool,
    },
    /// Retry later; the reason.
    NotYet(String),
}

/// Fetches and plans a task. The object is empty if nothing of a repository is released.
pub(super) async fn fetch_and_plan(world: &World, task: &Task, object: String) -> LandingOutcome {
    let landed = if task.submission.has_reference() {
        try_fetch_and_plan(world, task, object).await
    } else {
        plan_without_commit(world, task).await
    };
    match landed {
        Ok(landed) => LandingOutcome::Landed(Box::new(landed)),
        Err(outcome) => outcome,
    }
}

impl From<LandingError> for LandingOutcome {
    fn from(error: LandingError) -> Self {
        // Another landing may have created the mirror again after this one's fetch.
        let was_removed = matches!(error, LandingError::NoObject { .. });
        if error.is_transient() || was_removed {
            Self::NotYet(error.to_string())
        } else {
            Self::Never {
                reason: error.to_string(),
                is_final: error.is_final(),
            }
        }
    }
}

impl LandingOutcome {
    /// It lands once a person has mended something else than the pushed object.
    fn never(reason: String) -> Self {
        Self::Never {
            reason,
            is_final: false,
        }
    }
}

impl From<StoreError> for LandingOutcome {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::TooLong(_)) {
            return Self::never(error.to_string());
        }
        Self::NotYet(error.to_string())
    }
}

async fn try_fetch_and_plan(
    world: &World,
    task: &Task,
    object: String,
) -> Result<Landed, LandingOutcome> {
    let submission = &task.submission;
    let source = world
        .plan_source
        .source(&submission.project)
        .map_err(LandingOutcome::never)?;
    let log = world.logs.step(task.id, plan::AGENT, "landing", 1);
    let request = FetchRequest {
        reference: submission.reference.clone(),
        object: object.clone(),
        task: task.id,
    };
    world
        .git
        .fetch(&source, &request, &|line| log.line(line))
        .await?;
    let inputs = plan_inputs(world, task).await?;
    let placement = inputs.environment.placement.as_ref();
    let hosts: Vec<&str> = inputs
        .environment
        .hosts
        .iter()
        .map(|host| host.name.as_str())
        .collect();
    let mut compared = ComparedWith::default();
    let (live, releases) = live_on(world, submission, &compared, &hosts).await?;
    let question = DescribeRequest {
        reference: submission.reference.clone(),
        object: object.clone(),
        live,
        source: placement.and_then(|placement| placement.source.clone()),
    };
    let description = world.git.describe(&source, &question).await?;
    if submission.refuse_older
        && let Some(refused) = refusal_as_older(&description.comparisons)
    {
        return Err(LandingOutcome::never(refused));
    }
    compared.live = releases;
    compared.relations = description.relations();
    let (terms, waits) = freeze(world, task, &inputs, &description.commit).await?;
    let bytes = serde_json::to_vec(&description)
        .map_err(|error| LandingOutcome::never(format!("description: {error}")))?;
    let description_blob = world.store.put_blob(&bytes).await?;
    log.line(&format!("landed: commit {}", description.commit));
    Ok(Landed {
        commit: description.commit,
        object: if submission.object.is_empty() {
            object
        } else {
            String::new()
        },
        terms,
        description: description_blob,
        compared,
        waits,
    })
}

/// Plans a task that releases nothing of a repository: queries neither git nor what is live.
async fn plan_without_commit(world: &World, task: &Task) -> Result<Landed, LandingOutcome> {
    let inputs = plan_inputs(world, task).await?;
    let (terms, waits) = freeze(world, task, &inputs, "").await?;
    Ok(Landed {
        commit: String::new(),
        object: String::new(),
        terms,
        description: String::new(),
        compared: ComparedWith::default(),
        waits,
    })
}

async fn plan_inputs(world: &World, task: &Task) -> Result<PlanInputs, LandingOutcome> {
    let disabled = world.store.disabled_hosts().await?;
    world
        .plan_source
        .plan_inputs(&task.submission, &disabled)
        .await
        .map_err(|none| match none {
            NoPlanInputs::Missing(reason) => LandingOutcome::never(reason),
            NoPlanInputs::Unread(reason) => LandingOutcome::NotYet(reason),
        })
}

/// Resolves the plan and stores it.
async fn freeze(
    world: &World,
    task: &Task,
    inputs: &PlanInputs,
    commit: &str,
) -> Result<(Terms, ScheduleScope), LandingOutcome> {
    let submission = &task.submission;
    let task_inputs = plan::TaskInputs {
        parameters: &submission.parameters,
        secrets: &submission.secrets,
        unclassified: &submission.unclassified,
        hosts: &inputs.given_hosts,
    };
    let plan = plan::build(&inputs.environment, &inputs.template, commit, &task_inputs)
        .map_err(|error| LandingOutcome::never(error.to_string()))?;
    let now = world.clock.now();
    world.store.put_template(&inputs.version, now).await?;
    let account = account(world, submission).await?;
    let involved = submission.involved.iter();
    let terms = Terms {
        plan: world.store.put_plan(&plan).await?,
        approvals: plan.approvals.clone(),
        self_approval: plan.self_approval,
        submitters: account.into_iter().chain(involved).cloned().collect(),
        more: approval::more_for(account.map(String::as_str)),
    };
    Ok((terms, ScheduleScope::of(&plan)))
}

/// Returns the submitter's account. If the configuration maps the pusher to an account that does
/// not exist, the submitter is unknown.
async fn account<'s>(
    world: &World,
    submission: &'s Submission,
) -> Result<Option<&'s String>, LandingOutcome> {
    let Some(account) = &submission.submitter.account else {
        return Ok(None);
    };
    if !matches!(submission.origin, Origin::Tag(_)) {
        // The submitter was logged in.
        return Ok(Some(account));
    }
    let known = world
        .accounts
        .has_account(account)
        .await
        .map_err(LandingOutcome::NotYet)?;
    Ok(known.then_some(account))
}

/// Returns what is live on each of these hosts, with the release records.
pub(in crate::engine::executor) async fn live_on(
    world: &World,
    submission: &Submission,
    known: &ComparedWith,
    hosts: &[&str],
) -> Result<(Vec<LiveOn>, Vec<ComparedRelease>), StoreError> {
    let store = &world.store;
    let (project, environment) = (&*submission.project, &*submission.environment);
    let live = store.live(project, environment).await?;
    let there = hosts.iter().filter_map(|host| live.get(*host));
    let now = world.clock.now();
    let releases = store.compared_releases((project, environment), there, known, now);
    let releases = releases.await?;
    let live = hosts.iter().map(|host| LiveOn {
        host: (*host).to_owned(),
        commit: live.get(*host).and_then(|live| live.commit.clone()),
    });
    Ok((live.collect(), releases))
}

/// Returns why a rule with `refuse_older` refuses, if it does.
pub(in crate::engine::executor) fn refusal_as_older(comparisons: &[Comparison]) -> Option<String> {
    comparisons
        .iter()
        .find_map(|comparison| match &comparison.relation {
            Relation::Back { commits } => Some(format!(
                "REMOVES {commits} commits, which the rule forbids (refuse_older); push a newer commit"
            )),
            Relation::Diverged { .. } => Some(
                "its history diverged from what is live, which the rule forbids (refuse_older)"
                    .to_owned(),
            ),
            _ => None,
        })
}
