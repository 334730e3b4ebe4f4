//! Compares waiting tasks with the live release: when this executor first sees them, and again
//! after a release or rollback changes what is live in their environment. While a task runs there,
//! hosts switch one by one, so the comparison waits until it ends or pauses. Plan, digest and
//! approvals do not change. Only a rule with `refuse_older` waits for a comparison; a failed
//! comparison blocks nothing.

mod live;
mod pending;

use futures::future::FutureExt as _;
use jiff::SignedDuration;

pub(super) use self::live::ComparisonOutcome;
use self::live::{NewComparison, NotCompared, compare};
pub(super) use self::pending::Comparisons;
use self::pending::{EnvironmentKey, environment_of};
use super::{CompletedEffect, Executor};
use crate::domain::task::{Event, State, Task};

/// A comparison that failed temporarily is retried after this time.
const RETRY_PAUSE: SignedDuration = SignedDuration::from_secs(15);

impl Executor {
    pub(super) fn compare_all(&mut self) {
        let environments: Vec<EnvironmentKey> =
            self.comparisons.environments.keys().cloned().collect();
        for environment in environments {
            self.compare_next(&environment);
        }
    }

    /// Compares the waiting tasks of an environment one after the other.
    pub(super) fn compare_next(&mut self, key: &EnvironmentKey) {
        let Some(environment) = self.comparisons.environments.get(key) else {
            return;
        };
        let Some(id) = environment.stale.first().copied() else {
            return;
        };
        if environment.running.is_some() {
            return;
        }
        let not_before = environment.not_before;
        let now = self.world.clock.now();
        if let Some(time) = not_before.filter(|time| *time > now && *time <= now + RETRY_PAUSE) {
            self.wake_at(time);
            return;
        }
        let Some(active) = self.tasks.get(&id) else {
            return;
        };
        let Some(plan) = active.plan.clone() else {
            return;
        };
        let task = active.task.clone();
        if self.may_switch_now(&task) {
            return;
        }
        if let Some(environment) = self.comparisons.environments.get_mut(key) {
            environment.stale.remove(&id);
            environment.running = Some(id);
            environment.not_before = None;
        }
        let world = self.world.clone();
        self.effects.push(
            async move {
                let outcome = compare(&world, &task, &plan).await;
                CompletedEffect::ComparedWithLive { task, outcome }
            }
            .boxed(),
        );
    }

    /// Whether a task is running in the same environment and may switch hosts.
    fn may_switch_now(&self, task: &Task) -> bool {
        self.queues.running_in_queue(task).any(|holder| {
            self.tasks.get(&holder).is_some_and(|holder| {
                matches!(
                    holder.task.state,
                    State::Running | State::Stopping { .. } | State::RollingBack { .. }
                )
            })
        })
    }

    pub(super) fn compared_with_live(&mut self, task: &Task, outcome: ComparisonOutcome) {
        let environment = environment_of(task);
        let id = task.id;
        let now = self.world.clock.now();
        if let Some(environment) = self.comparisons.environments.get_mut(&environment) {
            environment.running = None;
            match &outcome {
                Err(failed) if failed.is_transient && environment.compared.contains(&id) => {
                    environment.stale.insert(id);
                    environment.not_before = Some(now + RETRY_PAUSE);
                }
                _ => {}
            }
        }
        if let Some(active) = self.tasks.get(&id) {
            self.comparisons.update(&active.task);
        } else {
            self.comparisons.remove(task);
        }
        match outcome {
            Ok(None) => {}
            Ok(Some(new)) => {
                let NewComparison {
                    description,
                    with,
                    refused,
                } = new;
                self.record(id, Event::Compared { description, with });
                if let Some(reason) = refused {
                    let by = "tagship".to_owned();
                    self.record(id, Event::Withdrawn { by, reason });
                }
            }
            Err(NotCompared { reason: why, .. }) => {
                tracing::warn!(task = id, why, "not compared with what is live now");
            }
        }
        self.decide(id);
        self.compare_next(&environment);
    }
}
