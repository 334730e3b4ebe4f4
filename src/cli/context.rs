//! The context of a command: configuration, agent and time zone. Each is read only if needed:
//! `rules test` needs no agent, and a machine far from the agent no configuration.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

use super::arguments::OutputForm;
use super::client::{Address, ApiRequest, Client};
use super::error::{ClientError, CommandError};
use super::screen;
use super::times::Zone;
use crate::api::AboutAgent;
use crate::base::user::user_or_number;
use crate::config::{self, Config, LocalConfig, Project};

/// Names the agent by URL, instead of the Unix socket of the configuration.
const URL_VARIABLE: &str = "TAGSHIP_URL";
/// The token to log in with there.
const TOKEN_VARIABLE: &str = "TAGSHIP_TOKEN";
/// Who knows the names of an error.
pub(crate) const CONFIGURED: &str = "the configuration has";

/// Values from the command line and the environment.
#[derive(Debug)]
pub(crate) struct CliContext {
    config: Option<PathBuf>,
    url: Option<String>,
    token: Option<String>,
}

/// A connection to an agent, and the zone in which its users read times.
#[derive(Debug)]
pub(crate) struct AgentConnection {
    pub(crate) client: Client,
    pub(crate) zone: Zone,
}

impl CliContext {
    pub(crate) fn new(config: Option<PathBuf>) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            config,
            url: variable(URL_VARIABLE),
            token: variable(TOKEN_VARIABLE),
        }
    }

    /// Returns the configuration, for every command except `serve`.
    pub(crate) fn config(&self) -> Result<Config, CommandError> {
        self.config_of(LocalConfig::Never)
    }

    /// Returns the configuration; `local` says whether `./config.toml` is accepted.
    pub(crate) fn config_of(&self, local: LocalConfig) -> Result<Config, CommandError> {
        let source = config::find(self.config.as_deref(), local)?;
        Ok(config::load(&source)?)
    }

    /// Whether a configuration was named on the command line.
    pub(crate) fn names_config(&self) -> bool {
        self.config.is_some()
    }

    /// Whether the agent is named by `TAGSHIP_URL`.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.url.is_some()
    }

    /// Returns a connection to the agent.
    pub(crate) async fn agent(&self) -> Result<AgentConnection, CommandError> {
        let Some(url) = &self.url else {
            return Self::local_agent(&self.config()?);
        };
        let client = Client::new(&Address::Http {
            url: url.clone(),
            token: self.token.clone(),
        })?;
        let zone = match &self.config {
            Some(_) => self.config()?.time_zone(),
            None => zone_of(&client).await?,
        };
        Ok(AgentConnection {
            client,
            zone: Zone::new(zone),
        })
    }

    /// Sends a request; returns the response, and the zone of its times. `None` if it was printed
    /// as JSON.
    pub(crate) async fn answer<T: DeserializeOwned>(
        &self,
        ask: &ApiRequest,
        form: OutputForm,
    ) -> Result<Option<(T, Zone)>, CommandError> {
        let AgentConnection { client, zone } = self.agent().await?;
        let value = client.json(ask).await?;
        if form.json {
            screen::print_json(&value)?;
            return Ok(None);
        }
        Ok(Some((client.read(value)?, zone)))
    }

    /// Returns a connection to the agent of this configuration, over its socket.
    pub(crate) fn local_agent(config: &Config) -> Result<AgentConnection, CommandError> {
        let address = Address::Socket(config.socket());
        Ok(AgentConnection {
            client: Client::new(&address)?,
            zone: Zone::new(config.time_zone()),
        })
    }
}

/// Returns the zone of a remote agent: this machine's if that agent does not name its own, or names
/// an unknown one.
async fn zone_of(client: &Client) -> Result<TimeZone, ClientError> {
    let about: Option<AboutAgent> = match client.ask(&ApiRequest::get(["agent"])).await {
        // An older agent lacks this URL; any other refusal is reported by the next request.
        Err(ClientError::Refused(_)) => None,
        about => Some(about?),
    };
    let name = about.and_then(|about| about.time_zone);
    Ok(name
        .and_then(|name| TimeZone::get(&name).ok())
        .unwrap_or_else(TimeZone::system))
}

/// Returns the project of this name.
pub(crate) fn project<'c>(config: &'c Config, name: &str) -> Result<&'c Project, CommandError> {
    config.project(name).ok_or_else(|| {
        let projects = config.projects.iter();
        let known: Vec<&str> = projects.map(|project| project.name.as_str()).collect();
        CommandError::no_name("project", name, CONFIGURED, &known)
    })
}

/// Checks that `data_dir` is ours: the agent could not open what another user creates there.
pub(crate) fn owned_directory(config: &Config) -> Result<(), CommandError> {
    let data_dir = &config.agent.data_dir;
    let owner = std::fs::metadata(data_dir).map(|data| data.uid());
    let ours = rustix::process::geteuid().as_raw();
    match owner {
        Ok(owner) if owner != ours => Err(CommandError::Directory(format!(
            "no agent answers, and {} belongs to {}: run this as that user, or start the agent first",
            data_dir.display(),
            user_or_number(owner),
        ))),
        _ => Ok(()),
    }
}

/// Whether no agent is running, as opposed to one that refuses.
pub(crate) fn is_no_agent(error: &CommandError) -> bool {
    matches!(error, CommandError::Client(ClientError::NoAgent { .. }))
}
