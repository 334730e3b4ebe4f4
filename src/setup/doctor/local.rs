//! Checks this machine: templates, and the spool with the rules that the hook reads.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::probe::INODES_MIN;
use super::{CheckFinding, CheckScope, Subject};
use crate::agent;
use crate::config::{AgentConfig, Config, Templates};
use crate::engine::spool;

/// As made by `spool::setup`: for all users who run git, and for the agent alone.
const SHARED_MODE: u32 = 0o3770;
const OWN_MODE: u32 = 0o2750;
/// With less free space a release is likely to fail.
const FREE_MIB_MIN: u64 = 256;
const RESTART_REMEDY: &str = "restart the agent, which corrects it";

/// Returns the findings on this machine.
pub(super) fn findings(config: &Config, scope: &CheckScope) -> Vec<CheckFinding> {
    let mut findings = templates(config);
    findings.extend(spool_findings(config, scope));
    findings.push(free_space(&config.agent.data_dir));
    findings
}

/// Checks the free space for store, mirrors and trees. A missing directory is checked at its
/// nearest existing parent.
fn free_space(data_dir: &Path) -> CheckFinding {
    let shown = data_dir.display();
    let there = data_dir.ancestors().find(|path| path.exists());
    let Some(Ok(disk)) = there.map(rustix::fs::statvfs) else {
        let why = format!("how much room is free for data_dir {shown} cannot be seen");
        return CheckFinding::not_checked(&Subject::Agent, why);
    };
    let free_mib = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
    // Some file systems allocate inodes as needed, and count none.
    let inodes = (disk.f_files > 0).then_some(disk.f_favail);
    free_space_finding(&shown.to_string(), free_mib, inodes)
}

/// Converts an amount of free space into a finding.
fn free_space_finding(shown: &str, free_mib: u64, inodes: Option<u64>) -> CheckFinding {
    let fail = |what: String| {
        let remedy = "make room on that file system; logs of earlier tasks are in its logs/";
        CheckFinding::fail(&Subject::Agent, what, remedy)
    };
    match inodes {
        _ if free_mib < FREE_MIB_MIN => {
            fail(format!("only {free_mib} MiB are free for data_dir {shown}"))
        }
        Some(inodes) if inodes < INODES_MIN => fail(format!(
            "only {inodes} inodes are free for data_dir {shown}"
        )),
        _ => CheckFinding::ok(
            &Subject::Agent,
            format!("{free_mib} MiB are free for data_dir {shown}"),
        ),
    }
}

fn templates(config: &Config) -> Vec<CheckFinding> {
    let library = Templates::load(&config.agent.templates_dir);
    let mismatches = library.mismatches(config);
    let problems: Vec<CheckFinding> = library
        .problems()
        .iter()
        .chain(&mismatches)
        .map(|problem| CheckFinding::fail(&Subject::Agent, problem.to_string(), ""))
        .collect();
    if !problems.is_empty() {
        return problems;
    }
    let count = library.templates().count();
    let what = match count {
        1 => "1 template, and it fits the rules".to_owned(),
        _ => format!("{count} templates, and they fit the rules"),
    };
    vec![CheckFinding::ok(&Subject::Agent, what)]
}

fn spool_findings(config: &Config, scope: &CheckScope) -> Vec<CheckFinding> {
    let spool_dir = &config.agent.spool_dir;
    if let Some(outsider) = agent::GroupProblem::check(&config.agent) {
        // Such an agent does not start, and would leave the directories without their mode bits.
        let what = outsider.to_string();
        return vec![CheckFinding::fail(&Subject::Agent, what, outsider.remedy())];
    }
    if let Some(obstacle) = agent::spool_obstacle(&config.agent) {
        return vec![CheckFinding::fail(&Subject::Agent, obstacle, "")];
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
        if let Some(finding) = directory(&config.agent, &path, mode, group) {
            // A problem of the directory affects those below it.
            return vec![finding];
        }
    }
    let stale = rules(config, scope);
    if !stale.is_empty() {
        return stale;
    }
    let what = format!(
        "the spool {} is ready, its rules are up to date",
        spool_dir.display()
    );
    vec![CheckFinding::ok(&Subject::Agent, what)]
}

fn directory(
    agent: &AgentConfig,
    path: &Path,
    mode: u32,
    group: Option<u32>,
) -> Option<CheckFinding> {
    let shown = path.display();
    let fail = |what: String| Some(CheckFinding::fail(&Subject::Agent, what, RESTART_REMEDY));
    let data = match fs::symlink_metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let what = format!("the spool {shown} is missing");
            let remedy = format!(
                "run as root: {}, and {RESTART_REMEDY}",
                agent::spool_commands(agent)
            );
            return Some(CheckFinding::fail(&Subject::Agent, what, remedy));
        }
        Err(error) => {
            let what = format!("the spool {shown} cannot be looked at: {error}");
            let remedy = "run tagship check as root";
            return Some(CheckFinding::fail(&Subject::Agent, what, remedy));
        }
    };
    if !data.is_dir() {
        let what = format!("the spool {shown} is a link, not a directory");
        let remedy = "put a directory in its place, or name another one in [agent] spool_dir";
        return Some(CheckFinding::fail(&Subject::Agent, what, remedy));
    }
    if data.uid() != agent::agents_user(agent) {
        // The agent cannot set group or mode of another user's file.
        let what = format!(
            "the spool {shown} belongs to user {}, not to the agent's",
            data.uid()
        );
        let remedy = format!(
            "run as root: {}, and {RESTART_REMEDY}",
            agent::chown_command(agent, path)
        );
        return Some(CheckFinding::fail(&Subject::Agent, what, remedy));
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

/// Checks whether the hook's rules differ from the configured ones.
fn rules(config: &Config, scope: &CheckScope) -> Vec<CheckFinding> {
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
            Some(CheckFinding::fail(&Subject::Agent, what, RESTART_REMEDY))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::doctor::CheckStatus;

    #[test]
    fn low_disk_space_or_inodes_fail_with_a_remedy() {
        for (free_mib, inodes, fails) in [
            (FREE_MIB_MIN, None, None),
            (FREE_MIB_MIN, Some(INODES_MIN), None),
            (FREE_MIB_MIN - 1, None, Some("255 MiB")),
            (0, Some(INODES_MIN), Some("0 MiB")),
            (FREE_MIB_MIN, Some(INODES_MIN - 1), Some("inodes")),
            (u64::MAX, Some(0), Some("0 inodes")),
        ] {
            let found = free_space_finding("/var/lib/tagship", free_mib, inodes);
            let Some(words) = fails else {
                assert_eq!(found.status, CheckStatus::Ok, "{found:?}");
                continue;
            };
            assert_eq!(found.status, CheckStatus::Fail, "{found:?}");
            let what = &found.text;
            assert!(
                what.contains(words) && what.contains("/var/lib/tagship"),
                "{what}"
            );
            assert!(found.remedy.contains("make room"), "{found:?}");
        }
    }
}
