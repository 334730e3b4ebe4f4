//! Checks each project: whether its repository can be queried, and whether its hook is installed.

use std::path::Path;

use futures::stream::{self, StreamExt};

use super::scratch::scratch;
use super::{CheckFinding, CheckScope, Subject};
use crate::agent::resolve;
use crate::config::{Config, Project};
use crate::git::landing::{self, LandingError};
use crate::hosts::ssh::make_key;
use crate::setup::install;

/// Maximum number of repositories that are queried concurrently.
const PARALLEL: usize = 8;

/// Returns the findings on projects in scope, in their order.
pub(super) async fn findings(config: &Config, scope: &CheckScope) -> Vec<CheckFinding> {
    let projects = config.projects.iter().filter(|p| scope.covers(&p.name));
    let looks = projects.map(|project| async move {
        let mut findings = vec![repository(config, project).await];
        findings.extend(hook(project, scope));
        findings.extend(last_push(project, scope));
        findings.extend(unlisted_tags(project, scope));
        findings
    });
    let found: Vec<Vec<CheckFinding>> = stream::iter(looks).buffered(PARALLEL).collect().await;
    found.into_iter().flatten().collect()
}

async fn repository(config: &Config, project: &Project) -> CheckFinding {
    let subject = Subject::Project(project.name.clone());
    let scratch = match scratch() {
        Ok(scratch) => scratch,
        Err(error) => {
            let what = format!("no temporary directory can be made: {error}");
            return CheckFinding::fail(
                &subject,
                what,
                "set TMPDIR to a directory that can be written",
            );
        }
    };
    let mut source = resolve::source(config, project);
    // The agent's own mirror belongs to the agent's user, who may be another one.
    source.mirror = scratch.0.join("mirror.git");
    let url = &source.git_url;
    // All tags: their ids show an object format that is not supported.
    match landing::tags(&source).await {
        Ok(_) | Err(LandingError::TooManyTags { .. }) => {
            CheckFinding::ok(&subject, format!("{url} answers"))
        }
        Err(error) => {
            let own = format!("project {}: ", project.name);
            let what = error.to_string();
            let what = what.strip_prefix(&own).unwrap_or(&what);
            if let Some(key) = config.git.identity.as_ref().filter(|key| !key.exists()) {
                let remedy = format!(
                    "make the key as the agent's user: {}, and give the .pub file beside it to the git server",
                    make_key(key)
                );
                let what = format!("{url}: there is no key {}", key.display());
                return CheckFinding::fail(&subject, what, remedy);
            }
            CheckFinding::fail(&subject, format!("{url}: {what}"), "")
        }
    }
}

fn hook(project: &Project, scope: &CheckScope) -> Vec<CheckFinding> {
    let subject = Subject::Project(project.name.clone());
    let Some(hook) = scope.hooks.get(&project.name) else {
        let elsewhere = !project.repository.starts_with('/');
        let what = match elsewhere {
            true => "its hook is where the git server is, not on this machine".to_owned(),
            false => format!(
                "{} is not on this machine, nor its hook",
                project.repository
            ),
        };
        return vec![CheckFinding::not_checked(&subject, what)];
    };
    let wrong = install::verify(hook);
    let mut findings: Vec<CheckFinding> = wrong
        .into_iter()
        .map(|finding| CheckFinding::fail(&subject, finding.what, finding.remedy))
        .collect();
    if findings.is_empty() {
        let repo = shown(&hook.repo);
        findings.push(CheckFinding::ok(
            &subject,
            format!("its hook is installed in {repo}"),
        ));
    }
    if let Some(unseen) = install::unchecked(hook) {
        findings.push(CheckFinding::not_checked(&subject, unseen));
    }
    findings
}

/// Reports the last push that the agent took in: an installed hook may not be run by any server.
fn last_push(project: &Project, scope: &CheckScope) -> Option<CheckFinding> {
    let subject = Subject::Project(project.name.clone());
    if scope.unknown.contains(&project.name) {
        let what = "the running agent has an older configuration without this project";
        let remedy = "restart the agent; it drops tags of this project until then";
        return Some(CheckFinding::fail(&subject, what, remedy));
    }
    Some(match scope.last_pushes.get(&project.name)? {
        Some(at) => CheckFinding::ok(&subject, format!("its hook last reported a push {at}")),
        None => CheckFinding::warn(
            &subject,
            "its hook has reported no push to the agent",
            "push a tag; if this stays so, the git server runs no hook of tagship's (docs/hook.md)",
        ),
    })
}

/// Reports that tags made on the server are not found; no other check does.
fn unlisted_tags(project: &Project, scope: &CheckScope) -> Option<CheckFinding> {
    let reported = scope.unlisted.get(&project.name)?;
    Some(CheckFinding::warn(
        &Subject::Project(project.name.clone()),
        reported.clone(),
        "correct git_url or [git] for it, or set reconcile = \"off\" where no tag is made on the server",
    ))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
