//! What a landed object is, and how it relates to what is live. Reads the mirror through git2.
//!
//! Texts and paths are for people to read: bytes that are not UTF-8 are replaced. Every list is
//! bounded and carries its total.

use std::path::{Path, PathBuf};

use git2::{Commit, Delta, Diff, DiffOptions, ObjectType, Oid, Repository, Tag};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::LandingError;
use crate::task::{ChangedPath, CommitLine, Comparison, Description, Person, Relation, TagInfo};

const COMMITS_MAX: usize = 50;
const PATHS_MAX: usize = 200;
/// Above this many changed files lines are not counted: it would read them all.
const COUNTED_FILES_MAX: usize = 3_000;
const MESSAGE_CHARS_MAX: usize = 4_000;
const SUBJECT_CHARS_MAX: usize = 200;
/// Names and addresses of people, and names of tags; a commit may carry megabytes of them.
const NAME_CHARS_MAX: usize = 200;
const PATH_CHARS_MAX: usize = 300;
/// Where more different commits are live, the others are counted without their lists.
const LISTED_MAX: usize = 10;

/// What is to be described, and against what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Full name of the ref: its short name is compared with the tag's own.
    pub reference: String,
    /// The landed object, hex digits.
    pub object: String,
    /// What is live, per host.
    pub live: Vec<LiveOn>,
    /// Only this sub-directory counts for changed files.
    pub source: Option<String>,
}

/// What is live on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveOn {
    pub host: String,
    /// `None` where nothing was ever released.
    pub commit: Option<String>,
}

/// Describes a landed object.
///
/// # Errors
/// [`LandingError::NotACommit`] for a tag of a blob or a tree, [`LandingError::NoObject`] for what
/// was never fetched.
pub fn describe(mirror: &Path, question: &Question) -> Result<Description, LandingError> {
    let reader = Reader {
        repository: Repository::open_bare(mirror).map_err(|e| failed(mirror, &e))?,
        mirror,
        question,
    };
    let id = reader.id(&question.object)?;
    let object = reader
        .repository
        .find_object(id, None)
        .map_err(|_| reader.no_object(&question.object))?;
    let tag = object.as_tag().map(|tag| reader.tag(tag));
    let commit = reader.peel(object)?;
    let mut comparisons: Vec<Comparison> = Vec::new();
    for live in &question.live {
        let known = comparisons.iter_mut().find(|c| c.live == live.commit);
        match known {
            Some(comparison) => comparison.hosts.push(live.host.clone()),
            None => {
                let mut comparison = reader.compare(&commit, live)?;
                if comparisons.len() >= LISTED_MAX {
                    comparison.coming.clear();
                    comparison.going.clear();
                    comparison.paths.clear();
                }
                comparisons.push(comparison);
            }
        }
    }
    Ok(Description {
        commit: commit.id().to_string(),
        tag,
        subject: subject(&commit),
        author: person(&commit.author()),
        committed_at: time(commit.time().seconds()),
        comparisons,
    })
}

struct Reader<'q> {
    repository: Repository,
    mirror: &'q Path,
    question: &'q Question,
}

