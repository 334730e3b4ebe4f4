//! A shop's bare repository with the hook installed, a work tree that pushes, and a spool that
//! no process reads: the agent is down in all of these tests.

use std::path::{Path, PathBuf};

use tagship::domain::rule::{FORMAT, OnSpoolError, ProjectRules, Rule, RulesFile, Schedule};
use tagship::engine::spool::{self, Record};
use tagship::setup::install::{GitServerKind, InstallRequest};
use tagship_tests::git::{Repository, WorkTree};
use tagship_tests::hook::hook_program;
use tempfile::TempDir;

pub(crate) struct Shop {
    pub(crate) dir: TempDir,
    pub(crate) repo: Repository,
    pub(crate) tree: WorkTree,
    pub(crate) spool: PathBuf,
}

pub(crate) fn rule(pattern: &str, environment: &str, schedule: Schedule) -> Rule {
    Rule {
        pattern: pattern.to_owned(),
        environment: environment.to_owned(),
        template: "git-release".to_owned(),
        schedule,
        approval: match schedule {
            Schedule::New => "1 of @pm".to_owned(),
            _ => String::new(),
        },
        supersede: true,
        self_approval: false,
    }
}

/// `qa-*` runs, `release-*` waits, `watch-*` is observed.
pub(crate) fn rules(repository: &str, on_spool_error: OnSpoolError) -> RulesFile {
    RulesFile {
        format: FORMAT,
        repository: repository.to_owned(),
        on_spool_error,
        page: "http://127.0.0.1:8080/tasks".to_owned(),
        pushers: None,
        projects: vec![ProjectRules {
            name: "shop".to_owned(),
            rules: vec![
                rule("qa-", "qa", Schedule::Ready),
                rule("release-", "production", Schedule::New),
                rule("watch-", "production", Schedule::Observe),
            ],
        }],
    }
}

impl Shop {
    /// A bare repository, hook installed, rules published, one commit on `main`.
    pub(crate) fn new() -> Self {
        let shop = Self::without_hook();
        shop.install();
        shop
    }

    pub(crate) fn without_hook() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::bare(dir.path().join("shop.git"));
        Self::around(dir, repo)
    }

    pub(crate) fn sha256() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::bare_sha256(dir.path().join("shop.git"));
        let shop = Self::around(dir, repo);
        shop.install();
        shop
    }

    fn around(dir: TempDir, repo: Repository) -> Self {
        let spool = dir.path().join("spool");
        spool::setup(&spool, None).unwrap();
        spool::publish_rules(&spool, &[rules("shop", OnSpoolError::Reject)]).unwrap();
        let tree = WorkTree::clone(&repo, dir.path().join("work"));
        tree.commit_files("first", &[("index.html", "hello\n")]);
        assert!(tree.push(["origin", "HEAD:main"]).success);
        Self {
            dir,
            repo,
            tree,
            spool,
        }
    }

    pub(crate) fn installation(&self) -> InstallRequest {
        InstallRequest {
            repo: self.repo.path.clone(),
            kind: GitServerKind::Bare,
            spool_dir: self.spool.clone(),
            repository: "shop".to_owned(),
            on_spool_error: None,
            hook_program: hook_program(),
            git_user: None,
        }
    }

    pub(crate) fn install(&self) {
        let report = self.installation().run().unwrap();
        assert_eq!(report.findings, [], "a good installation has no findings");
    }

    pub(crate) fn publish(&self, file: RulesFile) {
        spool::publish_rules(&self.spool, &[file]).unwrap();
    }

    /// What the agent would find, oldest first.
    pub(crate) fn records(&self) -> Vec<Record> {
        records(&self.spool)
    }

    /// Nothing can be written there any more, not even by root: it is a file now.
    pub(crate) fn break_spool(&self) {
        for part in ["tmp", "new"] {
            let path = self.spool.join(part);
            std::fs::remove_dir_all(&path).unwrap();
            std::fs::write(&path, "").unwrap();
        }
    }
}

pub(crate) fn records(spool: &Path) -> Vec<Record> {
    spool::waiting(spool)
        .unwrap()
        .iter()
        .map(|waiting| spool::read(spool, waiting).unwrap().record)
        .collect()
}
