//! A git server's repository, a work tree that pushes to it, and the agent's mirror of it.

use std::path::{Path, PathBuf};

use tagship::checkout::{self, CheckoutError, Manifest, PlanOptions, PlanRequest};
use tagship::landing::{
    self, Description, LandingError, LiveOn, Question, Source, Timeouts, Wanted,
};

use crate::support::git::{Repository, WorkTree, output_of};

pub(crate) const NOW: i64 = 1_700_000_000;

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: Repository,
    pub(crate) work: WorkTree,
    pub(crate) source: Source,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Repository::bare(dir.path().join("shop.git"));
        let work = WorkTree::clone(&server, dir.path().join("work"));
        let source = source(&server.url(), dir.path());
        Self {
            dir,
            server,
            work,
            source,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Tags `target` and pushes the tag; the object that the ref stands on.
    pub(crate) fn release(&self, tag: &str, target: &str) -> String {
        self.work.tag(tag, target);
        assert!(self.work.push_tag(tag).success);
        self.server.resolve(format!("refs/tags/{tag}")).unwrap()
    }

    pub(crate) async fn land(
        &self,
        tag: &str,
        object: &str,
        task: u64,
    ) -> Result<(), LandingError> {
        landing::fetch(&self.source, &wanted(tag, object, task), &|_| {}).await
    }

    /// Commits what stands in the work tree, tags, pushes and fetches it.
    pub(crate) async fn ship(&self, tag: &str, task: u64) -> String {
        let commit = self.work.commit_files(tag, &[]);
        self.release(tag, &commit);
        self.land(tag, &commit, task).await.unwrap();
        commit
    }

    pub(crate) fn describe(&self, tag: &str, object: &str, live: &[&str]) -> Description {
        self.try_describe(tag, object, live).unwrap()
    }

    pub(crate) fn try_describe(
        &self,
        tag: &str,
        object: &str,
        live: &[&str],
    ) -> Result<Description, LandingError> {
        let live = live.iter().enumerate().map(|(number, commit)| LiveOn {
            host: format!("web{number}"),
            commit: (!commit.is_empty()).then(|| (*commit).to_owned()),
        });
        let question = Question {
            reference: format!("refs/tags/{tag}"),
            object: object.to_owned(),
            live: live.collect(),
            source: None,
        };
        landing::describe(&self.source.mirror, &question)
    }

    pub(crate) fn plan(&self, commit: &str) -> Result<Manifest, CheckoutError> {
        self.plan_with(commit, PlanOptions::default(), None, NOW)
    }

    pub(crate) fn plan_with(
        &self,
        commit: &str,
        options: PlanOptions,
        base: Option<&Manifest>,
        now_s: i64,
    ) -> Result<Manifest, CheckoutError> {
        checkout::plan(&PlanRequest {
            mirror: self.source.mirror.clone(),
            commit: commit.to_owned(),
            options,
            base: base.cloned().map(std::sync::Arc::new),
            now_s,
        })
    }

    pub(crate) fn write(&self, manifest: &Manifest, dir: &Path) -> checkout::Written {
        checkout::write_tree(&self.source.mirror, manifest, dir).unwrap()
    }

    /// Puts a file into the work tree.
    pub(crate) fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.work.path.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Git in the mirror, for what only a test wants to know.
    pub(crate) fn in_mirror(&self, arguments: &[&str]) -> String {
        let mut git = crate::support::git::git();
        git.arg("--git-dir").arg(&self.source.mirror);
        let bytes = output_of(git.args(arguments));
        String::from_utf8(bytes).unwrap()
    }
}

pub(crate) fn source(url: &str, dir: &Path) -> Source {
    Source {
        project: "shop".to_owned(),
        git_url: url.to_owned(),
        mirror: dir.join("data/mirrors/shop.git"),
        identity: None,
        known_hosts: dir.join("known_hosts"),
        token_file: None,
        timeouts: Timeouts::default(),
    }
}

pub(crate) fn wanted(tag: &str, object: &str, task: u64) -> Wanted {
    Wanted {
        reference: format!("refs/tags/{tag}"),
        object: object.to_owned(),
        task,
    }
}
