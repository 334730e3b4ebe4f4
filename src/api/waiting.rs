//! What a task waits for that only people can provide, as text for page and command line. Pure.

use super::task::TaskView;
use crate::domain::approval::MissingApproval;
use crate::engine::request::AllowedRequest;

/// The most names in [`TaskView::can_approve`].
pub const CAN_APPROVE_MAX: usize = 10;

/// `task 94 waits for 1 approval: bob, carol; `tagship approve 94``; at a gate, how to resume it.
#[must_use]
pub fn waits_for(task: &TaskView) -> String {
    let id = task.id;
    if task.state != "waiting" {
        let detail = &task.detail;
        return format!("task {id} is {}: {detail}", task.state.replace('-', " "));
    }
    format!("task {id} waits for {}", missing_and_who(task))
}

/// `1 approval: bob, carol; `tagship approve 94``: what a waiting task misses, and who can give it.
#[must_use]
pub fn missing_and_who(task: &TaskView) -> String {
    let id = task.id;
    let mut text = list(&missing(task));
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
pub(crate) fn missing(task: &TaskView) -> Vec<String> {
    match task.missing_approvals.as_slice() {
        [] => task.missing.clone(),
        missing => missing.iter().map(approvals).collect(),
    }
}

fn approvals(missing: &MissingApproval) -> String {
    let what = match missing.have {
        _ if missing.unknown_pusher => return missing.to_string(),
        0 => "approval",
        _ => "more approval",
    };
    let lack = missing.required.saturating_sub(missing.have);
    let approvals = plural(u64::from(lack), what);
    match &missing.of {
        None => approvals,
        Some(of) => format!("{approvals} by {of}"),
    }
}

/// `1 commit`, `2 commits`.
pub(crate) fn plural(count: u64, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

/// `a`, `a and b`, `a, b and c`; long lists are cut.
pub(crate) fn list(names: &[String]) -> String {
    const NAMED_MAX: usize = 5;
    match names {
        [] => String::new(),
        [one] => one.clone(),
        _ if names.len() > NAMED_MAX => format!(
            "{} and {} more",
            names[..NAMED_MAX - 1].join(", "),
            names.len() - (NAMED_MAX - 1)
        ),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
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
    }
}
