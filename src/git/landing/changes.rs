//! The differences between two commits, file by file, with bounded work.
//!
//! The trees are compared here side by side, so that a malicious tree ends it early: git would
//! collect every difference before it prints the first. git counts lines if that is cheap: few
//! files, few bytes, and a short time, since comparing two crafted files can take minutes.
//! Otherwise lines are not counted, which is no error.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::path::Path;
use std::rc::Rc;

use git2::{ObjectType, Odb, Oid, Repository};

use super::LandingError;
use super::objects::{bounded, read_field};
use super::program::{Finished, GitCommand, GitFailure, stream};
use crate::domain::plan::PushLimits;
use crate::domain::task::ChangedPath;
use crate::git::tree_mode;

const PATHS_MAX: usize = 200;
const PATH_CHARS_MAX: usize = 300;
/// Longer paths are not built, since no more of any is shown.
const PATH_BYTES_MAX: usize = 4 * PATH_CHARS_MAX;
/// Above this many changed files lines are not counted, since that reads all of them.
const COUNTED_FILES_MAX: u64 = 3_000;
/// Directories of both sides, with their entries, per entry allowed in a release.
const LOOKED_AT_PER_ENTRY: u64 = 4;

/// The differences, as far as they are listed.
#[derive(Default)]
pub(super) struct ListedChanges {
    pub(super) files: u64,
    pub(super) paths: Vec<ChangedPath>,
    /// The total size of the old and new files in bytes, while they are few.
    bytes: u64,
    /// The limit that ended the comparison.
    pub(super) over: Option<&'static str>,
}

/// Compares two trees, below the directory `source` of both.
pub(super) fn compare(
    mirror: &Path,
    (old, new): (Oid, Oid),
    source: Option<&str>,
    limits: &PushLimits,
) -> Result<ListedChanges, git2::Error> {
    let repository = Repository::open_bare(mirror)?;
    let mut walk = TreeDiff {
        odb: repository.odb()?,
        repository: &repository,
        limits,
        changes: ListedChanges::default(),
        looked_at: 0,
    };
    let (mut old, mut new, mut parent) = (Some(old), Some(new), Vec::new());
    let names = source.unwrap_or_default().split('/');
    for name in names.filter(|name| !matches!(*name, "" | ".")) {
        (old, new) = (walk.directory(old, name)?, walk.directory(new, name)?);
        parent.extend_from_slice(name.as_bytes());
        parent.push(b'/');
    }
    let mut pending = vec![(old, new, Rc::new(parent), Vec::new())];
    while let Some((old, new, above, name)) = pending.pop() {
        if old == new {
            continue;
        }
        let parent = match name.as_slice() {
            [] => above,
            name => Rc::new([above.as_slice(), name, b"/"].concat()),
        };
        let (old, new) = (walk.entries(old)?, walk.entries(new)?);
        walk.level(&old, &new, &parent, &mut pending)?;
        if walk.changes.over.is_some() {
            break;
        }
    }
    walk.changes.paths.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.changes)
}

/// The object under a name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PathState {
    mode: i32,
    id: Oid,
}

impl PathState {
    fn is_directory(self) -> bool {
        self.mode == tree_mode::DIRECTORY
    }

    /// File, link or submodule.
    fn kind(self) -> i32 {
        self.mode & 0o170_000
    }
}

type DirectoryEntries = BTreeMap<Vec<u8>, PathState>;
/// Directories to compare. Those in one directory share its path: a tree can contain a million of
/// them at a great depth.
type PendingDirectories = Vec<(Option<Oid>, Option<Oid>, Rc<Vec<u8>>, Vec<u8>)>;

struct TreeDiff<'g> {
    repository: &'g Repository,
    odb: Odb<'g>,
    limits: &'g PushLimits,
    changes: ListedChanges,
    looked_at: u64,
}

