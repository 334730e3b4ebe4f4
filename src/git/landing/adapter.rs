//! The trait [`Git`] by what the other files here do.

use futures::future::BoxFuture;

use super::system::blocking;
use super::{
    Description, Git, LandingError, Progress, Question, RemoteRef, Source, Wanted, ask, describe,
    fetch, ls_remote, unpin,
};

/// [`Git`] by the system's program and git2.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemGit;

impl Git for SystemGit {
    fn ls_remote<'a>(
        &'a self,
        source: &'a Source,
        refs: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RemoteRef>, LandingError>> {
        Box::pin(ls_remote(source, refs))
    }

    fn fetch<'a>(
        &'a self,
        source: &'a Source,
        wanted: &'a Wanted,
        progress: Progress<'a>,
    ) -> BoxFuture<'a, Result<(), LandingError>> {
        Box::pin(fetch(source, wanted, progress))
    }

    fn tags<'a>(
        &'a self,
        source: &'a Source,
    ) -> BoxFuture<'a, Result<Vec<RemoteRef>, LandingError>> {
        Box::pin(ask::tags(source))
    }

    fn heads<'a>(
        &'a self,
        source: &'a Source,
        commits: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, LandingError>> {
        Box::pin(ask::heads(source, commits))
    }

    fn unpin<'a>(
        &'a self,
        source: &'a Source,
        task: u64,
    ) -> BoxFuture<'a, Result<(), LandingError>> {
        let mirror = source.mirror.clone();
        Box::pin(blocking(&source.mirror, move || unpin(&mirror, task)))
    }

    fn describe<'a>(
        &'a self,
        source: &'a Source,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<Description, LandingError>> {
        Box::pin(describe(source, question))
    }
}
