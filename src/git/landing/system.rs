//! Runs the system's git program on a project's mirror: list, fetch, compare, pin.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use git2::{Oid, Repository};

use super::damage;
use super::failure::failure_of;
use super::fsck;
use super::program::{self, Finished, GitCommand, GitFailure, STDOUT_BYTES_MAX};
use super::{FetchRequest, GitProgress, GitSource, LandingError, RemoteRef};
use crate::base::crash;
use crate::domain::rule::is_reference;
use crate::git::lock::{self, LockFile};

/// Patterns per `ls-remote`: each ref takes two, and the arguments stay far below the limit.
const REFS_PER_QUERY: usize = 500;
/// `git init` and similar commands do little work.
pub(super) const LOCAL_TIMEOUT: Duration = Duration::from_secs(60);
const LAST: &str = "refs/tagship/last";

/// Asks the git server where refs point now: one query for all of them, exact names only.
///
/// # Errors
/// [`LandingError`]; a missing ref is no error, it is omitted from the answer.
pub async fn ls_remote(
    source: &GitSource,
    refs: &[String],
) -> Result<Vec<RemoteRef>, LandingError> {
    for name in refs {
        check_reference(source, name)?;
    }
    make_mirror(source).await?;
    let mut found = Vec::new();
    for some in refs.chunks(REFS_PER_QUERY) {
        let mut git = program::networked(source)?;
        git.args(["ls-remote", "--quiet", "--", &source.git_url]);
        for name in some {
            git.arg(name).arg(format!("{name}^{{}}"));
        }
        crash::before("git.ls_remote");
        let ended = query_server(source, git).await;
        crash::after("git.ls_remote");
        let ended = ended?;
        found.extend(parse_refs(source, &ended.stdout, some)?);
    }
    Ok(found)
}

/// Runs an `ls-remote`.
pub(super) async fn query_server(
    source: &GitSource,
    git: GitCommand,
) -> Result<Finished, LandingError> {
    let timeout = source.timeouts.ls_remote;
    let ended = program::run(git, Vec::new(), STDOUT_BYTES_MAX, timeout, &|_| {}).await;
    succeeded(source, "ls-remote", timeout, ended)
}

/// Fetches a ref into the mirror, checks that it points to the requested object, and pins it for
/// the task.
///
/// # Errors
/// [`LandingError::Moved`] if it points to another object now; nothing is pinned then.
pub async fn fetch(
    source: &GitSource,
    request: &FetchRequest,
    progress: GitProgress<'_>,
) -> Result<(), LandingError> {
    check_reference(source, &request.reference)?;
    check_object(source, &request.object)?;
    make_mirror(source).await?;
    let lock = lock::of_directory(&source.mirror);
    let _guard = lock.lock().await;
    let _held = lock_file(&source.mirror)?;
    sweep(&source.mirror)?;

    let incoming = format!("refs/tagship/incoming/{}", request.task);
    let mut git = program::networked(source)?;
    for setting in fsck::SETTINGS {
        git.args(["-c", setting]);
    }
    // A repository with truncated history is released like any other.
    git.args(["fetch", "--progress", "--no-tags", "--no-write-fetch-head"])
        .args(["--update-shallow", "--no-recurse-submodules"])
        .args(["--", &source.git_url])
        .arg(format!("+{}:{incoming}", request.reference));
    git.received_max = source.limits.fetch_bytes;
    crash::before("git.fetch");
    let ended = program::run(git, Vec::new(), 0, source.timeouts.fetch, progress).await;
    crash::after("git.fetch");
    if let Ok(finished) = &ended
        && finished.received > source.limits.fetch_bytes
    {
        sweep(&source.mirror)?;
        return Err(LandingError::Limit {
            reference: request.reference.clone(),
            what: format!(
                "a fetch of more than {} bytes was ended",
                source.limits.fetch_bytes
            ),
            key: "fetch_bytes",
        });
    }
    succeeded(source, "fetch", source.timeouts.fetch, ended).map_err(|error| match error {
        LandingError::Remote { detail, .. } if detail.contains("couldn't find remote ref") => {
            LandingError::RefMissing {
                project: source.project.clone(),
                reference: request.reference.clone(),
            }
        }
        LandingError::TimedOut { .. } => LandingError::TooSlow {
            reference: request.reference.clone(),
            doing: "fetch",
            after_s: source.timeouts.fetch.as_secs(),
            key: "fetch_time",
        },
        other => other,
    })?;
    let (source, request) = (source.clone(), request.clone());
    let mirror = source.mirror.clone();
    blocking(&mirror, move || pin(&source, &request, &incoming)).await
}

