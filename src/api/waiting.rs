//! What a task waits for that only people can provide, as text for page and command line. Pure.

use super::task::TaskView;
use crate::domain::template::{Approvers, Requirement};
use crate::engine::request::May;

/// `task 94 waits for 1 approval: bob, carol; `tagship approve 94``; at a gate, how to resume it.
#[must_use]
pub fn waits_for(task: &TaskView) -> String {
    let id = task.id;
    if task.state != "waiting" {
        let detail = &task.detail;
        return format!("task {id} is {}: {detail}", task.state.replace('-', " "));
    }
    let missing: Vec<String> = task.missing.iter().map(|text| missing(text)).collect();
    let mut text = format!("task {id} waits for {}", list(&missing));
    if task.can_approve.is_empty() {
        text.push_str("; no account can approve it");
    } else {
        text.push_str(&format!(
            ": {}; `tagship approve {id}`",
            task.can_approve.join(", ")
        ));
    }
    if task.may.contains(&May::Emergency) && !task.may.contains(&May::Approve) {
        text.push_str(&format!(
            " (in an emergency: `tagship approve {id} --emergency REASON`)"
        ));
    }
    text
}

/// Returns `1 approval by @pm (0 so far)`, from the text of `approval::missing`.
pub(crate) fn missing(text: &str) -> String {
    let (requirement, have) = text.split_once(" (has ").unwrap_or((text, "0)"));
    let Ok(requirement) = requirement.parse::<Requirement>() else {
        return text.to_owned();
    };
    let have: u32 = have.trim_end_matches(')').parse().unwrap_or(0);
    let lack = requirement.count.saturating_sub(have);
    let more = if have > 0 { " more" } else { "" };
    let approvals = plural(u64::from(lack), "approval");
    let approvals = approvals.replacen(' ', &format!("{more} "), 1);
    match &requirement.of {
        Approvers::Anyone => approvals,
        Approvers::Group(group) => format!("{approvals} by @{group}"),
        Approvers::User(user) => format!("{approvals} by {user}"),
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
        assert_eq!(missing("1 (has 0)"), "1 approval");
        assert_eq!(missing("2 (has 0)"), "2 approvals");
        assert_eq!(missing("2 of @pm (has 1)"), "1 more approval by @pm");
        assert_eq!(missing("1 of alice (has 0)"), "1 approval by alice");
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
