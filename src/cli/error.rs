//! Why a command failed: data, with all messages in one place. Printed on stderr after `error: `.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::base::secret::NoRandomness;
use crate::config::ConfigError;
use crate::domain::document::{meant, names_or_none};
use crate::domain::rule::RuleError;
use crate::domain::task::StateName;
use crate::engine::spool::SpoolError;
use crate::setup::doctor::enroll::EnrollError;
use crate::setup::install::InstallError;
use crate::store::backup::restore::RestoreError;

/// Everything that ends a command without success.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Demo(#[from] DemoError),
    #[error("{0}")]
    Spool(#[from] SpoolError),
    #[error("{0}")]
    Rule(#[from] RuleError),
    #[error("no {what} is named {name}; {owner} {known}")]
    NoName {
        what: &'static str,
        name: String,
        /// Who knows the others: `the configuration has`.
        owner: &'static str,
        /// All names, and the one that was probably meant.
        known: String,
    },
    #[error(
        "project {project} is known to its server as {repository:?}; name its directory on this machine with --repo DIR"
    )]
    NoDirectory { project: String, repository: String },
    #[error("no hook program at {}; build it with `make`, or name it with --hook FILE", list(.0))]
    NoHookProgram(Vec<PathBuf>),
    #[error("a tar is not for a terminal; write `tagship install … --tar | gitaly hooks set …`")]
    TarOnTerminal,
    #[error("task {id} has no plan that could be approved; it is {state}")]
    NoPlan { id: u64, state: String },
    #[error(
        "the plan of task {id} is {now}, not {seen}; look at it again with `tagship show {id}`"
    )]
    OtherPlan { id: u64, now: String, seen: String },
    #[error(
        "--plan {0:?} is no digest; give at least its first 8 hex digits, as `tagship show` prints them"
    )]
    NotADigest(String),
    #[error("{option}: {reason}")]
    Option {
        option: &'static str,
        reason: String,
    },
    /// The state that `--wait` waited for was not reached.
    #[error("task {id} is {state}; {next}")]
    NotReached {
        id: u64,
        state: String,
        next: String,
    },
    /// `--wait` waits for people, and there is no terminal.
    #[error("{0}")]
    WaitsForPeople(String),
    #[error(
        "entry {0} led to no task: by the present rules nothing is released; see `tagship rules test`"
    )]
    NoTaskOfReplay(u64),
    #[error(
        "the password on standard input is empty; write it on one line: `echo … | tagship user …`"
    )]
    NoPassword,
    #[error("standard input cannot be read: {0}")]
    Input(io::Error),
    #[error("templates are wrong:\n{}", .0.join("\n"))]
    Templates(Vec<String>),
    #[error("{0}")]
    Enroll(String),
    #[error(transparent)]
    Offer(#[from] EnrollError),
    #[error("the hook is installed, but no tag reaches the agent yet: {}", .0.join("; "))]
    HookFindings(Vec<String>),
    #[error("cannot {doing} {}: {error}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    /// The findings are already printed.
    #[error("{failed} of {looked_at} findings are failures; each line with FAIL says what to do")]
    Check { failed: usize, looked_at: usize },
    #[error("{0}")]
    Accounts(String),
    #[error("the backup is not complete: {0}; nothing was kept of it")]
    Backup(String),
    #[error("a backup is not for a terminal; name a file, or write `tagship backup - | …`")]
    BackupOnTerminal,
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("{0}")]
    Directory(String),
    #[error(
        "the audit is not intact: {fault}; {entries} entries before it are valid; compare it with a backup, and find out who could write the store"
    )]
    Audit { fault: String, entries: u64 },
    #[error("{0}")]
    Serve(String),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// A broken pipe among these ends the program quietly.
    #[error("standard output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// The configuration, or the agent, knows no such project, environment or host.
    pub(crate) fn no_name(
        what: &'static str,
        name: &str,
        owner: &'static str,
        known: &[&str],
    ) -> Self {
        let names = names_or_none(known.iter().copied());
        Self::NoName {
            what,
            name: name.to_owned(),
            owner,
            known: names + &meant(name, known),
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

/// Why the agent gave no valid response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "no agent answers at {address}: start it with `tagship serve`, or name another one with TAGSHIP_URL"
    )]
    NoAgent { address: String },
    #[error(
        "{address} may be used by the agent's user and root alone: run this as one of them, or set TAGSHIP_URL and TAGSHIP_TOKEN"
    )]
    Forbidden { address: String },
    #[error("{address} cannot be reached: {reason}; check TAGSHIP_URL and the network")]
    Unreachable { address: String, reason: String },
    #[error("{address} did not answer in time; look at the agent's log")]
    Silent { address: String },
    #[error("the connection to {address} ended: {reason}; see whether it took effect, then retry")]
    Broken { address: String, reason: String },
    #[error(
        "{address} does not know who you are: set TAGSHIP_TOKEN to a token made by `tagship token new`"
    )]
    NoToken { address: String },
    #[error("{0}")]
    Refused(String),
    #[error("{address} answered {status}{server}; is it the address of a tagship agent?")]
    Foreign {
        address: String,
        status: u16,
        server: String,
    },
    #[error(
        "the answer of {address} cannot be understood: {reason}; are agent and command line of the same version?"
    )]
    Unreadable { address: String, reason: String },
    #[error("TAGSHIP_URL {url:?} is no address: {reason}; write https://ship.example.com")]
    Url { url: String, reason: String },
    #[error("TAGSHIP_TOKEN holds characters that no token has: copy it again")]
    Token,
    #[error("no HTTP client can be made: {0}")]
    Setup(String),
}

