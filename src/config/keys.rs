//! The keys of `config.toml`, one struct per table. `docs/config.md` documents them for users; a
//! test compares the two.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::source::ConfigOrigin;
use crate::domain::approval::freeze::{BadWindow, Day, FreezePeriod};
use crate::domain::document::duration;
use crate::domain::permission::Grant;
use crate::domain::plan::{PushLimits, SharedMissing, Submodules};
use crate::domain::rule::{OnSpoolError, Schedule};
use crate::domain::template::{OnFailure, Requirement};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The whole of `config.toml`. Once loaded, every path is absolute or relative to the working
/// directory, and every name it refers to exists.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub agent: AgentConfig,
    pub store: StoreConfig,
    pub git: GitConfig,
    pub ssh: Ssh,
    pub log: LogConfig,
    /// Machines by name.
    pub hosts: BTreeMap<String, Host>,
    /// Users that steps may run as instead of the login user, by the name used in templates.
    pub execution_users: BTreeMap<String, ExecutionUser>,
    /// Steps on the agent's own machine; `None` disables them.
    pub local_run: Option<LocalRun>,
    /// Host names by group name.
    pub groups: BTreeMap<String, Vec<String>>,
    pub projects: Vec<Project>,
    /// Windows in which nothing is released.
    pub freezes: Vec<FreezeWindow>,
    /// Configuration of accounts in addition to the store, by name.
    pub users: BTreeMap<String, UserConfig>,
    /// Roles that apply in one scope only.
    pub grants: Vec<Grant>,
    /// Where the configuration was read from.
    #[serde(skip)]
    pub origin: ConfigOrigin,
}

/// `[agent]`: the agent itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// The address of the web pages and the API. Default `127.0.0.1:8424`.
    #[serde(deserialize_with = "listen")]
    pub listen: SocketAddr,
    /// The URL for users and other programs, without a trailing slash. Default: `http://` and
    /// `listen`; see [`Config::public_url`].
    pub public_url: Option<String>,
    /// The agent's data: store, mirrors, trees, logs. Default `/var/lib/tagship`.
    pub data_dir: PathBuf,
    /// Where the hook writes its records. Default `/var/spool/tagship`.
    pub spool_dir: PathBuf,
    /// The operator's templates. Default `/etc/tagship/templates`; it need not exist.
    pub templates_dir: PathBuf,
    /// The Unix socket of the command line. Default `agent.sock` in `data_dir`; see
    /// [`Config::socket`].
    pub socket: Option<PathBuf>,
    /// The system user of the git server, whose spool records are trusted. Default `git`.
    pub git_user: String,
    /// Whether an approval over the Unix socket (`os:NAME`) counts. Default no.
    pub local_approval: bool,
    /// The maximum time from the push until a ref lands. Default 5 minutes.
    #[serde(deserialize_with = "duration::deserialize")]
    pub landing_timeout: Duration,
    /// The maximum number of hosts of a stage that run at the same time. Default 100.
    pub parallel_hosts: u32,
    /// The maximum number of tasks that run at the same time. Default 16.
    pub parallel_tasks: u32,
    /// How often to check where `current` points on hosts; 0: never. Default one hour.
    #[serde(deserialize_with = "duration::deserialize")]
    pub drift_check: Duration,
    /// How long entries of the hook log are kept. Default 90 days.
    #[serde(deserialize_with = "duration::deserialize")]
    pub hook_log_age: Duration,
    /// The maximum number of hook log entries. Default 100,000.
    pub hook_log_entries: u32,
    /// The time zone for reading and writing times, by name. Default: the machine's; see
    /// [`Config::time_zone`].
    pub time_zone: Option<String>,
    /// What to do with a task whose scheduled time passed while the agent was down. Default `run`.
    pub missed_schedule: MissedSchedule,
    /// What the hook does with a tag if it cannot write its record. Default `reject`.
    pub on_spool_error: OnSpoolError,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8424)),
            public_url: None,
            data_dir: "/var/lib/tagship".into(),
            spool_dir: "/var/spool/tagship".into(),
            templates_dir: "/etc/tagship/templates".into(),
            socket: None,
            git_user: "git".to_owned(),
            local_approval: false,
            landing_timeout: 5 * MINUTE,
            parallel_hosts: 100,
            parallel_tasks: 16,
            drift_check: 60 * MINUTE,
            hook_log_age: 90 * DAY,
            hook_log_entries: 100_000,
            time_zone: None,
            missed_schedule: MissedSchedule::Run,
            on_spool_error: OnSpoolError::Reject,
        }
    }
}

/// `[store]`: where task events are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    pub engine: Engine,
}

/// The storage engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// On this machine's disk, under `data_dir`.
    #[default]
    Sled,
    /// In memory: lost when the agent exits. For trials.
    Memory,
}

