//! The effect of a commit's `.gitattributes` on its release: `export-ignore` excludes paths;
//! `export-subst`, `eol=crlf`, `ident` and `working-tree-encoding` change bytes.
//!
//! The release must equal `git archive`, so git itself is asked, but only for commits that use
//! these attributes. libgit2 resolves attributes differently and cannot substitute. Changed bytes
//! are read from `git archive` and written to the mirror as separate blobs, so that later steps
//! handle only blobs. git sees no more of the commit than the walk did, except for `git archive` of
//! many files. Its answer is streamed, and it is killed after `git_time`.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use git2::{Oid, Repository};

use super::{CheckoutError, PlanRequest, StreamReadError, streamed};
use crate::git::landing::program::on_mirror;

/// Words of which every relevant `.gitattributes` (or macro in it) contains at least one.
const TRIGGERS: [&[u8]; 4] = [b"export-", b"eol", b"ident", b"working-tree-encoding"];
const ATTRIBUTES: [&str; 5] = [
    "export-ignore",
    "export-subst",
    "eol",
    "ident",
    "working-tree-encoding",
];
/// Above this many paths `git archive` is read in full instead of naming each.
const NAMED_PATHS_MAX: usize = 100;

/// Whether a `.gitattributes` file can change a release.
pub(super) fn is_relevant(content: &[u8]) -> bool {
    let contains = |trigger: &&[u8]| content.windows(trigger.len()).any(|w| w == *trigger);
    TRIGGERS.iter().any(contains)
}

/// git's answer for a commit's paths.
#[derive(Default)]
pub(super) struct CommitAttributes {
    /// Paths (directories end in `/`) with `export-ignore`.
    pub(super) ignored: HashSet<Vec<u8>>,
    /// Files whose bytes `git archive` changes.
    pub(super) converted: HashSet<Vec<u8>>,
}

/// A `.gitattributes` of the commit, with its path from the repository root.
pub(super) struct AttributesFile {
    pub(super) path: Vec<u8>,
    pub(super) blob: String,
    pub(super) size: u64,
    /// `100644`, as git writes it.
    pub(super) mode: i32,
}

/// Runs `git check-attr` for `paths` (from the repository root, directories with a trailing `/`),
/// under the commit's own `files`.
pub(super) async fn read_attributes(
    request: &PlanRequest,
    files: &[AttributesFile],
    paths: Vec<Vec<u8>>,
) -> Result<CommitAttributes, CheckoutError> {
    // check-attr reads them from an index that needs no other entries.
    let index = Index::new(&request.mirror);
    let on_index = |arguments: &[&str]| {
        let mut git = on_mirror(&request.mirror, request.limits.git_memory_bytes);
        git.env("GIT_INDEX_FILE", &index.0).args(arguments);
        git
    };
    let mut content = Vec::new();
    for file in files {
        content.extend_from_slice(format!("{:06o} {}\t", file.mode, file.blob).as_bytes());
        content.extend_from_slice(&file.path);
        content.push(0);
    }
    let fill = on_index(&["update-index", "-z", "--index-info"]);
    let (commit, time) = (request.commit.as_str(), request.limits.git_time);
    streamed((commit, "update-index"), fill, content, time, |_| Ok(())).await?;

    let mut check = on_index(&["check-attr", "--cached", "--stdin", "-z"]);
    check.args(ATTRIBUTES);
    let mut question = paths.join(&0);
    drop(paths);
    question.push(0);
    let read = |pipe: &mut _| Ok(parse_attributes(pipe)?);
    streamed((commit, "check-attr"), check, question, time, read).await
}

/// Reads repeated `PATH NUL ATTRIBUTE NUL VALUE NUL`.
fn parse_attributes(pipe: &mut impl BufRead) -> io::Result<CommitAttributes> {
    let mut answer = CommitAttributes::default();
    let mut fields = [Vec::new(), Vec::new(), Vec::new()];
    loop {
        for field in &mut fields {
            field.clear();
            if pipe.read_until(0, field)? == 0 {
                return Ok(answer);
            }
            field.pop();
        }
        let [path, attribute, value] = &fields;
        match (attribute.as_slice(), value.as_slice()) {
            (b"export-ignore", b"set") => answer.ignored.insert(path.clone()),
            (b"export-subst" | b"ident", b"set") | (b"eol", b"crlf") => {
                answer.converted.insert(path.clone())
            }
            (b"working-tree-encoding", b"unspecified" | b"unset") => continue,
            (b"working-tree-encoding", _) => answer.converted.insert(path.clone()),
            _ => continue,
        };
    }
}

/// Files as changed by `git archive`: id and size of each whose bytes it changes.
pub(super) type Converted = HashMap<Vec<u8>, (Oid, u64)>;

/// Reads the paths of `blobs` from `git archive` and writes them to the mirror. Returns the id and
/// size of every path whose bytes differ from its blob.
pub(super) async fn convert(
    request: &PlanRequest,
    blobs: HashMap<Vec<u8>, Oid>,
) -> Result<Converted, CheckoutError> {
    let mut archive = on_mirror(&request.mirror, request.limits.git_memory_bytes);
    archive.args(["archive", "--format=tar", &request.commit]);
    if blobs.len() <= NAMED_PATHS_MAX {
        archive.arg("--");
        archive.args(blobs.keys().map(|path| OsStr::from_bytes(path)));
    }
    let entries_max = request.limits.entries;
    let what = format!("holds more than {entries_max} files, links and directories in all");
    let too_many = request.limit(what, "entries");
    let (mirror, commit) = (request.mirror.clone(), request.commit.as_str());
    let read = move |pipe: &mut _| blobs_of_tar(&mirror, pipe, &blobs, (entries_max, too_many));
    let time = request.limits.git_time;
    streamed((commit, "archive"), archive, Vec::new(), time, read).await
}

fn blobs_of_tar(
    mirror: &Path,
    tar: &mut impl Read,
    blobs: &HashMap<Vec<u8>, Oid>,
    (entries_max, too_many): (u64, CheckoutError),
) -> Result<Converted, StreamReadError> {
    let repository = Repository::open_bare(mirror).map_err(io::Error::other)?;
    let mut converted = HashMap::new();
    let mut archive = tar::Archive::new(tar);
    let mut count = 0;
    for entry in archive.entries()? {
        count += 1;
        if count > entries_max {
            return Err(too_many.into());
        }
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let Some(plain) = blobs.get(&path) else {
            continue;
        };
        let mut writer = repository.blob_writer(None).map_err(io::Error::other)?;
        let size = io::copy(&mut entry, &mut writer)?;
        let id = writer.commit().map_err(io::Error::other)?;
        if id != *plain {
            converted.insert(path, (id, size));
        }
    }
    Ok(converted)
}

/// A temporary index file, removed on drop.
struct Index(PathBuf);

impl Index {
    fn new(mirror: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tagship-index-{}-{number}", std::process::id());
        Self(mirror.join(name))
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
