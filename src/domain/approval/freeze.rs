//! Freeze windows: when nothing is released, even if it is approved.
//!
//! Pure: `config` reads the windows, the executor calls [`Calendar::frozen`] when a task is to run,
//! and the page and the command line call it to warn before. A window is in local time: it begins
//! at the same time of day before and after a daylight saving change.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::Deserialize;

/// How many consecutive windows are followed to find the end of the last one.
const CHAIN_MAX: usize = 64;

/// A window in which nothing is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    pub name: String,
    /// The reason shown to users.
    pub reason: String,
    /// Empty: all projects.
    pub projects: BTreeSet<String>,
    /// Empty: all environments.
    pub environments: BTreeSet<String>,
    pub window: FreezePeriod,
}

/// The period of a [`Freeze`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezePeriod {
    /// Once, between two local times.
    Once { from: DateTime, until: DateTime },
    /// On these days of the week. If `until` is not after `from`, it is on the following day.
    Daily {
        days: BTreeSet<Day>,
        from: Time,
        until: Time,
    },
    /// Weekly, from one time of the week to the next `until`.
    Weekly {
        from: (Day, Time),
        until: (Day, Time),
    },
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    pub const ALL: [Self; 7] = [
        Self::Mon,
        Self::Tue,
        Self::Wed,
        Self::Thu,
        Self::Fri,
        Self::Sat,
        Self::Sun,
    ];

    fn from_weekday(weekday: Weekday) -> Self {
        match weekday {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }

    /// Returns the days from this one to the next `other`; 0 for the same day.
    fn days_to(self, other: Self) -> i64 {
        (other as i64 - self as i64).rem_euclid(7)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        })
    }
}

/// Why `from` and `until` of a freeze are not a valid window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWindow {
    #[error("{0:?} is no time of a freeze: write \"16:00\", \"fri 16:00\" or \"2026-12-24 18:00\"")]
    Time(String),
    #[error("`from` and `until` are written in two ways: write both as {0}")]
    Mixed(&'static str),
    #[error("`days` goes with times of day alone: take it out, or write `from = \"16:00\"`")]
    Days,
    #[error("`days` names no day: name some, or take it out")]
    NoDays,
    #[error("`until` is not after `from`: the freeze would never be in force")]
    Backwards,
}

/// One end of a window as written.
#[derive(Clone, Copy)]
enum WindowEnd {
    Of(DateTime),
    OfDay(Time),
    OfWeek(Day, Time),
}

impl FromStr for WindowEnd {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Self, BadWindow> {
        let wrong = || BadWindow::Time(text.to_owned());
        let time = |text: &str| Time::strptime("%H:%M", text).map_err(|_| wrong());
        let Some((first, rest)) = text.split_once(' ') else {
            if let Ok(date) = text.parse::<Date>() {
                return Ok(Self::Of(date.to_datetime(Time::midnight())));
            }
            return Ok(Self::OfDay(time(text)?));
        };
        if let Some(day) = Day::ALL.into_iter().find(|day| day.to_string() == first) {
            return Ok(Self::OfWeek(day, time(rest)?));
        }
        let date: Date = first.parse().map_err(|_| wrong())?;
        Ok(Self::Of(date.to_datetime(time(rest)?)))
    }
}

