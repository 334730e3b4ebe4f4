//! The object format of a repository. The agent reads objects with SHA-1 ids only, so a repository
//! of another format is refused before its first push. Changes nothing.

use std::path::Path;

use super::hooks_path::git_there;
use super::trial::TrialIdentity;
use super::{GitServerKind, InstallError};

/// Refuses a repository whose object ids are not SHA-1. One whose format git does not report passes:
/// git may be missing on this machine, or too old to know another format.
pub(super) fn refuse(
    repo: &Path,
    kind: GitServerKind,
    identity: &TrialIdentity,
) -> Result<(), InstallError> {
    let mut git = git_there(repo, kind, identity);
    git.args(["rev-parse", "--show-object-format"]);
    let Ok(output) = git.output() else {
        return Ok(());
    };
    match String::from_utf8_lossy(&output.stdout).trim() {
        "sha256" if output.status.success() => Err(InstallError::ObjectFormat(repo.to_owned())),
        _ => Ok(()),
    }
}
