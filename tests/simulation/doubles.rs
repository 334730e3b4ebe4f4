//! The parts of the world besides hosts: the git server, its own trees, health checks, the
//! configuration.

mod no_logs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tagship::domain::host::{ReleaseId, TreeDigest};
use tagship::domain::plan::{
    LocalUser, Placement, PlannedHost, PlannedUser, ResolvedEnvironment, Submodules,
};
use tagship::domain::rule::is_reference;
use tagship::domain::task::Submission;
use tagship::domain::template::{StoredTemplate, Template};
use tagship::engine::executor::effects::{
    AccountLookup, AgentProbe, ManifestStore, NoPlanInputs, PlanInputs, PlanSource, Probes, Pushes,
};
use tagship::engine::intake::Scans;
use tagship::git::checkout::{
    Checkout, CheckoutError, EntryKind, Manifest, ManifestEntry, Mode, PlanRequest, WrittenTree,
};
use tagship::git::landing::{
    self, CommitPerson, Comparison, Description, FetchRequest, Git, GitProgress, GitSource,
    LandingError, Relation, RemoteFailure, RemoteRef, Timeouts,
};

use crate::faults::{Fault, Faults, REFUSED};
use crate::witness::Witness;

pub(crate) use no_logs::NoLogs;

/// The git server: the object of each ref, and the objects that were ever pushed.
pub(crate) struct SimGit {
    pub(crate) refs: Arc<Mutex<BTreeMap<String, String>>>,
    /// The objects that were fetched.
    pub(crate) mirror: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) faults: Faults,
}

impl Git for SimGit {
    fn ls_remote<'a>(
        &'a self,
        _source: &'a GitSource,
        refs: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<RemoteRef>, LandingError>> {
        async move {
            let fault = self.faults.before("git.ls_remote", "").await;
            if is_cut(fault) {
                return Err(unreachable());
            }
            if fault == Some(Fault::Refuse) {
                return Err(refused("ls-remote", REFUSED.to_owned()));
            }
            if let Some(detail) = self.faults.refusal("git.ls_remote", "") {
                return Err(refused("ls-remote", detail));
            }
            // One invalid name fails the query, as on a command line.
            if let Some(odd) = refs.iter().find(|name| !is_reference(name)) {
                return Err(LandingError::Name {
                    project: "shop".to_owned(),
                    what: odd.clone(),
                });
            }
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
            self.faults.after(fault).await;
            Ok(found)
        }
        .boxed()
    }

    fn fetch<'a>(
        &'a self,
        source: &'a GitSource,
        request: &'a FetchRequest,
        _progress: GitProgress<'a>,
    ) -> BoxFuture<'a, Result<(), LandingError>> {
        async move {
            let fault = self.faults.before("git.fetch", &request.reference).await;
            let current = self.refs.lock().unwrap().get(&request.reference).cloned();
            self.faults.after(fault).await;
            if is_cut(fault) {
                return Err(unreachable());
            }
            if fault == Some(Fault::Refuse) {
                return Err(refused("fetch", REFUSED.to_owned()));
            }
            if let Some(detail) = self.faults.refusal("git.fetch", &request.reference) {
                return Err(refused("fetch", detail));
            }
            if current.as_ref() == Some(&request.object) {
                self.mirror.lock().unwrap().insert(request.object.clone());
                return Ok(());
            }
            Err(LandingError::RefMissing {
                project: source.project.clone(),
                reference: request.reference.clone(),
            })
        }
        .boxed()
    }

    fn tags<'a>(
        &'a self,
        _source: &'a GitSource,
    ) -> BoxFuture<'a, Result<Vec<RemoteRef>, LandingError>> {
        async move {
            let fault = self.faults.before("git.tags", "").await;
            if is_cut(fault) {
                return Err(unreachable());
            }
            if fault == Some(Fault::Refuse) {
                return Err(refused("ls-remote", REFUSED.to_owned()));
            }
            if let Some(detail) = self.faults.refusal("git.tags", "") {
                return Err(refused("ls-remote", detail));
            }
            let stand = self.refs.lock().unwrap().clone();
            let tags = stand.into_iter().map(|(name, object)| RemoteRef {
                name,
                object,
                peeled: None,
            });
            self.faults.after(fault).await;
            Ok(tags.collect())
        }
        .boxed()
    }

    fn heads<'a>(
        &'a self,
        _source: &'a GitSource,
        commits: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, LandingError>> {
        async move {
            let fault = self.faults.before("git.heads", "").await;
            self.faults.after(fault).await;
            if fault == Some(Fault::Refuse) || self.faults.refusal("git.heads", "").is_some() {
                return Err(unreachable());
            }
            let mirror = self.mirror.lock().unwrap();
            assert!(commits.iter().all(|commit| mirror.contains(commit)));
            let is_head = |commit: &&String| !commits.iter().any(|other| leads(other, commit));
            Ok(commits.iter().filter(is_head).cloned().collect())
        }
        .boxed()
    }

    fn unpin<'a>(
        &'a self,
        _source: &'a GitSource,
        task: u64,
    ) -> BoxFuture<'a, Result<(), LandingError>> {
        async move {
            let fault = self.faults.before("git.unpin", &task.to_string()).await;
            self.faults.after(fault).await;
            if fault == Some(Fault::Refuse) {
                return Err(refused("unpin", REFUSED.to_owned()));
            }
            Ok(())
        }
        .boxed()
    }

    fn describe<'a>(
        &'a self,
        _source: &'a GitSource,
        question: &'a landing::DescribeRequest,
    ) -> BoxFuture<'a, Result<Description, LandingError>> {
        async move {
            let fault = self.faults.before("git.describe", "").await;
            self.faults.after(fault).await;
            if fault == Some(Fault::Refuse) {
                return Err(unreachable());
            }
            let at = jiff::Timestamp::UNIX_EPOCH;
            Ok(Description {
                commit: question.object.clone(),
                tag: None,
                subject: "a commit".to_owned(),
                author: CommitPerson {
                    name: "alice".to_owned(),
                    email: "alice@example.com".to_owned(),
                    at,
                },
                committed_at: at,
                comparisons: comparisons(question),
            })
        }
        .boxed()
    }
}

