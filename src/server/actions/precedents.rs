//! What earlier tasks tell about a task: how long such tasks usually take, and where its commit was
//! released before. Each look-up is bounded.

use super::super::Site;
use super::super::authentication::Who;
use super::super::fault::Fault;
use crate::domain::task::{StateName, Task};
use crate::store::{Filter, Head, SearchScope};

/// The usual time is that of the last so many tasks.
const USUAL_TASKS: usize = 20;
/// How many releases of the same commit are read.
const PASSED_READ: usize = 20;
/// How many of them are named.
const PASSED_MAX: usize = 3;

/// What earlier tasks tell about a task.
#[derive(Debug, Default)]
pub(in crate::server) struct Precedents {
    /// The median time of the last successful tasks of its template, project and environment.
    pub(in crate::server) usual_ms: Option<u64>,
    /// The last successful task of its commit in each other environment of its project.
    pub(in crate::server) passed: Vec<Head>,
}

impl Precedents {
    pub(super) async fn of(site: &Site, who: &Who, task: &Task) -> Result<Self, Fault> {
        Ok(Self {
            usual_ms: usual_ms(site, task).await?,
            passed: passed(site, who, task).await?,
        })
    }
}

async fn usual_ms(site: &Site, task: &Task) -> Result<Option<u64>, Fault> {
    let submission = &task.submission;
    let some = |name: &String| Some(name.clone()).filter(|name| !name.is_empty());
    let filter = Filter {
        state: Some(StateName::Succeeded.to_string()),
        project: some(&submission.project),
        environment: some(&submission.environment),
        template: Some(submission.template.clone()),
        ..Filter::default()
    };
    let alike = |head: &Head| head.project == submission.project && took_ms(head).is_some();
    let scope = SearchScope {
        targets: None,
        matches: &alike,
    };
    let store = &site.web.store;
    let found = store
        .search_scope(&filter, None, USUAL_TASKS, scope)
        .await?;
    Ok(median(found.heads.iter().filter_map(took_ms).collect()))
}

/// Returns how long the work of a task took; `None` if it did not work.
fn took_ms(head: &Head) -> Option<u64> {
    let took = head.updated_at.duration_since(head.started_at?);
    u64::try_from(took.as_millis()).ok()
}

fn median(mut numbers: Vec<u64>) -> Option<u64> {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied()
}

async fn passed(site: &Site, who: &Who, task: &Task) -> Result<Vec<Head>, Fault> {
    let submission = &task.submission;
    let Some(commit) = task.commit().filter(|_| submission.has_environment()) else {
        return Ok(Vec::new());
    };
    let filter = Filter {
        state: Some(StateName::Succeeded.to_string()),
        project: Some(submission.project.clone()),
        words: vec![commit.to_owned()],
        ..Filter::default()
    };
    let elsewhere = |head: &Head| {
        head.environment != submission.environment
            && head.commit.as_deref() == Some(commit)
            && who.sees(&head.target())
    };
    let scope = SearchScope {
        targets: None,
        matches: &elsewhere,
    };
    let store = &site.web.store;
    let found = store
        .search_scope(&filter, None, PASSED_READ, scope)
        .await?;
    let mut passed: Vec<Head> = Vec::new();
    for head in found.heads {
        let known = passed.iter().any(|one| one.environment == head.environment);
        if !known && passed.len() < PASSED_MAX {
            passed.push(head);
        }
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_number() {
        assert_eq!(median(Vec::new()), None);
        assert_eq!(median(vec![7]), Some(7));
        assert_eq!(median(vec![900, 1, 5]), Some(5));
    }
}
