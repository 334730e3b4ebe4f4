//! Why a demo failed.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// What went wrong, and how to fix it.
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
    #[error("task {id} is {state}, not {wanted}: {detail}; look at var/demo/agent.log")]
    OtherState {
        id: u64,
        state: String,
        wanted: &'static str,
        detail: String,
    },
    #[error("no port is free on 127.0.1.1, 127.0.1.2 and 127.0.1.3: {0}")]
    Port(io::Error),
    #[error("orphaned processes cannot be taken in: {0}; the demo needs Linux 3.4 or later")]
    Subreaper(io::Error),
    #[error(
        "the account of {0} is locked (`!` in /etc/shadow), so sshd lets nobody in; run the demo as \
         another user"
    )]
    Locked(String),
    #[error("no password can be made: {0}")]
    Randomness(#[from] crate::base::secret::NoRandomness),
    #[error("interrupted; everything that was started has ended")]
    Interrupted,
}
