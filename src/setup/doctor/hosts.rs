//! Checks each host as a release would use it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};

use super::connect::{PARALLEL, ProbeError, answer, inspect, open};
use super::probe::PlaceNeeds;
use super::rsync_probe::{self, Send};
use super::{CheckFinding, CheckScope, CheckStatus, Subject, probe};
use crate::agent::reach;
use crate::base::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::host::{Drift, HostState, utc};
use crate::hosts::ssh::{Connection, Dialer};

/// Returns the findings on the hosts in scope, in order of their names.
pub(super) async fn findings(config: &Config, scope: &CheckScope) -> Vec<CheckFinding> {
    let dialer = reach::dialer(config);
    let looks = scope
        .places(config)
        .into_iter()
        .map(|(host, places)| host_findings(config, scope, Arc::clone(&dialer), host, places));
    let found: Vec<Vec<CheckFinding>> = stream::iter(looks).buffered(PARALLEL).collect().await;
    found.into_iter().flatten().collect()
}

/// Where `current` leads on a host, by environment; none is listed that could not be seen.
type Standings = Vec<((String, String), HostState)>;

/// Returns the drifts of a host: as seen now, else as the agent saw them last.
fn drifts(scope: &CheckScope, host: &str, seen: &Standings) -> Vec<CheckFinding> {
    let subject = Subject::Host(host.to_owned());
    let now = SystemClock.now();
    let lives = scope.lives.get(host).into_iter().flatten();
    let drifts = lives.filter_map(|live| {
        let place = (live.project.clone(), live.environment.clone());
        let drift = match seen.iter().find(|(at, _)| *at == place) {
            Some((_, standing)) => {
                let known = live.drift.as_ref();
                Drift::found(&live.release, live.since, known, standing, now)
            }
            None => live.drift.clone(),
        }?;
        let (project, environment) = place;
        let what = format!("{project} {environment}: {}", drift.seen(utc));
        Some(CheckFinding::warn(&subject, what, drift.remedy()))
    });
    drifts.collect()
}

/// Looks where `current` leads, except where a task may be switching it.
async fn standings(
    config: &Config,
    scope: &CheckScope,
    host: &str,
    connection: &Connection,
) -> Standings {
    let mut seen = Standings::new();
    let lives = scope.lives.get(host).into_iter().flatten();
    for live in lives.filter(|live| !live.busy && scope.covers(&live.project)) {
        let project = config.projects.iter().find(|one| one.name == live.project);
        let environment = project.and_then(|one| one.environments.get(&live.environment));
        if let Some(environment) = environment
            && let Some(standing) = inspect(connection, &environment.deploy_to(host)).await
        {
            let place = (live.project.clone(), live.environment.clone());
            seen.push((place, standing));
        }
    }
    seen
}

async fn host_findings(
    config: &Config,
    scope: &CheckScope,
    dialer: Arc<Dialer>,
    host: String,
    places: BTreeMap<String, PlaceNeeds>,
) -> Vec<CheckFinding> {
    let mut seen = Standings::new();
    let mut found = looked_at(config, scope, dialer, (&host, places), &mut seen).await;
    found.extend(drifts(scope, &host, &seen));
    found
}

async fn looked_at(
    config: &Config,
    scope: &CheckScope,
    dialer: Arc<Dialer>,
    (host, places): (&str, BTreeMap<String, PlaceNeeds>),
    seen: &mut Standings,
) -> Vec<CheckFinding> {
    let subject = Subject::Host(host.to_owned());
    if let Some(reason) = scope.disabled.get(host) {
        let why = format!("it is disabled: {reason}");
        return vec![CheckFinding::not_looked_at(&subject, why)];
    }
    let Some(planned) = config.planned_host(host) else {
        let what = "it is in a group, but not in [hosts]";
        return vec![CheckFinding::fail(
            &subject,
            what,
            "add it to the configuration",
        )];
    };
    let script = match probe::script(places.iter().map(|(at, needs)| (at.as_str(), needs))) {
        Ok(script) => script,
        Err(unfit) => return vec![CheckFinding::fail(&subject, unfit.to_string(), "")],
    };
    let connection = match open(config, &dialer, &planned).await {
        Ok(connection) => connection,
        // The error includes its remedy.
        Err(error) => return vec![CheckFinding::fail(&subject, error.to_string(), "")],
    };
    let findings = match look(&subject, &connection, (&script, &places)).await {
        Err(error) => vec![CheckFinding::fail(&subject, error.to_string(), "")],
        Ok(findings) => {
            *seen = standings(config, scope, host, &connection).await;
            findings
        }
    };
    connection.close().await;
    findings
}

async fn look(
    subject: &Subject,
    connection: &Connection,
    (script, places): (&str, &BTreeMap<String, PlaceNeeds>),
) -> Result<Vec<CheckFinding>, ProbeError> {
    let answer = answer(connection, script).await?;
    let mut findings = probe::findings(subject, &answer, places, SystemClock.now().as_second());
    if let Some(scratch) = probe::scratch(&answer) {
        // What is missing there was reported already.
        let failed = findings.iter().any(|one| one.verdict == CheckStatus::Fail);
        let send = if failed { Send::Nothing } else { Send::File };
        findings.extend(rsync_probe::finding(subject, connection, scratch, send).await);
    } else if findings.iter().all(|one| one.verdict != CheckStatus::Fail) {
        let why = "no place of a release is there to send a file to by rsync";
        findings.push(CheckFinding::not_looked_at(subject, why));
    }
    Ok(findings)
}