/// `[git]`: how the agent asks the git server and fetches from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GitConfig {
    /// The private key for `ssh` URLs. Default: that of the agent's user.
    pub identity: Option<PathBuf>,
    /// The known host keys for `ssh` URLs. Default: those of the agent's user.
    pub known_hosts: Option<PathBuf>,
    /// A file whose first line is the token for `https` URLs.
    pub token_file: Option<PathBuf>,
}

/// `[ssh]`: how the agent reaches hosts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ssh {
    /// Default `deploy`.
    pub user: String,
    /// Default 22.
    pub port: u16,
    /// The private key. Default `ssh/id_ed25519` in `data_dir`; see [`Config::ssh_identity`].
    pub identity: Option<PathBuf>,
    /// A file whose first line is the passphrase of the key.
    pub passphrase_file: Option<PathBuf>,
    /// The trusted host keys. Default `ssh/known_hosts` in `data_dir`; see [`Config::known_hosts`].
    pub known_hosts: Option<PathBuf>,
    /// The timeout for opening a TCP connection. Default 10 seconds. Handshake and login have 30
    /// seconds in total.
    #[serde(deserialize_with = "duration::deserialize")]
    pub connect_timeout: Duration,
    /// How often an idle connection is checked. Default 15 seconds.
    #[serde(deserialize_with = "duration::deserialize")]
    pub keepalive: Duration,
    /// How long to retry a host that accepts and then closes connections. Default 60 seconds.
    #[serde(deserialize_with = "duration::deserialize")]
    pub patience: Duration,
    /// How long an idle connection is kept for the next task. Default 10 minutes; zero keeps none.
    #[serde(deserialize_with = "duration::deserialize")]
    pub idle_timeout: Duration,
    /// The maximum number of idle connections, over all hosts. Default 100; 0 keeps none.
    pub idle_connections: u32,
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            user: "deploy".to_owned(),
            port: 22,
            identity: None,
            passphrase_file: None,
            known_hosts: None,
            connect_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(15),
            patience: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(600),
            idle_connections: 100,
        }
    }
}

/// `[log]`: what the agent writes to its standard error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// A filter of the `tracing` crate. Default `info,thrussh=warn`.
    pub filter: String,
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "info,thrussh=warn".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// `[hosts.NAME]`: a machine. Missing keys default to `[ssh]`; see [`Config::endpoint`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// Host name or IP address to connect to. Default: the host's name.
    pub address: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub identity: Option<PathBuf>,
    /// The host through which this one is reached.
    pub jump: Option<String>,
}

/// `[execution_users.NAME]`: the user for steps that name them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionUser {
    /// The system user on the host.
    pub user: String,
    /// Default: the host's.
    pub port: Option<u16>,
    /// The private key. Default: that of `[ssh]`.
    pub identity: Option<PathBuf>,
}

/// `[local_run]`: steps on the agent's own machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalRun {
    /// The system user for these steps: never the agent's own, never root.
    pub user: String,
    /// The user's directory for tasks. Default `.local/state/tagship` in the home.
    pub directory: Option<PathBuf>,
}

/// `[[projects]]`: a repository, or a sub-directory of one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    pub name: String,
    /// The repository name that the git server's hook reports: GitLab's `group/shop` or
    /// `project-7`, Gitea's `alice/shop`, or the absolute path of a bare repository.
    pub repository: String,
    /// Where the agent fetches from. Default: `repository`, if that is an absolute path. Always set
    /// once loaded, see [`Project::git_url`].
    pub git_url: Option<String>,
    /// The project's page on the git server, for links. Without a trailing slash once loaded.
    pub web: Option<String>,
    /// The sub-directory to release. Default: the whole repository.
    pub source: Option<String>,
    #[serde(default)]
    pub submodules: Submodules,
    /// How often to look for tags that no hook reported; zero for never.
    #[serde(default, deserialize_with = "off_or_duration")]
    pub reconcile: Option<Duration>,
    #[serde(default)]
    pub limits: PushLimits,
    #[serde(default)]
    pub environments: BTreeMap<String, EnvironmentConfig>,
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
}

/// `[projects.environments.NAME]`: where a project is deployed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentConfig {
    pub group: String,
    /// Absolute path on the hosts; `{HOST}` is the host's name. Without a trailing slash once
    /// loaded.
    pub deploy_to: String,
    #[serde(default)]
    pub layout: ReleaseLayout,
    /// How many complete releases a host keeps, including the live one. Default 5, at least 2.
    #[serde(default = "keep_releases_default")]
    pub keep_releases: u32,
    /// Paths that are not released, as `.gitignore` patterns without `!`.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Paths of the release that are kept in `shared/` across releases.
    #[serde(default)]
    pub shared: Vec<String>,
    /// What to do if a shared file is missing on a host. Default: the release fails there.
    #[serde(default)]
    pub shared_missing: SharedMissing,
    /// `USER` or `USER:GROUP` that owns the files. Default: the login user.
    pub owner: Option<String>,
    /// All of these must be met. Default `["1"]`.
    #[serde(default = "approvals_default")]
    pub approvals: Vec<Requirement>,
    /// Whether the submitter's own approval counts. Default no.
    #[serde(default)]
    pub self_approval: bool,
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How long a paused task waits for a person before it is stopped. Default: indefinitely.
    #[serde(default, deserialize_with = "duration::deserialize_option")]
    pub pause_timeout: Option<Duration>,
}

