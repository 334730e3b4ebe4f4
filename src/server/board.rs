//! Builds the board from what the store knows: pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::api::{
    BOARD_HOSTS_MAX, BoardEnvironment, BoardProgress, BoardQuery, BoardRef, BoardRelease,
    BoardTask, BoardView, TaskLine,
};
use crate::domain::approval::freeze::Calendar;
use crate::domain::approval::{self, Actor, Approval, ApprovalRequest, Terms};
use crate::domain::permission::{Ability, PermissionTarget};
use crate::domain::plan::{AGENT, Plan};
use crate::domain::task::{
    AGENT_INDEX, Direction, Event, FreezeOverride, Origin, Pause, Recorded, Relation, State,
    StateName, StepRef, Task, TaskWork,
};
use crate::engine::request::AllowedRequest;
use crate::store::{Head, LiveRelease};

/// The most tasks of a group that are listed.
const GROUP_MAX: usize = 50;

/// What the board shows of one task to every reader.
#[derive(Clone, Debug)]
pub(super) struct TaskFacts {
    pub(super) head: Head,
    pub(super) subject: String,
    pub(super) changes: Vec<Relation>,
    pub(super) rollback: bool,
    /// While it waits for approval: what the plan requires, and what was given.
    approval: Option<(Terms, Vec<Approval>)>,
    starts_at: Option<Timestamp>,
    /// It is paused until a person decides.
    asks_people: bool,
    /// It has not started, so that a freeze keeps it.
    can_be_held: bool,
    freeze_override: Option<FreezeOverride>,
    pub(super) progress: Option<BoardProgress>,
}

/// What a commit is, as lists show it.
#[derive(Clone, Debug, Default)]
pub(super) struct CommitFacts {
    pub(super) subject: String,
    pub(super) changes: Vec<Relation>,
}

impl TaskFacts {
    /// Of a task that has not ended.
    pub(super) fn of(head: Head, task: &Task, plan: Option<&Plan>, commit: CommitFacts) -> Self {
        let waits = task.landed.as_ref();
        let waits = waits.filter(|_| task.state == State::Waiting);
        let can_be_held = task.state.can_be_withdrawn();
        Self {
            approval: waits.map(|landed| (landed.terms.clone(), task.approvals.clone())),
            starts_at: match task.state {
                State::Scheduled { at } if task.ref_error.is_none() => Some(at),
                _ if can_be_held => task.scheduled_time(),
                _ => None,
            },
            asks_people: matches!(&task.state, State::Paused { why } if !matches!(why, Pause::Time { .. })),
            can_be_held,
            freeze_override: task.freeze_override.clone(),
            progress: plan.and_then(|plan| progress(task, plan)),
            rollback: is_rollback(&task.submission.origin),
            changes: known(head.relations.clone(), commit.changes),
            subject: commit.subject,
            head,
        }
    }

    /// Of a task that has ended, from its first events.
    pub(super) fn settled(head: Head, first: &[Recorded], commit: CommitFacts) -> Self {
        let origin = first.iter().find_map(|recorded| match &recorded.event {
            Event::Proposed(submission) => Some(&submission.origin),
            _ => None,
        });
        Self {
            approval: None,
            starts_at: None,
            asks_people: false,
            can_be_held: false,
            freeze_override: None,
            progress: None,
            rollback: origin.is_some_and(is_rollback),
            changes: commit.changes,
            subject: commit.subject,
            head,
        }
    }

    /// Returns the task as this actor sees it.
    pub(super) fn shown(&self, actor: &Actor, calendar: &Calendar, now: Timestamp) -> BoardTask {
        let head = &self.head;
        let missing = self.approval.as_ref();
        let missing = missing.map(|(terms, given)| approval::missing(terms, given));
        let overridden = self.freeze_override.as_ref();
        let overridden = overridden.is_some_and(|freeze| freeze.until.is_none_or(|end| now < end));
        let held = self.can_be_held && !overridden;
        let frozen = calendar.frozen(&head.project, &head.environment, now);
        BoardTask {
            line: TaskLine::from(head.clone()),
            subject: self.subject.clone(),
            changes: self.changes.clone(),
            rollback: self.rollback,
            you_can: self.asked(actor, now),
            missing: missing.unwrap_or_default(),
            starts_at: self.starts_at,
            frozen_until: frozen.filter(|_| held).map(|frozen| frozen.until),
            progress: self.progress.clone(),
        }
    }

