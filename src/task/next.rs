//! What is to be done next with a task: a pure function of its state and its plan.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::pause::{paused, time_left};
use super::places::{host_index, index};
use super::told::{Failure, Why, failures, together};
use super::{At, Event, Outcome, Pause, State, StepResult, Task, Way, Work, stop};
use crate::plan::{AGENT, Plan, Stage};
use crate::template::{self, Gate, OnFailure};

/// One thing that the executor is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look whether the ref stands on the pushed object, fetch, pin, plan.
    Land,
    /// Look whether the ref of a landed task still stands.
    Recheck,
    /// Append this event when the time has come.
    At(Timestamp, Event),
    /// Claim the work when the queue of the project and environment is free.
    Start,
    /// Append the intent, then do the step.
    Perform { at: At, attempt: u32 },
    /// The intent stands, the result does not: find out, or do it again.
    Resume { at: At, attempt: u32 },
    /// End what still runs of this step.
    Kill { at: At },
    /// Append this event now.
    Record(Event),
}

/// Everything that may be done now. Order does not matter; doing a part of it and asking again
/// gives the rest.
#[must_use]
pub fn next_actions(task: &Task, plan: Option<&Plan>) -> Vec<Action> {
    match &task.state {
        State::Proposed => vec![Action::Land],
        State::Waiting => {
            let mut actions = Vec::new();
            if task.doubted.is_some() {
                actions.push(Action::Recheck);
            }
            if let Some(expiry) = task.expires() {
                let reason = "nobody approved it in time; push a new tag, or take it up again with `tagship retry`";
                actions.push(Action::At(
                    expiry,
                    Event::Expired {
                        reason: reason.to_owned(),
                    },
                ));
            }
            actions
        }
        State::Scheduled { .. } if task.doubted.is_some() => vec![Action::Recheck],
        State::Scheduled { at } => vec![Action::At(*at, Event::Due)],
        State::Queued => vec![Action::Start],
        State::Running => with_work(task, plan, |work, plan| forward(task, work, plan)),
        State::Paused { why } => with_work(task, plan, |work, plan| paused(task, why, work, plan)),
        State::RollingBack { .. } => with_work(task, plan, backward),
        State::Stopping { .. } => with_work(task, plan, stop::stopping),
        _ => Vec::new(),
    }
}

fn with_work(
    task: &Task,
    plan: Option<&Plan>,
    actions: impl Fn(&Work, &Plan) -> Vec<Action>,
) -> Vec<Action> {
    match (&task.work, plan) {
        (Some(work), Some(plan)) => actions(work, plan),
        _ => Vec::new(),
    }
}

/// How far one host of a stage has come.
enum Standing {
    Done,
    Next {
        at: At,
        attempt: u32,
    },
    Running {
        at: At,
        attempt: u32,
    },
    /// It waits at the gate of its next step.
    Gated {
        at: At,
        gate: Gate,
    },
    /// Its next step follows what another host of the stage has yet to do.
    Follows,
    Failed(Why),
    Unknown(String),
    /// It failed in an earlier stage and takes no part in this one.
    LeftBehind,
}

impl Standing {
    fn said(message: String) -> Self {
        Self::Failed(Why::Said(message))
    }

    /// There is nothing to do and nothing to say.
    fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::LeftBehind)
    }

    /// Nothing more is done, well or not.
    fn is_through(&self) -> bool {
        self.is_over() || matches!(self, Self::Failed(_) | Self::Unknown(_))
    }
}

/// One stage, done in one direction.
struct Course<'a> {
    work: &'a Work,
    plan: &'a Plan,
    way: Way,
    stage: usize,
    places: Vec<&'a str>,
    /// The task's time, while timed gates wait for it.
    time: Option<Timestamp>,
    /// Who takes no part, but for steps that name them on the way back.
    absent: &'a dyn Fn(&str) -> bool,
}

