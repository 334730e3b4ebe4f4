//! The walk over the trees of a commit, which lists its paths. Reads no contents, and stops at the
//! project's limits.

use std::collections::HashSet;

use git2::{ObjectType, Oid, Repository};

use super::attributes::{AttributesFile, Converted};
use super::exclude::Exclude;
use super::manifest::{ancestors, check_path};
use super::{CheckoutError, Mode, PlanRequest, display_path, missing, open_mirror};
use crate::git::landing::damage;
use crate::git::tree_mode;

pub(super) struct Context {
    pub(super) request: PlanRequest,
    pub(super) exclude: Exclude,
    pub(super) shared: HashSet<Vec<u8>>,
}

/// A path found by the walk.
pub(super) struct WalkedPath {
    pub(super) path: Vec<u8>,
    pub(super) blob: Oid,
    pub(super) kind: FoundKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FoundKind {
    File(Mode),
    Link,
    Submodule,
}

#[derive(Default)]
pub(super) struct Walked {
    pub(super) found: Vec<WalkedPath>,
    pub(super) directories: Vec<Vec<u8>>,
    pub(super) attributes: Vec<AttributesFile>,
    /// Files whose bytes `git archive` changes: id and size of the result.
    pub(super) substituted: Converted,
    attributes_bytes: u64,
    pub(super) path_bytes: u64,
}

impl Context {
    pub(super) fn open(&self) -> Result<Repository, CheckoutError> {
        open_mirror(&self.request.mirror)
    }

    /// Returns the directory to release, with a trailing `/`; empty for the whole repository.
    pub(super) fn prefix(&self) -> Vec<u8> {
        let source = self.request.options.source.as_deref().unwrap_or_default();
        let source = source.trim_matches('/').trim_start_matches("./");
        match source {
            "" | "." => Vec::new(),
            _ => format!("{source}/").into_bytes(),
        }
    }

    pub(super) fn git(&self, operation: &'static str, error: &git2::Error) -> CheckoutError {
        let (commit, detail) = (self.request.commit.clone(), error.message().to_owned());
        match damage::lost_object(error) {
            true => CheckoutError::DamagedMirror {
                commit,
                operation,
                detail,
            },
            false => CheckoutError::Git {
                commit,
                operation,
                detail,
            },
        }
    }

    pub(super) fn missing_commit(&self) -> CheckoutError {
        CheckoutError::NoCommit {
            mirror: self.request.mirror.clone(),
            commit: self.request.commit.clone(),
        }
    }

    pub(super) fn walk(&self, root: Oid) -> Result<Walked, CheckoutError> {
        let repository = self.open()?;
        let mut walked = Walked::default();
        let prefix = self.prefix();
        let mut id = root;
        let mut parent = Vec::new();
        let names: Vec<&[u8]> = prefix.split(|b| *b == b'/').collect();
        for name in &names[..names.len() - 1] {
            let tree = self.tree(&repository, id, &parent)?;
            self.attributes_of(&repository, &tree, &parent, &mut walked)?;
            parent.extend_from_slice(name);
            parent.push(b'/');
            id = tree
                .get_name_bytes(name)
                .filter(|entry| entry.kind() == Some(ObjectType::Tree))
                .map(|entry| entry.id())
                .ok_or_else(|| CheckoutError::NoSource {
                    commit: self.request.commit.clone(),
                    source_dir: self.request.options.source.clone().unwrap_or_default(),
                })?;
        }
        let mut pending = vec![(id, Vec::new())];
        let mut visited: u64 = 0;
        while let Some((id, parent)) = pending.pop() {
            let tree = self.tree(&repository, id, &parent)?;
            let full = match parent.as_slice() {
                b"" => prefix.clone(),
                parent => [prefix.as_slice(), parent, b"/"].concat(),
            };
            self.attributes_of(&repository, &tree, &full, &mut walked)?;
            visited += tree.len() as u64 + 1;
            let entries_max = self.request.limits.entries;
            if visited > entries_max {
                let what = format!("has more than {entries_max} files, links and directories");
                return Err(self.request.limit(what, "entries"));
            }
            for entry in &tree {
                self.visit(&entry, &parent, &mut walked, &mut pending)?;
            }
        }
        Ok(walked)
    }

