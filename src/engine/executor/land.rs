//! Landing: checks that the ref points to the pushed object. One query per repository, however many
//! tags wait for it; then fetch, pin, describe, plan. A task that names a tag without an object
//! lands on the tag's current target; one that releases nothing of a repository is planned at once.

mod pin;
mod poller;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::FutureExt as _;
use jiff::{SignedDuration, Timestamp};

use self::pin::fetch_and_plan;
pub(super) use self::pin::{LandingOutcome, live_on, refusal_as_older};
pub(super) use self::poller::{RefPoller, SeenRefs};
use super::active::AttemptKind;
use super::{CompletedEffect, Executor};
use crate::domain::rule::is_reference;
use crate::domain::task::{Event, State, Task};
use crate::git::landing::{LandingError, RemoteRef};

/// Used as the project name of tasks that wait for no repository.
const NO_REPOSITORY: &str = "";
/// How long a ref may be missing on the git server before that is reported, in milliseconds. The
/// hook runs before the ref is visible.
const REF_ERROR_AFTER_MS: i64 = 10_000;
/// Why a project has no repository to query.
const PROJECT_REMOVED: &str = "is unknown: the configuration has no such project any more";
/// The maximum length of the reason that a landing waits for.
const REASON_CHARS_MAX: usize = 1_000;

/// What kept a task from landing, or its doubted ref from being settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailedQuery {
    /// No failure so far: landing takes time.
    Nothing,
    /// The ref was not seen with the expected object.
    Query,
    /// The ref was seen, but its commit could not be fetched.
    Fetch,
    /// A retry is useless.
    Permanent,
}

impl Executor {
    /// Adds the task to those that wait for their ref; starts a query if none is under way.
    pub(super) fn land(&mut self, id: u64) {
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        if active.busy.landing || self.is_gathering(id) {
            return;
        }
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        let task = &active.task;
        if task.state != State::Proposed && (task.is_rollback() || !task.submission.has_reference())
        {
            // Retried; there is no ref to look up, or it does not matter.
            active.outbox.push(Event::RefConfirmed);
            return;
        }
        if !task.submission.has_reference() {
            self.plan_without_ref(id);
            return;
        }
        if !is_reference(&active.task.submission.reference) {
            // In a combined query it would spoil the result for all tasks.
            let reason = format!(
                "never landed: {:?} is no name that a git server can be asked for; push the commit under another tag",
                active.task.tag()
            );
            active.outbox.push(Event::Expired {
                reason,
                is_final: true,
            });
            return;
        }
        let project = active.task.submission.project.clone();
        let repository = self.lander.repositories.entry(project.clone()).or_default();
        if repository.queried.contains(&id) {
            return;
        }
        if repository.waiting.insert(id) {
            // A new push does not wait for the pauses of earlier ones.
            repository.end_pauses();
        }
        self.query_refs(&project);
    }

    /// Plans a task without a ref, unless that failed a moment ago.
    fn plan_without_ref(&mut self, id: u64) {
        let now = self.world.clock.now();
        let refless = self.lander.repositories.entry(NO_REPOSITORY.to_owned());
        let refless = refless.or_default();
        if refless.waiting.contains(&id)
            && let Some(next) = refless.pause_end(now)
        {
            self.wake_at(next);
            return;
        }
        refless.waiting.remove(&id);
        self.fetch(id, String::new());
    }

    /// Queries the ref of a landed task again after it was reported as gone.
    pub(super) fn recheck(&mut self, id: u64) {
        self.land(id);
    }

