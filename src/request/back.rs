//! Going back to an earlier release: a task of its own, which needs no push and no git server.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{OVERRIDE, RequestError, given};
use crate::approval::freeze::Calendar;
use crate::approval::{Actor, Approval, Counts, Terms};
use crate::host::ReleaseId;
use crate::plan::{Plan, PlanDigest};
use crate::right::Ability;
use crate::rule::Schedule;
use crate::store::{ForTask, LiveRelease, ReleaseRecord, Store};
use crate::task::{Event, Landed, Origin, Recorded, Submission, Submitter, Supersede, Task, Waits};
use crate::template::{Approvers, Requirement};

/// Where a rollback is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    /// To what this task released.
    ToTask(u64),
    /// To the good release before the live one.
    Before {
        project: String,
        environment: String,
    },
}

/// What is asked for with a rollback.
#[derive(Clone, Copy, Debug)]
pub struct Rollback<'a> {
    pub back: &'a Back,
    /// Why it runs although releases are frozen; where they are not, nothing follows from it.
    pub override_freeze: Option<&'a str>,
    pub calendar: &'a Calendar,
}

/// Makes a task that goes back to an earlier release. It needs neither a push nor the git server.
/// The asker's own yes counts, since going back to what was approved once takes one approver; where
/// it does not count, the task waits, whatever schedule the earlier one had. All of it is made in
/// one commit, with what `also` gives for the task's number.
///
/// # Errors
/// [`RequestError::NoWayBack`] says what is missing; nothing was made then.
pub async fn roll_back(
    store: &Store,
    asked: &Rollback<'_>,
    actor: &Actor,
    now: Timestamp,
    also: ForTask<'_>,
) -> Result<Task, RequestError> {
    actor.may(Ability::Run, "roll back")?;
    let despite = match asked.override_freeze {
        Some(reason) => {
            actor.may(Ability::Manage, OVERRIDE)?;
            Some(given(reason, OVERRIDE)?)
        }
        None => None,
    };
    let target = target(store, asked.back).await?;
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
    // Today's hosts and steps, with the commit and the parameters of then.
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
    plan.approvals = vec![anyone()];
    plan.self_approval = true;
    plan.rebuilt = rebuilt(&plan, &live, &target.release);
    let digest = store.put_plan(&plan).await?;
    let mut events = going_back(&earlier, &target, &digest, actor, now);
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

/// The hosts that switch and are not known to keep the release.
fn rebuilt(plan: &Plan, live: &BTreeMap<String, LiveRelease>, release: &ReleaseId) -> Vec<String> {
    let stage = plan.publish_stage().map(|stage| &plan.stages[stage]);
    let hosts = stage.into_iter().flat_map(|stage| &stage.hosts);
    let keeps = |host: &&String| {
        live.get(*host)
            .is_some_and(|live| live.kept.contains(release))
    };
    hosts.filter(|host| !keeps(host)).cloned().collect()
}

fn going_back(
    earlier: &Task,
    target: &ReleaseRecord,
    digest: &PlanDigest,
    actor: &Actor,
    now: Timestamp,
) -> Vec<Event> {
    let submission = Submission {
        origin: Origin::Rollback {
            to: target.task,
            release: target.release.clone(),
        },
        submitter: Submitter {
            name: actor.name.clone(),
            account: Some(actor.name.clone()),
        },
        // That the earlier one needed no approval says nothing of going back to it.
        schedule: Schedule::New,
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
    let landed = Landed {
        commit: target.commit.clone(),
        object: String::new(),
        terms: Terms {
            plan: digest.clone(),
            approvals: vec![anyone()],
            self_approval: true,
            submitters: BTreeSet::from([actor.name.clone()]),
            more: 0,
        },
        description: earlier
            .landed
            .as_ref()
            .map(|landed| landed.description.clone())
            .unwrap_or_default(),
        waits: Waits::Task,
    };
    let mut events = vec![
        Event::Proposed(Box::new(submission)),
        Event::Landed(Box::new(landed)),
    ];
    if actor.counts == Counts::Yes {
        events.push(Event::Approved(Approval {
            by: actor.name.clone(),
            in_stead_of: None,
            groups: actor.groups.clone(),
            plan: digest.clone(),
            comment: format!("rolls back to task {}", target.task),
            not_before: None,
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

/// The release to which it goes.
///
/// # Errors
/// [`RequestError::NoWayBack`] says why there is none.
pub async fn target(store: &Store, back: &Back) -> Result<ReleaseRecord, RequestError> {
    match back {
        Back::ToTask(id) => released_by(store, *id).await,
        Back::Before {
            project,
            environment,
        } => before_live(store, project, environment).await,
    }
}

/// The release that a task brought and that succeeded.
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

/// The good release before the live one.
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
                "{project} {environment} has no good release before {newest}"
            ))
        })
}
