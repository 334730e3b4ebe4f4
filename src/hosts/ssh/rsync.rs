//! Runs the system's rsync over a channel of an open connection.
//!
//! rsync starts its transport itself: this very program as `tagship transport SOCKET`, which
//! connects to the agent's socket of this transfer and is bridged to a channel. So host keys are
//! checked and keys are held in one place. Exit codes are not interpreted here; `sync` does.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;

use super::channel::Open;
use super::connection::Connection;
use super::error::RemoteError;
use super::inbox::{ChannelEvent, InboxBound};
use super::inbox::{Exit, Stream};
use super::preamble::{EndlessPreamble, Preamble};
use super::wire;
use crate::base::mutex::lock;

/// The limit of data waiting for rsync to read it.
const WAITING: usize = 64 << 20;

/// Precedes rsync's output on the host: a login may have printed before.
const MARKER: &[u8] = b"\n@tagship-rsync-1\n";

/// Precedes rsync's errors. It differs and comes first: a startup file may lead both streams to one
/// (`exec 2>&1`), where nothing may follow the other marker but rsync's output.
const ERRORS_MARKER: &[u8] = b"\n@tagship-rsync-errors-1\n";

/// Precedes rsync's own command; every login shell passes it on as it is.
const GREETING: &str = r#"exec sh -c 'printf "\n@tagship-rsync-errors-1\n" >&2; printf "\n@tagship-rsync-1\n"; exec "$@"' sh "#;

/// How many bytes of the end of standard error are kept.
const STDERR_KEPT: usize = 4096;

/// The longest path of a Unix socket, including its final NUL.
const SOCKET_PATH_MAX: usize = 108;

/// How rsync starts its remote shell.
#[derive(Clone, Debug)]
pub struct RsyncTransport {
    /// The program that has the `transport` subcommand: tagship itself.
    pub program: PathBuf,
    /// The directory of the sockets; created with mode 0700 if missing. A short path.
    pub runtime_dir: PathBuf,
    /// The system's rsync.
    pub rsync: PathBuf,
}

impl RsyncTransport {
    /// Returns this very program, and `rsync` from the `PATH`.
    ///
    /// # Errors
    /// The system cannot determine this program's path.
    pub fn of_this_program(runtime_dir: PathBuf) -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            runtime_dir,
            rsync: PathBuf::from("rsync"),
        })
    }
}

/// One run of rsync.
#[derive(Clone, Debug)]
pub struct RsyncCommand {
    /// All arguments but `-e` and `-s` (secluded arguments), which are added here: remote paths
    /// then travel inside rsync's own protocol and no shell ever sees them. The remote side is
    /// written `HOST:PATH`, with any plain word for `HOST`: the connection determines the host.
    pub arguments: Vec<OsString>,
    /// For `--files-from=-`.
    pub stdin: Vec<u8>,
    /// The working directory, on the agent.
    pub directory: PathBuf,
    /// How long the login may take to begin rsync on the host.
    pub login_timeout: Duration,
    /// rsync is killed if no byte moves for this long, in either direction.
    pub stall_timeout: Duration,
}

/// How rsync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsyncEnd {
    Code(i32),
    Signal(i32),
}