impl EnvironmentConfig {
    /// Whether it requires anything other than one approval by any approver. If so, these
    /// requirements must not be bypassed.
    #[must_use]
    pub fn restricts_approval(&self) -> bool {
        self.approvals != approvals_default()
    }
}

/// The default requirement.
pub(super) fn approvals_default() -> Vec<Requirement> {
    vec![Requirement {
        count: 1,
        of: crate::domain::template::Approvers::Anyone,
    }]
}

/// `[[freezes]]`: a window in which nothing is released.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeWindow {
    pub name: String,
    /// The reason shown to users. Default: none.
    #[serde(default)]
    pub reason: String,
    /// Default: all of them.
    #[serde(default)]
    pub projects: BTreeSet<String>,
    /// Default: all of them.
    #[serde(default)]
    pub environments: BTreeSet<String>,
    /// The days of a daily window. Default: every day.
    pub days: Option<BTreeSet<Day>>,
    /// `"16:00"`, `"fri 16:00"` or `"2026-12-24 18:00"`, in the agent's time zone.
    pub from: String,
    /// Same format; the end is exclusive.
    pub until: String,
}

impl FreezeWindow {
    /// Returns the period of the window.
    ///
    /// # Errors
    /// [`BadWindow`] says what is wrong with `from`, `until` and `days`.
    pub fn window(&self) -> Result<FreezePeriod, BadWindow> {
        FreezePeriod::parse(&self.from, &self.until, self.days.as_ref())
    }
}

/// What to do with a task whose scheduled time passed while the agent was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissedSchedule {
    /// Run it, once, as soon as the agent is up.
    #[default]
    Run,
    /// Expire it, until a user retries it.
    Expire,
}

fn keep_releases_default() -> u32 {
    5
}

/// The layout of releases on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseLayout {
    /// `releases/ID` side by side, `current` points to one.
    #[default]
    Releases,
    /// Directly into `deploy_to`. This version refuses it when loading.
    InPlace,
}

/// `[[projects.rules]]`: what a tag triggers. The first matching rule applies.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// A regular expression, matched from the start of the tag's short name.
    pub pattern: String,
    pub environment: String,
    /// Template name or number. Default `git-release`.
    #[serde(default = "template_default", deserialize_with = "template_named")]
    pub template: String,
    /// Default `new`.
    #[serde(default = "schedule_default")]
    pub schedule: Schedule,
    /// The maximum time that a task waits for approval. Default 7 days.
    #[serde(
        default = "expires_default",
        deserialize_with = "duration::deserialize"
    )]
    pub expires: Duration,
    /// Whether a newer task replaces a waiting or scheduled one of this rule. Default yes.
    #[serde(default = "supersede_default")]
    pub supersede: bool,
    /// Whether a commit older than the live one is refused. Default no.
    #[serde(default)]
    pub refuse_older: bool,
    /// Values for the template's parameters.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
}

/// Reads a name or number.
fn template_named<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(crate::domain::permission::template_named(deserializer)?.unwrap_or_else(template_default))
}

fn listen<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = text.parse();
    address.map_err(|error| {
        serde::de::Error::custom(format!(
            "`{text}` is no address and port ({error}): write \"127.0.0.1:8424\", \"[::1]:8424\", or \"0.0.0.0:8424\" for \
             every address of this machine; names are not looked up"
        ))
    })
}

fn template_default() -> String {
    "git-release".to_owned()
}

fn schedule_default() -> Schedule {
    Schedule::New
}

/// Reads a duration, `"off"` or `"0"`.
fn off_or_duration<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let off = matches!(text.as_str(), "off" | "0");
    let every = if off {
        Duration::ZERO
    } else {
        duration::parse(&text).map_err(serde::de::Error::custom)?
    };
    Ok(Some(every))
}

fn expires_default() -> Duration {
    7 * DAY
}

fn supersede_default() -> bool {
    true
}

/// `[users.NAME]`: a user account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserConfig {
    /// The user's name on the git server.
    pub gitlab: Option<String>,
    /// The system user that they push to a plain repository as.
    pub system: Option<String>,
    /// The public SSH keys used to push to a plain repository, without comments.
    pub ssh_keys: Vec<String>,
}
