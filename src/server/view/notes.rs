//! Notes about the hosts of a task (pure). Page, API and command line show the same lines.

use std::collections::BTreeMap;

use crate::domain::host::{Drift, LocalChanges, ReleaseId, utc};
use crate::domain::plan::Plan;
use crate::domain::task::{Direction, Origin, StepResult, Task};
use crate::server::text;
use crate::store::LiveRelease;

/// Returns one line for each finding, with the hosts that it concerns.
pub(super) fn notes(task: &Task, plan: &Plan, live: &BTreeMap<String, LiveRelease>) -> Vec<String> {
    let own_task = own_task_note(task, plan).into_iter();
    let mut lines: Vec<String> = own_task.chain(rebuilt(task, plan)).collect();
    if !plan.left_out.is_empty() {
        lines.push(format!(
            "left out: {}, disabled or no longer configured when the rollback was requested; what is live there stays",
            text::list(&plan.left_out)
        ));
    }
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut note = |host: &str, text: String| match found.iter_mut().find(|known| known.0 == text) {
        Some((_, hosts)) => hosts.push(host.to_owned()),
        None => found.push((text, vec![host.to_owned()])),
    };
    for (host, release) in &plan.targets {
        note(host, rollback_note(release, task, live.get(host)));
    }
    for (host, drift) in met(task, Some(plan), live) {
        let target = match &task.submission.origin {
            Origin::Rollback { release, .. } => Some(plan.target_release(&host, release)),
            Origin::Tag(_) | Origin::Submitted(_) => None,
        };
        let then = if target.is_some_and(|target| drift.leads_to(target)) {
            "it leads to this task's release already"
        } else if drift.is_replaceable(target.is_some()) {
            "this task replaces it"
        } else {
            drift.remedy()
        };
        note(&host, format!("{}; {then}", drift.describe(utc)));
    }
    for (at, step) in task.work.iter().flat_map(|work| &work.steps) {
        let host = plan.host_name(*at);
        let (drift, differs) = match &step.end {
            Some((_, StepResult::Staged { drift, .. })) => (drift.as_ref(), None),
            Some((_, StepResult::Published { found, .. })) => {
                (found.drift.as_ref(), found.differs.as_ref())
            }
            _ => (None, None),
        };
        if let Some(drift) = drift {
            note(host, format!("found by this task: {}", drift.describe(utc)));
        }
        if let Some(differs) = differs {
            note(host, differing(differs, at.way));
        }
    }
    let found = found.into_iter();
    lines.extend(found.map(|(text, hosts)| format!("on {}: {text}", text::list(&hosts))));
    lines
}

/// Returns what the task will meet on its hosts instead of what was switched to.
pub(super) fn met(
    task: &Task,
    plan: Option<&Plan>,
    live: &BTreeMap<String, LiveRelease>,
) -> BTreeMap<String, Drift> {
    let begun = task.work.is_some() || task.state.is_settled();
    let Some(plan) = plan.filter(|_| !begun) else {
        return BTreeMap::new();
    };
    let there = live.iter().filter(|(host, _)| plan.host(host).is_some());
    there
        .filter_map(|(host, live)| Some((host.clone(), live.drift.clone()?)))
        .collect()
}

/// Says what a host rolls back to, from what, and whether that is known to exist.
fn rollback_note(to: &ReleaseId, task: &Task, live: Option<&LiveRelease>) -> String {
    let begun = task.work.is_some() || task.state.is_settled();
    let Some(live) = live.filter(|_| !begun) else {
        return format!("rolls back to {to}");
    };
    let now = live
        .drift
        .as_ref()
        .map_or(Some(&live.release), |drift| drift.to.as_ref());
    let mut text = match now {
        Some(now) if now == to => format!("stays at {to}"),
        Some(now) => format!("rolls back to {to}, from {now}"),
        None => format!("rolls back to {to}"),
    };
    if !live.kept.contains(to) && now != Some(to) {
        text.push_str(&format!(
            "; {to} is not known to exist there: if it is gone, this task fails before any host switches, and nothing is built"
        ));
    }
    text
}
fn differing(differs: &LocalChanges, way: Direction) -> String {
    match way {
        Direction::Forward => differs.to_string(),
        Direction::Back => format!("rolled back; {differs}"),
    }
}

/// Says how the task of a rollback's release ended, if it did not succeed.
fn own_task_note(task: &Task, plan: &Plan) -> Option<String> {
    let Origin::Rollback {
        to: Some(to),
        release,
    } = &task.submission.origin
    else {
        return None;
    };
    let state = &plan.own_task_state;
    (!state.is_empty()).then(|| text::without_success(release, *to, state))
}

fn rebuilt(task: &Task, plan: &Plan) -> Option<String> {
    let Origin::Rollback { release, .. } = &task.submission.origin else {
        return None;
    };
    if plan.rebuilt.is_empty() || task.state.is_settled() {
        return None;
    }
    Some(format!(
        "release {release} may be missing on {}: if so, it is rebuilt from commit {}, without files that were written into it on the host",
        text::list(&plan.rebuilt),
        plan.commit
    ))
}
