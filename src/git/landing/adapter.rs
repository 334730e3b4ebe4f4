//! Implements the trait [`Git`] with the other modules here.

use futures::future::BoxFuture;

use super::system::blocking;
use super::{
    DescribeRequest, Description, FetchRequest, Git, GitProgress, GitSource, LandingError,
    RemoteRef, describe, fetch, ls_remote, queries, unpin,
};

/// [`Git`] with the system's program and git2.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemGit;

impl Git for SystemGit {
    fn ls_remote<'a>(
        &'a self,
        source: &'a GitSource,
        refs: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RemoteRef>, LandingError>> {
        Box::pin(ls_remote(source, refs))
    }

    fn fetch<'a>(
        &'a self,
        source: &'a GitSource,
        wanted: &'a FetchRequest,
        progress: GitProgress<'a>,
    ) -> BoxFuture<'a, Result<(), LandingError>> {
        Box::pin(fetch(source, wanted, progress))
    }

    fn tags<'a>(
        &'a self,
        source: &'a GitSource,
    ) -> BoxFuture<'a, Result<Vec<RemoteRef>, LandingError>> {
        Box::pin(queries::tags(source))
    }

    fn heads<'a>(
        &'a self,
        source: &'a GitSource,
        commits: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, LandingError>> {
        Box::pin(queries::heads(source, commits))
    }

    fn unpin<'a>(
        &'a self,
        source: &'a GitSource,
        task: u64,
    ) -> BoxFuture<'a, Result<(), LandingError>> {
        let mirror = source.mirror.clone();
        Box::pin(blocking(&source.mirror, move || unpin(&mirror, task)))
    }

    fn describe<'a>(
        &'a self,
        source: &'a GitSource,
        question: &'a DescribeRequest,
    ) -> BoxFuture<'a, Result<Description, LandingError>> {
        Box::pin(describe(source, question))
    }
}
