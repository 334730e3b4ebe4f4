//! Makes the manifest of a commit by a walk over its tree.
//!
//! In order: walk and collect (applying excludes and shared paths), ask git about attributes if the
//! commit has relevant ones, then check the rest: submodules, sizes, links, LFS pointers, mtimes.
//! Only blobs that differ from the live manifest are read, so a plan costs little more than one
//! pass over the trees. git2 reads trees and sizes, git the contents; all within the project's
//! limits, which bound the cost of any commit.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;
use std::sync::Arc;

use git2::{ObjectType, Oid};

use super::attributes::{self, AttributesFile};
use super::blobs::{self, NoBlob};
use super::exclude::Exclude;
use super::links::Links;
use super::manifest::{ancestors, check_path};
use super::walk::{Context, FoundKind, Walked, WalkedPath};
use super::{
    CheckoutError, EntryKind, Manifest, ManifestEntry, PlanRequest, StreamReadError, Submodules,
    blocking, display_path, missing, streamed,
};
use crate::git::landing::program::on_mirror;

/// The maximum number of paths in an error message.
const NAMED_MAX: usize = 5;
/// The size limit of a Git LFS pointer, by its specification.
const LFS_POINTER_BYTES_MAX: u64 = 1024;
/// The first line of a Git LFS pointer: today's, and those that Git LFS still reads.
const LFS_VERSIONS: [&[u8]; 3] = [
    b"version https://git-lfs.github.com/spec/v1",
    b"version https://hawser.github.com/spec/v1",
    b"version http://git-media.io/v/2",
];
/// The longest link target that Linux supports.
const TARGET_BYTES_MAX: u64 = 4095;

/// Returns the manifest of a commit.
///
/// # Errors
/// [`CheckoutError`] describes what cannot be released and how to fix it.
pub async fn plan(request: PlanRequest) -> Result<Manifest, CheckoutError> {
    let context = Arc::new(Context::new(request)?);
    context.open()?;
    let root = context.root().await?;
    let walking = context.clone();
    let mut walked = blocking(move || walking.walk(root)).await?;
    context.apply_attributes(&mut walked).await?;
    let mut notes = context.submodules(&mut walked)?;
    if !walked.substituted.is_empty() {
        let count = walked.substituted.len();
        notes.push(format!("{count} files are changed by .gitattributes"));
    }
    let sizing = context.clone();
    let (entries, unknown) = blocking(move || sizing.entries(&walked)).await?;
    let entries = context.read_contents(entries, unknown).await?;
    blocking(move || context.finish(entries, notes)).await
}

/// The contents that must still be read: index of the entry, committed blob and its size.
type Unknown = Vec<(usize, Oid, u64)>;

impl Context {
    fn new(request: PlanRequest) -> Result<Self, CheckoutError> {
        Ok(Self {
            exclude: Exclude::new(&request.options.exclude)?,
            shared: shared_paths(&request.options.shared)?,
            request,
        })
    }

    fn base(&self, path: &[u8]) -> Option<&ManifestEntry> {
        self.request.base.as_deref()?.get(path)
    }

    /// Returns the tree of the commit, by git, which decides what a commit is.
    async fn root(&self) -> Result<Oid, CheckoutError> {
        let mut git = on_mirror(&self.request.mirror, self.request.limits.git_memory_bytes);
        git.args(["cat-file", "--batch-check=%(objecttype) %(objectname)"]);
        let (commit, time) = (&self.request.commit, self.request.limits.git_time);
        if Oid::from_str(commit).is_err() {
            return Err(self.missing_commit());
        }
        let input = format!("{commit}^{{commit}}\n{commit}^{{tree}}\n").into_bytes();
        let answer = streamed((commit, "cat-file"), git, input, time, |pipe| {
            Ok(pipe.lines().collect::<Result<Vec<String>, _>>()?)
        });
        let answer = answer.await?;
        let tree = answer.get(1).and_then(|line| line.strip_prefix("tree "));
        let tree = tree.filter(|_| answer[0].starts_with("commit "));
        tree.and_then(|id| Oid::from_str(id).ok())
            .ok_or_else(|| self.missing_commit())
    }

