//! What the pusher reads: a few short lines on stderr, which git shows as `remote: …`.
//!
//! Lines are kept and written at once, when everything is done; a pusher that hung up is ignored.

use std::fmt::Write as _;
use std::io::Write as _;

use tagship_hook::origin::Server;
use tagship_hook::rule::{Rule, Schedule};

/// The lines of one run.
pub(crate) struct Words {
    server: Server,
    text: String,
}

impl Words {
    pub(crate) fn new(server: Server) -> Self {
        Self {
            server,
            text: String::new(),
        }
    }

    /// Adds a line.
    pub(crate) fn say(&mut self, line: &str) {
        // A reason may hold a file's name, and that a line break.
        let line = line.replace('\n', " ");
        let _ = writeln!(self.text, "tagship: {line}");
    }

    /// Adds the line that GitLab shows to people who push in its web page.
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
        let next = match rule.schedule {
            Schedule::Ready => "runs as soon as the tag has landed".to_owned(),
            Schedule::New if rule.approval.is_empty() => "waits for approval".to_owned(),
            Schedule::New => format!("waits for approval by {}", rule.approval),
            Schedule::Observe => "is only observed, nothing is done".to_owned(),
        };
        let page = if page.is_empty() {
            String::new()
        } else {
            format!("; {page}")
        };
        self.say(&format!(
            "{} → {project} {} (rule {}); {next}{page}",
            shown(tag),
            rule.environment,
            index + 1
        ));
    }

    pub(crate) fn deleted(&mut self, project: &str, tag: &str, index: usize, rule: &Rule) {
        self.say(&format!(
            "{} deleted: what waits for it in {project} {} (rule {}) is withdrawn",
            shown(tag),
            rule.environment,
            index + 1
        ));
    }

    /// Takes back what was not yet written.
    pub(crate) fn forget(&mut self) {
        self.text.clear();
    }

    /// Writes the lines.
    pub(crate) fn flush(&mut self) {
        complain(&self.text);
        self.text.clear();
    }
}

/// Writes to stdout, whoever listens.
pub(crate) fn print(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}

/// Writes to stderr, whoever listens.
pub(crate) fn complain(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// A tag's name for a terminal: git forbids control characters below U+0080 in it, not those above,
/// and not the ones that turn the direction of text around.
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