    fn query_refs(&mut self, project: &str) {
        let now = self.world.clock.now();
        let Some(repository) = self.lander.repositories.get_mut(project) else {
            return;
        };
        repository.waiting.retain(|id| self.tasks.contains_key(id));
        if !repository.queried.is_empty() || repository.waiting.is_empty() {
            return;
        }
        if let Some(next) = repository.pause_end(now) {
            self.wake_at(next);
            return;
        }
        let queried = std::mem::take(&mut repository.waiting);
        repository.queried.clone_from(&queried);
        let refs: BTreeSet<String> = queried
            .iter()
            .filter_map(|id| self.tasks.get(id))
            .map(|active| active.task.submission.reference.clone())
            .collect();
        let refs: Vec<String> = refs.into_iter().collect();
        let world = self.world.clone();
        let project = project.to_owned();
        self.effects.push(
            async move {
                let refs = match world.plan_source.source(&project) {
                    Ok(source) => world.git.ls_remote(&source, &refs).await,
                    Err(_) => Err(LandingError::Url {
                        project: project.clone(),
                        url: String::new(),
                        reason: PROJECT_REMOVED,
                    }),
                };
                CompletedEffect::RefsRead(SeenRefs {
                    project,
                    queried,
                    refs,
                })
            }
            .boxed(),
        );
    }

    pub(super) fn refs_read(&mut self, seen: SeenRefs) {
        let SeenRefs {
            project,
            queried,
            refs,
        } = seen;
        if let Some(repository) = self.lander.repositories.get_mut(&project) {
            repository.queried.clear();
        }
        match refs {
            Ok(refs) => {
                let refs: BTreeMap<&str, &RemoteRef> = refs
                    .iter()
                    .map(|found| (found.name.as_str(), found))
                    .collect();
                for id in queried {
                    self.check_ref(id, &refs);
                }
            }
            Err(error) => {
                let failed = if error.is_transient() {
                    FailedQuery::Query
                } else {
                    FailedQuery::Permanent
                };
                for id in queried {
                    self.retry_landing(id, &error.to_string(), failed);
                }
            }
        }
        self.query_refs(&project);
    }

    /// Compares the refs on the git server with what was pushed.
    fn check_ref(&mut self, id: u64, refs: &BTreeMap<&str, &RemoteRef>) {
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        if active.busy.landing {
            return;
        }
        let found = refs.get(active.task.submission.reference.as_str());
        // If only the tag's name was given, it lands on the tag's current target.
        let by_name = active.task.object().is_empty();
        let confirmed = found.is_some_and(|found| by_name || found.object == active.task.object());
        let tag = active.task.tag().to_owned();
        if active.task.state == State::Proposed {
            if let Some(found) = found.filter(|_| confirmed) {
                active.failed_attempts.queries_since = None;
                active.absent = false;
                self.queues.update(active);
                self.fetch(id, found.object.clone());
                return;
            }
            active.absent = true;
            let error = match found {
                None => format!("tag {tag} is not on the git server"),
                Some(found) => format!(
                    "tag {tag} points to {} there, not to what was pushed",
                    found.object
                ),
            };
            self.retry_landing(id, &error, FailedQuery::Query);
            return;
        }
        let now = self.world.clock.now();
        let patience = SignedDuration::from_secs(self.limits.landing_timeout_s);
        // A doubt in the future means that the clock was set back.
        let in_flight = |since: Timestamp| {
            (SignedDuration::ZERO..patience).contains(&now.duration_since(since))
        };
        if confirmed && active.task.doubted.is_some_and(in_flight) {
            // The hook reports a deletion or move before the git server performs it.
            let why = format!("tag {tag} still points to the same commit");
            active.failed_attempts.queries_since = None;
            self.retry_landing(id, &why, FailedQuery::Nothing);
            return;
        }
        let event = match found {
            _ if confirmed => Event::RefConfirmed,
            None => Event::Withdrawn {
                by: "tagship".to_owned(),
                reason: format!("tag {tag} was deleted"),
            },
            Some(found) => Event::Withdrawn {
                by: "tagship".to_owned(),
                reason: format!("tag {tag} was moved to {}", found.object),
            },
        };
        self.record(id, event);
        self.decide(id);
    }

    /// Fetches and plans a task. The object is empty if nothing of a repository is released.
    fn fetch(&mut self, id: u64, object: String) {
        let world = self.world.clone();
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        active.busy.landing = true;
        let task = active.task.clone();
        self.effects.push(
            async move {
                let outcome = fetch_and_plan(&world, &task, object).await;
                CompletedEffect::Landed { id, outcome }
            }
            .boxed(),
        );
    }

