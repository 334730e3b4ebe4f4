//! Checks each host as a release would use it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};

use super::ask::{PARALLEL, answer, open};
use super::probe::PlaceNeeds;
use super::send::{self, Send};
use super::{CheckFinding, CheckScope, CheckStatus, Subject, probe};
use crate::agent::reach;
use crate::base::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::plan::PlannedHost;
use crate::hosts::remote::{Dialer, RemoteError};

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

/// Returns the drifts that the agent has seen.
fn drifts(scope: &CheckScope, host: &str) -> impl Iterator<Item = CheckFinding> {
    let subject = Subject::Host(host.to_owned());
    let drifts = scope.drifts.get(host).into_iter().flatten();
    drifts.map(move |(drift, remedy)| CheckFinding::warn(&subject, drift.clone(), *remedy))
}

async fn host_findings(
    config: &Config,
    scope: &CheckScope,
    dialer: Arc<Dialer>,
    host: String,
    places: BTreeMap<String, PlaceNeeds>,
) -> Vec<CheckFinding> {
    let mut found = looked_at(config, scope, dialer, &host, places).await;
    found.extend(drifts(scope, &host));
    found
}

async fn looked_at(
    config: &Config,
    scope: &CheckScope,
    dialer: Arc<Dialer>,
    host: &str,
    places: BTreeMap<String, PlaceNeeds>,
) -> Vec<CheckFinding> {
    let subject = Subject::Host(host.to_owned());
    if let Some(reason) = scope.disabled.get(host) {
        let why = format!("it is taken out of releases: {reason}");
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
    match look(config, &subject, &dialer, &planned, (&script, &places)).await {
        // The error includes its remedy.
        Err(error) => vec![CheckFinding::fail(&subject, error.to_string(), "")],
        Ok(findings) => findings,
    }
}

async fn look(
    config: &Config,
    subject: &Subject,
    dialer: &Arc<Dialer>,
    host: &PlannedHost,
    (script, places): (&str, &BTreeMap<String, PlaceNeeds>),
) -> Result<Vec<CheckFinding>, RemoteError> {
    let connection = open(config, dialer, host).await?;
    let answer = answer(&connection, script).await;
    let mut findings = Vec::new();
    if let Ok(answer) = &answer {
        findings = probe::findings(subject, answer, places, SystemClock.now().as_second());
        if let Some(scratch) = probe::scratch(answer) {
            // What is missing there was reported already.
            let failed = findings.iter().any(|one| one.verdict == CheckStatus::Fail);
            let send = if failed { Send::Nothing } else { Send::File };
            findings.extend(send::finding(subject, &connection, scratch, send).await);
        } else if findings.iter().all(|one| one.verdict != CheckStatus::Fail) {
            let why = "no place of a release is there to send a file to by rsync";
            findings.push(CheckFinding::not_looked_at(subject, why));
        }
    }
    connection.close().await;
    answer.map(|_| findings)
}