/// Whether one commit is an ancestor of another: odd and even commits are two lines of history.
pub(crate) fn leads(one: &str, other: &str) -> bool {
    let line = |commit: &str| commit.as_bytes().last().unwrap() % 2;
    line(one) == line(other) && other < one
}

/// The commits of a world are one line of history, in the order of their last digits.
fn comparisons(question: &landing::DescribeRequest) -> Vec<Comparison> {
    let mut comparisons: Vec<Comparison> = Vec::new();
    for live in &question.live {
        let known = comparisons.iter_mut().find(|one| one.live == live.commit);
        if let Some(known) = known {
            known.hosts.push(live.host.clone());
            continue;
        }
        let place = |commit: &str| u64::from_str_radix(&commit[39..], 16).unwrap();
        let new = place(&question.object);
        let relation = match live.commit.as_deref().map(place) {
            None => Relation::First,
            Some(old) if old == new => Relation::Same,
            Some(old) if old < new => Relation::Ahead { commits: new - old },
            Some(old) => Relation::Back { commits: old - new },
        };
        comparisons.push(Comparison {
            live: live.commit.clone(),
            hosts: vec![live.host.clone()],
            relation,
            ..Comparison::default()
        });
    }
    comparisons
}

/// A refusal by the git server; a rejected key is a permanent error.
fn refused(doing: &'static str, detail: String) -> LandingError {
    let failure = if detail.contains("Permission denied") {
        RemoteFailure::Credentials
    } else {
        RemoteFailure::Other
    };
    LandingError::Remote {
        project: "shop".to_owned(),
        doing,
        failure,
        detail,
    }
}

fn is_cut(fault: Option<Fault>) -> bool {
    use Fault::{CutAfter, CutBefore, Late};
    matches!(fault, Some(CutBefore | CutAfter | Late))
}

/// An error of the agent's own disk.
fn full(path: &str) -> CheckoutError {
    CheckoutError::Io {
        path: PathBuf::from(path),
        detail: REFUSED.to_owned(),
    }
}

fn unreachable() -> LandingError {
    LandingError::Busy(PathBuf::from("/mirror"))
}

/// Each commit is a tree of one file whose blob is the commit.
pub(crate) struct SimCheckout {
    pub(crate) mirror: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) faults: Faults,
    pub(crate) trees: Arc<Mutex<BTreeMap<String, TreeDigest>>>,
    pub(crate) witness: Arc<Witness>,
}

