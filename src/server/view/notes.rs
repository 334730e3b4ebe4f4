//! Notes about the hosts of a task (pure). Page, API and command line show the same lines.

use std::collections::BTreeMap;

use super::drift;
use crate::base::language::Language;
use crate::domain::host::{Drift, LocalChanges, ReleaseId, utc};
use crate::domain::plan::Plan;
use crate::domain::task::{Direction, Origin, StateName, StepResult, Task};
use crate::server::text;
use crate::store::LiveRelease;

/// Returns one line for each finding, with the hosts that it concerns.
pub(super) fn notes(
    language: Language,
    task: &Task,
    plan: &Plan,
    live: &BTreeMap<String, LiveRelease>,
) -> Vec<String> {
    let own_task = own_task_note(language, task, plan).into_iter();
    let mut lines: Vec<String> = own_task.chain(rebuilt(language, task, plan)).collect();
    if !plan.left_out.is_empty() {
        let hosts = text::list_in(language, &plan.left_out);
        let text = language.say("note-left-out").with("hosts", hosts);
        lines.push(text.to_string());
    }
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut note = |host: &str, text: String| match found.iter_mut().find(|known| known.0 == text) {
        Some((_, hosts)) => hosts.push(host.to_owned()),
        None => found.push((text, vec![host.to_owned()])),
    };
    for (host, release) in &plan.targets {
        note(host, rollback_note(language, release, task, live.get(host)));
    }
    for (host, drift) in met(task, Some(plan), live) {
        let target = match &task.submission.origin {
            Origin::Rollback { release, .. } => Some(plan.target_release(&host, release)),
            Origin::Tag(_) | Origin::Submitted(_) => None,
        };
        let then = if target.is_some_and(|target| drift.points_to(target)) {
            language.say("note-drift-points-here").to_string()
        } else if drift.is_replaceable(target.is_some()) {
            language.say("note-drift-is-replaced").to_string()
        } else {
            drift::remedy(language, &drift)
        };
        let text = language
            .say("note-drift")
            .with("drift", drift::described(language, &drift, utc));
        note(&host, text.with("then", then).to_string());
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
            let drift = drift::described(language, drift, utc);
            let text = language.say("note-drift-found").with("drift", drift);
            note(host, text.to_string());
        }
        if let Some(differs) = differs {
            note(host, differing(language, differs, at.way));
        }
    }
    let found = found.into_iter().map(|(finding, hosts)| {
        let hosts = text::list_in(language, &hosts);
        let text = language.say("note-on-hosts").with("hosts", hosts);
        text.with("finding", finding).to_string()
    });
    lines.extend(found);
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
fn rollback_note(
    language: Language,
    to: &ReleaseId,
    task: &Task,
    live: Option<&LiveRelease>,
) -> String {
    let begun = task.work.is_some() || task.state.is_settled();
    let rolls_back = || language.say("note-rolls-back").with("to", to.to_string());
    let Some(live) = live.filter(|_| !begun) else {
        return rolls_back().to_string();
    };
    let now = live
        .drift
        .as_ref()
        .map_or(Some(&live.release), |drift| drift.to.as_ref());
    let text = match now {
        Some(now) if now == to => language.say("note-stays").with("to", to.to_string()),
        Some(now) => {
            let text = language.say("note-rolls-back-from");
            text.with("to", to.to_string())
                .with("from", now.to_string())
        }
        None => rolls_back(),
    };
    if live.kept.contains(to) || now == Some(to) {
        return text.to_string();
    }
    let warned = language
        .say("note-may-be-gone")
        .with("back", text.to_string());
    warned.with("to", to.to_string()).to_string()
}

/// Says how a release differs from what was released.
fn differing(language: Language, differs: &LocalChanges, way: Direction) -> String {
    let names = differs.names.join(", ");
    let others = differs.files.saturating_sub(differs.names.len() as u64);
    let text = match (differs.files, others) {
        (0, _) => language.say("note-differs"),
        (files, 0) => {
            let text = language.say("note-files-differ");
            text.with("count", files).with("names", names)
        }
        (files, others) => {
            let text = language.say("note-more-files-differ");
            let text = text.with("count", files).with("names", names);
            text.with("others", others)
        }
    };
    match way {
        Direction::Forward => text.to_string(),
        Direction::Back => language
            .say("note-differs-after-rollback")
            .with("differs", text.to_string())
            .to_string(),
    }
}

/// Says how the task of a rollback's release ended, if it did not succeed.
fn own_task_note(language: Language, task: &Task, plan: &Plan) -> Option<String> {
    let Origin::Rollback {
        to: Some(to),
        release,
    } = &task.submission.origin
    else {
        return None;
    };
    let mut states = StateName::ALL.into_iter();
    let state = states.find(|state| state.words() == plan.own_task_state)?;
    Some(text::without_success(language, release, *to, state))
}

fn rebuilt(language: Language, task: &Task, plan: &Plan) -> Option<String> {
    let Origin::Rollback { release, .. } = &task.submission.origin else {
        return None;
    };
    if plan.rebuilt.is_empty() || task.state.is_settled() {
        return None;
    }
    let text = language
        .say("note-rebuilt")
        .with("release", release.to_string())
        .with("hosts", text::list_in(language, &plan.rebuilt))
        .with("commit", plan.commit.clone());
    Some(text.to_string())
}
