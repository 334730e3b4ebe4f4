//! A world whose repository has a mirror, as the agent keeps one.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use tagship::domain::plan::PushLimits;
use tagship::git::checkout::{self, CheckoutError, Manifest, PlanOptions, PlanRequest};
use tagship::git::landing::{
    self, DescribeRequest, Description, FetchRequest, GitSource, LandingError, LiveOn, Timeouts,
};
use tagship_tests::git::output_of;
use tagship_tests::world::World;

pub(crate) const NOW: i64 = 1_700_000_000;

pub(crate) struct Mirrored {
    world: World,
    pub(crate) source: GitSource,
}

impl Deref for Mirrored {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Mirrored {
    pub(crate) fn new() -> Self {
        Self::of(World::new())
    }

    pub(crate) fn of(world: World) -> Self {
        let source = source(&world.repo().url(), world.directory());
        Self { world, source }
    }

    /// Tags `target` and pushes the tag; returns the object of the ref.
    #[track_caller]
    pub(crate) fn release(&self, tag: &str, target: &str) -> String {
        self.tree().tag(tag, target);
        assert!(self.tree().push_tag(tag).success);
        self.repo().resolve(format!("refs/tags/{tag}")).unwrap()
    }

    pub(crate) async fn land(
        &self,
        tag: &str,
        object: &str,
        task: u64,
    ) -> Result<(), LandingError> {
        landing::fetch(&self.source, &wanted(tag, object, task), &|_| {}).await
    }

    /// Commits the work tree, tags, pushes and fetches it.
    pub(crate) async fn ship(&self, tag: &str, task: u64) -> String {
        let commit = self.tree().commit_files(tag, &[]);
        self.release(tag, &commit);
        self.land(tag, &commit, task).await.unwrap();
        commit
    }

    #[track_caller]
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
        let question = DescribeRequest {
            reference: format!("refs/tags/{tag}"),
            object: object.to_owned(),
            live: live.collect(),
            source: None,
        };
        wait(landing::describe(&self.source, &question))
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
        wait(checkout::plan(PlanRequest {
            options,
            base: base.cloned().map(Arc::new),
            now_s,
            ..self.request(commit)
        }))
    }

    pub(crate) fn request(&self, commit: &str) -> PlanRequest {
        PlanRequest {
            mirror: self.source.mirror.clone(),
            commit: commit.to_owned(),
            options: PlanOptions::default(),
            base: None,
            now_s: NOW,
            limits: self.source.limits,
        }
    }

    pub(crate) fn write(&self, manifest: &Manifest, dir: &Path) -> checkout::WrittenTree {
        self.try_write(manifest, dir).unwrap()
    }

    pub(crate) fn try_write(
        &self,
        manifest: &Manifest,
        dir: &Path,
    ) -> Result<checkout::WrittenTree, CheckoutError> {
        let (mirror, manifest) = (self.source.mirror.clone(), Arc::new(manifest.clone()));
        wait(checkout::write_tree(mirror, manifest, dir.to_owned()))
    }

    /// Commits a tree of the given bytes, with `parent` if there is one.
    pub(crate) fn commit_tree(&self, tree: &[u8], parent: &str) -> String {
        let tree = self.object("tree", tree);
        let parent = match parent {
            "" => String::new(),
            parent => format!("parent {parent}\n"),
        };
        let people = "Alice <alice@example.com> 5 +0000";
        let head = format!("tree {tree}\n{parent}author {people}\ncommitter {people}\n");
        self.object("commit", format!("{head}\nby hand\n").as_bytes())
    }

    /// Writes a git object by hand, valid or not.
    pub(crate) fn object(&self, kind: &str, content: &[u8]) -> String {
        let file = self.path("object");
        std::fs::write(&file, content).unwrap();
        let mut git = self.tree().git();
        git.args(["hash-object", "-t", kind, "-w", "--literally"]);
        String::from_utf8(output_of(git.arg(&file))).unwrap()
    }

    /// Puts a file into the work tree.
    pub(crate) fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.tree().path.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// git in the mirror, for questions that only a test has.
    pub(crate) fn in_mirror(&self, arguments: &[&str]) -> String {
        let mut git = tagship_tests::git::git();
        git.arg("--git-dir").arg(&self.source.mirror);
        let bytes = output_of(git.args(arguments));
        String::from_utf8(bytes).unwrap()
    }
}

/// The bytes of a tree object: mode, name and id of each entry, which git would have sorted.
pub(crate) fn tree<'e>(entries: impl IntoIterator<Item = (&'e str, String, &'e str)>) -> Vec<u8> {
    let mut tree = Vec::new();
    for (mode, name, id) in entries {
        tree.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        let digits = (0..id.len()).step_by(2);
        tree.extend(digits.map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()));
    }
    tree
}

/// Runs a future of tagship to its end, also inside another one.
pub(crate) fn wait<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let runs = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(work)
        };
        scope.spawn(runs).join().unwrap()
    })
}

/// Makes a file of each object of a mirror.
pub(crate) fn unpack(mirror: &Path) {
    let pack = mirror.join("objects/pack");
    for item in std::fs::read_dir(&pack).unwrap().flatten() {
        if item.path().extension().is_some_and(|kind| kind == "pack") {
            let moved = mirror.join("moved.pack");
            std::fs::rename(item.path(), &moved).unwrap();
            let mut git = tagship_tests::git::git();
            git.arg("--git-dir")
                .arg(mirror)
                .args(["unpack-objects", "-q"]);
            output_of(git.stdin(std::fs::File::open(moved).unwrap()));
        }
    }
}

pub(crate) fn source(url: &str, dir: &Path) -> GitSource {
    GitSource {
        project: "shop".to_owned(),
        git_url: url.to_owned(),
        mirror: dir.join("data/mirrors/shop.git"),
        identity: None,
        known_hosts: dir.join("known_hosts"),
        token_file: None,
        timeouts: Timeouts::default(),
        limits: PushLimits::default(),
    }
}

pub(crate) fn wanted(tag: &str, object: &str, task: u64) -> FetchRequest {
    FetchRequest {
        reference: format!("refs/tags/{tag}"),
        object: object.to_owned(),
        task,
    }
}
