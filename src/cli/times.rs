//! Times as people read and write them: in the agent's named zone (pure; "now" is passed in).

use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::document::{duration, moment};

/// How times are shown.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    zone: TimeZone,
}

impl Zone {
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { zone }
    }

    /// `2026-11-21 18:03:14 CET`.
    pub(crate) fn show(&self, at: Timestamp) -> String {
        let zoned = at.to_zoned(self.zone.clone());
        format!("{}", zoned.strftime("%Y-%m-%d %H:%M:%S %Z"))
    }

    /// `18:03:14`, for lines under a heading that names day and zone.
    pub(crate) fn time_of_day(&self, at: Timestamp) -> String {
        let zoned = at.to_zoned(self.zone.clone());
        format!("{}", zoned.strftime("%H:%M:%S"))
    }
}

/// A point in time as written, before zone and current time are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrittenTime {
    Written(moment::WrittenMoment),
    /// The next time the clock shows this, in the agent's zone.
    Clock(Time),
    /// From now on.
    In(SignedDuration),
}

/// What was written is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMoment {
    #[error("write 22:30, \"2026-11-21 22:30\", 2026-11-21T22:30+01:00 or +2h")]
    Unreadable,
    #[error("that time is out of range")]
    OutOfRange,
}

impl FromStr for WrittenTime {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Some(span) = text.strip_prefix('+') {
            let span = duration::parse(span).map_err(|_| NoMoment::Unreadable)?;
            let span = SignedDuration::try_from(span).map_err(|_| NoMoment::OutOfRange)?;
            return Ok(Self::In(span));
        }
        if let Some(written) = moment::parse(text) {
            return Ok(Self::Written(written));
        }
        let time = moment::time_of_day(text).ok_or(NoMoment::Unreadable)?;
        Ok(Self::Clock(time))
    }
}

impl WrittenTime {
    /// Returns the point in time, relative to `now`.
    ///
    /// # Errors
    /// The time is beyond the year 9999.
    pub(crate) fn resolve(&self, zone: &Zone, now: Timestamp) -> Result<Timestamp, NoMoment> {
        let local = |at: DateTime| {
            at.to_zoned(zone.zone.clone())
                .map(|zoned| zoned.timestamp())
                .map_err(|_| NoMoment::OutOfRange)
        };
        match self {
            Self::Written(at) => at.in_zone(&zone.zone).ok_or(NoMoment::OutOfRange),
            Self::In(span) => now.checked_add(*span).map_err(|_| NoMoment::OutOfRange),
            Self::Clock(time) => {
                let today = now.to_zoned(zone.zone.clone()).date();
                let at = local(today.to_datetime(*time))?;
                if at >= now {
                    return Ok(at);
                }
                let tomorrow = today.tomorrow().map_err(|_| NoMoment::OutOfRange)?;
                local(tomorrow.to_datetime(*time))
            }
        }
    }
}

/// How long something is valid: `90d`, `12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(SignedDuration);

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span = duration::parse(text).map_err(|error| error.to_string())?;
        SignedDuration::try_from(span)
            .map(Self)
            .map_err(|_| "that is too long".to_owned())
    }
}

impl Lifetime {
    /// Returns when it ends, if it begins now.
    ///
    /// # Errors
    /// The time is beyond the year 9999.
    pub(crate) fn from(self, now: Timestamp) -> Result<Timestamp, NoMoment> {
        now.checked_add(self.0).map_err(|_| NoMoment::OutOfRange)
    }
}

/// `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> String {
    let span = to.duration_since(from);
    let seconds = span.as_secs().max(0);
    match seconds {
        0..10 => format!("{:.1} s", span.as_secs_f64().max(0.0)),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn berlin() -> Zone {
        Zone::new(TimeZone::get("Europe/Berlin").unwrap())
    }

    /// 22:00 in Berlin.
    fn now() -> Timestamp {
        "2026-11-21T21:00:00Z".parse().unwrap()
    }

    fn resolved(text: &str) -> String {
        let moment: WrittenTime = text.parse().unwrap();
        moment.resolve(&berlin(), now()).unwrap().to_string()
    }

    #[test]
    fn a_time_is_shown_with_its_zone() {
        assert_eq!(berlin().show(now()), "2026-11-21 22:00:00 CET");
        assert_eq!(
            Zone::new(TimeZone::UTC).show(now()),
            "2026-11-21 21:00:00 UTC"
        );
    }

    #[test]
    fn time_without_zone_uses_the_agents_zone() {
        assert_eq!(resolved("2026-11-22 06:30"), "2026-11-22T05:30:00Z");
        assert_eq!(resolved("2026-11-22T06:30:10"), "2026-11-22T05:30:10Z");
        assert_eq!(resolved("2026-11-22T06:30+00:00"), "2026-11-22T06:30:00Z");
        assert_eq!(resolved("2026-11-22T06:30:00Z"), "2026-11-22T06:30:00Z");
    }

    #[test]
    fn time_of_day_means_its_next_occurrence() {
        assert_eq!(resolved("22:30"), "2026-11-21T21:30:00Z");
        assert_eq!(resolved("06:30"), "2026-11-22T05:30:00Z");
    }

    #[test]
    fn a_span_counts_from_now() {
        assert_eq!(resolved("+2h"), "2026-11-21T23:00:00Z");
    }

    #[test]
    fn invalid_time_is_refused() {
        for text in ["", "soon", "25:00", "2026-13-01 10:00", "+soon", "+", "12"] {
            assert!(text.parse::<WrittenTime>().is_err(), "{text}");
        }
        assert!("soon".parse::<Lifetime>().is_err());
    }

    #[test]
    fn spans_are_as_exact_as_is_useful() {
        let at = |seconds: i64| now() + SignedDuration::from_millis(seconds * 1000 + 400);
        assert_eq!(span(now(), at(0)), "0.4 s");
        assert_eq!(span(now(), at(12)), "12 s");
        assert_eq!(span(now(), at(200)), "3 min 20 s");
        assert_eq!(span(now(), at(7500)), "2 h 5 min");
        assert_eq!(span(at(5), now()), "0.0 s");
    }
}
