//! Finds, shows, starts, awaits and ends the programs of a demo.
//!
//! Cleanup has three levels. Services are asked to end, in order. Then all remaining descendants of
//! the demo are killed, daemons included: orphans are reparented to the demo, not to init. If the
//! demo itself is killed, the kernel signals its services to end (`setpriv --pdeathsig`).

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::super::error::DemoError;
use super::directory::cannot;

/// The programs that a demo needs, and the Debian packages that contain them.
const PROGRAMS: [(&str, &str); 6] = [
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("rsync", "rsync"),
    ("git", "git"),
    ("setsid", "util-linux"),
    ("setpriv", "util-linux"),
];
/// The environment variables passed to programs; none changes what git or tagship do.
const VARIABLES: [&str; 7] = [
    "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TERM",
];

/// The command timeout, in seconds: a command takes one, on a busy machine many.
const COMMAND_SECONDS: u64 = 120;
const READY_SECONDS: u64 = 60;
/// The shutdown timeout: the agent first lets requests and steps finish.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// The polling interval where there is no event to wait for.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// How often killed processes are looked for again, [`PAUSE`] apart.
const SWEEPS_MAX: u32 = 200;
/// How many lines of a service's log an error shows.
const LOG_LINES: usize = 12;

/// # Errors
/// One is missing; the error names its package.
pub(super) fn check_programs() -> Result<(), DemoError> {
    for (program, package) in PROGRAMS {
        find(program).ok_or(DemoError::Missing { program, package })?;
    }
    Ok(())
}

/// Returns the absolute path of a program. Servers are only in root's `PATH`.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .map(|directory| directory.join(program))
        .find(|path| path.is_absolute() && path.is_file())
}

fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    path.push(":/usr/sbin:/sbin");
    path
}

/// Starts programs, and ends them with all their descendants when dropped.
pub(super) struct Processes {
    /// In the order they were started.
    services: Vec<Service>,
}

/// A program that runs as long as the demo.
pub(super) struct Service {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Processes {
    /// # Errors
    /// The system does not support subreapers.
    pub(super) fn new() -> Result<Self, DemoError> {
        set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| DemoError::Subreaper(error.into()))?;
        Ok(Self {
            services: Vec::new(),
        })
    }

