//! Repositories with many tags: the first scan records them all, in bounded work, and releases
//! none.

use std::fmt::Write as _;
use std::sync::Arc;

use tagship::base::clock::SystemClock;
use tagship::config::{self, Config, TemplateCache};
use tagship::engine::intake::{Intake, Scans, SpoolDirectory};
use tagship::engine::reconcile::{Reconciler, ScanError, WatchedRepository};
use tagship::git::landing::SystemGit;
use tagship::store::memory::MemoryKv;
use tagship::store::{Filter, Store};
use tagship_tests::world::Settings;

use crate::mirror::Mirrored;

/// Tags per commit of the store.
const PIECE: usize = 90;

struct ScanFixture {
    world: Mirrored,
    store: Store,
    intake: Intake,
    reconciler: Reconciler,
}

impl ScanFixture {
    async fn new() -> Self {
        let settings = Settings::default()
            .project("shop")
            .project_keys("reconcile = '1s'")
            .environment("qa", "v*", "deploy_to = '/srv/shop'");
        let world = Mirrored::of(settings.build());
        let text = std::fs::read_to_string(world.configure()).unwrap();
        let config = config::parse("c.toml", &text, world.directory()).unwrap();
        let config: Arc<Config> = Arc::new(config);
        tagship::engine::spool::setup(&world.path("spool"), None).unwrap();
        let store = Store::open(Arc::new(MemoryKv::new())).await.unwrap();
        let scans: Arc<Scans> = Arc::default();
        let rules = Arc::new(config.rule_sets());
        let templates = TemplateCache::new(&config.agent.templates_dir);
        let intake = Intake {
            store: store.clone(),
            clock: Arc::new(SystemClock),
            rules: rules.clone(),
            config: config.clone(),
            templates: templates.clone(),
            spool: Arc::new(SpoolDirectory(world.path("spool"))),
            git_user: None,
            scans: scans.clone(),
        };
        let source = world.source.clone();
        let reconciler = Reconciler {
            store: store.clone(),
            clock: Arc::new(SystemClock),
            watched: WatchedRepository::all(&config, |_| source.clone()),
            config,
            rules,
            templates,
            git: Arc::new(SystemGit),
            scans,
        };
        Self {
            world,
            store,
            intake,
            reconciler,
        }
    }

    /// Makes this many tags `vN` on one commit, as after `git pack-refs`.
    fn pack(&self, tags: usize) {
        let commit = self.world.repo().resolve("refs/heads/main").unwrap();
        let mut names: Vec<String> = (0..tags).map(|number| format!("v{number}")).collect();
        names.sort();
        let mut text = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        for name in names {
            writeln!(text, "{commit} refs/tags/{name}").unwrap();
        }
        std::fs::write(self.world.repo().path.join("packed-refs"), text).unwrap();
    }

    async fn scan(&self) -> Result<(), ScanError> {
        let intake = async {
            loop {
                self.intake.scans.requested().await;
                self.intake.take_all().await.unwrap();
            }
        };
        tokio::select! {
            scanned = self.reconciler.scan_all() => scanned,
            () = intake => unreachable!(),
        }
    }

    async fn tasks(&self) -> usize {
        let tasks = self.store.list(&Filter::default(), None, usize::MAX).await;
        tasks.unwrap().len()
    }

    /// The revision with which the last scan ended.
    async fn commits(&self) -> u64 {
        let repository = self.world.repo().path.display().to_string();
        let (_, last) = self.store.last_scan(&repository).await.unwrap();
        last.unwrap().0
    }
}

#[tokio::test]
async fn first_poll_records_many_tags_and_releases_none() {
    for tags in [2_025, 100_000] {
        let scanning = ScanFixture::new().await;
        let world = &scanning.world;
        let commit = world.tree().commit_files("first", &[]);
        assert!(
            world
                .tree()
                .push(["origin", "HEAD:refs/heads/main"])
                .success
        );
        scanning.pack(tags);
        scanning.scan().await.unwrap();
        assert_eq!(scanning.tasks().await, 0, "{tags} tags");
        let repository = world.repo().path.display().to_string();
        let known = scanning.store.known_tags(&repository).await.unwrap();
        assert_eq!(known.len(), tags);
        let commits = scanning.commits().await;
        let pieces = tags.div_ceil(PIECE) as u64;
        assert!(commits <= pieces + 5, "{tags} tags: {commits} commits");

        let before = scanning.commits().await;
        scanning.scan().await.unwrap();
        assert_eq!(scanning.commits().await, before, "nothing has changed");
        // A new tag is found among all of them.
        world.release("vnew", &commit);
        scanning.scan().await.unwrap();
        assert_eq!(scanning.tasks().await, 1, "{tags} tags");
        assert!(scanning.commits().await < before + 20, "{tags} tags");
    }
}

#[tokio::test]
async fn refused_tag_poll_states_the_reason() {
    let scanning = ScanFixture::new().await;
    let repository = scanning.world.repo().path.display().to_string();
    scanning.scan().await.unwrap();
    let away = scanning.world.path("away.git");
    std::fs::rename(&scanning.world.repo().path, &away).unwrap();
    scanning.scan().await.unwrap_err();
    let failed = scanning.store.failed_scans(&repository).await.unwrap();
    let failed = failed.unwrap();
    assert!(failed.cause.contains("shop.git"), "{failed:?}");
    std::fs::rename(&away, &scanning.world.repo().path).unwrap();
    scanning.scan().await.unwrap();
    assert_eq!(
        scanning.store.failed_scans(&repository).await.unwrap(),
        None
    );
}
