//! Rolls back to an earlier release: a task of its own, which needs no push and no git server.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::release_history::{
    RollbackGoal, before_live, found, nothing_live, of_name, once_live, switches, switching,
};
use super::{OVERRIDE, PresentHosts, RequestError, Rollbacks, required_reason};
use crate::domain::approval::freeze::Calendar;
use crate::domain::approval::{Actor, Approval, ApprovalWeight, EMERGENCY, Terms};
use crate::domain::host::ReleaseId;
use crate::domain::permission::Ability;
use crate::domain::plan::{Plan, PlannedHost};
use crate::domain::rule::Schedule;
use crate::domain::task::{
    ComparedWith, Description, Event, Landed, Origin, Recorded, Relation, ScheduleScope,
    Submission, Submitter, Task,
};
use crate::domain::template::{Approvers, Requirement};
use crate::store::{ExtraWrites, LiveRelease, Store, StoreError};

/// The target of a rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollbackTarget {
    /// What this task made live, also if it did not succeed.
    ToTask(u64),
    /// What was live before: the release before the live one, or what other tools had left live.
    Before {
        project: String,
        environment: String,
    },
    /// The release of this name, on every host.
    Named {
        project: String,
        environment: String,
        release: ReleaseId,
    },
}

/// Which approvals tags need in the environment of a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagsNeed {
    Approval,
    /// A rule with `schedule = "ready"` targets it: a rollback needs no more.
    Nothing,
}

/// A request for a rollback.
#[derive(Clone, Copy, Debug)]
pub struct RollbackRequest<'a> {
    pub back: &'a RollbackTarget,
    /// The release of each host that the requester saw: a rollback to others is refused.
    pub seen: Option<&'a BTreeMap<String, ReleaseId>>,
    /// Why it runs despite a freeze; ignored without a freeze.
    pub override_freeze: Option<&'a str>,
    /// The reason of an admin who gives the missing approval, if one does.
    pub emergency: Option<&'a str>,
    pub tags: TagsNeed,
    pub calendar: &'a Calendar,
    pub hosts: PresentHosts<'a>,
}

/// Makes a rollback task to an earlier release. It needs neither a push nor the git server. The
/// requester's own approval counts, since rolling back to an approved release takes one approver.
/// If it does not count, the task waits, whatever schedule the earlier task had. All of it is made
/// in one commit, with what `also` returns for the task's number.
///
/// # Errors
/// [`RequestError::NoRollback`] names what is missing; nothing was made then.
pub async fn roll_back(
    store: &Store,
    request: &RollbackRequest<'_>,
    actor: &Actor,
    now: Timestamp,
    also: ExtraWrites<'_>,
) -> Result<Task, RequestError> {
    actor.may(Ability::Run, "roll back")?;
    let despite = match request.override_freeze {
        Some(reason) => {
            actor.may(Ability::Manage, OVERRIDE)?;
            Some(required_reason(reason, OVERRIDE)?)
        }
        None => None,
    };
    let emergency = match request.emergency {
        Some(reason) => {
            actor.may(Ability::Manage, EMERGENCY)?;
            Some(required_reason(reason, EMERGENCY)?)
        }
        None => None,
    };
    let mut back = resolve(store, request.back).await?;
    if request.seen.is_some_and(|seen| *seen != back.plan.targets) {
        return Err(RequestError::NoRollback(
            "something else would go live than what was shown; look at it again".to_owned(),
        ));
    }
    back.plan = on_present(back.plan, &back.given, request.hosts)?;
    back.plan.approvals = vec![anyone()];
    back.plan.self_approval = true;
    back.plan.rebuilt = rebuilt(&back);
    let landed = landed(store, &back, actor, now).await?;
    let requester = RollbackRequester {
        actor,
        counts: emergency.is_some() || actor.counts == ApprovalWeight::Yes,
        emergency,
        tags: request.tags,
    };
    let RollbackInputs { goal, earlier, .. } = &back;
    let mut events = rollback_events(earlier, goal, landed, requester, now);
    let submission = &earlier.submission;
    let (project, environment) = (&submission.project, &submission.environment);
    let frozen = request.calendar.frozen(project, environment, now);
    if let Some((reason, frozen)) = despite.zip(frozen) {
        events.push(Event::FreezeOverridden {
            by: actor.name.clone(),
            reason,
            until: Some(frozen.until),
        });
    }
    let events = events.into_iter();
    let recorded = events.map(|event| Recorded { time: now, event });
    Ok(store.begin_with(recorded.collect(), also).await?)
}

