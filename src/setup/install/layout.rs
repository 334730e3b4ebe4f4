//! The paths of a hook's files, for each kind of server.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::InstallError;
use super::file;
use super::trial::TrialIdentity;
use tagship_hook::rule::OnSpoolError;
use tagship_hook::settings::Settings;

/// The second line of the script that runs two hooks; identifies it.
const MARKER: &str =
    "# Installed by tagship: runs the hook that was here before, then tagship's own.";

/// The kind of git server, which determines the hooks that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitServerKind {
    /// `custom_hooks/update.d/`.
    GitLab,
    /// `hooks/update.d/`, run by Gitea's or Forgejo's own `hooks/update`.
    Gitea,
    /// `hooks/update`, run by git itself.
    Bare,
}

/// What to install, and where.
#[derive(Clone, Debug)]
pub struct InstallRequest {
    /// The repository's directory (which contains `HEAD`); a work tree is accepted.
    pub repo: PathBuf,
    pub kind: GitServerKind,
    /// The spool as the git server sees it, absolute.
    pub spool_dir: PathBuf,
    /// The key of the repository; a bare repository has no other source for it.
    pub repository: String,
    /// Written to the hook's settings if given; otherwise the agent's value counts.
    pub on_spool_error: Option<OnSpoolError>,
    /// The program `update`, built statically.
    pub hook_program: PathBuf,
    /// The user who runs git there; by default the owner of the repository.
    pub git_user: Option<String>,
}

impl InstallRequest {
    /// Returns the hook's settings.
    ///
    /// # Errors
    /// A relative spool directory.
    pub fn settings(&self) -> Result<Settings, InstallError> {
        if !self.spool_dir.is_absolute() {
            return Err(InstallError::RelativeSpool(self.spool_dir.clone()));
        }
        Ok(Settings {
            spool_dir: self.spool_dir.clone(),
            // The other servers provide it themselves, even after a rename.
            repository: (self.kind == GitServerKind::Bare).then(|| self.repository.clone()),
            on_spool_error: self.on_spool_error,
        })
    }
}

impl fmt::Display for GitServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GitLab => "GitLab",
            Self::Gitea => "Gitea",
            Self::Bare => "bare repository",
        })
    }
}

impl GitServerKind {
    /// Detects the kind from the files of the repository.
    ///
    /// # Errors
    /// Not a repository.
    pub fn detect(repo: &Path) -> Result<Self, InstallError> {
        let repo = repository_dir(repo)?;
        // `@cluster` in a Gitaly cluster.
        let hashed = repo
            .components()
            .any(|part| part.as_os_str() == "@hashed" || part.as_os_str() == "@cluster");
        // Written by GitLab into the configuration of each repository.
        let full_path = config_of(&repo)
            .lines()
            .any(|line| line.trim() == "[gitlab]");
        if hashed || full_path || repo.join("custom_hooks").is_dir() {
            return Ok(Self::GitLab);
        }
        let delegates = fs::read(repo.join("hooks/update"))
            // `${hookname}.d/*` in Gitea's own, `update.d/*` in others'.
            .is_ok_and(|text| String::from_utf8_lossy(&text).contains(".d/"));
        if delegates && repo.join("hooks/update.d").is_dir() {
            return Ok(Self::Gitea);
        }
        Ok(Self::Bare)
    }
}

/// Returns the directory that contains `HEAD`: `dir` itself, or its `.git`.
///
/// # Errors
/// Neither is a repository.
pub fn repository_dir(dir: &Path) -> Result<PathBuf, InstallError> {
    [dir.to_owned(), dir.join(".git")]
        .into_iter()
        .find(|path| {
            path.join("HEAD").is_file()
                && path.join("objects").is_dir()
                && path.join("refs").is_dir()
        })
        .and_then(|path| fs::canonicalize(path).ok())
        .ok_or_else(|| InstallError::NotARepository(dir.to_owned()))
}

