//! The next actions of a task: a pure function of its state and its plan.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::failure_summary::{FailureCause, HostFailure, summarize};
use super::pause::{paused, time_left};
use super::stage_progress::{HostProgress, StageProgress};
use super::step_position::{host_index, index};
use super::{Direction, Event, NextAction, Outcome, Pause, State, Task, TaskWork, stop};
use crate::domain::plan::{AGENT, Plan, Stage};
use crate::domain::template::{Gate, OnFailure};

/// Returns everything that may be done now. Order does not matter; after doing a part of it, a new
/// call returns the rest.
#[must_use]
pub fn next_actions(task: &Task, plan: Option<&Plan>) -> Vec<NextAction> {
    match &task.state {
        State::Proposed => vec![NextAction::Land],
        State::Waiting => {
            let mut actions = Vec::new();
            if task.doubted.is_some() {
                actions.push(NextAction::Recheck);
            }
            if let Some(expiry) = task.expires() {
                let reason = "it was not approved in time";
                actions.push(NextAction::At(
                    expiry,
                    Event::Expired {
                        reason: reason.to_owned(),
                        is_final: false,
                    },
                ));
            }
            actions
        }
        State::Scheduled { .. } if task.doubted.is_some() => vec![NextAction::Recheck],
        State::Scheduled { at } => vec![NextAction::At(*at, Event::Due)],
        State::Queued if task.doubted.is_some() => vec![NextAction::Recheck],
        State::Queued => vec![NextAction::Start],
        State::Running => with_work(task, plan, |work, plan| forward_actions(task, work, plan)),
        State::Paused { why } => with_work(task, plan, |work, plan| paused(task, why, work, plan)),
        State::RollingBack { .. } => with_work(task, plan, rollback_actions),
        State::Stopping { .. } => with_work(task, plan, stop::stopping),
        _ => Vec::new(),
    }
}

fn with_work(
    task: &Task,
    plan: Option<&Plan>,
    actions: impl Fn(&TaskWork, &Plan) -> Vec<NextAction>,
) -> Vec<NextAction> {
    match (&task.work, plan) {
        (Some(work), Some(plan)) => actions(work, plan),
        _ => Vec::new(),
    }
}

fn forward_actions(task: &Task, work: &TaskWork, plan: &Plan) -> Vec<NextAction> {
    let mut excluded = ExcludedHosts::default();
    let time = time_left(task, work);
    for (number, stage) in plan.stages.iter().enumerate() {
        let hosts: Vec<HostProgress> = {
            let absent = |host: &str| {
                excluded.has(host) || work.skipped.contains_key(&host_index(plan, host))
            };
            let stages =
                StageProgress::new((work, plan), Direction::Forward, number, time, &absent);
            let positions = 0..stages.hosts.len();
            positions.map(|at| stages.host_progress(at)).collect()
        };
        if hosts.iter().all(HostProgress::is_over) {
            continue;
        }
        match (stage.gate, time) {
            (Gate::Hand, _) if !work.gates_opened.contains(&index(number)) => {
                let pause = Pause::Gate {
                    stage: index(number),
                };
                return vec![NextAction::Record(Event::Paused(pause))];
            }
            (Gate::Timed, Some(time)) => return wait_until(time),
            _ => {}
        }
        match stage_actions(work, plan, stage, &hosts, time) {
            StageOutcome::Act(actions) => return actions,
            StageOutcome::Passed { failed } => {
                excluded.failed.extend(failed);
                if excluded.has(AGENT) {
                    break;
                }
            }
        }
    }
    let outcome = match excluded.message() {
        None => Outcome::Succeeded,
        Some(message) => Outcome::Failed { message },
    };
    vec![NextAction::Record(Event::Finished(outcome))]
}

/// Pauses until this time; nothing can continue before. (If it has come, the pause is refused.)
fn wait_until(time: Timestamp) -> Vec<NextAction> {
    vec![
        NextAction::At(time, Event::Due),
        NextAction::Record(Event::Paused(Pause::Time { until: time })),
    ]
}

