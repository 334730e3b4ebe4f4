//! Runs the real program once and compares its output with the expected one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tagship_tests::{assert_text_eq, unindent};

/// One run. Standard output, standard error and exit code are compared whole; `{dir}` in what is
/// expected is the test's directory. Texts of several lines are unindented.
#[must_use]
pub(crate) struct Test {
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    stdin: String,
    stdout: String,
    stderr: String,
    status: i32,
}

impl Test {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            arguments: Vec::new(),
            variables: Vec::new(),
            stdin: String::new(),
            stdout: String::new(),
            stderr: String::new(),
            status: 0,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Writes a file into the test's directory.
    #[track_caller]
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, self.expand(text)).unwrap();
        self
    }

    fn expand(&self, text: &str) -> String {
        unindent(text).replace("{dir}", &self.directory().display().to_string())
    }

    /// Writes `config.toml` and names it with `--config`.
    #[track_caller]
    pub(crate) fn config(self, text: &str) -> Self {
        self.file("config.toml", text).with_config()
    }

    /// Names the existing `config.toml`.
    pub(crate) fn with_config(self) -> Self {
        let path = self.path("config.toml").display().to_string();
        self.arguments(["--config", &path])
    }

    pub(crate) fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(str::to_owned));
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = text.to_owned();
        self
    }

    pub(crate) fn stdout(mut self, text: &str) -> Self {
        self.stdout = text.to_owned();
        self
    }

    pub(crate) fn stderr(mut self, text: &str) -> Self {
        self.stderr = text.to_owned();
        self
    }

    pub(crate) fn status(mut self, status: i32) -> Self {
        self.status = status;
        self
    }

    /// Runs it and compares all three.
    #[track_caller]
    pub(crate) fn run(self) {
        self.compare(&Said::of(&self.output()));
    }

    /// Compares its output with the expected one.
    #[track_caller]
    pub(crate) fn compare(&self, said: &Said) {
        let expected = Said {
            stdout: self.expand(&self.stdout),
            stderr: self.expand(&self.stderr),
            status: Some(self.status),
        };
        let what = format!("tagship {:?}", self.arguments);
        assert_text_eq(&said.to_string(), &expected.to_string(), &what);
        assert_eq!(*said, expected, "{what}");
    }

    /// Runs it and returns its output.
    #[track_caller]
    pub(crate) fn said(self) -> Said {
        Said::of(&self.output())
    }

    #[track_caller]
    pub(crate) fn output(&self) -> Output {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that reads nothing may have ended already.
        drop(child.stdin.take().unwrap().write_all(self.stdin.as_bytes()));
        child.wait_with_output().unwrap()
    }

    /// The program with its arguments, not yet started.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tagship"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory())
            .env("TZ", "UTC")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory())
            .args(&self.arguments);
        command
    }
}

/// A program's output and exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: Option<i32>,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status.code(),
        }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(json) => json,
            Err(error) => panic!("{error}: {self}"),
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            stdout,
            stderr,
            status,
        } = self;
        write!(
            f,
            "stdout:\n{stdout}\nstderr:\n{stderr}\nstatus: {status:?}"
        )
    }
}
