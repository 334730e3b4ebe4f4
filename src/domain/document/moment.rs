//! A point in time as users write it: with an offset or zone, or in a default zone.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// A point in time as written, before the default zone is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenMoment {
    /// `2026-11-21T22:30:00Z`, `2026-11-21T22:30+01:00`, `2026-11-21T22:30[Asia/Tokyo]`.
    Exact(Timestamp),
    /// `2026-11-21 22:30`, also with `T` as separator and with seconds.
    Local(DateTime),
}

/// Parses a point in time; `None` if it is invalid. An offset or a zone is never ignored.
#[must_use]
pub fn parse(text: &str) -> Option<WrittenMoment> {
    let text = text.trim();
    let spaced = text.replacen(' ', "T", 1);
    if let Ok(at) = spaced.parse::<Timestamp>() {
        return Some(WrittenMoment::Exact(at));
    }
    if let Ok(at) = spaced.parse::<Zoned>() {
        return Some(WrittenMoment::Exact(at.timestamp()));
    }
    // The parsers above do not accept an offset without seconds.
    let short = ["%Y-%m-%dT%H:%M%:z", "%Y-%m-%dT%H:%MZ"];
    for (format, offset) in short.into_iter().zip([true, false]) {
        let Ok(parts) = jiff::fmt::strtime::parse(format, &spaced) else {
            continue;
        };
        let at = if offset {
            parts.to_timestamp()
        } else {
            let utc = parts.to_datetime();
            utc.and_then(|at| at.to_zoned(TimeZone::UTC))
                .map(|at| at.timestamp())
        };
        return at.ok().map(WrittenMoment::Exact);
    }
    let (date, time) = text.split_once([' ', 'T'])?;
    let date: Date = date.parse().ok()?;
    Some(WrittenMoment::Local(date.to_datetime(time_of_day(time)?)))
}

/// Parses `22:30` or `22:30:15`.
#[must_use]
pub fn time_of_day(text: &str) -> Option<Time> {
    ["%H:%M", "%H:%M:%S"]
        .into_iter()
        .find_map(|format| Time::strptime(format, text).ok())
}

impl WrittenMoment {
    /// Returns the point in time; `None` if its year is out of range.
    #[must_use]
    pub fn in_zone(self, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Exact(at) => Some(at),
            Self::Local(at) => Some(at.to_zoned(zone.clone()).ok()?.timestamp()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn berlin(text: &str) -> Option<String> {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        Some(parse(text)?.in_zone(&zone)?.to_string())
    }

    #[test]
    fn time_uses_its_own_zone_or_the_default_zone() {
        for (written, expected) in [
            ("2026-11-21 22:30", "2026-11-21T21:30:00Z"),
            ("2026-11-21T22:30", "2026-11-21T21:30:00Z"),
            (" 2026-07-21T22:30:15 ", "2026-07-21T20:30:15Z"),
            ("2026-11-21T22:30:00Z", "2026-11-21T22:30:00Z"),
            ("2026-11-21T22:30Z", "2026-11-21T22:30:00Z"),
            ("2026-11-21 22:30:00+09:00", "2026-11-21T13:30:00Z"),
            ("2026-11-21T22:30+09:00", "2026-11-21T13:30:00Z"),
            ("2026-11-21T22:30-05:00", "2026-11-22T03:30:00Z"),
            ("2026-11-21T22:30[Asia/Tokyo]", "2026-11-21T13:30:00Z"),
            (
                "2026-11-21 22:30:00+09:00[Asia/Tokyo]",
                "2026-11-21T13:30:00Z",
            ),
        ] {
            assert_eq!(berlin(written).as_deref(), Some(expected), "{written}");
        }
    }

    #[test]
    fn invalid_time_parses_as_none() {
        for written in [
            "",
            "soon",
            "22:30",
            "2026-11-21",
            "2026-13-21 22:30",
            "2026-11-21 25:00",
            "2026-11-21T22:30[Mars/Olympus]",
            "2026-11-21T22:30+99:00",
            "2026-11-21 22:30 tomorrow",
        ] {
            assert_eq!(berlin(written), None, "{written}");
        }
    }
}
