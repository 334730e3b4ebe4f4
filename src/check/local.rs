//! This machine: templates, and the spool with the rules that the hook reads.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{Finding, Scope, Subject};
use crate::agent;
use crate::config::{Config, Library};
use crate::spool;

/// As `spool::setup` makes them: for everybody who runs git, and for the agent alone.
const SHARED_MODE: u32 = 0o3770;
const OWN_MODE: u32 = 0o2750;
const AGAIN: &str = "start the agent again, which puts it right";

/// What is found here.
pub(super) fn findings(config: &Config, scope: &Scope) -> Vec<Finding> {
    let mut findings = templates(config);
    findings.extend(spool_findings(config, scope));
    findings
}

fn templates(config: &Config) -> Vec<Finding> {
    let library = Library::load(&config.agent.templates_dir);
    let misfits = library.misfits(config);
    let problems: Vec<Finding> = library
        .problems()
        .iter()
        .chain(&misfits)
        .map(|problem| Finding::fail(&Subject::Agent, problem.to_string(), ""))
        .collect();
    if !problems.is_empty() {
        return problems;
    }
    let count = library.templates().count();
    let what = match count {
        1 => "1 template, and it fits the rules".to_owned(),
        _ => format!("{count} templates, and they fit the rules"),
    };
    vec![Finding::ok(&Subject::Agent, what)]
}

fn spool_findings(config: &Config, scope: &Scope) -> Vec<Finding> {
    let spool_dir = &config.agent.spool_dir;
    if let Some(outsider) = agent::Outsider::of(&config.agent) {
        // Such an agent does not start, and would leave the directories without their bits.
        let what = outsider.to_string();
        return vec![Finding::fail(&Subject::Agent, what, outsider.remedy())];
    }
    let group = agent::user(&config.agent.git_user).map(|(_, group)| group);
    let modes = [
        ("", SHARED_MODE),
        (spool::TMP, SHARED_MODE),
        (spool::NEW, SHARED_MODE),
        (spool::BAD, OWN_MODE),
        (spool::RULES, OWN_MODE),
    ];
    for (name, mode) in modes {
        let path = if name.is_empty() {
            spool_dir.clone()
        } else {
            spool_dir.join(name)
        };
        if let Some(finding) = directory(&path, mode, group) {
            // What is wrong above is wrong below.
            return vec![finding];
        }
    }
    let stale = rules(config, scope);
    if !stale.is_empty() {
        return stale;
    }
    let what = format!(
        "the spool {} stands, its rules are up to date",
        spool_dir.display()
    );
    vec![Finding::ok(&Subject::Agent, what)]
}

fn directory(path: &Path, mode: u32, group: Option<u32>) -> Option<Finding> {
    let shown = path.display();
    let fail = |what: String| Some(Finding::fail(&Subject::Agent, what, AGAIN));
    let data = match fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(error) => return fail(format!("the spool {shown} cannot be looked at: {error}")),
    };
    if !data.is_dir() {
        return fail(format!("the spool {shown} is no directory"));
    }
    let found = data.permissions().mode() & 0o7777;
    if found != mode {
        return fail(format!(
            "the spool {shown} has mode {found:04o}, not {mode:04o}"
        ));
    }
    match group {
        Some(group) if data.gid() != group => fail(format!(
            "the spool {shown} belongs to group {}, not to the git user's ({group})",
            data.gid()
        )),
        _ => None,
    }
}

/// The rules that the hook reads differ from those of the configuration.
fn rules(config: &Config, scope: &Scope) -> Vec<Finding> {
    let in_scope = |repository: &str| {
        config
            .projects_of(repository)
            .any(|project| scope.covers(&project.name))
    };
    config
        .rules_files()
        .into_iter()
        .filter(|file| in_scope(&file.repository))
        .filter_map(|file| {
            let what = match spool::read_rules(&config.agent.spool_dir, &file.repository) {
                Ok(Some(published)) if published == file => return None,
                Ok(Some(_)) => format!(
                    "the hook's rules for {} are older than the configuration",
                    file.repository
                ),
                Ok(None) => format!("the hook has no rules for {}", file.repository),
                Err(error) => error.to_string(),
            };
            Some(Finding::fail(&Subject::Agent, what, AGAIN))
        })
        .collect()
}
