//! The directory of a demo: `var/demo`, created from scratch, one demo at a time; its
//! hosts and its configuration.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::super::error::DemoError;

/// The directory of a demo, below the working directory.
pub(super) const PLACE: &str = "var/demo";
/// Outside of it, because it outlives it.
const LOCK: &str = "var/demo.lock";

/// The hosts and their addresses.
pub(super) const HOSTS: [(&str, Ipv4Addr); 3] = [
    ("web1", Ipv4Addr::new(127, 0, 1, 1)),
    ("web2", Ipv4Addr::new(127, 0, 1, 2)),
    ("web3", Ipv4Addr::new(127, 0, 1, 3)),
];
/// The environments of the shop on each host.
pub(super) const ENVIRONMENTS: [&str; 2] = ["qa", "production"];

/// An empty `var/demo` that only this demo uses.
pub(super) struct DemoDirectory {
    root: PathBuf,
    /// The port of the page.
    pub(super) page_port: u16,
    /// The port of the hosts' sshd.
    pub(super) ssh_port: u16,
    /// Held while the demo runs.
    _lock: File,
}

impl DemoDirectory {
    /// Takes the lock, removes what an earlier demo left and creates the directories.
    ///
    /// # Errors
    /// Another demo runs here, or the directory cannot be created.
    pub(super) fn claim(preferred_port: u16) -> Result<Self, DemoError> {
        let root = std::path::absolute(PLACE).map_err(cannot("find", Path::new(PLACE)))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=@,".contains(&byte);
        if !root
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .copied()
            .all(plain)
        {
            return Err(DemoError::Path(root));
        }
        fs::create_dir_all("var").map_err(cannot("make", Path::new("var")))?;
        let lock = lock(&root)?;
        match fs::remove_dir_all(&root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(cannot("remove", &root)(error));
            }
            _ => {}
        }
        let ground = Self {
            root,
            page_port: free_port(preferred_port, &[Ipv4Addr::LOCALHOST])?,
            ssh_port: free_port(0, &HOSTS.map(|(_, address)| address))?,
            _lock: lock,
        };
        for directory in ["", "git", "home", "hosts", "ssh", "tmp"] {
            let path = ground.path(directory);
            // It contains a password.
            let made = fs::DirBuilder::new().mode(0o700).create(&path);
            made.map_err(cannot("make", &path))?;
        }
        Ok(ground)
    }

    /// Returns an absolute path below `var/demo`.
    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Writes a file that only its owner can read.
    pub(super) fn write(&self, below: &str, text: &str) -> Result<(), DemoError> {
        let path = self.path(below);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        file.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(cannot("write", &path))
    }

    pub(super) fn read(&self, below: &str) -> Result<String, DemoError> {
        let path = self.path(below);
        fs::read_to_string(&path).map_err(cannot("read", &path))
    }

    /// Returns the URL of the page, without a trailing slash.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.page_port)
    }

    /// Returns the agent's configuration. `user` runs git, logs in on hosts, and pushes as alice.
    pub(super) fn config(&self, user: &str) -> String {
        let root = self.root.display();
        let mut text = format!(
            r#"# Written by `tagship demo`.

[agent]
listen = "127.0.0.1:{page}"
data_dir = "lib"
spool_dir = "spool"
templates_dir = "templates"
git_user = "{user}"

[ssh]
user = "{user}"
port = {ssh}
identity = "ssh/agent_key"
known_hosts = "ssh/known_hosts"
"#,
            page = self.page_port,
            ssh = self.ssh_port,
        );
        // Writing to a String cannot fail.
        for (name, address) in HOSTS {
            let _ = write!(text, "\n[hosts.{name}]\naddress = \"{address}\"\n");
        }
        let names = HOSTS.map(|(name, _)| format!("\"{name}\"")).join(", ");
        let _ = write!(
            text,
            r#"
[groups]
web = [{names}]

[[projects]]
name = "shop"
repository = "{root}/git/shop.git"
"#
        );
        for environment in ENVIRONMENTS {
            let _ = write!(
                text,
                r#"
[projects.environments.{environment}]
group = "web"
deploy_to = "{root}/hosts/{{HOST}}/shop/{environment}"
"#
            );
        }
        let _ = write!(
            text,
            r#"
# Tags that begin with qa- go live at once.
[[projects.rules]]
pattern = "qa-"
environment = "qa"
schedule = "ready"

# Tags that begin with release- wait for approval.
[[projects.rules]]
pattern = "release-"
environment = "production"
schedule = "new"

# Pushes by this system user are alice's.
[users.alice]
system = "{user}"
"#
        );
        text
    }
}

fn lock(root: &Path) -> Result<File, DemoError> {
    let path = Path::new(LOCK);
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).open(path);
    let file = file.map_err(cannot("open", path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DemoError::Busy(root.to_owned())),
        Err(error) => Err(cannot("lock", path)(error.into())),
    }
}

/// Returns a port that is free on all addresses now: the preferred one, if possible.
fn free_port(preferred: u16, addresses: &[Ipv4Addr]) -> Result<u16, DemoError> {
    let bind_all = |preferred: u16| -> io::Result<u16> {
        let mut port = preferred;
        let mut held = Vec::new();
        for address in addresses {
            let listener = TcpListener::bind((*address, port))?;
            port = listener.local_addr()?.port();
            held.push(listener);
        }
        Ok(port)
    };
    // A port that is free on the first address may be taken on another.
    let attempts = std::iter::once(preferred).chain([0; 20]);
    let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
    for preferred in attempts {
        match bind_all(preferred) {
            Ok(port) => return Ok(port),
            Err(error) => failure = error,
        }
    }
    Err(DemoError::Port(failure))
}

pub(super) fn cannot(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DemoError {
    let path = path.to_owned();
    move |error| DemoError::File { doing, path, error }
}