    /// Drops paths with `export-ignore` and records which bytes attributes change.
    async fn apply_attributes(&self, walked: &mut Walked) -> Result<(), CheckoutError> {
        let files = std::mem::take(&mut walked.attributes);
        let (matter, files) = self.relevant(files).await?;
        if !matter {
            return Ok(());
        }
        let prefix = self.prefix();
        let full = |path: &[u8]| [prefix.as_slice(), path].concat();
        let directory = |path: &[u8]| [prefix.as_slice(), path, b"/"].concat();
        let path_of = |found: &WalkedPath| match found.kind {
            FoundKind::Submodule => directory(&found.path),
            FoundKind::File(_) | FoundKind::Link => full(&found.path),
        };
        let names = walked.found.iter().map(path_of);
        let directories = walked.directories.iter().map(|path| directory(path));
        let above = ancestors(&prefix).map(|path| [path, b"/"].concat());
        let paths: Vec<Vec<u8>> = names.chain(directories).chain(above).collect();
        let answer = attributes::read_attributes(&self.request, &files, paths).await?;

        let left_out = |path: &[u8]| {
            let mut above = ancestors(path).map(|a| [a, b"/"].concat());
            answer.ignored.contains(path) || above.any(|a| answer.ignored.contains(&a))
        };
        walked.found.retain(|found| !left_out(&path_of(found)));
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
        let converted = attributes::convert(&self.request, blobs).await?;
        walked.substituted = converted
            .into_iter()
            .map(|(path, made)| (path[prefix.len()..].to_vec(), made))
            .collect();
        Ok(())
    }

    /// Whether any of the files can change a release.
    async fn relevant(
        &self,
        files: Vec<AttributesFile>,
    ) -> Result<(bool, Vec<AttributesFile>), CheckoutError> {
        if files.is_empty() {
            return Ok((false, files));
        }
        let ids = blobs::input(files.iter().map(|file| file.blob.as_str()));
        self.contents(ids, move |pipe| {
            let mut matter = false;
            for file in &files {
                let mut content = Vec::new();
                read_next(pipe, (&file.blob, file.size, &file.path), &mut content)?;
                matter |= attributes::is_relevant(&content);
            }
            Ok((matter, files))
        })
        .await
    }

