//! The freezes of a project, in the reader's language (pure).

use std::collections::BTreeSet;

use jiff::civil::{DateTime, Time};

use crate::base::language::Language;
use crate::domain::approval::freeze::{Calendar, Day, Freeze, FreezePeriod};

/// A freeze of the calendar.
pub(super) struct FreezeRow {
    pub(super) name: String,
    pub(super) when: String,
    /// Empty: all.
    pub(super) environments: String,
    pub(super) reason: String,
}

/// Returns the freezes of a project in the environments that its reader sees.
pub(super) fn of(
    calendar: &Calendar,
    project: &str,
    seen: &[String],
    language: Language,
) -> Vec<FreezeRow> {
    let freezes = calendar.freezes.iter();
    let freezes =
        freezes.filter(|freeze| freeze.projects.is_empty() || freeze.projects.contains(project));
    let rows = freezes.filter_map(|freeze| {
        let environments = freeze.environments.iter();
        let environments: Vec<&str> = environments
            .filter(|name| seen.contains(name))
            .map(String::as_str)
            .collect();
        let concerns = freeze.environments.is_empty() || !environments.is_empty();
        concerns.then(|| FreezeRow {
            name: freeze.name.clone(),
            when: period(freeze, language),
            environments: environments.join(", "),
            reason: freeze.reason.clone(),
        })
    });
    rows.collect()
}

fn period(freeze: &Freeze, language: Language) -> String {
    let said = match &freeze.window {
        FreezePeriod::Once { from, until } => language
            .say("project-freeze-once")
            .with("from", minute(*from))
            .with("until", minute(*until)),
        FreezePeriod::Daily { days, from, until } => language
            .say("project-freeze-daily")
            .with("days", days_named(days, language))
            .with("from", clock(*from))
            .with("until", clock(*until)),
        FreezePeriod::Weekly { from, until } => language
            .say("project-freeze-weekly")
            .with("first", day(from.0, language))
            .with("from", clock(from.1))
            .with("last", day(until.0, language))
            .with("until", clock(until.1)),
    };
    said.to_string()
}

fn minute(at: DateTime) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

fn clock(at: Time) -> String {
    at.strftime("%H:%M").to_string()
}

fn day(day: Day, language: Language) -> String {
    language.say(format!("project-day-{day}")).to_string()
}

fn days_named(days: &BTreeSet<Day>, language: Language) -> String {
    if days.len() == Day::ALL.len() {
        return language.say("project-every-day").to_string();
    }
    let names = days.iter().map(|one| day(*one, language));
    let all = names.reduce(|days, day| {
        let said = language.say("project-days");
        said.with("days", days).with("day", day).to_string()
    });
    all.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn said(from: &str, until: &str, days: Option<&[Day]>, language: Language) -> String {
        let days = days.map(|days| days.iter().copied().collect());
        let freeze = Freeze {
            name: "fair".to_owned(),
            reason: String::new(),
            projects: BTreeSet::new(),
            environments: BTreeSet::new(),
            window: FreezePeriod::parse(from, until, days.as_ref()).unwrap(),
        };
        period(&freeze, language)
    }

    #[test]
    fn freeze_period_is_said_in_both_languages() {
        let (once, until) = ("2026-12-24 18:00", "2026-12-27");
        assert_eq!(
            said(once, until, None, Language::English),
            "2026-12-24 18:00 to 2026-12-27 00:00"
        );
        assert_eq!(
            said("fri 16:00", "mon 08:00", None, Language::Chinese),
            "周五 16:00 至 周一 08:00"
        );
        assert_eq!(
            said("16:00", "08:00", None, Language::English),
            "every day, 16:00 to 08:00"
        );
        let weekend = [Day::Sat, Day::Sun];
        assert_eq!(
            said("16:00", "08:00", Some(&weekend), Language::Chinese),
            "周六、周日 16:00 至 08:00"
        );
    }
}
