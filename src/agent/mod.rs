//! The agent: assembles all parts and runs them until shutdown.
//!
//! Opens the store, publishes the hook's rules, then runs intake, executor and web side by side. If
//! one of them fails, the agent exits with its error, and its supervisor restarts it: durable work
//! is resumed. It decides nothing about a task, and performs no step itself. `tagship serve` and
//! `tagship demo` run it; `setup` reaches hosts and checks users as it does.

mod adapters;
mod directory;
mod group;
mod pushes;
pub mod resolve;
mod upkeep;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

pub use self::group::user;
pub(crate) use self::group::{GroupProblem, agents_user, chown_command, spool_commands};
use crate::base::clock::{Clock, SystemClock};
use crate::config::{AgentConfig, Config, Engine, MissedSchedule, TemplateCache};
use crate::domain::document::Problems;
use crate::engine::executor::{Executor, ExecutorLimits, MissedPolicy, World, drift};
use crate::engine::intake::{Intake, Scans, SpoolDirectory};
use crate::engine::reconcile::{Reconciler, WatchedRepository};
use crate::engine::spool;
use crate::identity::account::Accounts;
use crate::identity::session::{Sessions, WebTransport};
use crate::server::{self, Web};
use crate::store::Store;
use crate::store::kv::Kv;
use crate::store::log::LogBook;
use crate::store::memory::MemoryKv;
use crate::store::sled::SledKv;

/// How much sled may cache, in bytes: pages of lists. Comparisons and plans, which are large, are
/// seldom read twice.
const CACHE_BYTES: u64 = 2 * 1024 * 1024;

/// An agent that is ready to run: its store is open and its sockets listen.
pub struct Agent {
    config: Arc<Config>,
    templates: Arc<TemplateCache>,
    store: Store,
    clock: Arc<dyn Clock>,
    logs: LogBook,
    tcp: TcpListener,
    unix: UnixListener,
}

/// Returns the store directory of a configuration.
#[must_use]
pub fn store_directory(config: &Config) -> PathBuf {
    config.agent.data_dir.join("store")
}

/// Returns which file is in the place of a directory of the spool, and what to do about it.
pub(crate) fn spool_obstacle(agent: &AgentConfig) -> Option<String> {
    let spool_dir = &agent.spool_dir;
    let below = [spool::TMP, spool::NEW, spool::BAD, spool::RULES];
    let below = below.into_iter().map(|name| spool_dir.join(name));
    let mut all = std::iter::once(spool_dir.clone()).chain(below);
    let found = all.find_map(|dir| directory::refuse_file("spool_dir", &dir).err())?;
    Some(found.to_string())
}

/// Opens the store of a configuration; fails while an agent holds it.
///
/// # Errors
/// Another process holds it, it is damaged or newer, or the directory is invalid or not ours.
pub async fn open_store(config: &Config) -> anyhow::Result<Store> {
    directory::create(&config.agent.data_dir)?;
    let kv: Arc<dyn Kv> = match config.store.engine {
        Engine::Sled => Arc::new(SledKv::open(&store_directory(config), CACHE_BYTES)?),
        Engine::Memory => Arc::new(MemoryKv::new()),
    };
    let store = Store::open(kv).await;
    store.with_context(|| {
        format!(
            "cannot use the store in {}",
            store_directory(config).display()
        )
    })
}

/// Raises the soft limit of open files, by default 1024, to the hard one: each host of a release takes
/// several.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