/// Returns the plan for the hosts as they are configured now. `given` hosts never were.
fn on_present(plan: Plan, given: &[String], hosts: PresentHosts<'_>) -> Result<Plan, RequestError> {
    let is_gone = |host: &PlannedHost| {
        let is_given = given.iter().any(|given| host.has_name(given));
        !hosts.enabled.contains_key(&host.name)
            && (hosts.disabled.contains(&host.name) || !is_given)
    };
    let plan = plan.on_present(hosts.enabled, is_gone);
    if switching(&plan).is_empty() {
        return Err(RequestError::NoRollback(format!(
            "no host is left to switch: {} is disabled or no longer configured",
            plan.left_out.join(", ")
        )));
    }
    Ok(plan)
}

/// Stores the plan of a rollback, and compares its goal with what is live.
async fn landed(
    store: &Store,
    back: &RollbackInputs,
    actor: &Actor,
    now: Timestamp,
) -> Result<Landed, RequestError> {
    let plan = store.put_plan(&back.plan).await?;
    let environment = (back.plan.project.as_str(), back.plan.environment.as_str());
    let known = ComparedWith::default();
    let hosts = switching(&back.plan);
    let live = back.live.iter().filter(|(host, _)| hosts.contains(host));
    let live = live.map(|(_, live)| live);
    let live = store
        .compared_releases(environment, live, &known, now)
        .await?;
    let same = back.goal.is_live(&back.live, hosts);
    Ok(Landed {
        commit: back.plan.commit.clone(),
        object: String::new(),
        terms: Terms {
            plan,
            approvals: vec![anyone()],
            self_approval: true,
            submitters: BTreeSet::from([actor.name.clone()]),
            more: 0,
        },
        description: match &back.goal {
            RollbackGoal::Made(_) => described_alone(store, &back.earlier).await?,
            RollbackGoal::Found(_) => String::new(),
        },
        compared: ComparedWith {
            live,
            relations: same.then_some(Relation::Same).into_iter().collect(),
        },
        waits: ScheduleScope::Task,
    })
}

/// Returns the hosts that switch and are not known to keep the release, if it can be rebuilt.
fn rebuilt(back: &RollbackInputs) -> Vec<String> {
    let RollbackGoal::Made(target) = &back.goal else {
        return Vec::new();
    };
    let keeps = |host: &&String| {
        let live = back.live.get(*host);
        live.is_some_and(|live| live.kept.contains(&target.release))
    };
    let hosts = switching(&back.plan).iter();
    hosts.filter(|host| !keeps(host)).cloned().collect()
}

/// Who requests a rollback, and whether that approves it.
struct RollbackRequester<'a> {
    actor: &'a Actor,
    /// Whether their own approval counts.
    counts: bool,
    emergency: Option<String>,
    tags: TagsNeed,
}

/// The goal and plan of a rollback, and what is live there.
struct RollbackInputs {
    goal: RollbackGoal,
    /// The task of the earlier release. Without one, the task that switched last.
    earlier: Task,
    /// The hosts and steps of the last switch, with the commit and parameters of the earlier release.
    plan: Plan,
    /// The hosts that the last switch was given.
    given: Vec<String>,
    live: BTreeMap<String, LiveRelease>,
}

