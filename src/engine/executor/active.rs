//! What the executor keeps of each unfinished task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::AbortHandle;
use jiff::{SignedDuration, Timestamp};

use crate::domain::host::{Hosts, TreeDigest};
use crate::domain::plan::Plan;
use crate::domain::task::{
    Event, Outcome, Pause, Recorded, Schedule, State, StepRef, StepResult, Task,
};
use crate::store::{APPEND_BYTES_MAX, StoreError, event_bytes};

/// Effects that a task runs at most one of at a time.
#[derive(Default)]
pub(super) struct RunningEffects {
    pub(super) appending: bool,
    pub(super) refreshing: bool,
    pub(super) claiming: bool,
    pub(super) landing: bool,
}

/// The properties of a task that other tasks wait for.
#[derive(Clone, Copy, Default)]
pub(super) struct QueueStage {
    pub(super) holds_queue: bool,
    /// Landed, and its ref is not reported as gone.
    landed: bool,
    approaching: bool,
    queued: bool,
}

impl QueueStage {
    /// Whether others need no longer wait for the task, or yield to it, at its stage `now`.
    pub(super) fn is_released_by(self, now: Self) -> bool {
        (!self.landed && now.landed)
            || (self.approaching && !now.approaching)
            || (self.queued && !now.queued)
    }
}

/// Since when this executor's lookups and fetches for a task have failed. The executor may have
/// been down for long, and a single failure proves nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct FailedAttempts {
    pub(super) queries_since: Option<Timestamp>,
    pub(super) fetches_since: Option<Timestamp>,
}

/// What is attempted for a task that has not landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptKind {
    /// Query its ref on the git server.
    Query,
    /// Fetch its commit and plan it.
    Fetch,
}

pub(super) struct Active {
    /// Shared with the effects under way for it.
    pub(super) task: Arc<Task>,
    pub(super) plan: Option<Arc<Plan>>,
    /// Opened at the first step, dropped with the task.
    pub(super) hosts: Option<Arc<dyn Hosts>>,
    /// The fence of this executor's claim.
    pub(super) claim: Option<u64>,
    /// By how many milliseconds the claim's fence is raised on single hosts.
    pub(super) fence_raises: BTreeMap<String, u64>,
    /// The claim of a previous executor whose work this one resumes.
    pub(super) former_claim: Option<u64>,
    /// The number of events in the store, as far as known.
    pub(super) events_read: u64,
    /// Events for the next append.
    pub(super) outbox: Vec<Event>,
    pub(super) inflight: BTreeMap<StepRef, AbortHandle>,
    pub(super) kills: BTreeSet<StepRef>,
    /// Results of steps being killed; they count once no process of the step is left.
    pub(super) ended: BTreeMap<StepRef, StepResult>,
    /// The release that the agent's tree equals for this task.
    pub(super) tree: Arc<tokio::sync::Mutex<Option<TreeDigest>>>,
    pub(super) busy: RunningEffects,
    pub(super) failed_attempts: FailedAttempts,
    /// The ref was not at its expected place on the git server.
    pub(super) absent: bool,
    /// Every record of its push has been taken in.
    pub(super) push_complete: bool,
    /// It is the newest of its push.
    pub(super) newest: bool,
}

impl Active {
    pub(super) fn new(task: Arc<Task>) -> Self {
        Self {
            events_read: task.events,
            task,
            plan: None,
            hosts: None,
            claim: None,
            fence_raises: BTreeMap::new(),
            former_claim: None,
            outbox: Vec::new(),
            inflight: BTreeMap::new(),
            kills: BTreeSet::new(),
            ended: BTreeMap::new(),
            tree: Arc::default(),
            busy: RunningEffects::default(),
            failed_attempts: FailedAttempts::default(),
            absent: false,
            push_complete: false,
            newest: false,
        }
    }

    /// Returns the events for the next append, with their time. Drops those that the task would now
    /// refuse, because its state has changed since they were queued.
    pub(super) fn take_outbox(&mut self, limit: usize, time: Timestamp) -> Vec<Recorded> {
        if self.outbox.is_empty() {
            return Vec::new();
        }
        let mut task = (*self.task).clone();
        let mut events = Vec::new();
        let mut bytes = 0;
        let mut outbox = std::mem::take(&mut self.outbox).into_iter();
        while events.len() < limit
            && let Some(event) = outbox.next()
        {
            let recorded = Recorded { time, event };
            bytes += event_bytes(&recorded);
            if bytes > APPEND_BYTES_MAX && !events.is_empty() {
                self.outbox.push(recorded.event);
                break;
            }
            match task.advance(&recorded) {
                Ok(()) => events.push(recorded),
                Err(refused) => tracing::debug!(task = self.task.id, %refused, "left out"),
            }
        }
        self.outbox.extend(outbox);
        events
    }