impl Course<'_> {
    fn at(&self, host: &str, step: usize) -> At {
        At {
            way: self.way,
            stage: index(self.stage),
            host: host_index(self.plan, host),
            step: index(step),
        }
    }

    /// How far the one at this place of the stage has come.
    fn standing(&self, place: usize) -> Standing {
        let stage = &self.plan.stages[self.stage];
        let name = self.places[place];
        let absent = (self.absent)(name);
        if absent && self.way == Way::Forward {
            return Standing::LeftBehind;
        }
        for (step, described) in stage.steps.iter().enumerate() {
            let label = &described.name;
            if !stage.runs(place, step) {
                if let Some(host) = &described.host
                    && place < stage.hosts.len()
                    && !absent
                    && let Some(standing) = self.follows(host, step)
                {
                    return standing;
                }
                continue;
            }
            let at = self.at(name, step);
            // Whoever is absent only does what names them, unless it goes on without them.
            if absent && (described.host.is_none() || self.work.skipped.contains_key(&at.host)) {
                continue;
            }
            match self.work.steps.get(&at) {
                None => return self.before(at, described),
                Some(progress) => match &progress.end {
                    None => {
                        let attempt = progress.attempt;
                        return Standing::Running { at, attempt };
                    }
                    Some((_, result)) if result.succeeded() => {}
                    Some((_, StepResult::Failed { message, .. })) => {
                        return Standing::said(format!("{name}: {label}: {message}"));
                    }
                    Some((_, StepResult::Unknown { message })) => {
                        return Standing::Unknown(format!("{name}: {label}: {message}"));
                    }
                    Some(_) => return Standing::said(format!("{name}: {label} was stopped")),
                },
            }
        }
        Standing::Done
    }

    /// What stands between a host and a step that it has not begun.
    fn before(&self, at: At, step: &template::Step) -> Standing {
        if let Some(by) = self.work.stopped.get(&at.host)
            && self.way == Way::Forward
        {
            let name = self.plan.host_name(at);
            return Standing::said(format!("{name}: {by} stopped it"));
        }
        if step.host.is_some()
            && let Some(standing) = self.held_back(usize::from(at.step))
        {
            return standing;
        }
        let closed = match step.gate {
            Gate::None => false,
            Gate::Hand => !self.work.is_open(at),
            Gate::Timed => self.time.is_some(),
        };
        if closed && self.way == Way::Forward {
            return Standing::Gated {
                at,
                gate: step.gate,
            };
        }
        Standing::Next {
            at,
            attempt: self.work.attempts(at) + 1,
        }
    }

    /// Where a host stands that comes to a step which another one does; `None` once that is done.
    fn follows(&self, host: &str, step: usize) -> Option<Standing> {
        let at = self.at(host, step);
        if self.work.skipped.contains_key(&at.host) {
            return None;
        }
        let progress = self.work.steps.get(&at);
        let end = progress.and_then(|progress| progress.end.as_ref());
        match end {
            Some((_, result)) if result.succeeded() => None,
            // Nobody will do it any more.
            _ if self.way == Way::Forward
                && self.plan.on_failure == OnFailure::Continue
                && (end.is_some() || (self.absent)(host)) =>
            {
                let label = &self.plan.stages[self.stage].steps[step].name;
                Some(Standing::Failed(Why::Waited {
                    step: label.clone(),
                    host: host.to_owned(),
                }))
            }
            _ => Some(Standing::Follows),
        }
    }

    /// What holds back a step that one host does alone: the ones of other lone hosts before it, then
    /// what the stage's hosts do before it. Everybody waits for earlier steps alone, so nobody does
    /// in a circle.
    fn held_back(&self, step: usize) -> Option<Standing> {
        let before = self.plan.stages[self.stage].steps[..step].iter();
        let hosts = before.map(|earlier| earlier.host.as_deref());
        hosts
            .enumerate()
            .find_map(|(earlier, host)| self.follows(host?, earlier))
            .or_else(|| (!self.all_before(step)).then_some(Standing::Follows))
    }

    /// Whether every host of the stage that takes part has done what stands before this step.
    fn all_before(&self, step: usize) -> bool {
        let stage = &self.plan.stages[self.stage];
        let present = (0..stage.hosts.len()).filter(|place| !(self.absent)(self.places[*place]));
        present.into_iter().all(|place| {
            for earlier in (0..step).filter(|earlier| stage.runs(place, *earlier)) {
                let at = self.at(self.places[place], earlier);
                match self.work.steps.get(&at).and_then(|step| step.end.as_ref()) {
                    Some((_, result)) if result.succeeded() => {}
                    // With `continue`, whoever failed is not waited for.
                    Some(_) => return self.plan.on_failure == OnFailure::Continue,
                    None => return false,
                }
            }
            true
        })
    }
}

