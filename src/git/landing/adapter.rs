//! The trait [`Git`], and its implementation with the other modules here.

use futures::future::BoxFuture;

use super::system::blocking;
use super::{
    DescribeRequest, Description, FetchRequest, GitProgress, GitSource, LandingError, RemoteRef,
    describe, fetch, ls_remote, queries, unpin,
};

/// The git interface for the executor; simulations implement their own.
pub trait Git: Send + Sync {
    /// `git.ls_remote`: returns where the named refs point on the git server now, in one query;
    /// missing refs are omitted. Changes nothing: after a crash or an error, repeat it.
    fn ls_remote<'a>(
        &'a self,
        source: &'a GitSource,
        refs: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RemoteRef>, LandingError>>;

    /// `git.fetch`: fetches the object with its whole history into the mirror and pins it for the
    /// task. After a crash or an error the mirror may have more objects, but nothing unchecked is
    /// pinned; always safe to repeat.
    fn fetch<'a>(
        &'a self,
        source: &'a GitSource,
        request: &'a FetchRequest,
        progress: GitProgress<'a>,
    ) -> BoxFuture<'a, Result<(), LandingError>>;

    /// `git.unpin`: removes the task's pin. Idempotent; after a crash it may or may not exist,
    /// which is harmless.
    fn unpin<'a>(
        &'a self,
        source: &'a GitSource,
        task: u64,
    ) -> BoxFuture<'a, Result<(), LandingError>>;

    /// `git.tags`: returns all tags of the git server, in one query. Changes nothing.
    fn tags<'a>(
        &'a self,
        source: &'a GitSource,
    ) -> BoxFuture<'a, Result<Vec<RemoteRef>, LandingError>>;

    /// `git.heads`: returns the commits of a set that no other reaches. Reads the mirror only;
    /// deterministic.
    fn heads<'a>(
        &'a self,
        source: &'a GitSource,
        commits: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, LandingError>>;

    /// `git.describe`: describes the object, and how it relates to what is live. Reads the mirror
    /// only; deterministic.
    fn describe<'a>(
        &'a self,
        source: &'a GitSource,
        question: &'a DescribeRequest,
    ) -> BoxFuture<'a, Result<Description, LandingError>>;
}

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
        request: &'a FetchRequest,
        progress: GitProgress<'a>,
    ) -> BoxFuture<'a, Result<(), LandingError>> {
        Box::pin(fetch(source, request, progress))
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
