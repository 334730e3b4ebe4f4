//! Combines the messages of several hosts. The length is bounded because an event has to fit into
//! the store, however many hosts fail. Pure; called by `next` and `stop`.

/// Maximum bytes of all hosts' messages in one event.
const SUMMARY_BYTES_MAX: usize = 8 * 1024;
/// Maximum bytes of one host's message if there are several, so that at least a few fit.
const MESSAGE_BYTES_MAX: usize = 2 * 1024;

/// Maximum number of hosts named that waited for the same step.
const NAMED_MAX: usize = 20;

/// A host on which a stage did not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostFailure {
    pub(super) host: String,
    pub(super) cause: FailureCause,
}

/// Why a stage did not complete on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FailureCause {
    /// A message that names the host.
    Message(String),
    /// It waited for a step of another host, and no host will do that any more.
    Blocked { step: String, host: String },
}

impl HostFailure {
    pub(super) fn with_message(host: &str, message: String) -> Self {
        Self {
            host: host.to_owned(),
            cause: FailureCause::Message(message),
        }
    }
}

/// Summarizes host failures: first the errors, each once if it is the same on several hosts, then
/// the hosts that waited, once for each step they waited for.
pub(super) fn summarize(failed: &[HostFailure]) -> String {
    let mut messages: Vec<(String, &str, Vec<&str>)> = Vec::new();
    let mut waited: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for HostFailure { host, cause: why } in failed {
        match why {
            FailureCause::Message(message) => {
                let general = generalize(host, message);
                match messages.iter_mut().find(|one| one.0 == general) {
                    Some((.., hosts)) => hosts.push(host),
                    None => messages.push((general, message, vec![host])),
                }
            }
            FailureCause::Blocked { step, host: on } => {
                let same = waited.iter_mut().find(|one| (one.0, one.1) == (step, on));
                match same {
                    Some((.., hosts)) => hosts.push(host),
                    None => waited.push((step, on, vec![host])),
                }
            }
        }
    }
    let mut summary: Vec<(String, usize)> = messages
        .into_iter()
        .map(|(general, message, hosts)| match hosts.as_slice() {
            [_] => (message.to_owned(), 1),
            several => (format!("{}: {general}", names(several)), several.len()),
        })
        .collect();
    for (step, on, hosts) in waited {
        let named = hosts[..hosts.len().min(NAMED_MAX)].join(", ");
        let more = more_hosts(" and", hosts.len().saturating_sub(NAMED_MAX));
        let message = format!("{named}{more} did not continue: {step} did not succeed on {on}");
        summary.push((message, hosts.len()));
    }
    let summary = summary
        .iter()
        .map(|(message, hosts)| (message.as_str(), *hosts));
    join_bounded(&summary.collect::<Vec<_>>())
}

/// `web1, web2 and 8 more`: all names if there are few, else the number of the others.
fn names(hosts: &[&str]) -> String {
    match hosts {
        [first, second, _, _, ..] => format!("{first}, {second} and {} more", hosts.len() - 2),
        few => few.join(", "),
    }
}

/// Returns a host's message in a form common to all hosts: its name becomes `{HOST}`, and its name
/// with its address becomes `the host`. Programs and hosts word these messages, so only their texts
/// can be compared; nothing is decided by them.
pub(crate) fn generalize(host: &str, message: &str) -> String {
    let mut rest = message
        .strip_prefix(host)
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(message);
    let mut general = String::with_capacity(rest.len());
    while let Some(at) = rest.find(host).filter(|_| !host.is_empty()) {
        let (before, after) = (&rest[..at], &rest[at + host.len()..]);
        let of_name = |c: char| c.is_alphanumeric() || "-_".contains(c);
        general.push_str(before);
        rest = after;
        let address = after
            .strip_prefix(" (")
            .and_then(|after| after.split_once(')'));
        match address {
            Some((address, after)) if address.contains('@') => {
                general.push_str("the host");
                rest = after;
            }
            _ if before.ends_with(of_name) || after.starts_with(of_name) => general.push_str(host),
            _ => general.push_str("{HOST}"),
        }
    }
    general.push_str(rest);
    general
}

