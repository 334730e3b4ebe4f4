//! What a task would change now, what has changed since its approvals, and where a rollback goes:
//! as API data, and as text for page and command line. Pure; callers format times in their own
//! zone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::task::TaskView;
use super::waiting::{attribution, list_in, some_of};
use crate::base::language::{Language, Message};
use crate::domain::host::ReleaseId;
use crate::domain::task::{ComparedRelease, OriginKind, Relation};
use crate::store::Head;

/// Digits of a commit in a sentence.
const COMMIT_DIGITS: usize = 10;
/// The most releases named in a sentence.
const NAMED_MAX: usize = 3;

/// Returns `release-1.4`; the release's own name if it has no tag.
fn name(live: &ComparedRelease) -> &str {
    match live.tag.as_str() {
        "" => &live.release.0,
        tag => tag,
    }
}

pub(crate) fn names(language: Language, live: &[ComparedRelease]) -> String {
    if live.is_empty() {
        return language.say("live-nothing").to_string();
    }
    let named: Vec<String> = live.iter().map(|live| name(live).to_owned()).collect();
    some_of(language, &named, NAMED_MAX, NAMED_MAX)
}

/// Returns the live releases of a commit that a task was compared with, by their tags.
#[must_use]
pub fn live_called(language: Language, task: &TaskView, commit: &str) -> Option<String> {
    let compared = task
        .compared
        .iter()
        .flat_map(|compared| &compared.with.live);
    let of_commit = compared.filter(|live| live.commit.as_deref() == Some(commit));
    let live: Vec<ComparedRelease> = of_commit.cloned().collect();
    (!live.is_empty()).then(|| names(language, &live))
}

fn same_releases(one: &[ComparedRelease], other: &[ComparedRelease]) -> bool {
    let ids = |live: &[ComparedRelease]| {
        let mut ids: Vec<_> = live.iter().map(|live| live.release.clone()).collect();
        ids.sort();
        ids
    };
    ids(one) == ids(other)
}

/// Returns `approved by bob when release-1.3 was live; release-1.4 is live since 14:02`, for each
/// approval given when something else was live than now.
#[must_use]
pub fn changed_since_approval(
    language: Language,
    task: &TaskView,
    show: impl Fn(Timestamp) -> String,
) -> Vec<String> {
    let Some(compared) = task.compared.as_ref().filter(|_| task.state.waits()) else {
        return Vec::new();
    };
    let live = &compared.with.live;
    let plan = task.plan.as_ref();
    let others = task
        .approvals
        .iter()
        .filter(|given| plan == Some(&given.approval.plan) && !same_releases(&given.live, live));
    others
        .map(|given| {
            let new = live
                .iter()
                .find(|now| given.live.iter().all(|then| then.release != now.release));
            let (now, since) = match new.and_then(|new| Some((new, new.since?))) {
                Some((new, since)) => (name(new).to_owned(), since),
                None => (names(language, live), compared.at),
            };
            let text = language
                .say("approved-before-change")
                .with("who", attribution(language, &given.approval))
                .with("then", names(language, &given.live));
            let text = text.with("now", now).with("since", show(since));
            text.to_string()
        })
        .collect()
}

/// Returns `to release-1.3 (3f2a9c1b2d, released 2026-11-20 14:02 by task 12), from release-1.4`:
/// target and source of a rollback.
#[must_use]
pub fn rollback_summary(
    language: Language,
    task: &TaskView,
    show: impl Fn(Timestamp) -> String,
) -> Option<String> {
    let OriginKind::Rollback { to, release } = &task.origin else {
        return None;
    };
    let commit = task.commit.as_deref().unwrap_or_default();
    let commit = commit.get(..COMMIT_DIGITS).unwrap_or(commit);
    let target = match (to, release.created_at()) {
        (Some(to), made) => {
            let text = match made {
                Some(made) => language
                    .say("rollback-summary-release")
                    .with("at", show(made)),
                None => language.say("rollback-summary-undated-release"),
            };
            let text = text.with("release", task.called().to_owned());
            let text = text.with("commit", commit.to_owned()).with("task", *to);
            text.to_string()
        }
        (None, _) => on_hosts_in(language, &task.goes_back_to),
    };
    let from = task.compared.as_ref().map(|compared| &compared.with.live);
    let text = match from {
        Some(live) if !live.is_empty() => language
            .say("rollback-summary-from")
            .with("live", names(language, live)),
        _ => language.say("rollback-summary"),
    };
    Some(text.with("target", target).to_string())
}