/// A finished run of rsync.
#[derive(Clone, Debug)]
pub struct RsyncExit {
    pub end: RsyncEnd,
    /// The last lines of both sides' standard error, at most 4 KiB.
    pub stderr: Vec<String>,
    /// Bytes that went to the host over the connection, and back.
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

impl Connection {
    /// Runs rsync with its transport bridged to a channel of this connection. Standard output and
    /// both sides' standard error are passed on in chunks.
    ///
    /// Dropping the future kills rsync.
    ///
    /// # Errors
    /// [`RemoteError::Lost`] when the connection ended before rsync did, [`RemoteError::TimedOut`]
    /// when it stalled; rsync is then gone, and the host has some of the files. An exit code other
    /// than 0 is no error here.
    pub async fn rsync(
        &self,
        transport: &RsyncTransport,
        command: &RsyncCommand,
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> Result<RsyncExit, RemoteError> {
        let local = |what: &str| {
            let (host, what) = (self.host(), what.to_owned());
            move |source| RemoteError::Local { host, what, source }
        };
        let open = self.session().await?;
        open.inbox().set_bound(InboxBound::Fail(WAITING));
        let socket = TransferSocket::bind(&transport.runtime_dir)
            .map_err(local("make a socket for rsync"))?;
        let mut child = start(transport, command, &socket.path).map_err(local("start rsync"))?;
        let group = RsyncProcessGroup::of(&child);
        let tally = Tally::new(on_output);

        let ended = {
            let local_side = local_side(&mut child, &command.stdin, &tally);
            let bridge = bridge(&open, socket, &tally, command.login_timeout);
            tokio::pin!(local_side, bridge);
            let mut bridged = false;
            loop {
                tokio::select! {
                    status = &mut local_side => break status.map(Ended::Rsync),
                    // Once the host's side has ended, rsync only has to notice.
                    end = &mut bridge, if !bridged => match end {
                        Ok(BridgeEnd::Done) => bridged = true,
                        Ok(BridgeEnd::Lost) => break Ok(Ended::Lost),
                        Err(error) => break Err(error),
                    },
                    () = tally.stalled(command.stall_timeout) => break Ok(Ended::Stalled),
                    never = open.keep_alive(self.keepalive()), if !bridged => match never {},
                }
            }
        };
        let ended = ended.map_err(local("follow rsync"));
        if !matches!(ended, Ok(Ended::Rsync(_))) {
            group.kill();
            let _ = child.wait().await;
        }
        group.disarm();
        match ended? {
            Ended::Rsync(status) => Ok(tally.exit(status)),
            Ended::Lost => Err(self.lost(&open).await),
            Ended::Stalled => Err(RemoteError::TimedOut {
                host: self.host(),
                after: command.stall_timeout,
            }),
        }
    }
}

enum Ended {
    Rsync(ExitStatus),
    Lost,
    Stalled,
}

enum BridgeEnd {
    Done,
    Lost,
}

/// The socket of one transfer; its file is deleted after the first connection, or on drop.
struct TransferSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for TransferSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl TransferSocket {
    fn bind(directory: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let metadata = std::fs::metadata(directory)?;
        if metadata.mode() & 0o077 != 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other(format!(
                "{} must belong to the agent's user with mode 0700",
                directory.display()
            )));
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let path = directory.join(format!("rsync-{:016x}", u64::from_be_bytes(random)));
        if path.as_os_str().len() >= SOCKET_PATH_MAX {
            return Err(io::Error::other(format!(
                "{} is too long for a socket: choose a shorter directory",
                path.display()
            )));
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Accepts the first process of our own user.
    async fn join(self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            if stream.peer_cred()?.uid() == rustix::process::geteuid().as_raw() {
                return Ok(stream);
            }
        }
    }
}

fn start(transport: &RsyncTransport, command: &RsyncCommand, socket: &Path) -> io::Result<Child> {
    let mut shell = OsString::from(quoted(transport.program.as_os_str())?);
    shell.push(" transport ");
    shell.push(quoted(socket.as_os_str())?);
    Command::new(&transport.rsync)
        .arg("-e")
        .arg(shell)
        .arg("-s")
        .args(&command.arguments)
        .current_dir(&command.directory)
        // The agent's environment must not change rsync or reach its children.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Quotes a path for the command line that rsync splits at spaces.
fn quoted(path: &OsStr) -> io::Result<String> {
    match path.to_str() {
        Some(path) if !path.contains(['\'', '"', '\\']) => Ok(format!("'{path}'")),
        _ => Err(io::Error::other(format!(
            "{} holds quotes or is not UTF-8: rsync cannot be given such a path",
            path.display()
        ))),
    }
}

/// The process group of rsync and its children, killed together.
struct RsyncProcessGroup {
    id: std::cell::Cell<Option<Pid>>,
}

impl RsyncProcessGroup {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Self { id: id.into() }
    }

    fn kill(&self) {
        if let Some(id) = self.id.get() {
            let _ = rustix::process::kill_process_group(id, Signal::KILL);
        }
    }

    /// Forgets the process after it was waited for: its process ID may have been reused.
    fn disarm(&self) {
        self.id.set(None);
    }
}

impl Drop for RsyncProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Feeds rsync, reads its output, and waits for its end.
async fn local_side(child: &mut Child, stdin: &[u8], tally: &Tally<'_>) -> io::Result<ExitStatus> {
    let (mut input, output, errors) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(input) = &mut input {
            // The exit code of an rsync that ends early says why.
            let _ = input.write_all(stdin).await;
        }
        drop(input);
    };
    tokio::join!(
        feed,
        tally.follow(Stream::Stdout, output),
        tally.follow(Stream::Stderr, errors)
    );
    child.wait().await
}

/// Waits for the transport process, starts its command on the host, and copies both ways. Sends
/// nothing before the host's marker: a startup file of the login may read the standard input, or
/// start another shell in place of the command, which would execute it.
async fn bridge(
    open: &Open,
    socket: TransferSocket,
    tally: &Tally<'_>,
    login: Duration,
) -> io::Result<BridgeEnd> {
    let stream = socket.join().await?;
    let (mut from_rsync, to_rsync) = stream.into_split();
    let words = wire::read_words(&mut from_rsync).await?;
    let line = format!(
        "{GREETING}{}",
        wire::shell_line(&words).map_err(io::Error::other)?
    );
    tracing::debug!(command = %line, "starting rsync on the host");
    if open.start(&line).await.is_err() {
        return Ok(BridgeEnd::Lost);
    }
    let greeted = watch::Sender::new(false);
    let greeting = || {
        let mut seen = greeted.subscribe();
        async move { seen.wait_for(|seen| *seen).await.is_ok() }
    };
    let sending = async {
        greeting().await;
        send(open, from_rsync, tally).await;
        std::future::pending::<std::convert::Infallible>().await
    };
    let never_begins = async {
        if tokio::time::timeout(login, greeting()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        bridged = receive(open, to_rsync, tally, &greeted) => bridged,
        never = sending => match never {},
        () = never_begins => Err(io::Error::other(format!(
            "it did not begin there within {login:.0?} of the request; a startup file of the login (.bashrc, .zshenv, .ssh/rc) waits, reads the standard input, or replaces the shell without its command (exec): let it do so only where the shell is interactive"
        ))),
    }
}

async fn send(open: &Open, from_rsync: OwnedReadHalf, tally: &Tally<'_>) {
    // If the link has ended, the receiving side reports it.
    let _ = open.send_all(from_rsync, |bytes| tally.sent(bytes)).await;
}

async fn receive(
    open: &Open,
    mut to_rsync: OwnedWriteHalf,
    tally: &Tally<'_>,
    greeted: &watch::Sender<bool>,
) -> io::Result<BridgeEnd> {
    let mut code = None;
    let (mut output, mut errors) = (MarkedStream::by(MARKER), MarkedStream::by(ERRORS_MARKER));
    loop {
        match open.next_of(code.is_some()).await {
            ChannelEvent::Output(Stream::Stdout, bytes) => {
                tally.received(bytes.len());
                if let Some(bytes) = output.after_marker(&bytes).map_err(io::Error::other)? {
                    greeted.send_replace(true);
                    // An rsync that reads no more has ended, or is about to.
                    let _ = to_rsync.write_all(&wire::frame(wire::OUTPUT, bytes)).await;
                }
            }
            ChannelEvent::Output(Stream::Stderr, bytes) => {
                if let Some(bytes) = errors.after_marker(&bytes).map_err(io::Error::other)? {
                    tally.output(Stream::Stderr, bytes);
                }
            }
            ChannelEvent::Exit(Exit::Code(exit)) => code = Some(u8::try_from(exit).unwrap_or(255)),
            ChannelEvent::Exit(Exit::Signal(name)) => {
                tally.output(
                    Stream::Stderr,
                    format!("rsync on the host was ended by signal {name}\n").as_bytes(),
                );
                code = Some(255);
            }
            ChannelEvent::Eof => {}
            ChannelEvent::Closed => {
                let Some(code) = code else {
                    return Ok(BridgeEnd::Lost);
                };
                // The error of a shell that never started rsync precedes the marker.
                tally.output(Stream::Stderr, &errors.before);
                let _ = to_rsync.write_all(&wire::frame(wire::EXIT, &[code])).await;
                return Ok(BridgeEnd::Done);
            }
            ChannelEvent::Lost => return Ok(BridgeEnd::Lost),
            ChannelEvent::Overflow => {
                return Err(io::Error::other(
                    "rsync reads nothing of what the host sends",
                ));
            }
        }
    }
}

/// One output of the host's side, without what a login printed first.
struct MarkedStream {
    /// `None` once the marker was found.
    preamble: Option<Preamble>,
    /// The beginning of the output before the marker, while that is missing.
    before: Vec<u8>,
}

impl MarkedStream {
    fn by(marker: &'static [u8]) -> Self {
        Self {
            preamble: Some(Preamble::new(marker)),
            before: Vec::new(),
        }
    }

    /// Returns the part of these bytes after the marker.
    fn after_marker<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, EndlessPreamble> {
        let Some(preamble) = &mut self.preamble else {
            return Ok(Some(bytes));
        };
        let rest = preamble.pass(bytes)?;
        if rest.is_some() {
            self.preamble = None;
            self.before.clear();
        } else {
            let room = STDERR_KEPT.saturating_sub(self.before.len());
            self.before
                .extend_from_slice(&bytes[..room.min(bytes.len())]);
        }
        Ok(rest)
    }
}

/// The bytes moved so far, the time of the last one, and the end of the messages.
struct Tally<'a> {
    state: Mutex<TransferCounts<'a>>,
}

struct TransferCounts<'a> {
    on_output: &'a mut (dyn FnMut(Stream, &[u8]) + Send),
    sent: u64,
    received: u64,
    moved: Instant,
    stderr: Vec<u8>,
}

