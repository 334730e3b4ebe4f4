//! `tagship rules test`: which rule decides on a tag, and why the others do not match.

use std::fmt::Write as _;

use serde::Serialize;

use super::arguments::RulesTest;
use super::context::{CliContext, project};
use super::error::CommandError;
use super::screen;
use super::table::printable;
use crate::domain::rule::{Explained, Schedule, TAGS, Verdict};

/// The JSON output.
#[derive(Debug, Serialize)]
struct RuleTest<'a> {
    project: &'a str,
    tag: &'a str,
    /// The number of the rule that decides, counted from 1.
    decides: Option<usize>,
    rules: Vec<RuleLine<'a>>,
}

#[derive(Debug, Serialize)]
struct RuleLine<'a> {
    number: usize,
    pattern: &'a str,
    environment: &'a str,
    template: &'a str,
    schedule: Schedule,
    matches: bool,
    verdict: String,
}

/// Runs it. A tag that no rule matches is a valid result, not a failure.
pub(crate) fn test(ctx: &CliContext, args: &RulesTest) -> Result<(), CommandError> {
    let config = ctx.config()?;
    let project = project(&config, &args.project)?;
    let reference = args.reference.as_str();
    if reference.starts_with("refs/") && !reference.starts_with(TAGS) {
        return Err(CommandError::Option {
            option: "REF",
            reason: format!("{reference} is no tag, and only tags are released; give a tag"),
        });
    }
    let tag = reference.strip_prefix(TAGS).unwrap_or(reference);
    let rules = project.rule_set();
    let explained = rules.explain(tag)?;
    let decides = explained.iter().find(|line| line.verdict == Verdict::Wins);
    let answer = RuleTest {
        project: &project.name,
        tag,
        decides: decides.map(|line| line.number),
        rules: explained.iter().map(line).collect(),
    };
    if args.form.json {
        return screen::print_json(&answer);
    }
    screen::print(&words(&answer, decides))
}

fn line<'a>(explained: &Explained<'a>) -> RuleLine<'a> {
    let rule = explained.rule;
    RuleLine {
        number: explained.number,
        pattern: &rule.pattern,
        environment: &rule.environment,
        template: &rule.template,
        schedule: rule.schedule,
        matches: matches!(explained.verdict, Verdict::Wins | Verdict::Shadowed { .. }),
        verdict: explained.verdict.to_string(),
    }
}

fn words(answer: &RuleTest<'_>, decides: Option<&Explained<'_>>) -> String {
    let tag = printable(answer.tag);
    let project = answer.project;
    let mut text = match decides {
        Some(Explained { number, rule, .. }) => {
            let then = match rule.schedule {
                Schedule::Ready => {
                    "queued once it has landed; the newest tag of its push runs".to_owned()
                }
                Schedule::New if rule.approval.is_empty() => "waits to be approved".to_owned(),
                Schedule::New => format!("waits for approval: {}", rule.approval),
                Schedule::Observe => "only observed; nothing is released".to_owned(),
            };
            format!(
                "{tag} goes to {} of {project} by rule {number} (template {}): {then}\n",
                rule.environment, rule.template
            )
        }
        None => format!("no rule of {project} matches {tag}; nothing will be released\n"),
    };
    for line in &answer.rules {
        let _ = writeln!(
            text,
            "  rule {} {:?} {}",
            line.number, line.pattern, line.verdict
        );
    }
    text
}
