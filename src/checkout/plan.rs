//! The walk over a commit's tree that makes a manifest.
//!
//! In order: walk and collect (excludes and shared paths are cut here), ask git about attributes
//! where the commit has any that matter, then look at what is left: submodules, links, LFS
//! pointers, sizes, mtimes. Only blobs that differ from the live manifest are looked at, so that a
//! plan costs one pass over the trees and little more.

use std::collections::{HashMap, HashSet};

use git2::{ObjectType, Odb, Oid, Repository};

use super::exclude::Exclude;
use super::links::Links;
use super::manifest::{ancestors, check_path};
use super::{
    CheckoutError, Entry, Kind, Manifest, Mode, PlanOptions, PlanRequest, Submodules, attributes,
    shown,
};

/// Entries of one tree, visited directories included: bounds a tree that was made to explode.
const ENTRIES_MAX: usize = 1_000_000;
/// Paths that an error names.
const NAMED_MAX: usize = 5;
/// A Git LFS pointer is smaller than this, by its specification.
const LFS_POINTER_BYTES_MAX: u64 = 1024;
const LFS_MAGIC: &[u8] = b"version https://git-lfs.github.com/spec/v1";
/// Longest target that Linux takes.
const TARGET_BYTES_MAX: usize = 4095;

/// Works out the manifest of a commit.
///
/// # Errors
/// [`CheckoutError`] names what cannot be released and what to do about it.
pub fn plan(request: &PlanRequest) -> Result<Manifest, CheckoutError> {
    let context = Context::open(request)?;
    let mut found = context.walk()?;
    context.apply_attributes(&mut found)?;
    let mut notes = context.submodules(&mut found)?;
    let mut entries = context.entries(&found)?;
    notes.extend(found.notes);
    if !found.substituted.is_empty() {
        let count = found.substituted.len();
        notes.push(format!("{count} files are changed by .gitattributes"));
    }
    context.set_times(&mut entries);
    Ok(Manifest::new(&request.commit, entries, notes)?)
}

struct Context<'r> {
    request: &'r PlanRequest,
    options: &'r PlanOptions,
    repository: Repository,
    commit: Oid,
    exclude: Exclude,
    shared: HashSet<Vec<u8>>,
    base: HashMap<&'r [u8], &'r Entry>,
}

/// A path that the walk met.
struct Found {
    path: Vec<u8>,
    blob: Oid,
    kind: FoundKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FoundKind {
    File(Mode),
    Link,
    Submodule,
}

#[derive(Default)]
struct Walked {
    found: Vec<Found>,
    directories: Vec<Vec<u8>>,
    attributes_matter: bool,
    /// Files whose bytes `git archive` changes: id and size of what it makes of them.
    substituted: HashMap<Vec<u8>, (Oid, u64)>,
    notes: Vec<String>,
}

impl<'r> Context<'r> {
    fn open(request: &'r PlanRequest) -> Result<Self, CheckoutError> {
        let repository = Repository::open_bare(&request.mirror).map_err(|e| git(request, &e))?;
        let commit = Oid::from_str(&request.commit)
            .ok()
            .filter(|id| repository.find_commit(*id).is_ok())
            .ok_or_else(|| CheckoutError::NoCommit {
                mirror: request.mirror.clone(),
                commit: request.commit.clone(),
            })?;
        let base = request.base.as_deref().map_or(&[][..], Manifest::entries);
        Ok(Self {
            request,
            options: &request.options,
            repository,
            commit,
            exclude: Exclude::new(&request.options.exclude)?,
            shared: shared_paths(&request.options.shared)?,
            base: base.iter().map(|e| (e.path.as_slice(), e)).collect(),
        })
    }

    /// The directory of the repository that becomes the release, with `/` at its end; empty for all.
    fn prefix(&self) -> Vec<u8> {
        let source = self.options.source.as_deref().unwrap_or_default();
        let source = source.trim_matches('/').trim_start_matches("./");
        match source {
            "" | "." => Vec::new(),
            _ => format!("{source}/").into_bytes(),
        }
    }