    /// Returns what the actor is asked for, if they may do it.
    fn asked(&self, actor: &Actor, now: Timestamp) -> Option<AllowedRequest> {
        if let Some((terms, given)) = &self.approval {
            let request = ApprovalRequest {
                actor,
                plan: &terms.plan,
                comment: "",
                not_before: None,
                emergency: None,
                at: now,
            };
            let counts = approval::approve(terms, given, &request).is_ok();
            return counts.then_some(AllowedRequest::Approve);
        }
        let decides = self.asks_people && actor.may(Ability::Run, "resume a task").is_ok();
        decides.then_some(AllowedRequest::Resume)
    }
}

fn is_rollback(origin: &Origin) -> bool {
    matches!(origin, Origin::Rollback { .. })
}

/// Returns how a task relates to what is live now; else to what was live when it landed.
fn known(now: Vec<Relation>, landed: Vec<Relation>) -> Vec<Relation> {
    if now.is_empty() { landed } else { now }
}

/// Returns how far a task's work is; `None` before it began, and while it rolls back.
fn progress(task: &Task, plan: &Plan) -> Option<BoardProgress> {
    let work = task.work.as_ref()?;
    if matches!(task.state, State::RollingBack { .. }) {
        return None;
    }
    let mut index_of: BTreeMap<&str, u16> = BTreeMap::from([(AGENT, AGENT_INDEX)]);
    for (host, index) in plan.hosts.iter().zip(0..) {
        index_of.insert(&host.name, index);
    }
    let stages: Vec<StageCount> = (0..plan.stages.len())
        .map(|stage| count(work, plan, stage, &index_of))
        .collect();
    let at_work = stages
        .iter()
        .position(|stage| stage.steps_done < stage.steps);
    let at_work = at_work.unwrap_or(stages.len().checked_sub(1)?);
    let stage = &stages[at_work];
    Some(BoardProgress {
        stage: plan.stages[at_work].name.clone(),
        number: at_work as u64 + 1,
        stages: stages.len() as u64,
        hosts_done: stage.hosts_done,
        hosts: stage.hosts,
        steps_done: stages.iter().map(|stage| stage.steps_done).sum(),
        steps: stages.iter().map(|stage| stage.steps).sum(),
    })
}

/// What is done in one stage.
#[derive(Default)]
struct StageCount {
    hosts: u64,
    hosts_done: u64,
    steps: u64,
    steps_done: u64,
}

/// Counts the steps of a stage. What a skipped host has not done is not counted, and a step that
/// one host does for all is done whichever host did it.
fn count(
    work: &TaskWork,
    plan: &Plan,
    number: usize,
    index_of: &BTreeMap<&str, u16>,
) -> StageCount {
    let stage = &plan.stages[number];
    let names = stage.host_names();
    let at = |name: &str, step: usize| StepRef {
        way: Direction::Forward,
        stage: u16::try_from(number).unwrap_or(u16::MAX),
        host: index_of.get(name).copied().unwrap_or(AGENT_INDEX),
        step: u16::try_from(step).unwrap_or(u16::MAX),
    };
    let done_at = |name: &str, step: usize| {
        let end = work
            .steps
            .get(&at(name, step))
            .and_then(|step| step.end.as_ref());
        end.is_some_and(|(_, result)| result.succeeded())
    };
    let mut counted = StageCount::default();
    for (position, name) in names.iter().enumerate() {
        let skipped = index_of
            .get(name)
            .is_some_and(|host| work.skipped.contains_key(host));
        let (mut steps, mut done) = (0, 0);
        for (step, described) in stage.steps.iter().enumerate() {
            let own = match &described.host {
                Some(host) => host == name,
                None => position < stage.hosts.len() && (position == 0 || !described.once),
            };
            if !own {
                continue;
            }
            let for_all = described.once && described.host.is_none();
            let is_done = done_at(name, step)
                || (for_all && stage.hosts.iter().any(|other| done_at(other, step)));
            if is_done || !skipped {
                steps += 1;
                done += u64::from(is_done);
            }
        }
        counted.steps += steps;
        counted.steps_done += done;
        counted.hosts += 1;
        counted.hosts_done += u64::from(done == steps);
    }
    counted
}

