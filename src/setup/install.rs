//! Installs the hook beside a git server, and uninstalls it.
//!
//! Three layouts, depending on the server: GitLab's `custom_hooks/update.d/`, Gitea's
//! `hooks/update.d/`, and `hooks/update` of a bare repository. An existing hook is kept and still
//! runs. New files are written to a temporary name and renamed: overwriting a running program
//! fails, and a half-written hook refuses every push. Called by the command line; it never touches
//! the agent's store, nor any repository but the given one.
//!
//! A bare repository supports one hook only, and tagship's starts no process. So if a hook existed
//! before, `hooks/update` becomes a small `sh` script. It runs the old hook with the same arguments
//! and input, keeps its refusal, and then replaces itself with tagship's. If none existed, it is a
//! link to tagship's program.

mod archive;
mod error;
mod file;
mod hooks_path;
mod layout;
mod object_format;
mod trial;
mod verify;

use std::path::{Path, PathBuf};

pub use archive::archive;
pub use error::InstallError;
pub use layout::{GitServerKind, InstallRequest, repository_dir};
pub use verify::{HookFinding, unchecked, verify};

use layout::HookLayout;
use trial::TrialIdentity;

/// The result of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub kind: GitServerKind,
    /// The installed program.
    pub program: PathBuf,
    pub settings: PathBuf,
    /// The earlier hook, which still runs.
    pub kept: Option<PathBuf>,
    /// The program's version, as it reports it.
    pub version: String,
    /// The uid of the test run.
    pub tried_as: u32,
    /// The remaining problems: the spool cannot be reached, …
    pub findings: Vec<HookFinding>,
}

/// The result of uninstalling the hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UninstallReport {
    /// The deleted files; empty if nothing was installed.
    pub files: Vec<PathBuf>,
    /// The earlier hook, which was restored.
    pub restored: Option<PathBuf>,
}

impl InstallRequest {
    /// Installs the hook, or updates an installed one.
    ///
    /// # Errors
    /// [`InstallError`]; the earlier hook still exists, and pushes are not disturbed.
    pub fn run(&self) -> Result<Report, InstallError> {
        let repo = repository_dir(&self.repo)?;
        let layout = HookLayout::new(&repo, self.kind);
        layout.refuse_gitolite()?;
        let settings = self.settings()?.to_text().map_err(InstallError::Settings)?;
        let identity = TrialIdentity::find(&repo, self.git_user.as_deref())?;
        object_format::refuse(&repo, self.kind, &identity)?;
        hooks_path::refuse(&repo, self.kind, &identity)?;

        file::make_directories(&repo, &layout.directory, &identity)?;
        let new = file::temporary(&layout.program);
        let version = file::copy_program(&self.hook_program, &new, &identity)
            .and_then(|()| identity.version_of(&new))
            .inspect_err(|_| drop(std::fs::remove_file(&new)))?;
        // Settings first: the program must never run without them.
        file::write(&layout.settings, settings.as_bytes(), 0o644, &identity)?;
        file::rename(&new, &layout.program)?;
        let kept = match &layout.entry {
            Some(entry) => entry.install(&layout, &identity)?,
            None => None,
        };
        Ok(Report {
            kind: self.kind,
            program: layout.program,
            settings: layout.settings,
            kept,
            version,
            tried_as: identity.uid(),
            findings: verify(self),
        })
    }
}

/// Uninstalls the hook and restores the earlier one. Repeating it is harmless.
///
/// # Errors
/// [`InstallError`]: not a repository, a file that can't be removed.
pub fn uninstall(repo: &Path, kind: GitServerKind) -> Result<UninstallReport, InstallError> {
    let repo = repository_dir(repo)?;
    let layout = HookLayout::new(&repo, kind);
    let mut removed = UninstallReport {
        files: Vec::new(),
        restored: None,
    };
    // The entry is deleted first, then its target.
    if let Some(entry) = &layout.entry {
        removed.restored = entry.uninstall(&mut removed.files)?;
    }
    for path in [&layout.program, &layout.settings] {
        if file::remove(path)? {
            removed.files.push(path.clone());
        }
    }
    // Delete directories made by an installation, unless they contain something.
    for directory in layout.directory.ancestors() {
        if directory == repo || directory.ends_with("hooks") {
            break;
        }
        if std::fs::remove_dir(directory).is_err() {
            break;
        }
    }
    Ok(removed)
}

/// Returns the path of the hook program: where `make install` puts it beside the running program,
/// in the directory of the running program (a build's), then below `/usr/lib`.
#[must_use]
pub fn default_hook_program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let directory = own.parent().unwrap_or(Path::new(""));
    [
        directory.join("../libexec/tagship/update"),
        directory.join("update"),
    ]
    .into_iter()
    .find(|path| path.is_file())
    .unwrap_or_else(|| "/usr/lib/tagship/update".into())
}
