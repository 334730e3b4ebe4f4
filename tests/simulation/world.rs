//! A world in memory for the executor, with a fate that stops, cuts and refuses effects.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tagship::checkout::{
    Checkout, CheckoutError, Entry, Kind, Manifest, Mode, PlanRequest, Written,
};
use tagship::executor::effects::{Catalog, Logs, Probes, Question, Recipe, Shelf};
use tagship::host::{Output, ReleaseId};
use tagship::landing::{
    self, Description, Git, LandingError, Person, Progress, RemoteRef, Source, Timeouts, Wanted,
};
use tagship::plan::{Ground, Placement, PlannedHost, Submodules};
use tagship::template::Template;

/// What happens to one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// The agent ends before the effect acts.
    CrashBefore,
    /// The agent ends after the effect acted, before it hears of it.
    CrashAfter,
    /// The connection is lost before the host acts.
    CutBefore,
    /// The connection is lost after the host acted.
    CutAfter,
}

#[derive(Default)]
struct FateState {
    /// Every effect so far, in order.
    seen: Vec<String>,
    blows: BTreeMap<usize, Blow>,
    refusals: Vec<(String, String, String)>,
    crashed: bool,
}

/// Decides what becomes of each effect; shared by all parts of the world.
#[derive(Clone, Default)]
pub(crate) struct Fate {
    state: Arc<Mutex<FateState>>,
    crash: Arc<tokio::sync::Notify>,
}

impl Fate {
    /// The effect with this number (in the order of a run without blows) is struck.
    pub(crate) fn strike(&self, effect: usize, blow: Blow) {
        self.state.lock().unwrap().blows.insert(effect, blow);
    }

    /// Operations of this label on this host are refused until [`Fate::forgive`].
    pub(crate) fn refuse(&self, label: &str, host: &str, message: &str) {
        self.state.lock().unwrap().refusals.push((
            label.to_owned(),
            host.to_owned(),
            message.to_owned(),
        ));
    }

    pub(crate) fn forgive(&self) {
        self.state.lock().unwrap().refusals.clear();
    }

    pub(crate) fn refusal(&self, label: &str, host: &str) -> Option<String> {
        self.state
            .lock()
            .unwrap()
            .refusals
            .iter()
            .find(|(refused, on, _)| refused == label && on == host)
            .map(|(_, _, message)| message.clone())
    }

    /// The effects so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Completes when a blow ends the agent.
    pub(crate) async fn crash(&self) {
        loop {
            let notified = self.crash.notified();
            if std::mem::take(&mut self.state.lock().unwrap().crashed) {
                return;
            }
            notified.await;
        }
    }

    /// Numbers an effect and gives its blow. The number is drawn once: the later half of the same
    /// effect asks with it.
    fn number(&self, label: &str, on: &str) -> Option<Blow> {
        let mut state = self.state.lock().unwrap();
        let number = state.seen.len();
        state.seen.push(format!("{label} {on}"));
        state.blows.get(&number).copied()
    }

    fn last_blow(&self, label: &str, on: &str) -> Option<Blow> {
        let state = self.state.lock().unwrap();
        let name = format!("{label} {on}");
        let number = state.seen.iter().rposition(|seen| *seen == name)?;
        state.blows.get(&number).copied()
    }

    async fn end(&self) {
        self.state.lock().unwrap().crashed = true;
        self.crash.notify_one();
        pending::<()>().await;
    }

    /// Before an effect that no connection carries.
    pub(crate) async fn before(&self, label: &str, on: &str) {
        if self.number(label, on) == Some(Blow::CrashBefore) {
            self.end().await;
        }
    }

    pub(crate) async fn after(&self, label: &str, on: &str) {
        if self.last_blow(label, on) == Some(Blow::CrashAfter) {
            self.end().await;
        }
    }

    pub(crate) async fn host(&self, label: &str, host: &str) -> Result<(), ()> {
        match self.number(label, host) {
            Some(Blow::CrashBefore) => {
                self.end().await;
                Ok(())
            }
            Some(Blow::CutBefore) => Err(()),
            _ => Ok(()),
        }
    }