fn config_of(repo: &Path) -> String {
    fs::read(repo.join("config")).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// The files of one installation.
#[derive(Debug)]
pub(super) struct HookLayout {
    pub(super) directory: PathBuf,
    pub(super) program: PathBuf,
    pub(super) settings: PathBuf,
    /// The path that git runs, if that is not the program itself.
    pub(super) entry: Option<RepositoryHook>,
}

impl HookLayout {
    pub(super) fn new(repo: &Path, kind: GitServerKind) -> Self {
        // Other hooks come first, so that a tag that they refuse is never recorded.
        let (directory, name) = match kind {
            GitServerKind::GitLab => ("custom_hooks/update.d", "90-tagship"),
            GitServerKind::Gitea => ("hooks/update.d", "tagship"),
            GitServerKind::Bare => ("hooks", "update.tagship"),
        };
        let directory = repo.join(directory);
        let program = directory.join(name);
        Self {
            settings: Settings::beside(&program),
            entry: (kind == GitServerKind::Bare).then(|| RepositoryHook {
                hook: directory.join("update"),
                backup: directory.join("update.before-tagship"),
            }),
            directory,
            program,
        }
    }

    /// Refuses a repository in which the hook would not stay.
    pub(super) fn refuse_gitolite(&self) -> Result<(), InstallError> {
        let Some(entry) = &self.entry else {
            return Ok(());
        };
        let points_at_gitolite = fs::read_link(&entry.hook)
            .is_ok_and(|target| target.to_string_lossy().contains("gitolite"));
        if points_at_gitolite {
            return Err(InstallError::Gitolite(entry.hook.clone()));
        }
        Ok(())
    }

    /// Returns the layout of a program that was copied manually to git's hooks directory, with its
    /// settings beside it; `None` if the existing hook is not tagship's.
    pub(super) fn manual(hooks_path: &Path) -> Option<Self> {
        let program = fs::canonicalize(hooks_path.join("update")).ok()?;
        let settings = Settings::beside(&program);
        Settings::parse(&settings, &fs::read_to_string(&settings).ok()?).ok()?;
        Some(Self {
            directory: hooks_path.to_owned(),
            program,
            settings,
            entry: None,
        })
    }
}

/// `hooks/update` of a bare repository.
#[derive(Debug)]
pub(super) struct RepositoryHook {
    pub(super) hook: PathBuf,
    pub(super) backup: PathBuf,
}

/// The current state of `hooks/update`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookState {
    Nothing,
    /// A link to our program.
    Link,
    /// The script that runs two hooks.
    Chain,
    Foreign,
}

impl RepositoryHook {
    pub(super) fn state(&self) -> HookState {
        let Ok(data) = fs::symlink_metadata(&self.hook) else {
            return HookState::Nothing;
        };
        if data.is_symlink() {
            return match fs::read_link(&self.hook) {
                Ok(target) if target == Path::new("update.tagship") => HookState::Link,
                _ => HookState::Foreign,
            };
        }
        let ours = fs::read(&self.hook)
            .is_ok_and(|text| text.split(|byte| *byte == b'\n').nth(1) == Some(MARKER.as_bytes()));
        if ours {
            HookState::Chain
        } else {
            HookState::Foreign
        }
    }

    /// Makes git run our program; returns the kept hook. A hook exists at any moment.
    pub(super) fn install(
        &self,
        layout: &HookLayout,
        identity: &TrialIdentity,
    ) -> Result<Option<PathBuf>, InstallError> {
        match self.state() {
            HookState::Nothing => {
                let new = file::temporary(&self.hook);
                file::remove(&new)?;
                let target = layout.program.file_name().unwrap_or_default();
                std::os::unix::fs::symlink(target, &new)
                    .map_err(InstallError::io("make link", &new))?;
                file::rename(&new, &self.hook)?;
                return Ok(None);
            }
            HookState::Link => return Ok(None),
            HookState::Chain => {}
            HookState::Foreign => {
                if fs::symlink_metadata(&self.backup).is_ok() {
                    return Err(InstallError::KeptTwice {
                        kept: self.backup.clone(),
                        hook: self.hook.clone(),
                    });
                }
                fs::hard_link(&self.hook, &self.backup)
                    .map_err(InstallError::io("keep the old hook as", &self.backup))?;
            }
        }
        file::write(&self.hook, chain().as_bytes(), 0o755, identity)?;
        Ok(Some(self.backup.clone()))
    }

    /// Restores the earlier hook; leaves a hook alone that is not ours.
    pub(super) fn uninstall(
        &self,
        files: &mut Vec<PathBuf>,
    ) -> Result<Option<PathBuf>, InstallError> {
        match self.state() {
            HookState::Nothing | HookState::Foreign => Ok(None),
            HookState::Chain if fs::symlink_metadata(&self.backup).is_ok() => {
                file::rename(&self.backup, &self.hook)?;
                Ok(Some(self.hook.clone()))
            }
            HookState::Link | HookState::Chain => {
                if file::remove(&self.hook)? {
                    files.push(self.hook.clone());
                }
                Ok(None)
            }
        }
    }
}

/// Returns the script that runs two hooks. `exec` passes on tagship's exit code and signals.
fn chain() -> String {
    format!(
        r#"#!/bin/sh
{MARKER}
hooks=${{0%/*}}
if [ -x "$hooks/update.before-tagship" ]; then
    "$hooks/update.before-tagship" "$@" || exit
fi
exec "$hooks/update.tagship" "$@"
"#
    )
}
