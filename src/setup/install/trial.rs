//! Runs the hook once as the user who will run it, before any push depends on it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use super::InstallError;
use crate::base::user::user_or_number;

/// The user who runs git there, and the current user.
#[derive(Debug)]
pub(super) struct TrialIdentity {
    uid: u32,
    gid: u32,
    /// The owner of the repository's files.
    owner: (u32, u32),
    root: bool,
}

impl TrialIdentity {
    pub(super) fn find(repo: &Path, git_user: Option<&str>) -> Result<Self, InstallError> {
        let data = fs::metadata(repo).map_err(InstallError::io("read", repo))?;
        let owner = (data.uid(), data.gid());
        let (uid, gid) = match git_user {
            Some(name) => look_up(name)?,
            None => owner,
        };
        Ok(Self {
            uid,
            gid,
            owner,
            root: rustix::process::geteuid().is_root(),
        })
    }

    /// Returns the user of test runs: the git user if we may switch to it.
    pub(super) fn uid(&self) -> u32 {
        if self.root {
            self.uid
        } else {
            rustix::process::geteuid().as_raw()
        }
    }

    /// Gives a file to the repository's owner. Does nothing unless run as root: files already
    /// belong to the current user.
    pub(super) fn chown(&self, path: &Path) -> Result<(), InstallError> {
        if !self.root {
            return Ok(());
        }
        let (uid, gid) = self.owner;
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))
            .map_err(InstallError::io("give to the repository's owner", path))
    }

    /// Runs `program --version` and returns the reported version.
    pub(super) fn version_of(&self, program: &Path) -> Result<String, InstallError> {
        let output = self
            .run(program, "--version")
            .map_err(InstallError::io("run as the git user", program))?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.strip_prefix("tagship-hook ")
            .and_then(|rest| rest.split_whitespace().next())
            .filter(|_| output.status.success())
            .map(ToOwned::to_owned)
            .ok_or_else(|| InstallError::NotAHook {
                path: program.to_owned(),
                answer: answer(&output),
            })
    }

    /// Runs `program --check`; returns its error, if any.
    pub(super) fn check_error(&self, program: &Path) -> Option<String> {
        match self.run(program, "--check") {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(answer(&output)),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Whether test runs use the git user, instead of a user who may not switch to it.
    pub(super) fn can_impersonate(&self) -> bool {
        self.uid() == self.uid
    }

    /// Returns the git user's name, or its number.
    pub(super) fn name(&self) -> String {
        user_or_number(self.uid)
    }

    /// Returns the git user's home, as a login sets it; none for a number without a login.
    pub(super) fn home(&self) -> Option<PathBuf> {
        let output = Command::new("getent")
            .args(["passwd", &self.uid.to_string()])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let home = text.lines().next()?.split(':').nth(5)?;
        (!home.is_empty()).then(|| home.into())
    }

    /// Runs a program as the git user if permitted, with an empty environment.
    pub(super) fn become_git_user(&self, command: &mut Command) {
        command.env_clear().current_dir("/").stdin(Stdio::null());
        if self.root {
            command.uid(self.uid).gid(self.gid);
        }
    }

    fn run(&self, program: &Path, argument: &str) -> io::Result<Output> {
        let mut command = Command::new(program);
        self.become_git_user(command.arg(argument));
        // Another thread may be between fork and exec, holding the file open for writing.
        for _ in 0..50 {
            match command.output() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    thread::sleep(Duration::from_millis(10));
                }
                other => return other,
            }
        }
        command.output()
    }
}

fn answer(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    match text.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => line.trim().chars().take(300).collect(),
        None => output.status.to_string(),
    }
}

/// Runs `id`, which knows user directories that `/etc/passwd` does not.
fn look_up(name: &str) -> Result<(u32, u32), InstallError> {
    let ask = |flag: &str| {
        let output = Command::new("id").args([flag, "--", name]).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    match (ask("-u"), ask("-g")) {
        (Some(uid), Some(gid)) => Ok((uid, gid)),
        _ => Err(InstallError::UnknownUser(name.to_owned())),
    }
}
