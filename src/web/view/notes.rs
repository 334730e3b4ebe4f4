//! What whoever looks at a task should know of its hosts: pure. Page, API and command line show the
//! same lines.

use std::collections::BTreeMap;

use crate::host::{Differs, Drift};
use crate::plan::Plan;
use crate::task::{Origin, StepResult, Task, Way};
use crate::web::words;

/// One line for each thing that was found, with the hosts on which it was.
pub(super) fn notes(task: &Task, plan: &Plan, drifts: &BTreeMap<String, Drift>) -> Vec<String> {
    let mut lines: Vec<String> = rebuilt(task, plan).into_iter().collect();
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut note = |host: &str, text: String| match found.iter_mut().find(|known| known.0 == text) {
        Some((_, hosts)) => hosts.push(host.to_owned()),
        None => found.push((text, vec![host.to_owned()])),
    };
    if task.work.is_none() && !task.state.at_rest() {
        for (host, drift) in drifts.iter().filter(|(host, _)| plan.host(host).is_some()) {
            note(host, format!("{}; this task replaces it", seen(drift)));
        }
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
            note(host, format!("when this task came, {}", seen(drift)));
        }
        if let Some(differs) = differs {
            note(host, differing(differs, at.way));
        }
    }
    let found = found.into_iter();
    lines.extend(found.map(|(text, hosts)| format!("on {}: {text}", words::list(&hosts))));
    lines
}

/// `current leads to a, tagship switched it to b (first seen 2026-11-29 21:00:00 UTC)`.
pub(crate) fn seen(drift: &Drift) -> String {
    let since = drift.since.strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("{drift} (first seen {since})")
}

fn differing(differs: &Differs, way: Way) -> String {
    match way {
        Way::Forward => differs.to_string(),
        Way::Back => format!("went back, and {differs}"),
    }
}

fn rebuilt(task: &Task, plan: &Plan) -> Option<String> {
    let Origin::Rollback { release, .. } = &task.submission.origin else {
        return None;
    };
    if plan.rebuilt.is_empty() || task.state.at_rest() {
        return None;
    }
    Some(format!(
        "release {release} is not known to be kept on {}: where it is gone it is built again from commit {}, without what was written into it on the host",
        words::list(&plan.rebuilt),
        plan.commit
    ))
}
