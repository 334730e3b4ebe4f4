//! A private OpenSSH server: its own keys and configuration, loopback addresses, a high port, and
//! nothing of it is left when the value is dropped. It runs as root and as any other user.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::until;

/// The settings of one server.
#[derive(Clone, Default)]
#[must_use]
pub struct Settings {
    hosts: u8,
    rsa_host_key: Option<()>,
    lines: Vec<String>,
}

impl Settings {
    /// Listens on 127.0.1.1 to 127.0.1.N as well as on 127.0.0.1; sshd takes 16 addresses.
    #[track_caller]
    pub fn hosts(mut self, count: u8) -> Self {
        assert!(count <= 15);
        self.hosts = count;
        self
    }

    /// Shows an RSA host key instead of an ed25519 one.
    pub fn rsa_host_key(mut self) -> Self {
        self.rsa_host_key = Some(());
        self
    }

    /// A line of `sshd_config`, instead of the default here.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    #[track_caller]
    pub fn start(self) -> Sshd {
        Sshd::start(&self)
    }
}

/// The kind of a key that `ssh-keygen` makes.
#[derive(Clone, Copy)]
pub enum Kind {
    Ed25519,
    Rsa,
    /// RSA in the older PEM format.
    RsaPem,
}

/// A running server. Clients may log in with the key at [`Sshd::identity`] as [`Sshd::user`].
#[must_use]
pub struct Sshd {
    child: Child,
    directory: tempfile::TempDir,
    pub port: u16,
    pub user: String,
    hosts: u8,
}

impl Sshd {
    pub fn settings() -> Settings {
        Settings::default()
    }

