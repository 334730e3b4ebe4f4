//! Runs the git program: its environment, limits and termination. Called by `landing` and
//! `checkout`.
//!
//! `GIT_*` variables of the agent's environment are not passed on. git uses one transport, never
//! prompts, runs no hooks, and its ssh knows only our key and our host keys. It runs in a separate
//! process group, which is killed with its call: after a timeout, and when the call is dropped
//! because its task or the agent is stopped. Both of its outputs are read to the end, in bounded
//! memory.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::Notify;

use super::environment::environment;
use super::progress::ProgressLines;
use super::url::{GitTransport, transport};
use super::{GitProgress, GitSource, LandingError};

/// `ls-remote` of 100,000 refs is 7 MB.
pub(super) const STDOUT_BYTES_MAX: usize = 32 * 1024 * 1024;
const STDERR_LINES_MAX: usize = 20;
/// How long a child of git may hold the pipes open after git itself has exited.
const LINGER: Duration = Duration::from_secs(2);

/// A git to be started, and the memory limit of it and of each process it starts.
pub(crate) struct GitCommand {
    command: Command,
    memory_bytes: u64,
    /// How many bytes of objects it may receive.
    pub(super) received_max: u64,
}

impl GitCommand {
    fn new(memory_bytes: u64) -> Self {
        let mut command = Command::new("git");
        command.env_clear().envs(environment()).current_dir("/");
        Self {
            command,
            memory_bytes,
            received_max: u64::MAX,
        }
    }
}

impl Deref for GitCommand {
    type Target = Command;

    fn deref(&self) -> &Command {
        &self.command
    }
}

impl DerefMut for GitCommand {
    fn deref_mut(&mut self) -> &mut Command {
        &mut self.command
    }
}

/// Limits the private memory of a git; the repository files that it maps are not counted. Its
/// children inherit the limit. One that has exited needs none.
fn bound_memory(group: &GitProcessGroup, bytes: u64) {
    if let Some(git) = group.0 {
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        let _ = prlimit(Some(git), Resource::Data, limit);
    }
}

/// Returns a local git to create the mirror: no transport, no user configuration.
pub(super) fn local(memory_bytes: u64) -> GitCommand {
    let mut git = GitCommand::new(memory_bytes);
    git.env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ALLOW_PROTOCOL", "");
    git
}

/// Returns a git for the content of a mirror: no transport, and only the mirror's own settings and
/// attributes.
pub(crate) fn on_mirror(mirror: &Path, memory_bytes: u64) -> GitCommand {
    let mut git = local(memory_bytes);
    git.env("GIT_ATTR_NOSYSTEM", "1")
        .args(["-c", "core.attributesFile=/dev/null"])
        .args(["--no-replace-objects", "--literal-pathspecs"])
        .arg(flag("--git-dir=", mirror));
    git
}

/// Returns a git on the mirror that may reach only the project's source.
pub(super) fn networked(source: &GitSource) -> Result<GitCommand, LandingError> {
    let refused = |reason| LandingError::Url {
        project: source.project.clone(),
        url: source.git_url.clone(),
        reason,
    };
    let transport = transport(&source.git_url).map_err(refused)?;
    let mut git = GitCommand::new(source.limits.git_memory_bytes);
    git.env("GIT_ALLOW_PROTOCOL", transport.allowed())
        .env("GIT_CONFIG_GLOBAL", config_path(&source.mirror))
        .arg(flag("--git-dir=", &source.mirror));
    for setting in [
        "core.hooksPath=/dev/null",
        "gc.autoDetach=false",
        "maintenance.autoDetach=false",
        "gc.pruneExpire=never",
        "http.lowSpeedLimit=1",
        "http.lowSpeedTime=60",
    ] {
        git.args(["-c", setting]);
    }
    match transport {
        GitTransport::Ssh => {
            git.env("GIT_SSH_COMMAND", ssh(source)?);
        }
        GitTransport::Https | GitTransport::HttpLoopback | GitTransport::Http => {
            if let Some(token) = read_token(source, transport)? {
                // Through the environment: arguments are visible to every user of the machine.
                git.env("GIT_CONFIG_COUNT", "1")
                    .env("GIT_CONFIG_KEY_0", header_key(&source.git_url))
                    .env("GIT_CONFIG_VALUE_0", token.header());
            }
        }
        GitTransport::File => {}
    }
    Ok(git)
}

