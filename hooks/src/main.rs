//! The `update` hook: sees each ref of each push, records tags that match a rule in the spool for
//! the agent, and prints to the pusher what will happen.
//!
//! It opens no network connection, starts no process and peels no tag. git (or Gitaly, Gitea,
//! gitolite) calls it as `update REF OLD NEW`; `tagship install` and `tagship check` call it as
//! `update --version` and `update --check`. Exit 0: git may write the ref; 1: it must not. It never
//! panics if the pusher disconnects, and ends within two seconds, however slow the disk.

mod deadline;
mod message;
mod process;

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use tagship_hook::VERSION;
use tagship_hook::origin::{PushOrigin, Server};
use tagship_hook::pusher::{Pusher, Pushers, key_of_login};
use tagship_hook::rule::{Decision, FORMAT, OnSpoolError, RuleSet, RulesFile, TAGS};
use tagship_hook::settings::Settings;
use tagship_hook::spool::{self, Record, RecordId};

use crate::deadline::Deadline;
use crate::message::{PusherAccount, PusherMessage, shown};

/// The size limit of sshd's login information: one line for each method used.
const LOGIN_BYTES_MAX: u64 = 64 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let (program, arguments) = match arguments.split_first() {
        Some((program, rest)) => (program.as_os_str(), rest),
        None => (OsStr::new(""), [].as_slice()),
    };
    let gitolite = std::env::var_os("GL_REPO").is_some();
    match arguments {
        [only] if only == "--version" => {
            message::print(&format!("tagship-hook {VERSION} (format {FORMAT})\n"));
            ExitCode::SUCCESS
        }
        [only] if only == "--check" => check(program),
        [reference, _, _, more @ ..] if more.is_empty() || gitolite => {
            // First, before reading anything: most refs are branches.
            if !reference.as_bytes().starts_with(TAGS.as_bytes()) {
                return ExitCode::SUCCESS;
            }
            Push::new(program).update(reference, &arguments[1], &arguments[2])
        }
        _ => {
            let mut message =
                PusherMessage::new(PushOrigin::new(|name| std::env::var(name).ok()).server);
            message.add_line(&format!(
                "called with {} arguments; git's update hook takes three: REF OLD NEW",
                arguments.len()
            ));
            message.refuse("the hook was not called as git's update hook");
            message.flush();
            ExitCode::FAILURE
        }
    }
}

/// Checks that the settings are valid and this user can write a record, for `tagship check`.
fn check(program: &OsStr) -> ExitCode {
    let result = Settings::find(program)
        .map_err(|error| error.to_string())
        .and_then(|settings| {
            let spool = &settings.spool_dir;
            spool::probe(spool)
                .and_then(|()| spool::read_rules(spool, "-"))
                .map(|_| format!("spool {} can be written\n", spool.display()))
                .map_err(|error| error.to_string())
        });
    match result {
        Ok(text) => {
            message::print(&text);
            ExitCode::SUCCESS
        }
        Err(text) => {
            message::print_error(&format!("tagship: {text}\n"));
            ExitCode::FAILURE
        }
    }
}

/// One run of the hook for a tag.
struct Push<'a> {
    program: &'a OsStr,
    origin: PushOrigin,
    /// The public key of the login at a plain server; empty if unknown.
    ssh_key: String,
    message: PusherMessage,
    deadline: Deadline,
    policy: OnSpoolError,
}

/// Why a tag cannot be recorded; the policy decides about the ref.
struct HandOverError(String);

impl<'a> Push<'a> {
    fn new(program: &'a OsStr) -> Self {
        let origin = PushOrigin::new(|name| std::env::var(name).ok());
        Self {
            program,
            message: PusherMessage::new(origin.server),
            deadline: Deadline::start(origin.server),
            origin,
            ssh_key: String::new(),
            policy: OnSpoolError::default(),
        }
    }

