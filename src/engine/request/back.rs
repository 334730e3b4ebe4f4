//! Rolls back to an earlier release: a task of its own, which needs no push and no git server.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{OVERRIDE, RequestError, WaysBack, required_reason};
use crate::domain::approval::freeze::Calendar;
use crate::domain::approval::{Actor, Approval, ApprovalWeight, EMERGENCY, Terms};
use crate::domain::host::ReleaseId;
use crate::domain::plan::Plan;
use crate::domain::right::Ability;
use crate::domain::rule::Schedule;
use crate::domain::task::{
    ComparedWith, Description, Event, Landed, Origin, Recorded, Relation, Submission, Submitter,
    Supersede, Task, Waits,
};
use crate::domain::template::{Approvers, Requirement};
use crate::store::{ForTask, LiveRelease, ReleaseRecord, Store, StoreError};

/// The target of a rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollbackTarget {
    /// The release of this task.
    ToTask(u64),
    /// The good release before the live one.
    Before {
        project: String,
        environment: String,
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
    /// Why it runs despite a freeze; ignored if there is none.
    pub override_freeze: Option<&'a str>,
    /// The reason of an admin who gives the missing approval, if one does.
    pub emergency: Option<&'a str>,
    pub tags: TagsNeed,
    pub calendar: &'a Calendar,
}

/// Makes a rollback task to an earlier release. It needs neither a push nor the git server. The
/// requester's own approval counts, since rolling back to an approved release takes one approver.
/// If it does not count, the task waits, whatever schedule the earlier task had. All of it is made
/// in one commit, with what `also` returns for the task's number.
///
/// # Errors
/// [`RequestError::NoWayBack`] names what is missing; nothing was made then.
pub async fn roll_back(
    store: &Store,
    asked: &RollbackRequest<'_>,
    actor: &Actor,
    now: Timestamp,
    also: ForTask<'_>,
) -> Result<Task, RequestError> {
    actor.may(Ability::Run, "roll back")?;
    let despite = match asked.override_freeze {
        Some(reason) => {
            actor.may(Ability::Manage, OVERRIDE)?;
            Some(required_reason(reason, OVERRIDE)?)
        }
        None => None,
    };
    let emergency = match asked.emergency {
        Some(reason) => {
            actor.may(Ability::Manage, EMERGENCY)?;
            Some(required_reason(reason, EMERGENCY)?)
        }
        None => None,
    };
    let WayBack {
        target,
        earlier,
        mut plan,
        live,
    } = way_back(store, asked.back).await?;
    let (project, environment) = (&earlier.submission.project, &earlier.submission.environment);
    plan.approvals = vec![anyone()];
    plan.self_approval = true;
    plan.rebuilt = rebuilt(&plan, &live, &target.release);
    let digest = store.put_plan(&plan).await?;
    let known = ComparedWith::default();
    let releases = store
        .compared_releases((project, environment), live.values(), &known, now)
        .await?;
    let same = live.values().all(|live| live.release == target.release);
    let compared = ComparedWith {
        live: releases,
        relations: same.then_some(Relation::Same).into_iter().collect(),
    };
    let landed = Landed {
        commit: target.commit.clone(),
        object: String::new(),
        terms: Terms {
            plan: digest,
            approvals: vec![anyone()],
            self_approval: true,
            submitters: BTreeSet::from([actor.name.clone()]),
            more: 0,
        },
        description: described_alone(store, &earlier).await?,
        compared,
        waits: Waits::Task,
    };
    let asker = AskedBy {
        actor,
        counts: emergency.is_some() || actor.counts == ApprovalWeight::Yes,
        emergency,
        tags: asked.tags,
    };
    let mut events = going_back(&earlier, &target, landed, asker, now);
    let frozen = asked.calendar.frozen(project, environment, now);
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

/// Returns the hosts that switch and are not known to keep the release.
fn rebuilt(plan: &Plan, live: &BTreeMap<String, LiveRelease>, release: &ReleaseId) -> Vec<String> {
    let stage = plan.publish_stage().map(|stage| &plan.stages[stage]);
    let hosts = stage.into_iter().flat_map(|stage| &stage.hosts);
    let keeps = |host: &&String| {
        live.get(*host)
            .is_some_and(|live| live.kept.contains(release))
    };
    hosts.filter(|host| !keeps(host)).cloned().collect()
}

/// Who requests a rollback, and whether that approves it.
struct AskedBy<'a> {
    actor: &'a Actor,
    /// Whether their own approval counts.
    counts: bool,
    emergency: Option<String>,
    tags: TagsNeed,
}

/// The target and plan of a rollback, and what is live there.
struct WayBack {
    target: ReleaseRecord,
    earlier: Task,
    /// The current hosts and steps, with the commit and parameters of the earlier release.
    plan: Plan,
    live: BTreeMap<String, LiveRelease>,
}

