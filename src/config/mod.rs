//! `config.toml`: all keys, their defaults, and validation.
//!
//! Loading reads one file (or the built-in text), refuses unknown keys, collects all problems, and
//! returns plain structs. It starts nothing, makes no connections and reads no secrets: files named
//! by keys are opened where they are used. `cli` loads; all others get a [`Config`]. Templates are
//! read here too ([`Templates`]), since `domain::template` opens no files.

mod check;
mod environment;
mod inner_path;
mod keys;
mod library;
mod local;
mod pushers;
mod rules;
mod source;
mod template_cache;

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::domain::approval::freeze::{Calendar, Freeze};

use crate::domain::document::{Document, Problems};
use crate::domain::host::ipv6_address;

pub use crate::domain::plan::{PushLimits, Submodules};
pub use environment::EnvironmentError;
pub use keys::{
    AgentConfig, Config, Engine, EnvironmentConfig, ExecutionUser, FreezeWindow, GitConfig, Host,
    LocalRun, LogConfig, LogFormat, MissedSchedule, Project, ReleaseLayout, RuleConfig, Ssh,
    StoreConfig, UserConfig,
};
pub use library::Templates;
pub use local::{LocalRunError, SystemUser, may_run, system_user};
pub use pushers::fingerprint;
pub use rules::RuleSets;
pub use source::{ConfigError, ConfigOrigin, ConfigSource, DEFAULT_FILE, LocalConfig, find};
pub use template_cache::TemplateCache;

/// The built-in configuration.
pub const BUILT_IN: &str = include_str!("../../config.toml");

/// How to reach a host, with all defaults applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host's name in the configuration.
    pub name: String,
    pub address: String,
    pub port: u16,
    pub user: String,
    /// The path of the private key.
    pub identity: PathBuf,
    /// The host through which this one is reached.
    pub jump: Option<String>,
}

/// Loads and checks a configuration.
///
/// # Errors
/// The file cannot be read, or all of its problems.
pub fn load(source: &ConfigSource) -> Result<Config, ConfigError> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| ConfigError::Unreadable {
            path: path.to_owned(),
            error,
        })
    };
    match source {
        ConfigSource::BuiltIn => Ok(parse(
            &source.to_string(),
            BUILT_IN,
            &absolute(Path::new("."))?,
        )?),
        ConfigSource::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
                path: path.clone(),
                error,
            })?;
            let absolute = absolute(path)?;
            let base = absolute.parent().unwrap_or(Path::new("/"));
            Ok(parse(&path.display().to_string(), &text, base)?)
        }
    }
}

/// Parses and checks a configuration: `file` is the name to show for it, `base` the base directory
/// of relative paths.
///
/// # Errors
/// All problems, each with its line.
pub fn parse(file: &str, text: &str, base: &Path) -> Result<Config, Problems> {
    let document = Document::parse(file, text)?;
    let mut config: Config = document.read()?;
    config.settle(base);
    let mut problems = check::problems(&config, &document);
    if problems.is_empty() {
        config.origin = ConfigOrigin {
            file: file.to_owned(),
            text: text.to_owned(),
        };
        Ok(config)
    } else {
        problems.sort();
        problems.dedup();
        Err(Problems(problems))
    }
}

impl Config {
    /// Makes paths absolute and normalises values.
    fn settle(&mut self, base: &Path) {
        let agent = &mut self.agent;
        for path in [
            &mut agent.data_dir,
            &mut agent.spool_dir,
            &mut agent.templates_dir,
        ] {
            *path = base.join(&path);
        }
        for host in self.hosts.values_mut() {
            host.settle();
        }
        let hosts = self.hosts.values_mut().map(|host| &mut host.identity);
        let others = [
            &mut agent.socket,
            &mut self.git.identity,
            &mut self.git.known_hosts,
            &mut self.git.token_file,
            &mut self.ssh.identity,
            &mut self.ssh.passphrase_file,
            &mut self.ssh.known_hosts,
        ];
        let users = self.execution_users.values_mut();
        let users = users.map(|user| &mut user.identity);
        let local = self.local_run.iter_mut().map(|local| &mut local.directory);
        for path in others
            .into_iter()
            .chain(hosts)
            .chain(users)
            .chain(local)
            .flatten()
        {
            *path = base.join(&path);
        }
        if let Some(url) = &mut agent.public_url {
            url.truncate(url.trim_end_matches('/').len());
        }
        for user in self.users.values_mut() {
            user.settle();
        }
        for project in &mut self.projects {
            project.settle(base);
        }
    }