    /// Shortens the events of an append that was too large for the store. Returns whether anything
    /// could be shortened; otherwise the task is left alone until a user acts on it.
    pub(super) fn shorten(&mut self, events: Vec<Recorded>, why: &StoreError) -> bool {
        let mut shorter = false;
        let events = events.into_iter().map(|recorded| {
            let short = shortened(&recorded.event, why);
            shorter |= short.is_some();
            short.unwrap_or(recorded.event)
        });
        let events: Vec<Event> = events.collect();
        if shorter {
            self.outbox.splice(0..0, events);
        }
        shorter
    }

    /// Drops queued events that no longer fit the task's state, so that they do not block its next
    /// decision.
    pub(super) fn drop_stale_events(&mut self, time: Timestamp) {
        if self.outbox.is_empty() {
            return;
        }
        let mut task = (*self.task).clone();
        self.outbox.retain(|event| {
            let event = event.clone();
            task.advance(&Recorded { time, event }).is_ok()
        });
    }

    /// Records that a step ended. Drops its earlier events that are not recorded yet.
    pub(super) fn end_step(&mut self, ended: StepRef, result: StepResult) {
        self.outbox.retain(|event| {
            !matches!(
                event,
                Event::ProgramBegan { at, .. } | Event::HostAway { at, .. } | Event::HostBack { at }
                    if *at == ended
            )
        });
        self.outbox.push(Event::Ended { at: ended, result });
    }

    /// Handles a refused append: queues results of steps again, decides everything else again.
    pub(super) fn requeue_results(&mut self, events: Vec<Recorded>) {
        let results = events
            .into_iter()
            .map(|recorded| recorded.event)
            .filter(|event| {
                matches!(
                    event,
                    Event::Ended { .. } | Event::ProgramBegan { .. } | Event::Compared { .. }
                )
            });
        self.outbox.splice(0..0, results);
    }

    /// Whether this executor is to claim the work: it is unclaimed, or the claimant has ended.
    pub(super) fn may_claim(&self) -> bool {
        self.task.fence.is_none() || self.task.fence == self.former_claim
    }

    /// Whether another executor has claimed the work since this one did.
    pub(super) fn is_taken_over(&self) -> bool {
        self.claim
            .is_some_and(|claim| self.task.fence.is_some_and(|fence| fence > claim))
    }

    /// Drops the effects under way without recording them: another executor does the work.
    pub(super) fn drop_effects(&mut self) {
        for handle in std::mem::take(&mut self.inflight).into_values() {
            handle.abort();
        }
        self.kills.clear();
        self.ended.clear();
        self.outbox.clear();
        self.hosts = None;
        self.claim = None;
    }

    /// Notes a failed attempt. Returns whether attempts have failed for as long as the limit
    /// allows. A new push resets the count; a time in the future means that the clock was set back.
    pub(super) fn record_failure(
        &mut self,
        kind: AttemptKind,
        now: Timestamp,
        patience: SignedDuration,
    ) -> bool {
        let since = match kind {
            AttemptKind::Query => &mut self.failed_attempts.queries_since,
            AttemptKind::Fetch => &mut self.failed_attempts.fetches_since,
        };
        let first = since.map_or(now, |first| first.min(now));
        *since = Some(first);
        let since = first.max(self.task.landing_since.min(now));
        now.duration_since(since) >= patience
    }

    /// Returns the properties of the task that other tasks wait for.
    pub(super) fn stage(&self) -> QueueStage {
        QueueStage {
            holds_queue: self.task.state.holds_queue(),
            landed: self.task.landed.is_some() && self.task.doubted.is_none(),
            approaching: self.approaches_queue(),
            queued: self.is_queued(),
        }
    }

    /// Whether it waits in its queue. A task whose ref is reported as gone does not, and blocks
    /// none of those behind it.
    pub(super) fn is_queued(&self) -> bool {
        self.task.state == State::Queued && self.task.doubted.is_none()
    }

    /// Whether the task is about to enter its queue and waits for no approval. False if its ref was
    /// not found or is reported as gone, since it may never enter.
    pub(super) fn approaches_queue(&self) -> bool {
        let task = &self.task;
        let continues = match task.state {
            State::Proposed => {
                task.submission.schedule == Schedule::Ready
                    && self.failed_attempts.queries_since.is_none()
            }
            State::Scheduled { .. } => true,
            _ => false,
        };
        continues && task.doubted.is_none()
    }

    /// Whether it is about to land, possibly with others of its push.
    pub(super) fn is_about_to_land(&self) -> bool {
        self.task.state == State::Proposed && !self.absent && self.task.doubted.is_none()
    }

    /// Whether its scheduled time has come, if it has one.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        match self.task.state {
            State::Scheduled { at } => at <= now,
            _ => self.task.scheduled_time().is_none_or(|time| time <= now),
        }
    }

    /// Drops the effects under way: the task has ended.
    pub(super) fn abandon(self) {
        for handle in self.inflight.values() {
            handle.abort();
        }
    }
}

