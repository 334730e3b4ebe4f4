//! The words of the command line: subcommands, options and their help. Nothing here does anything.

mod find;
mod live;
mod submit;

mod templates;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use live::LiveArgs;
pub(crate) use submit::Submit;

pub(super) use self::templates::TemplatesCommand;
pub(crate) use find::{Hooks, HooksList, ListedHooks, Tasks};

use super::times::{Lifetime, WrittenTime};
use crate::domain::right::{Role, Scope};

/// Push a tag, ship it: a release agent that lives beside a git server.
#[derive(Debug, Parser)]
#[command(name = "tagship", version, propagate_version = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// The configuration [default: /etc/tagship/config.toml; `serve` also takes ./config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: CliCommand,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the agent until it is told to end (SIGTERM or SIGINT)
    Serve,
    /// Put the hook in place beside a git server
    Install(InstallArgs),
    /// Take the hook out again and put back what stood there
    Uninstall(Uninstall),
    /// Look for everything that would keep a release from working
    Check(CheckArgs),
    /// Show all of it on this machine: a git server, an agent and three hosts, below ./var/demo
    Demo(Demo),
    /// Have a task run that no push asks for
    Submit(Box<Submit>),
    /// List tasks, newest first
    Tasks(Box<Tasks>),
    /// Show one task: what it releases, where it stands, what to do next
    Show(Show),
    /// Say yes to the plan of a task
    Approve(ApproveArgs),
    /// Say no to a task
    Reject(Reject),
    /// Take a task back that has not begun
    Withdraw(Withdraw),
    /// End what a task runs
    Stop(Stop),
    /// Go on without one host
    Skip(SkipArgs),
    /// Do again what failed, was stopped or never began
    Retry(TaskArgs),
    /// Let a task go on that waits at a gate
    Go(Go),
    /// Go back to an earlier release
    Rollback(RollbackArgs),
    /// Print the output of a task's steps
    Log(LogArgs),
    /// Try rules
    #[command(subcommand)]
    Rules(Rules),
    /// See what was pushed and what became of it
    Hooks(Box<ListedHooks>),
    /// Look at templates
    #[command(subcommand)]
    Templates(TemplatesCommand),
    /// See what is live on which host
    Live(LiveArgs),
    /// Look after hosts
    #[command(subcommand)]
    Hosts(HostsCommand),
    /// Look after the people who may log in
    #[command(subcommand)]
    User(UserCommand),
    /// Look after tokens, with which programs log in
    #[command(subcommand)]
    Token(TokenCommand),
    /// List who did what, newest first
    Audit(Audit),
    /// Write everything durable into one file, while the agent runs or not
    Backup(Backup),
    /// Make the store of an agent that does not run from a backup
    Restore(Restore),
    /// Print a completion script for a shell
    Completions {
        /// The shell that is to complete
        shell: Shell,
    },
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputForm {
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct InstallArgs {
    /// The project of the configuration whose repository it is
    #[arg(long, value_name = "NAME")]
    pub project: String,
    /// The repository's directory [default: the project's `repository`, if that is a path]
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// Print a tar for `gitaly hooks set` and change nothing
    #[arg(long)]
    pub tar: bool,
    /// The hook program [default: `update` beside tagship, then ../lib/tagship/update]
    #[arg(long, value_name = "FILE")]
    pub hook: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Uninstall {
    /// The project of the configuration whose repository it is
    #[arg(long, value_name = "NAME", required_unless_present = "repo")]
    pub project: Option<String>,
    /// The repository's directory [default: the project's `repository`, if that is a path]
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Only this project and its hosts
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Approve, release and go back without a person, then end [default: only where standard input
    /// is no terminal]
    #[arg(long)]
    pub auto: bool,
    /// The hook program [default: as for `install`]
    #[arg(long, value_name = "FILE")]
    pub hook: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The task's number
    pub id: u64,
    #[command(flatten)]
    pub form: OutputForm,
}

/// How an action goes on once the agent has taken it.
#[derive(Clone, Copy, Debug, Args)]
pub struct Then {
    /// Follow the task to its end, and succeed only if it does
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Debug, Args)]
pub struct TaskArgs {
    /// The task's number
    pub id: u64,
    #[command(flatten)]
    pub then: Then,
}

#[derive(Debug, Args)]
pub struct Stop {
    /// The task's number
    pub id: u64,
    /// Only what runs on this host; the others go on
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    #[command(flatten)]
    pub then: Then,
}

#[derive(Debug, Args)]
pub struct SkipArgs {
    /// The task's number
    pub id: u64,
    /// The host without which it goes on
    #[arg(long, value_name = "NAME")]
    pub host: String,
    /// Why; shown in its history
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub then: Then,
}

#[derive(Debug, Args)]
pub struct Go {
    /// The task's number
    pub id: u64,
    /// Only on this host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Run although releases are frozen, and why; takes an admin
    #[arg(long, value_name = "REASON")]
    pub override_freeze: Option<String>,
    #[command(flatten)]
    pub then: Then,
}

#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The task's number
    pub id: u64,
    /// What to remember beside the approval
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub comment: String,
    /// Not before this time: `22:30`, `2026-11-21 22:30`, `2026-11-21T22:30+01:00` or `+2h`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub at: Option<WrittenTime>,
    /// Approve only the plan with this digest (or its beginning, 8 digits or more)
    #[arg(long, value_name = "DIGEST")]
    pub plan: Option<String>,
    /// Give every approval that is missing, and why; takes an admin, and is marked wherever the task is shown
    #[arg(long, value_name = "REASON")]
    pub emergency: Option<String>,
    #[command(flatten)]
    pub then: Then,
}

#[derive(Debug, Args)]
pub struct Reject {
    /// The task's number
    pub id: u64,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Debug, Args)]