    /// Starts a service that logs to `log`; it ends with the demo.
    pub(super) fn start(
        &mut self,
        name: &'static str,
        program: &DemoProgram,
        log: &Path,
    ) -> Result<(), DemoError> {
        let file = File::create(log).map_err(cannot("make", log))?;
        let errors = file.try_clone().map_err(cannot("open", log))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "--"])
            .args(program.words());
        program.set_environment(&mut command);
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command
            .spawn()
            .map_err(|error| program.not_started(error))?;
        self.services.push(Service {
            name,
            child,
            log: log.to_owned(),
        });
        Ok(())
    }

    /// Waits until the service started last answers.
    pub(super) async fn ready(&mut self, answers: impl AsyncFn() -> bool) -> Result<(), DemoError> {
        let Some(service) = self.services.last_mut() else {
            return Ok(());
        };
        let waiting = async {
            loop {
                service.check()?;
                if answers().await {
                    return Ok(());
                }
                sleep(PAUSE).await;
            }
        };
        match timeout(Duration::from_secs(READY_SECONDS), waiting).await {
            Ok(result) => result,
            Err(_) => Err(DemoError::Silent {
                name: service.name,
                seconds: READY_SECONDS,
                end: end_of(&service.log),
                log: service.log.clone(),
            }),
        }
    }

    /// # Errors
    /// A service has ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        self.services.iter_mut().try_for_each(Service::check)
    }

    /// Asks the services to end, the last first, and waits for them.
    pub(super) async fn end(&mut self) {
        while let Some(mut service) = self.services.pop() {
            let pid = service.child.id().and_then(|pid| i32::try_from(pid).ok());
            if let Some(pid) = pid.and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            // A service that does not end in time is killed with the rest.
            drop(timeout(END_TIMEOUT, service.child.wait()).await);
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for _ in 0..SWEEPS_MAX {
            while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
            let left = descendants();
            if left.is_empty() {
                return;
            }
            for pid in left {
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Service {
    fn check(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(DemoError::Ended {
                name: self.name,
                status,
                end: end_of(&self.log),
                log: self.log.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// Returns all processes below this one, including zombies that are not reaped yet.
fn descendants() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let parents: Vec<(i32, i32)> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| Some((pid, parent_of(pid)?)))
        .collect();
    let mut found = vec![rustix::process::getpid().as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = parents.iter().filter(|(_, of)| *of == parent);
        found.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    found.drain(1..).filter_map(Pid::from_raw).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// A program with its arguments, as started and as shown.
#[derive(Clone, Debug)]
pub(super) struct DemoProgram {
    path: PathBuf,
    shown: String,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    input: Option<String>,
}

impl DemoProgram {
    /// Takes a path, or a name in `PATH`.
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            shown: path.display().to_string(),
            path,
            arguments: Vec::new(),
            environment: Vec::new(),
            input: None,
        }
    }

    /// Sets what a person types instead of its path, including variables before it.
    pub(super) fn shown_as(mut self, words: impl Into<String>) -> Self {
        self.shown = words.into();
        self
    }

    pub(super) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter();
        self.arguments
            .extend(arguments.map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(super) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Sets a file for standard input; without one, standard input is empty.
    pub(super) fn input(mut self, file: impl Into<String>) -> Self {
        self.input = Some(file.into());
        self
    }

    /// Returns path and arguments.
    pub(super) fn words(&self) -> impl Iterator<Item = &OsStr> {
        let arguments = self.arguments.iter().map(OsString::as_os_str);
        std::iter::once(self.path.as_os_str()).chain(arguments)
    }

    /// Returns the command as a person would type it.
    pub(super) fn line(&self) -> String {
        let mut line = self.shown.clone();
        for argument in &self.arguments {
            line.push(' ');
            line.push_str(&quoted(&argument.to_string_lossy()));
        }
        if let Some(file) = &self.input {
            line.push_str(" < ");
            line.push_str(file);
        }
        line
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        self.set_environment(&mut command);
        command
    }

    fn set_environment(&self, command: &mut Command) {
        command.env_clear().env("PATH", search_path());
        for name in VARIABLES {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // The terminal's ^C is for the demo, which ends everything in order.
        command.process_group(0).kill_on_drop(true);
    }

    /// Runs it to its end; returns standard output, then standard error.
    ///
    /// # Errors
    /// It failed, or did not end in time.
    pub(super) async fn run(&self) -> Result<(String, String), DemoError> {
        let input = match &self.input {
            Some(path) => File::open(path)
                .map_err(cannot("read", Path::new(path)))?
                .into(),
            None => Stdio::null(),
        };
        let output = self.command().stdin(input).output();
        let output = timeout(Duration::from_secs(COMMAND_SECONDS), output).await;
        let output = output.map_err(|_| DemoError::Endless {
            command: self.line(),
            seconds: COMMAND_SECONDS,
        })?;
        let output = output.map_err(|error| self.not_started(error))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (printed, complained) = (text(&output.stdout), text(&output.stderr));
        if output.status.success() {
            return Ok((printed, complained));
        }
        Err(DemoError::Failed {
            command: self.line(),
            status: output.status,
            output: printed + &complained,
        })
    }

    fn not_started(&self, error: std::io::Error) -> DemoError {
        DemoError::Start {
            program: self.shown.clone(),
            error,
        }
    }
}

/// Quotes an argument for a shell.
fn quoted(argument: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"./_-+=@,:".contains(&byte);
    if !argument.is_empty() && argument.bytes().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}
