//! How far a task is, as one line (pure): a bar, its stage, the hosts that are done and the time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

use super::host_rollup::shown_steps;
use super::table::{fit, printable};
use super::times::span;
use crate::api::{StageView, StepState, TaskView};
use crate::domain::template::AGENT;

/// The longest bar, in columns.
const BAR_MAX: usize = 30;
/// A shorter bar shows nothing.
const BAR_MIN: usize = 10;
/// The columns around the bar.
const FRAME: usize = "  [] ".len();

/// Returns how long the task has run, `1 min 20 s`; `None` if it has not begun.
pub(crate) fn elapsed(task: &TaskView, now: Timestamp) -> Option<String> {
    let steps = || {
        let stages = task.stages.iter().chain(&task.rollback_stages);
        let hosts = stages.flat_map(|stage| &stage.hosts);
        hosts.flat_map(|host| &host.steps)
    };
    let began = steps().filter_map(|step| step.started_at).min()?;
    let ended = steps().filter_map(|step| step.ended_at).max();
    Some(span(began, ended.filter(|_| task.at_rest).unwrap_or(now)))
}

/// Returns `[###-------] 30%, stage switch (2 of 3), 1 of 3 hosts done, 20 s`; a narrow terminal gets
/// no bar.
pub(crate) fn line(stages: &[StageView], is_rollback: bool, elapsed: &str, width: usize) -> String {
    let (done, of) = counted(stages.iter());
    let mut text = format!("{}%", done * 100 / of.max(1));
    let is_open = |stage: &&StageView| {
        let (done, of) = counted(std::iter::once(*stage));
        done < of
    };
    if let Some(stage) = stages.iter().find(is_open) {
        let place = stages.iter().position(|other| other.name == stage.name);
        let place = place.map_or(1, |place| place + 1);
        let rollback = if is_rollback { "rollback " } else { "" };
        let (name, count) = (&stage.name, stages.len());
        text += &format!(", {rollback}stage {name} ({place} of {count})");
    }
    let hosts = hosts(stages);
    let ready = hosts.values().filter(|is_done| **is_done).count();
    let plural = if hosts.len() == 1 { "" } else { "s" };
    text += &format!(", {ready} of {} host{plural} done, {elapsed}", hosts.len());
    let text = printable(&text);
    let room = width.saturating_sub(text.width() + FRAME).min(BAR_MAX);
    if room < BAR_MIN {
        return fit(&format!("  {text}"), width);
    }
    let full = room * done / of.max(1);
    let (full, empty) = ("#".repeat(full), "-".repeat(room - full));
    format!("  [{full}{empty}] {text}")
}

/// Returns how many steps are done, of how many.
fn counted<'s>(stages: impl Iterator<Item = &'s StageView>) -> (usize, usize) {
    let hosts = stages.flat_map(|stage| &stage.hosts);
    hosts
        .flat_map(shown_steps)
        .fold((0, 0), |(done, of), step| {
            (done + usize::from(is_done(step.state)), of + 1)
        })
}

/// Returns the hosts, and whether all their steps are done; the agent's machine counts only if it is
/// alone.
fn hosts(stages: &[StageView]) -> BTreeMap<&str, bool> {
    let mut hosts = BTreeMap::new();
    for host in stages.iter().flat_map(|stage| &stage.hosts) {
        let done = shown_steps(host).all(|step| is_done(step.state));
        *hosts.entry(host.name.as_str()).or_insert(true) &= done;
    }
    if hosts.len() > 1 {
        hosts.remove(AGENT);
    }
    hosts
}

fn is_done(state: StepState) -> bool {
    matches!(state, StepState::Succeeded | StepState::Skipped)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn step(state: &str) -> Value {
        json!({
            "name": "run", "log": "x.run", "way": "forward", "state": state, "attempt": 1,
            "started_at": null, "ended_at": null, "exit_code": null, "message": "",
        })
    }

    /// A stage on the agent, and one on two hosts with steps in these states.
    fn stages(web1: [&str; 2], web2: [&str; 2]) -> Vec<StageView> {
        let host = |name: &str, states: &[&str]| {
            let steps: Vec<Value> = states.iter().map(|state| step(state)).collect();
            json!({ "name": name, "steps": steps })
        };
        let stage = |name: &str, hosts: Vec<Value>| {
            let stage = json!({ "name": name, "gate": "none", "batch": null, "hosts": hosts });
            serde_json::from_value(stage).unwrap()
        };
        vec![
            stage("checkout", vec![host("agent", &["succeeded"])]),
            stage("stage", vec![host("web1", &web1), host("web2", &web2)]),
        ]
    }

    #[test]
    fn bar_names_stage_and_hosts_that_are_done() {
        let stages = stages(["succeeded", "succeeded"], ["running", "pending"]);
        assert_eq!(
            line(&stages, false, "12 s", 100),
            "  [##################------------] 60%, stage stage (2 of 2), 1 of 2 hosts done, 12 s"
        );
    }

    #[test]
    fn bar_is_full_when_other_hosts_were_skipped() {
        let stages = stages(["succeeded", "elsewhere"], ["skipped", "skipped"]);
        assert_eq!(
            line(&stages, true, "12 s", 80),
            "  [##############################] 100%, 2 of 2 hosts done, 12 s"
        );
    }

    #[test]
    fn bar_fits_the_terminal() {
        let stages = stages(["pending", "pending"], ["pending", "pending"]);
        let whole = line(&stages, true, "12 s", 80);
        assert!(
            whole.contains("] 20%, rollback stage stage (2 of 2), 0 of 2"),
            "{whole}"
        );
        for width in 1..80 {
            let line = line(&stages, true, "12 s", width);
            assert!(line.width() <= width, "{width}: {line}");
            assert_eq!(line.contains('['), width >= 74, "{width}: {line}");
        }
    }
}
