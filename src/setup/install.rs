//! Puts the hook in place beside a git server, and takes it out again.
//!
//! Three layouts, after what a server runs: GitLab's `custom_hooks/update.d/`, Gitea's
//! `hooks/update.d/`, and `hooks/update` of a bare repository. What stood there is kept and still
//! runs. New files are written beside their place and renamed, since overwriting a running program
//! fails and a half-written hook refuses every push. The command line calls it; it never touches
//! the agent's store, nor any repository but the one it is given.
//!
//! A bare repository has room for one hook only, and tagship's starts no process. So where a hook
//! stood before, `hooks/update` becomes a small `sh` script that runs the old one with the same
//! arguments and input, keeps its refusal, and then becomes tagship's. Where none stood, it is a
//! link straight to tagship's program.

mod archive;
mod elsewhere;
mod error;
mod file;
mod layout;
mod trial;
mod verify;

use std::path::{Path, PathBuf};

use tagship_hook::rule::OnSpoolError;
use tagship_hook::settings::Settings;

pub use archive::archive;
pub use error::InstallError;
pub use layout::{GitServerKind, repository_dir};
pub use verify::{HookFinding, unseen, verify};

use layout::HookLayout;
use trial::TrialIdentity;

/// What is to be installed, and where.
#[derive(Clone, Debug)]
pub struct InstallRequest {
    /// The repository's directory (what holds `HEAD`); a work tree is fine.
    pub repo: PathBuf,
    pub kind: GitServerKind,
    /// The spool as the git server sees it, absolute.
    pub spool_dir: PathBuf,
    /// The key of the repository; a bare repository has no other way to know it.
    pub repository: String,
    /// Written to the hook's settings where given; else the agent's word counts.
    pub on_spool_error: Option<OnSpoolError>,
    /// The program `update`, built statically.
    pub hook_program: PathBuf,
    /// Who runs git there; by default whoever owns the repository.
    pub git_user: Option<String>,
}

/// What an installation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub kind: GitServerKind,
    /// The program that stands in place.
    pub program: PathBuf,
    pub settings: PathBuf,
    /// The hook that stood there before and still runs.
    pub kept: Option<PathBuf>,
    /// What the program says about itself.
    pub version: String,
    /// The uid as which it was tried.
    pub tried_as: u32,
    /// What is still to be done: the spool cannot be reached, …
    pub findings: Vec<HookFinding>,
}

/// What taking the hook out did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The files that are gone; none where nothing was installed.
    pub files: Vec<PathBuf>,
    /// The hook that stands where it stood before.
    pub restored: Option<PathBuf>,
}

impl InstallRequest {
    /// Installs the hook, or brings an installed one up to date.
    ///
    /// # Errors
    /// [`InstallError`]; what stood there before still stands, and pushes are not disturbed.
    pub fn run(&self) -> Result<Report, InstallError> {
        let repo = repository_dir(&self.repo)?;
        let layout = HookLayout::new(&repo, self.kind);
        layout.refuse_gitolite()?;
        let settings = self.settings()?.to_text().map_err(InstallError::Settings)?;
        let identity = TrialIdentity::find(&repo, self.git_user.as_deref())?;
        elsewhere::refuse(&repo, self.kind, &identity)?;

        file::make_directories(&repo, &layout.directory, &identity)?;
        let new = file::temporary(&layout.program);
        let version = file::copy_program(&self.hook_program, &new, &identity)
            .and_then(|()| identity.version_of(&new))
            .inspect_err(|_| drop(std::fs::remove_file(&new)))?;
        // Settings first: the program must never run without them.
        file::write(&layout.settings, settings.as_bytes(), 0o644, &identity)?;
        file::rename(&new, &layout.program)?;
        let kept = match &layout.entry {
            Some(entry) => entry.put(&layout, &identity)?,
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

    /// What the hook's settings are to say.
    ///
    /// # Errors
    /// A relative spool directory.
    pub fn settings(&self) -> Result<Settings, InstallError> {
        if !self.spool_dir.is_absolute() {
            return Err(InstallError::RelativeSpool(self.spool_dir.clone()));
        }
        Ok(Settings {
            spool_dir: self.spool_dir.clone(),
            // The other servers say it themselves, and go on saying it after a change of name.
            repository: (self.kind == GitServerKind::Bare).then(|| self.repository.clone()),
            on_spool_error: self.on_spool_error,
        })
    }
}

/// Takes the hook out and puts back what stood there. Doing it twice is fine.
///
/// # Errors
/// [`InstallError`]: not a repository, a file that can't be removed.
pub fn uninstall(repo: &Path, kind: GitServerKind) -> Result<Removed, InstallError> {
    let repo = repository_dir(repo)?;
    let layout = HookLayout::new(&repo, kind);
    let mut removed = Removed {
        files: Vec::new(),
        restored: None,
    };
    // The way to the program goes first, then what it leads to.
    if let Some(entry) = &layout.entry {
        removed.restored = entry.take_out(&mut removed.files)?;
    }
    for path in [&layout.program, &layout.settings] {
        if file::remove(path)? {
            removed.files.push(path.clone());
        }
    }
    // Directories that an installation made; they stay where they hold anything.
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

/// Where the hook program is looked for: where `make install` puts it beside the running program,
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
