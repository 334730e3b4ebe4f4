//! Text for people: states, times, comparisons and sizes. Pure; the time zone is passed in.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::Site;
use super::fault::Fault;
use crate::api::{StageView, StepState, TaskView};
pub(super) use crate::api::{list, missing, plural};
use crate::domain::document::moment::{self, WrittenMoment};
use crate::domain::host::ReleaseId;
use crate::domain::task::{Comparison, Relation};
use crate::store::LiveRelease;

/// Times as people read and write them.
#[derive(Clone, Debug)]
pub(super) struct Times {
    zone: TimeZone,
}

impl Times {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self { zone }
    }

    /// `2026-11-21 18:04 CET`.
    pub(super) fn minute(&self, at: &Timestamp) -> String {
        self.format(at, "%Y-%m-%d %H:%M %Z")
    }

    /// `2026-11-21 18:04:09 CET`.
    pub(super) fn second(&self, at: &Timestamp) -> String {
        self.format(at, "%Y-%m-%d %H:%M:%S %Z")
    }

    /// Returns the zone's name: `Europe/Berlin`.
    pub(super) fn zone(&self) -> String {
        self.zone.iana_name().unwrap_or("UTC").to_owned()
    }

    /// Parses a form's `datetime-local`, in the zone unless it names another.
    pub(super) fn parse(&self, text: &str) -> Result<Option<Timestamp>, Fault> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = || {
            Fault::Invalid(format!(
                "{text:?} is not a time; write it as 2026-11-21T18:04, in the time zone {}",
                self.zone()
            ))
        };
        let at = moment::parse(text).and_then(|at| at.in_zone(&self.zone));
        at.map(Some).ok_or_else(wrong)
    }

    /// Parses a bound of a search: a time with an offset, or a day or a time in the zone. A day
    /// counts as a whole.
    pub(super) fn bound(
        &self,
        text: Option<&str>,
        bound: TimeBound,
    ) -> Result<Option<Timestamp>, Fault> {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let wrong = || {
            Fault::Invalid(format!(
                "{text:?} is not a time; write 2026-11-21, 2026-11-21T18:04 (in the time zone {}) or 2026-11-21T18:04:00Z",
                self.zone()
            ))
        };
        let written = match (text.parse::<Date>(), bound) {
            // A time also parses as a date.
            (Ok(_), _) if text.contains(':') => moment::parse(text),
            (Ok(date), TimeBound::Since) => {
                Some(WrittenMoment::Local(date.to_datetime(Time::midnight())))
            }
            (Ok(date), TimeBound::Until) => Some(WrittenMoment::Local(date.to_datetime(Time::MAX))),
            (Err(_), _) => moment::parse(text),
        };
        let at = written.and_then(|at| at.in_zone(&self.zone));
        at.map(Some).ok_or_else(wrong)
    }

    fn format(&self, at: &Timestamp, format: &str) -> String {
        at.to_zoned(self.zone.clone()).strftime(format).to_string()
    }
}

/// Whether a bound is the earliest or the latest time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeBound {
    Since,
    Until,
}

/// Returns the tone of a state. Its name is always shown too.
pub(super) fn tone(state: &str) -> &'static str {
    match state {
        "waiting" | "paused" => "asks",
        "succeeded" => "good",
        "failed" | "rollback-failed" => "bad",
        "rolled-back" | "stopped" => "warn",
        "running" | "stopping" | "rolling-back" | "queued" | "scheduled" | "proposed" => "work",
        _ => "over",
    }
}

/// `rolled back`, for `rolled-back`.
pub(super) fn state(name: &str) -> String {
    name.replace('-', " ")
}

/// Describes a task's state in one sentence that begins with a verb: it follows "TAG → PLACE".
pub(super) fn statement(view: &TaskView, live: &[(String, LiveRelease)], times: &Times) -> String {
    let destination = view.destination();
    let detail = view.detail.as_str();
    let freeze = view.frozen.as_ref();
    let freeze = freeze.filter(|freeze| freeze.overridden_by.is_none());
    match view.state.as_str() {
        "proposed" if !detail.is_empty() => format!("has {detail}"),
        "proposed" if view.reference.is_empty() => "is being planned".to_owned(),
        "proposed" => "waits for its ref on the git server".to_owned(),
        "waiting" => format!("waits for {}", list(&missing(view))),
        "scheduled" | "queued" if freeze.is_some() => "waits for the end of a freeze".to_owned(),
        "scheduled" => match &view.starts_at {
            Some(at) => format!("starts at {}", times.minute(at)),
            None => "is scheduled".to_owned(),
        },
        "queued" if view.project.is_empty() => "starts when a task slot is free".to_owned(),
        "queued" if !detail.is_empty() => format!("is queued: {detail}"),
        "queued" => format!("is next in the queue of {destination}"),
        "running" => match current(&view.stages) {
            Some(at) => format!("is running: {at}"),
            None => "is running".to_owned(),
        },
        "paused" => match &view.pause_ends_at {
            Some(end) => format!(
                "is paused: {detail}; it stops at {} unless resumed",
                times.minute(end)
            ),
            None => format!("is paused: {detail}"),
        },
        "stopping" => format!("is being stopped, {detail}"),
        "stopped" => "was stopped; hosts stay as they were at that moment".to_owned(),
        "rolling-back" => because("is rolling back", detail),
        "rolled-back" => because("failed, and was rolled back", detail),
        "rollback-failed" => because("FAILED, and so did the rollback; check the hosts", detail),
        "failed" => because("failed", detail),
        "succeeded" => succeeded(view, live),
        "rejected" => format!("was rejected {detail}"),
        "expired" => because("has expired", detail),
        "withdrawn" => format!("was withdrawn {detail}"),
        "superseded" => format!("was superseded {detail}"),
        "observed" => "was only planned: its rule says observe".to_owned(),
        other => format!("is {}", state(other)),
    }
}

