//! The executor's interfaces to the real world: configuration, disk, network.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::resolve::{dialer, source, target};
use crate::base::crash;
use crate::base::durable::{directory_of, put_in_place};
use crate::config::{Config, TemplateCache, Templates};
use crate::domain::host::{Hosts, ReleaseId};
use crate::domain::plan::{AGENT, LocalUser, Plan, PlannedHost};
use crate::domain::task::Submission;
use crate::engine::executor::effects::{
    AccountLookup, AgentProbe, Fleet, ManifestStore, NoPlanInputs, PlanInputs, PlanSource, Probes,
};
use crate::git::checkout::Manifest;
use crate::git::landing::GitSource;
use crate::hosts::ssh::{Dialer, RsyncTransport};
use crate::hosts::ssh_host::{LocalShell, SshHosts};
use crate::identity::account::{AccountError, Accounts};

/// [`PlanSource`] from the configuration and the template files.
pub(super) struct ConfigPlanSource {
    pub(super) config: Arc<Config>,
    pub(super) templates: Arc<TemplateCache>,
}

impl PlanSource for ConfigPlanSource {
    fn plan_inputs<'a>(
        &'a self,
        submission: &'a Submission,
        disabled: &'a [String],
    ) -> BoxFuture<'a, Result<PlanInputs, NoPlanInputs>> {
        Box::pin(async move {
            let library = self.templates.current().await;
            plan_inputs(&self.config, &library, submission, disabled)
        })
    }

    fn source(&self, project: &str) -> Result<GitSource, String> {
        let described = self
            .config
            .project(project)
            .ok_or_else(|| format!("the configuration has no project {project} any more"))?;
        Ok(source(&self.config, described))
    }
}

fn plan_inputs(
    config: &Config,
    library: &Templates,
    submission: &Submission,
    disabled: &[String],
) -> Result<PlanInputs, NoPlanInputs> {
    let (project, environment) = (&submission.project, &submission.environment);
    let template = submission.template.as_str();
    let environment = if submission.has_environment() {
        config
            .resolve(project, environment, disabled)
            .map_err(|error| NoPlanInputs::Missing(error.to_string()))?
    } else {
        config.resolve_without_project(disabled)
    };
    let problems = || {
        let all = library.problems().iter().map(ToString::to_string);
        all.collect::<Vec<_>>().join("; ")
    };
    if library.is_in_doubt(template) {
        let reason = format!("template {template} cannot be used: {}", problems());
        return Err(NoPlanInputs::Unread(reason));
    }
    let found = library.find(template).cloned();
    let found = found.zip(library.version(template));
    let (template, version) = found.ok_or_else(|| {
        NoPlanInputs::Missing(format!(
            "there is no usable template {template} in {} or built in; {}",
            config.agent.templates_dir.display(),
            problems()
        ))
    })?;
    Ok(PlanInputs {
        environment,
        template,
        given_hosts: config.given_hosts(&submission.hosts, disabled),
        version,
    })
}

impl AccountLookup for Accounts {
    fn has_account<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async move {
            match self.get(account).await {
                Ok(_) => Ok(true),
                Err(AccountError::NoSuchAccount(_)) => Ok(false),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// [`ManifestStore`] below the agent's data directory: `trees/PROJECT/ENVIRONMENT`,
/// `manifests/PROJECT/ENVIRONMENT/RELEASE`.
pub(super) struct DiskManifests {
    data: PathBuf,
}

impl DiskManifests {
    pub(super) fn new(data: PathBuf) -> Self {
        Self { data }
    }

    fn manifest(&self, project: &str, environment: &str, release: &ReleaseId) -> PathBuf {
        self.data
            .join("manifests")
            .join(project)
            .join(environment)
            .join(&release.0)
    }
}

impl ManifestStore for DiskManifests {
    fn tree(&self, project: &str, environment: &str) -> PathBuf {
        self.data.join("trees").join(project).join(environment)
    }

    fn load(
        &self,
        project: &str,
        environment: &str,
        release: &ReleaseId,
    ) -> BoxFuture<'_, Option<Arc<Manifest>>> {
        let path = self.manifest(project, environment, release);
        Box::pin(async move {
            let bytes = tokio::fs::read(&path).await.ok()?;
            match Manifest::from_bytes(&bytes) {
                Ok(manifest) => Some(Arc::new(manifest)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "manifest is not usable");
                    None
                }
            }
        })
    }

    fn keep(
        &self,
        project: &str,
        environment: &str,
        release: &ReleaseId,
        manifest: Arc<Manifest>,
    ) -> BoxFuture<'_, Result<(), String>> {
        let path = self.manifest(project, environment, release);
        Box::pin(async move {
            let named = path.display().to_string();
            crash::before("shelf.keep");
            let kept =
                tokio::task::spawn_blocking(move || write_durably(&path, &manifest.to_bytes()));
            let kept = kept.await;
            crash::after("shelf.keep");
            kept.map_err(|error| error.to_string())
                .and_then(|result| result.map_err(|error| error.to_string()))
                .map_err(|error| format!("cannot write {named}: {error}"))
        })
    }
}

