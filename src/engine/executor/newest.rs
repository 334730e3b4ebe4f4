//! Releases the newest of the tags in one push. All records of a push are taken in before any of
//! its tags is looked up. When all have landed, git returns the commits that are no ancestor of
//! another; of those the tag with the highest version is the newest. It supersedes the others.
//!
//! Results are kept in memory only: the same query has the same result. No task of a push begins
//! while another one of it may still supersede it. A record that was read too late for that is
//! compared with the task of its push that began.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use futures::future::FutureExt as _;
use jiff::SignedDuration;

use super::queues::Siblings;
use super::{CompletedEffect, Executor, Ids, World};
use crate::domain::task::{State, Task};
use crate::store::StoreError;

/// The pause before a failed git query is retried.
pub(super) const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(1);
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

/// Returns the commits that no other of these reaches.
async fn heads(world: &World, project: &str, commits: &[String]) -> Result<Vec<String>, String> {
    let source = world.plan_source.source(project)?;
    let heads = world.git.heads(&source, commits).await;
    heads.map_err(|error| error.to_string())
}

/// Returns the newer task of the same push that has begun already, if any; the inner error is
/// git's.
pub(super) async fn begun_newer_sibling(
    world: &World,
    task: &Task,
) -> Result<Result<Option<u64>, String>, StoreError> {
    if task.work.is_some() || !task.submission.yields_to_newer() {
        return Ok(Ok(None));
    }
    let Some(begun) = world.store.begun_sibling(task).await? else {
        return Ok(Ok(None));
    };
    let commits = [task, &begun].into_iter();
    let commits: BTreeSet<&str> = commits.filter_map(Task::commit).collect();
    let commits: Vec<String> = commits.into_iter().map(str::to_owned).collect();
    let heads = heads(world, &task.submission.project, &commits).await;
    Ok(heads.map(|heads| newest([task, &begun].into_iter(), &heads).filter(|id| *id != task.id)))
}

/// Returns the newest of some tasks: of the commits that are no ancestor of another, the tag with
/// the highest version.
fn newest<'t>(tasks: impl Iterator<Item = &'t Task>, heads: &[String]) -> Option<u64> {
    let is_head = |task: &Task| {
        let commit = task.commit().unwrap_or_default();
        heads.iter().any(|head| head == commit)
    };
    let order = |one: &&Task, other: &&Task| {
        is_head(one)
            .cmp(&is_head(other))
            .then_with(|| by_version(one.tag(), other.tag()))
            .then_with(|| one.id.cmp(&other.id))
    };
    tasks.max_by(order).map(|task| task.id)
}

/// Compares names part by part: numbers by value, other text by its characters, so that `1.12` is
/// later than `1.9`.
fn by_version(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        if one.is_empty() || other.is_empty() {
            return one.len().cmp(&other.len());
        }
        let ((first, one_rest), (second, other_rest)) = (split(one), split(other));
        let number = |part: &str| part.starts_with(|letter: char| letter.is_ascii_digit());
        let order = if number(first) && number(second) {
            let value = |part: &'_ str| part.trim_start_matches('0').to_owned();
            let (first, second) = (value(first), value(second));
            first
                .len()
                .cmp(&second.len())
                .then_with(|| first.cmp(&second))
        } else {
            first.cmp(second)
        };
        if order.is_ne() {
            return order;
        }
        (one, other) = (one_rest, other_rest);
    }
}

/// Splits off the first run of digits, or of non-digits.
fn split(name: &str) -> (&str, &str) {
    let is_digit = |letter: char| letter.is_ascii_digit();
    let digits = name.starts_with(is_digit);
    let end = name.find(|letter| is_digit(letter) != digits);
    name.split_at(end.unwrap_or(name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_of_tags_are_compared_by_value() {
        let ascending = [
            "qa-1.2", "qa-1.9", "qa-1.9.1", "qa-1.12", "qa-2", "qa-10", "qa-a", "v1",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(by_version(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(by_version(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(by_version("qa-007", "qa-7"), Ordering::Equal);
        assert_eq!(
            by_version("99999999999999999999999", "9"),
            Ordering::Greater
        );
    }
}
