//! Describes a landed object, and how it relates to what is live. git reads the mirror, since git
//! decides what a commit is: see `objects`.
//!
//! Texts and paths are for display. Every list is bounded and includes its total. So is the work:
//! each git is killed after `git_time` of the project's limits, and when the call is dropped.

use std::io::BufRead;

use git2::{ErrorClass, Oid};
use serde::{Deserialize, Serialize};

use super::changes::{self, ListedChanges, count_lines};
use super::damage;
use super::objects::{self, FORMAT, ShownCommit};
use super::program::{Finished, GitCommand, GitFailure, on_mirror, out_of_memory, run, stream};
use super::system::blocking;
use super::{GitSource, LandingError};
use crate::domain::task::{Comparison, Description, Relation, TagInfo};

/// The maximum number of commits in a list.
const COMMITS_MAX: &str = "--max-count=50";
/// Live commits beyond this many get neither lists nor counts of lines.
const LISTED_MAX: usize = 10;
/// Far more than is shown of a tag; the rest of a longer one is dropped.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// What to describe, and what to compare it with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeRequest {
    /// Full name of the ref: its short name is compared with the name in the tag.
    pub reference: String,
    /// The landed object, in hex.
    pub object: String,
    /// The live commit of each host.
    pub live: Vec<LiveOn>,
    /// Only changed files in this sub-directory count.
    pub source: Option<String>,
}

/// What is live on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveOn {
    pub host: String,
    /// `None` if nothing was ever released.
    pub commit: Option<String>,
}

/// Describes a landed object.
///
/// # Errors
/// [`LandingError::NotACommit`] for a tag of a blob or a tree, [`LandingError::NoObject`] for an
/// object that was not fetched, [`LandingError::Unreadable`] for one that git cannot read,
/// [`LandingError::DamagedMirror`] if the mirror lost what it is compared with.
pub async fn describe(
    source: &GitSource,
    question: &DescribeRequest,
) -> Result<Description, LandingError> {
    let reader = CommitReader { source, question };
    let mut live_commits: Vec<(Option<&str>, Vec<String>)> = Vec::new();
    for LiveOn { host, commit } in &question.live {
        match live_commits
            .iter_mut()
            .find(|known| known.0 == commit.as_deref())
        {
            Some((_, hosts)) => hosts.push(host.clone()),
            None => live_commits.push((commit.as_deref(), vec![host.clone()])),
        }
    }
    let found = reader.find(&live_commits).await?;
    let tag = match found.is_tag {
        true => Some(reader.tag().await?),
        false => None,
    };
    let shown = reader.log(&["--no-walk", &found.commit.id]).await?;
    let Some(commit) = shown.into_iter().next() else {
        return Err(reader.unreadable("git log shows nothing"));
    };
    let mut comparisons = Vec::new();
    for (live, hosts) in live_commits {
        let mut comparison = Comparison {
            live: live.map(str::to_owned),
            hosts,
            ..Comparison::default()
        };
        if let Some(live) = live {
            let listed = comparisons.len() < LISTED_MAX;
            match found.known.iter().find(|known| known.id == live) {
                Some(known) => {
                    let ends = (known, &found.commit);
                    reader.compare(ends, listed, &mut comparison).await?;
                }
                None => comparison.relation = Relation::Unknown,
            }
        }
        comparisons.push(comparison);
    }
    Ok(Description {
        commit: commit.id,
        tag,
        subject: commit.subject,
        author: commit.author,
        committed_at: commit.committed_at,
        comparisons,
    })
}

struct CommitReader<'q> {
    source: &'q GitSource,
    question: &'q DescribeRequest,
}

/// The requested objects in the mirror.
struct DescribedCommit {
    is_tag: bool,
    commit: ComparedCommit,
    /// The live commits that exist there.
    known: Vec<ComparedCommit>,
}

/// A commit to compare, and its tree.
struct ComparedCommit {
    id: String,
    tree: Oid,
}

