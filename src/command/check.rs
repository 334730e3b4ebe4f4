//! `tagship check`: prints what `check` finds, a line each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;

use super::arguments::Check;
use super::client::Ask;
use super::error::CommandError;
use super::install;
use super::screen;
use super::surroundings::{Surroundings, project};
use super::table::printable;
use crate::check::{Finding, Scope, Verdict, check as look};
use crate::config::Config;
use crate::install::Install;
use crate::web::view::HostList;

/// Runs it.
pub(crate) async fn check(around: &Surroundings, asked: &Check) -> Result<(), CommandError> {
    let config = around.config()?;
    if let Some(name) = &asked.project {
        project(&config, name)?;
    }
    beware_of_another_user(&config);
    let scope = Scope {
        project: asked.project.clone(),
        disabled: disabled(around, &config).await,
        hooks: hooks(&config),
    };
    let findings = look(&config, &scope).await;
    if asked.form.json {
        screen::print_json(&findings)?;
    } else {
        screen::print(&lines(&findings))?;
    }
    let failed = |finding: &&Finding| finding.verdict == Verdict::Fail;
    match findings.iter().filter(failed).count() {
        0 => Ok(()),
        failed => Err(CommandError::Check {
            failed,
            looked_at: findings.len(),
        }),
    }
}

/// `FAIL host web1: no rsync on the host; install rsync there`.
fn lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let word = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Fail => "FAIL",
            Verdict::NotLookedAt => "-",
        };
        let what = printable(&finding.what);
        let _ = write!(text, "{word:<4} {}: {what}", finding.subject);
        if !finding.remedy.is_empty() {
            let _ = write!(text, "; {}", printable(&finding.remedy));
        }
        text.push('\n');
    }
    text
}

/// Keys and rights are those of whoever runs this, not of the agent.
fn beware_of_another_user(config: &Config) {
    let data_dir = &config.agent.data_dir;
    let ours = rustix::process::geteuid().as_raw();
    if let Ok(data) = std::fs::metadata(data_dir)
        && data.uid() != ours
    {
        screen::note(&format!(
            "note: {} belongs to user number {}, this runs as {ours}: what the agent may do can differ",
            data_dir.display(),
            data.uid()
        ));
    }
}

/// The hosts that are taken out, if an agent is there to say so.
async fn disabled(around: &Surroundings, config: &Config) -> BTreeMap<String, String> {
    let agent = match around.is_elsewhere() {
        true => around.agent(),
        false => Surroundings::local_agent(config),
    };
    let Ok(agent) = agent else {
        return BTreeMap::new();
    };
    let hosts: Result<HostList, _> = agent.client.ask(&Ask::get(["hosts"])).await;
    hosts.map_or_else(
        |_| BTreeMap::new(),
        |list| {
            let out = list.hosts.into_iter().filter_map(|host| {
                let disabled = host.disabled?;
                Some((host.name, disabled.reason))
            });
            out.collect()
        },
    )
}

/// What should be installed in the repositories that stand on this machine.
fn hooks(config: &Config) -> BTreeMap<String, Install> {
    let packaged = install::packaged_hook();
    let projects = config.projects.iter();
    projects
        .filter_map(|project| {
            let repo = install::repository(project, None).ok()?;
            let wanted = install::installation(config, project, &repo, packaged.clone()).ok()?;
            Some((project.name.clone(), wanted))
        })
        .collect()
}