impl TreeDiff<'_> {
    fn directory(&mut self, tree: Option<Oid>, name: &str) -> Result<Option<Oid>, git2::Error> {
        let entries = self.entries(tree)?;
        let found = entries.get(name.as_bytes());
        Ok(found
            .filter(|found| found.is_directory())
            .map(|found| found.id))
    }

    fn entries(&mut self, tree: Option<Oid>) -> Result<DirectoryEntries, git2::Error> {
        let Some(id) = tree else {
            return Ok(DirectoryEntries::new());
        };
        let (size, _) = self.odb.read_header(id)?;
        if size as u64 > self.limits.path_bytes {
            self.changes.over = Some("path_bytes");
            return Ok(DirectoryEntries::new());
        }
        let tree = self.repository.find_tree(id)?;
        self.looked_at += tree.len() as u64 + 1;
        if self.looked_at / LOOKED_AT_PER_ENTRY > self.limits.entries {
            self.changes.over = Some("entries");
        }
        let entries = tree.iter().map(|entry| {
            let (mode, id) = (tree_mode::of(&entry), entry.id());
            (entry.name_bytes().to_vec(), PathState { mode, id })
        });
        Ok(entries.collect())
    }

    fn level(
        &mut self,
        old: &DirectoryEntries,
        new: &DirectoryEntries,
        parent: &Rc<Vec<u8>>,
        pending: &mut PendingDirectories,
    ) -> Result<(), git2::Error> {
        let deleted = old.keys().filter(|name| !new.contains_key(*name));
        for name in new.keys().chain(deleted) {
            let (old, new) = (old.get(name).copied(), new.get(name).copied());
            if old == new {
                continue;
            }
            let bytes_left = PATH_BYTES_MAX.saturating_sub(parent.len());
            let name = &name[..name.len().min(bytes_left)];
            let directory = |state: Option<PathState>| state.filter(|state| state.is_directory());
            let file = |state: Option<PathState>| state.filter(|state| !state.is_directory());
            let status = match (file(old), file(new)) {
                (None, None) => None,
                (None, Some(_)) => Some('A'),
                (Some(_), None) => Some('D'),
                (Some(old), Some(new)) if old.kind() != new.kind() => Some('T'),
                (Some(_), Some(_)) => Some('M'),
            };
            if let Some(status) = status {
                let path = [parent.as_slice(), name].concat();
                self.changed(status, &path, [file(old), file(new)]);
            }
            let (old, new) = (directory(old), directory(new));
            if old.or(new).is_some() {
                let (old, new) = (old.map(|old| old.id), new.map(|new| new.id));
                pending.push((old, new, Rc::clone(parent), name.to_vec()));
            }
        }
        Ok(())
    }

    fn changed(&mut self, status: char, path: &[u8], contents: [Option<PathState>; 2]) {
        let changes = &mut self.changes;
        if changes.files == self.limits.entries {
            changes.over = Some("entries");
            return;
        }
        changes.files += 1;
        if changes.paths.len() < PATHS_MAX {
            let path = bounded(path, PATH_CHARS_MAX);
            changes.paths.push(ChangedPath { status, path });
        }
        if changes.files <= COUNTED_FILES_MAX {
            for content in contents.into_iter().flatten() {
                // The content of a submodule is not here.
                if let Ok((size, ObjectType::Blob)) = self.odb.read_header(content.id) {
                    changes.bytes = changes.bytes.saturating_add(size as u64);
                }
            }
        }
    }
}

/// Counts added and removed lines; `None` if that is too expensive.
pub(super) async fn count_lines(
    changes: &ListedChanges,
    limits: &PushLimits,
    numstat: GitCommand,
) -> Result<Option<(u64, u64)>, LandingError> {
    let too_large = changes.files > COUNTED_FILES_MAX || changes.bytes > limits.counted_bytes;
    // A zero timeout would occasionally be enough.
    if too_large || limits.count_time.is_zero() {
        return Ok(None);
    }
    let counted = stream(numstat, Vec::new(), limits.count_time, |pipe| {
        sum_of_lines(pipe)
    });
    match counted.await {
        Ok(Finished {
            success: true,
            stdout: Some(Ok(sum)),
            ..
        }) => Ok(Some(sum)),
        Err(GitFailure::Start(error)) => Err(LandingError::NoGit(error.to_string())),
        Ok(_) | Err(GitFailure::TimedOut) => Ok(None),
    }
}

/// Sums `git diff-tree --numstat -z` output: `ADDED TAB REMOVED TAB PATH`, `-` for binary files.
fn sum_of_lines(pipe: &mut impl BufRead) -> io::Result<(u64, u64)> {
    let mut sum = (0, 0);
    let mut record = Vec::new();
    while read_field(pipe, &mut record)? {
        let mut numbers = record.split(|byte| *byte == b'\t').map(|number| {
            let number = std::str::from_utf8(number).ok();
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        });
        sum.0 += numbers.next().unwrap_or(0);
        sum.1 += numbers.next().unwrap_or(0);
    }
    Ok(sum)
}
