//! Real git repositories: a bare one that is pushed to, a work tree that pushes, and an environment
//! in which neither the machine's nor the user's configuration counts.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// `git` with nothing of the caller's environment but `PATH`, and a fixed identity and time zone.
pub fn git() -> Command {
    let mut command = Command::new("git");
    scrub(&mut command);
    command
}

/// Removes everything from the environment of `command` that could change what git does.
pub fn scrub(command: &mut Command) {
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Alice")
        .env("GIT_AUTHOR_EMAIL", "alice@example.com")
        .env("GIT_COMMITTER_NAME", "Alice")
        .env("GIT_COMMITTER_EMAIL", "alice@example.com")
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::null());
}

/// Runs a command that must succeed; returns its stdout, without the last newline, as bytes.
#[track_caller]
pub fn output_of(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("git can be started");
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let mut text = output.stdout;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    text
}

/// A bare repository that is pushed to.
#[derive(Clone, Debug)]
pub struct Repository {
    pub path: PathBuf,
}

impl Repository {
    /// Makes an empty one at `path`, default branch `main`, SHA-1.
    pub fn bare(path: impl Into<PathBuf>) -> Self {
        Self::with_format(path, "sha1")
    }

    /// The same, with 64-digit object ids.
    pub fn bare_sha256(path: impl Into<PathBuf>) -> Self {
        Self::with_format(path, "sha256")
    }

    fn with_format(path: impl Into<PathBuf>, format: &str) -> Self {
        let path = path.into();
        output_of(
            git()
                .args(["init", "--quiet", "--bare", "--initial-branch=main"])
                .arg(format!("--object-format={format}"))
                .arg(&path),
        );
        Self { path }
    }

    /// `git` in this repository.
    pub fn git(&self) -> Command {
        let mut command = git();
        command.current_dir(&self.path);
        command
    }

    /// Returns the object of a full ref name, by `git show-ref`; `None` if it does not exist.
    #[track_caller]
    pub fn resolve(&self, reference: impl AsRef<OsStr>) -> Option<String> {
        let output = self
            .git()
            .args(["show-ref", "--verify", "--hash", "--"])
            .arg(reference)
            .output()
            .expect("git can be started");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A URL for `git clone` and `ls-remote`.
    pub fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }
}

/// The output of a push, and whether all of it was accepted.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub success: bool,
    /// Everything on stdout and stderr, `remote:` lines among it.
    pub text: String,
}

impl Pushed {
    /// The lines of the hook, without `remote: `.
    pub fn remote_lines(&self) -> Vec<&str> {
        self.text
            .lines()
            .filter_map(|line| line.strip_prefix("remote: "))
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect()
    }
}

impl From<Output> for Pushed {
    fn from(output: Output) -> Self {
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Self {
            success: output.status.success(),
            text,
        }
    }
}

/// A clone with files, which pushes.
#[derive(Clone, Debug)]
pub struct WorkTree {
    pub path: PathBuf,
}

impl WorkTree {
    /// Clones `repository` (which may be empty) to `path`.
    pub fn clone(repository: &Repository, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        output_of(
            git()
                .args(["clone", "--quiet"])
                .arg(&repository.path)
                .arg(&path),
        );
        let tree = Self { path };
        output_of(tree.git().args(["config", "tag.gpgSign", "false"]));
        tree
    }

    /// `git` in this work tree.
    pub fn git(&self) -> Command {
        let mut command = git();
        command.current_dir(&self.path);
        command
    }

    /// Writes files (path, content), commits everything that differs, and returns the commit's id.
    #[track_caller]
    pub fn commit_files(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (name, content) in files {
            let path = self.path.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).expect("directories can be made");
            }
            std::fs::write(path, content).expect("a file can be written");
        }
        output_of(self.git().args(["add", "--all"]));
        output_of(
            self.git()
                .args(["commit", "--quiet", "--allow-empty", "-m", message]),
        );
        self.resolve("HEAD")
    }

    /// The id of whatever `revision` names.
    #[track_caller]
    pub fn resolve(&self, revision: &str) -> String {
        let bytes = output_of(
            self.git()
                .args(["rev-parse", "--verify", "--end-of-options"])
                .arg(revision),
        );
        String::from_utf8(bytes).expect("an id is ASCII")
    }

    /// Makes (or moves) a lightweight tag.
    pub fn tag(&self, name: impl AsRef<OsStr>, target: &str) {
        output_of(
            self.git()
                .args(["update-ref"])
                .arg(tag_ref(name))
                .arg(target),
        );
    }

    /// Makes (or moves) an annotated tag.
    pub fn annotate(&self, name: &str, target: &str) {
        output_of(
            self.git()
                .args(["tag", "--force", "--annotate", "-m", "a tag", "--", name])
                .arg(target),
        );
    }

    /// Pushes with these arguments: `["origin", "refs/tags/v1"]`.
    pub fn push<I>(&self, arguments: I) -> Pushed
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.push_command(arguments)
            .output()
            .expect("git can be started")
            .into()
    }

    /// The push, not yet started: to set variables, or to disconnect it.
    pub fn push_command<I>(&self, arguments: I) -> Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = self.git();
        command.arg("push").args(arguments);
        command
    }

    /// Pushes one tag, by force, and returns the output.
    pub fn push_tag(&self, name: impl AsRef<OsStr>) -> Pushed {
        let mut refspec = OsString::from("+");
        refspec.push(tag_ref(name));
        self.push([OsStr::new("origin"), &refspec])
    }

    /// Deletes a tag on the other side.
    pub fn push_deletion(&self, name: &str) -> Pushed {
        self.push(["origin", &format!(":refs/tags/{name}")])
    }
}

/// The full name of a tag.
pub fn tag_ref(name: impl AsRef<OsStr>) -> OsString {
    let mut bytes = b"refs/tags/".to_vec();
    bytes.extend_from_slice(name.as_ref().as_bytes());
    OsString::from_vec(bytes)
}