    fn walk(&self) -> Result<Walked, CheckoutError> {
        let mut walked = Walked::default();
        let prefix = self.prefix();
        let mut tree = self
            .repository
            .find_commit(self.commit)
            .and_then(|commit| commit.tree())
            .map_err(|e| self.git(&e))?;
        let names: Vec<&[u8]> = prefix.split(|b| *b == b'/').collect();
        for name in &names[..names.len() - 1] {
            walked.attributes_matter |= self.attributes_of(&tree)?;
            tree = tree
                .get_name_bytes(name)
                .filter(|entry| entry.kind() == Some(ObjectType::Tree))
                .and_then(|entry| self.repository.find_tree(entry.id()).ok())
                .ok_or_else(|| CheckoutError::NoSource {
                    commit: self.request.commit.clone(),
                    source_dir: self.options.source.clone().unwrap_or_default(),
                })?;
        }
        let mut ahead = vec![(tree.id(), Vec::new())];
        let mut visited = 0;
        while let Some((id, at)) = ahead.pop() {
            let tree = self.repository.find_tree(id).map_err(|e| self.git(&e))?;
            walked.attributes_matter |= self.attributes_of(&tree)?;
            visited += tree.len() + 1;
            if visited > ENTRIES_MAX {
                return Err(CheckoutError::TooMany(ENTRIES_MAX));
            }
            for entry in &tree {
                self.visit(&entry, &at, &mut walked, &mut ahead)?;
            }
        }
        Ok(walked)
    }

    fn visit(
        &self,
        entry: &git2::TreeEntry<'_>,
        at: &[u8],
        walked: &mut Walked,
        ahead: &mut Vec<(Oid, Vec<u8>)>,
    ) -> Result<(), CheckoutError> {
        let name = entry.name_bytes();
        let path = if at.is_empty() {
            name.to_vec()
        } else {
            [at, name].join(&b'/')
        };
        let kind = match entry.filemode() {
            0o040_000 => {
                let cut = self.exclude.directory(&path) || self.shared.contains(&path);
                if !cut {
                    check_path(&path)?;
                    walked.directories.push(path.clone());
                    ahead.push((entry.id(), path));
                }
                return Ok(());
            }
            0o120_000 => FoundKind::Link,
            0o160_000 => FoundKind::Submodule,
            mode if mode & 0o111 != 0 => FoundKind::File(Mode::Executable),
            _ => FoundKind::File(Mode::Plain),
        };
        let cut = match kind {
            FoundKind::Submodule => self.exclude.directory(&path),
            FoundKind::File(_) | FoundKind::Link => self.exclude.file(&path),
        };
        if cut || self.shared.contains(&path) {
            return Ok(());
        }
        check_path(&path)?;
        let blob = entry.id();
        walked.found.push(Found { path, blob, kind });
        Ok(())
    }

    fn attributes_of(&self, tree: &git2::Tree<'_>) -> Result<bool, CheckoutError> {
        let Some(entry) = tree.get_name_bytes(b".gitattributes") else {
            return Ok(false);
        };
        if entry.kind() != Some(ObjectType::Blob) {
            return Ok(false);
        }
        let blob = self.repository.find_blob(entry.id());
        Ok(attributes::matter(
            blob.map_err(|e| self.git(&e))?.content(),
        ))
    }

