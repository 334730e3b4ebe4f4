//! Summarizes many hosts in few lines (pure): with hundreds of them a line for each healthy host is
//! not read, and a failed one must not be lost among them. Called by `summary`, `progress` and
//! `bar`.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use super::times::{Zone, span};
use crate::api::{HostView, StageView, StepState, StepView};

/// The most hosts that are listed by name.
const NAMED_MAX: usize = 20;
/// States in which a host is as healthy as the others.
const WELL: [StepState; 4] = [
    StepState::Succeeded,
    StepState::Running,
    StepState::Held,
    StepState::Pending,
];

/// Returns `web1, web2`, or the number of hosts.
pub(super) fn hosts(names: &[String]) -> String {
    match names.len() {
        0..=NAMED_MAX => names.join(", "),
        many => format!("{many} hosts"),
    }
}

/// Returns what was live before: for each host, or how many had the same.
pub(super) fn live_before<R: Display>(before: &BTreeMap<String, Option<R>>) -> String {
    let release = |release: &Option<R>| {
        let named = release.as_ref().map(R::to_string);
        named.unwrap_or_else(|| "nothing".to_owned())
    };
    let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (host, live) in before {
        let same = of.entry(release(live)).or_default();
        same.push(host.clone());
    }
    let parts: Vec<String> = match before.len() {
        0..=NAMED_MAX => before
            .iter()
            .map(|(host, live)| format!("{host} {}", release(live)))
            .collect(),
        _ => of
            .iter()
            .map(|(live, names)| format!("{} {live}", hosts(names)))
            .collect(),
    };
    parts.join(", ")
}

/// Returns the rows of a stage: one for each step of each host. If there are many hosts, those with
/// a step in the same healthy state share a row, and each of the others has its own.
pub(super) fn rows(stage: &StageView, zone: &Zone) -> Vec<[String; 7]> {
    let all = stage
        .hosts
        .iter()
        .flat_map(|host| shown_steps(host).map(move |step| (host, step)));
    let all: Vec<(&HostView, &StepView)> = all.collect();
    let each = |(host, step): (&HostView, &StepView)| step_cells(stage, host, step, zone);
    if stage.hosts.len() <= NAMED_MAX {
        return all.into_iter().map(each).collect();
    }
    let mut names: Vec<&str> = Vec::new();
    for (_, step) in &all {
        if !names.contains(&step.name.as_str()) {
            names.push(&step.name);
        }
    }
    let mut rows = Vec::new();
    for name in names {
        let of = all.iter().copied().filter(|(_, step)| step.name == name);
        for state in WELL {
            let alike: Vec<_> = of.clone().filter(|(_, step)| step.state == state).collect();
            match alike.as_slice() {
                [] => {}
                [alone] => rows.push(each(*alone)),
                many => {
                    let mut cells = [const { String::new() }; 7];
                    cells[0] = format!("  {}", stage.name);
                    cells[1] = format!("{} hosts", many.len());
                    cells[2] = name.to_owned();
                    cells[3] = state.name().to_owned();
                    rows.push(cells);
                }
            }
        }
        rows.extend(of.filter(|(_, step)| !WELL.contains(&step.state)).map(each));
    }
    rows
}

/// Returns the steps without those that another host does for all.
pub(super) fn shown_steps(host: &HostView) -> impl Iterator<Item = &StepView> {
    host.steps
        .iter()
        .filter(|step| step.state != StepState::Elsewhere)
}

fn step_cells(stage: &StageView, host: &HostView, step: &StepView, zone: &Zone) -> [String; 7] {
    let took = match (step.started_at, step.ended_at) {
        (Some(began), Some(ended)) => span(began, ended),
        _ => String::new(),
    };
    let mut result = step.message.clone();
    if let Some(code) = step.unstated_exit() {
        let exit = format!("exit {code}");
        result = match result.is_empty() {
            true => exit,
            false => format!("{exit}, {result}"),
        };
    }
    let mut state = step.state.name().to_owned();
    if step.attempt > 1 {
        let _ = write!(state, " ({}x)", step.attempt);
    }
    [
        format!("  {}", stage.name),
        host.name.clone(),
        step.name.clone(),
        state,
        step.started_at
            .map(|began| zone.time_of_day(began))
            .unwrap_or_default(),
        took,
        result,
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn stage(count: usize, failed: usize) -> StageView {
        let step = |state: &str, message: &str| {
            json!({
                "name": "sync", "log": "stage.sync", "way": "forward", "state": state,
                "attempt": 1, "started_at": null, "ended_at": null, "exit_code": null,
                "message": message,
            })
        };
        let hosts: Vec<_> = (0..count)
            .map(|number| match number == failed {
                true => {
                    json!({ "name": format!("web{number}"), "steps": [step("failed", "no room")] })
                }
                false => {
                    json!({ "name": format!("web{number}"), "steps": [step("succeeded", "")] })
                }
            })
            .collect();
        let stage = json!({ "name": "stage", "gate": "none", "batch": null, "hosts": hosts });
        serde_json::from_value(stage).unwrap()
    }

    #[test]
    fn many_hosts_share_a_row_except_failed_ones() {
        let zone = Zone::new(jiff::tz::TimeZone::UTC);
        let shown = rows(&stage(200, 117), &zone);
        let shown: Vec<[&str; 4]> = shown
            .iter()
            .map(|row| [&row[1], &row[2], &row[3], &row[6]].map(String::as_str))
            .collect();
        assert_eq!(
            shown,
            [
                ["199 hosts", "sync", "succeeded", ""],
                ["web117", "sync", "failed", "no room"],
            ]
        );
        assert_eq!(rows(&stage(20, 3), &zone).len(), 20);
    }

    #[test]
    fn many_hosts_are_counted_and_few_are_named() {
        let names: Vec<String> = (0..21).map(|number| format!("web{number}")).collect();
        assert_eq!(hosts(&names[..2]), "web0, web1");
        assert_eq!(hosts(&names), "21 hosts");
        let mut before: BTreeMap<String, Option<String>> = (0..30)
            .map(|number| (format!("web{number}"), Some("r1".to_owned())))
            .collect();
        before.insert("web7".to_owned(), None);
        assert_eq!(live_before(&before), "web7 nothing, 29 hosts r1");
    }
}
