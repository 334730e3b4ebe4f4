//! The keys of `config.toml`, one struct per table. `docs/config.md` describes each for people; a
//! test holds the two against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::source::ConfigOrigin;
use crate::domain::approval::freeze::{Day, FreezePeriod, NoWindow};
use crate::domain::document::duration;
use crate::domain::plan::{PushLimits, SharedMissing, Submodules};
use crate::domain::right::Grant;
use crate::domain::rule::{OnSpoolError, Schedule};
use crate::domain::template::{OnFailure, Requirement};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The whole of `config.toml`. Once loaded, every path is absolute or relative to the working
/// directory, and every name that it mentions is there.
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
    /// Who steps may run as in place of the user who logs in, by the name that templates use.
    pub execution_users: BTreeMap<String, ExecutionUser>,
    /// Steps on the agent's own machine: `None`, and nothing of a template runs there.
    pub local_run: Option<LocalRun>,
    /// Names of hosts by the name of their group.
    pub groups: BTreeMap<String, Vec<String>>,
    pub projects: Vec<Project>,
    /// When nothing is released.
    pub freezes: Vec<FreezeWindow>,
    /// What is known about accounts beyond the store, by their name.
    pub users: BTreeMap<String, UserConfig>,
    /// Roles that hold in one place only.
    pub grants: Vec<Grant>,
    /// Where all this was read.
    #[serde(skip)]
    pub origin: ConfigOrigin,
}

/// `[agent]`: the agent itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// Where pages and API are served. Default `127.0.0.1:8424`.
    #[serde(deserialize_with = "listen")]
    pub listen: SocketAddr,
    /// The address that people and other programs use, without a slash at its end. Default: `http://`
    /// and `listen`; see [`Config::public_url`].
    pub public_url: Option<String>,
    /// What the agent owns: store, mirrors, trees, logs. Default `/var/lib/tagship`.
    pub data_dir: PathBuf,
    /// Where the hook hands tasks over. Default `/var/spool/tagship`.
    pub spool_dir: PathBuf,
    /// Templates of one's own. Default `/etc/tagship/templates`; it need not be there.
    pub templates_dir: PathBuf,
    /// The Unix socket of the command line. Default `agent.sock` in `data_dir`; see
    /// [`Config::socket`].
    pub socket: Option<PathBuf>,
    /// The system user that runs the git server, whose spool records are believed. Default `git`.
    pub git_user: String,
    /// Does an approval over the Unix socket (`os:NAME`) count? Default no.
    pub local_approval: bool,
    /// How long after the push a ref may take to land. Default 5 minutes.
    #[serde(deserialize_with = "duration::deserialize")]
    pub landing_timeout: Duration,
    /// How many hosts of a stage work at the same time. Default 100.
    pub parallel_hosts: u32,
    /// How many tasks run at the same time. Default 16.
    pub parallel_tasks: u32,
    /// How often hosts are asked where `current` leads; 0: never. Default one hour.
    #[serde(deserialize_with = "duration::deserialize")]
    pub drift_check: Duration,
    /// How long the hook log is kept. Default 90 days.
    #[serde(deserialize_with = "duration::deserialize")]
    pub hook_log_age: Duration,
    /// How many entries of the hook log are kept. Default 100,000.
    pub hook_log_entries: u32,
    /// The name of the time zone in which people read and write times. Default: the machine's; see
    /// [`Config::time_zone`].
    pub time_zone: Option<String>,
    /// What becomes of a task whose time passed while the agent was down. Default `run`.
    pub missed_schedule: MissedSchedule,
    /// What the hook does with a tag that it cannot hand over. Default `reject`.
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

/// `[store]`: where the events of tasks are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    pub engine: Engine,
}

/// What keeps the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// On this machine's disk, under `data_dir`.
    #[default]
    Sled,
    /// In memory: gone when the agent ends. For trying things out.
    Memory,
}

/// `[git]`: how the agent asks the git server and fetches from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GitConfig {
    /// The private key for `ssh` URLs. Default: what the agent's user has.
    pub identity: Option<PathBuf>,
    /// The known host keys for `ssh` URLs. Default: what the agent's user has.
    pub known_hosts: Option<PathBuf>,
    /// A file with the token for `https` URLs, alone on its first line.
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
    /// A file with the passphrase of the key, alone on its first line.
    pub passphrase_file: Option<PathBuf>,
    /// The host keys that are believed. Default `ssh/known_hosts` in `data_dir`; see
    /// [`Config::known_hosts`].
    pub known_hosts: Option<PathBuf>,
    /// How long a TCP connection may take to open. Default 10 seconds. Handshake and login have 30
    /// seconds in all.
    #[serde(deserialize_with = "duration::deserialize")]
    pub connect_timeout: Duration,
    /// How often a quiet connection is proved alive. Default 15 seconds.
    #[serde(deserialize_with = "duration::deserialize")]
    pub keepalive: Duration,
    /// How long a host that accepts connections and turns them away is tried again. Default 60
    /// seconds.
    #[serde(deserialize_with = "duration::deserialize")]
    pub patience: Duration,
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

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// `[hosts.NAME]`: a machine. What is missing comes from `[ssh]`; see [`Config::endpoint`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// Name or IP address to connect to. Default: the host's name.
    pub address: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub identity: Option<PathBuf>,
    /// The host through which this one is reached.
    pub jump: Option<String>,
}