    pub(super) fn landed(&mut self, id: u64, outcome: LandingOutcome) {
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        active.busy.landing = false;
        let project = awaited_project(&active.task).to_owned();
        match outcome {
            LandingOutcome::Landed(landed) => {
                if let Some(repository) = self.lander.repositories.get_mut(&project) {
                    repository.end_pauses();
                }
                self.record(id, Event::Landed(landed));
                self.decide(id);
            }
            LandingOutcome::Never { reason, is_final } => {
                self.record(id, Event::Expired { reason, is_final });
                self.decide(id);
            }
            LandingOutcome::NotYet(reason) => self.retry_landing(id, &reason, FailedQuery::Fetch),
        }
    }

    /// Queries a missing ref again, with growing pauses until the timeout.
    fn retry_landing(&mut self, id: u64, why: &str, failed: FailedQuery) {
        let now = self.world.clock.now();
        let patience = SignedDuration::from_secs(self.limits.landing_timeout_s);
        let Some(active) = self.tasks.get_mut(&id) else {
            return;
        };
        let project = awaited_project(&active.task).to_owned();
        let proposed = active.task.state == State::Proposed;
        let came = active.approaches_queue();
        let given_up = match failed {
            FailedQuery::Nothing => false,
            FailedQuery::Permanent => true,
            FailedQuery::Query => active.record_failure(AttemptKind::Query, now, patience),
            FailedQuery::Fetch => active.record_failure(AttemptKind::Fetch, now, patience),
        };
        self.queues.update(active);
        let task = active.task.clone();
        let passed = if came && !active.approaches_queue() {
            self.queues.queued(&active.task).next()
        } else {
            None
        };
        if proposed && given_up {
            let reason = format!("never landed: {why}");
            tracing::warn!(task = id, reason, "landing ended without success");
            let is_final = false;
            self.record(id, Event::Expired { reason, is_final });
            self.decide(id);
            return;
        }
        tracing::debug!(task = id, why, "not landed yet");
        let repository = self.lander.repositories.entry(project).or_default();
        repository.waiting.insert(id);
        repository.lengthen_pause(now);
        if let Some(next) = repository.next {
            self.wake_at(next);
        }
        if proposed {
            self.report_landing_error(id, why, failed);
        } else if given_up {
            self.report_ref_error(id, why);
        }
        if let Some(next) = passed {
            // It need not wait for this task.
            self.decide(next);
        }
        self.compare(&task);
    }

    /// Reports what a landing waits for.
    fn report_landing_error(&mut self, id: u64, why: &str, failed: FailedQuery) {
        let Some(active) = self.tasks.get(&id) else {
            return;
        };
        let now = self.world.clock.now();
        let long = |since: Timestamp| {
            now.duration_since(since).as_millis() >= i128::from(REF_ERROR_AFTER_MS)
        };
        let telling = match failed {
            FailedQuery::Fetch => true,
            FailedQuery::Query => active.failed_attempts.queries_since.is_some_and(long),
            FailedQuery::Nothing | FailedQuery::Permanent => false,
        };
        let reason: String = why.chars().take(REASON_CHARS_MAX).collect();
        if telling && active.task.landing_error.as_ref() != Some(&reason) {
            tracing::warn!(task = id, reason, "not landed yet");
            self.record(id, Event::NotLanded { reason });
            self.decide(id);
        }
    }

    /// Reports what a landed task with a doubted ref waits for. Such a task is not given up.
    fn report_ref_error(&mut self, id: u64, why: &str) {
        let reported = self
            .tasks
            .get(&id)
            .is_none_or(|active| active.task.ref_error.is_some());
        if !reported {
            tracing::warn!(task = id, why, "a ref in doubt cannot be looked for");
            let reason = why.to_owned();
            self.record(id, Event::RefUnseen { reason });
            self.decide(id);
        }
    }
}

/// Returns the project whose repository a task waits for.
fn awaited_project(task: &Task) -> &str {
    if task.submission.has_reference() {
        &task.submission.project
    } else {
        NO_REPOSITORY
    }
}
