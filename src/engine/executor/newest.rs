//! Releases the newest of the tags in one push. All records of a push are taken in before any of
//! its tags is looked up. When all have landed, git returns the commits that are no ancestor of
//! another; of those the tag with the highest version is the newest. It supersedes the others.
//!
//! Results are kept in memory only: the same query has the same result. No task of a push begins
//! while another one of it may still supersede it. A record that was read too late for that is
//! compared with the task of its push that began.

use std::collections::BTreeSet;

use futures::future::FutureExt as _;

use super::push_order::{RETRY_AFTER, heads, newest};
use super::queues::Siblings;
use super::{CompletedEffect, Executor, Ids};
use crate::domain::task::{State, Task};

/// The maximum number of tries; after that only the names of the tags decide.
const TRIES_MAX: u32 = 20;

impl Executor {
    /// Whether a task is not looked up yet, since more tags of its push may come.
    pub(super) fn is_gathering(&mut self, id: u64) -> bool {
        let Some(active) = self.tasks.get(&id) else {
            return false;
        };
        let push = active.task.submission.push();
        let (Some(push), State::Proposed, false) = (push, &active.task.state, active.push_complete)
        else {
            return false;
        };
        let push = push.id.clone();
        if self.incomplete_pushes.insert(push.clone()) {
            let pushes = self.world.pushes.clone();
            self.effects.push(
                async move {
                    pushes.wait_for_records(&push).await;
                    CompletedEffect::PushComplete { push }
                }
                .boxed(),
            );
        }
        true
    }

    /// Handles that every record of a push has been taken in.
    pub(super) fn push_complete(&mut self, push: &str) {
        self.incomplete_pushes.remove(push);
        let of_push = |task: &Task| {
            let with = task.submission.push();
            with.is_some_and(|with| with.id == push)
        };
        let mut ids = Vec::new();
        for (id, active) in &mut self.tasks {
            if of_push(&active.task) {
                active.push_complete = true;
                ids.push(*id);
            }
        }
        for id in ids {
            self.decide(id);
        }
    }

    /// Queries which task of a push is the newest, if that can be decided now and is unknown.
    pub(super) fn compare(&mut self, task: &Task) {
        let now = self.world.clock.now();
        let Some(siblings) = self.queues.siblings(task) else {
            return;
        };
        if !siblings.need_comparison() {
            return;
        }
        if let Some(next) = siblings.retry_at.filter(|next| *next > now) {
            self.wake_at(next);
            return;
        }
        siblings.compare_requested = true;
        let ids = siblings.landed.clone();
        let commits: BTreeSet<String> = ids
            .iter()
            .filter_map(|id| self.tasks.get(id)?.task.commit().map(str::to_owned))
            .collect();
        let commits: Vec<String> = commits.into_iter().collect();
        let (world, project) = (self.world.clone(), task.submission.project.clone());
        self.effects.push(
            async move {
                let heads = heads(&world, &project, &commits).await;
                CompletedEffect::Compared { ids, heads }
            }
            .boxed(),
        );
    }

    /// Handles the result: the newest of `ids` is known, unless git failed.
    pub(super) fn compared(&mut self, ids: Ids, heads: Result<Vec<String>, String>) {
        let Some(some) = ids.iter().find_map(|id| self.tasks.get(id)) else {
            return;
        };
        let some = some.task.clone();
        let now = self.world.clock.now();
        let Some(siblings) = self.queues.siblings(&some) else {
            return;
        };
        siblings.compare_requested = false;
        let heads = match heads {
            Ok(heads) => heads,
            Err(error) if siblings.tries < TRIES_MAX => {
                tracing::warn!(task = some.id, error, "the tags of a push are not compared");
                siblings.tries += 1;
                let again = now.checked_add(RETRY_AFTER).unwrap_or(now);
                siblings.retry_at = Some(again);
                self.wake_at(again);
                return;
            }
            Err(error) => {
                tracing::warn!(task = some.id, error, "the tags decide which is the newest");
                Vec::new()
            }
        };
        siblings.compared = ids.clone();
        let tasks = ids.iter().filter_map(|id| self.tasks.get(id));
        let newest = newest(tasks.map(|active| active.task.as_ref()), &heads);
        for id in &ids {
            if let Some(active) = self.tasks.get_mut(id) {
                active.newest = Some(*id) == newest;
                self.queues.update(active);
            }
        }
        for id in ids {
            self.decide(id);
        }
    }
}

impl Siblings {
    fn need_comparison(&self) -> bool {
        let known = self.landed.is_subset(&self.compared);
        !self.compare_requested && !known && self.landing.is_empty() && self.landed.len() > 1
    }
}
