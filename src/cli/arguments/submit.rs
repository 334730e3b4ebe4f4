//! The arguments of `tagship submit`.

use clap::Args;

use crate::cli::times::WrittenTime;

#[derive(Debug, Args)]
pub struct Submit {
    /// Name or number of the template
    #[arg(required_unless_present_any = ["json", "repeat"], conflicts_with = "json")]
    pub template: Option<String>,
    /// A parameter of the template; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", conflicts_with = "json")]
    pub params: Vec<String>,
    /// A secret parameter, read from a file or from standard input
    #[arg(long = "secret", value_name = "NAME[=FILE]", conflicts_with = "json")]
    pub secrets: Vec<String>,
    /// Hosts of stage N, by name or address; may be repeated
    #[arg(long, value_name = "N=HOST,…", conflicts_with = "json")]
    pub hosts: Vec<String>,
    /// The project, if the template releases a tag or runs in an environment
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    pub project: Option<String>,
    /// The environment of the project [default: from the tag's rule or the hosts]
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    pub environment: Option<String>,
    /// The tag to release
    #[arg(long, value_name = "TAG", conflicts_with = "json")]
    pub tag: Option<String>,
    /// Start no earlier than: `22:30`, `2026-11-21 22:30`, `2026-11-21T22:30+01:00` or `+2h`
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        conflicts_with = "json"
    )]
    pub at: Option<WrittenTime>,
    /// Run without approval; requires the role approver there
    #[arg(long, conflicts_with = "json")]
    pub ready: bool,
    /// The title
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    pub title: Option<String>,
    /// Remarks for approvers
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    pub details: Option<String>,
    /// A user to ask for approval; may be repeated
    #[arg(long = "approver", value_name = "NAME", conflicts_with = "json")]
    pub approvers: Vec<String>,
    /// An idempotency key: repeated requests with it create one task
    #[arg(long, value_name = "KEY", conflicts_with = "json")]
    pub key: Option<String>,
    /// Copy an earlier task except its time and secrets; other options override
    #[arg(long, value_name = "ID", conflicts_with = "json")]
    pub repeat: Option<u64>,
    /// Read the body of `POST /api/v1/tasks` from a file (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
    /// Print only the task's number
    #[arg(long, conflicts_with = "wait")]
    pub id: bool,
    /// Follow the task until it ends; exit 0 only if it succeeds
    #[arg(long)]
    pub wait: bool,
}