/// Compares what was fetched with what was pushed, and pins it.
fn pin(source: &GitSource, request: &FetchRequest, incoming: &str) -> Result<(), LandingError> {
    let failed = |error: git2::Error| mirror_failed(&source.mirror, error.message());
    let repository = Repository::open_bare(&source.mirror).map_err(failed)?;
    let mut arrived = repository.find_reference(incoming).map_err(failed)?;
    let found = arrived.target().map(|id| id.to_string());
    crash::before("git.pin");
    arrived.delete().map_err(failed)?;
    if found.as_ref() != Some(&request.object) {
        return Err(LandingError::Moved {
            project: source.project.clone(),
            reference: request.reference.clone(),
            expected: request.object.clone(),
            found: found.unwrap_or_default(),
        });
    }
    let id = Oid::from_str(&request.object).map_err(failed)?;
    for name in [pin_name(request.task), LAST.to_owned()] {
        repository
            .reference(&name, id, true, "landed")
            .map_err(failed)?;
    }
    crash::after("git.pin");
    Ok(())
}

/// Removes the pin of a task. The objects stay.
///
/// # Errors
/// [`LandingError::Mirror`] if the mirror cannot be written. A missing pin is no error.
pub fn unpin(mirror: &Path, task: u64) -> Result<(), LandingError> {
    if !mirror.join("HEAD").exists() {
        return Ok(());
    }
    let failed = |error: git2::Error| mirror_failed(mirror, error.message());
    let repository = Repository::open_bare(mirror).map_err(failed)?;
    match repository.find_reference(&pin_name(task)) {
        Ok(mut pin) => {
            crash::before("git.unpin");
            pin.delete().map_err(failed)?;
            crash::after("git.unpin");
            Ok(())
        }
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn pin_name(task: u64) -> String {
    format!("refs/tagship/tasks/{task}")
}

/// Intake refuses the same names, and the executor requests none of them.
fn check_reference(source: &GitSource, name: &str) -> Result<(), LandingError> {
    if is_reference(name) {
        return Ok(());
    }
    Err(not_a_name(source, name))
}

pub(super) fn check_object(source: &GitSource, object: &str) -> Result<(), LandingError> {
    let hex = object
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match object.len() {
        40 if hex => Ok(()),
        64 if hex => Err(LandingError::ObjectFormat {
            project: source.project.clone(),
        }),
        _ => Err(not_a_name(source, object)),
    }
}

fn not_a_name(source: &GitSource, what: &str) -> LandingError {
    LandingError::Name {
        project: source.project.clone(),
        what: what.to_owned(),
    }
}

/// Parses `OBJECT TAB NAME` lines; `NAME^{}` belongs to the previous line. A pattern also matches
/// the end of longer names, so the names are compared.
fn parse_refs(
    source: &GitSource,
    output: &[u8],
    names: &[String],
) -> Result<Vec<RemoteRef>, LandingError> {
    let names: HashSet<&[u8]> = names.iter().map(String::as_bytes).collect();
    let mut refs: Vec<RemoteRef> = Vec::new();
    let mut at: HashMap<String, usize> = HashMap::new();
    for line in output.split(|byte| *byte == b'\n') {
        let Some(tab) = line.iter().position(|byte| *byte == b'\t') else {
            continue;
        };
        let object = String::from_utf8_lossy(&line[..tab]).into_owned();
        let full = &line[tab + 1..];
        let name = full.strip_suffix(b"^{}").unwrap_or(full);
        if !names.contains(name) {
            continue;
        }
        check_object(source, &object)?;
        let key = String::from_utf8_lossy(name).into_owned();
        if name.len() == full.len() {
            at.insert(key.clone(), refs.len());
            refs.push(RemoteRef {
                name: key,
                object,
                peeled: None,
            });
        } else if let Some(tag) = at.get(&key) {
            refs[*tag].peeled = Some(object);
        }
    }
    Ok(refs)
}

/// Creates the bare repository, once, and writes our configuration beside its own.
pub(super) async fn make_mirror(source: &GitSource) -> Result<(), LandingError> {
    let mirror = &source.mirror;
    let lock = lock::of_directory(mirror);
    let _guard = lock.lock().await;
    let failed = |error: io::Error| mirror_failed(mirror, &error.to_string());
    if damage::is_marked(mirror) {
        let _held = lock_file(mirror)?;
        damage::remove(mirror).map_err(failed)?;
    }
    let config = program::config_path(mirror);
    // Written last, so it also marks the repository as complete.
    if fs::read(&config).is_ok_and(|bytes| bytes == program::CONFIG.as_bytes()) {
        return Ok(());
    }
    fs::create_dir_all(mirror).map_err(failed)?;
    let mut git = program::local(source.limits.git_memory_bytes);
    git.args([
        "init",
        "--quiet",
        "--bare",
        "--template=",
        "--object-format=sha1",
    ]);
    git.arg("--").arg(mirror);
    let ended = program::run(git, Vec::new(), 0, LOCAL_TIMEOUT, &|_| {}).await;
    succeeded(source, "init", LOCAL_TIMEOUT, ended)?;
    let part = mirror.join("tagship.gitconfig.part");
    fs::write(&part, program::CONFIG).map_err(failed)?;
    fs::rename(&part, &config).map_err(failed)
}

fn lock_file(mirror: &Path) -> Result<LockFile, LandingError> {
    let lock = LockFile::lock(&mirror.join("tagship.lock"));
    let lock = lock.map_err(|error| mirror_failed(mirror, &error.to_string()))?;
    lock.ok_or_else(|| LandingError::Busy(mirror.to_owned()))
}

/// Removes what a killed fetch left behind: stale lock files and partial packs. Called only under
/// the mirror's locks.
fn sweep(mirror: &Path) -> Result<(), LandingError> {
    let is_lock = |name: &str| name.ends_with(".lock") && name != "tagship.lock";
    let is_half = |name: &str| name.starts_with("tmp_") || name.starts_with(".tmp-");
    remove_where(mirror, is_lock)?;
    remove_where(&mirror.join("refs/tagship"), is_lock)?;
    remove_where(&mirror.join("refs/tagship/tasks"), is_lock)?;
    remove_where(&mirror.join("refs/tagship/incoming"), is_lock)?;
    remove_where(&mirror.join("objects"), |name| {
        name.starts_with("streamed_git2_")
    })?;
    remove_where(&mirror.join("objects/pack"), is_half)
}

fn remove_where(dir: &Path, matches: impl Fn(&str) -> bool) -> Result<(), LandingError> {
    let failed = |error: io::Error| mirror_failed(dir, &error.to_string());
    let items = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        items => items.map_err(failed)?,
    };
    for item in items {
        let item = item.map_err(failed)?;
        if item.file_name().to_str().is_some_and(&matches) {
            match fs::remove_file(item.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
    }
    Ok(())
}

fn mirror_failed(mirror: &Path, detail: &str) -> LandingError {
    LandingError::Mirror {
        mirror: mirror.to_owned(),
        detail: detail.to_owned(),
    }
}

pub(super) fn succeeded(
    source: &GitSource,
    operation: &'static str,
    timeout: Duration,
    ended: Result<Finished, GitFailure>,
) -> Result<Finished, LandingError> {
    let project = source.project.clone();
    match ended {
        Ok(finished) if finished.success => Ok(finished),
        Ok(finished) => Err(failure_of(source, operation, &finished.messages)),
        Err(GitFailure::Start(error)) => Err(LandingError::NoGit(error.to_string())),
        Err(GitFailure::TimedOut) => Err(LandingError::TimedOut {
            project,
            doing: operation,
            after_s: timeout.as_secs(),
        }),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    mirror: &Path,
    work: impl FnOnce() -> Result<T, LandingError> + Send + 'static,
) -> Result<T, LandingError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(LandingError::BrokeOff {
                mirror: mirror.to_owned(),
                detail: error.to_string(),
            })
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::git::landing::Timeouts;

    fn source() -> GitSource {
        GitSource {
            project: "shop".to_owned(),
            git_url: "/srv/git/shop.git".to_owned(),
            mirror: "/var/lib/tagship/mirrors/shop.git".into(),
            identity: None,
            known_hosts: "/etc/tagship/known_hosts".into(),
            token_file: None,
            timeouts: Timeouts::default(),
            limits: crate::domain::plan::PushLimits::default(),
        }
    }

    #[test]
    fn only_exact_ref_names_are_accepted() {
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let output = format!(
            "{a}\trefs/tags/v1\n{b}\trefs/tags/v1^{{}}\n{c}\trefs/x/refs/tags/v1\n{c}\trefs/tags/v2\n"
        );
        let names = ["refs/tags/v1".to_owned(), "refs/tags/v3".to_owned()];
        let refs = parse_refs(&source(), output.as_bytes(), &names).unwrap();
        let expected = RemoteRef {
            name: "refs/tags/v1".to_owned(),
            object: a,
            peeled: Some(b),
        };
        assert_eq!(refs, [expected]);
    }

    #[test]
    fn refs_that_git_would_misinterpret_are_refused() {
        for name in [
            "",
            "v1",
            "--upload-pack=id",
            "refs/tags/a b",
            "refs/tags/a:b",
            "refs/*",
            "refs/tags/a..b",
            "refs/tags/a^{}",
            "refs/tags/\n",
        ] {
            assert!(check_reference(&source(), name).is_err(), "{name}");
        }
        for name in [
            "refs/tags/v1",
            "refs/tags/rel-$(touch${IFS}p)",
            "refs/tags/ünï",
            "refs/tags/a;b'\"",
        ] {
            assert!(check_reference(&source(), name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_sha256_object_is_named_as_such() {
        let error = check_object(&source(), &"a".repeat(64)).unwrap_err();
        assert!(matches!(error, LandingError::ObjectFormat { .. }));
        assert!(!error.is_transient());
        assert!(check_object(&source(), &"a".repeat(39)).is_err());
        assert!(check_object(&source(), "HEAD").is_err());
    }
}