/// Returns the event with its long texts replaced; `None` if it has none to replace.
fn shortened(event: &Event, why: &StoreError) -> Option<Event> {
    let words = "its messages are too long for the store; see the logs of its steps";
    let message = words.to_owned();
    let long = |text: &str| text.len() > words.len();
    let short = match event {
        Event::Landed(_) => Event::Expired {
            reason: format!("never landed: {why}"),
            is_final: false,
        },
        Event::Ended { at, result } => Event::Ended {
            at: *at,
            result: match result {
                StepResult::Done { values } if !values.is_empty() => StepResult::Failed {
                    message,
                    exit_code: Some(0),
                    omits_exit: true,
                    is_final: false,
                },
                StepResult::Failed {
                    message: reported,
                    exit_code,
                    is_final,
                    ..
                } if long(reported) => StepResult::Failed {
                    message,
                    exit_code: *exit_code,
                    omits_exit: true,
                    is_final: *is_final,
                },
                StepResult::Unknown { message: reported } if long(reported) => {
                    StepResult::Unknown { message }
                }
                _ => return None,
            },
        },
        Event::Expired { reason, is_final } if long(reason) => Event::Expired {
            reason: message,
            is_final: *is_final,
        },
        Event::RefUnseen { reason } if long(reason) => Event::RefUnseen { reason: message },
        Event::RollbackBegan { reason } if long(reason) => Event::RollbackBegan { reason: message },
        Event::Paused(Pause::HostFailed { message: reported }) if long(reported) => {
            Event::Paused(Pause::HostFailed { message })
        }
        Event::Paused(Pause::Unknown { message: reported }) if long(reported) => {
            Event::Paused(Pause::Unknown { message })
        }
        Event::Finished(outcome) => Event::Finished(match outcome {
            Outcome::Failed { message: reported } if long(reported) => Outcome::Failed { message },
            Outcome::RolledBack { message: reported } if long(reported) => {
                Outcome::RolledBack { message }
            }
            Outcome::RollbackFailed { message: reported } if long(reported) => {
                Outcome::RollbackFailed { message }
            }
            _ => return None,
        }),
        _ => return None,
    };
    Some(short)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::task::Direction;
    use crate::domain::task::tests::submission;
    use crate::store::kv::{CommitError, TooLarge};

    fn recorded(event: Event) -> Recorded {
        let time = Timestamp::UNIX_EPOCH;
        Recorded { time, event }
    }

    fn active() -> Active {
        let first = recorded(Event::Proposed(Box::new(submission(Schedule::Ready))));
        Active::new(Arc::new(Task::begin(7, &first).unwrap()))
    }

    fn ended(result: StepResult) -> Event {
        let at = StepRef {
            way: Direction::Forward,
            stage: 0,
            host: 0,
            step: 0,
        };
        Event::Ended { at, result }
    }

    fn outcomes(message: String) -> [Event; 3] {
        [
            Outcome::Failed {
                message: message.clone(),
            },
            Outcome::RolledBack {
                message: message.clone(),
            },
            Outcome::RollbackFailed { message },
        ]
        .map(Event::Finished)
    }

    #[test]
    fn overlong_event_is_shortened_once() {
        let why = StoreError::Commit(CommitError::TooLarge(TooLarge::Commit(1_000_000)));
        let long = "x".repeat(200_000);
        let values = BTreeMap::from([("KEY".to_owned(), long.clone())]);
        let mut events = vec![
            Event::Expired {
                reason: long.clone(),
                is_final: false,
            },
            Event::RefUnseen {
                reason: long.clone(),
            },
            Event::RollbackBegan {
                reason: long.clone(),
            },
            Event::Paused(Pause::HostFailed {
                message: long.clone(),
            }),
            Event::Paused(Pause::Unknown {
                message: long.clone(),
            }),
            ended(StepResult::Failed {
                message: long.clone(),
                exit_code: Some(1),
                omits_exit: false,
                is_final: false,
            }),
            ended(StepResult::Unknown {
                message: long.clone(),
            }),
            ended(StepResult::Done { values }),
        ];
        events.extend(outcomes(long));
        for event in events {
            let mut active = active();
            assert!(active.shorten(vec![recorded(event.clone())], &why));
            let short = active.outbox.remove(0);
            assert_eq!(short.name(), event.name());
            assert!(event_bytes(&recorded(short.clone())) < 300);
            assert!(!active.shorten(vec![recorded(short)], &why), "{event:?}");
            assert!(active.outbox.is_empty());
        }
    }

    #[test]
    fn append_is_split_in_order_at_the_commit_size_limit() {
        let mut active = active();
        let joined = |number: usize| Event::Joined {
            submitter: format!("{number}{}", "\u{1}".repeat(10_000)),
        };
        active.outbox.extend((0..20).map(joined));
        let mut read = Vec::new();
        while !active.outbox.is_empty() {
            let events = active.take_outbox(40, Timestamp::UNIX_EPOCH);
            let bytes: usize = events.iter().map(event_bytes).sum();
            assert!(!events.is_empty() && bytes <= APPEND_BYTES_MAX, "{bytes}");
            read.extend(events.into_iter().map(|recorded| recorded.event));
        }
        assert_eq!(read, (0..20).map(joined).collect::<Vec<_>>());
    }
}