/// With `on_failure = "continue"`: hosts on which a step failed are excluded from later stages. If
/// the agent's own stage failed, all are.
#[derive(Default)]
struct ExcludedHosts {
    failed: Vec<HostFailure>,
}

impl ExcludedHosts {
    fn has(&self, host: &str) -> bool {
        self.failed.iter().any(|failure| failure.host == host)
    }

    fn message(&self) -> Option<String> {
        (!self.failed.is_empty()).then(|| summarize(&self.failed))
    }
}

enum StageOutcome {
    Act(Vec<NextAction>),
    /// All hosts are done; with `on_failure = "continue"` some of them failed.
    Passed {
        failed: Vec<HostFailure>,
    },
}

fn stage_actions(
    work: &TaskWork,
    plan: &Plan,
    stage: &Stage,
    hosts: &[HostProgress],
    time: Option<Timestamp>,
) -> StageOutcome {
    let running: Vec<NextAction> = resumed(hosts, work);
    let names = stage.host_names();
    let failed: Vec<HostFailure> = names
        .iter()
        .zip(hosts)
        .filter_map(|(host, progress)| match progress {
            HostProgress::Failed(why) => Some(HostFailure {
                host: (*host).to_owned(),
                cause: why.clone(),
            }),
            _ => None,
        })
        .collect();
    let unknown = hosts.iter().find_map(|host| match host {
        HostProgress::Unknown(message) => Some(message.clone()),
        _ => None,
    });
    let trouble = !failed.is_empty() || unknown.is_some();
    // The user who stopped a host decides how to continue.
    let stopped =
        |failure: &HostFailure| work.stopped.contains_key(&host_index(plan, &failure.host));
    let on_failure = if failed.iter().any(stopped) {
        OnFailure::Pause
    } else {
        plan.on_failure
    };
    let batch = match on_failure {
        OnFailure::Rollback | OnFailure::Stop if trouble => &[],
        // The failed host's batch continues; later batches do not (it may be the canary).
        OnFailure::Pause if trouble => batch(stage, hosts, HostProgress::is_over),
        _ => batch(stage, hosts, HostProgress::is_finished),
    };
    let next = steps_to_begin(batch, work, plan);
    let due = time.filter(|_| gated(batch, Gate::Timed));
    if !next.is_empty() || !running.is_empty() {
        // Work continues while timed gates wait.
        let due = due.map(|time| NextAction::At(time, Event::Due));
        return StageOutcome::Act(next.into_iter().chain(running).chain(due).collect());
    }
    if let Some(message) = unknown {
        return StageOutcome::Act(vec![NextAction::Record(Event::Paused(Pause::Unknown {
            message,
        }))]);
    }
    if on_failure == OnFailure::Continue || failed.is_empty() {
        return match due {
            _ if gated(batch, Gate::Hand) => {
                let due = due.map(|time| NextAction::At(time, Event::Due));
                let pause = NextAction::Record(Event::Paused(Pause::StepGate));
                StageOutcome::Act(due.into_iter().chain([pause]).collect())
            }
            Some(time) => StageOutcome::Act(wait_until(time)),
            None => StageOutcome::Passed { failed },
        };
    }
    let message = summarize(&failed);
    let event = match on_failure {
        OnFailure::Pause => Event::Paused(Pause::HostFailed { message }),
        OnFailure::Rollback if can_roll_back(work, plan) => {
            Event::RollbackBegan { reason: message }
        }
        _ => Event::Finished(Outcome::Failed { message }),
    };
    StageOutcome::Act(vec![NextAction::Record(event)])
}

/// Returns the current batch: the first one that does not have `passed` on every host.
fn batch<'s>(
    stage: &Stage,
    hosts: &'s [HostProgress],
    passed: impl Fn(&HostProgress) -> bool,
) -> &'s [HostProgress] {
    let size = stage
        .batch
        .map_or(hosts.len(), |batch| batch.max(1) as usize);
    hosts
        .chunks(size.max(1))
        .find(|batch| !batch.iter().all(&passed))
        .unwrap_or_default()
}

