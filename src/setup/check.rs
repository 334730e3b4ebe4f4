//! Would a release work? Looks, as the agent would, at hosts, repositories, hook, spool and
//! templates, and says of each what is well and what is not, with the remedy; also shows and pins
//! the key of a new host ([`enroll`]). It needs no agent, changes nothing in a
//! repository, and touches nothing of the store: who has an account, a running agent is asked by
//! the command line, which calls this. On a host it leaves nothing: one small file is sent to a
//! directory of its own below a place of releases, as a release would be, and deleted.

pub mod enroll;
mod hosts;
mod local;
mod logins;
mod people;
mod probe;
mod projects;
mod send;

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::base::secret;
use crate::config::Config;
use crate::git::checkout::shared_files;
use crate::setup::install::Install;
pub use people::Accounts;
use probe::PlaceNeeds;

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "lowercase")]
pub enum Subject {
    /// This machine: configuration, templates, spool.
    Agent,
    Project(String),
    Host(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("agent"),
            Self::Project(name) => write!(f, "project {name}"),
            Self::Host(name) => write!(f, "host {name}"),
        }
    }
}

/// Whether all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Ok,
    /// A release works, and not as the configuration says.
    Warn,
    /// A release would fail, or a tag would be lost.
    Fail,
    /// It can't be told from here, or is left out on purpose.
    NotLookedAt,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub subject: Subject,
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to do about it; empty where `what` says it, or nothing is to be done.
    pub remedy: String,
}

impl Finding {
    fn ok(subject: &Subject, what: impl Into<String>) -> Self {
        Self {
            subject: subject.clone(),
            verdict: Verdict::Ok,
            what: what.into(),
            remedy: String::new(),
        }
    }

    fn fail(subject: &Subject, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            subject: subject.clone(),
            verdict: Verdict::Fail,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    fn warn(subject: &Subject, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warn,
            ..Self::fail(subject, what, remedy)
        }
    }

    fn not_looked_at(subject: &Subject, why: impl Into<String>) -> Self {
        Self {
            subject: subject.clone(),
            verdict: Verdict::NotLookedAt,
            what: why.into(),
            remedy: String::new(),
        }
    }
}

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// One project and its hosts; `None`: everything.
    pub project: Option<String>,
    /// Hosts that are taken out, with the reason.
    pub disabled: BTreeMap<String, String>,
    /// By host: where `current` leads elsewhere than tagship switched it, as the agent has seen it,
    /// and what to do about it.
    pub drifts: BTreeMap<String, Vec<(String, &'static str)>>,
    /// Who has an account; `None` where nobody tells.
    pub accounts: Option<Accounts>,
    /// When the agent last heard of a push to each project, in words; a project is missing where no
    /// agent tells.
    pub heard: BTreeMap<String, Option<String>>,
    /// The projects whose tags the agent can't look for on the git server, with the words for it.
    pub unseen: BTreeMap<String, String>,
    /// The installations of the hook on this machine, by project.
    pub hooks: BTreeMap<String, Install>,
}

impl Scope {
    fn covers(&self, project: &str) -> bool {
        self.project.as_deref().is_none_or(|only| only == project)
    }

    /// The places on each host to which something is released: `(what, deploy_to)`.
    fn places(&self, config: &Config) -> BTreeMap<String, BTreeMap<String, PlaceNeeds>> {
        let mut places: BTreeMap<String, BTreeMap<String, PlaceNeeds>> = BTreeMap::new();
        if self.project.is_none() {
            places.extend(
                config
                    .hosts
                    .keys()
                    .map(|host| (host.clone(), BTreeMap::new())),
            );
        }
        for project in config.projects.iter().filter(|p| self.covers(&p.name)) {
            for environment in project.environments.values() {
                for host in config.groups.get(&environment.group).into_iter().flatten() {
                    let paths = places.entry(host.clone()).or_default();
                    let needs = PlaceNeeds {
                        shared_files: shared_files(&environment.shared).into_iter().collect(),
                        shared_missing: environment.shared_missing,
                    };
                    paths.insert(environment.deploy_to(host), needs);
                }
            }
        }
        places
    }
}

/// Looks at everything in scope: this machine first, then projects, then hosts side by side, then
/// the execution users on them.
pub async fn check(config: &Config, scope: &Scope) -> Vec<Finding> {
    let mut findings = local::findings(config, scope);
    findings.extend(people::findings(config, scope));
    findings.extend(projects::findings(config, scope).await);
    findings.extend(hosts::findings(config, scope).await);
    findings.extend(logins::findings(config, scope).await);
    findings
}

fn scratch() -> std::io::Result<Scratch> {
    let random = secret::random_bytes::<8>().map_err(std::io::Error::other)?;
    let name = format!("tagship-check-{}", secret::hex(&random));
    let path: PathBuf = std::env::temp_dir().join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(Scratch(path))
}

/// A directory that goes with this value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing in it is of use to anybody; the system clears its directory in time.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
