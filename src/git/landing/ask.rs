//! Two questions of git that need no object to be fetched: every tag of a repository, and which of
//! some commits is the newest.

use super::program::{self, STDOUT_BYTES_MAX};
use super::system::{LOCAL_TIMEOUT, check_object, make_mirror, succeeded};
use super::{GitSource, LandingError, RemoteRef};
use crate::base::crash;

/// Commits of one question: the arguments stay far below the limit.
const COMMITS_PER_QUESTION: usize = 1_000;

/// Asks the git server for all of its tags, in one query. Names that are not UTF-8 are left out.
///
/// # Errors
/// [`LandingError`]; also where the answer is too long to be whole.
pub async fn tags(source: &GitSource) -> Result<Vec<RemoteRef>, LandingError> {
    make_mirror(source).await?;
    let mut git = program::networked(source)?;
    git.args(["ls-remote", "--quiet", "--tags", "--refs", "--"])
        .arg(&source.git_url);
    crash::before("git.tags");
    let ended = program::run(
        git,
        Vec::new(),
        STDOUT_BYTES_MAX,
        source.timeouts.ls_remote,
        &|_| {},
    )
    .await;
    crash::after("git.tags");
    let ended = succeeded(source, "ls-remote", source.timeouts.ls_remote, ended)?;
    if ended.stdout.len() >= STDOUT_BYTES_MAX {
        return Err(LandingError::TooManyTags {
            project: source.project.clone(),
        });
    }
    let lines = ended.stdout.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| std::str::from_utf8(line).ok()?.split_once('\t'));
    let mut tags = Vec::new();
    for (object, name) in lines {
        check_object(source, object)?;
        tags.push(RemoteRef {
            name: name.to_owned(),
            object: object.to_owned(),
            peeled: None,
        });
    }
    Ok(tags)
}

/// Those of some commits to which none of the others leads.
///
/// # Errors
/// [`LandingError`] when the mirror does not hold them all.
pub async fn heads(source: &GitSource, commits: &[String]) -> Result<Vec<String>, LandingError> {
    let mut left: Vec<String> = commits.to_vec();
    loop {
        let mut heads = Vec::new();
        // Of many commits each part is asked about first, and then what is left of them.
        for some in left.chunks(COMMITS_PER_QUESTION) {
            for commit in some {
                check_object(source, commit)?;
            }
            let mut git = program::local(source.limits.git_memory_bytes);
            git.arg("--git-dir").arg(&source.mirror);
            git.args(["merge-base", "--independent"]).args(some);
            let ended =
                program::run(git, Vec::new(), STDOUT_BYTES_MAX, LOCAL_TIMEOUT, &|_| {}).await;
            let ended = succeeded(source, "merge-base", LOCAL_TIMEOUT, ended)?;
            let lines = String::from_utf8_lossy(&ended.stdout);
            heads.extend(lines.lines().map(str::to_owned));
        }
        if left.len() <= COMMITS_PER_QUESTION || heads.len() == left.len() {
            return Ok(heads);
        }
        left = heads;
    }
}