async fn resolve(store: &Store, back: &RollbackTarget) -> Result<RollbackInputs, RequestError> {
    let (project, environment, known) = match back {
        RollbackTarget::ToTask(id) => {
            let submission = &store.task(*id).await?.submission;
            let (project, environment) = (&submission.project, &submission.environment);
            let made = released_by(store, *id).await?;
            (project.clone(), environment.clone(), Some(made))
        }
        RollbackTarget::Before {
            project,
            environment,
        }
        | RollbackTarget::Named {
            project,
            environment,
            ..
        } => (project.clone(), environment.clone(), None),
    };
    let live = store.live(&project, &environment).await?;
    let Some(latest) = live.values().map(|live| live.switched_by).max() else {
        return Err(nothing_live(&project, &environment));
    };
    let no_plan = |id| RequestError::NoRollback(format!("task {id} has no plan to go back by"));
    let last = store.task(latest).await?;
    let by = store.plan_of(&last).await?.ok_or_else(|| no_plan(latest))?;
    let given = last.submission.hosts.values().flatten().cloned().collect();
    let goal = match (known, back) {
        (Some(goal), _) => goal,
        (None, RollbackTarget::Named { release, .. }) => {
            of_name(store, release, &live, &by).await?
        }
        (None, _) => before_live(store, &live, &by).await?,
    };
    match goal {
        RollbackGoal::Found(targets) => {
            let plan = by.rollback_to(&targets).ok_or_else(|| no_plan(latest))?;
            Ok(RollbackInputs {
                goal: RollbackGoal::Found(plan.targets.clone()),
                earlier: last,
                plan,
                given,
                live,
            })
        }
        RollbackGoal::Made(target) => {
            let earlier = store.task(target.task).await?;
            let then = store
                .plan_of(&earlier)
                .await?
                .ok_or_else(|| no_plan(target.task))?;
            let mut plan = by.rollback().ok_or_else(|| no_plan(latest))?;
            plan.commit.clone_from(&target.commit);
            plan.parameters.clone_from(&then.parameters);
            plan.secrets.clone_from(&then.secrets);
            if !target.good {
                plan.own_task_state = earlier.state.to_string();
            }
            Ok(RollbackInputs {
                goal: RollbackGoal::Made(target),
                earlier,
                plan,
                given,
                live,
            })
        }
    }
}

/// Returns the releases of other tools that an environment can roll back to by name.
///
/// # Errors
/// The store cannot be read.
pub async fn others(
    store: &Store,
    project: &str,
    environment: &str,
) -> Result<Vec<ReleaseId>, StoreError> {
    let live = store.live(project, environment).await?;
    let found = found(store, &live, (project, environment)).await?;
    Ok(found.into_iter().collect())
}

/// Returns which releases a task's environment can roll back to from what is live, on the hosts as
/// they are configured now.
///
/// # Errors
/// The store cannot be read.
pub async fn possible_rollbacks(
    store: &Store,
    task: &Task,
    hosts: PresentHosts<'_>,
) -> Result<Rollbacks, StoreError> {
    let submission = &task.submission;
    if !submission.has_environment() {
        return Ok(Rollbacks::default());
    }
    let before = RollbackTarget::Before {
        project: submission.project.clone(),
        environment: submission.environment.clone(),
    };
    Ok(Rollbacks {
        to_task: has_rollback(store, &RollbackTarget::ToTask(task.id), hosts).await?,
        before_live: has_rollback(store, &before, hosts).await?,
    })
}

