//! The output of `tagship show`: a task for people (pure).

use std::fmt::Write as _;

use super::host_rollup;
use super::paint::Paint;
use super::table::{Table, printable};
use super::times::Zone;
use crate::api::{self, FrozenView, StageView, TaskView};
use crate::base::language::Language;
use crate::domain::rule::Schedule;
use crate::domain::task::{Comparison, Description, Relation};

/// Digits of commits and digests that are shown.
const SHORT: usize = 12;
/// Commits that are listed.
const COMMITS_MAX: usize = 10;

/// How a summary is laid out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    /// Of the terminal, if it is for one.
    pub(crate) width: Option<u16>,
    pub(crate) paint: Paint,
}

/// Returns the complete summary, with a trailing line break.
pub(crate) fn summary(task: &TaskView, zone: &Zone, shape: Shape) -> String {
    let mut text = String::new();
    heading(&mut text, task, zone, shape.paint);
    if let Some(description) = &task.description {
        compared(&mut text, task, description);
    }
    approvals(&mut text, task, zone);
    for (title, stages) in [
        ("stages", &task.stages),
        ("rollback", &task.rollback_stages),
    ] {
        if !stages.is_empty() {
            let _ = writeln!(text, "\n{title}");
            text.push_str(&steps(stages, zone, shape));
        }
    }
    before(&mut text, task);
    let _ = writeln!(text, "\nnext: {}", api::next(task));
    text
}

fn field(text: &mut String, name: &str, value: &str) {
    printed(text, name, &printable(value));
}

/// Adds a value that is printable.
fn printed(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<11}{value}");
}

/// Adds what people have requested or commented, and the consequences.
fn remarks(text: &mut String, task: &TaskView, zone: &Zone) {
    for (name, value) in [
        ("executor", task.executor.clone()),
        ("asked", task.approvers.join(", ")),
        (
            "start after",
            task.run_at.map_or(String::new(), |at| zone.show(at)),
        ),
        (
            "stops",
            task.pause_ends_at.map_or(String::new(), |at| {
                format!("{}, unless resumed", zone.show(at))
            }),
        ),
        ("remarks", task.details.replace('\n', " ")),
    ] {
        if !value.is_empty() {
            field(text, name, &value);
        }
    }
}

fn heading(text: &mut String, task: &TaskView, zone: &Zone, paint: Paint) {
    let id = task.id;
    let (called, destination) = (printable(task.called()), task.destination());
    let _ = match (task.project.as_str(), task.title.as_str()) {
        ("", _) => writeln!(text, "task {id}: {called} on {destination}"),
        (project, "") => {
            let environment = &task.environment;
            writeln!(text, "task {id}: {called} of {project} to {environment}")
        }
        // A rollback to what another tool left live.
        (_, _) if task.tag.is_empty() => writeln!(text, "task {id}: {called} in {destination}"),
        (_, _) => writeln!(
            text,
            "task {id}: {called} ({}) to {destination}",
            printable(&task.tag)
        ),
    };
    let state = printable(&state_line(task, zone));
    printed(text, "state", &paint.state(&state));
    if let Some(back) = api::rollback_summary(Language::English, task, |at| zone.show(at)) {
        field(text, "rollback", &back);
    }
    if let Some(nothing) = api::changes_nothing(Language::English, task) {
        field(text, "warning", &nothing);
    }
    let submitted = format!("by {}, {}", task.who(), zone.show(task.created_at));
    field(text, "submitted", &submitted);
    if !task.claimed_submitter.is_empty() {
        field(text, "", &format!("as {}", task.claimed_submitter));
    }
    remarks(text, task, zone);
    blockers(text, task, zone);
    if task.updated_at != task.created_at {
        field(text, "changed", &zone.show(task.updated_at));
    }
    commit(text, task, zone);
    let schedule = match task.schedule {
        Schedule::Ready => "runs without approval",
        Schedule::New => "runs when approved",
        Schedule::Observe => "only observes",
    };
    field(text, "template", &format!("{}; {schedule}", task.template));
    if let Some(plan) = &task.plan {
        field(text, "plan", &short(&plan.0));
    }
    if let Some(release) = task.release.as_ref().filter(|_| task.commit.is_some()) {
        field(text, "release", &release.0);
    }
}

/// Adds what prevents it from running, and on which hosts it does not run.
fn blockers(text: &mut String, task: &TaskView, zone: &Zone) {
    if let Some(frozen) = &task.frozen {
        field(text, "frozen", &frozen_line(frozen, zone));
    }
    for host in &task.skipped {
        let line = format!("{}, by {}: {}", host.name, host.by, host.reason);
        field(text, "skipped", &line);
    }
    for note in &task.notes {
        field(text, "note", note);
    }
}

fn commit(text: &mut String, task: &TaskView, zone: &Zone) {
    if let Some(commit) = &task.commit {
        field(text, "commit", commit);
    }
    if let Some(description) = &task.description {
        let author = description.author.shown();
        let at = zone.show(description.committed_at);
        field(
            text,
            "",
            &format!("\"{}\" by {author}, {at}", description.subject),
        );
        if let Some(tag) = description.tag.as_ref().filter(|tag| !tag.named_as_ref) {
            field(
                text,
                "warning",
                &format!("the tag object is named {}, the ref is not", tag.name),
            );
        }
    }
}

