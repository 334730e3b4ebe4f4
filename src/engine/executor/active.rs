//! What the executor keeps of one task while it is not at rest.

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

/// Effects of which a task has at most one under way.
#[derive(Default)]
pub(super) struct Busy {
    pub(super) appending: bool,
    pub(super) refreshing: bool,
    pub(super) claiming: bool,
    pub(super) landing: bool,
}

/// What of a task other tasks wait for.
#[derive(Clone, Copy, Default)]
pub(super) struct ActiveStage {
    pub(super) holds_queue: bool,
    /// Landed, and not said to be gone.
    there: bool,
    comes: bool,
}

impl ActiveStage {
    /// Whether others need not wait for the task any more, or give way to it, now that it is `now`.
    pub(super) fn is_passed_by(self, now: Self) -> bool {
        (!self.there && now.there) || (self.comes && !now.comes)
    }
}

/// Since when this executor looks and fetches for a task in vain. It may have been away for long, and
/// one failure says nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct InVain {
    pub(super) looks: Option<Timestamp>,
    pub(super) fetches: Option<Timestamp>,
}

/// What is tried for a task that has not landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// To see its ref on the git server.
    Look,
    /// To fetch its commit and plan it.
    Fetch,
}

pub(super) struct Active {
    /// Shared with what is under way for it.
    pub(super) task: Arc<Task>,
    pub(super) plan: Option<Arc<Plan>>,
    /// Opened with the first step, dropped with the task.
    pub(super) hosts: Option<Arc<dyn Hosts>>,
    /// The fence under which this executor does the work.
    pub(super) claim: Option<u64>,
    /// By how many milliseconds the claim's fence is lifted on single hosts.
    pub(super) lifts: BTreeMap<String, u64>,
    /// The claim of an executor before this one, whose work this one takes up.
    pub(super) former: Option<u64>,
    /// How many events the store holds, as far as it was heard.
    pub(super) seen: u64,
    /// Events that come into the next append.
    pub(super) outbox: Vec<Event>,
    pub(super) inflight: BTreeMap<StepRef, AbortHandle>,
    pub(super) killing: BTreeSet<StepRef>,
    /// How steps ended that are being killed: it counts once nothing of them is left.
    pub(super) ended: BTreeMap<StepRef, StepResult>,
    /// Which release the agent's tree was brought to for this task.
    pub(super) tree: Arc<tokio::sync::Mutex<Option<TreeDigest>>>,
    pub(super) busy: Busy,
    pub(super) in_vain: InVain,
    /// The git server did not show its ref where it has to be.
    pub(super) absent: bool,
    /// Everything of its push has been heard.
    pub(super) gathered: bool,
    /// It is the newest of its push.
    pub(super) newest: bool,
}

impl Active {
    pub(super) fn new(task: Arc<Task>) -> Self {
        Self {
            seen: task.events,
            task,
            plan: None,
            hosts: None,
            claim: None,
            lifts: BTreeMap::new(),
            former: None,
            outbox: Vec::new(),
            inflight: BTreeMap::new(),
            killing: BTreeSet::new(),
            ended: BTreeMap::new(),
            tree: Arc::default(),
            busy: Busy::default(),
            in_vain: InVain::default(),
            absent: false,
            gathered: false,
            newest: false,
        }
    }

    /// Events for the next append, with their time. Those that the task would refuse by now are
    /// left out: the state has changed since they came up.
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

    /// After an append that was too large to be kept: the same in few words. Says whether anything
    /// could be said shorter; otherwise the task is left alone until somebody does something with it.
    pub(super) fn shorten(&mut self, events: Vec<Recorded>, why: &StoreError) -> bool {
        let mut shorter = false;
        let events = events.into_iter().map(|recorded| {
            let short = in_short(&recorded.event, why);
            shorter |= short.is_some();
            short.unwrap_or(recorded.event)
        });
        let events: Vec<Event> = events.collect();
        if shorter {
            self.outbox.splice(0..0, events);
        }
        shorter
    }

    /// What came up while the task changed, and does not fit any more, must not keep it from being
    /// decided anew.
    pub(super) fn drop_stale(&mut self, time: Timestamp) {
        if self.outbox.is_empty() {
            return;
        }
        let mut task = (*self.task).clone();
        self.outbox.retain(|event| {
            let event = event.clone();
            task.advance(&Recorded { time, event }).is_ok()
        });
    }

    /// A step has ended. What was heard of it meanwhile, and not recorded yet, is of no use.
    pub(super) fn end(&mut self, ended: StepRef, result: StepResult) {
        self.outbox.retain(|event| {
            !matches!(
                event,
                Event::ProgramBegan { at, .. } | Event::HostAway { at, .. } | Event::HostBack { at }
                    if *at == ended
            )
        });
        self.outbox.push(Event::Ended { at: ended, result });
    }