    #[track_caller]
    fn start(settings: &Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        if rustix::process::geteuid().is_root() {
            // Where an sshd that may change users locks itself in.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let kind = match settings.rsa_host_key {
            Some(()) => Kind::Rsa,
            None => Kind::Ed25519,
        };
        make_key(&path.join("host_key"), kind, "");
        make_key(&path.join("client_key"), Kind::Ed25519, "");
        fs::copy(path.join("client_key.pub"), path.join("authorized_keys")).unwrap();
        // The port may be taken between the check and the server's start: then try another one.
        for _ in 0..20 {
            let port = free_port();
            fs::write(
                path.join("sshd_config"),
                configuration(path, port, settings),
            )
            .unwrap();
            let mut child = spawn(path);
            let addresses = usize::from(settings.hosts) + 1;
            let listens = || log(path).matches("Server listening on").count() == addresses;
            let failed = || log(path).contains("Bind to port");
            // Its own log counts: another server may answer on the port.
            if until(|| listens() || failed() || child.try_wait().unwrap().is_some()) && listens() {
                return Self {
                    child,
                    port,
                    user: user(),
                    hosts: settings.hosts,
                    directory,
                };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("sshd does not start: {}", log(path));
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The private key that the server knows.
    pub fn identity(&self) -> PathBuf {
        self.directory().join("client_key")
    }

    /// The server's own address, for `host` 0, or that of another host.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        assert!(host <= self.hosts, "only {} hosts", self.hosts);
        match host {
            0 => Ipv4Addr::LOCALHOST,
            host => Ipv4Addr::new(127, 0, 1, host),
        }
    }

    pub fn socket(&self) -> SocketAddr {
        SocketAddr::from((self.address(0), self.port))
    }

    /// Type and base64 of the server's public key.
    pub fn host_key(&self) -> String {
        let line = fs::read_to_string(self.directory().join("host_key.pub")).unwrap();
        line.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    /// The fingerprint of the server's public key, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        let output = Command::new("ssh-keygen")
            .arg("-lf")
            .arg(self.directory().join("host_key.pub"))
            .output()
            .unwrap();
        let line = String::from_utf8(output.stdout).unwrap();
        line.split(' ').nth(1).unwrap().to_owned()
    }

    /// A `known_hosts` file with the server's key for all its addresses and for `more` ports.
    pub fn known_hosts(&self, more: &[u16]) -> PathBuf {
        let mut text = String::new();
        for host in 0..=self.hosts {
            for port in more.iter().chain([&self.port]) {
                let address = self.address(host);
                text += &format!("[{address}]:{port} {}\n", self.host_key());
            }
        }
        let path = self.directory().join("known_hosts");
        fs::write(&path, text).unwrap();
        path
    }

    /// Also accepts the key `public` for logins.
    pub fn authorize(&self, public: &Path) {
        let path = self.directory().join("authorized_keys");
        let mut text = fs::read_to_string(&path).unwrap();
        text += &fs::read_to_string(public).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The server processes of the open connections.
    pub fn sessions(&self) -> BTreeSet<u32> {
        let parents = parents();
        let mut found = BTreeSet::new();
        let mut open = vec![self.child.id()];
        while let Some(parent) = open.pop() {
            for (&pid, (_, name)) in parents.iter().filter(|(_, (of, _))| *of == parent) {
                if name == "sshd" && found.insert(pid) {
                    open.push(pid);
                }
            }
        }
        found
    }

    /// Ends the server's side of all connections without a message. The commands keep running.
    pub fn kill_sessions(&self) {
        for pid in self.sessions() {
            signal(pid, Signal::KILL);
        }
    }

    /// Suspends the server's side of all connections.
    pub fn freeze_sessions(&self) {
        for pid in self.sessions() {
            signal(pid, Signal::STOP);
        }
    }

    pub fn log(&self) -> String {
        log(self.directory())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let sessions = self.sessions();
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in sessions {
            signal(pid, Signal::KILL);
        }
        if std::thread::panicking() {
            eprintln!("--- sshd's log\n{}", self.log());
        }
    }
}

/// Makes a key pair at `path` and `path.pub`.
pub fn make_key(path: &Path, kind: Kind, passphrase: &str) {
    let kind: &[&str] = match kind {
        Kind::Ed25519 => &["-t", "ed25519"],
        Kind::Rsa => &["-t", "rsa", "-b", "2048"],
        Kind::RsaPem => &["-t", "rsa", "-b", "2048", "-m", "PEM"],
    };
    let status = Command::new("ssh-keygen")
        .args(["-q", "-C", "test", "-N", passphrase])
        .args(kind)
        .arg("-f")
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}

fn configuration(path: &Path, port: u16, settings: &Settings) -> String {
    let mut lines = settings.lines.clone();
    lines.push(format!("Port {port}"));
    lines.push("ListenAddress 127.0.0.1".into());
    lines.extend((1..=settings.hosts).map(|host| format!("ListenAddress 127.0.1.{host}")));
    let path = path.display();
    lines.push(format!("HostKey {path}/host_key"));
    lines.push(format!("AuthorizedKeysFile {path}/authorized_keys"));
    let defaults = [
        "StrictModes no",
        "UsePAM no",
        "PermitRootLogin yes",
        "PidFile none",
        "MaxStartups 200",
        "LogLevel VERBOSE",
    ];
    // For some keywords the first line counts, for others the last one.
    let given = |line: &str| {
        let keyword = line.split(' ').next();
        let same = |given: &String| given.split(' ').next() == keyword;
        settings.lines.iter().any(same)
    };
    lines.extend(
        defaults
            .into_iter()
            .filter(|line| !given(line))
            .map(str::to_owned),
    );
    lines.join("\n") + "\n"
}

fn spawn(path: &Path) -> Child {
    let log = File::create(path.join("log")).unwrap();
    // By its full path, which sshd needs in order to start itself again.
    Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(path.join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A port that no program listens on just now.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // The kernel gives the higher ports to others, also while the caller's server is down.
    let ports = 10_000..32_000_u16;
    // Programs of tests that start together look in distant places.
    let first = u16::try_from(u64::from(std::process::id()) * 7_919 % 20_000).unwrap();
    ports
        .map(|_| 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 22_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

fn log(path: &Path) -> String {
    fs::read_to_string(path.join("log")).unwrap_or_default()
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Every process with its parent's number and its name.
fn parents() -> std::collections::BTreeMap<u32, (u32, String)> {
    let mut parents = std::collections::BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // PID (NAME) STATE PARENT …, where the name may hold anything.
        let (Some(from), Some(to)) = (stat.find('('), stat.rfind(')')) else {
            continue;
        };
        if let Some(Ok(parent)) = stat[to + 1..].split_whitespace().nth(1).map(str::parse) {
            parents.insert(pid, (parent, stat[from + 1..to].to_owned()));
        }
    }
    parents
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, signal);
    }
}

/// Sets a file's mode.
pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