    /// Finds out about the pusher, as far as the settings trust the environment.
    fn identify(&mut self, settings: Option<&Settings>) {
        if let Some(settings) = settings {
            self.origin = self.origin.clone().with_settings(settings);
            self.message = PusherMessage::new(self.origin.server);
        }
        if self.origin.server == Server::Plain {
            self.ssh_key = login_key().unwrap_or_default();
        }
        if self.origin.pusher.is_empty() {
            // If the server names no pusher, the system user is the best hint.
            self.origin.pusher = own_number().map_or_else(String::new, Pusher::system);
        }
    }

    fn update(mut self, reference: &OsStr, old: &OsStr, new: &OsStr) -> ExitCode {
        let code =
            match self.write_record(reference, &old.to_string_lossy(), &new.to_string_lossy()) {
                Ok(code) => code,
                Err(HandOverError(reason)) => self.fail(reference, &reason),
            };
        self.message.flush();
        code
    }

    fn write_record(
        &mut self,
        reference: &OsStr,
        old: &str,
        new: &str,
    ) -> Result<ExitCode, HandOverError> {
        let settings = Settings::find(self.program);
        self.identify(settings.as_ref().ok());
        if self.origin.server != Server::Plain && self.origin.keys.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let settings = settings.map_err(HandOverError::because)?;
        self.set_policy(settings.on_spool_error.unwrap_or_default());
        let Some(rules) = self.rules(&settings)? else {
            return Ok(ExitCode::SUCCESS);
        };
        self.set_policy(settings.on_spool_error.unwrap_or(rules.on_spool_error));
        let page = rules.page.clone();
        self.message.approver = self.approver(rules.pushers.as_ref());
        let repository = rules.repository.clone();
        let sets = rules.rule_sets();
        let mut found = Found::default();
        for set in &sets {
            let decision = set
                .decide(reference.as_bytes(), old, new)
                .map_err(HandOverError::because)?;
            if let (Decision::Matched { tag, .. }, false) = (&decision, found.matches) {
                self.message.moved(tag, old, new);
            }
            if let Some(code) = self.report(set, &decision, &page, &mut found) {
                return Ok(code);
            }
        }
        if found.matches {
            self.record(&settings, repository, reference, old, new)?;
        } else if !tagship_hook::rule::is_zero(new) {
            self.message.unmatched(found.tag.unwrap_or_default(), &sets);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Returns the pusher's account, as the agent will see it.
    fn approver(&self, pushers: Option<&Pushers>) -> PusherAccount {
        let (Some(pushers), Some(owner)) = (pushers, own_number()) else {
            return PusherAccount::NotReported;
        };
        let pusher =
            Pusher::from_record(&self.origin.pusher, &self.ssh_key, owner, pushers.git_user);
        match pushers.account(&pusher) {
            Some(account) => PusherAccount::Known(account.to_owned()),
            None => PusherAccount::Unknown(shown(&pusher_name(&pusher))),
        }
    }

    /// Returns the rules of the repository, published under any of its keys.
    fn rules(&self, settings: &Settings) -> Result<Option<RulesFile>, HandOverError> {
        let own = settings.repository.as_slice();
        let keys = if own.is_empty() {
            &self.origin.keys
        } else {
            own
        };
        if keys.is_empty() {
            return Err(HandOverError(
                "the hook's settings name no repository; add repository = \"NAME\" or run tagship install again".to_owned(),
            ));
        }
        for key in keys {
            let rules = spool::read_rules(&settings.spool_dir, key);
            if let Some(rules) = rules.map_err(HandOverError::because)? {
                return Ok(Some(rules));
            }
        }
        Ok(None)
    }

    /// Prints one project's decision; returns an exit code if no other project matters.
    fn report<'t>(
        &mut self,
        set: &RuleSet,
        decision: &Decision<'t>,
        page: &str,
        found: &mut Found<'t>,
    ) -> Option<ExitCode> {
        match decision {
            Decision::NotATag => return Some(ExitCode::SUCCESS),
            Decision::NotUtf8 => {
                self.message
                    .add_line("the tag's name is not UTF-8; it is never released");
                return Some(ExitCode::SUCCESS);
            }
            Decision::UnsafeName => {
                self.message.add_line(
                    "the tag's name is too long or holds a control character; it is never released",
                );
                return Some(ExitCode::SUCCESS);
            }
            Decision::Malformed(reason) => {
                self.message.add_line(&format!(
                    "the hook was not called as git calls it: {reason}"
                ));
                self.message
                    .refuse("the hook was not called as git's update hook");
                return Some(ExitCode::FAILURE);
            }
            Decision::NoRule { tag } => found.tag = Some(tag),
            Decision::Matched { tag, index, rule } => {
                found.matches = true;
                self.message.matched(set.project(), tag, *index, rule, page);
            }
            Decision::Deleted { tag, index, rule } => {
                found.matches = true;
                self.message.deleted(set.project(), tag, *index, rule);
            }
        }
        None
    }

    fn record(
        &mut self,
        settings: &Settings,
        repository: String,
        reference: &OsStr,
        old: &str,
        new: &str,
    ) -> Result<(), HandOverError> {
        let record = Record {
            format: FORMAT,
            id: RecordId::random()
                .map_err(|error| HandOverError(format!("cannot read /dev/urandom: {error}")))?,
            repository,
            reference: reference.to_string_lossy().into_owned(),
            old: old.to_owned(),
            new: new.to_owned(),
            pusher: std::mem::take(&mut self.origin.pusher),
            ssh_key: std::mem::take(&mut self.ssh_key),
            time: milliseconds(),
            push: process::push(),
        };
        spool::write(&settings.spool_dir, &record).map_err(HandOverError::because)?;
        self.deadline.recorded();
        Ok(())
    }

    fn set_policy(&mut self, policy: OnSpoolError) {
        self.policy = policy;
        self.deadline.on_expiry(policy);
    }

    fn fail(&mut self, reference: &OsStr, reason: &str) -> ExitCode {
        let name = reference.to_string_lossy();
        let tag = shown(name.strip_prefix(TAGS).unwrap_or(&name));
        // Earlier messages referred to a record that does not exist.
        self.message.discard();
        self.message
            .add_line(&format!("{tag} could not be handed over: {reason}"));
        match self.policy {
            OnSpoolError::Reject => {
                self.message.add_line(&format!(
                    "{tag} is refused, so that it is not lost; push it again when this is fixed"
                ));
                self.message
                    .refuse(&format!("{tag} could not be handed over: {reason}"));
                ExitCode::FAILURE
            }
            OnSpoolError::Accept => {
                self.message.add_line(&format!(
                    "{tag} is accepted, and nothing will be released unless a user runs: tagship submit"
                ));
                ExitCode::SUCCESS
            }
        }
    }
}

impl HandOverError {
    fn because(error: impl std::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// The combined decisions of the repository's projects.
#[derive(Default)]
struct Found<'a> {
    matches: bool,
    tag: Option<&'a str>,
}

/// Returns the user ID of this process.
fn own_number() -> Option<u32> {
    std::fs::metadata("/proc/self").ok().map(|own| own.uid())
}

/// Names the pusher: a system user by name, if this machine has one for the number.
fn pusher_name(pusher: &Pusher<'_>) -> String {
    let Pusher::System(number) = pusher else {
        return pusher.to_string();
    };
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(*number)).then_some(name)
    });
    name.map_or_else(|| pusher.to_string(), |name| format!("system user {name}"))
}

/// Returns the public key of this login, if sshd exposes it (`ExposeAuthInfo yes`).
fn login_key() -> Option<String> {
    let path = std::env::var_os("SSH_USER_AUTH")?;
    // Regular files only: others could block a reader.
    std::fs::metadata(&path).ok()?.is_file().then_some(())?;
    let mut info = String::new();
    let file = std::fs::File::open(&path).ok()?;
    file.take(LOGIN_BYTES_MAX).read_to_string(&mut info).ok()?;
    key_of_login(&info)
}

/// Returns the system time; it is only a hint, so the hook takes no clock.
fn milliseconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}
