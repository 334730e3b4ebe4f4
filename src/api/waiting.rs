//! What a task waits for that only people can provide, as text for page and command line. Pure.

use super::task::TaskView;
use crate::base::language::{Language, Message};
use crate::domain::approval::{Approval, MissingApproval};
use crate::domain::task::StateName;
use crate::engine::request::AllowedRequest;

/// The most names in [`TaskView::can_approve`].
pub const CAN_APPROVE_MAX: usize = 10;

/// `task 94 waits for 1 approval: bob, carol; `tagship approve 94``; at a gate, how to resume it.
#[must_use]
pub fn waits_for(task: &TaskView) -> String {
    let id = task.id;
    if task.state != StateName::Waiting {
        let detail = &task.detail;
        return format!("task {id} is {}: {detail}", task.state.words());
    }
    format!("task {id} waits for {}", missing_and_who(task))
}

/// `1 approval: bob, carol; `tagship approve 94``: what a waiting task misses, and who can give it.
#[must_use]
pub fn missing_and_who(task: &TaskView) -> String {
    let id = task.id;
    let mut text = list(&missing(Language::English, task));
    let who = task.can_approve.join(", ");
    let are_few = has_too_few_approvers(task);
    if who.is_empty() {
        text.push_str("; no account can approve it");
    } else if are_few {
        text.push_str(&format!(
            ", and only {who} can approve it (an admin adds approvers with `tagship user set ACCOUNT --role approver`); `tagship approve {id}`"
        ));
    } else {
        text.push_str(&format!(": {who}; `tagship approve {id}`"));
    }
    if task.may.contains(&AllowedRequest::Emergency)
        && (are_few || !task.may.contains(&AllowedRequest::Approve))
    {
        text.push_str(&format!(
            " (in an emergency: `tagship approve {id} --emergency REASON`)"
        ));
    }
    text
}

/// Whether more approvals are missing than accounts can give, since each person gives one.
#[must_use]
pub fn has_too_few_approvers(task: &TaskView) -> bool {
    let able = task.can_approve.len();
    (1..CAN_APPROVE_MAX).contains(&able) && able < people_needed(&task.missing_approvals)
}

/// Returns how many people have to approve, at least. One approval may count for several
/// requirements, but what an unknown pusher takes comes on top of those of every approver.
fn people_needed(missing: &[MissingApproval]) -> usize {
    let lack = |missing: &MissingApproval| missing.required.saturating_sub(missing.have);
    let most = |unknown_pusher: bool| {
        let those = missing.iter();
        let those = those.filter(|missing| missing.unknown_pusher == unknown_pusher);
        those.map(lack).max().unwrap_or_default()
    };
    let (more, planned) = (most(true), most(false));
    let needed = if missing.iter().all(|missing| missing.of.is_none()) {
        planned + more
    } else {
        planned.max(more)
    };
    needed as usize
}

/// Returns `1 more approval by @pm` for each requirement that is not met. Agents of earlier versions
/// send only texts.
pub(crate) fn missing(language: Language, task: &TaskView) -> Vec<String> {
    match task.missing_approvals.as_slice() {
        [] => task.missing.clone(),
        missing => {
            let missing = missing.iter().map(approvals);
            missing.map(|text| text.in_language(language)).collect()
        }
    }
}

fn approvals(missing: &MissingApproval) -> Message {
    let lack = missing.required.saturating_sub(missing.have);
    let message = match (missing.have, &missing.of) {
        _ if missing.unknown_pusher => {
            return Message::new("approvals-unknown-pusher").with("count", missing.required);
        }
        (0, None) => Message::new("approvals-needed"),
        (0, Some(of)) => Message::new("approvals-needed-by").with("of", of.clone()),
        (_, None) => Message::new("approvals-more"),
        (_, Some(of)) => Message::new("approvals-more-by").with("of", of.clone()),
    };
    message.with("count", lack)
}

/// Returns `bob`, `bob on behalf of alice`, or `root in an EMERGENCY (the shop is down)`.
pub(crate) fn attribution(language: Language, approval: &Approval) -> String {
    let by = approval.by.clone();
    let text = match (&approval.in_stead_of, &approval.emergency) {
        (_, Some(reason)) => language
            .say("approval-in-emergency")
            .with("reason", reason.clone()),
        (Some(of), None) => language.say("approval-in-stead").with("of", of.clone()),
        (None, None) => return by,
    };
    text.with("by", by).to_string()
}

/// `a`, `a and b`, `a, b and c`; long lists are cut.
fn list(names: &[String]) -> String {
    list_in(Language::English, names)
}

/// As [`list`], in a language.
pub(crate) fn list_in(language: Language, names: &[String]) -> String {
    const NAMED_MAX: usize = 5;
    some_of(language, names, NAMED_MAX, NAMED_MAX - 1)
}

/// Returns all names if there are at most `all`, else the first `some` and the number of the others.
pub(super) fn some_of(language: Language, names: &[String], all: usize, some: usize) -> String {
    let joined = |names: &[String]| {
        let names = names.iter().cloned();
        let joined = names.reduce(|first, second| {
            let pair = language.say("list-pair").with("first", first);
            pair.with("second", second).to_string()
        });
        joined.unwrap_or_default()
    };
    match names {
        [] => String::new(),
        [one] => one.clone(),
        _ if names.len() > all => {
            let text = language
                .say("list-and-more")
                .with("named", joined(&names[..some]));
            text.with("count", names.len() - some).to_string()
        }
        [first @ .., last] => {
            let text = language.say("list-last").with("named", joined(first));
            text.with("last", last.clone()).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_approvals_are_described() {
        let text = |required, have, of: Option<&str>| {
            approvals(&MissingApproval {
                required,
                have,
                of: of.map(str::to_owned),
                unknown_pusher: false,
            })
            .to_string()
        };
        assert_eq!(text(1, 0, None), "1 approval");
        assert_eq!(text(2, 0, None), "2 approvals");
        assert_eq!(text(2, 1, Some("@pm")), "1 more approval by @pm");
        assert_eq!(text(1, 0, Some("alice")), "1 approval by alice");
    }

    #[test]
    fn each_person_gives_one_approval_of_those_that_are_missing() {
        let missing = |required, have, of: Option<&str>, unknown_pusher| MissingApproval {
            required,
            have,
            of: of.map(str::to_owned),
            unknown_pusher,
        };
        assert_eq!(people_needed(&[]), 0);
        assert_eq!(people_needed(&[missing(3, 1, None, false)]), 2);
        let both = [missing(1, 0, None, false), missing(1, 0, None, true)];
        assert_eq!(people_needed(&both), 2);
        // One person may be in both groups.
        let groups = [
            missing(1, 0, Some("@pm"), false),
            missing(1, 0, Some("@ops"), false),
        ];
        assert_eq!(people_needed(&groups), 1);
    }

    #[test]
    fn long_name_lists_are_abbreviated() {
        let names: Vec<String> = (1..=7).map(|n| format!("web-{n}")).collect();
        assert_eq!(list(&names[..1]), "web-1");
        assert_eq!(list(&names[..2]), "web-1 and web-2");
        assert_eq!(list(&names[..5]), "web-1, web-2, web-3, web-4 and web-5");
        assert_eq!(list(&names), "web-1, web-2, web-3, web-4 and 3 more");
        let chinese = |names: &[String]| list_in(Language::Chinese, names);
        assert_eq!(chinese(&names[..3]), "web-1、web-2 和 web-3");
        assert_eq!(chinese(&names), "web-1、web-2、web-3、web-4 及另外 3 个");
    }
}
