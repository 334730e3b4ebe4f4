//! What `.gitattributes` of a commit say about its release: `export-ignore` leaves paths out;
//! `export-subst`, `eol=crlf`, `ident` and `working-tree-encoding` change bytes.
//!
//! The release is to equal `git archive`, so git itself is asked, and only for commits that use
//! these attributes at all. libgit2 would look up attributes in its own way and cannot substitute.
//! Changed bytes are taken out of `git archive` and written to the mirror as blobs of their own, so
//! that everything after this knows only blobs.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use git2::{ObjectType, Oid, Repository};

use super::CheckoutError;

/// Words one of which stands in any `.gitattributes` (or macro in it) that matters here.
const TRIGGERS: [&[u8]; 4] = [b"export-", b"eol", b"ident", b"working-tree-encoding"];
const ASKED: [&str; 5] = [
    "export-ignore",
    "export-subst",
    "eol",
    "ident",
    "working-tree-encoding",
];
/// More paths than these are not named to `git archive` one by one: it is read whole.
const NAMED_PATHS_MAX: usize = 100;

/// Whether a `.gitattributes` file can change a release.
pub(super) fn matter(content: &[u8]) -> bool {
    let has = |word: &&[u8]| content.windows(word.len()).any(|w| w == *word);
    TRIGGERS.iter().any(has)
}

/// What git answers for a commit's paths.
#[derive(Default)]
pub(super) struct Answer {
    /// Paths (directories end in `/`) that carry `export-ignore`.
    pub(super) ignored: HashSet<Vec<u8>>,
    /// Files whose bytes `git archive` changes.
    pub(super) converted: HashSet<Vec<u8>>,
}

/// Asks `git check-attr` about `paths` (from the repository's root, directories with a `/` at the
/// end), as they stand in `commit`.
pub(super) fn ask(mirror: &Path, commit: &str, paths: &[Vec<u8>]) -> Result<Answer, CheckoutError> {
    let index = Index::new(mirror);
    let mut read_tree = local(mirror);
    read_tree
        .env("GIT_INDEX_FILE", &index.0)
        .args(["read-tree", commit]);
    run(mirror, read_tree, &[])?;

    let mut check = local(mirror);
    check
        .env("GIT_INDEX_FILE", &index.0)
        .args(["check-attr", "--cached", "--stdin", "-z"])
        .args(ASKED);
    let mut question = paths.join(&0);
    question.push(0);
    let output = run(mirror, check, &question)?;

    let mut answer = Answer::default();
    let fields: Vec<&[u8]> = output.split(|byte| *byte == 0).collect();
    for triple in fields.chunks_exact(3) {
        let (path, attribute, value) = (triple[0], triple[1], triple[2]);
        match (attribute, value) {
            (b"export-ignore", b"set") => answer.ignored.insert(path.to_vec()),
            (b"export-subst" | b"ident", b"set") | (b"eol", b"crlf") => {
                answer.converted.insert(path.to_vec())
            }
            (b"working-tree-encoding", b"unspecified" | b"unset") => continue,
            (b"working-tree-encoding", _) => answer.converted.insert(path.to_vec()),
            _ => continue,
        };
    }
    Ok(answer)
}

/// Takes `paths` out of `git archive` and writes those whose bytes differ from `blobs` to the
/// mirror. Gives the id and size of every path that differs.
pub(super) fn convert(
    repository: &Repository,
    mirror: &Path,
    commit: &str,
    blobs: &HashMap<Vec<u8>, Oid>,
) -> Result<HashMap<Vec<u8>, (Oid, u64)>, CheckoutError> {
    let mut archive = local(mirror);
    archive
        .arg("--literal-pathspecs")
        .args(["archive", "--format=tar", commit]);
    if blobs.len() <= NAMED_PATHS_MAX {
        archive.arg("--");
        archive.args(blobs.keys().map(|path| OsStr::from_bytes(path)));
    }
    archive.stdin(Stdio::null()).stdout(Stdio::piped());
    archive.stderr(Stdio::piped());
    let mut child = archive
        .spawn()
        .map_err(|error| failed(mirror, &error.to_string()))?;
    let read = match child.stdout.take() {
        Some(stdout) => blobs_of_tar(repository, stdout, blobs),
        None => Err("git archive has no output".to_owned()),
    };
    let ended = end(mirror, child);
    let converted = read.map_err(|error| failed(mirror, &error));
    // What git says explains a broken tar better than the tar does.
    ended.and(converted)
}

fn blobs_of_tar(
    repository: &Repository,
    tar: impl Read,
    blobs: &HashMap<Vec<u8>, Oid>,
) -> Result<HashMap<Vec<u8>, (Oid, u64)>, String> {
    let text = |error: std::io::Error| format!("git archive: {error}");
    let mut converted = HashMap::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().map_err(text)? {
        let mut entry = entry.map_err(text)?;
        let path = entry.path_bytes().into_owned();
        let Some(plain) = blobs.get(&path) else {
            continue;
        };
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(text)?;
        let id = Oid::hash_object(ObjectType::Blob, &content)
            .map_err(|error| error.message().to_owned())?;
        if id != *plain {
            repository
                .blob(&content)
                .map_err(|error| error.message().to_owned())?;
            converted.insert(path, (id, content.len() as u64));
        }
    }
    Ok(converted)
}

/// An index file of our own, removed in the end.
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

/// git on the mirror alone: no transport, and no settings but the mirror's own. Nothing that the
/// agent's caller left in `GIT_*` reaches it.
fn local(mirror: &Path) -> Command {
    let mut directory = OsString::from("--git-dir=");
    directory.push(mirror);
    let mut git = Command::new("git");
    git.env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_ALLOW_PROTOCOL", "")
        .current_dir("/")
        .args(["-c", "core.attributesFile=/dev/null"])
        .arg(directory);
    git
}

/// Runs git with `input` and gives its output.
fn run(mirror: &Path, mut git: Command, input: &[u8]) -> Result<Vec<u8>, CheckoutError> {
    git.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = git
        .spawn()
        .map_err(|error| failed(mirror, &error.to_string()))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut output = Vec::new();
    // Written from a second thread: git answers while it is still being asked.
    let read = std::thread::scope(|scope| {
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input)));
        stdout.map(|mut pipe| pipe.read_to_end(&mut output))
    });
    end(mirror, child)?;
    match read {
        Some(Err(error)) => Err(failed(mirror, &error.to_string())),
        _ => Ok(output),
    }
}

fn end(mirror: &Path, child: Child) -> Result<(), CheckoutError> {
    let ended = child
        .wait_with_output()
        .map_err(|error| failed(mirror, &error.to_string()))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let last = said.lines().last().unwrap_or("git failed and said nothing");
    Err(failed(mirror, last))
}

fn failed(mirror: &Path, detail: &str) -> CheckoutError {
    CheckoutError::Mirror {
        mirror: mirror.to_owned(),
        detail: detail.to_owned(),
    }
}