impl Checkout for SimCheckout {
    fn plan(&self, request: PlanRequest) -> BoxFuture<'_, Result<Arc<Manifest>, CheckoutError>> {
        async move {
            let fault = self.faults.before("checkout.plan", "").await;
            self.faults.after(fault).await;
            if fault == Some(Fault::Refuse) {
                return Err(full("/mirror"));
            }
            if !self.mirror.lock().unwrap().contains(&request.commit) {
                return Err(CheckoutError::NoCommit {
                    mirror: request.mirror,
                    commit: request.commit,
                });
            }
            let mut entry = ManifestEntry {
                path: b"file".to_vec(),
                blob: request.commit.clone(),
                kind: EntryKind::File(Mode::Plain),
                size: u64::from_str_radix(&request.commit[30..], 16).unwrap(),
                mtime_s: request.now_s,
            };
            if let Some(base) = &request.base {
                let before = &base.entries()[0];
                entry.mtime_s = if before.blob == entry.blob {
                    before.mtime_s
                } else {
                    entry.mtime_s.max(before.mtime_s + 1)
                };
            }
            let manifest = Manifest::new(&request.commit, vec![entry], Vec::new())?;
            self.witness.tree(manifest.digest(), &request.commit);
            Ok(Arc::new(manifest))
        }
        .boxed()
    }

    fn write(
        &self,
        _mirror: PathBuf,
        manifest: Arc<Manifest>,
        dir: PathBuf,
    ) -> BoxFuture<'_, Result<WrittenTree, CheckoutError>> {
        async move {
            let dir = dir.to_str().unwrap().to_owned();
            let half = TreeDigest("half".to_owned());
            self.trees.lock().unwrap().insert(dir.clone(), half);
            let fault = self.faults.before("checkout.write", "").await;
            if fault == Some(Fault::Refuse) {
                return Err(full(&dir));
            }
            self.trees.lock().unwrap().insert(dir, manifest.digest());
            self.faults.after(fault).await;
            Ok(WrittenTree::default())
        }
        .boxed()
    }
}

/// Manifests by environment and release.
pub(crate) type Manifests = BTreeMap<(String, ReleaseId), Arc<Manifest>>;

/// Manifests survive a crash: keeping them is durable.
pub(crate) struct SimManifests {
    pub(crate) manifests: Arc<Mutex<Manifests>>,
    pub(crate) faults: Faults,
}

impl ManifestStore for SimManifests {
    fn tree(&self, _project: &str, environment: &str) -> PathBuf {
        PathBuf::from("/tree").join(environment)
    }

    fn load(
        &self,
        _project: &str,
        environment: &str,
        release: &ReleaseId,
    ) -> BoxFuture<'_, Option<Arc<Manifest>>> {
        let key = (environment.to_owned(), release.clone());
        async move {
            let fault = self.faults.before("shelf.load", "").await;
            self.faults.after(fault).await;
            // An unreadable manifest counts as lost.
            let kept = (fault != Some(Fault::Refuse)).then(|| self.manifests.lock().unwrap());
            kept?.get(&key).cloned()
        }
        .boxed()
    }

    fn keep(
        &self,
        _project: &str,
        environment: &str,
        release: &ReleaseId,
        manifest: Arc<Manifest>,
    ) -> BoxFuture<'_, Result<(), String>> {
        let key = (environment.to_owned(), release.clone());
        async move {
            let fault = self.faults.before("shelf.keep", "").await;
            if fault == Some(Fault::Refuse) {
                return Err(REFUSED.to_owned());
            }
            self.manifests.lock().unwrap().insert(key, manifest);
            self.faults.after(fault).await;
            Ok(())
        }
        .boxed()
    }
}

pub(crate) struct SimProbes {
    pub(crate) well: Arc<Mutex<bool>>,
    pub(crate) faults: Faults,
}

impl Probes for SimProbes {
    fn check(
        &self,
        _question: AgentProbe,
        _timeout: Duration,
    ) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let fault = self.faults.before("probe.ask", "").await;
            let well = *self.well.lock().unwrap();
            self.faults.after(fault).await;
            if fault == Some(Fault::Refuse) {
                return Err(REFUSED.to_owned());
            }
            if well {
                Ok(())
            } else {
                Err("unwell".to_owned())
            }
        }
        .boxed()
    }
}

/// A manually submitted template: it belongs to no project, and releases nothing.
fn tool() -> Template {
    static TOOL: OnceLock<Template> = OnceLock::new();
    let parse = || {
        Template::parse(
            "tool.toml",
            "name = \"tool\"\n[[stage]]\nname = \"one\"\nhosts = \"{1}\"\n\
             steps = [{ run = [\"look\"] }, { run = [\"turn\"], gate = \"hand\" }]\n",
        )
        .unwrap()
    };
    TOOL.get_or_init(parse).clone()
}

pub(crate) struct SimPlans {
    pub(crate) faults: Faults,
    pub(crate) ground: Arc<Mutex<ResolvedEnvironment>>,
    pub(crate) template: Template,
}

/// The text of every script of a template.
const SCRIPT: &str = "#!/bin/sh\ntrue\n";

/// A template with its scripts.
pub(crate) fn with_scripts(template: Template) -> Template {
    let names = template
        .steps()
        .filter_map(|(_, step)| step.action.script());
    let scripts = names
        .map(|name| (name.to_owned(), SCRIPT.to_owned()))
        .collect();
    template.with_scripts(&scripts)
}

