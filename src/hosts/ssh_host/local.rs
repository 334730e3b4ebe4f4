//! Performs scripts on the agent's own machine, as another system user: the same scripts as on a
//! host, passed to a shell that has switched to that user before it reads them. Nothing ever runs
//! here as the agent's own user or as root.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::config::{SystemUser, may_run};
use crate::domain::host::HostError;
use crate::hosts::ssh::script::quote;
use crate::hosts::ssh::{Exit, Stream};

/// How many bytes of an output are read at once.
const PIECE_BYTES: usize = 32 * 1024;

/// The `PATH` of programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Switches to a user of this machine for each script.
#[derive(Clone, Debug)]
pub struct LocalShell {
    user: SystemUser,
    directory: PathBuf,
    way: UserSwitch,
}

/// The program that switches to another user, with its arguments up to the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
struct UserSwitch {
    program: PathBuf,
    arguments: Vec<String>,
}

impl UserSwitch {
    /// Switches as root, dropping its user, groups and capabilities.
    fn of_root(user: &SystemUser) -> Self {
        let SystemUser { uid, gid, .. } = user;
        Self {
            program: "setpriv".into(),
            arguments: vec![
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--init-groups".to_owned(),
                "--inh-caps=-all".to_owned(),
            ],
        }
    }

    /// Switches as any other user with sudo, which must not prompt.
    fn of_others(user: &SystemUser) -> Self {
        Self {
            program: "sudo".into(),
            arguments: ["-n", "-H", "-u", &user.name].map(str::to_owned).into(),
        }
    }
}

impl LocalShell {
    /// Returns a shell of the user of this name, who keeps tasks in `directory`.
    ///
    /// # Errors
    /// There is no such user, or it is root or the agent's own.
    pub fn new(user: &str, directory: &Path) -> Result<Self, String> {
        let user = may_run(user).map_err(|error| format!("[local_run] user: {error}"))?;
        let way = match rustix::process::geteuid().is_root() {
            true => UserSwitch::of_root(&user),
            false => UserSwitch::of_others(&user),
        };
        Ok(Self {
            user,
            directory: directory.to_owned(),
            way,
        })
    }

    /// Returns a shell that this program starts, in place of one that switches the user.
    #[cfg(test)]
    pub(super) fn of_program(program: &str, arguments: &[&str]) -> Self {
        Self {
            user: SystemUser {
                name: "build".to_owned(),
                uid: 1001,
                gid: 1002,
                home: "/".into(),
            },
            directory: "/".into(),
            way: UserSwitch {
                program: program.into(),
                arguments: arguments.iter().map(ToString::to_string).collect(),
            },
        }
    }

    /// Returns its name for messages.
    pub(super) fn name(&self) -> String {
        format!("{} on the agent's own machine", self.user.name)
    }

    /// Returns what to do if the shell ends before it did anything.
    pub(super) fn remedy(&self) -> String {
        match self.way.program.ends_with("sudo") {
            true => format!(
                "let the agent's user become {0} without a password, by a line in \
                 /etc/sudoers.d/tagship: AGENT ALL=({0}) NOPASSWD: /usr/bin/sh -s",
                self.user.name
            ),
            false => "check that this machine has `sh` and that the agent may become that user"
                .to_owned(),
        }
    }