/// Whether there is a release to roll back to, and a host to switch.
///
/// # Errors
/// The store cannot be read.
pub async fn has_rollback(
    store: &Store,
    back: &RollbackTarget,
    hosts: PresentHosts<'_>,
) -> Result<bool, StoreError> {
    match preview(store, back, hosts).await {
        Ok(_) => Ok(true),
        Err(RequestError::Store(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Returns the stored description of the commit without its comparisons: the executor makes current
/// ones.
async fn described_alone(store: &Store, earlier: &Task) -> Result<String, RequestError> {
    let landed = earlier.landed.as_ref();
    let blob = landed.map_or("", |landed| landed.description.as_str());
    if blob.is_empty() {
        return Ok(String::new());
    }
    let Ok(mut description) = serde_json::from_slice::<Description>(&store.blob(blob).await?)
    else {
        return Ok(String::new());
    };
    description.comparisons.clear();
    let bytes = serde_json::to_vec(&description).unwrap_or_default();
    Ok(store.put_blob(&bytes).await?)
}

fn rollback_events(
    earlier: &Task,
    goal: &RollbackGoal,
    landed: Landed,
    requester: RollbackRequester<'_>,
    now: Timestamp,
) -> Vec<Event> {
    let actor = requester.actor;
    let (to, release, title) = named(goal);
    let comment = match to {
        Some(to) => format!("rolls back to task {to}"),
        None => format!("rolls {title}"),
    };
    let (reference, object) = match to {
        Some(_) => (&earlier.submission.reference, &earlier.submission.object),
        None => (&String::new(), &String::new()),
    };
    let submission = Submission {
        origin: Origin::Rollback { to, release },
        reference: reference.clone(),
        object: object.clone(),
        submitter: Submitter {
            name: actor.name.clone(),
            account: Some(actor.name.clone()),
        },
        // If the earlier task needed no approval, its rollback may still need one. If the
        // requester's own approval does not count, it needs no more than a tag does there.
        schedule: match requester.tags {
            TagsNeed::Nothing if !requester.counts => Schedule::Ready,
            TagsNeed::Nothing | TagsNeed::Approval => Schedule::New,
        },
        expires_s: None,
        refuse_older: false,
        title,
        involved: BTreeSet::new(),
        ..Submission::clone(&earlier.submission)
    };
    let digest = landed.terms.plan.clone();
    let mut events = vec![
        Event::Proposed(Box::new(submission)),
        Event::Landed(Box::new(landed)),
    ];
    if requester.counts {
        events.push(Event::Approved(Approval {
            by: actor.name.clone(),
            in_stead_of: None,
            groups: actor.groups.clone(),
            plan: digest,
            comment,
            not_before: None,
            emergency: requester.emergency,
            at: now,
        }));
    }
    events
}

fn anyone() -> Requirement {
    Requirement {
        count: 1,
        of: Approvers::Anyone,
    }
}

/// Returns the task of a goal, its release, and the title of a rollback that releases no commit.
fn named(goal: &RollbackGoal) -> (Option<u64>, ReleaseId, String) {
    match goal {
        RollbackGoal::Made(target) => (Some(target.task), target.release.clone(), String::new()),
        RollbackGoal::Found(targets) => {
            let releases: BTreeSet<&ReleaseId> = targets.values().collect();
            let first = releases
                .first()
                .map_or(ReleaseId(String::new()), |first| ReleaseId::clone(first));
            let title = match releases.len() {
                1 => format!("rollback to {first}"),
                _ => "rollback to what was live before on each host".to_owned(),
            };
            (None, first, title)
        }
    }
}

/// What a rollback would lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbackPreview {
    pub goal: RollbackGoal,
    /// Whether it is live already on every host that takes part.
    pub is_live: bool,
}

/// Returns what a rollback would lead to.
///
/// # Errors
/// [`RequestError::NoRollback`] names the reason if no rollback is possible.
pub async fn preview(
    store: &Store,
    back: &RollbackTarget,
    hosts: PresentHosts<'_>,
) -> Result<RollbackPreview, RequestError> {
    let RollbackInputs {
        goal,
        plan,
        given,
        live,
        ..
    } = resolve(store, back).await?;
    let plan = on_present(plan, &given, hosts)?;
    let is_live = goal.is_live(&live, switching(&plan));
    Ok(RollbackPreview { goal, is_live })
}

/// Returns what a task made live.
async fn released_by(store: &Store, id: u64) -> Result<RollbackGoal, RequestError> {
    let task = store.task(id).await?;
    let place = (
        task.submission.project.as_str(),
        task.submission.environment.as_str(),
    );
    let release: Option<ReleaseId> = match &task.submission.origin {
        Origin::Rollback { to: None, .. } => {
            let plan = store.plan_of(&task).await?;
            let targets = plan.map(|plan| plan.targets.clone()).unwrap_or_default();
            let switched = store.events(id).await?.iter().any(switches);
            if switched && !task.state.holds_queue() {
                return Ok(RollbackGoal::Found(targets));
            }
            None
        }
        Origin::Rollback { release, .. } => Some(release.clone()),
        Origin::Tag(_) | Origin::Submitted(_) => {
            task.work.as_ref().map(|work| work.release.clone())
        }
    };
    let record = match release {
        Some(release) => store.release(place.0, place.1, &release).await?,
        None => None,
    };
    match record {
        Some(record) => once_live(store, place, record).await,
        None => Err(RequestError::NoRollback(format!(
            "task {id} is {} and made nothing live; choose a succeeded task (`tagship tasks --state succeeded`)",
            task.state
        ))),
    }
}