    /// Passes the contents of these blobs to `read`, in sequence.
    async fn contents<T: Send + 'static>(
        &self,
        ids: Vec<u8>,
        read: impl FnOnce(&mut std::io::BufReader<std::fs::File>) -> Result<T, StreamReadError>
        + Send
        + 'static,
    ) -> Result<T, CheckoutError> {
        let request = &self.request;
        let git = blobs::command(&request.mirror, request.limits.git_memory_bytes);
        let time = request.limits.git_time;
        streamed((&request.commit, "cat-file"), git, ids, time, read).await
    }

    /// Refuses submodules, or skips them and returns a note.
    fn submodules(&self, walked: &mut Walked) -> Result<Vec<String>, CheckoutError> {
        let is_submodule = |found: &WalkedPath| found.kind == FoundKind::Submodule;
        let paths = walked.found.iter().filter(|f| is_submodule(f));
        let paths: Vec<String> = paths.map(|f| display_path(&f.path)).collect();
        if !paths.is_empty() && self.request.options.submodules == Submodules::Refuse {
            return Err(CheckoutError::Submodule(first_names(paths)));
        }
        walked.found.retain(|found| !is_submodule(found));
        if paths.len() > NAMED_MAX {
            let paths = first_names(paths).join(", ");
            return Ok(vec![format!("submodules are left out: {paths}")]);
        }
        let note = |path| format!("submodule {path} is left out");
        Ok(paths.into_iter().map(note).collect())
    }

    /// Returns every path with its size, and those whose contents must be read: links, and small
    /// files that are not known from the live manifest.
    fn entries(&self, walked: &Walked) -> Result<(Vec<ManifestEntry>, Unknown), CheckoutError> {
        let repository = self.open()?;
        let limits = &self.request.limits;
        let mut entries = Vec::with_capacity(walked.found.len() + self.shared.len());
        let mut unknown = Vec::new();
        let (mut total, mut path_bytes): (u64, u64) = (0, walked.path_bytes);
        for found in &walked.found {
            let made = walked.substituted.get(&found.path).copied();
            let blob = made.map_or(found.blob, |(id, _)| id).to_string();
            let kind = match found.kind {
                FoundKind::File(mode) => EntryKind::File(mode),
                FoundKind::Link => EntryKind::Symlink { target: Vec::new() },
                FoundKind::Submodule => continue,
            };
            let is_file = matches!(kind, EntryKind::File(_));
            let known = self.base(&found.path).filter(|was| {
                is_file && was.blob == blob && matches!(was.kind, EntryKind::File(_))
            });
            let size = match known {
                Some(was) => was.size,
                None => {
                    // Attributes may change the bytes of a pointer: what is committed decides.
                    let size = self.size(&repository, found.blob, &found.path)?;
                    if !is_file || size < LFS_POINTER_BYTES_MAX {
                        unknown.push((entries.len(), found.blob, size));
                    }
                    made.map_or(size, |(_, size)| size)
                }
            };
            if !is_file {
                if size == 0 || size > TARGET_BYTES_MAX {
                    return Err(CheckoutError::BadLink(display_path(&found.path)));
                }
                path_bytes += size;
                self.within_path_bytes(path_bytes, &found.path)?;
            }
            total = total.saturating_add(size);
            for (bytes, bytes_max, key) in [
                (size, limits.file_bytes, "file_bytes"),
                (total, limits.release_bytes, "release_bytes"),
            ] {
                if bytes > bytes_max {
                    let what = match key {
                        "file_bytes" => {
                            format!("{:?} has {bytes} bytes", display_path(&found.path))
                        }
                        _ => format!(
                            "its files have {bytes} bytes, counted up to {:?}",
                            display_path(&found.path)
                        ),
                    };
                    let what = format!("{what}, more than {bytes_max}");
                    return Err(self.request.limit(what, key));
                }
            }
            entries.push(ManifestEntry {
                path: found.path.clone(),
                blob,
                kind,
                size,
                mtime_s: 0,
            });
        }
        Ok((entries, unknown))
    }

    /// Reads link targets, and finds LFS pointers.
    async fn read_contents(
        &self,
        mut entries: Vec<ManifestEntry>,
        unknown: Unknown,
    ) -> Result<Vec<ManifestEntry>, CheckoutError> {
        if unknown.is_empty() {
            return Ok(entries);
        }
        let ids: Vec<String> = unknown.iter().map(|(_, id, _)| id.to_string()).collect();
        let ids = blobs::input(ids.iter().map(String::as_str));
        self.contents(ids, move |pipe| {
            let mut pointers = Vec::new();
            let mut content = Vec::new();
            for (at, blob, size) in unknown {
                let entry = &mut entries[at];
                content.clear();
                read_next(pipe, (&blob.to_string(), size, &entry.path), &mut content)?;
                match &mut entry.kind {
                    EntryKind::Symlink { .. } if content.contains(&0) => {
                        return Err(CheckoutError::BadLink(display_path(&entry.path)).into());
                    }
                    EntryKind::Symlink { target } => target.clone_from(&content),
                    EntryKind::File(_) if is_lfs_pointer(&content) => {
                        pointers.push(display_path(&entry.path));
                    }
                    EntryKind::File(_) => {}
                }
            }
            match pointers.is_empty() {
                true => Ok(entries),
                false => Err(CheckoutError::LfsPointer(first_names(pointers)).into()),
            }
        })
        .await
    }

    fn finish(
        &self,
        mut entries: Vec<ManifestEntry>,
        notes: Vec<String>,
    ) -> Result<Manifest, CheckoutError> {
        for path in &self.shared {
            entries.push(self.shared_link(path)?);
        }
        self.check_links(&entries)?;
        self.set_times(&mut entries);
        Ok(Manifest::new(&self.request.commit, entries, notes)?)
    }

    /// Returns the link from `releases/ID/PATH` to `shared/PATH`, two levels above the release.
    fn shared_link(&self, path: &[u8]) -> Result<ManifestEntry, CheckoutError> {
        let mut target = b"../../".to_vec();
        for _ in ancestors(path) {
            target.extend_from_slice(b"../");
        }
        target.extend_from_slice(b"shared/");
        target.extend_from_slice(path);
        let blob =
            Oid::hash_object(ObjectType::Blob, &target).map_err(|e| self.git("hash-object", &e))?;
        Ok(ManifestEntry {
            path: path.to_vec(),
            blob: blob.to_string(),
            size: target.len() as u64,
            kind: EntryKind::Symlink { target },
            mtime_s: 0,
        })
    }

    fn check_links(&self, entries: &[ManifestEntry]) -> Result<(), CheckoutError> {
        let mut links = Links::default();
        let mut own = Vec::new();
        for entry in entries {
            match &entry.kind {
                EntryKind::Symlink { .. } if self.shared.contains(&entry.path) => {
                    links.add_shared(&entry.path);
                }
                EntryKind::Symlink { target } => {
                    links.add(&entry.path, target);
                    own.push((&entry.path, target));
                }
                EntryKind::File(_) => {}
            }
        }
        let leaves = own
            .iter()
            .find(|(path, target)| links.escapes(path, target));
        leaves.map_or(Ok(()), |(path, target)| {
            Err(CheckoutError::EscapingLink {
                path: display_path(path),
                target: display_path(target),
            })
        })
    }

    /// Sets mtimes: unchanged entries keep that of the live release; all others get a newer one.
    fn set_times(&self, entries: &mut [ManifestEntry]) {
        let newest = self.request.base.as_deref().and_then(Manifest::newest_s);
        let fresh = newest.map_or(self.request.now_s, |newest| {
            self.request.now_s.max(newest.saturating_add(1))
        });
        for entry in entries {
            let was = self.base(&entry.path);
            let same = was.filter(|was| was.kind == entry.kind && was.blob == entry.blob);
            entry.mtime_s = same.map_or(fresh, |was| was.mtime_s);
        }
    }
}