/// Whether a user is asked to approve it, and has not.
pub(super) fn asks(view: &TaskView, name: &str) -> bool {
    let approved = view.approvals.iter().any(|yes| yes.approval.by == name);
    view.state == "waiting" && !approved && view.approvers.iter().any(|approver| approver == name)
}

fn because(what: &str, why: &str) -> String {
    if why.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {why}")
    }
}

fn succeeded(view: &TaskView, live: &[(String, LiveRelease)]) -> String {
    if view.commit.is_none() {
        return "succeeded".to_owned();
    }
    let ours: Vec<String> = live
        .iter()
        .filter(|(_, live)| live.task == Some(view.id) || live.switched_by == view.id)
        .map(|(host, _)| host.clone())
        .collect();
    if ours.is_empty() {
        // The release of a newer task, or an older one that a rollback restored.
        let by = |live: &LiveRelease| live.task.filter(|task| *task > view.id);
        let by = |live: &LiveRelease| by(live).unwrap_or(live.switched_by);
        let newest = live.iter().map(|(_, live)| by(live)).max();
        return match newest {
            Some(newest) => format!("was released; task {newest} has replaced it"),
            None => "was released".to_owned(),
        };
    }
    if ours.len() == live.len() {
        return format!("is live on {}", list(&ours));
    }
    format!(
        "is live on {} of {} hosts: {}",
        ours.len(),
        live.len(),
        list(&ours)
    )
}

/// `stage 2 of 3, switch: 3 of 10 hosts done`.
fn current(stages: &[StageView]) -> Option<String> {
    let through = |stage: &StageView| {
        let hosts = stage.hosts.iter();
        hosts
            .filter(|host| {
                host.steps.iter().all(|step| {
                    !matches!(
                        step.state,
                        StepState::Pending | StepState::Held | StepState::Running
                    )
                })
            })
            .count()
    };
    let (number, stage) = stages
        .iter()
        .enumerate()
        .find(|(_, stage)| through(stage) < stage.hosts.len())?;
    Some(format!(
        "stage {} of {}, {}: {} of {} done",
        number + 1,
        stages.len(),
        stage.name,
        through(stage),
        plural(stage.hosts.len() as u64, "host"),
    ))
}

/// Describes how a commit relates to a live one, and whether that needs a second look.
pub(super) fn relation(comparison: &Comparison) -> (String, &'static str) {
    match comparison.relation {
        Relation::First => ("first release: nothing to compare with".to_owned(), "plain"),
        Relation::Same => ("no change: this commit is already live".to_owned(), "warn"),
        Relation::Ahead { commits } => (format!("adds {}", plural(commits, "commit")), "plain"),
        Relation::Back { commits } => (format!("REMOVES {}", plural(commits, "commit")), "warn"),
        Relation::Diverged { ahead, back } => (
            format!(
                "DIVERGED: adds {}, removes {}",
                plural(ahead, "commit"),
                plural(back, "commit")
            ),
            "warn",
        ),
        Relation::Unknown => (
            "no comparison: the repository does not have the live commit".to_owned(),
            "warn",
        ),
    }
}

/// `14 files, 120 lines added, 8 removed`.
pub(super) fn shortstat(comparison: &Comparison) -> String {
    let mut text = plural(comparison.files_changed, "changed file");
    if let (Some(added), Some(removed)) = (comparison.insertions, comparison.deletions) {
        text.push_str(&format!(", +{added} \u{2212}{removed} lines"));
    } else if comparison.files_changed > 0 {
        text.push_str(", too large to count lines");
    }
    text
}

/// Says how the task of a release ended that was live without its success.
pub(super) fn without_success(release: &ReleaseId, task: u64, state: &str) -> String {
    format!("release {release} was live, but its own task {task} did not succeed ({state})")
}

/// Returns the first digits of a commit.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// `850 ms`, `12 s`, `3 min 4 s`.
pub(super) fn lasted(from: Timestamp, to: Timestamp) -> String {
    let millis = to.duration_since(from).as_millis().max(0);
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{} s", millis / 1000),
        _ => format!("{} min {} s", millis / 60_000, millis / 1000 % 60),
    }
}

pub(super) fn times(site: &Site) -> Times {
    Times::new(site.web.config.time_zone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::task::STATE_NAMES;

    #[test]
    fn a_time_is_read_in_the_agents_zone() {
        let times = Times::new(TimeZone::get("Europe/Berlin").unwrap());
        let at = times.parse("2026-07-01T18:04").unwrap().unwrap();
        assert_eq!(at.to_string(), "2026-07-01T16:04:00Z");
        assert_eq!(times.minute(&at), "2026-07-01 18:04 CEST");
        assert_eq!(times.parse(" ").unwrap(), None);
        assert!(times.parse("tomorrow").is_err());
    }

    #[test]
    fn every_state_has_a_known_tone() {
        for name in STATE_NAMES {
            assert!(["asks", "good", "bad", "warn", "work", "over"].contains(&tone(name)));
        }
    }
}