/// Writes a temporary file and puts it in place.
fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(directory_of(path))?;
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    put_in_place(&file, &temporary, path)
}

/// [`Fleet`] over SSH.
pub(super) struct SshFleet {
    dialer: Arc<Dialer>,
    transport: RsyncTransport,
    known_hosts: PathBuf,
    passphrase_file: Option<PathBuf>,
    /// The user who may run steps on this machine, as configured now.
    local: Option<LocalUser>,
}

impl SshFleet {
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            dialer: dialer(config),
            transport: RsyncTransport::of_this_program(config.agent.data_dir.join("run"))?,
            known_hosts: config.known_hosts(),
            passphrase_file: config.ssh.passphrase_file.clone(),
            local: config.local_user(),
        })
    }
}

impl Fleet for SshFleet {
    fn hosts(&self, plan: &Plan) -> Arc<dyn Hosts> {
        let passphrase = self.passphrase_file.as_deref();
        let reached = |host: &PlannedHost| target(host, &self.known_hosts, passphrase);
        let plain = plan
            .hosts
            .iter()
            .map(|host| (host.name.clone(), reached(host)));
        let users = plan.named.users.iter();
        let as_users = users.flat_map(|(name, user)| {
            let hosts = plan.hosts.iter();
            hosts.map(move |host| {
                (
                    format!("{name}@{}", host.name),
                    reached(&user.apply_to(host)),
                )
            })
        });
        let hosts = SshHosts::named(
            plain.chain(as_users),
            self.dialer.clone(),
            self.transport.clone(),
        );
        match &plan.named.local {
            None => Arc::new(hosts),
            Some(planned) => Arc::new(hosts.with_local(AGENT, self.local_shell(planned))),
        }
    }
}

impl SshFleet {
    /// What was planned must still be allowed: removing `[local_run]` forbids it.
    fn local_shell(&self, planned: &LocalUser) -> Result<LocalShell, String> {
        if self.local.as_ref() != Some(planned) {
            return Err(format!(
                "the plan runs a step on the agent's own machine as {}, and [local_run] says so no \
                 more; push a new tag for a new plan",
                planned.user
            ));
        }
        LocalShell::new(&planned.user, Path::new(&planned.directory))
    }
}

/// [`Probes`] from the agent's machine.
pub(super) struct NetworkProbes {
    client: reqwest::Client,
}

impl NetworkProbes {
    pub(super) fn new() -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { client })
    }
}

impl Probes for NetworkProbes {
    fn check(&self, question: AgentProbe, timeout: Duration) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            match question {
                AgentProbe::Http { url, status } => {
                    let answer = self
                        .client
                        .get(&url)
                        .timeout(timeout)
                        .send()
                        .await
                        .map_err(|error| format!("{url}: {error}"))?;
                    let found = answer.status().as_u16();
                    if found == status {
                        return Ok(());
                    }
                    Err(format!("{url} answered {found}, not {status}"))
                }
                AgentProbe::Tcp { address } => {
                    let connect = tokio::net::TcpStream::connect(&address);
                    match tokio::time::timeout(timeout, connect).await {
                        Ok(Ok(_)) => Ok(()),
                        Ok(Err(error)) => Err(format!("{address}: {error}")),
                        Err(_) => Err(format!(
                            "{address}: no answer within {} s",
                            timeout.as_secs()
                        )),
                    }
                }
            }
        })
    }
}
