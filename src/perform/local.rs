//! Scripts on the agent's own machine, as another system user: the same scripts as on a host, handed
//! to a shell that has become that user before it reads the first of them. Nothing ever runs here as
//! the agent's own user or as root.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::config::{SystemUser, may_run};
use crate::host::HostError;
use crate::remote::{Exit, Stream};

/// What is read of an output at once, in bytes.
const PIECE_BYTES: usize = 32 * 1024;

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes a user of this machine for each script.
#[derive(Clone, Debug)]
pub struct LocalShell {
    user: SystemUser,
    directory: PathBuf,
}

impl LocalShell {
    /// A shell of the user of this name, who keeps tasks in `directory`.
    ///
    /// # Errors
    /// There is no such user, or it is root or the agent's own.
    pub fn new(user: &str, directory: &Path) -> Result<Self, String> {
        let user = may_run(user).map_err(|error| format!("[local_run] user: {error}"))?;
        Ok(Self {
            user,
            directory: directory.to_owned(),
        })
    }

    /// How it is named in messages.
    pub(super) fn name(&self) -> String {
        format!("{} on the agent's own machine", self.user.name)
    }

    /// Performs a script; as [`crate::remote::Connection::exec`] does on a host.
    pub(super) async fn exec(
        &self,
        script: &[u8],
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
        timeout: Duration,
    ) -> Result<Exit, HostError> {
        let mut child = self.command().spawn().map_err(|error| {
            HostError::NotReached(format!(
                "cannot become {}: {error}; install util-linux (setpriv) for an agent that runs as \
                 root, or sudo for one that does not",
                self.user.name
            ))
        })?;
        match tokio::time::timeout(timeout, talk(&mut child, script, on_output)).await {
            Ok(Ok(exit)) => Ok(exit),
            Ok(Err(error)) => Err(HostError::Lost(format!(
                "the shell of {}: {error}",
                self.name()
            ))),
            Err(_) => Err(HostError::Lost(format!(
                "the shell of {} did not end within {timeout:?}",
                self.name()
            ))),
        }
    }

    /// Root sheds what it is and its capabilities; another user asks sudo, which must not ask back.
    fn command(&self) -> Command {
        let SystemUser { name, uid, gid, .. } = &self.user;
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={gid}"))
                .args(["--init-groups", "--inh-caps=-all", "--", "sh", "-s"]);
            command
        } else {
            let mut command = Command::new("sudo");
            command.args(["-n", "-H", "-u", name, "--", "sh", "-s"]);
            command
        };
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", self.home())
            .env("USER", name)
            .env("LOGNAME", name)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// A service's user often has a home that is not there.
    fn home(&self) -> &Path {
        match self.user.home.is_dir() {
            true => &self.user.home,
            false => &self.directory,
        }
    }
}

async fn talk(
    child: &mut Child,
    script: &[u8],
    on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
) -> std::io::Result<Exit> {
    let gone = || std::io::Error::other("it has no pipes");
    let mut stdin = child.stdin.take().ok_or_else(gone)?;
    let mut stdout = child.stdout.take().ok_or_else(gone)?;
    let mut stderr = child.stderr.take().ok_or_else(gone)?;
    let writing = async move {
        // A shell that has ended reads no more; how it ended says why.
        drop(stdin.write_all(script).await);
        drop(stdin);
    };
    let reading = async {
        let (mut out, mut err) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
        let (mut out_open, mut err_open) = (true, true);
        while out_open || err_open {
            tokio::select! {
                read = piece(&mut stdout, &mut out), if out_open => {
                    let read = read?;
                    out_open = read > 0;
                    on_output(Stream::Stdout, &out[..read]);
                }
                read = piece(&mut stderr, &mut err), if err_open => {
                    let read = read?;
                    err_open = read > 0;
                    on_output(Stream::Stderr, &err[..read]);
                }
            }
        }
        Ok::<(), std::io::Error>(())
    };
    let ((), read) = tokio::join!(writing, reading);
    read?;
    let status = child.wait().await?;
    Ok(match status.code() {
        Some(code) => Exit::Code(code.unsigned_abs()),
        None => Exit::Signal(status.to_string()),
    })
}

async fn piece(pipe: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> std::io::Result<usize> {
    pipe.read(buffer).await
}
