//! Checks each host as a release would use it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};

use super::connect::{PARALLEL, ProbeError, answer, inspect, open};
use super::rsync_probe::{self, Send};
use super::shared::DeployPathNeeds;
use super::{CheckFinding, CheckScope, CheckStatus, Subject, probe};
use crate::agent::resolve;
use crate::base::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::host::{Drift, HostState, utc};
use crate::hosts::ssh::{Connection, Dialer};

/// Returns the findings on the hosts in scope, in order of their names.
pub(super) async fn findings(config: &Config, scope: &CheckScope) -> Vec<CheckFinding> {
    let dialer = resolve::dialer(config);
    let looks = scope
        .targets(config)
        .into_iter()
        .map(|(host, targets)| host_findings(config, scope, Arc::clone(&dialer), host, targets));
    let found: Vec<Vec<CheckFinding>> = stream::iter(looks).buffered(PARALLEL).collect().await;
    found.into_iter().flatten().collect()
}

/// Where `current` points on a host, by environment; none is listed that could not be seen.
type HostStates = Vec<((String, String), HostState)>;

/// Returns the drifts of a host: as seen now, else as the agent saw them last. Not what was found
/// already: that `current` is no link to a directory.
fn drifts(
    config: &Config,
    scope: &CheckScope,
    host: &str,
    (states, found): (&HostStates, &[CheckFinding]),
) -> Vec<CheckFinding> {
    let is_found = |project: &str, environment: &str| {
        let project = config.projects.iter().find(|one| one.name == project);
        let environment = project.and_then(|one| one.environments.get(environment));
        environment.is_some_and(|environment| {
            let current = format!("{}/current ", environment.deploy_to(host));
            found.iter().any(|one| one.text.starts_with(&current))
        })
    };
    let subject = Subject::Host(host.to_owned());
    let now = SystemClock.now();
    let lives = scope.live.get(host).into_iter().flatten();
    let drifts = lives.filter_map(|live| {
        let key = (live.project.clone(), live.environment.clone());
        let drift = match states.iter().find(|(at, _)| *at == key) {
            Some((_, state)) => {
                let known = live.drift.as_ref();
                Drift::detect(&live.release, live.since, known, state, now)
            }
            None => live.drift.clone(),
        }?;
        let (project, environment) = key;
        if drift.broken.is_some() && is_found(&project, &environment) {
            return None;
        }
        let what = format!("{project} {environment}: {}", drift.describe(utc));
        Some(CheckFinding::warn(&subject, what, drift.remedy()))
    });
    drifts.collect()
}

/// Looks where `current` points, except where a task may be switching it.
async fn host_states(
    config: &Config,
    scope: &CheckScope,
    host: &str,
    connection: &Connection,
) -> HostStates {
    let mut states = HostStates::new();
    let lives = scope.live.get(host).into_iter().flatten();
    for live in lives.filter(|live| !live.busy && scope.covers(&live.project)) {
        let project = config.projects.iter().find(|one| one.name == live.project);
        let environment = project.and_then(|one| one.environments.get(&live.environment));
        if let Some(environment) = environment
            && let Some(state) = inspect(connection, &environment.deploy_to(host)).await
        {
            let key = (live.project.clone(), live.environment.clone());
            states.push((key, state));
        }
    }
    states
}

async fn host_findings(
    config: &Config,
    scope: &CheckScope,
    dialer: Arc<Dialer>,
    host: String,
    targets: BTreeMap<String, DeployPathNeeds>,
) -> Vec<CheckFinding> {
    let mut states = HostStates::new();
    let mut found = checked_host(config, scope, dialer, (&host, targets), &mut states).await;
    let drifts = drifts(config, scope, &host, (&states, &found));
    found.extend(drifts);
    found
}

async fn checked_host(
    config: &Config,
    scope: &CheckScope,
    dialer: Arc<Dialer>,
    (host, targets): (&str, BTreeMap<String, DeployPathNeeds>),
    states: &mut HostStates,
) -> Vec<CheckFinding> {
    let subject = Subject::Host(host.to_owned());
    if let Some(reason) = scope.disabled.get(host) {
        let why = format!("it is disabled: {reason}");
        return vec![CheckFinding::not_checked(&subject, why)];
    }
    let Some(planned) = config.planned_host(host) else {
        let what = "it is in a group, but not in [hosts]";
        return vec![CheckFinding::fail(
            &subject,
            what,
            "add it to the configuration",
        )];
    };
    let script = match probe::script(targets.iter().map(|(at, needs)| (at.as_str(), needs))) {
        Ok(script) => script,
        Err(invalid) => return vec![CheckFinding::fail(&subject, invalid.to_string(), "")],
    };
    let connection = match open(config, &dialer, &planned).await {
        Ok(connection) => connection,
        // The error includes its remedy.
        Err(error) => return vec![CheckFinding::fail(&subject, error.to_string(), "")],
    };
    let findings = match run_probe(&subject, &connection, (&script, &targets)).await {
        Err(error) => vec![CheckFinding::fail(&subject, error.to_string(), "")],
        Ok(findings) => {
            *states = host_states(config, scope, host, &connection).await;
            findings
        }
    };
    connection.close().await;
    findings
}

async fn run_probe(
    subject: &Subject,
    connection: &Connection,
    (script, targets): (&str, &BTreeMap<String, DeployPathNeeds>),
) -> Result<Vec<CheckFinding>, ProbeError> {
    let answer = answer(connection, script).await?;
    let mut findings = probe::findings(subject, &answer, targets, SystemClock.now().as_second());
    if let Some(scratch) = probe::scratch(&answer) {
        // What is missing there was reported already.
        let failed = findings.iter().any(|one| one.status == CheckStatus::Fail);
        let send = if failed { Send::Nothing } else { Send::File };
        findings.extend(rsync_probe::finding(subject, connection, scratch, send).await);
    } else if findings.iter().all(|one| one.status != CheckStatus::Fail) {
        let why = "no place of a release is there to send a file to by rsync";
        findings.push(CheckFinding::not_checked(subject, why));
    }
    Ok(findings)
}