/// Returns the steps that hosts of a batch may begin, and the gates they have reached.
fn steps_to_begin(batch: &[HostProgress], work: &TaskWork, plan: &Plan) -> Vec<NextAction> {
    batch
        .iter()
        .filter_map(|host| match host {
            HostProgress::Next { at, attempt } => Some(NextAction::Perform {
                at: *at,
                attempt: *attempt,
            }),
            HostProgress::Gated { at, gate } if !work.held_hosts.contains_key(at) => {
                Some(NextAction::Record(Event::Held {
                    at: *at,
                    host: plan.host_name(*at).to_owned(),
                    gate: *gate,
                }))
            }
            _ => None,
        })
        .collect()
}

fn gated(batch: &[HostProgress], kind: Gate) -> bool {
    batch
        .iter()
        .any(|host| matches!(host, HostProgress::Gated { gate, .. } if *gate == kind))
}

fn resumed(hosts: &[HostProgress], work: &TaskWork) -> Vec<NextAction> {
    hosts
        .iter()
        .filter_map(|host| match host {
            HostProgress::Running { at, .. } if work.stopped.contains_key(&at.host) => {
                Some(NextAction::Kill { at: *at })
            }
            HostProgress::Running { at, attempt } => Some(NextAction::Resume {
                at: *at,
                attempt: *attempt,
            }),
            _ => None,
        })
        .collect()
}

/// Returns the hosts that began to switch, and whether anything was live there before. A switch
/// without an answer counts, because it may have happened.
fn switched(work: &TaskWork, plan: &Plan) -> BTreeMap<u16, bool> {
    work.steps
        .keys()
        .filter(|at| at.way == Direction::Forward && plan.is_publish(**at))
        .map(|at| {
            let former = work.live_before.get(&at.host).is_some_and(Option::is_some);
            (at.host, former)
        })
        .collect()
}

fn can_roll_back(work: &TaskWork, plan: &Plan) -> bool {
    switched(work, plan).values().any(|former| *former)
}

fn rollback_actions(work: &TaskWork, plan: &Plan) -> Vec<NextAction> {
    let Some(stage) = plan.publish_stage() else {
        return vec![NextAction::Record(Event::Finished(Outcome::RolledBack {
            message: "nothing was switched".to_owned(),
        }))];
    };
    let switched = switched(work, plan);
    let absent = |host: &str| switched.get(&host_index(plan, host)) != Some(&true);
    let stages = StageProgress::new((work, plan), Direction::Back, stage, None, &absent);
    let mut actions = Vec::new();
    let mut failed = Vec::new();
    let mut stay = Vec::new();
    for (position, name) in stages.hosts.iter().enumerate() {
        if switched.get(&host_index(plan, name)) == Some(&false) {
            stay.push(HostFailure::with_message(
                name,
                format!("{name}: nothing was live before"),
            ));
        }
        match stages.host_progress(position) {
            HostProgress::Next { at, attempt } => actions.push(NextAction::Perform { at, attempt }),
            HostProgress::Running { at, attempt } => {
                actions.push(NextAction::Resume { at, attempt });
            }
            HostProgress::Failed(FailureCause::Message(message))
            | HostProgress::Unknown(message) => {
                failed.push(HostFailure::with_message(name, message));
            }
            // The host that had to do the step reports its failure.
            HostProgress::Failed(FailureCause::Blocked { .. })
            | HostProgress::Done
            | HostProgress::Excluded
            | HostProgress::Gated { .. }
            | HostProgress::Follows => {}
        }
    }
    if !actions.is_empty() {
        return actions;
    }
    let outcome = if failed.is_empty() {
        Outcome::RolledBack {
            message: summarize(&stay),
        }
    } else {
        failed.extend(stay);
        Outcome::RollbackFailed {
            message: summarize(&failed),
        }
    };
    vec![NextAction::Record(Event::Finished(outcome))]
}