impl CommitReader<'_> {
    fn git(&self, arguments: &[&str]) -> GitCommand {
        let memory = self.source.limits.git_memory_bytes;
        let mut git = on_mirror(&self.source.mirror, memory);
        git.args(arguments);
        git
    }

    /// Looks up the object, its commit, and the live commits.
    async fn find(
        &self,
        live_commits: &[(Option<&str>, Vec<String>)],
    ) -> Result<DescribedCommit, LandingError> {
        let object = &self.question.object;
        let is_id = |hex: &&str| hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id(&object.as_str()) {
            return Err(self.no_object());
        }
        let live_commits: Vec<&str> = live_commits
            .iter()
            .filter_map(|live| live.0)
            .filter(is_id)
            .collect();
        let mut input = format!("{object}\n{object}^{{}}\n{object}^{{tree}}\n");
        for live in &live_commits {
            input += &format!("{live}^{{tree}}\n");
        }
        let git = self.git(&["cat-file", "--batch-check=%(objecttype) %(objectname)"]);
        let time = self.source.limits.git_time;
        let ended = stream(git, input.into_bytes(), time, |pipe| {
            pipe.lines().collect::<Result<Vec<String>, _>>()
        });
        let answer = self.read("cat-file", ended.await)?;
        let answer: Vec<Option<(&str, &str)>> = answer
            .iter()
            .map(|line| line.split_once(' ').filter(|(_, id)| is_id(id)))
            .collect();
        let at = |number: usize| answer.get(number).copied().flatten();
        let Some((kind, _)) = at(0) else {
            return Err(self.no_object());
        };
        let commit = match at(1) {
            Some(("commit", id)) => id.to_owned(),
            Some((kind, _)) => {
                return Err(LandingError::NotACommit {
                    reference: self.question.reference.clone(),
                    kind: kind.to_owned(),
                });
            }
            None => return Err(self.unreadable("the object that it points to is missing")),
        };
        let end = |number, id: &str| {
            let tree = Oid::from_str(at(number)?.1).ok()?;
            let id = id.to_owned();
            Some(ComparedCommit { id, tree })
        };
        let commit = end(2, &commit).ok_or_else(|| self.unreadable("its tree is not there"))?;
        let known = live_commits.iter().enumerate();
        let known = known.filter_map(|(number, live)| end(number + 3, live));
        Ok(DescribedCommit {
            is_tag: kind == "tag",
            commit,
            known: known.collect(),
        })
    }

    async fn tag(&self) -> Result<TagInfo, LandingError> {
        let git = self.git(&["cat-file", "tag", &self.question.object]);
        let output = self.output("cat-file", git).await?;
        Ok(objects::tag(&output, &self.question.reference))
    }

    async fn log(&self, range: &[&str]) -> Result<Vec<ShownCommit>, LandingError> {
        let mut git = self.git(&[
            "log",
            "-z",
            FORMAT,
            "--encoding=UTF-8",
            "--no-show-signature",
        ]);
        git.args(range).arg("--");
        let time = self.source.limits.git_time;
        self.read("log", stream(git, Vec::new(), time, objects::commits).await)
    }

    async fn relation(&self, live: &str, commit: &str) -> Result<Relation, LandingError> {
        let both = format!("{live}...{commit}");
        let git = self.git(&["rev-list", "--count", "--left-right", &both, "--"]);
        let output = self.output("rev-list", git).await?;
        let counts = String::from_utf8_lossy(&output);
        let mut counts = counts.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(back)), Some(Ok(ahead))) = (counts.next(), counts.next()) else {
            return Err(self.unreadable("git rev-list counts nothing"));
        };
        Ok(match (ahead, back) {
            _ if live == commit => Relation::Same,
            (commits, 0) => Relation::Ahead { commits },
            (0, commits) => Relation::Back { commits },
            _ if self.is_cut_off(live, commit).await? => Relation::Unknown,
            (ahead, back) => Relation::Diverged { ahead, back },
        })
    }

    /// Whether the common ancestor may be beyond the boundary of a shallow repository.
    async fn is_cut_off(&self, live: &str, commit: &str) -> Result<bool, LandingError> {
        if !self.source.mirror.join("shallow").exists() {
            return Ok(false);
        }
        let git = self.git(&["merge-base", live, commit]);
        let time = self.source.limits.git_time;
        let ended = run(git, Vec::new(), OUTPUT_BYTES_MAX, time, &|_| {}).await;
        Ok(self.ended("merge-base", ended)?.stdout.is_empty())
    }

    async fn compare(
        &self,
        (old, new): (&ComparedCommit, &ComparedCommit),
        listed: bool,
        comparison: &mut Comparison,
    ) -> Result<(), LandingError> {
        let (live, commit) = (old.id.as_str(), new.id.as_str());
        comparison.relation = self.relation(live, commit).await?;
        let (coming, going) = match comparison.relation {
            Relation::First | Relation::Unknown => return Ok(()),
            Relation::Same => (false, false),
            Relation::Ahead { .. } => (true, false),
            Relation::Back { .. } => (false, true),
            Relation::Diverged { .. } => (true, true),
        };
        for (requested, from, to, list) in [
            (coming, live, commit, &mut comparison.coming),
            (going, commit, live, &mut comparison.going),
        ] {
            if requested && listed {
                let range = format!("{from}..{to}");
                let shown = self.log(&["--date-order", COMMITS_MAX, &range]).await?;
                *list = shown.into_iter().map(ShownCommit::into_line).collect();
            }
        }
        let changes = self.changes(old, new).await?;
        comparison.files_changed = changes.files;
        if listed {
            let numstat = self.numstat(old, new);
            let lines = count_lines(&changes, &self.source.limits, numstat).await?;
            (comparison.insertions, comparison.deletions) = lines.unzip();
            comparison.paths = changes.paths;
        }
        Ok(())
    }

    async fn changes(
        &self,
        old: &ComparedCommit,
        new: &ComparedCommit,
    ) -> Result<ListedChanges, LandingError> {
        let limits = self.source.limits;
        let (mirror, trees) = (self.source.mirror.clone(), (old.tree, new.tree));
        let source = self.question.source.clone();
        let compared = blocking(&self.source.mirror, move || {
            Ok(changes::compare(&mirror, trees, source.as_deref(), &limits))
        });
        let changes = compared.await?;
        let changes = changes.map_err(|error| match damage::lost_object(&error) {
            true => self.damaged(error.message()),
            false if error.class() == ErrorClass::Os => self.mirror_failed(error.message()),
            false => self.unreadable(error.message()),
        })?;
        let Some(key) = changes.over else {
            return Ok(changes);
        };
        let what = match key {
            "entries" => format!("in more than {} files", limits.entries),
            _ => format!("in a directory of more than {} bytes", limits.path_bytes),
        };
        Err(LandingError::Limit {
            reference: self.question.reference.clone(),
            what: format!(
                "commit {} differs from {}, which is live, {what}",
                new.id, old.id
            ),
            key,
        })
    }

    fn numstat(&self, old: &ComparedCommit, new: &ComparedCommit) -> GitCommand {
        let mut git = self.git(&["diff-tree", "-r", "-z", "--numstat", "--no-renames"]);
        git.args(["--no-ext-diff", "--no-textconv", &old.id, &new.id, "--"]);
        if let Some(source) = &self.question.source {
            git.arg(source.trim_matches('/'));
        }
        git
    }

    async fn output(
        &self,
        operation: &'static str,
        git: GitCommand,
    ) -> Result<Vec<u8>, LandingError> {
        let time = self.source.limits.git_time;
        let ended = run(git, Vec::new(), OUTPUT_BYTES_MAX, time, &|_| {}).await;
        let ended = self.ended(operation, ended)?;
        match ended.success {
            true => Ok(ended.stdout),
            false => Err(self.failed(operation, &ended)),
        }
    }

    fn read<T>(
        &self,
        operation: &'static str,
        ended: Result<Finished<Option<std::io::Result<T>>>, GitFailure>,
    ) -> Result<T, LandingError> {
        let ended = self.ended(operation, ended)?;
        if !ended.success {
            return Err(self.failed(operation, &ended));
        }
        match ended.stdout {
            Some(Ok(made)) => Ok(made),
            Some(Err(error)) => Err(self.unreadable(&error.to_string())),
            None => Err(self.unreadable("what git said was not read")),
        }
    }

    fn failed<T>(&self, operation: &str, ended: &Finished<T>) -> LandingError {
        let Some(reason) = out_of_memory(&ended.messages) else {
            let reason = ended.reason();
            return match damage::unread_object(&ended.messages) {
                Some(object) => self.damaged(object),
                // Another landing is creating it again.
                None if reason.contains("not a git repository: ") => self.mirror_failed(reason),
                None => self.unreadable(reason),
            };
        };
        LandingError::Limit {
            reference: self.question.reference.clone(),
            what: format!("git {operation} needs more memory than it may take ({reason})"),
            key: "git_memory_bytes",
        }
    }

    fn ended<T>(
        &self,
        operation: &'static str,
        ended: Result<Finished<T>, GitFailure>,
    ) -> Result<Finished<T>, LandingError> {
        ended.map_err(|failure| match failure {
            GitFailure::Start(error) => LandingError::NoGit(error.to_string()),
            GitFailure::TimedOut => LandingError::TooSlow {
                reference: self.question.reference.clone(),
                doing: operation,
                after_s: self.source.limits.git_time.as_secs(),
                key: "git_time",
            },
        })
    }

    fn no_object(&self) -> LandingError {
        LandingError::NoObject {
            mirror: self.source.mirror.clone(),
            object: self.question.object.clone(),
        }
    }

    /// What was pushed is whole: its fetch has checked it.
    fn damaged(&self, detail: &str) -> LandingError {
        damage::mark(&self.source.mirror);
        LandingError::DamagedMirror {
            mirror: self.source.mirror.clone(),
            detail: detail.to_owned(),
        }
    }

    fn mirror_failed(&self, detail: &str) -> LandingError {
        LandingError::Mirror {
            mirror: self.source.mirror.clone(),
            detail: detail.to_owned(),
        }
    }

    fn unreadable(&self, detail: &str) -> LandingError {
        LandingError::Unreadable {
            reference: self.question.reference.clone(),
            object: self.question.object.clone(),
            detail: detail.to_owned(),
        }
    }
}