/// `until 2026-12-24 18:00:00 CET (code freeze: stocktaking)`.
fn frozen_line(frozen: &FrozenView, zone: &Zone) -> String {
    let mut line = format!("until {} ({}", zone.show(frozen.until), frozen.name);
    if !frozen.reason.is_empty() {
        let _ = write!(line, ": {}", frozen.reason);
    }
    line.push(')');
    if let Some(by) = &frozen.overridden_by {
        let _ = write!(line, "; overridden for this task by {by}");
    }
    line
}

/// `rolled back: web1: check: …`, `scheduled for 2026-11-21 22:30:00 CET`.
pub(crate) fn state_line(task: &TaskView, zone: &Zone) -> String {
    let words = task.state.words();
    match task.starts_at {
        Some(at) if at > task.updated_at => format!("{words} for {}", zone.show(at)),
        // It has come already: only the agent, or a freeze, keeps it waiting.
        Some(_) => words,
        None if task.detail.is_empty() => words,
        None => format!("{words}: {}", task.detail),
    }
}

pub(crate) fn short(digest: &str) -> String {
    digest.chars().take(SHORT).collect()
}

fn compared(text: &mut String, task: &TaskView, description: &Description) {
    for comparison in &description.comparisons {
        field(text, "compared", &comparison_line(task, comparison));
        let lists = [("+", &comparison.coming), ("-", &comparison.going)];
        for (sign, commits) in lists {
            for commit in commits.iter().take(COMMITS_MAX) {
                let subject = printable(&commit.subject);
                let author = printable(&commit.author);
                let id = short(&commit.commit);
                let _ = writeln!(text, "             {sign} {id} {subject} ({author})");
            }
            if commits.len() > COMMITS_MAX {
                let more = commits.len() - COMMITS_MAX;
                let _ = writeln!(text, "             {sign} … and {more} more");
            }
        }
    }
}

fn comparison_line(task: &TaskView, comparison: &Comparison) -> String {
    let hosts = host_rollup::hosts(&comparison.hosts);
    let commit = comparison.live.as_deref().unwrap_or_default();
    let live = match api::live_called(Language::English, task, commit) {
        Some(called) => format!("{called} ({}), live on {hosts}", short(commit)),
        None => format!("{}, live on {hosts}", short(commit)),
    };
    let counted = |commits: u64| match commits {
        1 => "1 commit".to_owned(),
        _ => format!("{commits} commits"),
    };
    let relation = match comparison.relation {
        Relation::First => return format!("first release on {hosts}"),
        Relation::Same => return format!("no change: the same commit as {live}"),
        Relation::Unknown => return format!("{live}, is unknown to the repository"),
        Relation::Ahead { commits } => format!("adds {} to {live}", counted(commits)),
        Relation::Back { commits } => format!("REMOVES {} from {live}", counted(commits)),
        Relation::Diverged { ahead, back } => format!(
            "DIVERGED from {live}: adds {}, removes {}",
            counted(ahead),
            counted(back)
        ),
    };
    let files = match comparison.files_changed {
        1 => "1 file".to_owned(),
        files => format!("{files} files"),
    };
    let lines = match (comparison.insertions, comparison.deletions) {
        (Some(insertions), Some(deletions)) => format!(", +{insertions} -{deletions} lines"),
        _ if comparison.files_changed > 0 => ", too large to count lines".to_owned(),
        _ => String::new(),
    };
    format!("{relation}; {files}{lines}")
}

fn approvals(text: &mut String, task: &TaskView, zone: &Zone) {
    for given in &task.approvals {
        let approval = &given.approval;
        let mut line = format!("by {}", approval.attribution());
        if !approval.groups.is_empty() {
            let _ = write!(line, " (@{})", approval.groups.join(", @"));
        }
        let _ = write!(line, ", {}", zone.show(approval.at));
        if let Some(not_before) = approval.not_before {
            let _ = write!(line, ", not before {}", zone.show(not_before));
        }
        if !approval.comment.is_empty() {
            let _ = write!(line, ": {}", approval.comment);
        }
        if task
            .plan
            .as_ref()
            .is_some_and(|plan| *plan != approval.plan)
        {
            line.push_str(" (of an earlier plan: does not count)");
        }
        field(text, "approved", &line);
    }
    for changed in api::changed_since_approval(Language::English, task, |at| zone.show(at)) {
        field(text, "warning", &changed);
    }
    for missing in &task.missing {
        field(text, "missing", &format!("approval: {missing}"));
    }
    if let Some(expires) = task.expires_at {
        field(text, "expires", &zone.show(expires));
    }
}

fn steps(stages: &[StageView], zone: &Zone, shape: Shape) -> String {
    let mut table = Table::new([
        "  STAGE", "HOST", "STEP", "STATE", "BEGAN", "TOOK", "RESULT",
    ]);
    for stage in stages {
        for cells in host_rollup::rows(stage, zone) {
            table.row(cells);
        }
    }
    table.states("STATE", shape.paint).render(shape.width)
}

fn before(text: &mut String, task: &TaskView) {
    if task.live_before.is_empty() {
        return;
    }
    let lives = host_rollup::live_before(&task.live_before);
    let _ = writeln!(text, "\nlive before: {}", printable(&lives));
}