    /// Drops what `export-ignore` leaves out and notes what changes its bytes.
    fn apply_attributes(&self, walked: &mut Walked) -> Result<(), CheckoutError> {
        if !walked.attributes_matter {
            return Ok(());
        }
        let (mirror, commit) = (&self.request.mirror, &self.request.commit);
        let prefix = self.prefix();
        let full = |path: &[u8]| [prefix.as_slice(), path].concat();
        let directory = |path: &[u8]| [prefix.as_slice(), path, b"/"].concat();
        let asked_as = |found: &Found| match found.kind {
            FoundKind::Submodule => directory(&found.path),
            FoundKind::File(_) | FoundKind::Link => full(&found.path),
        };
        let files = walked.found.iter().map(asked_as);
        let directories = walked.directories.iter().map(|path| directory(path));
        let above = ancestors(&prefix).map(|path| [path, b"/"].concat());
        let paths: Vec<Vec<u8>> = files.chain(directories).chain(above).collect();
        let answer = attributes::ask(mirror, commit, &paths)?;

        let left_out = |path: &[u8]| {
            let mut above = ancestors(path).map(|a| [a, b"/"].concat());
            answer.ignored.contains(path) || above.any(|a| answer.ignored.contains(&a))
        };
        walked.found.retain(|found| !left_out(&asked_as(found)));
        let blobs: HashMap<Vec<u8>, Oid> = walked
            .found
            .iter()
            .filter(|found| matches!(found.kind, FoundKind::File(_)))
            .map(|found| (full(&found.path), found.blob))
            .filter(|(path, _)| answer.converted.contains(path))
            .collect();
        if blobs.is_empty() {
            return Ok(());
        }
        let converted = attributes::convert(&self.repository, mirror, commit, &blobs)?;
        walked.substituted = converted
            .into_iter()
            .map(|(path, made)| (path[prefix.len()..].to_vec(), made))
            .collect();
        Ok(())
    }

    /// Refuses submodules, or takes them out and says so.
    fn submodules(&self, walked: &mut Walked) -> Result<Vec<String>, CheckoutError> {
        let is_submodule = |found: &Found| found.kind == FoundKind::Submodule;
        let paths = walked.found.iter().filter(|f| is_submodule(f));
        let paths: Vec<String> = paths.map(|f| shown(&f.path)).collect();
        if !paths.is_empty() && self.options.submodules == Submodules::Refuse {
            return Err(CheckoutError::Submodule(few(paths)));
        }
        walked.found.retain(|found| !is_submodule(found));
        let note = |path| format!("submodule {path} is left out");
        Ok(paths.into_iter().map(note).collect())
    }

    fn entries(&self, walked: &Walked) -> Result<Vec<Entry>, CheckoutError> {
        let odb = self.repository.odb().map_err(|e| self.git(&e))?;
        let mut entries = Vec::with_capacity(walked.found.len() + self.shared.len());
        let mut pointers = Vec::new();
        for found in &walked.found {
            let entry = match found.kind {
                FoundKind::File(mode) => {
                    let made = walked.substituted.get(&found.path).copied();
                    self.file(&odb, found, mode, made, &mut pointers)?
                }
                FoundKind::Link => self.link(&odb, found)?,
                FoundKind::Submodule => continue,
            };
            entries.push(entry);
        }
        if !pointers.is_empty() {
            return Err(CheckoutError::LfsPointer(few(pointers)));
        }
        for path in &self.shared {
            entries.push(self.shared_link(path)?);
        }
        self.check_links(&entries)?;
        Ok(entries)
    }

    fn file(
        &self,
        odb: &Odb<'_>,
        found: &Found,
        mode: Mode,
        made: Option<(Oid, u64)>,
        pointers: &mut Vec<String>,
    ) -> Result<Entry, CheckoutError> {
        let blob = made.map_or(found.blob, |(id, _)| id);
        let hex = blob.to_string();
        let known = self.base.get(found.path.as_slice());
        let known = known.filter(|was| was.blob == hex && matches!(was.kind, Kind::File(_)));
        let size = match (known, made) {
            (Some(was), _) => was.size,
            (None, Some((_, size))) => size,
            (None, None) => {
                let (size, _) = odb.read_header(blob).map_err(|e| self.git(&e))?;
                let size = size as u64;
                if size < LFS_POINTER_BYTES_MAX && self.is_pointer(odb, blob)? {
                    pointers.push(shown(&found.path));
                }
                size
            }
        };
        Ok(Entry {
            path: found.path.clone(),
            blob: hex,
            kind: Kind::File(mode),
            size,
            mtime_s: 0,
        })
    }

    fn is_pointer(&self, odb: &Odb<'_>, blob: Oid) -> Result<bool, CheckoutError> {
        let content = odb.read(blob).map_err(|e| self.git(&e))?;
        Ok(content.data().starts_with(LFS_MAGIC))
    }