/// Returns the configuration that replaces the user's own and includes it. Only there does the
/// `upload-pack` that git starts for a path honour `safe.directory`: repositories of a git server
/// belong to its own user.
pub(super) fn config_path(mirror: &Path) -> PathBuf {
    mirror.join("tagship.gitconfig")
}

/// The content of [`config_path`].
pub(super) const CONFIG: &str = "[include]
	path = ~/.config/git/config
	path = ~/.gitconfig
[safe]
	directory = *
";

fn flag(name: &str, value: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(value);
    flag
}

/// Returns the ssh command line that git passes to `sh`. It contains only paths of the
/// configuration, each quoted for ssh's option syntax and then for sh.
fn ssh(source: &GitSource) -> Result<String, LandingError> {
    let mut options = vec![
        "BatchMode=yes".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        format!(
            "UserKnownHostsFile={}",
            quoted_for_ssh(&source.known_hosts)?
        ),
        format!(
            "ConnectTimeout={}",
            source.timeouts.ls_remote.as_secs().max(1)
        ),
        "ServerAliveInterval=15".to_owned(),
        "ServerAliveCountMax=4".to_owned(),
        "ForwardAgent=no".to_owned(),
        "ControlMaster=no".to_owned(),
    ];
    if let Some(identity) = &source.identity {
        options.push("IdentitiesOnly=yes".to_owned());
        options.push(format!("IdentityFile={}", quoted_for_ssh(identity)?));
    }
    let mut command = String::from("ssh");
    for option in options {
        command.push_str(" -o '");
        command.push_str(&option.replace('\'', r"'\''"));
        command.push('\'');
    }
    Ok(command)
}

/// ssh splits option values at spaces, parses `"…"` and expands `%x`.
fn quoted_for_ssh(path: &Path) -> Result<String, LandingError> {
    let failed = |detail: &str| LandingError::File {
        path: path.to_owned(),
        detail: detail.to_owned(),
    };
    let text = path.to_str().ok_or_else(|| failed("is not UTF-8"))?;
    if text.contains(['"', '\n', '\\', '$']) {
        return Err(failed("holds a character that ssh cannot be given"));
    }
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

/// A token in the form of git's HTTP transport; never printed.
struct GitToken {
    basic: String,
}

impl GitToken {
    fn header(&self) -> String {
        format!("Authorization: Basic {}", self.basic)
    }
}

fn read_token(
    source: &GitSource,
    transport: GitTransport,
) -> Result<Option<GitToken>, LandingError> {
    let Some(path) = &source.token_file else {
        return Ok(None);
    };
    if !transport.keeps_secrets() {
        return Ok(None);
    }
    let failed = |detail: String| LandingError::File {
        path: path.clone(),
        detail,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(failed("must hold one line, TOKEN or USER:TOKEN".to_owned()));
    }
    let pair = match text.contains(':') {
        true => text.to_owned(),
        // GitLab, Gitea, Forgejo and GitHub check only the token.
        false => format!("oauth2:{text}"),
    };
    let basic = base64::engine::general_purpose::STANDARD.encode(pair);
    Ok(Some(GitToken { basic }))
}

/// Restricts the header to this scheme, host and port.
fn header_key(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("http.{scheme}://{host}/.extraHeader")
}

/// git's messages and exit status.
pub(crate) struct Finished<T = Vec<u8>> {
    pub(crate) success: bool,
    /// Its output, or what was read from it.
    pub(crate) stdout: T,
    /// The last lines of its messages.
    pub(crate) messages: Vec<String>,
    /// The bytes of objects that it received.
    pub(crate) received: u64,
}

impl<T> Finished<T> {
    /// Returns the last line of its messages.
    pub(crate) fn reason(&self) -> &str {
        let last = self.messages.iter().rfind(|line| !line.is_empty());
        last.map_or("git failed and said nothing", String::as_str)
    }
}

/// Returns the line in which git reports that it ran out of memory, if any. Later lines may wrongly
/// call an object corrupt.
pub(crate) fn out_of_memory(messages: &[String]) -> Option<&str> {
    let patterns = ["out of memory", "malloc failed", "cannot allocate memory"];
    let matches = |line: &&String| {
        let line = line.to_ascii_lowercase();
        patterns.iter().any(|patterns| line.contains(patterns))
    };
    messages.iter().find(matches).map(String::as_str)
}

/// Why git did not exit by itself.
pub(crate) enum GitFailure {
    Start(io::Error),
    TimedOut,
}

/// Runs git to its end, or kills it and all its children: after `timeout`, and when the future is
/// dropped. Writes `input` to it and keeps `stdout_max` bytes of its output.
pub(crate) async fn run(
    git: GitCommand,
    input: Vec<u8>,
    stdout_max: usize,
    timeout: Duration,
    progress: GitProgress<'_>,
) -> Result<Finished, GitFailure> {
    let mut output = Vec::new();
    let kept = &mut output;
    let read = move |pipe| async move { read_output(pipe, stdout_max, kept).await };
    let ended = run_reading(git, input, (timeout, LINGER), progress, read).await?;
    Ok(Finished {
        success: ended.success,
        stdout: output,
        messages: ended.messages,
        received: ended.received,
    })
}

/// Like [`run`], but passes the output to `read`, on a thread that may block. If `read` stops
/// early, git ends. `None` if it never finished.
pub(crate) async fn stream<T: Send + 'static>(
    git: GitCommand,
    input: Vec<u8>,
    timeout: Duration,
    read: impl FnOnce(&mut BufReader<File>) -> T + Send + 'static,
) -> Result<Finished<Option<T>>, GitFailure> {
    let mut made = None;
    let kept = &mut made;
    let take = move |pipe: ChildStdout| async move {
        let Ok(pipe) = pipe.into_owned_fd() else {
            return;
        };
        let mut pipe = BufReader::with_capacity(64 * 1024, File::from(pipe));
        let reading = tokio::task::spawn_blocking(move || read(&mut pipe));
        *kept = reading.await.ok();
    };
    // The reader may be slower than git, which must not outlive this call.
    let ended = run_reading(git, input, (timeout, timeout), &|_| {}, take).await?;
    Ok(Finished {
        success: ended.success,
        stdout: made,
        messages: ended.messages,
        received: ended.received,
    })
}