/// Whether the first line of a file is that of a Git LFS pointer.
fn is_lfs_pointer(content: &[u8]) -> bool {
    let line = content.split(|byte| *byte == b'\n').next();
    let line = line.filter(|line| line.len() < content.len());
    line.is_some_and(|line| LFS_VERSIONS.contains(&line.strip_suffix(b"\r").unwrap_or(line)))
}

/// Reads the next content in full: only small ones are requested.
fn read_next(
    pipe: &mut impl BufRead,
    (blob, size, path): (&str, u64, &[u8]),
    content: &mut Vec<u8>,
) -> Result<(), StreamReadError> {
    blobs::copy(pipe, blob, size, content).map_err(|error| match error {
        NoBlob::Missing => missing(path, blob).into(),
        NoBlob::Read(error) | NoBlob::Write(error) => error.into(),
    })
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
        Some(path) => Err(failed(&display_path(path), "is below another shared path")),
        None => Ok(shared),
    }
}

/// Returns the first few paths, and how many more there are.
fn first_names(mut paths: Vec<String>) -> Vec<String> {
    paths.sort();
    let more = paths.len().saturating_sub(NAMED_MAX);
    paths.truncate(NAMED_MAX);
    if more > 0 {
        paths.push(format!("and {more} more"));
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lfs_pointer_is_known_by_its_whole_first_line() {
        for version in LFS_VERSIONS {
            for rest in [&b"\noid sha256:00\nsize 9\n"[..], b"\r\noid sha256:00\r\n"] {
                assert!(is_lfs_pointer(&[version, rest].concat()));
            }
            for rest in [&b""[..], b" is its first line.\n", b".1\n", b"\r"] {
                assert!(!is_lfs_pointer(&[version, rest].concat()), "{rest:?}");
            }
        }
        assert!(!is_lfs_pointer(b""));
    }
}