    fn link(&self, odb: &Odb<'_>, found: &Found) -> Result<Entry, CheckoutError> {
        let content = odb.read(found.blob).map_err(|e| self.git(&e))?;
        let target = content.data().to_vec();
        if target.is_empty() || target.len() > TARGET_BYTES_MAX || target.contains(&0) {
            return Err(CheckoutError::BadLink(shown(&found.path)));
        }
        Ok(Entry {
            path: found.path.clone(),
            blob: found.blob.to_string(),
            size: target.len() as u64,
            kind: Kind::Symlink { target },
            mtime_s: 0,
        })
    }

    /// `releases/ID/PATH` leads to `shared/PATH`, two levels above the release.
    fn shared_link(&self, path: &[u8]) -> Result<Entry, CheckoutError> {
        let mut target = b"../../".to_vec();
        for _ in ancestors(path) {
            target.extend_from_slice(b"../");
        }
        target.extend_from_slice(b"shared/");
        target.extend_from_slice(path);
        let blob = Oid::hash_object(ObjectType::Blob, &target).map_err(|e| self.git(&e))?;
        Ok(Entry {
            path: path.to_vec(),
            blob: blob.to_string(),
            size: target.len() as u64,
            kind: Kind::Symlink { target },
            mtime_s: 0,
        })
    }

    fn check_links(&self, entries: &[Entry]) -> Result<(), CheckoutError> {
        let mut links = Links::default();
        let mut own = Vec::new();
        for entry in entries {
            match &entry.kind {
                Kind::Symlink { .. } if self.shared.contains(&entry.path) => {
                    links.add_shared(&entry.path);
                }
                Kind::Symlink { target } => {
                    links.add(&entry.path, target);
                    own.push((&entry.path, target));
                }
                Kind::File(_) => {}
            }
        }
        let leaves = own
            .iter()
            .find(|(path, target)| links.escapes(path, target));
        leaves.map_or(Ok(()), |(path, target)| {
            Err(CheckoutError::EscapingLink {
                path: shown(path),
                target: shown(target),
            })
        })
    }

    /// What stands alike in the live release keeps its time there; the rest is newer than all of it.
    fn set_times(&self, entries: &mut [Entry]) {
        let newest = self.request.base.as_deref().and_then(Manifest::newest_s);
        let fresh = newest.map_or(self.request.now_s, |newest| {
            self.request.now_s.max(newest.saturating_add(1))
        });
        for entry in entries {
            let was = self.base.get(entry.path.as_slice());
            let same = was.filter(|was| was.kind == entry.kind && was.blob == entry.blob);
            entry.mtime_s = same.map_or(fresh, |was| was.mtime_s);
        }
    }

    fn git(&self, error: &git2::Error) -> CheckoutError {
        git(self.request, error)
    }
}

fn git(request: &PlanRequest, error: &git2::Error) -> CheckoutError {
    CheckoutError::Mirror {
        mirror: request.mirror.clone(),
        detail: error.message().to_owned(),
    }
}

/// Checks the `shared` paths of an environment.
fn shared_paths(paths: &[String]) -> Result<HashSet<Vec<u8>>, CheckoutError> {
    let mut shared: HashSet<Vec<u8>> = HashSet::new();
    let failed = |path: &str, reason| CheckoutError::Shared {
        path: path.to_owned(),
        reason,
    };
    for path in paths {
        let bare = path.strip_suffix('/').unwrap_or(path);
        if check_path(bare.as_bytes()).is_err() {
            return Err(failed(path, "is not a plain relative path"));
        }
        shared.insert(bare.as_bytes().to_vec());
    }
    let nested = shared
        .iter()
        .find(|path| ancestors(path).any(|above| shared.contains(above)));
    match nested {
        Some(path) => Err(failed(&shown(path), "lies below another shared path")),
        None => Ok(shared),
    }
}

/// The first few paths, and how many more there are.
fn few(mut paths: Vec<String>) -> Vec<String> {
    paths.sort();
    let more = paths.len().saturating_sub(NAMED_MAX);
    paths.truncate(NAMED_MAX);
    if more > 0 {
        paths.push(format!("and {more} more"));
    }
    paths
}