    pub(crate) async fn host_after(&self, label: &str, host: &str) -> Result<(), ()> {
        match self.last_blow(label, host) {
            Some(Blow::CrashAfter) => {
                self.end().await;
                Ok(())
            }
            Some(Blow::CutAfter) => Err(()),
            _ => Ok(()),
        }
    }
}

/// The git server: which ref stands on which object, and the objects that were ever pushed.
pub(crate) struct SimGit {
    pub(crate) refs: Arc<Mutex<BTreeMap<String, String>>>,
    pub(crate) fate: Fate,
}

impl Git for SimGit {
    fn ls_remote<'a>(
        &'a self,
        _source: &'a Source,
        refs: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RemoteRef>, LandingError>> {
        async move {
            self.fate.before("git.ls_remote", "").await;
            let stand = self.refs.lock().unwrap().clone();
            let found = refs
                .iter()
                .filter_map(|name| {
                    Some(RemoteRef {
                        name: name.clone(),
                        object: stand.get(name)?.clone(),
                        peeled: None,
                    })
                })
                .collect();
            self.fate.after("git.ls_remote", "").await;
            Ok(found)
        }
        .boxed()
    }

    fn fetch<'a>(
        &'a self,
        source: &'a Source,
        wanted: &'a Wanted,
        _progress: Progress<'a>,
    ) -> BoxFuture<'a, Result<(), LandingError>> {
        async move {
            self.fate.before("git.fetch", &wanted.reference).await;
            let stands = self.refs.lock().unwrap().get(&wanted.reference).cloned();
            self.fate.after("git.fetch", &wanted.reference).await;
            if stands.as_ref() == Some(&wanted.object) {
                return Ok(());
            }
            Err(LandingError::RefMissing {
                project: source.project.clone(),
                reference: wanted.reference.clone(),
            })
        }
        .boxed()
    }

    fn unpin<'a>(
        &'a self,
        _source: &'a Source,
        _task: u64,
    ) -> BoxFuture<'a, Result<(), LandingError>> {
        async { Ok(()) }.boxed()
    }

    fn describe<'a>(
        &'a self,
        _source: &'a Source,
        question: &'a landing::Question,
    ) -> BoxFuture<'a, Result<Description, LandingError>> {
        async move {
            let at = jiff::Timestamp::UNIX_EPOCH;
            Ok(Description {
                commit: question.object.clone(),
                tag: None,
                subject: "a commit".to_owned(),
                author: Person {
                    name: "alice".to_owned(),
                    email: "alice@example.com".to_owned(),
                    at,
                },
                committed_at: at,
                comparisons: Vec::new(),
            })
        }
        .boxed()
    }
}

/// Each commit is a tree of one file whose blob is the commit.
pub(crate) struct SimCheckout {
    pub(crate) fate: Fate,
}

impl Checkout for SimCheckout {
    fn plan(&self, request: PlanRequest) -> BoxFuture<'_, Result<Arc<Manifest>, CheckoutError>> {
        async move {
            let entry = Entry {
                path: b"file".to_vec(),
                blob: request.commit.clone(),
                kind: Kind::File(Mode::Plain),
                size: 1,
                mtime_s: request.now_s,
            };
            Manifest::new(&request.commit, vec![entry], Vec::new())
                .map(Arc::new)
                .map_err(CheckoutError::from)
        }
        .boxed()
    }

    fn write(
        &self,
        _mirror: PathBuf,
        _manifest: Arc<Manifest>,
        _dir: PathBuf,
    ) -> BoxFuture<'_, Result<Written, CheckoutError>> {
        async move {
            self.fate.before("checkout.write", "").await;
            self.fate.after("checkout.write", "").await;
            Ok(Written::default())
        }
        .boxed()
    }
}