/// Joins the hosts' messages: as many as fit, and the number of the others.
pub(super) fn join_messages<'m>(messages: impl IntoIterator<Item = &'m str>) -> String {
    let messages: Vec<(&str, usize)> = messages.into_iter().map(|message| (message, 1)).collect();
    join_bounded(&messages)
}

/// As [`join_messages`]; each message comes with its number of hosts.
fn join_bounded(messages: &[(&str, usize)]) -> String {
    let one_bytes_max = match messages.len() {
        1 => SUMMARY_BYTES_MAX,
        _ => MESSAGE_BYTES_MAX,
    };
    let mut text = String::new();
    let mut left_out = 0_usize;
    for (message, hosts) in messages {
        let message = truncate(message, one_bytes_max);
        if left_out > 0 || text.len() + message.len() > SUMMARY_BYTES_MAX {
            left_out += hosts;
            continue;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&message);
    }
    text + &more_hosts("; and", left_out)
}

/// Returns ` and 8 more hosts`, with this conjunction; nothing for no hosts.
fn more_hosts(and: &str, count: usize) -> String {
    match count {
        0 => String::new(),
        1 => format!("{and} 1 more host"),
        more => format!("{and} {more} more hosts"),
    }
}

/// Marks truncated text.
const TRUNCATION_MARK: &str = " …";

/// Truncates a text to at most so many bytes, including the mark.
fn truncate(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max - TRUNCATION_MARK.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{TRUNCATION_MARK}", &text[..end])
}

