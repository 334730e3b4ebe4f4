//! The task life cycle: what a task is ([`Task`]), what can happen to it ([`Event`]), which events
//! a state allows ([`Task::apply`]) and what to do next ([`next::next_actions`]).
//!
//! Pure: no clock (events carry their time), no paths, no sockets. The state of a task is the fold
//! of its events. The store keeps the events, the executor acts on the state, and both refuse an
//! event that [`Task::apply`] refuses. `snapshots/` holds the table of all states and events.

mod action;
mod comparison;
mod description;
mod event;
mod failure_summary;
mod gates;
mod hosts;
mod next;
mod pause;
mod recorded;
mod reference;
mod stage_progress;
mod state;
mod step_position;
mod stop;
mod submission;
mod work;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

pub use action::NextAction;
pub use description::{
    ChangedPath, CommitLine, CommitPerson, ComparedRelease, ComparedWith, Comparison, Description,
    RELATIONS_MAX, Relation, TagInfo,
};
pub use event::{
    Direction, Event, Landed, Outcome, Pause, Recorded, ScheduleScope, StepRef, StepResult,
    StopRequester, SwitchReport,
};
pub(crate) use failure_summary::{generalize, join_reason};
pub use next::next_actions;
pub use state::{QueuePhase, STATE_NAMES, State, StateName};
pub use step_position::{AGENT_INDEX, host_index};
pub use submission::{
    ManualRequest, Origin, OriginKind, PushedTag, PushedWith, Submission, Submitter, Supersede, Via,
};
pub use work::{HeldHost, Skipped, StepProgress, TaskWork};

use crate::domain::approval::{self, Approval};
use crate::domain::permission::PermissionTarget;
pub use crate::domain::rule::Schedule;
use crate::domain::rule::TAGS;

/// A task: the fold of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub id: u64,
    /// Shared, because tasks are copied often.
    pub submission: Arc<Submission>,
    pub state: State,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Start of the landing timeout: the last event other than a failed landing or a comparison.
    pub landing_since: Timestamp,
    /// Number of events so far, and the number of the next one.
    pub events: u64,
    pub landed: Option<Landed>,
    pub landed_at: Option<Timestamp>,
    pub approvals: Vec<Approval>,
    /// Since when the ref must be checked first: a push that deletes or moves it was reported.
    pub doubted: Option<Timestamp>,
    /// Why a ref in doubt could not be checked, if that has lasted long.
    pub ref_error: Option<String>,
    /// Why it has not landed yet, if landing did not succeed at once.
    pub landing_error: Option<String>,
    /// What was pushed can never land.
    pub is_final: bool,
    /// The freeze override, if there is one: it runs although releases are frozen.
    pub freeze_override: Option<FreezeOverride>,
    /// The claim under which its work is done; `None` while it is not claimed.
    pub fence: Option<u64>,
    pub work: Option<TaskWork>,
}

/// A freeze override: the task runs although releases are frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeOverride {
    pub by: String,
    /// The end of the overridden freeze, if known.
    pub until: Option<Timestamp>,
}

/// An event that the task's state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {id} is {state}: it cannot be {event}")]
pub struct IllegalTransition {
    pub id: u64,
    pub state: String,
    pub event: String,
}

impl Task {
    /// Returns the task that its first event creates.
    ///
    /// # Errors
    /// Returns an error unless the first event is `Proposed`.
    pub fn begin(id: u64, first: &Recorded) -> Result<Self, IllegalTransition> {
        let Event::Proposed(submission) = &first.event else {
            return Err(IllegalTransition {
                id,
                state: "not there".to_owned(),
                event: first.event.name().to_owned(),
            });
        };
        Ok(Self {
            id,
            submission: Arc::new((**submission).clone()),
            state: State::Proposed,
            created: first.time,
            updated: first.time,
            landing_since: first.time,
            events: 1,
            landed: None,
            landed_at: None,
            approvals: Vec::new(),
            doubted: None,
            ref_error: None,
            landing_error: None,
            is_final: false,
            freeze_override: None,
            fence: None,
            work: None,
        })
    }