async fn run_reading<F: Future<Output = ()>>(
    mut git: GitCommand,
    input: Vec<u8>,
    (timeout, linger): (Duration, Duration),
    progress: GitProgress<'_>,
    read: impl FnOnce(ChildStdout) -> F,
) -> Result<Finished<()>, GitFailure> {
    git.stdin(stdin_for(&input))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = git.spawn().map_err(GitFailure::Start)?;
    let group = GitProcessGroup::of(&child);
    bound_memory(&group, git.memory_bytes);
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let stdout = child.stdout.take().map(read);
    let mut messages = Vec::new();
    let mut received = 0;
    let too_much = Notify::new();
    let outcome = {
        let mut on_received = |bytes| {
            received = bytes;
            (bytes > git.received_max).then(|| too_much.notify_one());
        };
        let reading = async {
            tokio::join!(
                write_input(stdin, input),
                async {
                    if let Some(read) = stdout {
                        read.await;
                    }
                },
                read_messages(stderr, &mut messages, progress, &mut on_received)
            );
        };
        tokio::pin!(reading);
        let ending = async {
            let mut read = false;
            let status = loop {
                tokio::select! {
                    () = &mut reading, if !read => read = true,
                    status = child.wait() => break status,
                }
            };
            let finished = read || tokio::time::timeout(linger, &mut reading).await.is_ok();
            (status, finished)
        };
        tokio::select! {
            ended = tokio::time::timeout(timeout, ending) => Some(ended),
            () = too_much.notified() => None,
        }
    };
    let success = match outcome {
        Some(Ok((Err(error), _))) => return Err(GitFailure::Start(error)),
        Some(Ok((Ok(status), finished))) => {
            if finished {
                // Nothing holds the pipes any more; the group's id may already be reused.
                group.release();
            }
            status.success() && received <= git.received_max
        }
        too_long @ (Some(Err(_)) | None) => {
            drop(group);
            let _ = child.wait().await;
            if too_long.is_some() {
                return Err(GitFailure::TimedOut);
            }
            false
        }
    };
    Ok(Finished {
        success,
        stdout: (),
        messages,
        received,
    })
}

fn stdin_for(input: &[u8]) -> Stdio {
    match input.is_empty() {
        true => Stdio::null(),
        false => Stdio::piped(),
    }
}

