//! Why the hook cannot be installed, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why the hook could not be installed or uninstalled.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("{0} is not a git repository; name the directory that holds HEAD, objects and refs")]
    NotARepository(PathBuf),
    #[error(
        "{path}: git, run by {user}, takes hooks from {hooks_path} and not from the repository (core.hooksPath in {set_in}); take that setting out, or install there by hand, as docs/hook.md says"
    )]
    HooksElsewhere {
        path: PathBuf,
        hooks_path: PathBuf,
        set_in: String,
        user: String,
    },
    #[error(
        "{path}: git, run by {user}, cannot read its configuration, and every push fails: {answer}; correct that file"
    )]
    GitFails {
        path: PathBuf,
        user: String,
        answer: String,
    },
    #[error(
        "{0} belongs to gitolite, which puts its own hook back; install tagship's as a VREF, as docs/hook.md says"
    )]
    Gitolite(PathBuf),
    #[error(
        "{0} has SHA-256 object ids, which are not supported; push to a repository with SHA-1 ids (git init --object-format=sha1), and name that one in the configuration"
    )]
    ObjectFormat(PathBuf),
    #[error("hook program {0} is missing; name it with --hook")]
    ProgramMissing(PathBuf),
    #[error(
        "{path} does not answer as tagship's hook ({answer}); name the right program with --hook"
    )]
    NotAHook { path: PathBuf, answer: String },
    #[error("system user {0} is unknown here; correct git_user in the configuration")]
    UnknownUser(String),
    #[error("spool_dir {0} must be an absolute path; correct it in the configuration")]
    RelativeSpool(PathBuf),
    #[error(
        "{kept} is in the way: it was kept by an earlier installation, and {hook} has been replaced since; move one of them away"
    )]
    KeptTwice { kept: PathBuf, hook: PathBuf },
    #[error("cannot {doing} {path}: {error}; {remedy}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
        remedy: &'static str,
    },
    #[error("settings for the hook: {0}")]
    Settings(String),
}

impl InstallError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "run it as root or as the user who owns the repository"
                }
                io::ErrorKind::StorageFull => "make room on that file system",
                _ => "look at the path",
            };
            Self::Io {
                doing,
                path,
                error,
                remedy,
            }
        }
    }
}