pub struct Withdraw {
    /// The task's number
    pub id: u64,
    /// Why
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The task whose release is to be live again
    #[arg(required_unless_present_all = ["project", "environment"], conflicts_with_all = ["project", "environment"])]
    pub id: Option<u64>,
    /// With --environment: back to the good release before the live one
    #[arg(long, value_name = "NAME", requires = "environment")]
    pub project: Option<String>,
    /// The environment of --project
    #[arg(long, value_name = "NAME", requires = "project")]
    pub environment: Option<String>,
    /// Run although releases are frozen, and why; takes an admin
    #[arg(long, value_name = "REASON")]
    pub override_freeze: Option<String>,
    /// Give the approval that is missing, and why; takes an admin, and is marked wherever the task is shown
    #[arg(long, value_name = "REASON")]
    pub emergency: Option<String>,
    #[command(flatten)]
    pub then: Then,
}

#[derive(Debug, Args)]
pub struct LogArgs {
    /// The task's number
    pub id: u64,
    /// Only what was done on this host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Only this step
    #[arg(long, value_name = "NAME")]
    pub step: Option<String>,
    /// Go on until the task is at rest
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Say which rule decides on a tag, and why the others do not
    Test(RulesTest),
}

#[derive(Debug, Args)]
pub struct RulesTest {
    /// The tag: `qa-7` or `refs/tags/qa-7`
    #[arg(value_name = "REF")]
    pub reference: String,
    /// The project whose rules are tried
    #[arg(long, value_name = "NAME")]
    pub project: String,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Debug, Subcommand)]