/// A git that stops reading reports why itself.
async fn write_input(pipe: Option<ChildStdin>, input: Vec<u8>) {
    if let Some(mut pipe) = pipe {
        let _ = pipe.write_all(&input).await;
    }
}

async fn read_output(mut pipe: ChildStdout, max: usize, output: &mut Vec<u8>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let bytes_left = max - output.len();
        output.extend_from_slice(&buffer[..count.min(bytes_left)]);
    }
}

async fn read_messages(
    pipe: Option<impl AsyncRead + Unpin>,
    messages: &mut Vec<String>,
    progress: GitProgress<'_>,
    on_received: &mut (dyn FnMut(u64) + Send),
) {
    let Some(mut pipe) = pipe else { return };
    let mut lines = ProgressLines::default();
    let mut line = |text: &str| {
        if messages.len() == STDERR_LINES_MAX {
            messages.remove(0);
        }
        messages.push(text.to_owned());
        progress(text);
    };
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        lines.push(&buffer[..count], &mut line);
        on_received(lines.received());
    }
    lines.end(&mut line);
}

/// The process group of a running git; killed on drop.
struct GitProcessGroup(Option<rustix::process::Pid>);

impl GitProcessGroup {
    fn of(child: &tokio::process::Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(rustix::process::Pid::from_raw))
    }

    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for GitProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::git::landing::Timeouts;

    fn source(url: &str) -> GitSource {
        GitSource {
            project: "shop".to_owned(),
            git_url: url.to_owned(),
            mirror: "/tmp/mirror".into(),
            identity: Some("/etc/tagship/alice's %key".into()),
            known_hosts: "/etc/tagship/known hosts".into(),
            token_file: None,
            timeouts: Timeouts::default(),
            limits: crate::domain::plan::PushLimits::default(),
        }
    }

    #[test]
    fn paths_reach_ssh_whole() {
        let command = ssh(&source("git@git.example.com:shop.git")).unwrap();
        assert!(command.starts_with("ssh -o 'BatchMode=yes' "), "{command}");
        assert!(command.contains(r#" -o 'UserKnownHostsFile="/etc/tagship/known hosts"'"#));
        assert!(command.contains(r#" -o 'IdentityFile="/etc/tagship/alice'\''s %%key"'"#));
        let mut invalid = source("x");
        invalid.identity = Some("/a\"b".into());
        assert!(ssh(&invalid).is_err());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

        /// git passes the line to a shell, which passes it to ssh; ssh prints what it got.
        #[test]
        fn hostile_paths_reach_ssh_byte_for_byte(name in "[-'`(){};&|<>*?#~!%=,@\\[\\] a-c\u{e9}]{1,24}x") {
            let mut source = source("git@git.example.com:shop.git");
            let identity = format!("/etc/tagship/{name}");
            source.identity = Some(identity.clone().into());
            let line = format!("{} -F none -G git.example.com", ssh(&source).unwrap());
            let output = std::process::Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
            proptest::prop_assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let messages = String::from_utf8(output.stdout).unwrap();
            let parsed = messages.lines().find_map(|line| line.strip_prefix("identityfile "));
            let expected = identity.replace('%', "%%");
            proptest::prop_assert_eq!(parsed, Some(expected.as_str()));
        }
    }

    #[test]
    fn a_header_belongs_to_one_server() {
        for (url, key) in [
            (
                "https://git.example.com/team/shop.git",
                "http.https://git.example.com/.extraHeader",
            ),
            (
                "https://alice@git.example.com:8443/shop.git",
                "http.https://git.example.com:8443/.extraHeader",
            ),
        ] {
            assert_eq!(header_key(url), key);
        }
    }

    #[test]
    fn a_token_is_not_sent_without_encryption() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let mut plain = source("http://git.example.com/shop.git");
        plain.token_file = Some(file.clone());
        assert!(read_token(&plain, GitTransport::Http).unwrap().is_none());
        let token = read_token(&plain, GitTransport::Https).unwrap().unwrap();
        assert_eq!(token.header(), "Authorization: Basic b2F1dGgyOnMzY3JldA==");
        std::fs::write(&file, "deploy:s3cret").unwrap();
        let token = read_token(&plain, GitTransport::Https).unwrap().unwrap();
        assert_eq!(token.header(), "Authorization: Basic ZGVwbG95OnMzY3JldA==");
        std::fs::write(&file, "").unwrap();
        assert!(read_token(&plain, GitTransport::Https).is_err());
    }
}
