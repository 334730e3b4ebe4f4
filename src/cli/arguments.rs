//! The grammar of the command line: subcommands, options and their help. Nothing here does anything.

mod color;
mod find;
mod live;
mod output;
mod submit;
mod templates;
mod verb;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use color::{ColorWhen, unparsed as unparsed_color};
pub(crate) use live::{LiveArgs, StatusArgs};
pub(crate) use output::{FollowUp, OutputForm};
pub(crate) use submit::Submit;
pub(crate) use verb::{Resume, VerbCommand};

pub(super) use self::templates::TemplatesCommand;
pub(crate) use find::{Hooks, HooksList, ListedHooks, Tasks};

use super::times::{Lifetime, WrittenTime};
use crate::domain::permission::{Role, Scope};
use crate::engine::request::Verb;

/// Push a tag, ship it: a release agent that lives beside a git server.
#[derive(Debug, Parser)]
#[command(name = "tagship", version, propagate_version = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// The configuration [default: /etc/tagship/config.toml; `serve` also takes ./config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// When states are coloured; `auto`: on a terminal, unless `NO_COLOR` is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,
    #[command(subcommand)]
    pub command: CliCommand,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the agent until SIGTERM or SIGINT
    Serve,
    /// Install the hook in a repository of a git server
    Install(InstallArgs),
    /// Remove the hook and restore the one that was there before
    Uninstall(Uninstall),
    /// Check everything that a release needs
    Check(CheckArgs),
    /// Run a demo on this machine: a git server, an agent and three hosts, below ./var/demo
    Demo(Demo),
    /// Submit a task manually
    Submit(Box<Submit>),
    /// Show the board: what waits for you, what runs, what is live, and what has ended
    Status(StatusArgs),
    /// List tasks, newest first
    Tasks(Box<Tasks>),
    /// Show a task: changes, progress, and what to do next
    Show(Show),
    #[command(about = Verb::Approve.spec().summary)]
    Approve(ApproveArgs),
    #[command(flatten)]
    Verb(VerbCommand),
    /// Roll back to an earlier release
    Rollback(RollbackArgs),
    /// Print the output of a task's steps
    Log(LogArgs),
    /// Test rules
    #[command(subcommand)]
    Rules(Rules),
    /// List and show pushes, and what they started
    Hooks(Box<ListedHooks>),
    /// List, show and validate templates
    #[command(subcommand)]
    Templates(TemplatesCommand),
    /// List the live release of each host
    Live(LiveArgs),
    /// Manage hosts
    #[command(subcommand)]
    Hosts(HostsCommand),
    /// Manage users
    #[command(subcommand)]
    User(UserCommand),
    /// Manage API tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// List the audit log, newest first
    Audit(Audit),
    /// Back up the store into one file; the agent may run
    Backup(Backup),
    /// Restore the store from a backup; the agent must not run
    Restore(Restore),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages of all commands
    Man {
        /// The directory, which is created if it is missing
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct InstallArgs {
    /// The project whose repository it is, as named in the configuration
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
    /// The project whose repository it is, as named in the configuration
    #[arg(long, value_name = "NAME", required_unless_present = "repo")]
    pub project: Option<String>,
    /// The repository's directory [default: the project's `repository`, if that is a path]
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Check only this project and its hosts
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Approve, release and roll back without a person, then exit [default: only where standard input
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

#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The task's number
    pub id: u64,
    /// A comment to record with the approval
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub comment: String,
    /// Start no earlier than: `22:30`, `2026-11-21 22:30`, `2026-11-21T22:30+01:00` or `+2h`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub at: Option<WrittenTime>,
    /// Approve only the plan with this digest (or a prefix of 8 digits or more)
    #[arg(long, value_name = "DIGEST")]
    pub plan: Option<String>,
    /// Give every missing approval, with a reason; requires the role admin, and is marked in the audit log
    #[arg(long, value_name = "REASON")]
    pub emergency: Option<String>,
    #[command(flatten)]
    pub then: FollowUp,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "tagship rollback [OPTIONS] <ID>\n       tagship rollback [OPTIONS] --project <NAME> --environment <NAME> [--to <RELEASE>]"
)]
pub struct RollbackArgs {
    /// The task whose release to make live again
    #[arg(required_unless_present = "project", conflicts_with_all = ["project", "environment"])]
    pub id: Option<u64>,
    /// The project; with --environment, roll back to what was live before the live release
    #[arg(long, value_name = "NAME", requires = "environment")]
    pub project: Option<String>,
    /// The environment of --project
    #[arg(long, value_name = "NAME", requires = "project")]
    pub environment: Option<String>,
    /// With --project and --environment, roll back to this release, also one that another tool left live
    #[arg(
        long,
        value_name = "RELEASE",
        requires = "project",
        conflicts_with = "id"
    )]
    pub to: Option<String>,
    /// Run during a freeze, with a reason; requires the role admin
    #[arg(long, value_name = "REASON")]
    pub override_freeze: Option<String>,
    /// Give every missing approval, with a reason; requires the role admin, and is marked in the audit log
    #[arg(long, value_name = "REASON")]
    pub emergency: Option<String>,
    #[command(flatten)]
    pub then: FollowUp,
}

#[derive(Debug, Args)]
pub struct LogArgs {
    /// The task's number
    pub id: u64,
    /// Print only the output of this host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Print only the output of this step
    #[arg(long, value_name = "NAME")]
    pub step: Option<String>,
    /// Follow the output until the task ends
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Show which rule matches a tag, and why the others do not
    Test(RulesTest),
}