impl FreezePeriod {
    /// Parses `from` and `until`: both as times of day (on `days`, or every day), of the week, or
    /// of the calendar.
    ///
    /// # Errors
    /// [`BadWindow`] names the problem.
    pub fn parse(from: &str, until: &str, days: Option<&BTreeSet<Day>>) -> Result<Self, BadWindow> {
        let window = match (from.parse()?, until.parse()?) {
            (WindowEnd::OfDay(from), WindowEnd::OfDay(until)) => Self::Daily {
                days: match days {
                    Some(days) if days.is_empty() => return Err(BadWindow::NoDays),
                    Some(days) => days.clone(),
                    None => Day::ALL.into(),
                },
                from,
                until,
            },
            _ if days.is_some() => return Err(BadWindow::Days),
            (WindowEnd::OfWeek(day, time), WindowEnd::OfWeek(until, end)) => Self::Weekly {
                from: (day, time),
                until: (until, end),
            },
            (WindowEnd::Of(from), WindowEnd::Of(until)) if from < until => {
                Self::Once { from, until }
            }
            (WindowEnd::Of(_), WindowEnd::Of(_)) => return Err(BadWindow::Backwards),
            (WindowEnd::Of(_), _) => return Err(BadWindow::Mixed("\"2026-12-24 18:00\"")),
            (WindowEnd::OfWeek(..), _) => return Err(BadWindow::Mixed("\"fri 16:00\"")),
            (WindowEnd::OfDay(_), _) => return Err(BadWindow::Mixed("\"16:00\"")),
        };
        Ok(window)
    }

    /// Returns when the window that contains `now` ends; `None` if `now` is outside of it.
    fn ends(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let today = now.to_zoned(zone.clone()).date();
        let begun_before = |days: i64| today.checked_sub(days.days()).ok();
        // If clocks skip or repeat a local time, the freeze begins early and ends late.
        let within = |from: DateTime, until: DateTime| {
            let from = zone.to_ambiguous_zoned(from).earlier().ok()?.timestamp();
            let until = zone.to_ambiguous_zoned(until).later().ok()?.timestamp();
            (from <= now && now < until).then_some(until)
        };
        match self {
            Self::Once { from, until } => within(*from, *until),
            Self::Daily { days, from, until } => (0..=1).find_map(|before| {
                let day = begun_before(before)
                    .filter(|day| days.contains(&Day::from_weekday(day.weekday())))?;
                let last = if until > from {
                    day
                } else {
                    day.tomorrow().ok()?
                };
                within(day.to_datetime(*from), last.to_datetime(*until))
            }),
            Self::Weekly { from, until } => (0..=7).find_map(|before| {
                let day = begun_before(before)
                    .filter(|day| Day::from_weekday(day.weekday()) == from.0)?;
                let whole_week = from.0 == until.0 && until.1 <= from.1;
                let length = if whole_week {
                    7
                } else {
                    from.0.days_to(until.0)
                };
                let last = day.checked_add(length.days()).ok()?;
                within(day.to_datetime(from.1), last.to_datetime(until.1))
            }),
        }
    }
}

/// All windows, with their time zone.
#[derive(Clone, Debug)]
pub struct Calendar {
    pub freezes: Vec<Freeze>,
    pub zone: TimeZone,
}

impl Default for Calendar {
    fn default() -> Self {
        Self {
            freezes: Vec::new(),
            zone: TimeZone::UTC,
        }
    }
}

/// A freeze that is in force at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen<'f> {
    pub freeze: &'f Freeze,
    /// When the freeze ends, including consecutive windows.
    pub until: Timestamp,
}

