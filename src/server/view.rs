//! Builds the view of a task from the task, its plan and its events: pure.

pub(super) mod drift;
mod events;
mod notes;
mod result;

use std::collections::BTreeMap;

use jiff::Timestamp;

use self::result::result_view;
use crate::api::{
    ApprovalView, ComparedView, FrozenView, HostView, SkippedView, StageView, StepState, StepView,
    TaskView,
};
use crate::base::language::{Language, Sentence};
use crate::base::secret::REDACTED;
use crate::domain::approval::freeze::Calendar;
use crate::domain::approval::{self, Actor, MissingApproval};
use crate::domain::plan::Plan;
use crate::domain::task::{
    Description, Direction, Event, Origin, OriginKind, Pause, Recorded, State, StepProgress,
    StepRef, StepResult, Task, host_index,
};
use crate::domain::template::{Gate, StepAction};
use crate::engine::request::{self, RequestContext, Rollbacks};
use crate::server::text;
use crate::store::{Head, LiveRelease, StateDetail};

/// Everything that is shown of a task.
#[derive(Clone, Copy, Debug)]
pub struct TaskViewInputs<'a> {
    pub task: &'a Task,
    /// The summary that the store keeps, for the details of the state.
    pub head: &'a Head,
    pub plan: Option<&'a Plan>,
    pub description: Option<&'a Description>,
    pub events: &'a [Recorded],
    pub calendar: &'a Calendar,
    /// The releases to which a rollback is possible there.
    pub rollbacks: Rollbacks,
    /// The newer task in the same environment whose work a retry would undo.
    pub newer: Option<u64>,
    /// The running task that this one is queued behind.
    pub ahead: Option<&'a Head>,
    /// What is live on the hosts of its environment, while it has not begun.
    pub live: &'a BTreeMap<String, LiveRelease>,
    /// The accounts whose approval is missing, or would count.
    pub can_approve: &'a [String],
    /// The language of its sentences.
    pub language: Language,
}

/// Returns the view of a task for `actor`.
#[must_use]
pub fn task_view(shown: TaskViewInputs<'_>, actor: &Actor, now: Timestamp) -> TaskView {
    let TaskViewInputs {
        task,
        head,
        plan,
        description,
        events,
        calendar,
        rollbacks,
        newer,
        ahead,
        live,
        can_approve,
        language,
    } = shown;
    let moment = RequestContext {
        now,
        calendar,
        plan,
        newer,
        rollbacks,
    };
    let submission = &task.submission;
    let request = submission.request().cloned().unwrap_or_default();
    let (approvals, compared) = compared(events);
    let missing = missing(task);
    TaskView {
        id: task.id,
        title: submission.title.clone(),
        details: request.details,
        claimed_submitter: request.claimed_submitter,
        executor: request.executor,
        approvers: request.approvers,
        run_at: request.run_at,
        starts_at: starts_at(task),
        parameters: parameters(task, plan),
        hosts: submission.hosts.clone(),
        project: submission.project.clone(),
        environment: submission.environment.clone(),
        reference: submission.reference.clone(),
        tag: task.tag().to_owned(),
        commit: task.commit().map(str::to_owned),
        state: task.state.name(),
        detail: detail(language, task, head, plan, ahead),
        at_rest: task.state.is_settled(),
        schedule: submission.schedule,
        template: submission.template.clone(),
        template_version: plan.map(|plan| plan.template_digest.clone()),
        origin: OriginKind::from(&submission.origin),
        submitter: submission.submitter.name.clone(),
        account: submission.submitter.account.clone(),
        created_at: task.created,
        updated_at: task.updated,
        landed_at: task.landed_at,
        expires_at: task.expires().filter(|_| task.state == State::Waiting),
        pause_ends_at: plan.and_then(|plan| task.pause_ends(plan)),
        approvals,
        missing: missing.iter().map(ToString::to_string).collect(),
        missing_approvals: missing,
        can_approve: can_approve.to_vec(),
        waits_for_people: waits_for_people(&task.state),
        plan: task.landed.as_ref().map(|landed| landed.terms.plan.clone()),
        release: task.work.as_ref().map(|work| work.release.clone()),
        on_failure: plan.map(|plan| plan.on_failure),
        stages: of(plan, |plan| stages(language, task, plan)),
        rollback_stages: of(plan, |plan| {
            rollback_stage(language, task, plan).into_iter().collect()
        }),
        live_before: of(plan, |plan| live_before(task, plan)),
        goes_back_to: of(plan, |plan| plan.targets.clone()),
        description: description.cloned(),
        compared,
        events: events::lines(language, events, plan),
        frozen: frozen(task, calendar, now),
        skipped: skipped(task),
        notes: of(plan, |plan| notes::notes(language, task, plan, live)),
        drift: notes::met(task, plan, live),
        may: request::granted(task, actor, &moment),
    }
}

/// Reads something from the plan; empty before there is one.
fn of<T: Default>(plan: Option<&Plan>, read: impl FnOnce(&Plan) -> T) -> T {
    plan.map(read).unwrap_or_default()
}