    /// Performs a script, like [`crate::hosts::ssh::Connection::exec`] on a host.
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
        let script = [self.home_in_words()?.as_bytes(), script].concat();
        match tokio::time::timeout(timeout, talk(&mut child, &script, on_output)).await {
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

    fn command(&self) -> Command {
        let name = &self.user.name;
        let mut command = Command::new(&self.way.program);
        command.args(&self.way.arguments).args(["--", "sh", "-s"]);
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

    /// Assigns the home in the script again: sudo sets it to the user's own, even if missing.
    fn home_in_words(&self) -> Result<String, HostError> {
        let home = self.home().to_string_lossy();
        let home = quote("directory of [local_run]", &home)
            .map_err(|unfit| HostError::Refused(unfit.to_string()))?;
        Ok(format!("HOME={home}\nexport HOME\n"))
    }

    /// Returns a usable home: that of a service's user often does not exist.
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
        // A shell that has ended reads no more; its exit code says why.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    fn build() -> SystemUser {
        SystemUser {
            name: "build".to_owned(),
            uid: 1001,
            gid: 1002,
            home: "/nonexistent".into(),
        }
    }

    /// The command that would run, word by word.
    fn words(way: UserSwitch) -> String {
        let shell = LocalShell {
            user: build(),
            directory: "/srv/build".into(),
            way,
        };
        let command = shell.command();
        let command = command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<&str> = words.filter_map(|word| word.to_str()).collect();
        words.join(" ")
    }

    #[test]
    fn user_switch_uses_the_documented_sudo_command() {
        let sudo = words(UserSwitch::of_others(&build()));
        assert_eq!(sudo, "sudo -n -H -u build -- sh -s");
        let page = fs::read_to_string("docs/templates.md").unwrap();
        assert!(page.contains(&format!("`{sudo}`")));
        assert_eq!(
            words(UserSwitch::of_root(&build())),
            "setpriv --reuid=1001 --regid=1002 --init-groups --inh-caps=-all -- sh -s"
        );
    }

    /// A sudo that records its arguments and then runs them as the calling user, with the home from
    /// /etc/passwd.
    fn stand_in(directory: &Path) -> UserSwitch {
        let program = directory.join("sudo");
        let text = "#!/bin/sh\nprintf '%s\\n' \"$@\" >\"${0%/*}/asked\"\n\
                    HOME=/nonexistent\n\
                    while [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n";
        tagship_tests::program::script(&program, text);
        UserSwitch {
            program,
            ..UserSwitch::of_others(&build())
        }
    }

    #[tokio::test]
    async fn unprivileged_agent_pipes_the_script_through_sudo() {
        let directory = tempfile::tempdir().unwrap();
        let shell = LocalShell {
            user: build(),
            directory: "/srv/build".into(),
            way: stand_in(directory.path()),
        };
        let mut output = Vec::new();
        let script =
            b"printf '%s|' \"$HOME\" \"$USER\" \"$LOGNAME\" \"$PWD\" \"${SECRET-none}\"; exit 7";
        let mut keep = |_, piece: &[u8]| output.extend_from_slice(piece);
        let exit = shell.exec(script, &mut keep, Duration::from_secs(60)).await;
        assert_eq!(exit.unwrap(), Exit::Code(7));
        let printed = String::from_utf8(output).unwrap();
        assert_eq!(printed, "/srv/build|build|build|/|none|");
        let asked = fs::read_to_string(directory.path().join("asked")).unwrap();
        assert_eq!(asked, "-n\n-H\n-u\nbuild\n--\nsh\n-s\n");
    }

    #[test]
    fn sudo_refusal_shows_the_documented_sudoers_line() {
        let shell = |way| LocalShell {
            user: build(),
            directory: "/srv/build".into(),
            way,
        };
        let remedy = shell(UserSwitch::of_others(&build())).remedy();
        let (_, line) = remedy.split_once("AGENT ").unwrap();
        let page = fs::read_to_string("docs/templates.md").unwrap();
        assert!(page.contains(&format!("\ntagship {line}\n")), "{line}");
        assert!(
            !shell(UserSwitch::of_root(&build()))
                .remedy()
                .contains("sudo")
        );
    }

    #[tokio::test]
    async fn missing_user_switch_error_names_what_to_install() {
        let shell = LocalShell {
            user: build(),
            directory: "/srv/build".into(),
            way: UserSwitch {
                program: "/nonexistent/sudo".into(),
                ..UserSwitch::of_others(&build())
            },
        };
        let exec = shell
            .exec(b"true", &mut |_, _| {}, Duration::from_secs(60))
            .await;
        let error = exec.unwrap_err().to_string();
        assert!(
            error.contains("cannot become build") && error.contains("or sudo"),
            "{error}"
        );
    }
}
