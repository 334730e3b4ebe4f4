//! What the executor does to the world, as traits: each method is one effect with a label, so that a
//! simulated world can stop, fail or delay exactly that one.
//!
//! The other effects stand where their words are: `landing::Git`, `checkout::Checkout`,
//! `host::Hosts`, `clock::Clock`, `store::kv::Kv`.

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

/// The world that the executor acts on.
#[derive(Clone)]
pub struct World {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub git: Arc<dyn Git>,
    pub checkout: Arc<dyn Checkout>,
    pub shelf: Arc<dyn ManifestStore>,
    pub fleet: Arc<dyn Fleet>,
    pub probes: Arc<dyn Probes>,
    pub catalog: Arc<dyn PlanSource>,
    pub people: Arc<dyn People>,
    pub pushes: Arc<dyn Pushes>,
    /// When nothing is released.
    pub calendar: Arc<Calendar>,
    pub logs: Arc<dyn StepLogs>,
}

/// Connections to the hosts of one task.
pub trait Fleet: Send + Sync {
    /// `fleet.hosts`: nothing is opened until the first operation. Connections end when the value
    /// is dropped.
    fn hosts(&self, plan: &Plan) -> Arc<dyn Hosts>;
}

/// What a health check from the agent's machine asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentProbe {
    /// A GET; the status that it must answer.
    Http { url: String, status: u16 },
    /// A connection to `ADDRESS:PORT`.
    Tcp { address: String },
}

/// Health checks from the agent's machine.
pub trait Probes: Send + Sync {
    /// `probe.ask`: one question, once. Changes nothing; may be asked again at any time.
    ///
    /// # Errors
    /// What was answered instead, in words.
    fn ask(&self, question: AgentProbe, timeout: Duration) -> BoxFuture<'_, Result<(), String>>;
}

/// Everything of the configuration and the template files that a plan is made from, read when the
/// plan is made.
#[derive(Clone, Debug)]
pub struct PlanInputs {
    pub ground: ResolvedEnvironment,
    pub template: Template,
    /// The hosts that the task gives, by the number of their group.
    pub given: BTreeMap<u8, Vec<PlannedHost>>,
    /// The template as the store is to keep it.
    pub version: StoredTemplate,
}

/// Why there is no recipe, in words that name the file or the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlanInputs {
    /// Until somebody changes the configuration or the templates.
    Missing(String),
    /// A file could not be read, or is wrong, that may be read, or mended, the next moment.
    Unread(String),
}

/// The configuration as the executor needs it.
pub trait PlanSource: Send + Sync {
    /// `catalog.recipe`: reads template files; changes nothing. `disabled` are the hosts that stay
    /// out.
    ///
    /// # Errors
    /// [`NoPlanInputs`].
    fn recipe(
        &self,
        submission: &Submission,
        disabled: &[String],
    ) -> Result<PlanInputs, NoPlanInputs>;

    /// Where a project's repository is, and its mirror.
    ///
    /// # Errors
    /// The configuration does not know the project any more.
    fn source(&self, project: &str) -> Result<GitSource, String>;
}

/// Who has an account.
pub trait People: Send + Sync {
    /// `people.has`: whether somebody has the account of this name. Changes nothing.
    ///
    /// # Errors
    /// The store's, in words.
    fn has<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<bool, String>>;
}

/// When everything of a push has been heard.
pub trait Pushes: Send + Sync {
    /// `push.gather`: ends when every record of the push has become a task, as far as anybody can
    /// tell, and soon in any case. Changes nothing; may be asked again at any time.
    fn gathered<'a>(&'a self, push: &'a str) -> BoxFuture<'a, ()>;
}

/// The agent's own trees and manifests, on its disk.
pub trait ManifestStore: Send + Sync {
    /// The directory that is brought to equal a release of this environment.
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