fn missing(task: &Task) -> Vec<MissingApproval> {
    let landed = task.landed.as_ref();
    let landed = landed.filter(|_| task.state == State::Waiting);
    landed
        .map(|landed| approval::missing(&landed.terms, &task.approvals))
        .unwrap_or_default()
}

fn starts_at(task: &Task) -> Option<Timestamp> {
    match task.state {
        State::Scheduled { at } if task.ref_error.is_none() => Some(at),
        _ => None,
    }
}

/// Whether nothing more happens before a person acts.
fn waits_for_people(state: &State) -> bool {
    match state {
        State::Waiting => true,
        State::Paused { why } => !matches!(why, Pause::Time { .. }),
        _ => false,
    }
}

/// Returns the details of the state; at a gate, the steps that wait there, by the names of the
/// plan; in the queue, the task that it waits for.
fn detail(
    language: Language,
    task: &Task,
    head: &Head,
    plan: Option<&Plan>,
    ahead: Option<&Head>,
) -> String {
    let text = match &task.state {
        State::Queued if task.ref_error.is_none() => ahead.map(|ahead| {
            let text = language.say("detail-behind").with("task", ahead.id);
            text.with("state", text::state_in(language, ahead.state))
        }),
        State::Paused { why } => plan.and_then(|plan| gate(language, task, why, plan)),
        _ => None,
    };
    let said = || StateDetail::of(task).map(|said| said.message().sentence(language));
    let text = text.or_else(said);
    text.map_or_else(|| head.detail.clone(), |text| text.to_string())
}

/// Returns what waits at the gate of a paused task, by its name in the plan.
fn gate(language: Language, task: &Task, why: &Pause, plan: &Plan) -> Option<Sentence> {
    match why {
        Pause::Gate { stage } => {
            let stage = plan.stages.get(usize::from(*stage))?.name.clone();
            Some(language.say("detail-gate-of-stage").with("stage", stage))
        }
        Pause::StepGate => {
            let steps = held(language, task, plan)?;
            Some(language.say("detail-gate-of-steps").with("steps", steps))
        }
        Pause::Time { .. } | Pause::HostFailed { .. } | Pause::Unknown { .. } => None,
    }
}

/// Returns `look on web1 and web2`: the steps whose gates hold hosts.
fn held(language: Language, task: &Task, plan: &Plan) -> Option<String> {
    let mut hosts_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (at, held) in &task.work.as_ref()?.held_hosts {
        if held.gate == Gate::Hand {
            let hosts = hosts_of.entry(&plan.step(*at)?.name).or_default();
            hosts.push(plan.host_name(*at).to_owned());
        }
    }
    let steps = hosts_of.into_iter().map(|(step, hosts)| {
        let text = language.say("step-on-hosts").with("step", step.to_owned());
        let hosts = text::list_in(language, &hosts);
        text.with("hosts", hosts).to_string()
    });
    let steps: Vec<String> = steps.collect();
    (!steps.is_empty()).then(|| text::list_in(language, &steps))
}

/// Returns the plan's parameters; before there is a plan, the submitted ones. Secrets are in
/// neither and are shown as present.
fn parameters(task: &Task, plan: Option<&Plan>) -> BTreeMap<String, String> {
    let submission = &task.submission;
    let mut shown = match (plan, &submission.origin) {
        (Some(plan), _) => plan.parameters.clone(),
        (None, Origin::Submitted(_)) => submission.parameters.clone(),
        (None, _) => BTreeMap::new(),
    };
    let planned = plan.into_iter().flat_map(|plan| &plan.secrets);
    let unclassified = submission.unclassified.keys();
    let unclassified = unclassified.filter(|_| plan.is_none());
    for name in planned.chain(submission.secrets.keys()).chain(unclassified) {
        shown.insert(name.clone(), REDACTED.to_owned());
    }
    shown
}

/// Returns the freeze over a task that has yet to run, waits at a gate, or did not roll back.
fn frozen(task: &Task, calendar: &Calendar, now: Timestamp) -> Option<FrozenView> {
    let (project, environment) = (&task.submission.project, &task.submission.environment);
    let frozen = calendar.frozen(project, environment, now)?;
    let to_run = task.state.can_be_frozen() && task.state != State::Running;
    to_run.then(|| FrozenView {
        name: frozen.freeze.name.clone(),
        reason: frozen.freeze.reason.clone(),
        until: frozen.until,
        overridden_by: task.freeze_override_at(now).map(str::to_owned),
    })
}

fn skipped(task: &Task) -> Vec<SkippedView> {
    let skipped = task.work.iter().flat_map(|work| work.skipped.values());
    skipped
        .map(|skipped| SkippedView {
            name: skipped.name.clone(),
            by: skipped.by.clone(),
            reason: skipped.reason.clone(),
        })
        .collect()
}