impl Reader<'_> {
    fn id(&self, hex: &str) -> Result<Oid, LandingError> {
        Oid::from_str(hex).map_err(|_| self.no_object(hex))
    }

    fn no_object(&self, hex: &str) -> LandingError {
        LandingError::NoObject {
            mirror: PathBuf::from(self.mirror),
            object: hex.to_owned(),
        }
    }

    fn git(&self, error: &git2::Error) -> LandingError {
        failed(self.mirror, error)
    }

    fn tag(&self, tag: &Tag<'_>) -> TagInfo {
        let reference = self.question.reference.as_bytes();
        let short = reference.strip_prefix(b"refs/tags/").unwrap_or(reference);
        TagInfo {
            name: bounded(tag.name_bytes(), NAME_CHARS_MAX),
            named_as_ref: tag.name_bytes() == short,
            tagger: tag.tagger().map(|tagger| person(&tagger)),
            message: bounded(tag.message_bytes().unwrap_or_default(), MESSAGE_CHARS_MAX),
        }
    }

    /// Follows tags of tags to the commit.
    fn peel<'o>(&self, object: git2::Object<'o>) -> Result<Commit<'o>, LandingError> {
        let end = match object.kind() {
            Some(ObjectType::Tag) => object
                .as_tag()
                .map_or_else(|| object.peel(ObjectType::Any), Tag::peel)
                .map_err(|e| self.git(&e))?,
            _ => object,
        };
        let kind = end.kind().map_or("object", |kind| kind.str());
        let kind = kind.to_owned();
        end.into_commit().map_err(|_| LandingError::NotACommit {
            reference: self.question.reference.clone(),
            kind,
        })
    }

    fn compare(&self, commit: &Commit<'_>, live: &LiveOn) -> Result<Comparison, LandingError> {
        let mut comparison = Comparison {
            live: live.commit.clone(),
            hosts: vec![live.host.clone()],
            relation: Relation::First,
            coming: Vec::new(),
            going: Vec::new(),
            files_changed: 0,
            insertions: None,
            deletions: None,
            paths: Vec::new(),
        };
        let Some(hex) = &live.commit else {
            return Ok(comparison);
        };
        let known = Oid::from_str(hex).and_then(|id| self.repository.find_commit(id));
        let Ok(old) = known else {
            comparison.relation = Relation::Unknown;
            return Ok(comparison);
        };
        let (new, old_id) = (commit.id(), old.id());
        let counts = self.repository.graph_ahead_behind(new, old_id);
        let (ahead, back) = counts.map_err(|e| self.git(&e))?;
        comparison.relation = match (ahead as u64, back as u64) {
            _ if new == old_id => Relation::Same,
            (commits, 0) => Relation::Ahead { commits },
            (0, commits) => Relation::Back { commits },
            (ahead, back) => Relation::Diverged { ahead, back },
        };
        comparison.coming = self.commits(new, old_id)?;
        comparison.going = self.commits(old_id, new)?;
        self.files(&old, commit, &mut comparison)?;
        Ok(comparison)
    }

    /// The newest commits that `tip` has and `without` lacks.
    fn commits(&self, tip: Oid, without: Oid) -> Result<Vec<CommitLine>, LandingError> {
        let list = || -> Result<Vec<CommitLine>, git2::Error> {
            let mut walk = self.repository.revwalk()?;
            walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::TIME)?;
            walk.push(tip)?;
            walk.hide(without)?;
            walk.take(COMMITS_MAX)
                .map(|id| {
                    let commit = self.repository.find_commit(id?)?;
                    Ok(CommitLine {
                        commit: commit.id().to_string(),
                        subject: subject(&commit),
                        author: bounded(commit.author().name_bytes(), NAME_CHARS_MAX),
                        at: time(commit.time().seconds()),
                    })
                })
                .collect()
        };
        list().map_err(|e| self.git(&e))
    }

    fn files(
        &self,
        old: &Commit<'_>,
        new: &Commit<'_>,
        comparison: &mut Comparison,
    ) -> Result<(), LandingError> {
        let diff = self.diff(old, new).map_err(|e| self.git(&e))?;
        let deltas = diff.deltas();
        comparison.files_changed = deltas.len() as u64;
        let shown = deltas.take(PATHS_MAX).map(|delta| {
            let (status, file) = match delta.status() {
                Delta::Added => ('A', delta.new_file()),
                Delta::Deleted => ('D', delta.old_file()),
                Delta::Typechange => ('T', delta.new_file()),
                _ => ('M', delta.new_file()),
            };
            ChangedPath {
                status,
                path: bounded(file.path_bytes().unwrap_or_default(), PATH_CHARS_MAX),
            }
        });
        comparison.paths = shown.collect();
        if diff.deltas().len() <= COUNTED_FILES_MAX {
            let stats = diff.stats().map_err(|e| self.git(&e))?;
            comparison.insertions = Some(stats.insertions() as u64);
            comparison.deletions = Some(stats.deletions() as u64);
        }
        Ok(())
    }

    fn diff(&self, old: &Commit<'_>, new: &Commit<'_>) -> Result<Diff<'_>, git2::Error> {
        let mut options = DiffOptions::new();
        options
            .ignore_submodules(false)
            .include_typechange(true)
            .disable_pathspec_match(true)
            .context_lines(0);
        if let Some(source) = &self.question.source {
            options.pathspec(source.trim_matches('/'));
        }
        let (old, new) = (old.tree()?, new.tree()?);
        self.repository
            .diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options))
    }
}

fn failed(mirror: &Path, error: &git2::Error) -> LandingError {
    LandingError::Mirror {
        mirror: mirror.to_owned(),
        detail: error.message().to_owned(),
    }
}

fn subject(commit: &Commit<'_>) -> String {
    bounded(
        commit.summary_bytes().unwrap_or_default(),
        SUBJECT_CHARS_MAX,
    )
}

fn bounded(bytes: &[u8], chars_max: usize) -> String {
    // A character has at most four bytes: the rest need not even be looked at.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * chars_max)]);
    text.trim_end().chars().take(chars_max).collect()
}

fn person(signature: &git2::Signature<'_>) -> Person {
    Person {
        name: bounded(signature.name_bytes(), NAME_CHARS_MAX),
        email: bounded(signature.email_bytes(), NAME_CHARS_MAX),
        at: time(signature.when().seconds()),
    }
}

/// A commit may carry any number; one that is no date counts as 1970.
fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
