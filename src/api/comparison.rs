//! What a task would change now, what has changed since its approvals, and where a rollback goes:
//! as API data, and as text for page and command line. Pure; callers format times in their own
//! zone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::task::TaskView;
use super::waiting::list;
use crate::domain::host::ReleaseId;
use crate::domain::task::{ComparedRelease, OriginKind, Relation};
use crate::store::Head;

/// Digits of a commit in a sentence.
const COMMIT_DIGITS: usize = 10;
/// The most releases named in a sentence.
const NAMED_MAX: usize = 3;

/// Whether what it would change is compared with what is live now.
fn waits(state: &str) -> bool {
    matches!(state, "waiting" | "scheduled" | "queued")
}

/// Returns `release-1.4`; the release's own name if it has no tag.
fn name(live: &ComparedRelease) -> &str {
    match live.tag.as_str() {
        "" => &live.release.0,
        tag => tag,
    }
}

pub(crate) fn names(live: &[ComparedRelease]) -> String {
    let named: Vec<&str> = live.iter().take(NAMED_MAX).map(name).collect();
    let more = live.len().saturating_sub(NAMED_MAX);
    match (named.split_last(), more) {
        (None, _) => "nothing".to_owned(),
        (Some((only, [])), _) => (*only).to_owned(),
        (Some((last, others)), 0) => format!("{} and {last}", others.join(", ")),
        _ => format!("{} and {more} more", named.join(", ")),
    }
}

/// Returns the live releases of a commit that a task was compared with, by their tags.
#[must_use]
pub fn live_called(task: &TaskView, commit: &str) -> Option<String> {
    let compared = task
        .compared
        .iter()
        .flat_map(|compared| &compared.with.live);
    let of_commit = compared.filter(|live| live.commit.as_deref() == Some(commit));
    let live: Vec<ComparedRelease> = of_commit.cloned().collect();
    (!live.is_empty()).then(|| names(&live))
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
pub fn changed_since_approval(task: &TaskView, show: impl Fn(Timestamp) -> String) -> Vec<String> {
    let Some(compared) = task.compared.as_ref().filter(|_| waits(&task.state)) else {
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
            let now = match new.and_then(|new| Some((new, new.since?))) {
                Some((new, since)) => format!("{} is live since {}", name(new), show(since)),
                None => format!("{} is live since {}", names(live), show(compared.at)),
            };
            format!(
                "approved by {} when {} was live; {now}",
                given.approval.attribution(),
                names(&given.live),
            )
        })
        .collect()
}

/// Returns `to release-1.3 (3f2a9c1b2d, released 2026-11-20 14:02 by task 12), from release-1.4`:
/// target and source of a rollback.
#[must_use]
pub fn rollback_summary(task: &TaskView, show: impl Fn(Timestamp) -> String) -> Option<String> {
    let OriginKind::Rollback { to, release } = &task.origin else {
        return None;
    };
    let commit = task.commit.as_deref().unwrap_or_default();
    let commit = commit.get(..COMMIT_DIGITS).unwrap_or(commit);
    let made = release.created_at();
    let made = made.map_or_else(String::new, |at| format!(" {}", show(at)));
    let back = match to {
        Some(to) => format!(
            "to {} ({commit}, released{made} by task {to})",
            task.called()
        ),
        None => format!("to {}", on_hosts(&task.goes_back_to)),
    };
    let from = task.compared.as_ref().map(|compared| &compared.with.live);
    Some(match from {
        Some(live) if !live.is_empty() => format!("{back}, from {}", names(live)),
        _ => back,
    })
}

/// Returns `20260101120000 (not made by tagship)`; with the hosts if they differ.
pub fn on_hosts(targets: &BTreeMap<String, ReleaseId>) -> String {
    let mut hosts: BTreeMap<&ReleaseId, Vec<String>> = BTreeMap::new();
    for (host, release) in targets {
        hosts.entry(release).or_default().push(host.clone());
    }
    let all = hosts.len() == 1;
    let named = hosts.into_iter().map(|(release, hosts)| {
        let maker = match release.created_at() {
            Some(_) => "",
            None => " (not made by tagship)",
        };
        if all {
            format!("{release}{maker}")
        } else {
            format!("{release}{maker} on {}", list(&hosts))
        }
    });
    list(&named.collect::<Vec<_>>())
}

/// Says that a rollback changes nothing: its target is live on every host.
#[must_use]
pub fn changes_nothing(task: &TaskView) -> Option<String> {
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
    let what = match with.live.as_slice() {
        _ if !task.goes_back_to.is_empty() => "its target is already live".to_owned(),
        [one] if one.release != *release => {
            format!("the same commit is already live as {}", name(one))
        }
        _ => format!("{} is already live", task.called()),
    };
    same.then(|| format!("this rollback changes nothing: {what}"))
}

/// Summarizes what a waiting task would change now; empty if that is not known.
#[must_use]
pub fn change(head: &Head) -> String {
    let words = head.relations.iter().map(|relation| match relation {
        Relation::First => "first release".to_owned(),
        Relation::Same => "changes nothing".to_owned(),
        Relation::Ahead { commits } => format!("adds {}", counted(*commits)),
        Relation::Back { commits } => format!("REMOVES {}", counted(*commits)),
        Relation::Diverged { ahead, back } => {
            format!("DIVERGED: adds {ahead}, removes {back}")
        }
        Relation::Unknown => "cannot be compared".to_owned(),
    });
    words.collect::<Vec<_>>().join("; ")
}

fn counted(commits: u64) -> String {
    match commits {
        1 => "1 commit".to_owned(),
        _ => format!("{commits} commits"),
    }
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