fn live_before(
    task: &Task,
    plan: &Plan,
) -> BTreeMap<String, Option<crate::domain::host::ReleaseId>> {
    let Some(work) = &task.work else {
        return BTreeMap::new();
    };
    work.live_before
        .iter()
        .filter_map(|(host, live)| {
            let host = plan.hosts.get(usize::from(*host))?;
            Some((host.name.clone(), live.clone()))
        })
        .collect()
}

fn stages(language: Language, task: &Task, plan: &Plan) -> Vec<StageView> {
    (0..plan.stages.len())
        .map(|stage| stage_view(language, task, plan, (Direction::Forward, stage)))
        .collect()
}

/// Returns the stage that switches, as it was rolled back; `None` if nothing was.
fn rollback_stage(language: Language, task: &Task, plan: &Plan) -> Option<StageView> {
    let went_back = task
        .work
        .as_ref()?
        .steps
        .keys()
        .any(|at| at.way == Direction::Back);
    if !went_back && !matches!(task.state, State::RollingBack { .. }) {
        return None;
    }
    let back = (Direction::Back, plan.publish_stage()?);
    let mut stage = stage_view(language, task, plan, back);
    if went_back && task.state.is_settled() {
        // Hosts that had not switched have nothing to roll back.
        stage.hosts.retain(|host| {
            let begun =
                |step: &StepView| !matches!(step.state, StepState::Pending | StepState::Skipped);
            host.steps.iter().any(begun)
        });
    }
    Some(stage)
}

fn stage_view(
    language: Language,
    task: &Task,
    plan: &Plan,
    (way, number): (Direction, usize),
) -> StageView {
    let stage = &plan.stages[number];
    let host = |(position, name): (usize, &&str)| HostView {
        name: (*name).to_owned(),
        steps: (0..stage.steps.len())
            .map(|step| {
                let at = StepRef {
                    way,
                    stage: index(number),
                    host: host_index(plan, name),
                    step: index(step),
                };
                // If the first host takes no part, another one runs its steps for all.
                let work = task.work.as_ref();
                if stage.runs(position, step)
                    || work.is_some_and(|work| work.steps.contains_key(&at))
                {
                    step_view(language, task, plan, at)
                } else {
                    step_elsewhere(plan, at)
                }
            })
            .collect(),
    };
    StageView {
        name: stage.name.clone(),
        gate: stage.gate,
        batch: stage.batch,
        hosts: stage.host_names().iter().enumerate().map(host).collect(),
    }
}

fn index(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX - 1)
}

fn step_elsewhere(plan: &Plan, at: StepRef) -> StepView {
    StepView {
        name: plan
            .step(at)
            .map(|step| step.name.clone())
            .unwrap_or_default(),
        log: plan.log_name(at),
        way: at.way,
        state: StepState::Elsewhere,
        attempt: 0,
        started_at: None,
        ended_at: None,
        exit_code: None,
        message: String::new(),
        omits_exit: false,
    }
}

fn step_view(language: Language, task: &Task, plan: &Plan, at: StepRef) -> StepView {
    let work = task.work.as_ref();
    let mut view = StepView {
        state: StepState::Pending,
        attempt: work.map_or(0, |work| work.attempts(at)),
        ..step_elsewhere(plan, at)
    };
    let Some(progress) = work.and_then(|work| work.steps.get(&at)) else {
        if work.is_some_and(|work| work.skipped.contains_key(&at.host)) {
            view.state = StepState::Skipped;
        } else if work.is_some_and(|work| work.held_hosts.contains_key(&at)) {
            view.state = StepState::Held;
        }
        return view;
    };
    let StepProgress {
        began,
        end,
        unreachable: gone,
        ..
    } = progress;
    view.started_at = Some(*began);
    view.state = StepState::Running;
    if let Some((reason, until)) = gone {
        view.message = events::away(language, reason, *until);
    }
    if let Some((ended, result)) = end {
        view.ended_at = Some(*ended);
        let runs = plan
            .step(at)
            .is_some_and(|step| matches!(step.action, StepAction::Run(_)));
        (view.state, view.message, view.exit_code) = result_view(language, result, runs);
        view.omits_exit = matches!(result, StepResult::Failed { omits_exit, .. } if *omits_exit);
    }
    view
}

/// Returns the approvals that count for this plan or counted for an earlier one, each with its
/// comparison at that time; and the current comparison.
fn compared(events: &[Recorded]) -> (Vec<ApprovalView>, Option<ComparedView>) {
    let mut approvals = Vec::new();
    let mut now: Option<ComparedView> = None;
    for Recorded { time, event } in events {
        match event {
            Event::Landed(landed) => {
                let with = landed.compared.clone();
                now = Some(ComparedView { at: *time, with });
            }
            Event::Compared { with, .. } => {
                let with = with.clone();
                now = Some(ComparedView { at: *time, with });
            }
            Event::Approved(approval) => approvals.push(ApprovalView {
                approval: approval.clone(),
                live: now.iter().flat_map(|now| now.with.live.clone()).collect(),
            }),
            Event::Reopened { .. } => approvals.clear(),
            _ => {}
        }
    }
    (approvals, now)
}
