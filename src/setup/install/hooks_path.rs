//! The directory of git's hooks: `core.hooksPath` can be set for the repository, the git user or
//! the whole machine, and through included files. Only git knows which one counts, so it is queried
//! as the git user and with an empty environment. Files that another user may not read are reported
//! as unseen. Changes nothing.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::trial::TrialIdentity;
use super::{GitServerKind, InstallError};

/// The value of `core.hooksPath`, and the file that sets it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HooksPath {
    pub(super) directory: PathBuf,
    pub(super) set_in: String,
}

/// Why git does not say which hooks directory it uses.
#[derive(Debug, PartialEq, Eq)]
enum NoHooksPath {
    /// It cannot be started.
    NotStarted(String),
    /// It cannot use its configuration, and fails in the same way at every push.
    Failed(String),
}

const AS_ROOT: &str = "run tagship check as root";

/// Refuses a repository whose hooks directory is not its own, or in which the git user's git fails.
pub(super) fn refuse(
    repo: &Path,
    kind: GitServerKind,
    identity: &TrialIdentity,
) -> Result<(), InstallError> {
    // Gitaly sets a hooks directory of its own, and runs custom hooks itself.
    if kind == GitServerKind::GitLab {
        return Ok(());
    }
    match query_git(repo, kind, identity) {
        Ok(Some(found)) if !same(&found.directory, &repo.join("hooks")) => {
            Err(InstallError::HooksElsewhere {
                path: repo.to_owned(),
                hooks_path: found.directory,
                set_in: found.set_in,
                user: identity.name(),
            })
        }
        Err(NoHooksPath::Failed(answer)) if identity.can_impersonate() => {
            Err(InstallError::GitFails {
                path: repo.to_owned(),
                user: identity.name(),
                answer,
            })
        }
        // `unchecked` reports what git can't: the caller may not be able to switch to the git user.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Returns what could not be checked, if anything.
pub(super) fn unchecked(
    repo: &Path,
    kind: GitServerKind,
    identity: &TrialIdentity,
) -> Option<String> {
    if kind == GitServerKind::GitLab {
        return None;
    }
    match query_git(repo, kind, identity) {
        Ok(_) => {}
        Err(NoHooksPath::NotStarted(reason)) => return Some(reason),
        // `refuse` reports it.
        Err(NoHooksPath::Failed(_)) if identity.can_impersonate() => return None,
        Err(NoHooksPath::Failed(answer)) => {
            return Some(format!(
                "git does not say what core.hooksPath is: {answer}; {AS_ROOT}"
            ));
        }
    }
    let home = (!identity.can_impersonate()).then(|| home(identity, kind));
    let files = home.flatten().map(|home| {
        [".gitconfig", ".config/git/config"]
            .map(|name| home.join(name))
            .into_iter()
    });
    let hidden = files.into_iter().flatten().find(|path| {
        let read = fs::File::open(path).map_err(|error| error.kind());
        matches!(read, Err(kind) if kind != ErrorKind::NotFound)
    })?;
    Some(format!(
        "whether {} sets core.hooksPath for {} cannot be read; {AS_ROOT}",
        hidden.display(),
        identity.name()
    ))
}

/// Queries git; returns the reason if it fails. Git runs in the repository, as `git receive-pack`
/// runs it: elsewhere, `includeIf "gitdir:REPOSITORY/"` is not met.
fn query_git(
    repo: &Path,
    kind: GitServerKind,
    identity: &TrialIdentity,
) -> Result<Option<HooksPath>, NoHooksPath> {
    let mut command = git_there(repo, kind, identity);
    command.args([
        "config",
        "--null",
        "--show-origin",
        "--type=path",
        "--get",
        "core.hooksPath",
    ]);
    let output = command.output().map_err(|error| {
        let (user, shown) = (identity.name(), repo.display());
        NoHooksPath::NotStarted(format!(
            "git cannot be run for core.hooksPath in {shown}: {error}; install git, let {user} enter \
             that directory, and run tagship check as root"
        ))
    })?;
    read(repo, &output)
}

/// Returns a git in the repository, as receive-pack runs it, by the git user.
pub(super) fn git_there(repo: &Path, kind: GitServerKind, identity: &TrialIdentity) -> Command {
    let mut command = Command::new("git");
    identity.become_git_user(&mut command);
    command.current_dir(repo).env("GIT_DIR", ".");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    if let Some(home) = home(identity, kind) {
        command.env("HOME", home);
    }
    command
}

fn read(repo: &Path, output: &Output) -> Result<Option<HooksPath>, NoHooksPath> {
    match output.status.code() {
        Some(0) => {}
        Some(1) => return Ok(None),
        _ => {
            let answers = String::from_utf8_lossy(&output.stderr);
            let last = answers.lines().rfind(|line| !line.trim().is_empty());
            return Err(NoHooksPath::Failed(match last {
                Some(line) => line.trim().chars().take(300).collect(),
                None => output.status.to_string(),
            }));
        }
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut parts = text.split('\0');
    let (Some(origin), Some(value)) = (parts.next(), parts.next()) else {
        let answer = "its answer has another form".to_owned();
        return Err(NoHooksPath::Failed(answer));
    };
    // Git names a file of the repository relative to it.
    let file = origin.strip_prefix("file:");
    Ok(Some(HooksPath {
        // A relative path is relative to the directory in which hooks run.
        directory: repo.join(value),
        set_in: file.map_or_else(
            || origin.to_owned(),
            |file| repo.join(file).display().to_string(),
        ),
    }))
}

/// Returns the home of git's user configuration. Gitea and Forgejo use a separate one for git.
fn home(identity: &TrialIdentity, kind: GitServerKind) -> Option<PathBuf> {
    (kind == GitServerKind::Bare)
        .then(|| identity.home())
        .flatten()
}

fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn relative_hooks_path_starts_at_the_repository() {
        let repo = Path::new("/srv/git/shop.git");
        let answers = output(0, "file:/home/git/.gitconfig\0hooks-of-all\0", "");
        let found = read(repo, &answers).unwrap().unwrap();
        assert_eq!(found.directory, repo.join("hooks-of-all"));
        assert_eq!(found.set_in, "/home/git/.gitconfig");
        assert_eq!(read(repo, &output(1, "", "")), Ok(None), "it is not set");
    }

    #[test]
    fn file_of_the_repository_is_named_by_its_full_path() {
        let repo = Path::new("/srv/git/shop.git");
        let found = read(repo, &output(0, "file:config\0/srv/hooks\0", "")).unwrap();
        assert_eq!(found.unwrap().set_in, "/srv/git/shop.git/config");
    }

    #[test]
    fn failing_git_is_reported_with_its_last_line() {
        let answers = "warning: one\nfatal: bad config line 1 in file /etc/gitconfig\n\n";
        let reason = read(Path::new("/srv/git/shop.git"), &output(128, "", answers));
        let last = "fatal: bad config line 1 in file /etc/gitconfig".to_owned();
        assert_eq!(reason, Err(NoHooksPath::Failed(last)));
        let silent = read(Path::new("/srv/git/shop.git"), &output(128, "", ""));
        assert_eq!(
            silent,
            Err(NoHooksPath::Failed("exit status: 128".to_owned()))
        );
    }
}
