//! The executor's side effects, as traits: each method is one effect with a label, so that a
//! simulated world can stop, fail or delay exactly that one.
//!
//! The other effects are next to their types: `landing::Git`, `checkout::Checkout`, `host::Hosts`,
//! `clock::Clock`, `store::kv::Kv`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::base::clock::Clock;
use crate::domain::approval::freeze::Calendar;
use crate::domain::host::{Hosts, ReleaseId};
use crate::domain::plan::{Plan, PlannedHost, ResolvedEnvironment};
use crate::domain::task::Submission;
use crate::domain::template::{StoredTemplate, Template};
use crate::git::checkout::{Checkout, Manifest};
use crate::git::landing::{Git, GitSource};
use crate::store::Store;
pub use crate::store::log::StepLogs;

/// The environment that the executor acts on.
#[derive(Clone)]
pub struct World {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub git: Arc<dyn Git>,
    pub checkout: Arc<dyn Checkout>,
    pub manifests: Arc<dyn ManifestStore>,
    pub fleet: Arc<dyn Fleet>,
    pub probes: Arc<dyn Probes>,
    pub plan_source: Arc<dyn PlanSource>,
    pub accounts: Arc<dyn AccountLookup>,
    pub pushes: Arc<dyn Pushes>,
    /// When releases are frozen.
    pub calendar: Arc<Calendar>,
    pub logs: Arc<dyn StepLogs>,
}

/// Connections to the hosts of one task.
pub trait Fleet: Send + Sync {
    /// `fleet.hosts`: opens nothing until the first operation. When the value is dropped,
    /// connections end or are kept for the next task.
    fn hosts(&self, plan: &Plan) -> Arc<dyn Hosts>;
}

/// What a health check from the agent's machine requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentProbe {
    /// An HTTP GET, and the expected status.
    Http { url: String, status: u16 },
    /// A TCP connection to `ADDRESS:PORT`.
    Tcp { address: String },
}

/// Health checks from the agent's machine.
pub trait Probes: Send + Sync {
    /// `probe.ask`: performs one check once. Changes nothing; may be repeated at any time.
    ///
    /// # Errors
    /// The answer that was received instead, as text.
    fn check(&self, question: AgentProbe, timeout: Duration) -> BoxFuture<'_, Result<(), String>>;
}

/// The configuration and template files that a plan is made from, read when the plan is made.
#[derive(Clone, Debug)]
pub struct PlanInputs {
    pub environment: ResolvedEnvironment,
    pub template: Template,
    /// The hosts that the task gives, by the number of their group.
    pub given_hosts: BTreeMap<u8, Vec<PlannedHost>>,
    /// The template as the store keeps it.
    pub version: StoredTemplate,
}

/// Why there are no plan inputs; the text names the file or the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlanInputs {
    /// Until the configuration or the templates change.
    Missing(String),
    /// A file could not be read or is invalid; a retry may succeed.
    Unread(String),
}

/// The configuration as the executor needs it.
pub trait PlanSource: Send + Sync {
    /// `catalog.recipe`: reads template files; changes nothing. `disabled` are the hosts to leave
    /// out.
    ///
    /// # Errors
    /// [`NoPlanInputs`].
    fn plan_inputs<'a>(
        &'a self,
        submission: &'a Submission,
        disabled: &'a [String],
    ) -> BoxFuture<'a, Result<PlanInputs, NoPlanInputs>>;

    /// Returns the URL of a project's repository and the path of its mirror.
    ///
    /// # Errors
    /// The configuration no longer has the project.
    fn source(&self, project: &str) -> Result<GitSource, String>;
}

/// Which accounts exist.
pub trait AccountLookup: Send + Sync {
    /// `people.has`: whether an account of this name exists. Changes nothing.
    ///
    /// # Errors
    /// The store's, as text.
    fn has_account<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<bool, String>>;
}

/// Waits until every record of a push has been taken in.
pub trait Pushes: Send + Sync {
    /// `push.gather`: returns when every known record of the push has become a task, and in any
    /// case after a short time. Changes nothing; may be repeated at any time.
    fn wait_for_records<'a>(&'a self, push: &'a str) -> BoxFuture<'a, ()>;
}

/// The agent's own trees and manifests, on its disk.
pub trait ManifestStore: Send + Sync {
    /// Returns the directory that is made equal to a release of this environment.
    fn tree(&self, project: &str, environment: &str) -> PathBuf;

    /// `shelf.load`: the manifest of a release; `None` if it is lost.
    fn load(
        &self,
        project: &str,
        environment: &str,
        release: &ReleaseId,
    ) -> BoxFuture<'_, Option<Arc<Manifest>>>;

    /// `shelf.keep`: durable on return. Keeping the same one again is harmless.
    ///
    /// # Errors
    /// The disk's, naming the path.
    fn keep(
        &self,
        project: &str,
        environment: &str,
        release: &ReleaseId,
        manifest: Arc<Manifest>,
    ) -> BoxFuture<'_, Result<(), String>>;
}