impl Agent {
    /// Opens the store, creates the spool, publishes the rules and listens.
    ///
    /// # Errors
    /// What prevents the start, naming the file, the address or the process.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let templates = TemplateCache::new(&config.agent.templates_dir);
        let mismatches = templates.current().await.mismatches(&config);
        if !mismatches.is_empty() {
            return Err(Problems(mismatches).into());
        }
        raise_open_files();
        directory::create(&config.agent.data_dir)?;
        directory::check_free_space(&config.agent.data_dir)?;
        let store = open_store(&config).await?;
        let group = user(&config.agent.git_user).map(|(_, group)| group);
        if let Some(outsider) = GroupProblem::check(&config.agent) {
            bail!("{outsider}; {}", outsider.remedy());
        }
        if let Some(obstacle) = spool_obstacle(&config.agent) {
            bail!("{obstacle}");
        }
        let own_group = rustix::process::getegid().as_raw();
        spool::setup(
            &config.agent.spool_dir,
            group.filter(|group| *group != own_group),
        )
        .map_err(|error| anyhow!("{error}; run as root: {}", spool_commands(&config.agent)))?;
        spool::publish_rules(&config.agent.spool_dir, &config.rules_files())?;
        let tcp = TcpListener::bind(config.agent.listen)
            .await
            .map_err(|error| listen_error(config.agent.listen, &error))?;
        let unix = listen_locally(&config.socket())?;
        Ok(Self {
            logs: LogBook::new(config.agent.data_dir.join("logs")),
            config: Arc::new(config),
            templates,
            store,
            clock: Arc::new(SystemClock),
            tcp,
            unix,
        })
    }

    /// Returns the address on which the agent listens (the system chooses the port if it is 0).
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<std::net::SocketAddr> {
        self.tcp.local_addr()
    }

    /// Runs until `shutdown` becomes true, or a part fails.
    ///
    /// # Errors
    /// The error of that part. Durable work is resumed at the next start.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) -> anyhow::Result<()> {
        let config = self.config.clone();
        let scans: Arc<Scans> = Arc::default();
        let world = self.world(scans.clone())?;
        let drift = drift::watch(world.clone(), config.agent.drift_check);
        let executor = Executor::new(
            world,
            ExecutorLimits {
                parallel_tasks: config.agent.parallel_tasks as usize,
                parallel_hosts: config.agent.parallel_hosts as usize,
                landing_timeout_s: i64::try_from(config.agent.landing_timeout.as_secs())?,
                missed: match config.agent.missed_schedule {
                    MissedSchedule::Run => MissedPolicy::Run,
                    MissedSchedule::Expire => MissedPolicy::Expire,
                },
            },
        );
        let intake = Intake {
            store: self.store.clone(),
            clock: self.clock.clone(),
            rules: Arc::new(config.rule_sets()),
            config: config.clone(),
            templates: self.templates.clone(),
            spool: Arc::new(SpoolDirectory(config.agent.spool_dir.clone())),
            git_user: user(&config.agent.git_user).map(|(user, _)| user),
            scans: scans.clone(),
        };
        let reconciler = Reconciler {
            store: self.store.clone(),
            clock: self.clock.clone(),
            rules: intake.rules.clone(),
            templates: self.templates.clone(),
            config: config.clone(),
            git: Arc::new(crate::git::landing::SystemGit),
            scans,
            watched: WatchedRepository::all(&config, |project| resolve::source(&config, project)),
        };
        reconciler.hold_all();
        let mut ended = shutdown.clone();
        let upkeep = self.upkeep();
        let web = self.web().serve(self.tcp, Some(self.unix), async move {
            drop(ended.wait_for(|end| *end).await);
        });
        tracing::info!(url = config.public_url(), "agent is ready");
        tokio::pin!(web);
        let result = tokio::select! {
            result = tokio::spawn(executor.run()) => flatten(result, "executor"),
            result = tokio::spawn(intake.run(config.agent.spool_dir.clone())) => flatten(result, "intake"),
            () = &mut web => Ok(()),
            () = upkeep => Ok(()),
            () = reconciler.run() => Ok(()),
            () = drift => Ok(()),
            _ = shutdown.wait_for(|end| *end) => {
                web.await;
                Ok(())
            }
        };
        drop(std::fs::remove_file(config.socket()));
        result
    }

    fn upkeep(&self) -> impl Future<Output = ()> + use<> {
        let upkeep = upkeep::Upkeep {
            clock: self.clock.clone(),
            sessions: self.sessions(),
            logs: self.logs.clone(),
            store: self.store.clone(),
            hook_log_age: self.config.agent.hook_log_age,
            hook_log_entries: self.config.agent.hook_log_entries,
        };
        upkeep.run()
    }

    fn accounts(&self) -> Arc<Accounts> {
        Arc::new(Accounts::new(self.store.kv(), self.clock.clone()))
    }

    fn sessions(&self) -> Arc<Sessions> {
        Arc::new(Sessions::new(
            self.store.kv(),
            self.clock.clone(),
            self.accounts(),
            WebTransport::of_url(&self.config.public_url()),
        ))
    }

    fn web(&self) -> Web {
        Web {
            store: self.store.clone(),
            accounts: self.accounts(),
            sessions: self.sessions(),
            config: self.config.clone(),
            templates: self.templates.clone(),
            logs: self.logs.clone(),
            clock: self.clock.clone(),
            limits: server::WebLimits::default(),
        }
    }

    fn world(&self, scans: Arc<Scans>) -> anyhow::Result<World> {
        let plan_source = Arc::new(adapters::ConfigPlanSource {
            config: self.config.clone(),
            templates: self.templates.clone(),
        });
        Ok(World {
            store: self.store.clone(),
            clock: self.clock.clone(),
            git: Arc::new(crate::git::landing::SystemGit),
            checkout: Arc::new(crate::git::checkout::MirrorCheckout),
            manifests: Arc::new(adapters::DiskManifests::new(
                self.config.agent.data_dir.clone(),
            )),
            fleet: Arc::new(adapters::SshFleet::new(&self.config)?),
            probes: Arc::new(adapters::NetworkProbes::new()?),
            plan_source,
            accounts: self.accounts(),
            pushes: Arc::new(pushes::SpoolPushes {
                scans,
                clock: self.clock.clone(),
            }),
            calendar: Arc::new(self.config.calendar()),
            logs: Arc::new(self.logs.clone()),
        })
    }
}

fn flatten<E: std::error::Error + Send + Sync + 'static>(
    result: Result<Result<(), E>, tokio::task::JoinError>,
    part: &'static str,
) -> anyhow::Result<()> {
    result
        .with_context(|| format!("{part} ended unexpectedly"))?
        .context(part)
}

/// Describes why nothing can be served there, and how to fix it.
fn listen_error(listen: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let port = listen.port();
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => format!(
            "another program listens there: `ss -ltnp 'sport = :{port}'` names it; end \
             that one, or choose another port in [agent] listen"
        ),
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address: `ip -brief address` lists those that it has; correct \
             [agent] listen"
                .to_owned()
        }
        ErrorKind::PermissionDenied => {
            "only root may use a port below 1024: choose a higher one in [agent] listen, and let a \
             proxy serve this one"
                .to_owned()
        }
        _ => "correct [agent] listen".to_owned(),
    };
    anyhow::anyhow!("cannot listen on {listen}: {error}; {remedy}")
}

/// Listens on the command line's socket: only the agent's user and root may open it.
fn listen_locally(path: &Path) -> anyhow::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    // The store is open here alone, so the process that left this socket has ended.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("cannot replace {}: {error}", path.display());
        }
        _ => {}
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("cannot listen on {}; set [agent] socket", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
