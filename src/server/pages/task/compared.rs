//! What a task changes against each live release (pure).

use super::text;
use crate::api::{self, TaskView};
use crate::base::language::Language;
use crate::domain::task::{ChangedPath, CommitLine, Comparison};

/// Up to how many commits are not folded.
const OPEN_COMMITS_MAX: usize = 10;
/// How many commits a comparison lists.
const COMMITS_LISTED: usize = 50;

/// The comparison with one live release.
pub(super) struct Compared {
    pub(super) words: String,
    pub(super) tone: &'static str,
    /// `compared with 3f2a9c1b2d on web-1 and web-2`; empty where nothing is live.
    pub(super) against: String,
    pub(super) shortstat: String,
    /// Those that it adds, then those that it removes.
    pub(super) commits: Vec<Commits>,
    pub(super) paths: Vec<ChangedPath>,
    pub(super) paths_left_out: u64,
    /// The page of the git server that shows the changes; empty if its address is not known.
    pub(super) link: String,
}

/// Commits that a release adds or removes, newest first.
pub(super) struct Commits {
    pub(super) lines: Vec<CommitLine>,
    pub(super) title: String,
    pub(super) open: bool,
}

/// Returns the comparisons; `web` is the address of the project on the git server.
pub(super) fn compared(language: Language, view: &TaskView, web: Option<&str>) -> Vec<Compared> {
    let description = view.description.iter();
    let comparisons = description.flat_map(|description| {
        let comparisons = description.comparisons.iter();
        comparisons.map(|comparison| (comparison, description.commit.as_str()))
    });
    comparisons
        .map(|(comparison, commit)| {
            let (words, tone) = text::relation(language, comparison);
            let shown = comparison.paths.len() as u64;
            Compared {
                words,
                tone,
                against: against(language, view, comparison),
                shortstat: text::shortstat(language, comparison),
                commits: [
                    commits(language, &comparison.coming, Way::Coming),
                    commits(language, &comparison.going, Way::Going),
                ]
                .into_iter()
                .filter(|commits| !commits.lines.is_empty())
                .collect(),
                paths: comparison.paths.clone(),
                paths_left_out: comparison.files_changed.saturating_sub(shown),
                link: link(web, comparison, commit),
            }
        })
        .collect()
}

fn against(language: Language, view: &TaskView, comparison: &Comparison) -> String {
    let Some(live) = &comparison.live else {
        return String::new();
    };
    let hosts = text::list_in(language, &comparison.hosts);
    let short = text::short(live).to_owned();
    let text = match api::live_called(language, view, live) {
        Some(called) => language
            .say("task-compared-with")
            .with("release", called)
            .with("commit", short),
        None => language
            .say("task-compared-with-commit")
            .with("commit", short),
    };
    text.with("hosts", hosts).to_string()
}

/// Whether commits are added or removed.
#[derive(Clone, Copy)]
enum Way {
    Coming,
    Going,
}

fn commits(language: Language, lines: &[CommitLine], way: Way) -> Commits {
    let count = lines.len();
    let newest = count >= COMMITS_LISTED;
    let title = match (way, newest) {
        (Way::Coming, false) => language.say("task-commits-added"),
        (Way::Coming, true) => language.say("task-newest-commits-added"),
        (Way::Going, false) => language.say("task-commits-removed"),
        (Way::Going, true) => language.say("task-newest-commits-removed"),
    };
    Commits {
        lines: lines.to_vec(),
        title: title.with("count", count).to_string(),
        open: matches!(way, Way::Going) || count <= OPEN_COMMITS_MAX,
    }
}

/// Returns GitLab's page that compares the live commit with this one.
fn link(web: Option<&str>, comparison: &Comparison, commit: &str) -> String {
    match (web, &comparison.live) {
        (Some(web), Some(live)) if live != commit => {
            format!("{web}/-/compare/{live}...{commit}")
        }
        _ => String::new(),
    }
}
