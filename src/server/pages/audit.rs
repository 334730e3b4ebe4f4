//! The audit: who did what, newest first, with filters that the URL keeps.

use std::sync::Arc;

use askama::Template;
use jiff::Timestamp;

use super::super::Site;
use super::super::answer::HttpResult;
use super::super::authentication::who;
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::text::{TimeBound, Times};
use super::{Frame, shown, times};
use crate::api::AuditSearch;
use crate::base::language::Language;
use crate::domain::permission::Ability;
use crate::store::audit::{ACTIONS, AuditAction, AuditEntry};

/// How many entries a page shows.
const PAGE_ENTRIES: usize = 50;
/// How many entries one request reads; the next page continues from there.
const SCAN_MAX: usize = 2_000;
/// How many of them are read at once.
const PIECE: usize = 200;

#[derive(Template)]
#[template(path = "web/audit.html")]
struct AuditPage {
    frame: Frame,
    times: Times,
    query: AuditSearch,
    /// Each action with its words in the reader's language.
    actions: Vec<(&'static str, String)>,
    /// The names of the accounts.
    people: Vec<String>,
    rows: Vec<AuditRow>,
    more: Option<String>,
}

/// An entry, with what it concerns.
struct AuditRow {
    entry: AuditEntry,
    /// The action in the reader's language.
    words: String,
    /// Project and environment of its task; empty if it has none.
    place: String,
}

impl AuditRow {
    /// Returns why the action was refused; `None` if it was done.
    fn refused(&self) -> Option<&str> {
        let result = self.entry.action.result.as_str();
        (result != "done").then(|| result.strip_prefix("refused: ").unwrap_or(result))
    }
}

impl AuditPage {
    fn is_action(&self, name: &str) -> bool {
        self.query.what.as_deref() == Some(name)
    }

    fn filtered(&self) -> bool {
        self.query.search() != AuditSearch::default()
    }

    /// Returns the URL of the first page of this search.
    fn newest(&self) -> String {
        address(&self.query.search())
    }
}

pub(in crate::server) async fn show(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who(site, call).await?;
    who.needs(Ability::Manage, "see the audit")?;
    let query: AuditSearch = call.query()?;
    let language = who.language;
    let filter = AuditFilter::of(site, &query, language)?;
    let (rows, next) = search(site, &filter, query.before, language).await?;
    let accounts = site.web.accounts.list().await?;
    let page = AuditPage {
        frame: Frame::of(site, &who).await?,
        times: times(site),
        actions: ACTIONS
            .iter()
            .map(|name| (*name, words(name, language)))
            .collect(),
        people: accounts.into_iter().map(|account| account.name).collect(),
        rows,
        more: next.map(|before| {
            address(&AuditSearch {
                before: Some(before),
                ..query.search()
            })
        }),
        query,
    };
    shown(&page)
}

fn address(search: &AuditSearch) -> String {
    match serde_urlencoded::to_string(search).unwrap_or_default() {
        none if none.is_empty() => "/audit".to_owned(),
        search => format!("/audit?{search}"),
    }
}

/// Returns the name of an action in a language; an unknown one as it is.
fn words(what: &str, language: Language) -> String {
    if !ACTIONS.contains(&what) {
        return what.to_owned();
    }
    let id = what.to_lowercase().replace(' ', "-").replace('\'', "");
    language.say(format!("audit-action-{id}")).to_string()
}

/// Which entries a reader looks for.
struct AuditFilter<'a> {
    by: Option<&'a str>,
    what: Option<&'a str>,
    task: Option<u64>,
    /// In lower case.
    on: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl<'a> AuditFilter<'a> {
    fn of(site: &Site, query: &'a AuditSearch, language: Language) -> Result<Self, Fault> {
        let times = times(site);
        let given = |field: &'a Option<String>| field.as_deref().map(str::trim);
        let task = given(&query.task).map(|text| {
            text.parse::<u64>().map_err(|_| {
                let text: String = text.escape_debug().take(40).collect();
                let said = language.say("audit-not-a-task").with("text", text);
                Fault::Invalid(said.to_string())
            })
        });
        Ok(Self {
            by: given(&query.by),
            what: given(&query.what),
            task: task.transpose()?,
            on: given(&query.on).map(str::to_lowercase),
            since: times.bound(query.since.as_deref(), TimeBound::Since)?,
            until: times.bound(query.until.as_deref(), TimeBound::Until)?,
        })
    }

    /// Whether an entry is of this person, action, task and time.
    fn fits(&self, entry: &AuditEntry) -> bool {
        let AuditAction { by, what, task, .. } = &entry.action;
        self.by.is_none_or(|wanted| wanted == by)
            && self.what.is_none_or(|wanted| wanted == what)
            && self.task.is_none_or(|wanted| *task == Some(wanted))
            && self.until.is_none_or(|until| entry.time <= until)
    }

    /// Whether an entry is about a host, environment or user whose name has the given part.
    fn concerns(&self, entry: &AuditEntry, place: &str) -> bool {
        self.on.as_ref().is_none_or(|part| {
            let about = [entry.action.on.as_str(), place];
            about.iter().any(|text| text.to_lowercase().contains(part))
        })
    }
}

/// Returns the entries that fit, and the number before which the next page begins.
async fn search(
    site: &Site,
    filter: &AuditFilter<'_>,
    mut before: Option<u64>,
    language: Language,
) -> Result<(Vec<AuditRow>, Option<u64>), Fault> {
    let mut rows: Vec<AuditRow> = Vec::new();
    let mut read = 0;
    while read < SCAN_MAX {
        let entries = site.ledger.list(before, PIECE).await;
        let entries = entries.map_err(|error| Fault::Broken(error.to_string()))?;
        let Some(last) = entries.last().map(|last| last.number) else {
            return Ok((rows, None));
        };
        read += entries.len();
        before = Some(last);
        for entry in entries {
            if filter.since.is_some_and(|since| entry.time < since) {
                return Ok((rows, None));
            }
            if !filter.fits(&entry) {
                continue;
            }
            let place = place(site, &entry).await;
            if !filter.concerns(&entry, &place) {
                continue;
            }
            if rows.len() == PAGE_ENTRIES {
                let next = rows.last().map(|row| row.entry.number);
                return Ok((rows, next));
            }
            rows.push(AuditRow {
                words: words(&entry.action.what, language),
                place,
                entry,
            });
        }
    }
    Ok((rows, before))
}

/// Returns project and environment of an entry's task; empty if it has none.
async fn place(site: &Site, entry: &AuditEntry) -> String {
    let Some(task) = entry.action.task else {
        return String::new();
    };
    match site.web.store.head(task).await {
        Ok(head) => format!("{} {}", head.project, head.environment)
            .trim()
            .to_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_name_in_every_language() {
        for language in Language::ALL {
            for what in ACTIONS {
                let words = words(what, language);
                assert!(!words.starts_with("audit-action-"), "{words}");
                assert!(language != Language::English || words == what, "{words}");
            }
        }
    }
}