/// Manifests survive a crash: keeping them is durable.
pub(crate) struct SimShelf {
    pub(crate) manifests: Arc<Mutex<BTreeMap<ReleaseId, Arc<Manifest>>>>,
    pub(crate) fate: Fate,
}

impl Shelf for SimShelf {
    fn tree(&self, _project: &str, _environment: &str) -> PathBuf {
        PathBuf::from("/tree")
    }

    fn load(
        &self,
        _project: &str,
        _environment: &str,
        release: &ReleaseId,
    ) -> BoxFuture<'_, Option<Arc<Manifest>>> {
        let manifest = self.manifests.lock().unwrap().get(release).cloned();
        async move { manifest }.boxed()
    }

    fn keep(
        &self,
        _project: &str,
        _environment: &str,
        release: &ReleaseId,
        manifest: Arc<Manifest>,
    ) -> BoxFuture<'_, Result<(), String>> {
        let release = release.clone();
        async move {
            self.fate.before("shelf.keep", "").await;
            self.manifests.lock().unwrap().insert(release, manifest);
            self.fate.after("shelf.keep", "").await;
            Ok(())
        }
        .boxed()
    }
}

pub(crate) struct SimProbes {
    pub(crate) well: Arc<Mutex<bool>>,
}

impl Probes for SimProbes {
    fn ask(&self, _question: Question, _timeout: Duration) -> BoxFuture<'_, Result<(), String>> {
        let well = *self.well.lock().unwrap();
        async move {
            if well {
                Ok(())
            } else {
                Err("unwell".to_owned())
            }
        }
        .boxed()
    }
}

pub(crate) struct SimCatalog {
    pub(crate) ground: Arc<Mutex<Ground>>,
    pub(crate) template: String,
}

/// `shop` in `production` on hosts `a`, `b`, `c`.
pub(crate) fn ground() -> Ground {
    let hosts = ["a", "b", "c"]
        .map(|name| PlannedHost {
            name: name.to_owned(),
            address: "127.0.0.1".to_owned(),
            port: 22,
            user: "deploy".to_owned(),
            identity: "/key".to_owned(),
            jump: None,
        })
        .to_vec();
    Ground {
        project: "shop".to_owned(),
        environment: "production".to_owned(),
        git_url: "/git/shop.git".to_owned(),
        placement: Placement {
            deploy_to: "/srv/{HOST}/shop".to_owned(),
            keep_releases: 5,
            shared: Vec::new(),
            exclude: Vec::new(),
            owner: None,
            source: None,
            submodules: Submodules::Refuse,
        },
        on_failure: tagship::template::OnFailure::Rollback,
        approvals: vec!["1".parse().unwrap()],
        self_approval: false,
        hosts,
        groups: BTreeMap::new(),
    }
}

impl Catalog for SimCatalog {
    fn recipe(
        &self,
        _project: &str,
        _environment: &str,
        _template: &str,
        disabled: &[String],
    ) -> Result<Recipe, String> {
        let mut ground = self.ground.lock().unwrap().clone();
        ground.hosts.retain(|host| !disabled.contains(&host.name));
        let template =
            Template::parse("test.toml", &self.template).map_err(|error| error.to_string())?;
        Ok(Recipe { ground, template })
    }

    fn source(&self, project: &str) -> Result<Source, String> {
        Ok(Source {
            project: project.to_owned(),
            git_url: "/git/shop.git".to_owned(),
            mirror: PathBuf::from("/mirror"),
            identity: None,
            known_hosts: PathBuf::from("/known_hosts"),
            token_file: None,
            timeouts: Timeouts::default(),
        })
    }
}

/// Output that nobody reads.
pub(crate) struct NoLogs;

struct NoOutput;

impl Output for NoOutput {
    fn write_at(&self, _offset: u64, _bytes: &[u8]) {}
    fn line(&self, _text: &str) {}
}

impl Logs for NoLogs {
    fn step(&self, _task: u64, _host: &str, _step: &str, _attempt: u32) -> Arc<dyn Output> {
        Arc::new(NoOutput)
    }
}