/// Returns `20260101120000 (not made by tagship)`; with the hosts if they differ.
pub fn on_hosts(targets: &BTreeMap<String, ReleaseId>) -> String {
    on_hosts_in(Language::English, targets)
}

/// As [`on_hosts`], in a language.
pub fn on_hosts_in(language: Language, targets: &BTreeMap<String, ReleaseId>) -> String {
    let mut hosts: BTreeMap<&ReleaseId, Vec<String>> = BTreeMap::new();
    for (host, release) in targets {
        hosts.entry(release).or_default().push(host.clone());
    }
    let all = hosts.len() == 1;
    let named = hosts.into_iter().map(|(release, hosts)| {
        let made = match release.created_at() {
            Some(_) => release.to_string(),
            None => {
                let text = language.say("release-of-others");
                text.with("release", release.to_string()).to_string()
            }
        };
        if all {
            return made;
        }
        let text = language.say("release-on-hosts").with("release", made);
        text.with("hosts", list_in(language, &hosts)).to_string()
    });
    list_in(language, &named.collect::<Vec<_>>())
}

/// Says that a rollback changes nothing: its target is live on every host.
#[must_use]
pub fn changes_nothing(language: Language, task: &TaskView) -> Option<String> {
    let OriginKind::Rollback { release, .. } = &task.origin else {
        return None;
    };
    if !task.drift.is_empty() {
        return None;
    }
    let with = &task.compared.as_ref()?.with;
    let live = !with.live.is_empty() && with.live.iter().all(|live| live.release == *release);
    let one = task.goes_back_to.values().all(|target| target == release);
    let same = (live && one) || with.relations == [Relation::Same];
    let text = match with.live.as_slice() {
        _ if !task.goes_back_to.is_empty() => language.say("rollback-target-is-live"),
        [one] if one.release != *release => language
            .say("rollback-commit-is-live")
            .with("release", name(one).to_owned()),
        _ => language
            .say("rollback-release-is-live")
            .with("release", task.called().to_owned()),
    };
    same.then(|| text.to_string())
}

/// Says how a commit relates to what is live: one sentence for each distinct relation.
pub(super) fn relations(relations: &[Relation]) -> Vec<Message> {
    let said = relations.iter().map(|relation| match *relation {
        Relation::First => Message::new("board-first-release"),
        Relation::Same => Message::new("board-changes-nothing"),
        Relation::Ahead { commits } => Message::new("board-adds").with("count", commits),
        Relation::Back { commits } => Message::new("board-removes").with("count", commits),
        Relation::Diverged { ahead, back } => Message::new("board-diverged")
            .with("ahead", ahead)
            .with("back", back),
        Relation::Unknown => Message::new("board-not-comparable"),
    });
    said.collect()
}

/// Summarizes what a waiting task would change now; empty if that is not known.
#[must_use]
pub fn change(head: &Head) -> String {
    let said = relations(&head.relations);
    let said: Vec<String> = said.iter().map(ToString::to_string).collect();
    said.join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn live(tag: &str) -> ComparedRelease {
        ComparedRelease {
            release: ReleaseId(format!("r-{tag}")),
            task: 1,
            tag: tag.to_owned(),
            commit: None,
            since: None,
            hosts: 1,
        }
    }

    #[test]
    fn compared_releases_are_named_by_tag_and_abbreviated() {
        let names = |live: &[ComparedRelease]| names(Language::English, live);
        assert_eq!(names(&[]), "nothing");
        assert_eq!(names(&[live("a")]), "a");
        assert_eq!(names(&[live("a"), live("b")]), "a and b");
        assert_eq!(names(&["a", "b", "c", "d"].map(live)), "a, b, c and 1 more");
        let mut foreign = live("");
        foreign.release = ReleaseId("by-hand".to_owned());
        assert_eq!(names(&[foreign]), "by-hand");
    }

    #[test]
    fn release_order_is_not_a_change() {
        assert!(same_releases(
            &[live("a"), live("b")],
            &[live("b"), live("a")]
        ));
        assert!(!same_releases(&[live("a")], &[live("a"), live("b")]));
    }
}
