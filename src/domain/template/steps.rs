//! Converts one entry of `steps` to a [`Step`].

use std::time::Duration;

use super::reader::{StepFile, TemplateReader, Use};
use super::{
    AGENT, CHECK_INTERVAL_DEFAULT, CHECK_RETRIES_DEFAULT, CHECK_TIMEOUT_DEFAULT, Directory,
    HealthCheck, Probe, Program, ProgramCommand, RUN_TIMEOUT_DEFAULT, Step, StepAction, arguments,
    is_name, placeholder,
};
use crate::domain::document::Path;

/// The kind of a step entry, with the keys that it accepts.
#[derive(Clone, Copy)]
enum StepKind {
    Checkout,
    Sync,
    Publish,
    Check,
    Run,
}

impl StepKind {
    fn from_keys(raw: &StepFile) -> Option<Self> {
        let program = raw.run.is_some() || raw.script.is_some();
        match (raw.uses, program) {
            (Some(Use::Checkout), false) => Some(Self::Checkout),
            (Some(Use::Sync), false) => Some(Self::Sync),
            (Some(Use::Publish), false) => Some(Self::Publish),
            (Some(Use::Check), false) => Some(Self::Check),
            (None, true) if raw.run.is_none() || raw.script.is_none() => Some(Self::Run),
            (None, _) | (Some(_), true) => None,
        }
    }

    /// Returns the step's default name.
    fn name(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Sync => "sync",
            Self::Publish => "publish",
            Self::Check => "check",
            Self::Run => "run",
        }
    }

    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Checkout => &["use", "name"],
            Self::Sync | Self::Publish => &["use", "name", "gate"],
            Self::Run => &[
                "run",
                "script",
                "args",
                "name",
                "in",
                "once",
                "gate",
                "user",
                "host",
                "timeout",
                "repeat",
                "outputs",
                "secret_outputs",
            ],
            Self::Check => &[
                "use", "name", "in", "once", "gate", "user", "host", "timeout", "http", "status",
                "tcp", "command", "retries", "interval",
            ],
        }
    }
}

/// Returns the keys that the entry of a step has.
fn keys_present(raw: &StepFile) -> Vec<&'static str> {
    [
        ("use", raw.uses.is_some()),
        ("run", raw.run.is_some()),
        ("script", raw.script.is_some()),
        ("args", raw.args.is_some()),
        ("name", raw.name.is_some()),
        ("gate", raw.gate.is_some()),
        ("user", raw.user.is_some()),
        ("host", raw.host.is_some()),
        ("in", raw.directory.is_some()),
        ("once", raw.once.is_some()),
        ("timeout", raw.timeout.is_some()),
        ("repeat", raw.repeat.is_some()),
        ("outputs", raw.outputs.is_some()),
        ("secret_outputs", raw.secret_outputs.is_some()),
        ("http", raw.http.is_some()),
        ("status", raw.status.is_some()),
        ("tcp", raw.tcp.is_some()),
        ("command", raw.command.is_some()),
        ("retries", raw.retries.is_some()),
        ("interval", raw.interval.is_some()),
    ]
    .into_iter()
    .filter_map(|(key, present)| present.then_some(key))
    .collect()
}

