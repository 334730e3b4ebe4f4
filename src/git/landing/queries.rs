//! Two git queries that need no fetched object: all tags of a repository, and the newest of a set
//! of commits.

use super::program::{self, STDOUT_BYTES_MAX};
use super::system::{LOCAL_TIMEOUT, check_object, make_mirror, query_server, succeeded};
use super::{GitSource, LandingError, RemoteRef};
use crate::base::crash;

/// Commits per query: the arguments stay far below the limit.
const COMMITS_PER_QUESTION: usize = 1_000;

/// Asks the git server for all of its tags, in one query. Names that are not UTF-8 are omitted.
///
/// # Errors
/// [`LandingError`]; also if the answer is truncated.
pub async fn tags(source: &GitSource) -> Result<Vec<RemoteRef>, LandingError> {
    make_mirror(source).await?;
    let mut git = program::networked(source)?;
    git.args(["ls-remote", "--quiet", "--tags", "--refs", "--"])
        .arg(&source.git_url);
    crash::before("git.tags");
    let ended = query_server(source, git).await;
    crash::after("git.tags");
    let ended = ended?;
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

/// Returns the commits of a set that no other reaches.
///
/// # Errors
/// [`LandingError`] if the mirror does not have them all.
pub async fn heads(source: &GitSource, commits: &[String]) -> Result<Vec<String>, LandingError> {
    let mut left: Vec<String> = commits.to_vec();
    loop {
        let mut heads = Vec::new();
        // Many commits are queried in parts first, then the combined results.
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