/// `[execution_users.NAME]`: who runs a step that names them.
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
    /// The system user as whom they run: never the agent's own, never root.
    pub user: String,
    /// The user's own directory, where tasks are kept. Default `.local/state/tagship` in the home.
    pub directory: Option<PathBuf>,
}

/// `[[projects]]`: a repository, or a sub-directory of one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    pub name: String,
    /// By which name the git server's hook knows it: GitLab's `group/shop` or `project-7`, Gitea's
    /// `alice/shop`, or the absolute path of a bare repository.
    pub repository: String,
    /// Where the agent fetches from. Default: `repository`, if that is an absolute path; once
    /// loaded it is always there, see [`Project::git_url`].
    pub git_url: Option<String>,
    /// The sub-directory that is released. Default: all of it.
    pub source: Option<String>,
    #[serde(default)]
    pub submodules: Submodules,
    /// How often tags are looked for that no hook told of; zero for never.
    #[serde(default, deserialize_with = "off_or_duration")]
    pub reconcile: Option<Duration>,
    #[serde(default)]
    pub limits: PushLimits,
    #[serde(default)]
    pub environments: BTreeMap<String, EnvironmentConfig>,
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
}

/// `[projects.environments.NAME]`: where a project runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentConfig {
    pub group: String,
    /// Absolute path on the hosts; `{HOST}` is the host's name. Without a slash at its end once
    /// loaded.
    pub deploy_to: String,
    #[serde(default)]
    pub layout: ReleaseLayout,
    /// How many complete releases stay on a host, the live one included. Default 5, at least 2.
    #[serde(default = "keep_releases_default")]
    pub keep_releases: u32,
    /// Paths that are not released, as rsync's patterns.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Paths of the release that live in `shared/` and outlive it.
    #[serde(default)]
    pub shared: Vec<String>,
    /// What happens where a shared file is missing on a host. Default: the release fails there.
    #[serde(default)]
    pub shared_missing: SharedMissing,
    /// `USER` or `USER:GROUP` to whom the files belong. Default: the login user.
    pub owner: Option<String>,
    /// All of these must be fulfilled. Default `["1"]`.
    #[serde(default = "approvals_default")]
    pub approvals: Vec<Requirement>,
    /// Does the submitter's own approval count? Default no.
    #[serde(default)]
    pub self_approval: bool,
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How long a paused task waits for a person before it is stopped. Default: for ever.
    #[serde(default, deserialize_with = "duration::deserialize_option")]
    pub pause_timeout: Option<Duration>,
}

impl EnvironmentConfig {
    /// Whether it asks for anything but the yes of one approver, whoever that is: then those who are
    /// asked are not passed by.
    #[must_use]
    pub fn says_who_approves(&self) -> bool {
        self.approvals != approvals_default()
    }
}

/// What is asked for where nothing is written.
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
    /// What people are told. Default: nothing.
    #[serde(default)]
    pub reason: String,
    /// Default: all of them.
    #[serde(default)]
    pub projects: BTreeSet<String>,
    /// Default: all of them.
    #[serde(default)]
    pub environments: BTreeSet<String>,
    /// The days of a window of the day. Default: every day.
    pub days: Option<BTreeSet<Day>>,
    /// `"16:00"`, `"fri 16:00"` or `"2026-12-24 18:00"`, in the agent's time zone.
    pub from: String,
    /// Written in the same way; the first moment that is free again.
    pub until: String,
}

impl FreezeWindow {
    /// When it is.
    ///
    /// # Errors
    /// [`NoWindow`] says what is wrong with `from`, `until` and `days`.
    pub fn window(&self) -> Result<FreezePeriod, NoWindow> {
        FreezePeriod::parse(&self.from, &self.until, self.days.as_ref())
    }
}

/// What becomes of a task whose time passed while the agent was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissedSchedule {
    /// It runs, once, as soon as the agent is up.
    #[default]
    Run,
    /// It expires, and somebody takes it up again.
    Expire,
}

fn keep_releases_default() -> u32 {
    5
}

/// How releases stand on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseLayout {
    /// `releases/ID` side by side, `current` names one.
    #[default]
    Releases,
    /// Straight into `deploy_to`. This version refuses it when it loads.
    InPlace,
}

/// `[[projects.rules]]`: what a tag means. The first rule that matches wins.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// A regular expression, matched from the start of the tag's short name.
    pub pattern: String,
    pub environment: String,
    /// Name or number of the template. Default `git-release`.
    #[serde(default = "template_default", deserialize_with = "template_named")]
    pub template: String,
    /// Default `new`.
    #[serde(default = "schedule_default")]
    pub schedule: Schedule,
    /// How long a task may wait for approval. Default 7 days.
    #[serde(
        default = "expires_default",
        deserialize_with = "duration::deserialize"
    )]
    pub expires: Duration,
    /// Does a newer task take the place of a waiting or scheduled one of this rule? Default yes.
    #[serde(default = "supersede_default")]
    pub supersede: bool,
    /// Is a commit that is older than the live one refused? Default no.
    #[serde(default)]
    pub refuse_older: bool,
    /// Values for the template's parameters.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
}

/// Name or number.
fn template_named<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(crate::domain::right::template_named(deserializer)?.unwrap_or_else(template_default))
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

/// A duration, `"off"` or `"0"`.
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

/// `[users.NAME]`: an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserConfig {
    /// The name by which the git server knows them.
    pub gitlab: Option<String>,
    /// The system user as whom they push to a plain repository.
    pub system: Option<String>,
    /// The public SSH keys with which they push to a plain repository, without comments.
    pub ssh_keys: Vec<String>,
}