fn forward(task: &Task, work: &Work, plan: &Plan) -> Vec<Action> {
    let mut left_behind = LeftBehind::default();
    let time = time_left(task, work);
    for (number, stage) in plan.stages.iter().enumerate() {
        let standings: Vec<Standing> = {
            let course = Course {
                work,
                plan,
                way: Way::Forward,
                stage: number,
                places: stage.places(),
                time,
                absent: &|host| {
                    left_behind.has(host) || work.skipped.contains_key(&host_index(plan, host))
                },
            };
            let places = 0..course.places.len();
            places.map(|place| course.standing(place)).collect()
        };
        if standings.iter().all(Standing::is_over) {
            continue;
        }
        match (stage.gate, time) {
            (Gate::Hand, _) if !work.gates_opened.contains(&index(number)) => {
                let pause = Pause::Gate {
                    stage: index(number),
                };
                return vec![Action::Record(Event::Paused(pause))];
            }
            (Gate::Timed, Some(time)) => return wait_until(time),
            _ => {}
        }
        match stage_actions(work, plan, stage, &standings, time) {
            StageOutcome::Act(actions) => return actions,
            StageOutcome::Passed { failed } => {
                left_behind.failed.extend(failed);
                if left_behind.has(AGENT) {
                    break;
                }
            }
        }
    }
    let outcome = match left_behind.message() {
        None => Outcome::Succeeded,
        Some(message) => Outcome::Failed { message },
    };
    vec![Action::Record(Event::Finished(outcome))]
}

/// Nothing can go on before this time. (Where it has come already, the pause is refused.)
fn wait_until(time: Timestamp) -> Vec<Action> {
    vec![
        Action::At(time, Event::Due),
        Action::Record(Event::Paused(Pause::Time { until: time })),
    ]
}

/// With `on_failure = "continue"`: hosts on which a step failed take no part in later stages, and
/// without what the agent's own stage makes nobody does.
#[derive(Default)]
struct LeftBehind {
    failed: Vec<Failure>,
}

impl LeftBehind {
    fn has(&self, host: &str) -> bool {
        self.failed.iter().any(|failure| failure.host == host)
    }

    fn message(&self) -> Option<String> {
        (!self.failed.is_empty()).then(|| failures(&self.failed))
    }
}

enum StageOutcome {
    Act(Vec<Action>),
    /// All hosts are through; with `on_failure = "continue"` some of them failed.
    Passed {
        failed: Vec<Failure>,
    },
}

fn stage_actions(
    work: &Work,
    plan: &Plan,
    stage: &Stage,
    standings: &[Standing],
    time: Option<Timestamp>,
) -> StageOutcome {
    let running: Vec<Action> = resumed(standings, work);
    let places = stage.places();
    let failed: Vec<Failure> = places
        .iter()
        .zip(standings)
        .filter_map(|(host, standing)| match standing {
            Standing::Failed(why) => Some(Failure {
                host: (*host).to_owned(),
                why: why.clone(),
            }),
            _ => None,
        })
        .collect();
    let unknown = standings.iter().find_map(|host| match host {
        Standing::Unknown(message) => Some(message.clone()),
        _ => None,
    });
    let trouble = !failed.is_empty() || unknown.is_some();
    // Whoever stops a host says what becomes of it.
    let stopped = |failure: &Failure| work.stopped.contains_key(&host_index(plan, &failure.host));
    let on_failure = if failed.iter().any(stopped) {
        OnFailure::Pause
    } else {
        plan.on_failure
    };
    let batch = match on_failure {
        OnFailure::Rollback | OnFailure::Stop if trouble => &[],
        // The hosts beside the one that failed go on; those after it (it may be the canary) don't.
        OnFailure::Pause if trouble => batch(stage, standings, Standing::is_over),
        _ => batch(stage, standings, Standing::is_through),
    };
    let next = next_of(batch, work, plan);
    let due = time.filter(|_| gated(batch, Gate::Timed));
    if !next.is_empty() || !running.is_empty() {
        // What waits for the time is woken beside what works.
        let due = due.map(|time| Action::At(time, Event::Due));
        return StageOutcome::Act(next.into_iter().chain(running).chain(due).collect());
    }
    if let Some(message) = unknown {
        return StageOutcome::Act(vec![Action::Record(Event::Paused(Pause::Unknown {
            message,
        }))]);
    }
    if on_failure == OnFailure::Continue || failed.is_empty() {
        return match due {
            _ if gated(batch, Gate::Hand) => {
                let due = due.map(|time| Action::At(time, Event::Due));
                let pause = Action::Record(Event::Paused(Pause::StepGate));
                StageOutcome::Act(due.into_iter().chain([pause]).collect())
            }
            Some(time) => StageOutcome::Act(wait_until(time)),
            None => StageOutcome::Passed { failed },
        };
    }
    let message = failures(&failed);
    let event = match on_failure {
        OnFailure::Pause => Event::Paused(Pause::HostFailed { message }),
        OnFailure::Rollback if can_go_back(work, plan) => Event::RollbackBegan { reason: message },
        _ => Event::Finished(Outcome::Failed { message }),
    };
    StageOutcome::Act(vec![Action::Record(event)])
}

