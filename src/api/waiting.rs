//! What a task waits for that only people can provide, as text for page and command line. Pure.

use super::task::TaskView;
use crate::domain::approval::MissingApproval;
use crate::engine::request::May;

/// `task 94 waits for 1 approval: bob, carol; `tagship approve 94``; at a gate, how to resume it.
#[must_use]
pub fn waits_for(task: &TaskView) -> String {
    let id = task.id;
    if task.state != "waiting" {
        let detail = &task.detail;
        return format!("task {id} is {}: {detail}", task.state.replace('-', " "));
    }
    let mut text = format!("task {id} waits for {}", list(&missing(task)));
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
    fn long_name_lists_are_abbreviated() {
        let names: Vec<String> = (1..=7).map(|n| format!("web-{n}")).collect();
        assert_eq!(list(&names[..1]), "web-1");
        assert_eq!(list(&names[..2]), "web-1 and web-2");
        assert_eq!(list(&names[..5]), "web-1, web-2, web-3, web-4 and web-5");
        assert_eq!(list(&names), "web-1, web-2, web-3, web-4 and 3 more");
    }
}
