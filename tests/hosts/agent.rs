//! The agent as a process: `tagship serve`, observed through its log, ended on drop.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Environment variables of an agent.
pub(crate) type Variables = Vec<(&'static str, String)>;

const ENDED: &str = "(the agent has ended)";
/// How long an agent may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// `tagship` with nothing of the caller's environment but `PATH`.
pub(crate) fn tagship(home: &Path) -> Command {
    program(env!("CARGO_BIN_EXE_tagship"), home)
}

/// `tagship` as a service manager starts it: with a low soft limit of open files.
fn service(home: &Path) -> Command {
    let mut shell = program("sh", home);
    shell.args(["-c", "ulimit -Sn 256; exec \"$@\"", "sh"]);
    shell.arg(env!("CARGO_BIN_EXE_tagship"));
    shell
}

fn program(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("TZ", "UTC");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.stdin(Stdio::null());
    command
}

/// The logs of the agents of one stage, one after another.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Log {
    fn add(&self, line: String) {
        self.0.0.lock().unwrap().push(line);
        self.0.1.notify_all();
    }

    pub(crate) fn text(&self) -> String {
        self.0.0.lock().unwrap().join("\n")
    }

    fn length(&self) -> usize {
        self.0.0.lock().unwrap().len()
    }

    /// Waits for a line with `text` after the first `seen` ones; returns whether it came.
    fn says(&self, text: &str, seen: usize, within: Duration) -> bool {
        let lines = self.0.0.lock().unwrap();
        let silent =
            |lines: &mut Vec<String>| !lines[seen..].iter().any(|line| line.contains(text));
        let waited = self.0.1.wait_timeout_while(lines, within, silent);
        !waited.unwrap().1.timed_out()
    }
}

/// A running agent.
pub(crate) struct Agent {
    child: Child,
    reader: Option<JoinHandle<()>>,
    log: Log,
    /// The length of the log before it.
    from: usize,
}

impl Agent {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(config: &Path, home: &Path, log: &Log, variables: &Variables) -> Self {
        let seen = log.length();
        let agent = Self::spawn(config, home, log, variables);
        let ready = log.says("agent is ready", seen, READY_WITHIN);
        assert!(ready, "the agent does not start:\n{}", log.text());
        agent
    }

    /// Starts it; it may end at once.
    pub(crate) fn spawn(config: &Path, home: &Path, log: &Log, variables: &Variables) -> Self {
        let from = log.length();
        let mut child = service(home)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .arg("serve")
            .arg("--config")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let ours = log.clone();
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                ours.add(line);
            }
            ours.add(ENDED.to_owned());
        });
        Self {
            child,
            reader: Some(reader),
            log: log.clone(),
            from,
        }
    }

    /// Waits until it ends by itself; returns how it ended, `None` after the time limit.
    pub(crate) fn ends(&mut self, within: Duration) -> Option<ExitStatus> {
        if !self.log.says(ENDED, self.from, within) {
            return None;
        }
        let status = self.child.wait().unwrap();
        self.ended();
        Some(status)
    }

    /// Like SIGKILL: nothing is cleaned up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.ended();
    }

    /// Asks it to end, as an operator does; it must succeed.
    pub(crate) fn terminate(mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the agent ended with {status}");
    }

    /// Its soft and its hard limit of open files.
    pub(crate) fn open_files_limits(&self) -> [String; 2] {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"));
        let mut limits = line.unwrap().split_whitespace().map(str::to_owned);
        [limits.next().unwrap(), limits.next().unwrap()]
    }

    pub(crate) fn memory_peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn ended(&mut self) {
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.ended();
    }
}