/// Joins the reason for a rollback and the message about the rollback itself.
pub(crate) fn join_reason(reason: &str, message: &str) -> String {
    if message.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason}; going back: {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_thousand_hosts_fit_one_event() {
        let texts = vec!["x".repeat(2_000); 1_000];
        let text = join_messages(texts.iter().map(String::as_str));
        assert!(text.len() < 9 * 1024, "{}", text.len());
        assert!(text.ends_with("; and 996 more hosts"), "{}", &text[8_000..]);
    }

    #[test]
    fn verbose_host_leaves_room_for_others() {
        let long = "é".repeat(100_000);
        let text = join_messages([long.as_str(), "b: refused"]);
        assert!(text.ends_with(" …; b: refused"), "{}", &text[2_000..]);
    }

    #[test]
    fn single_host_message_uses_exactly_the_total_limit() {
        let fits = "x".repeat(SUMMARY_BYTES_MAX);
        assert_eq!(join_messages([fits.as_str()]), fits);
        let longer = join_messages([format!("{fits}x").as_str()]);
        assert!(longer.starts_with("xxx") && longer.ends_with("xxx …"));
        assert_eq!((longer.len(), SUMMARY_BYTES_MAX), (8_192, 8_192));
    }

    fn with_message(message: &str) -> HostFailure {
        HostFailure {
            host: "web1".to_owned(),
            cause: FailureCause::Message(message.to_owned()),
        }
    }

    fn waited(host: &str, step: &str) -> HostFailure {
        let (step, on) = (step.to_owned(), "db".to_owned());
        HostFailure {
            host: host.to_owned(),
            cause: FailureCause::Blocked { step, host: on },
        }
    }

    #[test]
    fn shared_wait_reason_is_listed_once_after_the_failures() {
        let failed = [
            waited("web1", "migrate"),
            waited("web2", "migrate"),
            waited("web3", "warm"),
            with_message("db: migrate: no"),
        ];
        let text = "db: migrate: no; web1, web2 did not continue: migrate did not succeed on db; \
                    web3 did not continue: warm did not succeed on db";
        assert_eq!(summarize(&failed), text);
    }

    #[test]
    fn identical_failures_are_listed_once() {
        let reach = |host: &str, address: u8| {
            let message = format!(
                "{host}: sync: cannot reach {host} (deploy@192.0.2.{address}:22): connection refused; look in /srv/{host}/shop"
            );
            HostFailure::with_message(host, message)
        };
        let one = [reach("web1", 1)];
        assert_eq!(
            summarize(&one),
            "web1: sync: cannot reach web1 (deploy@192.0.2.1:22): connection refused; look in /srv/web1/shop"
        );
        let same = "sync: cannot reach the host: connection refused; look in /srv/{HOST}/shop";
        let mut failed = vec![reach("web1", 1), reach("web2", 2)];
        assert_eq!(summarize(&failed), format!("web1, web2: {same}"));
        failed.insert(
            1,
            HostFailure::with_message("db", "db: sync: web10 is no host".to_owned()),
        );
        failed.extend((3..=10).map(|number| reach(&format!("web{number}"), number)));
        assert_eq!(
            summarize(&failed),
            format!("web1, web2 and 8 more: {same}; db: sync: web10 is no host")
        );
        // A name within another is no name.
        assert_eq!(
            generalize("web1", "web1: web10 and web1"),
            "web10 and {HOST}"
        );
    }

    #[test]
    fn waiting_hosts_are_counted_and_some_are_named() {
        let messages = |size: usize| {
            let names = (0..size).map(|number| waited(&format!("web{number}"), "migrate"));
            summarize(&names.collect::<Vec<_>>())
        };
        assert!(
            messages(20).contains("web18, web19 did not continue: "),
            "{}",
            messages(20)
        );
        assert!(messages(21).contains("web19 and 1 more host did not continue: "));
        assert!(messages(1_000).contains("web19 and 980 more hosts did not continue: "));
        // Where there is no room for them, they are counted with the others.
        let long = |number| with_message(&format!("{number}{}", "x".repeat(MESSAGE_BYTES_MAX - 1)));
        let mut many: Vec<HostFailure> = (0..5).map(long).collect();
        many.extend((0..7).map(|number| waited(&format!("web{number}"), "migrate")));
        assert!(summarize(&many).ends_with("; and 9 more hosts"));
    }

    #[test]
    fn truncation_splits_no_character() {
        let long = format!("x{}", "é".repeat(SUMMARY_BYTES_MAX));
        let text = join_messages([long.as_str()]);
        assert!(text.ends_with("é …"), "{}", &text[8_000..]);
        assert!(text.len() <= SUMMARY_BYTES_MAX, "{}", text.len());
    }

    #[test]
    fn messages_stay_whole_until_one_does_not_fit() {
        let one = "x".repeat(MESSAGE_BYTES_MAX);
        let last = |bytes: usize| "y".repeat(bytes);
        let of_four = |bytes: usize| join_messages([&one, &one, &one, last(bytes).as_str()]);
        let three = join_messages([one.as_str(), &one, &one]);
        assert_eq!(three, format!("{one}; {one}; {one}"));
        let left = SUMMARY_BYTES_MAX - three.len();
        assert_eq!(of_four(left), format!("{three}; {}", last(left)));
        assert_eq!(of_four(left + 1), format!("{three}; and 1 more host"));
        // No later message is included while an earlier one is left out.
        let five = join_messages([&one, &one, &one, last(left + 1).as_str(), "z"]);
        assert_eq!(five, format!("{three}; and 2 more hosts"));
    }

    #[test]
    fn silent_rollback_leaves_the_reason_unchanged() {
        assert_eq!(join_reason("web1: no", ""), "web1: no");
        assert_eq!(
            join_reason("web1: no", "web2: gone"),
            "web1: no; going back: web2: gone"
        );
    }

    #[test]
    fn short_messages_are_kept_whole() {
        assert_eq!(join_messages(["a: x", "b: y"]), "a: x; b: y");
        assert_eq!(join_messages([]), "");
    }
}