#[derive(Debug, Args)]
pub struct RulesTest {
    /// The tag: `qa-7` or `refs/tags/qa-7`
    #[arg(value_name = "REF")]
    pub reference: String,
    /// The project whose rules to test
    #[arg(long, value_name = "NAME")]
    pub project: String,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Debug, Subcommand)]
pub enum HostsCommand {
    /// List hosts and whether they take part in releases
    List {
        #[command(flatten)]
        form: OutputForm,
    },
    /// Fetch a host's key and add it to `known_hosts`
    Enroll(Enroll),
    /// Exclude a host from releases
    Disable {
        /// The host's name in the configuration
        name: String,
        /// The reason; shown with the host
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Include a host in releases again
    Enable {
        /// The host's name in the configuration
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct Enroll {
    /// The host's name in the configuration
    pub name: String,
    /// Add the key only if it has this fingerprint
    #[arg(long, value_name = "SHA256:…", conflicts_with = "yes")]
    pub fingerprint: Option<String>,
    /// Add the key without asking
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user
    Add(AddUser),
    /// List users
    List {
        #[command(flatten)]
        form: OutputForm,
    },
    /// Change a user's role, groups or access
    Set(SetUser),
    /// Remove a user and all their tokens
    Remove {
        /// The user's name
        name: String,
    },
    /// Set a password; ends all sessions of the user
    Password {
        /// The user's name
        name: String,
        /// Read the password from standard input, one line
        #[arg(long, required = true)]
        password_stdin: bool,
        /// Change your own: standard input has the current password in the line before the new one
        #[arg(long)]
        own: bool,
    },
    /// Enable a second factor: print a secret for an authenticator app, then confirm it with --code
    Totp(Totp),
    /// Delegate approvals to another user for a limited time
    Delegate(DelegateArgs),
    /// List delegations
    Delegations {
        #[command(flatten)]
        form: OutputForm,
    },
    /// End a delegation early
    Undelegate {
        /// The user who delegates
        from: String,
        /// The delegation's id, from `user delegations`
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct Totp {
    /// The user's name
    pub name: String,
    /// A code from the app; enables the second factor
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Remove the second factor: your own with --code, another user's as an admin
    #[arg(long)]
    pub reset: bool,
}

#[derive(Debug, Args)]
pub struct DelegateArgs {
    /// The user who delegates
    pub from: String,
    /// The user who may approve
    pub to: String,
    /// The end: `"2026-11-30 18:00"`, `2026-11-30T18:00+01:00` or `+72h`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: WrittenTime,
    /// Limit the delegation to this project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
}

#[derive(Debug, Args)]
pub struct AddUser {
    /// The login name
    pub name: String,
    /// The role: none (only grants count), viewer, submitter, approver or admin
    #[arg(long, value_name = "ROLE")]
    pub role: Role,
    /// The display name [default: the login name]
    #[arg(long, value_name = "TEXT")]
    pub display: Option<String>,
    /// A group, without `@`, that rules can require; may be repeated
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
    /// Read the password from standard input, one line; without it the user has tokens only
    #[arg(long)]
    pub password_stdin: bool,
}

#[derive(Debug, Args)]
pub struct SetUser {
    /// The user's name
    pub name: String,
    /// The role: none (only grants count), viewer, submitter, approver or admin
    #[arg(long, value_name = "ROLE")]
    pub role: Option<Role>,
    /// The display name
    #[arg(long, value_name = "TEXT")]
    pub display: Option<String>,
    /// A group, without `@`; may be repeated; replaces the present groups
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
    /// Remove the user from all groups
    #[arg(long, conflicts_with = "groups")]
    pub no_groups: bool,
    /// Disable the user: refuse password, sessions and tokens
    #[arg(long)]
    pub disable: bool,
    /// Enable the user again
    #[arg(long, conflicts_with = "disable")]
    pub enable: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Audit {
    #[command(subcommand)]
    pub what: Option<AuditCommand>,
    /// List only entries below this number (the next page)
    #[arg(long, value_name = "NUMBER")]
    pub before: Option<u64>,
    /// The maximum number of entries
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=200))]
    pub limit: u64,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Verify the chain of entries, and name the first broken one
    Verify {
        #[command(flatten)]
        form: OutputForm,
    },
}

#[derive(Debug, Args)]
pub struct Backup {
    /// The file, written atomically; `-` is standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Exclude the output of steps (`data_dir/logs`)
    #[arg(long)]
    pub without_logs: bool,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// The backup file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Replace an existing store, which is kept beside the new one
    #[arg(long)]
    pub replace: bool,
    /// The number of the next task [default: above every number that may be in use]
    #[arg(long, value_name = "ID")]
    pub next_id: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token and print it, once, on the last line
    New {
        /// The user of the token
        user: String,
        /// The lifetime: `90d`, `12h` [default: until it is revoked]
        #[arg(long, value_name = "DURATION")]
        expires: Option<Lifetime>,
        /// A label that says what the token is for
        #[arg(long, value_name = "TEXT", default_value = "command line")]
        label: String,
        /// A scope: read, submit, approve or admin; may be repeated
        /// [default: all that your role allows]
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
    },
    /// List a user's tokens
    List {
        /// The user's name
        user: String,
        #[command(flatten)]
        form: OutputForm,
    },
    /// Revoke a token
    Revoke {
        /// The user's name
        user: String,
        /// The token's id, from `token list`
        id: String,
    },
}
