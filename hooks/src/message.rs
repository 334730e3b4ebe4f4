//! The messages to the pusher: a few short lines on stderr, which git shows as `remote: …`.
//!
//! Lines are collected and written at the end; a pusher that disconnected is ignored.

use std::fmt::Write as _;
use std::io::Write as _;

use tagship_hook::origin::Server;
use tagship_hook::rule::{Rule, RuleSet, Schedule, is_zero};

/// How many patterns of a project are shown to the pusher.
const PATTERNS_MAX: usize = 5;
const PATTERN_LENGTH_MAX: usize = 60;
/// How many projects are shown; further ones in the repository are counted.
const PROJECTS_MAX: usize = 3;
/// How many digits of an object ID are shown.
const DIGITS: usize = 12;

/// The lines of one run.
pub(crate) struct PusherMessage {
    server: Server,
    text: String,
    /// The pusher's account.
    pub(crate) approver: PusherAccount,
}

/// The pusher's account: whether its approval counts, and whether another one is needed.
pub(crate) enum PusherAccount {
    Known(String),
    /// No account is known for the pusher; the text names the pusher.
    Unknown(String),
    /// The agent published nothing about it.
    NotReported,
}

impl PusherMessage {
    pub(crate) fn new(server: Server) -> Self {
        Self {
            server,
            text: String::new(),
            approver: PusherAccount::NotReported,
        }
    }

    /// Adds a line.
    pub(crate) fn add_line(&mut self, line: &str) {
        // A reason may contain a file name, and that a line break.
        let line = line.replace('\n', " ");
        let _ = writeln!(self.text, "tagship: {line}");
    }

    /// Adds the line that GitLab shows to users who push in its web page.
    pub(crate) fn refuse(&mut self, reason: &str) {
        if self.server == Server::GitLab {
            let reason = reason.replace('\n', " ");
            let _ = writeln!(self.text, "GL-HOOK-ERR: tagship: {reason}");
        }
    }

    pub(crate) fn matched(
        &mut self,
        project: &str,
        tag: &str,
        index: usize,
        rule: &Rule,
        page: &str,
    ) {
        // Each ref is seen alone: the newest tag of a push is known only after all have landed.
        let next = match (rule.schedule, rule.supersede) {
            (Schedule::Ready, true) => format!(
                "queued for {}; the newest tag of this push runs",
                rule.environment
            ),
            (Schedule::Ready, false) => format!("queued for {}", rule.environment),
            (Schedule::New, true) => {
                format!("{}, if no tag of this push is newer", self.approval(rule))
            }
            (Schedule::New, false) => self.approval(rule),
            (Schedule::Observe, _) => "is only observed, nothing is done".to_owned(),
        };
        let page = if page.is_empty() {
            String::new()
        } else {
            format!("; {page}")
        };
        self.add_line(&format!(
            "{} → {project} {} (rule {}); {next}{page}",
            shown(tag),
            rule.environment,
            index + 1
        ));
    }

    /// Returns how many approvals this pusher's task needs, and from whom.
    fn approval(&self, rule: &Rule) -> String {
        let mut text = "waits for approval".to_owned();
        if !rule.approval.is_empty() {
            let _ = write!(text, " by {}", rule.approval);
        }
        match &self.approver {
            PusherAccount::Known(account) if !rule.self_approval => {
                let _ = write!(text, ", other than {account}");
            }
            PusherAccount::Unknown(pusher) => {
                let _ = write!(
                    text,
                    ", and by 1 more approver since no account is known for {pusher}"
                );
            }
            PusherAccount::Known(_) | PusherAccount::NotReported => {}
        }
        text
    }

    /// Reports a tag that pointed to something else before; nothing for a new one. The IDs are
    /// those that git shows: of an annotated tag those of its tag objects.
    pub(crate) fn moved(&mut self, tag: &str, old: &str, new: &str) {
        if is_zero(old) {
            return;
        }
        let (from, to) = (&old[..DIGITS], &new[..DIGITS]);
        self.add_line(&format!("{} moved from {from} to {to}", shown(tag)));
    }

    /// Lists the patterns for a pusher who mistyped a tag.
    pub(crate) fn unmatched(&mut self, tag: &str, sets: &[RuleSet]) {
        let mut line = format!("{}: no rule matches; nothing will be released", shown(tag));
        for (index, set) in sets.iter().take(PROJECTS_MAX).enumerate() {
            let before = if index == 0 { " (" } else { "; " };
            let _ = write!(line, "{before}{} has {}", set.project(), patterns(set));
        }
        let more = sets.len().saturating_sub(PROJECTS_MAX);
        if more > 0 {
            let _ = write!(line, "; and {more} projects more");
        }
        if !sets.is_empty() {
            line.push(')');
        }
        self.add_line(&line);
    }

    pub(crate) fn deleted(&mut self, project: &str, tag: &str, index: usize, rule: &Rule) {
        self.add_line(&format!(
            "{} deleted: what waits for it in {project} {} (rule {}) is withdrawn",
            shown(tag),
            rule.environment,
            index + 1
        ));
    }

    /// Drops the lines that are not written yet.
    pub(crate) fn discard(&mut self) {
        self.text.clear();
    }

    /// Writes the lines.
    pub(crate) fn flush(&mut self) {
        print_error(&self.text);
        self.text.clear();
    }
}

/// Returns the first few patterns of a project's rules, in order.
fn patterns(set: &RuleSet) -> String {
    let all = set.rules();
    let count = all.len();
    let few = all.take(PATTERNS_MAX).map(|rule| {
        let short: String = rule.pattern.chars().take(PATTERN_LENGTH_MAX).collect();
        let cut = if short.len() < rule.pattern.len() {
            "…"
        } else {
            ""
        };
        shown(&short) + cut
    });
    let mut words = few.collect::<Vec<_>>().join(", ");
    match count.saturating_sub(PATTERNS_MAX) {
        0 if count == 0 => "no rules".clone_into(&mut words),
        0 => {}
        more => {
            let _ = write!(words, " and {more} more");
        }
    }
    words
}

/// Writes to stdout; ignores errors.
pub(crate) fn print(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}

/// Writes to stderr; ignores errors.
pub(crate) fn print_error(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// Returns a tag's name for a terminal: git forbids control characters below U+0080 in it, but not
/// those above, nor those that change the direction of text.
pub(crate) fn shown(tag: &str) -> String {
    let mut text = String::with_capacity(tag.len());
    for character in tag.chars() {
        match character {
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => {
                text.extend(character.escape_unicode());
            }
            control if control.is_control() => text.extend(control.escape_unicode()),
            other => text.push(other),
        }
    }
    text
}