/// What the store knows of one environment.
pub(super) struct PlaceFacts<'a> {
    pub(super) project: &'a str,
    pub(super) environment: &'a str,
    pub(super) hosts: &'a [String],
    pub(super) disabled: Vec<String>,
    pub(super) live: BTreeMap<String, LiveRelease>,
    /// The tasks that made what is live, by id.
    pub(super) made: BTreeMap<u64, Head>,
    /// The task whose work started last.
    pub(super) last: Option<Head>,
}

/// Returns an environment without its tasks and freezes, which depend on reader and time.
pub(super) fn environment(facts: PlaceFacts<'_>) -> BoardEnvironment {
    let PlaceFacts {
        project,
        environment,
        hosts,
        disabled,
        live,
        made,
        last,
    } = facts;
    let drift = live.iter().filter(|(_, live)| live.drift.is_some());
    let drift: Vec<String> = drift.map(|(host, _)| host.clone()).collect();
    let configured: BTreeSet<&String> = hosts.iter().collect();
    let unconfigured = live
        .keys()
        .filter(|host| !configured.contains(host))
        .count();
    BoardEnvironment {
        project: project.to_owned(),
        environment: environment.to_owned(),
        hosts: (hosts.len() + unconfigured) as u64,
        live: releases(&live, &made),
        drifted: drift.len() as u64,
        drift: drift.into_iter().take(BOARD_HOSTS_MAX).collect(),
        disabled_hosts: disabled.len() as u64,
        disabled: disabled.into_iter().take(BOARD_HOSTS_MAX).collect(),
        last: last.map(|head| reference(&head)),
        ..BoardEnvironment::default()
    }
}

/// Groups hosts by release, those of most hosts first.
fn releases(live: &BTreeMap<String, LiveRelease>, made: &BTreeMap<u64, Head>) -> Vec<BoardRelease> {
    let mut groups: BTreeMap<_, BoardRelease> = BTreeMap::new();
    for one in live.values() {
        let switched_by = Some(one.switched_by).filter(|id| Some(*id) != one.task);
        let group = groups
            .entry((one.release.clone(), switched_by))
            .or_insert_with(|| {
                let head = one.task.and_then(|id| made.get(&id));
                BoardRelease {
                    release: one.release.clone(),
                    tag: head.map(|head| head.tag().to_owned()),
                    commit: one.commit.clone(),
                    task: one.task,
                    by: head.map(|head| head.who().to_owned()),
                    switched_by,
                    since: one.since,
                    hosts: 0,
                }
            });
        group.hosts += 1;
        group.since = match (group.since, one.since) {
            (Some(since), Some(other)) => Some(since.min(other)),
            (since, other) => since.or(other),
        };
    }
    let mut releases: Vec<BoardRelease> = groups.into_values().collect();
    releases.sort_by_key(|release| {
        (
            std::cmp::Reverse(release.hosts),
            std::cmp::Reverse(release.since),
        )
    });
    releases
}

fn reference(head: &Head) -> BoardRef {
    BoardRef {
        task: head.id,
        name: TaskLine::from(head.clone()).called().to_owned(),
        state: head.state,
        updated_at: head.updated_at,
    }
}

/// What a board is built from. All tasks in it are ones that the reader may see.
pub(super) struct BoardFacts<'a> {
    /// The heads of all unfinished tasks, oldest first.
    pub(super) active: &'a [Head],
    /// More about those that are listed.
    pub(super) tasks: Vec<TaskFacts>,
    /// The latest tasks that have ended, newest first.
    pub(super) ended: Vec<TaskFacts>,
    pub(super) environments: Vec<BoardEnvironment>,
    pub(super) left_out: u64,
    pub(super) query: &'a BoardQuery,
    pub(super) calendar: &'a Calendar,
    pub(super) now: Timestamp,
}