    /// Returns the URL for users and other programs, without a trailing slash.
    #[must_use]
    pub fn public_url(&self) -> String {
        match &self.agent.public_url {
            Some(url) => url.clone(),
            None => format!("http://{}", self.agent.listen),
        }
    }

    /// Returns the Unix socket of the command line.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let socket = self.agent.socket.clone();
        socket.unwrap_or_else(|| self.agent.data_dir.join("agent.sock"))
    }

    /// Returns the default private key for hosts.
    #[must_use]
    pub fn ssh_identity(&self) -> PathBuf {
        let identity = self.ssh.identity.clone();
        identity.unwrap_or_else(|| self.agent.data_dir.join("ssh/id_ed25519"))
    }

    /// Returns the file of trusted host keys.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        let known_hosts = self.ssh.known_hosts.clone();
        known_hosts.unwrap_or_else(|| self.agent.data_dir.join("ssh/known_hosts"))
    }

    /// Returns the time zone for reading and writing times.
    #[must_use]
    pub fn time_zone(&self) -> TimeZone {
        let name = self.agent.time_zone.as_deref();
        // A given name was validated when the configuration was checked.
        name.and_then(|name| TimeZone::get(name).ok())
            .unwrap_or_else(TimeZone::system)
    }

    /// Returns the freeze windows.
    #[must_use]
    pub fn calendar(&self) -> Calendar {
        let freezes = self.freezes.iter().filter_map(|freeze| {
            Some(Freeze {
                name: freeze.name.clone(),
                reason: freeze.reason.clone(),
                projects: freeze.projects.clone(),
                environments: freeze.environments.clone(),
                // It was validated when the configuration was checked.
                window: freeze.window().ok()?,
            })
        });
        Calendar {
            freezes: freezes.collect(),
            zone: self.time_zone(),
        }
    }

    /// Returns how to reach the host with this name; `None` if it does not exist.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> Option<Endpoint> {
        let host = self.hosts.get(name)?;
        Some(Endpoint {
            name: name.to_owned(),
            address: host.address.clone().unwrap_or_else(|| name.to_owned()),
            port: host.port.unwrap_or(self.ssh.port),
            user: host.user.clone().unwrap_or_else(|| self.ssh.user.clone()),
            identity: host.identity.clone().unwrap_or_else(|| self.ssh_identity()),
            jump: host.jump.clone(),
        })
    }

    /// Returns the project with this name.
    #[must_use]
    pub fn project(&self, name: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.name == name)
    }

    /// Returns the projects in the repository that the hook reports by this name.
    pub fn projects_of<'c>(&'c self, repository: &'c str) -> impl Iterator<Item = &'c Project> {
        self.projects
            .iter()
            .filter(move |project| project.repository == repository)
    }
}

impl keys::Host {
    /// Strips the brackets of an address; a port after it becomes the host's.
    fn settle(&mut self) {
        let given = self.address.as_deref();
        let Some((address, port)) = given.and_then(ipv6_address) else {
            return;
        };
        if port.is_none() || self.port.is_none() || port == self.port {
            self.address = Some(address.to_string());
            self.port = port.or(self.port);
        }
    }
}

impl Project {
    fn settle(&mut self, base: &Path) {
        match &mut self.git_url {
            None if self.repository.starts_with('/') => {
                self.git_url = Some(self.repository.clone());
            }
            Some(url) if url.starts_with("./") || url.starts_with("../") => {
                *url = base.join(&url).display().to_string();
            }
            _ => {}
        }
        if let Some(web) = &mut self.web {
            web.truncate(web.trim_end_matches('/').len());
        }
        if let Some(source) = &mut self.source {
            source.truncate(source.trim_end_matches('/').len());
        }
        for environment in self.environments.values_mut() {
            let trimmed = environment.deploy_to.trim_end_matches('/').len();
            environment.deploy_to.truncate(trimmed);
        }
    }

    /// Returns where the agent fetches from.
    #[must_use]
    pub fn git_url(&self) -> &str {
        self.git_url.as_deref().unwrap_or(&self.repository)
    }
}

impl EnvironmentConfig {
    /// Returns the project's directory on this host.
    #[must_use]
    pub fn deploy_to(&self, host: &str) -> String {
        self.deploy_to.replace("{HOST}", host)
    }
}

#[cfg(test)]
mod doc_tests;
#[cfg(test)]
mod library_tests;
#[cfg(test)]
mod tests;
