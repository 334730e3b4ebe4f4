//! Resolves names of the configuration to a host, a connection or a repository. Nothing is opened
//! here. Used by the agent, `tagship check` and `tagship hosts enroll`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Config};
use crate::domain::plan::PlannedHost;
use crate::git::landing::{GitSource, Timeouts};
use crate::hosts::ssh::{DialSettings, Dialer, IdleLimits, Keepalive, SshIdentity, SshTarget};

/// Returns where a project's repository is, and its mirror.
#[must_use]
pub fn source(config: &Config, project: &config::Project) -> GitSource {
    GitSource {
        project: project.name.clone(),
        git_url: project.git_url().to_owned(),
        mirror: config
            .agent
            .data_dir
            .join("mirrors")
            .join(format!("{}.git", project.name)),
        identity: config.git.identity.clone(),
        known_hosts: config
            .git
            .known_hosts
            .clone()
            .unwrap_or_else(|| config.known_hosts()),
        token_file: config.git.token_file.clone(),
        timeouts: Timeouts {
            fetch: project.limits.fetch_time,
            ..Timeouts::default()
        },
        limits: project.limits,
    }
}

/// Returns a dialer that opens connections as configured.
#[must_use]
pub fn dialer(config: &Config) -> Arc<Dialer> {
    Dialer::new(DialSettings {
        connect_timeout: config.ssh.connect_timeout,
        refusal_patience: config.ssh.patience,
        keepalive: Keepalive {
            interval: config.ssh.keepalive,
            ..Keepalive::default()
        },
        idle: IdleLimits {
            timeout: config.ssh.idle_timeout,
            connections: config.ssh.idle_connections as usize,
        },
        ..DialSettings::default()
    })
}

/// Converts a planned host to a connection target.
#[must_use]
pub fn target(host: &PlannedHost, known_hosts: &Path, passphrase_file: Option<&Path>) -> SshTarget {
    SshTarget {
        name: host.name.clone(),
        address: host.address.clone(),
        port: host.port,
        user: host.user.clone(),
        identity: SshIdentity {
            file: PathBuf::from(&host.identity),
            passphrase_file: passphrase_file.map(Path::to_owned),
        },
        known_hosts: known_hosts.to_owned(),
        jump: host
            .jump
            .as_deref()
            .map(|jump| Box::new(target(jump, known_hosts, passphrase_file))),
    }
}