    /// Checks the size of a tree before reading it.
    fn tree<'g>(
        &self,
        repository: &'g Repository,
        id: Oid,
        parent: &[u8],
    ) -> Result<git2::Tree<'g>, CheckoutError> {
        let broken = |error| self.git("ls-tree", &error);
        let odb = repository.odb().map_err(broken)?;
        let (size, _) = odb.read_header(id).map_err(broken)?;
        self.within_path_bytes(size as u64, parent)?;
        repository.find_tree(id).map_err(broken)
    }

    pub(super) fn within_path_bytes(&self, bytes: u64, path: &[u8]) -> Result<(), CheckoutError> {
        let bytes_max = self.request.limits.path_bytes;
        if bytes <= bytes_max {
            return Ok(());
        }
        let parent = display_path(path);
        let what = format!("its paths take more than {bytes_max} bytes, counted up to {parent:?}");
        Err(self.request.limit(what, "path_bytes"))
    }

    fn visit(
        &self,
        entry: &git2::TreeEntry<'_>,
        parent: &[u8],
        walked: &mut Walked,
        pending: &mut Vec<(Oid, Vec<u8>)>,
    ) -> Result<(), CheckoutError> {
        let name = entry.name_bytes();
        let path = if parent.is_empty() {
            name.to_vec()
        } else {
            [parent, name].join(&b'/')
        };
        let kind = match tree_mode::of(entry) {
            tree_mode::DIRECTORY => {
                let cut = self.exclude.directory(&path) || self.shared.contains(&path);
                if !cut {
                    self.check(&path, walked)?;
                    walked.directories.push(path.clone());
                    pending.push((entry.id(), path));
                }
                return Ok(());
            }
            tree_mode::LINK => FoundKind::Link,
            tree_mode::SUBMODULE => FoundKind::Submodule,
            tree_mode::EXECUTABLE => FoundKind::File(Mode::Executable),
            _ => FoundKind::File(Mode::Plain),
        };
        let cut = match kind {
            FoundKind::Submodule => self.exclude.directory(&path),
            FoundKind::File(_) | FoundKind::Link => self.exclude.file(&path),
        };
        if cut || self.shared.contains(&path) {
            return Ok(());
        }
        self.check(&path, walked)?;
        let blob = entry.id();
        walked.found.push(WalkedPath { path, blob, kind });
        Ok(())
    }

    fn check(&self, path: &[u8], walked: &mut Walked) -> Result<(), CheckoutError> {
        check_path(path)?;
        let depth_max = self.request.limits.depth;
        if ancestors(path).count() as u64 > depth_max {
            let what = format!(
                "{:?} lies below more than {depth_max} directories",
                display_path(path)
            );
            return Err(self.request.limit(what, "depth"));
        }
        walked.path_bytes += path.len() as u64;
        self.within_path_bytes(walked.path_bytes, path)
    }

    fn attributes_of(
        &self,
        repository: &Repository,
        tree: &git2::Tree<'_>,
        parent: &[u8],
        walked: &mut Walked,
    ) -> Result<(), CheckoutError> {
        let entry = tree.get_name_bytes(b".gitattributes");
        let other = |mode| matches!(mode, tree_mode::DIRECTORY | tree_mode::SUBMODULE);
        let Some(entry) = entry.filter(|entry| !other(tree_mode::of(entry))) else {
            return Ok(());
        };
        let path = [parent, b".gitattributes"].concat();
        let size = self.size(repository, entry.id(), &path)?;
        walked.attributes_bytes += size;
        let bytes_max = self.request.limits.attributes_bytes;
        if walked.attributes_bytes > bytes_max {
            let what = format!(
                "its .gitattributes hold more than {bytes_max} bytes, counted up to {:?}",
                display_path(&path)
            );
            return Err(self.request.limit(what, "attributes_bytes"));
        }
        walked.attributes.push(AttributesFile {
            path,
            blob: entry.id().to_string(),
            size,
            mode: tree_mode::of(&entry),
        });
        Ok(())
    }

    /// Returns the size of a blob without reading its content.
    pub(super) fn size(
        &self,
        repository: &Repository,
        blob: Oid,
        path: &[u8],
    ) -> Result<u64, CheckoutError> {
        let header = repository.odb().and_then(|odb| odb.read_header(blob));
        match header {
            Ok((size, ObjectType::Blob)) => Ok(size as u64),
            _ => Err(missing(path, &blob.to_string())),
        }
    }
}