pub enum HostsCommand {
    /// List hosts and whether they take part
    List {
        #[command(flatten)]
        form: OutputForm,
    },
    /// Look at a host's key and remember it
    Enroll(Enroll),
    /// Take a host out of releases
    Disable {
        /// The host's name in the configuration
        name: String,
        /// Why; shown wherever the host is
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Let a host take part again
    Enable {
        /// The host's name in the configuration
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct Enroll {
    /// The host's name in the configuration
    pub name: String,
    /// Remember the key only if this is its fingerprint
    #[arg(long, value_name = "SHA256:…", conflicts_with = "yes")]
    pub fingerprint: Option<String>,
    /// Remember whatever key is shown, without asking
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add somebody
    Add(AddUser),
    /// List everybody
    List {
        #[command(flatten)]
        form: OutputForm,
    },
    /// Change what somebody may do, or whether they are let in
    Set(SetUser),
    /// Take somebody away, with all their tokens
    Remove {
        /// Who
        name: String,
    },
    /// Set a new password, which ends all sessions
    Password {
        /// Whose
        name: String,
        /// Read the password from standard input, one line
        #[arg(long, required = true)]
        password_stdin: bool,
        /// It is your own: a line with the present password comes before the new one
        #[arg(long)]
        own: bool,
    },
    /// Ask for a code at every login: show a secret for an authenticator app, then confirm it
    Totp(Totp),
    /// Let somebody approve in another's stead for a while
    Delegate(DelegateArgs),
    /// List who may approve in whose stead
    Delegations {
        #[command(flatten)]
        form: OutputForm,
    },
    /// End a delegation before its time
    Undelegate {
        /// In whose stead
        from: String,
        /// Its id, as `user delegations` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct Totp {
    /// Whose
    pub name: String,
    /// A code that the app shows: puts the second factor in force
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Take the second factor away: one's own with --code, another's as an admin
    #[arg(long)]
    pub reset: bool,
}

#[derive(Debug, Args)]
pub struct DelegateArgs {
    /// In whose stead
    pub from: String,
    /// Who may approve
    pub to: String,
    /// When it ends: `"2026-11-30 18:00"`, `2026-11-30T18:00+01:00` or `+72h`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: WrittenTime,
    /// Only in this project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
}

#[derive(Debug, Args)]
pub struct AddUser {
    /// What they log in with
    pub name: String,
    /// What they may do: none (only what is granted), viewer, submitter, approver or admin
    #[arg(long, value_name = "ROLE")]
    pub role: Role,
    /// What people call them [default: the name]
    #[arg(long, value_name = "TEXT")]
    pub display: Option<String>,
    /// A group that approvals can ask for, without `@`; may be given several times
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
    /// Read the password from standard input, one line; without it they use tokens only
    #[arg(long)]
    pub password_stdin: bool,
}

#[derive(Debug, Args)]
pub struct SetUser {
    /// Who
    pub name: String,
    /// What they may do: none (only what is granted), viewer, submitter, approver or admin
    #[arg(long, value_name = "ROLE")]
    pub role: Option<Role>,
    /// What people call them
    #[arg(long, value_name = "TEXT")]
    pub display: Option<String>,
    /// A group that they are in, without `@`; may be given several times; all others are left
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
    /// Leave all groups
    #[arg(long, conflicts_with = "groups")]
    pub no_groups: bool,
    /// Let them in no more, by password, session or token
    #[arg(long)]
    pub disable: bool,
    /// Let them in again
    #[arg(long, conflicts_with = "disable")]
    pub enable: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Audit {
    #[command(subcommand)]
    pub what: Option<AuditWhat>,
    /// Only entries with a lower number: the page after this one
    #[arg(long, value_name = "NUMBER")]
    pub before: Option<u64>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=200))]
    pub limit: u64,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Debug, Subcommand)]
pub enum AuditWhat {
    /// See whether each entry fits the one before, and name the first that does not
    Verify {
        #[command(flatten)]
        form: OutputForm,
    },
}

#[derive(Debug, Args)]
pub struct Backup {
    /// The file, which is written whole and then put in place; `-` is standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Leave out the output of steps, where `data_dir/logs` is copied by other means
    #[arg(long)]
    pub without_logs: bool,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Put it in the place of the store that stands there, which is kept beside
    #[arg(long)]
    pub replace: bool,
    /// The number of the next task [default: above all that can have been given out since]
    #[arg(long, value_name = "ID")]
    pub next_id: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once, on the last line
    New {
        /// For whom it speaks
        user: String,
        /// For how long it is good: `90d`, `12h` [default: until it is revoked]
        #[arg(long, value_name = "DURATION")]
        expires: Option<Lifetime>,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "command line")]
        label: String,
        /// What it may be used for: read, submit, approve or admin; may be given several times
        /// [default: all that you may]
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
    },
    /// List somebody's tokens
    List {
        /// Whose
        user: String,
        #[command(flatten)]
        form: OutputForm,
    },
    /// End a token
    Revoke {
        /// Whose
        user: String,
        /// Its id, as `token list` shows it
        id: String,
    },
}