/// Returns the board as a reader sees it; `at` are their permissions for a target.
pub(super) fn board(facts: BoardFacts<'_>, at: impl Fn(&PermissionTarget) -> Actor) -> BoardView {
    let BoardFacts {
        active,
        tasks,
        ended,
        mut environments,
        left_out,
        query,
        calendar,
        now,
    } = facts;
    let show = |facts: &TaskFacts| facts.shown(&at(&facts.head.target()), calendar, now);
    let mut view = BoardView {
        left_out,
        ..BoardView::default()
    };
    for task in tasks.iter().rev().map(show) {
        let group = match group_of(task.line.head.state, task.you_can.is_some()) {
            Group::ForYou => &mut view.for_you,
            Group::Waiting => &mut view.waiting,
            Group::Running => &mut view.running,
            Group::Next => &mut view.next,
        };
        group.tasks.push(task);
    }
    // Who waits longest comes first.
    view.for_you.tasks.reverse();
    for task in ended.iter().map(show) {
        let group = match task.line.head.state {
            StateName::Failed
            | StateName::RollbackFailed
            | StateName::RolledBack
            | StateName::Stopped => &mut view.failed,
            _ => &mut view.recent,
        };
        group.tasks.push(task);
    }
    let covered = |head: &&Head| query.covers(&head.project, &head.environment);
    totals(&mut view, active.iter().filter(covered));
    environments.retain(|place| query.covers(&place.project, &place.environment));
    for place in &mut environments {
        with_tasks(place, active);
        let frozen = calendar.frozen(&place.project, &place.environment, now);
        place.frozen_until = frozen.map(|frozen| frozen.until);
    }
    view.environments = environments;
    view
}

/// The groups of unfinished tasks.
enum Group {
    ForYou,
    Waiting,
    Running,
    Next,
}

fn group_of(state: StateName, is_asked: bool) -> Group {
    match state {
        StateName::Waiting | StateName::Paused if is_asked => Group::ForYou,
        StateName::Waiting => Group::Waiting,
        StateName::Proposed | StateName::Scheduled | StateName::Queued => Group::Next,
        _ => Group::Running,
    }
}

/// Sets how many tasks each group has, and cuts the lists.
fn totals<'a>(view: &mut BoardView, active: impl Iterator<Item = &'a Head>) {
    let (mut waiting, mut running, mut next) = (0, 0, 0);
    for head in active {
        match group_of(head.state, false) {
            Group::Waiting => waiting += 1,
            Group::Next => next += 1,
            _ => running += 1,
        }
    }
    let yours = |may: AllowedRequest| {
        let asked = view.for_you.tasks.iter();
        asked.filter(|task| task.you_can == Some(may)).count() as u64
    };
    let (approve, decide) = (
        yours(AllowedRequest::Approve),
        yours(AllowedRequest::Resume),
    );
    view.for_you.total = approve + decide;
    view.waiting.total = u64::saturating_sub(waiting, approve);
    view.running.total = u64::saturating_sub(running, decide);
    view.next.total = next;
    view.failed.total = view.failed.tasks.len() as u64;
    view.recent.total = view.recent.tasks.len() as u64;
    for group in [&mut view.waiting, &mut view.running, &mut view.next] {
        group.tasks.truncate(GROUP_MAX);
    }
}

/// Adds the tasks of an environment: the one at work, and the one that comes next.
fn with_tasks(place: &mut BoardEnvironment, active: &[Head]) {
    let here = active
        .iter()
        .filter(|head| head.project == place.project && head.environment == place.environment);
    // The nearer to its start, the earlier; of equal ones the oldest.
    let order = |head: &Head| match head.state {
        StateName::Queued => Some(0),
        StateName::Scheduled => Some(1),
        StateName::Waiting => Some(2),
        StateName::Proposed => Some(3),
        _ => None,
    };
    let mut next: Option<(u8, &Head)> = None;
    for head in here {
        let Some(order) = order(head) else {
            place.running = Some(reference(head));
            continue;
        };
        place.waiting += 1;
        if next.is_none_or(|(nearest, _)| order < nearest) {
            next = Some((order, head));
        }
    }
    place.next = next.map(|(_, head)| reference(head));
}

#[cfg(test)]
mod tests;
