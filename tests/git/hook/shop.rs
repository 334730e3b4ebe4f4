//! A shop's bare repository with the hook installed, a work tree that pushes, and a spool that
//! no process reads: the agent is down in all of these tests.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use tagship::domain::rule::{FORMAT, OnSpoolError, ProjectRules, Rule, RulesFile, Schedule};
use tagship::engine::spool::{self, Record};
use tagship::setup::install::{GitServerKind, InstallRequest};
use tagship_tests::git::output_of;
use tagship_tests::hook::hook_program;
use tagship_tests::world::{Settings, World};

pub(crate) struct Shop {
    world: World,
}

impl Deref for Shop {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
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
        Self::of(World::new())
    }

    pub(crate) fn sha256() -> Self {
        let shop = Self::of(Settings::default().sha256().build());
        // The installation refuses this format, so the repository gets it afterwards.
        let config = |arguments: &[&str]| {
            output_of(shop.repo().git().arg("config").args(arguments));
        };
        config(&["--unset", "extensions.objectFormat"]);
        shop.install();
        config(&["extensions.objectFormat", "sha256"]);
        shop
    }

    fn of(world: World) -> Self {
        let shop = Self { world };
        spool::setup(&shop.spool(), None).unwrap();
        shop.publish(rules("shop", OnSpoolError::Reject));
        let tree = shop.tree();
        tree.commit_files("first", &[("index.html", "hello\n")]);
        assert!(tree.push(["origin", "HEAD:main"]).success);
        shop
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.path("spool")
    }

    pub(crate) fn installation(&self) -> InstallRequest {
        InstallRequest {
            repo: self.repo().path.clone(),
            kind: GitServerKind::Bare,
            spool_dir: self.spool(),
            repository: "shop".to_owned(),
            on_spool_error: None,
            hook_program: hook_program(),
            git_user: None,
        }
    }

    #[track_caller]
    pub(crate) fn install(&self) {
        let report = self.installation().run().unwrap();
        assert_eq!(report.findings, [], "a good installation has no findings");
    }

    pub(crate) fn publish(&self, file: RulesFile) {
        spool::publish_rules(&self.spool(), &[file]).unwrap();
    }

    /// The records that the agent would find, oldest first.
    pub(crate) fn records(&self) -> Vec<Record> {
        records(&self.spool())
    }

    /// Makes the spool unwritable, even for root: it becomes a file.
    pub(crate) fn break_spool(&self) {
        for part in ["tmp", "new"] {
            let path = self.spool().join(part);
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
