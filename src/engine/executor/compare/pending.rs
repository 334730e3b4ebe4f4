//! Which waiting tasks have to be compared, by environment. Called by `compare` and the executor.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::task::{State, Task};

/// A project and environment.
pub(in crate::engine::executor) type EnvironmentKey = (String, String);

pub(super) fn environment_of(task: &Task) -> EnvironmentKey {
    let submission = &task.submission;
    (submission.project.clone(), submission.environment.clone())
}

/// Which tasks are compared, and which have to be compared again.
#[derive(Default)]
pub(in crate::engine::executor) struct Comparisons {
    pub(super) environments: BTreeMap<EnvironmentKey, EnvironmentState>,
}

/// One environment: one comparison at a time, the oldest task first.
#[derive(Default)]
pub(super) struct EnvironmentState {
    pub(super) compared: BTreeSet<u64>,
    pub(super) stale: BTreeSet<u64>,
    pub(super) running: Option<u64>,
    pub(super) not_before: Option<Timestamp>,
}

impl Comparisons {
    /// Updates the state of a task.
    pub(in crate::engine::executor) fn update(&mut self, task: &Task) {
        if !task.is_compared() {
            self.remove(task);
            return;
        }
        let environment = self.environments.entry(environment_of(task)).or_default();
        if environment.compared.insert(task.id) {
            environment.stale.insert(task.id);
        }
    }

    /// Removes a task from the comparison.
    pub(in crate::engine::executor) fn remove(&mut self, task: &Task) {
        let key = environment_of(task);
        let Some(environment) = self.environments.get_mut(&key) else {
            return;
        };
        environment.compared.remove(&task.id);
        environment.stale.remove(&task.id);
        if environment.compared.is_empty() && environment.running.is_none() {
            self.environments.remove(&key);
        }
    }

    /// Handles a change to a task. If it ended or paused, another release may be live in its
    /// environment. Returns that environment.
    pub(in crate::engine::executor) fn task_changed(
        &mut self,
        task: &Task,
        frees: bool,
    ) -> EnvironmentKey {
        let key = environment_of(task);
        let rests = task.work.is_some() && task.state.is_settled();
        let pauses = matches!(task.state, State::Paused { .. });
        if (frees || rests || pauses)
            && let Some(environment) = self.environments.get_mut(&key)
        {
            environment.stale.clone_from(&environment.compared);
        }
        key
    }

    /// Marks everything for comparison: what went live meanwhile is unknown.
    pub(in crate::engine::executor) fn mark_all_stale(&mut self) {
        for environment in self.environments.values_mut() {
            environment.stale.clone_from(&environment.compared);
        }
    }

    /// Whether a task has yet to be compared with what is live now.
    pub(in crate::engine::executor) fn is_pending(&self, task: &Task) -> bool {
        self.environments
            .get(&environment_of(task))
            .is_some_and(|environment| {
                environment.stale.contains(&task.id) || environment.running == Some(task.id)
            })
    }
}