/// Why `tagship demo` failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("{program} is missing; install it: apt-get install {package}")]
    Missing {
        program: &'static str,
        package: &'static str,
    },
    #[error(
        "another demo runs in {}; end that one, or start this one in another directory",
        .0.display()
    )]
    Busy(PathBuf),
    #[error(
        "{:?} holds characters that would have to be quoted in many ways; start the demo in a \
         directory whose path has only ASCII letters, digits and ./_-+=@,",
        .0
    )]
    Path(PathBuf),
    #[error("cannot {doing} {}: {error}; look at the path", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error("cannot start {program}: {error}; is it installed?")]
    Start { program: String, error: io::Error },
    #[error("`{command}` ended with {status}:\n{output}")]
    Failed {
        command: String,
        status: ExitStatus,
        output: String,
    },
    #[error("`{command}` did not end within {seconds} s; look at var/demo/agent.log")]
    Endless { command: String, seconds: u64 },
    #[error("{name} ended with {status}; the end of {}:\n{end}", log.display())]
    Ended {
        name: &'static str,
        status: ExitStatus,
        log: PathBuf,
        end: String,
    },
    #[error("{name} did not answer within {seconds} s; the end of {}:\n{end}", log.display())]
    Silent {
        name: &'static str,
        seconds: u64,
        log: PathBuf,
        end: String,
    },
    #[error("no task of {tag} came within {seconds} s; look at var/demo/agent.log")]
    NoTask { tag: String, seconds: u64 },
    #[error("task {id} is {state}, not {expected}: {detail}; look at var/demo/agent.log")]
    OtherState {
        id: u64,
        state: StateName,
        expected: StateName,
        detail: String,
    },
    #[error("no port is free on 127.0.1.1, 127.0.1.2 and 127.0.1.3: {0}")]
    Port(io::Error),
    #[error("orphaned processes cannot be taken in: {0}; the demo needs Linux 3.4 or later")]
    Subreaper(io::Error),
    #[error(
        "the account of {0} is locked (`!` in /etc/shadow), so sshd refuses every login; run \
         the demo as another user"
    )]
    Locked(String),
    #[error("no password can be made: {0}")]
    Randomness(#[from] NoRandomness),
    #[error("interrupted; everything that was started has ended")]
    Interrupted,
}