async fn way_back(store: &Store, back: &RollbackTarget) -> Result<WayBack, RequestError> {
    let target = target(store, back).await?;
    let earlier = store.task(target.task).await?;
    let submission = &earlier.submission;
    let (project, environment) = (&submission.project, &submission.environment);
    let live = store.live(project, environment).await?;
    let Some(latest) = live.values().map(|live| live.switched_by).max() else {
        return Err(RequestError::NoWayBack(format!(
            "nothing is live in {project} {environment}"
        )));
    };
    let no_plan = |id| RequestError::NoWayBack(format!("task {id} has no plan to go back by"));
    let by = store.task(latest).await?;
    let by = store.plan_of(&by).await?.ok_or_else(|| no_plan(latest))?;
    let then = store
        .plan_of(&earlier)
        .await?
        .ok_or_else(|| no_plan(target.task))?;
    let mut plan = by.going_back().ok_or_else(|| no_plan(latest))?;
    plan.commit.clone_from(&target.commit);
    plan.parameters.clone_from(&then.parameters);
    plan.secrets.clone_from(&then.secrets);
    Ok(WayBack {
        target,
        earlier,
        plan,
        live,
    })
}

/// Returns which releases a task's environment can roll back to from what is live.
///
/// # Errors
/// The store cannot be read.
pub async fn ways_back(store: &Store, task: &Task) -> Result<WaysBack, StoreError> {
    let submission = &task.submission;
    if !submission.has_place() {
        return Ok(WaysBack::default());
    }
    let before = RollbackTarget::Before {
        project: submission.project.clone(),
        environment: submission.environment.clone(),
    };
    Ok(WaysBack {
        to_task: leads_back(store, &RollbackTarget::ToTask(task.id)).await?,
        before_live: leads_back(store, &before).await?,
    })
}

/// Whether there is a release to roll back to.
///
/// # Errors
/// The store cannot be read.
pub async fn leads_back(store: &Store, back: &RollbackTarget) -> Result<bool, StoreError> {
    match way_back(store, back).await {
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

fn going_back(
    earlier: &Task,
    target: &ReleaseRecord,
    landed: Landed,
    asker: AskedBy<'_>,
    now: Timestamp,
) -> Vec<Event> {
    let actor = asker.actor;
    let submission = Submission {
        origin: Origin::Rollback {
            to: target.task,
            release: target.release.clone(),
        },
        submitter: Submitter {
            name: actor.name.clone(),
            account: Some(actor.name.clone()),
        },
        // If the earlier task needed no approval, its rollback may still need one. If the
        // requester's own approval does not count, it needs no more than a tag does there.
        schedule: match asker.tags {
            TagsNeed::Nothing if !asker.counts => Schedule::Ready,
            TagsNeed::Nothing | TagsNeed::Approval => Schedule::New,
        },
        expires_s: None,
        supersede: Supersede::Never,
        push: None,
        refuse_older: false,
        title: String::new(),
        details: String::new(),
        run_at: None,
        approvers: Vec::new(),
        executor: String::new(),
        claimed_submitter: String::new(),
        involved: BTreeSet::new(),
        idempotency_key: None,
        ..Submission::clone(&earlier.submission)
    };
    let digest = landed.terms.plan.clone();
    let mut events = vec![
        Event::Proposed(Box::new(submission)),
        Event::Landed(Box::new(landed)),
    ];
    if asker.counts {
        events.push(Event::Approved(Approval {
            by: actor.name.clone(),
            in_stead_of: None,
            groups: actor.groups.clone(),
            plan: digest,
            comment: format!("rolls back to task {}", target.task),
            not_before: None,
            emergency: asker.emergency,
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

/// Returns the release to roll back to.
///
/// # Errors
/// [`RequestError::NoWayBack`] names the reason if there is none.
pub async fn target(store: &Store, back: &RollbackTarget) -> Result<ReleaseRecord, RequestError> {
    match back {
        RollbackTarget::ToTask(id) => released_by(store, *id).await,
        RollbackTarget::Before {
            project,
            environment,
        } => before_live(store, project, environment).await,
    }
}

/// Returns the release of a succeeded task.
async fn released_by(store: &Store, id: u64) -> Result<ReleaseRecord, RequestError> {
    let task = store.task(id).await?;
    let release: Option<ReleaseId> = match &task.submission.origin {
        Origin::Rollback { release, .. } => Some(release.clone()),
        Origin::Tag { .. } | Origin::Submitted { .. } => {
            task.work.as_ref().map(|work| work.release.clone())
        }
    };
    let record = match release {
        Some(release) => {
            store
                .release(
                    &task.submission.project,
                    &task.submission.environment,
                    &release,
                )
                .await?
        }
        None => None,
    };
    record.filter(|record| record.good).ok_or_else(|| {
        RequestError::NoWayBack(format!(
            "task {id} is {} and has no good release to go back to; choose a succeeded task (`tagship tasks --state succeeded`)",
            task.state
        ))
    })
}

/// Returns the good release before the live one.
async fn before_live(
    store: &Store,
    project: &str,
    environment: &str,
) -> Result<ReleaseRecord, RequestError> {
    let live = store.live(project, environment).await?;
    let newest = live.values().map(|live| &live.release).max().cloned();
    let Some(newest) = newest else {
        return Err(RequestError::NoWayBack(format!(
            "nothing is live in {project} {environment}"
        )));
    };
    store
        .releases(project, environment)
        .await?
        .into_iter()
        .find(|record| record.good && record.release < newest)
        .ok_or_else(|| {
            RequestError::NoWayBack(format!(
                "{project} {environment} has no good release before {newest}; what another tool released is switched to on the hosts (ln -s DIRECTORY current.new && mv -T current.new current)"
            ))
        })
}