impl<'a> Tally<'a> {
    fn new(on_output: &'a mut (dyn FnMut(Stream, &[u8]) + Send)) -> Self {
        Self {
            state: Mutex::new(TransferCounts {
                on_output,
                sent: 0,
                received: 0,
                moved: Instant::now(),
                stderr: Vec::new(),
            }),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut TransferCounts<'a>) -> T) -> T {
        change(&mut lock(&self.state))
    }

    fn sent(&self, bytes: u64) {
        self.with(|counts| {
            counts.sent += bytes;
            counts.moved = Instant::now();
        });
    }

    fn received(&self, bytes: usize) {
        self.with(|counts| {
            counts.received += bytes as u64;
            counts.moved = Instant::now();
        });
    }

    fn output(&self, stream: Stream, bytes: &[u8]) {
        self.with(|counts| {
            counts.moved = Instant::now();
            (counts.on_output)(stream, bytes);
            if stream == Stream::Stderr {
                counts.stderr.extend_from_slice(bytes);
                let excess = counts.stderr.len().saturating_sub(STDERR_KEPT);
                counts.stderr.drain(..excess);
            }
        });
    }

    async fn follow(&self, stream: Stream, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = vec![0; 8192];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.output(stream, &buffer[..read]);
        }
    }

    /// Returns when nothing has moved for `limit`.
    async fn stalled(&self, limit: Duration) {
        loop {
            let quiet_until = self.with(|counts| counts.moved) + limit;
            if quiet_until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(quiet_until).await;
        }
    }

    fn exit(&self, status: ExitStatus) -> RsyncExit {
        let end = match (status.code(), status.signal()) {
            (Some(code), _) => RsyncEnd::Code(code),
            (None, Some(signal)) => RsyncEnd::Signal(signal),
            (None, None) => RsyncEnd::Code(255),
        };
        self.with(|counts| RsyncExit {
            end,
            stderr: String::from_utf8_lossy(&counts.stderr)
                .lines()
                .map(str::to_owned)
                .collect(),
            bytes_sent: counts.sent,
            bytes_received: counts.received,
        })
    }
}