fn host(name: &str) -> PlannedHost {
    PlannedHost {
        name: name.to_owned(),
        address: "127.0.0.1".to_owned(),
        port: 22,
        user: "deploy".to_owned(),
        identity: "/key".to_owned(),
        jump: None,
    }
}

/// `shop` in `production` on hosts `a`, `b`, `c`; `d` serves single steps.
pub(crate) fn ground() -> ResolvedEnvironment {
    let hosts = ["a", "b", "c"].map(host).to_vec();
    ResolvedEnvironment {
        project: "shop".to_owned(),
        environment: "production".to_owned(),
        git_url: "/git/shop.git".to_owned(),
        placement: Some(Placement {
            deploy_to: "/srv/{HOST}/shop".to_owned(),
            keep_releases: 5,
            shared: Vec::new(),
            exclude: Vec::new(),
            owner: None,
            source: None,
            submodules: Submodules::Refuse,
            shared_missing: tagship::domain::plan::SharedMissing::Fail,
        }),
        on_failure: tagship::domain::template::OnFailure::Rollback,
        pause_timeout_s: None,
        approvals: vec!["1".parse().unwrap()],
        self_approval: false,
        hosts,
        groups: BTreeMap::new(),
        machines: ["a", "b", "c", "d"]
            .map(|name| (name.to_owned(), host(name)))
            .into(),
        users: BTreeMap::from([(
            "ops".to_owned(),
            PlannedUser {
                user: "ops".to_owned(),
                port: None,
                identity: "/key-of-ops".to_owned(),
            },
        )]),
        local: Some(LocalUser {
            user: "builder".to_owned(),
            directory: "/var/lib/builder".to_owned(),
        }),
    }
}

/// A push is complete at once; its records may still wait in the spool.
pub(crate) struct SimPushes {
    pub(crate) scans: Arc<Scans>,
    pub(crate) faults: Faults,
}

impl Pushes for SimPushes {
    fn wait_for_records<'a>(&'a self, push: &'a str) -> BoxFuture<'a, ()> {
        async move {
            let fault = self.faults.before("push.gather", push).await;
            self.scans.whole(push).await;
            self.faults.after(fault).await;
        }
        .boxed()
    }
}

/// Every user has the account that the rules map them to.
pub(crate) struct AllUsers;

impl AccountLookup for AllUsers {
    fn has_account<'a>(&'a self, _account: &'a str) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async { Ok(true) })
    }
}

impl PlanSource for SimPlans {
    fn plan_inputs<'a>(
        &'a self,
        submission: &'a Submission,
        disabled: &'a [String],
    ) -> BoxFuture<'a, Result<PlanInputs, NoPlanInputs>> {
        async move {
            if let Some(message) = self.faults.refusal("catalog.recipe", "") {
                return Err(NoPlanInputs::Missing(message));
            }
            if let Some(message) = self.faults.refusal("catalog.read", "") {
                return Err(NoPlanInputs::Unread(message));
            }
            if self.faults.sudden("catalog.recipe") == Some(Fault::Refuse) {
                return Err(NoPlanInputs::Missing(REFUSED.to_owned()));
            }
            let mut ground = self.ground.lock().unwrap().clone();
            submission.environment.clone_into(&mut ground.environment);
            ground.hosts.retain(|host| !disabled.contains(&host.name));
            let template = if submission.has_environment() {
                self.template.clone()
            } else {
                ground.project.clear();
                ground.git_url.clear();
                ground.placement = None;
                tool()
            };
            let given = submission.hosts.iter().map(|(number, names)| {
                let machines = names.iter().map(|name| ground.machines[name].clone());
                (*number, machines.collect())
            });
            let given = given.collect();
            let version = StoredTemplate {
                name: template.name.clone(),
                digest: template.digest.clone(),
                text: String::new(),
                scripts: template
                    .scripts
                    .keys()
                    .map(|name| (name.clone(), SCRIPT.to_owned()))
                    .collect(),
            };
            Ok(PlanInputs {
                environment: ground,
                template,
                given_hosts: given,
                version,
            })
        }
        .boxed()
    }

    fn source(&self, project: &str) -> Result<GitSource, String> {
        Ok(GitSource {
            project: project.to_owned(),
            git_url: "/git/shop.git".to_owned(),
            mirror: PathBuf::from("/mirror"),
            identity: None,
            known_hosts: PathBuf::from("/known_hosts"),
            token_file: None,
            timeouts: Timeouts::default(),
            limits: tagship::domain::plan::PushLimits::default(),
        })
    }
}
