//! Text for people: states, times, comparisons and sizes. Pure; the time zone is passed in.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Site;
use super::fault::Fault;
use crate::api::TaskView;
pub(super) use crate::api::list_in;
use crate::base::language::Language;
use crate::domain::document::moment::{self, WrittenMoment};
use crate::domain::host::ReleaseId;
use crate::domain::task::{Comparison, Relation, StateName};

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

    /// `Tue 18:04` in the last six days; else `2026-11-21 18:04`.
    pub(super) fn lately(&self, language: Language, at: Timestamp, now: Timestamp) -> String {
        let zoned = at.to_zoned(self.zone.clone());
        let age = now.duration_since(at);
        if age.is_negative() || age >= SignedDuration::from_hours(6 * 24) {
            return zoned.strftime("%Y-%m-%d %H:%M").to_string();
        }
        let day = match zoned.weekday() {
            Weekday::Monday => language.say("weekday-monday"),
            Weekday::Tuesday => language.say("weekday-tuesday"),
            Weekday::Wednesday => language.say("weekday-wednesday"),
            Weekday::Thursday => language.say("weekday-thursday"),
            Weekday::Friday => language.say("weekday-friday"),
            Weekday::Saturday => language.say("weekday-saturday"),
            Weekday::Sunday => language.say("weekday-sunday"),
        };
        day.with("time", zoned.strftime("%H:%M").to_string())
            .to_string()
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
pub(super) fn tone(state: StateName) -> &'static str {
    match state {
        StateName::Waiting | StateName::Paused => "asks",
        StateName::Succeeded => "good",
        StateName::Failed | StateName::RollbackFailed => "bad",
        StateName::RolledBack | StateName::Stopped => "warn",
        _ if state.is_settled() => "over",
        _ => "work",
    }
}

/// Returns the name of a state in a language.
pub(super) fn state_in(language: Language, state: StateName) -> String {
    language.say(format!("state-{state}")).to_string()
}

/// Whether a user is asked to approve it, and has not.
pub(super) fn asks(view: &TaskView, name: &str) -> bool {
    let approved = view.approvals.iter().any(|yes| yes.approval.by == name);
    view.state == StateName::Waiting
        && !approved
        && view.approvers.iter().any(|approver| approver == name)
}

/// Describes how a commit relates to a live one, and whether that needs a second look.
pub(super) fn relation(language: Language, comparison: &Comparison) -> (String, &'static str) {
    let (text, tone) = match comparison.relation {
        Relation::First => (language.say("relation-first"), "plain"),
        Relation::Same => (language.say("relation-same"), "warn"),
        Relation::Ahead { commits } => (
            language.say("relation-ahead").with("count", commits),
            "plain",
        ),
        Relation::Back { commits } => {
            (language.say("relation-back").with("count", commits), "warn")
        }
        Relation::Diverged { ahead, back } => {
            let text = language.say("relation-diverged").with("ahead", ahead);
            (text.with("back", back), "warn")
        }
        Relation::Unknown => (language.say("relation-unknown"), "warn"),
    };
    (text.to_string(), tone)
}

/// `14 changed files, +120 −8 lines`.
pub(super) fn shortstat(language: Language, comparison: &Comparison) -> String {
    let files = comparison.files_changed;
    let text = match (comparison.insertions, comparison.deletions) {
        (Some(added), Some(removed)) => {
            let text = language.say("changed-files-and-lines");
            text.with("added", added).with("removed", removed)
        }
        _ if files > 0 => language.say("changed-files-uncounted"),
        _ => language.say("changed-files"),
    };
    text.with("count", files).to_string()
}

/// Says how the task of a release ended that was live without its success.
pub(super) fn without_success(
    language: Language,
    release: &ReleaseId,
    task: u64,
    state: StateName,
) -> String {
    let text = language
        .say("own-task-did-not-succeed")
        .with("release", release.to_string())
        .with("task", task);
    text.with("state", state_in(language, state)).to_string()
}

/// Returns the first digits of a commit.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// `850 ms`, `12 s`, `3 min 4 s`, `2 h 5 min`.
pub(super) fn lasted(language: Language, from: Timestamp, to: Timestamp) -> String {
    duration(language, to.duration_since(from).as_millis())
}

/// As [`lasted`], for a number of milliseconds.
pub(super) fn duration(language: Language, millis: i128) -> String {
    let millis = u64::try_from(millis.max(0)).unwrap_or(u64::MAX);
    let (seconds, minutes) = (millis / 1_000, millis / 60_000);
    let text = match seconds {
        0 => language.say("duration-ms").with("ms", millis),
        1..60 => language.say("duration-s").with("s", seconds),
        60..3_600 => {
            let text = language.say("duration-min").with("min", minutes);
            text.with("s", seconds % 60)
        }
        3_600..86_400 => {
            let text = language.say("duration-h").with("h", minutes / 60);
            text.with("min", minutes % 60)
        }
        _ => {
            let text = language.say("duration-d").with("d", minutes / 1_440);
            text.with("h", minutes / 60 % 24)
        }
    };
    text.to_string()
}

/// `0:07`, `3:04`, `1:02:03`: a running time in seconds, as the page's script counts it on.
pub(super) fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

pub(super) fn times(site: &Site) -> Times {
    Times::new(site.web.config.time_zone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

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
    fn recent_time_is_named_by_its_weekday() {
        let times = Times::new(TimeZone::get("Europe/Berlin").unwrap());
        let at: Timestamp = "2026-11-24T13:02:00Z".parse().unwrap();
        let days = |days: i64| at + SignedDuration::from_hours(24 * days);
        let lately = |language, now| times.lately(language, at, now);
        assert_eq!(lately(Language::English, days(5)), "Tue 14:02");
        assert_eq!(lately(Language::Chinese, days(5)), "周二 14:02");
        for now in [days(6), days(-1)] {
            assert_eq!(lately(Language::English, now), "2026-11-24 14:02");
        }
    }

    #[test]
    fn durations_are_read_in_two_units() {
        for (millis, english, chinese, count) in [
            (850, "850 ms", "850 毫秒", "0:00"),
            (59_999, "59 s", "59 秒", "0:59"),
            (184_000, "3 min 4 s", "3 分 4 秒", "3:04"),
            (7_500_000, "2 h 5 min", "2 小时 5 分", "2:05:00"),
            (97_200_000, "1 d 3 h", "1 天 3 小时", "27:00:00"),
            (-5, "0 ms", "0 毫秒", "0:00"),
        ] {
            assert_eq!(duration(Language::English, millis), english);
            assert_eq!(duration(Language::Chinese, millis), chinese);
            let seconds = u64::try_from(millis.max(0)).unwrap() / 1_000;
            assert_eq!(clock(seconds), count);
        }
    }

    #[test]
    fn every_state_has_a_known_tone() {
        for state in StateName::ALL {
            assert!(["asks", "good", "bad", "warn", "work", "over"].contains(&tone(state)));
        }
    }
}