    /// After a refused append: results of steps are offered again, everything else is decided anew.
    pub(super) fn keep_results(&mut self, events: Vec<Recorded>) {
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

    /// Whether this executor is to claim the work: nobody has, or only one that has ended.
    pub(super) fn may_claim(&self) -> bool {
        self.task.fence.is_none() || self.task.fence == self.former
    }

    /// Whether somebody else has claimed the work since this executor did.
    pub(super) fn is_taken_over(&self) -> bool {
        self.claim
            .is_some_and(|claim| self.task.fence.is_some_and(|fence| fence > claim))
    }

    /// Drops what is under way, unsaid: another executor does the work.
    pub(super) fn let_go(&mut self) {
        for handle in std::mem::take(&mut self.inflight).into_values() {
            handle.abort();
        }
        self.killing.clear();
        self.ended.clear();
        self.outbox.clear();
        self.hosts = None;
        self.claim = None;
    }

    /// Notes one more trial in vain; says whether they have been so for as long as they may. What was
    /// pushed again counts anew, and a time in the future is a clock that was set back.
    pub(super) fn is_in_vain(
        &mut self,
        trial: Trial,
        now: Timestamp,
        patience: SignedDuration,
    ) -> bool {
        let since = match trial {
            Trial::Look => &mut self.in_vain.looks,
            Trial::Fetch => &mut self.in_vain.fetches,
        };
        let first = since.map_or(now, |first| first.min(now));
        *since = Some(first);
        let since = first.max(self.task.asked.min(now));
        now.duration_since(since) >= patience
    }

    /// What of the task other tasks wait for.
    pub(super) fn stage(&self) -> ActiveStage {
        ActiveStage {
            holds_queue: self.task.state.holds_queue(),
            there: self.task.landed.is_some() && self.task.doubted.is_none(),
            comes: self.comes(),
        }
    }

    /// Whether the task is on its way into its queue and waits for nobody. One whose ref was looked
    /// for in vain, or is said to be gone, may never come.
    pub(super) fn comes(&self) -> bool {
        let task = &self.task;
        let goes_on = match task.state {
            State::Proposed => {
                task.submission.schedule == Schedule::Ready && self.in_vain.looks.is_none()
            }
            State::Scheduled { .. } => true,
            _ => false,
        };
        goes_on && task.doubted.is_none()
    }

    /// Whether it is about to land, with others of its push perhaps.
    pub(super) fn lands(&self) -> bool {
        self.task.state == State::Proposed && !self.absent && self.task.doubted.is_none()
    }

    /// Whether its time has come, if it was given one.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        match self.task.state {
            State::Scheduled { at } => at <= now,
            _ => self.task.time().is_none_or(|time| time <= now),
        }
    }

    /// Drops what is under way: the task is at rest.
    pub(super) fn abandon(self) {
        for handle in self.inflight.values() {
            handle.abort();
        }
    }
}

/// What an event says that may be long, in few words; `None` where nothing of it may.
fn in_short(event: &Event, why: &StoreError) -> Option<Event> {
    let words = "what is to be said of it is too long to be kept; see the logs of its steps";
    let message = words.to_owned();
    let long = |text: &str| text.len() > words.len();
    let short = match event {
        Event::Landed(_) => Event::Expired {
            reason: format!("never landed: {why}"),
        },
        Event::Ended { at, result } => Event::Ended {
            at: *at,
            result: match result {
                StepResult::Done { values } if !values.is_empty() => StepResult::Failed {
                    message,
                    exit_code: Some(0),
                },
                StepResult::Failed {
                    message: told,
                    exit_code,
                } if long(told) => StepResult::Failed {
                    message,
                    exit_code: *exit_code,
                },
                StepResult::Unknown { message: told } if long(told) => {
                    StepResult::Unknown { message }
                }
                _ => return None,
            },
        },
        Event::Expired { reason } if long(reason) => Event::Expired { reason: message },
        Event::RefUnseen { reason } if long(reason) => Event::RefUnseen { reason: message },
        Event::RollbackBegan { reason } if long(reason) => Event::RollbackBegan { reason: message },
        Event::Paused(Pause::HostFailed { message: told }) if long(told) => {
            Event::Paused(Pause::HostFailed { message })
        }
        Event::Paused(Pause::Unknown { message: told }) if long(told) => {
            Event::Paused(Pause::Unknown { message })
        }
        Event::Finished(outcome) => Event::Finished(match outcome {
            Outcome::Failed { message: told } if long(told) => Outcome::Failed { message },
            Outcome::RolledBack { message: told } if long(told) => Outcome::RolledBack { message },
            Outcome::RollbackFailed { message: told } if long(told) => {
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
    fn what_was_too_long_to_be_kept_is_said_in_few_words_and_that_once() {
        let why = StoreError::Commit(CommitError::TooLarge(TooLarge::Commit(1_000_000)));
        let long = "x".repeat(200_000);
        let values = BTreeMap::from([("KEY".to_owned(), long.clone())]);
        let mut events = vec![
            Event::Expired {
                reason: long.clone(),
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
    fn one_append_holds_no_more_bytes_than_a_commit_and_the_rest_follows_in_order() {
        let mut active = active();
        let joined = |number: usize| Event::Joined {
            submitter: format!("{number}{}", "\u{1}".repeat(10_000)),
        };
        active.outbox.extend((0..20).map(joined));
        let mut heard = Vec::new();
        while !active.outbox.is_empty() {
            let events = active.take_outbox(40, Timestamp::UNIX_EPOCH);
            let bytes: usize = events.iter().map(event_bytes).sum();
            assert!(!events.is_empty() && bytes <= APPEND_BYTES_MAX, "{bytes}");
            heard.extend(events.into_iter().map(|recorded| recorded.event));
        }
        assert_eq!(heard, (0..20).map(joined).collect::<Vec<_>>());
    }
}