/// The current batch: the first one (the canary) that does not have `passed` on every host.
fn batch<'s>(
    stage: &Stage,
    standings: &'s [Standing],
    passed: impl Fn(&Standing) -> bool,
) -> &'s [Standing] {
    let size = stage
        .batch
        .map_or(standings.len(), |batch| batch.max(1) as usize);
    standings
        .chunks(size.max(1))
        .find(|batch| !batch.iter().all(&passed))
        .unwrap_or_default()
}

/// The steps that hosts of a batch may begin, and the gates at which they have come to stand.
fn next_of(batch: &[Standing], work: &Work, plan: &Plan) -> Vec<Action> {
    batch
        .iter()
        .filter_map(|host| match host {
            Standing::Next { at, attempt } => Some(Action::Perform {
                at: *at,
                attempt: *attempt,
            }),
            Standing::Gated { at, gate } if !work.held.contains_key(at) => {
                Some(Action::Record(Event::Held {
                    at: *at,
                    host: plan.host_name(*at).to_owned(),
                    gate: *gate,
                }))
            }
            _ => None,
        })
        .collect()
}

fn gated(batch: &[Standing], kind: Gate) -> bool {
    batch
        .iter()
        .any(|host| matches!(host, Standing::Gated { gate, .. } if *gate == kind))
}

fn resumed(standings: &[Standing], work: &Work) -> Vec<Action> {
    standings
        .iter()
        .filter_map(|host| match host {
            Standing::Running { at, .. } if work.stopped.contains_key(&at.host) => {
                Some(Action::Kill { at: *at })
            }
            Standing::Running { at, attempt } => Some(Action::Resume {
                at: *at,
                attempt: *attempt,
            }),
            _ => None,
        })
        .collect()
}

/// Hosts on which the switch was begun and something was live before it: an unanswered switch
/// counts, since it may have happened.
fn switched(work: &Work, plan: &Plan) -> BTreeMap<u16, bool> {
    work.steps
        .keys()
        .filter(|at| at.way == Way::Forward && plan.is_publish(**at))
        .map(|at| {
            let former = work.live_before.get(&at.host).is_some_and(Option::is_some);
            (at.host, former)
        })
        .collect()
}

fn can_go_back(work: &Work, plan: &Plan) -> bool {
    switched(work, plan).values().any(|former| *former)
}

fn backward(work: &Work, plan: &Plan) -> Vec<Action> {
    let Some(stage) = plan.publish_stage() else {
        return vec![Action::Record(Event::Finished(Outcome::RolledBack {
            message: "nothing was switched".to_owned(),
        }))];
    };
    let switched = switched(work, plan);
    let course = Course {
        work,
        plan,
        way: Way::Back,
        stage,
        places: plan.stages[stage].places(),
        time: None,
        absent: &|host| switched.get(&host_index(plan, host)) != Some(&true),
    };
    let mut actions = Vec::new();
    let mut failed = Vec::new();
    let mut stay = Vec::new();
    for (place, name) in course.places.iter().enumerate() {
        if switched.get(&host_index(plan, name)) == Some(&false) {
            stay.push(format!("{name}: nothing was live before"));
        }
        match course.standing(place) {
            Standing::Next { at, attempt } => actions.push(Action::Perform { at, attempt }),
            Standing::Running { at, attempt } => actions.push(Action::Resume { at, attempt }),
            Standing::Failed(Why::Said(message)) | Standing::Unknown(message) => {
                failed.push(message);
            }
            // What is waited for here is told by whoever was to do it.
            Standing::Failed(Why::Waited { .. })
            | Standing::Done
            | Standing::LeftBehind
            | Standing::Gated { .. }
            | Standing::Follows => {}
        }
    }
    if !actions.is_empty() {
        return actions;
    }
    let outcome = if failed.is_empty() {
        Outcome::RolledBack {
            message: together(stay.iter().map(String::as_str)),
        }
    } else {
        failed.extend(stay);
        Outcome::RollbackFailed {
            message: together(failed.iter().map(String::as_str)),
        }
    };
    vec![Action::Record(Event::Finished(outcome))]
}