impl Calendar {
    /// Returns the freeze of a project and environment at a time, if there is one, and its end.
    #[must_use]
    pub fn frozen(&self, project: &str, environment: &str, at: Timestamp) -> Option<Frozen<'_>> {
        let names = |names: &BTreeSet<String>, name: &str| names.is_empty() || names.contains(name);
        let latest = |time: Timestamp| {
            self.freezes
                .iter()
                .filter(|freeze| {
                    names(&freeze.projects, project) && names(&freeze.environments, environment)
                })
                .filter_map(|freeze| Some((freeze, freeze.window.ends(time, &self.zone)?)))
                .max_by_key(|(_, until)| *until)
        };
        let (freeze, mut until) = latest(at)?;
        for _ in 0..CHAIN_MAX {
            match latest(until) {
                Some((_, later)) => until = later,
                None => break,
            }
        }
        Some(Frozen { freeze, until })
    }

    /// Formats a time in the calendar's zone.
    #[must_use]
    pub fn format(&self, time: Timestamp) -> String {
        let local = time.to_zoned(self.zone.clone());
        local.strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn freeze(from: &str, until: &str, days: Option<&[Day]>) -> Freeze {
        let days = days.map(|days| days.iter().copied().collect());
        Freeze {
            name: "f".to_owned(),
            reason: String::new(),
            projects: BTreeSet::new(),
            environments: BTreeSet::new(),
            window: FreezePeriod::parse(from, until, days.as_ref()).unwrap(),
        }
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    /// Returns the local end of the freeze that is in force at this local time.
    fn end(freezes: &[Freeze], now: &str) -> Option<String> {
        let now = now.parse::<DateTime>().unwrap();
        let now = now.to_zoned(berlin()).unwrap().timestamp();
        let calendar = Calendar {
            freezes: freezes.to_vec(),
            zone: berlin(),
        };
        let until = calendar.frozen("shop", "production", now)?.until;
        let until = until.to_zoned(berlin()).datetime();
        Some(until.strftime("%a %F %R").to_string())
    }

    fn check(freeze: &Freeze, times: &[(&str, Option<&str>)]) {
        for (now, until) in times {
            let end = end(std::slice::from_ref(freeze), now);
            assert_eq!(end.as_deref(), *until, "{:?} at {now}", freeze.window);
        }
    }

    // 2026-11-20 is a Friday.

    #[test]
    fn calendar_window_occurs_once() {
        let freeze = freeze("2026-12-24 18:00", "2026-12-27", None);
        check(
            &freeze,
            &[
                ("2026-12-24T17:59:59", None),
                ("2026-12-24T18:00", Some("Sun 2026-12-27 00:00")),
                ("2026-12-26T23:59:59", Some("Sun 2026-12-27 00:00")),
                ("2026-12-27T00:00", None),
                ("2027-12-25T12:00", None),
            ],
        );
    }

    #[test]
    fn daily_window_occurs_on_its_days() {
        let noon = freeze("12:00", "13:00", None);
        check(
            &noon,
            &[
                ("2026-11-20T11:59", None),
                ("2026-11-20T12:00", Some("Fri 2026-11-20 13:00")),
                ("2026-11-20T13:00", None),
            ],
        );
        let night = freeze("22:00", "06:00", Some(&[Day::Fri]));
        check(
            &night,
            &[
                ("2026-11-19T23:00", None),
                ("2026-11-20T05:00", None),
                ("2026-11-20T22:00", Some("Sat 2026-11-21 06:00")),
                ("2026-11-21T05:59", Some("Sat 2026-11-21 06:00")),
                ("2026-11-21T23:00", None),
            ],
        );
    }

    #[test]
    fn weekly_window_spans_the_end_of_the_week() {
        let weekend = freeze("fri 16:00", "mon 09:00", None);
        check(
            &weekend,
            &[
                ("2026-11-20T15:59", None),
                ("2026-11-20T16:00", Some("Mon 2026-11-23 09:00")),
                ("2026-11-22T12:00", Some("Mon 2026-11-23 09:00")),
                ("2026-11-23T08:59", Some("Mon 2026-11-23 09:00")),
                ("2026-11-23T09:00", None),
                ("2026-11-25T12:00", None),
            ],
        );
        let nearly_always = freeze("tue 10:00", "tue 09:00", None);
        check(
            &nearly_always,
            &[
                ("2026-11-17T09:30", None),
                ("2026-11-17T10:00", Some("Tue 2026-11-24 09:00")),
                ("2026-11-24T08:00", Some("Tue 2026-11-24 09:00")),
            ],
        );
    }

    #[test]
    fn a_window_keeps_its_local_time_when_clocks_change() {
        // Clocks went back on 2026-10-25 at 03:00, and forward on 2026-03-29 at 02:00.
        let night = freeze("01:00", "06:00", None);
        check(
            &night,
            &[
                ("2026-10-25T05:59", Some("Sun 2026-10-25 06:00")),
                ("2026-10-25T06:00", None),
                ("2026-03-29T05:59", Some("Sun 2026-03-29 06:00")),
                ("2026-03-29T00:59", None),
            ],
        );
    }

    #[test]
    fn window_has_no_gap_at_a_daylight_saving_change() {
        let frozen = |freeze: Freeze, now: &str| {
            let calendar = Calendar {
                freezes: vec![freeze],
                zone: TimeZone::get("Europe/Berlin").unwrap(),
            };
            let now = now.parse().unwrap();
            calendar.frozen("shop", "production", now).is_some()
        };
        // There is no 02:30: after 01:59 it is 03:00.
        let begins_in_the_gap = || freeze("02:30", "03:15", None);
        assert!(frozen(
            begins_in_the_gap(),
            "2026-03-29T03:05+02:00[Europe/Berlin]"
        ));
        assert!(!frozen(
            begins_in_the_gap(),
            "2026-03-29T03:15+02:00[Europe/Berlin]"
        ));
        // There are two 02:15.
        let ends_twice = || freeze("01:00", "02:30", None);
        assert!(frozen(
            ends_twice(),
            "2026-10-25T02:15+02:00[Europe/Berlin]"
        ));
        assert!(frozen(
            ends_twice(),
            "2026-10-25T02:15+01:00[Europe/Berlin]"
        ));
        assert!(!frozen(
            ends_twice(),
            "2026-10-25T02:30+01:00[Europe/Berlin]"
        ));
    }

    #[test]
    fn adjacent_windows_are_merged() {
        let both = [
            freeze("fri 16:00", "mon 09:00", None),
            freeze("08:00", "12:00", Some(&[Day::Mon])),
        ];
        let until = end(&both, "2026-11-21T12:00");
        assert_eq!(until.as_deref(), Some("Mon 2026-11-23 12:00"));
        let always = [freeze("00:00", "00:00", None)];
        assert!(end(&always, "2026-11-21T12:00").is_some());
    }

    #[test]
    fn freeze_applies_only_to_its_projects_and_environments() {
        let mut freeze = freeze("00:00", "12:00", None);
        freeze.projects = BTreeSet::from(["shop".to_owned()]);
        freeze.environments = BTreeSet::from(["production".to_owned()]);
        let calendar = Calendar {
            freezes: vec![freeze],
            ..Calendar::default()
        };
        let now = "2026-11-20T05:00:00Z".parse().unwrap();
        let at = |project, environment| calendar.frozen(project, environment, now).is_some();
        assert!(at("shop", "production"));
        assert!(!at("shop", "qa"));
        assert!(!at("blog", "production"));
    }

    #[test]
    fn freeze_time_is_shown_in_the_calendar_zone() {
        let calendar = Calendar {
            freezes: Vec::new(),
            zone: berlin(),
        };
        let shown = calendar.format("2026-11-20T15:00:00Z".parse().unwrap());
        assert_eq!(shown, "Fri 2026-11-20 16:00 CET");
    }

    #[test]
    fn invalid_window_is_refused() {
        let friday = BTreeSet::from([Day::Fri]);
        for (from, until, days, wrong) in [
            ("noon", "13:00", None, BadWindow::Time("noon".to_owned())),
            ("25:00", "13:00", None, BadWindow::Time("25:00".to_owned())),
            ("fri", "mon 09:00", None, BadWindow::Time("fri".to_owned())),
            ("12:00", "mon 09:00", None, BadWindow::Mixed("\"16:00\"")),
            (
                "fri 12:00",
                "13:00",
                None,
                BadWindow::Mixed("\"fri 16:00\""),
            ),
            (
                "2026-12-24",
                "13:00",
                None,
                BadWindow::Mixed("\"2026-12-24 18:00\""),
            ),
            ("2026-12-24", "2026-12-24", None, BadWindow::Backwards),
            ("fri 12:00", "mon 09:00", Some(&friday), BadWindow::Days),
            ("12:00", "13:00", Some(&BTreeSet::new()), BadWindow::NoDays),
        ] {
            assert_eq!(
                FreezePeriod::parse(from, until, days),
                Err(wrong),
                "{from} {until}"
            );
        }
    }
}