    /// Returns the fold of a whole event log.
    ///
    /// # Errors
    /// The log is empty, or an event is not allowed in the state before it.
    pub fn fold<'a>(
        id: u64,
        events: impl IntoIterator<Item = &'a Recorded>,
    ) -> Result<Self, IllegalTransition> {
        let mut events = events.into_iter();
        let first = events.next().ok_or_else(|| IllegalTransition {
            id,
            state: "not there".to_owned(),
            event: "read without a first event".to_owned(),
        })?;
        events.try_fold(Self::begin(id, first)?, Self::apply)
    }

    /// Returns the task after one more event.
    ///
    /// # Errors
    /// [`IllegalTransition`] if the state does not allow the event.
    pub fn apply(mut self, recorded: &Recorded) -> Result<Self, IllegalTransition> {
        self.advance(recorded)?;
        Ok(self)
    }

    /// As [`Task::apply`], in place; a refused event changes nothing.
    ///
    /// # Errors
    /// [`IllegalTransition`] if the state does not allow the event.
    pub fn advance(&mut self, recorded: &Recorded) -> Result<(), IllegalTransition> {
        let time = recorded.time;
        let aside = self.apply_ref_event(&recorded.event, time) || self.compare(&recorded.event);
        let next = match (&self.state, &recorded.event) {
            _ if aside => None,
            (state, Event::Joined { .. }) if !state.is_settled() => None,
            (State::Proposed, Event::Landed(landed)) => Some(self.apply_landed(landed, time)),
            (State::Waiting, Event::Approved(approval)) => self.apply_approval(approval, time),
            (State::Waiting | State::Scheduled { .. }, Event::Rejected { by, reason }) => {
                Some(State::Rejected {
                    by: by.clone(),
                    reason: reason.clone(),
                })
            }
            (state, Event::Withdrawn { by, reason }) if state.can_be_withdrawn() => {
                Some(State::Withdrawn {
                    by: by.clone(),
                    reason: reason.clone(),
                })
            }
            (
                State::Proposed | State::Waiting | State::Scheduled { .. } | State::Queued,
                Event::Superseded { by },
            ) if self.work.is_none() => Some(State::Superseded { by: *by }),
            (
                State::Proposed | State::Waiting | State::Scheduled { .. },
                Event::Expired { reason, is_final },
            ) => {
                self.is_final = *is_final;
                Some(State::Expired {
                    reason: reason.clone(),
                })
            }
            (
                State::Withdrawn { .. } | State::Superseded { .. } | State::Expired { .. },
                Event::Reopened { .. },
            ) => Some(self.reopen(time)),
            (state, Event::FreezeOverridden { by, until, .. }) if state.can_be_frozen() => {
                self.freeze_override = Some(FreezeOverride {
                    by: by.clone(),
                    until: *until,
                });
                None
            }
            (State::Scheduled { .. }, Event::Due) if self.doubted.is_none() => Some(State::Queued),
            (
                State::Queued
                | State::Running
                | State::Paused { .. }
                | State::Stopping { .. }
                | State::RollingBack { .. },
                Event::Claimed { fence },
            ) if self.fence.is_none_or(|held| held < *fence) => {
                self.fence = Some(*fence);
                if let Some(work) = &mut self.work {
                    work.clear_unreachable();
                }
                None
            }
            (state, event) => match self.work_event(&state.clone(), event, time) {
                Ok(next) => next,
                Err(()) => return Err(self.illegal(event)),
            },
        };
        if let Some(state) = next {
            self.enter(state);
        }
        self.updated = time;
        if !recorded.event.is_internal() {
            self.landing_since = time;
        }
        self.events += 1;
        Ok(())
    }

    fn enter(&mut self, state: State) {
        if state.is_settled() {
            // To resume it, an agent has to claim it again.
            self.fence = None;
        }
        if state == State::Running
            && let Some(work) = &mut self.work
            && work.began_rollback()
        {
            // However it was resumed, some or all of its hosts have rolled back.
            work.clear_switch();
        }
        self.state = state;
    }

    fn illegal(&self, event: &Event) -> IllegalTransition {
        IllegalTransition {
            id: self.id,
            state: self.state.to_string(),
            event: event.name().to_owned(),
        }
    }

    fn apply_landed(&mut self, landed: &Landed, time: Timestamp) -> State {
        self.landed = Some(landed.clone());
        self.landed_at = Some(time);
        self.landing_error = None;
        // A doubt remains: the ref may have been checked before it was moved.
        match self.submission.schedule {
            Schedule::Ready => State::Scheduled {
                at: self.start_time(time),
            },
            Schedule::New => State::Waiting,
            Schedule::Observe => State::Observed,
        }
    }

    /// Adds an approval; it counts only if the plan's terms accept it, regardless of its source.
    fn apply_approval(&mut self, approval: &Approval, time: Timestamp) -> Option<State> {
        self.approvals.push(approval.clone());
        let terms = &self.landed.as_ref()?.terms;
        approval::missing(terms, &self.approvals)
            .is_empty()
            .then(|| State::Scheduled {
                at: self.start_time(time),
            })
    }

    /// Returns when a landed task begins: at its scheduled time, or now if only gates wait for it.
    fn start_time(&self, now: Timestamp) -> Timestamp {
        let waits = self.landed.as_ref().map(|landed| landed.waits);
        match waits.unwrap_or_default() {
            ScheduleScope::Task => self.scheduled_time().map_or(now, |time| time.max(now)),
            ScheduleScope::Gates => now,
        }
    }

    /// Returns the scheduled time, if any: the latest of its submission's and its approvals'.
    #[must_use]
    pub fn scheduled_time(&self) -> Option<Timestamp> {
        let approvals = self.approvals.iter().map(|given| given.not_before);
        let submitted = self.submission.request().and_then(|request| request.run_at);
        approvals.chain([submitted]).flatten().max()
    }

    /// Reopens the task; its ref is checked again, because it may have been deleted meanwhile.
    fn reopen(&mut self, time: Timestamp) -> State {
        self.approvals.clear();
        self.freeze_override = None;
        self.ref_error = None;
        self.landing_error = None;
        self.is_final = false;
        match (&self.landed, &self.work, self.submission.schedule) {
            (Some(_), _, Schedule::New) => {
                self.doubted = Some(self.created);
                // Its approval timeout starts again, as for a task that lands now.
                self.landed_at = Some(time);
                State::Waiting
            }
            // Its work so far was done by this plan.
            (Some(_), Some(_), _) => {
                self.doubted = Some(self.created);
                State::Scheduled { at: time }
            }
            // No template makes its plan.
            (Some(_), None, _) if self.is_rollback() => State::Scheduled { at: time },
            _ => {
                self.doubted = None;
                self.landed = None;
                State::Proposed
            }
        }
    }

    /// Applies events of a task whose work has begun or begins.
    fn work_event(
        &mut self,
        state: &State,
        event: &Event,
        time: Timestamp,
    ) -> Result<Option<State>, ()> {
        match (state, event) {
            (State::Queued, Event::Started { release })
                if self.fence.is_some() && self.landed.is_some() && self.doubted.is_none() =>
            {
                // A retried task keeps its release and its progress.
                self.work
                    .get_or_insert_with(|| TaskWork::new(release.clone(), time));
                Ok(Some(State::Running))
            }
            (
                State::Running | State::RollingBack { .. } | State::Paused { .. },
                Event::StopRequested { by, requester },
            ) => {
                self.work.as_mut().ok_or(())?.stop(*requester);
                Ok(Some(State::Stopping { by: by.clone() }))
            }
            (State::Running, Event::RollbackBegan { reason }) => Ok(Some(State::RollingBack {
                reason: reason.clone(),
            })),
            (State::Running, Event::Paused(why)) => {
                self.pause(why)?;
                Ok(Some(State::Paused { why: why.clone() }))
            }
            // Its progress is no longer known well enough: the store was restored from a backup.
            (State::Paused { .. }, Event::Paused(why @ Pause::Unknown { .. })) => {
                self.pause(why)?;
                Ok(Some(State::Paused { why: why.clone() }))
            }
            // A person has to check what could not be stopped reliably.
            (State::Stopping { .. }, Event::Paused(why @ Pause::Unknown { .. })) => {
                self.work.as_mut().ok_or(())?.ask_about_stop();
                Ok(Some(State::Paused { why: why.clone() }))
            }
            (State::Running, Event::Held { at, host, gate }) => self.hold(*at, host, *gate, time),
            (_, Event::Continued { .. } | Event::Due) => self.gate_event(state, event, time),
            (_, Event::HostStopRequested { .. } | Event::HostSkipped { .. }) => {
                self.host_event(state, event)
            }
            (_, Event::RetryRequested { .. }) => self.retry(state),
            (_, Event::Began { at, attempt }) => self.begin_step(state, *at, *attempt, time),
            (_, Event::ProgramBegan { .. } | Event::HostAway { .. } | Event::HostBack { .. }) => {
                self.work.as_mut().ok_or(())?.apply_report(event, time)
            }
            (_, Event::Ended { at, result }) => self.end_step(state, *at, result, time),
            (_, Event::Finished(outcome)) => self.finish(state, outcome),
            _ => Err(()),
        }
    }

    /// Repeats the steps that did not succeed.
    fn retry(&mut self, state: &State) -> Result<Option<State>, ()> {
        match state {
            State::Paused { .. } => {
                let work = self.work.as_mut().ok_or(())?;
                work.clear_stops();
                work.clear_failures(Direction::Forward);
                Ok(Some(State::Running))
            }
            State::Failed { .. } | State::Stopped | State::RolledBack { .. } => {
                // A freeze override applies to the earlier attempt only.
                self.freeze_override = None;
                if let Some(work) = &mut self.work {
                    work.clear_stops();
                    work.clear_skips();
                    work.clear_failures(Direction::Forward);
                }
                Ok(Some(State::Queued))
            }
            State::RollbackFailed { reason, .. } => {
                self.work
                    .as_mut()
                    .ok_or(())?
                    .clear_failures(Direction::Back);
                Ok(Some(State::RollingBack {
                    reason: reason.clone(),
                }))
            }
            _ => Err(()),
        }
    }

    fn begin_step(
        &mut self,
        state: &State,
        at: StepRef,
        attempt: u32,
        time: Timestamp,
    ) -> Result<Option<State>, ()> {
        let fits = self.fence.is_some()
            && match at.way {
                Direction::Forward => *state == State::Running,
                Direction::Back => matches!(state, State::RollingBack { .. }),
            };
        let work = self.work.as_mut().filter(|_| fits).ok_or(())?;
        let waits = work.held_hosts.contains_key(&at);
        if waits || work.steps.get(&at).is_some_and(|step| step.end.is_none()) {
            return Err(());
        }
        work.steps.insert(
            at,
            StepProgress {
                attempt,
                began: time,
                program: None,
                unreachable: None,
                end: None,
            },
        );
        Ok(None)
    }

    fn end_step(
        &mut self,
        state: &State,
        at: StepRef,
        result: &StepResult,
        time: Timestamp,
    ) -> Result<Option<State>, ()> {
        if !state.holds_queue() {
            return Err(());
        }
        let work = self.work.as_mut().ok_or(())?;
        let step = work.steps.get_mut(&at).ok_or(())?;
        if !work.to_kill.remove(&at) && step.end.is_some() {
            return Err(());
        }
        step.end = Some((time, result.clone()));
        match result {
            StepResult::CheckedOut { digest, .. } => work.tree = Some(digest.clone()),
            // The first answer counts: after a switch, a repeated one names the new release.
            StepResult::Staged { live, .. } => {
                work.live_before
                    .entry(at.host)
                    .or_insert_with(|| live.clone());
            }
            StepResult::Published { was, .. } if at.way == Direction::Forward => {
                work.live_before.insert(at.host, was.clone());
            }
            _ => {}
        }
        Ok(None)
    }

    fn finish(&mut self, state: &State, outcome: &Outcome) -> Result<Option<State>, ()> {
        let running = self
            .work
            .as_ref()
            .is_some_and(|work| work.steps.values().any(|step| step.end.is_none()));
        if running || self.fence.is_none() {
            return Err(());
        }
        let next = match (state, outcome) {
            (State::Running, Outcome::Succeeded) => State::Succeeded,
            (State::Running, Outcome::Failed { message }) => State::Failed {
                reason: message.clone(),
            },
            (State::Stopping { .. }, Outcome::Stopped) => State::Stopped,
            (State::RollingBack { reason }, Outcome::RolledBack { message }) => State::RolledBack {
                reason: join_reason(reason, message),
            },
            (State::RollingBack { reason }, Outcome::RollbackFailed { message }) => {
                State::RollbackFailed {
                    reason: reason.clone(),
                    back: message.clone(),
                }
            }
            _ => return Err(()),
        };
        Ok(Some(next))
    }

    /// Returns who overrode the freeze that is in force at `at`, if anyone did.
    #[must_use]
    pub fn freeze_override_at(&self, at: Timestamp) -> Option<&str> {
        let unfrozen = self.freeze_override.as_ref()?;
        let counts = unfrozen.until.is_none_or(|until| at < until);
        counts.then_some(unfrozen.by.as_str())
    }

    /// Returns when the task expires if it is still waiting.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        let after = i64::try_from(self.submission.expires_s?).ok()?;
        self.landed_at?
            .checked_add(SignedDuration::from_secs(after))
            .ok()
    }

    /// Whether a retry would end the same, whatever is mended meanwhile.
    #[must_use]
    pub fn is_retry_futile(&self) -> bool {
        match self.state {
            State::Expired { .. } => self.is_final,
            State::Failed { .. } | State::Stopped | State::RolledBack { .. } => {
                let mut steps = self.work.iter().flat_map(|work| work.steps.values());
                steps.any(StepProgress::is_final)
            }
            _ => false,
        }
    }

    /// Returns the commit, if there is one and it is known.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        self.landed
            .as_ref()
            .map(|landed| landed.commit.as_str())
            .filter(|commit| !commit.is_empty())
    }

    /// Returns the object that the ref must point to; empty while only the ref's name is known.
    #[must_use]
    pub fn object(&self) -> &str {
        match (&self.submission.object, &self.landed) {
            (pushed, _) if !pushed.is_empty() => pushed,
            (_, Some(landed)) => &landed.object,
            (none, None) => none,
        }
    }

    /// Returns the target that permissions are evaluated for.
    #[must_use]
    pub fn target(&self) -> PermissionTarget {
        let submission = &self.submission;
        PermissionTarget::new(
            &submission.project,
            &submission.environment,
            &submission.template,
        )
    }

    /// Returns the tag's short name.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.submission
            .reference
            .strip_prefix(TAGS)
            .unwrap_or(&self.submission.reference)
    }
}

#[cfg(test)]
mod fold_tests;
#[cfg(test)]
mod gate_tests;
#[cfg(test)]
mod intervention_tests;
#[cfg(test)]
mod invariant_tests;
#[cfg(test)]
mod retry_tests;
#[cfg(test)]
mod single_host_tests;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod walk_tests;