impl TemplateReader<'_> {
    /// Reads one step; `synced` is whether the release exists on the hosts by then.
    pub(super) fn step(
        &mut self,
        raw: StepFile,
        before: &[Step],
        synced: Synced,
        path: &Path,
    ) -> Step {
        let kind = StepKind::from_keys(&raw).unwrap_or_else(|| {
            self.refuse(
                path,
                "a step has either `use = \"checkout\"`, \"sync\", \"publish\" or \"check\", or \
                 `run = …`, or `script = …`: write one of them",
            );
            StepKind::Run
        });
        for key in keys_present(&raw) {
            if !kind.keys().contains(&key) && !matches!(key, "use" | "run" | "script") {
                self.refuse(
                    &path.join(key),
                    format!(
                        "`{key}` means nothing in a {} step: take it out",
                        kind.name()
                    ),
                );
            }
        }
        let name = self.step_name(raw.name.as_deref(), kind, before, path);
        let once = raw.once.unwrap_or(false);
        let gate = raw.gate.unwrap_or_default();
        let (user, host) = self.user_and_host(&raw, path);
        // A step's own host receives no release.
        let synced = if host.is_some() { Synced::No } else { synced };
        let action = match kind {
            StepKind::Checkout => StepAction::Checkout,
            StepKind::Sync => StepAction::Sync,
            StepKind::Publish => StepAction::Publish,
            StepKind::Check => StepAction::Check(self.check(raw, synced, path)),
            StepKind::Run => StepAction::Run(self.program(raw, synced, path)),
        };
        Step {
            name,
            once,
            gate,
            user,
            host,
            action,
        }
    }

    fn step_name(
        &mut self,
        given: Option<&str>,
        kind: StepKind,
        before: &[Step],
        path: &Path,
    ) -> String {
        let taken = |name: &str| before.iter().any(|step| step.name == name);
        if let Some(name) = given {
            let path = path.join("name");
            self.name(&path, "step", name);
            if taken(name) {
                self.refuse(
                    &path,
                    format!("two steps of this stage are named `{name}`: rename one"),
                );
            }
            return name.to_owned();
        }
        let mut name = kind.name().to_owned();
        let mut number = 1;
        while taken(&name) {
            number += 1;
            name = format!("{}-{number}", kind.name());
        }
        name
    }

    fn program(&mut self, raw: StepFile, synced: Synced, path: &Path) -> Program {
        let args = self.args(raw.args.as_deref(), &path.join("args"));
        let command = match (raw.script, raw.run) {
            (Some(script), _) => {
                self.script(&script, &path.join("script"));
                ProgramCommand::Script(script)
            }
            (None, run) => {
                let command = run.unwrap_or(ProgramCommand::Argv(Vec::new()));
                self.command(&command, &path.join("run"));
                command
            }
        };
        Program {
            command,
            args,
            directory: self.directory(raw.directory.as_deref(), synced, path),
            timeout: self.time_limit(raw.timeout, RUN_TIMEOUT_DEFAULT, &path.join("timeout")),
            repeat: raw.repeat.unwrap_or(false),
            outputs: self.outputs(raw.outputs.unwrap_or_default(), &path.join("outputs")),
            secret_outputs: self.outputs(
                raw.secret_outputs.unwrap_or_default(),
                &path.join("secret_outputs"),
            ),
        }
    }

    /// Returns who runs a step, and its own host, if any.
    fn user_and_host(&mut self, raw: &StepFile, path: &Path) -> (Option<String>, Option<String>) {
        for (key, name, what) in [
            ("user", &raw.user, "user of `[execution_users]`"),
            ("host", &raw.host, "host"),
        ] {
            if let Some(name) = name {
                self.name(&path.join(key), what, name);
            }
        }
        let on_host = raw.run.is_some() || raw.script.is_some() || raw.command.is_some();
        for (key, given) in [("user", raw.user.is_some()), ("host", raw.host.is_some())] {
            if given && raw.uses == Some(Use::Check) && !on_host {
                self.refuse(
                    &path.join(key),
                    format!("`{key}` means nothing in a check that the agent makes: take it out, or check by `command`"),
                );
            }
        }
        if raw.host.is_some() && raw.once.is_some() {
            self.refuse(
                &path.join("once"),
                "a step with `host` runs once in any case: take `once` out",
            );
        }
        if raw.host.as_deref() == Some(AGENT) && raw.user.is_some() {
            self.refuse(
                &path.join("user"),
                "on the agent's machine everything runs as `[local_run] user`: take `user` out",
            );
        }
        (raw.user.clone(), raw.host.clone())
    }

    fn args(&mut self, line: Option<&str>, path: &Path) -> Vec<String> {
        let Some(line) = line else { return Vec::new() };
        self.refuse_nul(line, path);
        match arguments::split(line) {
            Ok(words) => words,
            Err(error) => {
                self.refuse(path, error.to_string());
                Vec::new()
            }
        }
    }

    fn script(&mut self, name: &str, path: &Path) {
        if !is_name(name) {
            self.refuse(
                path,
                format!(
                    "`{name}` is no file beside the template: write its name alone (letters, digits, \
                     dots, underscores and hyphens), and put it into the template's directory"
                ),
            );
        }
    }

    fn check(&mut self, raw: StepFile, synced: Synced, path: &Path) -> HealthCheck {
        for (key, present, with) in [
            ("status", raw.status.is_some(), raw.http.is_some()),
            ("in", raw.directory.is_some(), raw.command.is_some()),
        ] {
            if present && !with {
                let partner = if key == "in" { "command" } else { "http" };
                self.refuse(
                    &path.join(key),
                    format!("`{key}` means nothing without `{partner}`: take it out"),
                );
            }
        }
        let directory = self.directory(raw.directory.as_deref(), synced, path);
        let probe = match (raw.http, raw.tcp, raw.command) {
            (Some(url), None, None) => self.http(url, raw.status, path),
            (None, Some(address), None) => self.tcp(address, path),
            (None, None, Some(command)) => {
                self.command(&command, &path.join("command"));
                Probe::Command { command, directory }
            }
            _ => {
                self.refuse(path, "a check has one of `http`, `tcp` and `command`");
                Probe::Tcp {
                    address: String::new(),
                }
            }
        };
        HealthCheck {
            probe,
            retries: raw.retries.unwrap_or(CHECK_RETRIES_DEFAULT),
            interval: raw.interval.unwrap_or(CHECK_INTERVAL_DEFAULT),
            timeout: self.time_limit(raw.timeout, CHECK_TIMEOUT_DEFAULT, &path.join("timeout")),
        }
    }

    fn http(&mut self, url: String, status: Option<u16>, path: &Path) -> Probe {
        let url_path = path.join("http");
        let rest = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"));
        if rest.is_none_or(str::is_empty) || url.contains(|c: char| c.is_whitespace()) {
            self.refuse(
                &url_path,
                format!("`{url}` is no URL to ask: begin with http:// or https://"),
            );
        }
        self.placeholders(&url, &url_path);
        let status = status.unwrap_or(200);
        if !(100..=599).contains(&status) {
            self.refuse(
                &path.join("status"),
                format!("{status} is no HTTP status: write one from 100 to 599"),
            );
        }
        Probe::Http { url, status }
    }

    fn tcp(&mut self, address: String, path: &Path) -> Probe {
        let path = path.join("tcp");
        let good = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && (port.parse::<u16>().is_ok_and(|port| port > 0)
                    || !placeholder::names(port).is_empty())
        });
        if !good {
            self.refuse(
                &path,
                format!("`{address}` is no address: write HOST:PORT, like \"{{HOST}}:5432\""),
            );
        }
        self.placeholders(&address, &path);
        Probe::Tcp { address }
    }

    fn command(&mut self, command: &ProgramCommand, path: &Path) {
        match command {
            ProgramCommand::Shell(text) => {
                if text.trim().is_empty() {
                    self.refuse(path, "the command is empty: write one");
                }
                self.refuse_nul(text, path);
                for name in placeholder::names_in_shell_text(text) {
                    let problem = self.document.problem_at(
                        path,
                        &format!("{{{name}}}"),
                        format!(
                            "`{{{name}}}` is not filled in inside text for sh: write \"${name}\", \
                             the environment variable (with its quotes), or give the command as \
                             a list"
                        ),
                    );
                    self.problems.push(problem);
                }
            }
            ProgramCommand::Script(name) => self.script(name, path),
            ProgramCommand::Argv(words) => {
                if words.first().is_none_or(String::is_empty) {
                    self.refuse(path, "the command is empty: write a program first");
                }
                for (index, word) in words.iter().enumerate() {
                    let path = path.join(index);
                    self.refuse_nul(word, &path);
                    self.placeholders(word, &path);
                    if index == 0 && !placeholder::names(word).is_empty() {
                        self.refuse(
                            &path,
                            "a parameter can't choose the program: write its name out",
                        );
                    }
                }
            }
        }
    }

    fn refuse_nul(&mut self, text: &str, path: &Path) {
        if text.contains('\0') {
            self.refuse(path, "a command can't hold a NUL character: take it out");
        }
    }

    /// Checks that every placeholder is a parameter of the task.
    fn placeholders(&mut self, text: &str, path: &Path) {
        for name in placeholder::names(text) {
            if self.parameters.contains(name) {
                continue;
            }
            let known: Vec<&str> = self.parameters.iter().map(String::as_str).collect();
            let hint = match crate::domain::document::nearest(name, &known) {
                Some(nearest) => format!("did you mean {{{nearest}}}?"),
                None => "declare it in `params`".to_owned(),
            };
            let words = format!("{{{name}}}");
            let message = format!("no parameter is named {name}: {hint}");
            let problem = self.document.problem_at(path, &words, message);
            self.problems.push(problem);
        }
    }

    fn directory(&mut self, text: Option<&str>, synced: Synced, path: &Path) -> Directory {
        let path = path.join("in");
        match (text, synced) {
            (None, Synced::No) | (Some("home"), _) => Directory::Home,
            (None | Some("release"), Synced::Yes) => Directory::Release,
            (Some("release"), Synced::No) => {
                self.refuse(
                    &path,
                    "no release is on these hosts yet (and never on the `host` of a step): put \
                     `use = \"sync\"` before this step, or write `in = \"home\"`",
                );
                Directory::Home
            }
            (Some(text), _) => {
                if !text.starts_with('/') || text.contains(char::is_control) {
                    self.refuse(
                        &path,
                        format!(
                            "`{text}` is no directory: write \"release\", \"home\" or an absolute \
                             path"
                        ),
                    );
                }
                if !placeholder::names(text).is_empty() {
                    self.refuse(&path, "`in` holds no placeholders: write the path out");
                }
                Directory::Absolute(text.to_owned())
            }
        }
    }

    /// Returns a time limit, or the default; zero is refused.
    fn time_limit(&mut self, given: Option<Duration>, default: Duration, path: &Path) -> Duration {
        if given.is_some_and(|given| given.is_zero()) {
            self.refuse(
                path,
                "a time limit of 0 ends every attempt: write a longer one",
            );
        }
        given.unwrap_or(default)
    }
}

/// Whether the release exists on the hosts of this stage by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    Yes,
    No,
}
