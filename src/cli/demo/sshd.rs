//! The hosts: one private sshd on three loopback addresses and a high port, with its own keys. Only
//! the user who runs the demo can log in, and only with the agent's key.

use std::fmt::Write as _;
use std::path::PathBuf;

use tokio::net::TcpStream;

use super::super::error::DemoError;
use super::directory::{DemoDirectory, HOSTS, PLACE, cannot};
use super::processes::{DemoProgram, Processes, find};

/// The error of sshd as root if the package is installed and its service never started.
const NO_PRIVILEGE_DIRECTORY: &str = "Missing privilege separation directory: /run/sshd";
const PRIVILEGE_DIRECTORY: &str = "/run/sshd";
/// Gives a program its own `/run` with the directory; nothing changes outside.
const WITH_OWN_RUN: &str =
    "mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 755 /run/sshd && exec \"$@\"";

/// Changes outside `var/demo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SystemChange {
    Nothing,
    /// `/run/sshd` was created.
    PrivilegeDirectory,
}

/// Returns the commands that create the key pairs of the server and the agent.
pub(super) fn key_makers() -> [DemoProgram; 2] {
    ["host_key", "agent_key"].map(|name| {
        let file = format!("{PLACE}/ssh/{name}");
        DemoProgram::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &file])
    })
}

/// Writes the files that server and agent need; the keys exist.
///
/// # Errors
/// A file cannot be written, or sshd would not admit the user.
pub(super) fn write(ground: &DemoDirectory, user: &str) -> Result<(), DemoError> {
    if is_locked(user) {
        return Err(DemoError::Locked(user.to_owned()));
    }
    ground.write("ssh/authorized_keys", &ground.read("ssh/agent_key.pub")?)?;
    let public = ground.read("ssh/host_key.pub")?;
    let key: Vec<&str> = public.split(' ').take(2).collect();
    let port = ground.ssh_port;
    let mut pinned = String::new();
    for (_, address) in HOSTS {
        let _ = writeln!(pinned, "[{address}]:{port} {}", key.join(" "));
    }
    ground.write("ssh/known_hosts", &pinned)?;
    ground.write("ssh/sshd_config", &config(ground, user))
}

/// Whether root's sshd refuses the user's keys, because the password is locked. Another user's sshd
/// cannot read that, and accepts the key.
fn is_locked(user: &str) -> bool {
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
    shadow.lines().any(|line| {
        let mut fields = line.split(':');
        fields.next() == Some(user) && fields.next().is_some_and(|hash| hash.starts_with('!'))
    })
}

fn config(ground: &DemoDirectory, user: &str) -> String {
    let mut text = format!("Port {}\n", ground.ssh_port);
    for (_, address) in HOSTS {
        let _ = writeln!(text, "ListenAddress {address}");
    }
    let ssh = ground.path("ssh");
    let ssh = ssh.display();
    let _ = write!(
        text,
        "\
HostKey {ssh}/host_key
AuthorizedKeysFile {ssh}/authorized_keys
PidFile {ssh}/sshd.pid
AllowUsers {user}
PermitRootLogin prohibit-password
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
# The directories above may belong to others; the port is reachable from this machine alone.
StrictModes no
UseDNS no
PermitUserRC no
PermitUserEnvironment no
AllowTcpForwarding no
AllowAgentForwarding no
X11Forwarding no
PrintMotd no
PrintLastLog no
LogLevel VERBOSE
"
    );
    text
}

/// Starts the server and waits until it listens on all addresses.
pub(super) async fn start(
    ground: &DemoDirectory,
    processes: &mut Processes,
    server: DemoProgram,
) -> Result<SystemChange, DemoError> {
    let (server, outside) = with_privilege_directory(server).await?;
    processes.start("sshd", &server, &ground.path("sshd.log"))?;
    let port = ground.ssh_port;
    let listens = async move || {
        for (_, address) in HOSTS {
            if TcpStream::connect((address, port)).await.is_err() {
                return false;
            }
        }
        true
    };
    processes.ready(listens).await?;
    Ok(outside)
}

/// Returns the command that runs the server in the foreground.
pub(super) fn server() -> DemoProgram {
    // With its full path, which it needs to re-execute itself.
    let path = find("sshd").unwrap_or_else(|| PathBuf::from("/usr/sbin/sshd"));
    let shown = path.display().to_string();
    let config = format!("{PLACE}/ssh/sshd_config");
    DemoProgram::new(path)
        .shown_as(shown)
        .args(["-D", "-e", "-f", &config])
}

/// Root's sshd needs `/run/sshd`, which the system's service creates when it starts. If it never
/// did, the server gets its own `/run`; if the system does not allow that (most containers), the
/// directory is created.
async fn with_privilege_directory(
    server: DemoProgram,
) -> Result<(DemoProgram, SystemChange), DemoError> {
    match server.clone().args(["-t"]).run().await {
        Ok(_) => return Ok((server, SystemChange::Nothing)),
        Err(DemoError::Failed { output, .. }) if output.contains(NO_PRIVILEGE_DIRECTORY) => {}
        Err(error) => return Err(error),
    }
    let own_run = DemoProgram::new("unshare").args(["--mount", "sh", "-c", WITH_OWN_RUN, "sh"]);
    if own_run.clone().args(["true"]).run().await.is_ok() {
        return Ok((own_run.args(server.words()), SystemChange::Nothing));
    }
    let directory = std::path::Path::new(PRIVILEGE_DIRECTORY);
    std::fs::create_dir_all(directory).map_err(cannot("make", directory))?;
    Ok((server, SystemChange::PrivilegeDirectory))
}
