//! The findings of `tagship check` for people (pure): what to do comes first, and a summary last.

use std::fmt::Write as _;

use super::paint::Paint;
use super::table::printable;
use crate::setup::doctor::{CheckFinding, CheckStatus};

/// In the order in which findings are printed, with the word of each.
const WORDS: [(CheckStatus, &str); 4] = [
    (CheckStatus::Fail, "FAIL"),
    (CheckStatus::Warn, "warn"),
    (CheckStatus::NotChecked, "-"),
    (CheckStatus::Ok, "ok"),
];

/// Returns a line for each finding, such as `FAIL host web1: no rsync on the host; install rsync
/// there`, and the summary.
pub(crate) fn lines(findings: &[CheckFinding], paint: Paint) -> String {
    let mut text = String::new();
    for (status, word) in WORDS {
        for finding in findings.iter().filter(|finding| finding.status == status) {
            let what = printable(&finding.text);
            let line = format!("{word:<4} {}: {what}", finding.subject);
            text.push_str(&paint.state(&line));
            if !finding.remedy.is_empty() {
                let _ = write!(text, "; {}", printable(&finding.remedy));
            }
            text.push('\n');
        }
    }
    let _ = writeln!(text, "{}", summary(findings));
    text
}

/// Returns `2 failed, 1 warning, 14 passed`.
fn summary(findings: &[CheckFinding]) -> String {
    let counts = WORDS.map(|(status, _)| {
        let alike = findings.iter().filter(|finding| finding.status == status);
        let count = alike.count();
        let what = match status {
            CheckStatus::Fail => "failed",
            CheckStatus::Warn if count == 1 => "warning",
            CheckStatus::Warn => "warnings",
            CheckStatus::NotChecked => "not checked",
            CheckStatus::Ok => "passed",
        };
        (count, what)
    });
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    counts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::doctor::Subject;

    fn finding(host: &str, status: CheckStatus, text: &str, remedy: &str) -> CheckFinding {
        CheckFinding {
            subject: Subject::Host(host.to_owned()),
            status,
            text: text.to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    #[test]
    fn failures_are_printed_first_and_counted_last() {
        let findings = [
            finding("web1", CheckStatus::Ok, "logged in as deploy", ""),
            finding("web1", CheckStatus::NotChecked, "is disabled", ""),
            finding("web1", CheckStatus::Fail, "no setsid", ""),
            finding("web2", CheckStatus::Warn, "its clock is late", "correct it"),
            finding("web2", CheckStatus::Ok, "logged in as deploy", ""),
            finding("web3", CheckStatus::Fail, "no rsync", "install it"),
        ];
        assert_eq!(
            lines(&findings, Paint::default()),
            "FAIL host web1: no setsid\n\
             FAIL host web3: no rsync; install it\n\
             warn host web2: its clock is late; correct it\n\
             -    host web1: is disabled\n\
             ok   host web1: logged in as deploy\n\
             ok   host web2: logged in as deploy\n\
             2 failed, 1 warning, 1 not checked, 2 passed\n"
        );
        assert_eq!(summary(&findings[..1]), "1 passed");
    }
}
