//! Checks an installed hook, for `tagship check`.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::layout::{HookLayout, HookState};
use super::trial::TrialIdentity;
use super::{InstallError, InstallRequest, hooks_path, object_format, repository_dir};
use crate::base::user::user_or_number;
use tagship_hook::settings::Settings;

/// Something that keeps tags from reaching the agent, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFinding {
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for HookFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl HookFinding {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

const REINSTALL: &str = "run tagship install again";
const BY_HAND: &str = "copy the program and its settings there again, as docs/hook.md says";

/// Checks the hook as git will use it: it exists, is executable, has this version, and the git user
/// can access its spool. Returns no finding if all is well.
#[must_use]
pub fn verify(install: &InstallRequest) -> Vec<HookFinding> {
    let repo = match repository_dir(&install.repo) {
        Ok(repo) => repo,
        Err(error) => return vec![HookFinding::new(error.to_string(), "correct --repo")],
    };
    let layout = HookLayout::new(&repo, install.kind);
    let mut findings = Vec::new();
    let identity = TrialIdentity::find(&repo, install.git_user.as_deref());
    let looked_at = layout.refuse_gitolite().and_then(|()| match &identity {
        Ok(identity) => object_format::refuse(&repo, install.kind, identity)
            .and_then(|()| hooks_path::refuse(&repo, install.kind, identity)),
        Err(_) => Ok(()),
    });
    if let Err(error) = looked_at {
        match manual(&error) {
            Some(there) => return manual_findings(install, &there, identity),
            None => findings.push(HookFinding::new(
                error.to_string(),
                "no tag is seen until then",
            )),
        }
    }
    if is_absent(&layout) {
        let what = format!(
            "{} has no hook of tagship's: its tags are not seen",
            repo.display()
        );
        findings.push(HookFinding::new(what, "run tagship install"));
        return findings;
    }
    if let Some(finding) = unreachable(&layout) {
        findings.push(finding);
    }
    if !check_executable(&layout.program, &mut findings) {
        return findings;
    }
    program_findings(install, &layout, identity, &mut findings);
    findings
}

/// Checks a hook that was copied manually to git's hooks directory.
fn manual_findings(
    install: &InstallRequest,
    layout: &HookLayout,
    identity: Result<TrialIdentity, InstallError>,
) -> Vec<HookFinding> {
    let mut findings = Vec::new();
    if check_executable(&layout.program, &mut findings) {
        program_findings(install, layout, identity, &mut findings);
    }
    for finding in findings
        .iter_mut()
        .filter(|finding| finding.remedy == REINSTALL)
    {
        BY_HAND.clone_into(&mut finding.remedy);
    }
    findings
}

fn program_findings(
    install: &InstallRequest,
    layout: &HookLayout,
    identity: Result<TrialIdentity, InstallError>,
    findings: &mut Vec<HookFinding>,
) {
    check_settings(install, layout, findings);
    match identity {
        Ok(identity) => check_program(&identity, layout, findings),
        Err(error) => findings.push(HookFinding::new(error.to_string(), REINSTALL)),
    }
}

/// Returns what could not be checked for another hooks directory of git, with the remedy; `None` if
/// everything was.
#[must_use]
pub fn unchecked(install: &InstallRequest) -> Option<String> {
    let repo = repository_dir(&install.repo).ok()?;
    let identity = TrialIdentity::find(&repo, install.git_user.as_deref()).ok()?;
    hooks_path::unchecked(&repo, install.kind, &identity)
}

/// Returns the hook in a hooks directory outside of the repository.
fn manual(error: &InstallError) -> Option<HookLayout> {
    match error {
        InstallError::HooksElsewhere { hooks_path, .. } => HookLayout::manual(hooks_path),
        _ => None,
    }
}

/// Whether none of its files exist.
fn is_absent(layout: &HookLayout) -> bool {
    let entry = layout
        .entry
        .as_ref()
        .map(super::layout::RepositoryHook::state);
    let nothing =
        entry.is_none_or(|state| matches!(state, HookState::Nothing | HookState::Foreign));
    nothing && !layout.program.exists()
}

/// Reports a bare repository whose `hooks/update` does not run the program.
fn unreachable(layout: &HookLayout) -> Option<HookFinding> {
    let entry = layout.entry.as_ref()?;
    let path = entry.hook.display();
    match entry.state() {
        HookState::Nothing => Some(HookFinding::new(format!("{path} is missing"), REINSTALL)),
        HookState::Foreign => Some(HookFinding::new(
            format!("{path} is not tagship's: the hook does not run"),
            REINSTALL,
        )),
        HookState::Chain if !executable(&entry.hook) => Some(HookFinding::new(
            format!("{path} is not executable: git skips it and takes every push"),
            REINSTALL,
        )),
        HookState::Link | HookState::Chain => None,
    }
}

fn check_executable(program: &Path, findings: &mut Vec<HookFinding>) -> bool {
    let path = program.display();
    let Ok(data) = fs::metadata(program) else {
        findings.push(HookFinding::new(
            format!("hook {path} is missing"),
            REINSTALL,
        ));
        return false;
    };
    if !executable(program) {
        findings.push(HookFinding::new(
            format!("hook {path} is not executable: git skips it and takes every push"),
            REINSTALL,
        ));
        return false;
    }
    if data.permissions().mode() & 0o022 != 0 {
        findings.push(HookFinding::new(
            format!("hook {path} can be written by others, who can run anything as the git user"),
            "chmod 755 it",
        ));
    }
    true
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn check_settings(install: &InstallRequest, layout: &HookLayout, findings: &mut Vec<HookFinding>) {
    let read = fs::read_to_string(&layout.settings)
        .map_err(|error| format!("{}: {error}", layout.settings.display()))
        .and_then(|text| {
            Settings::parse(&layout.settings, &text).map_err(|error| error.to_string())
        });
    match (read, install.settings()) {
        (Err(what), _) => findings.push(HookFinding::new(what, REINSTALL)),
        (Ok(found), Ok(expected)) if found != expected => findings.push(HookFinding::new(
            format!(
                "{} does not say what the configuration says",
                layout.settings.display()
            ),
            REINSTALL,
        )),
        (Ok(_), Err(error)) => findings.push(HookFinding::new(error.to_string(), REINSTALL)),
        (Ok(_), Ok(_)) => {}
    }
}

fn check_program(identity: &TrialIdentity, layout: &HookLayout, findings: &mut Vec<HookFinding>) {
    match identity.version_of(&layout.program) {
        Err(error) => {
            findings.push(HookFinding::new(error.to_string(), REINSTALL));
            return;
        }
        Ok(version) if version != tagship_hook::VERSION => findings.push(HookFinding::new(
            format!(
                "hook {} has version {version}, the agent {}",
                layout.program.display(),
                tagship_hook::VERSION
            ),
            REINSTALL,
        )),
        Ok(_) => {}
    }
    if let Some(complaint) = identity.check_error(&layout.program) {
        findings.push(HookFinding::new(
            format!(
                "the hook, run as user {}, cannot hand over: {complaint}",
                user_or_number(identity.uid())
            ),
            "start the agent, which makes the spool, and put the git user into the spool's group",
        ));
    }
}
