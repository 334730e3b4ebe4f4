//! The words of `tagship submit`.

use clap::Args;

use crate::cli::times::WrittenTime;

#[derive(Debug, Args)]
pub struct Submit {
    /// Name or number of the template
    #[arg(required_unless_present_any = ["json", "repeat"], conflicts_with = "json")]
    pub template: Option<String>,
    /// A parameter of the template; may be given several times
    #[arg(long = "param", value_name = "NAME=VALUE", conflicts_with = "json")]
    pub params: Vec<String>,
    /// A parameter that is shown to nobody: read from a file, or from standard input
    #[arg(long = "secret", value_name = "NAME[=FILE]", conflicts_with = "json")]
    pub secrets: Vec<String>,
    /// Hosts for a stage of the template, by name or address; may be given several times
    #[arg(long, value_name = "N=HOST,…", conflicts_with = "json")]
    pub hosts: Vec<String>,
    /// The project, where the template releases something or runs in an environment
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    pub project: Option<String>,
    /// The environment of the project [default: what the tag's rule or the hosts say]
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    pub environment: Option<String>,
    /// The tag to release
    #[arg(long, value_name = "TAG", conflicts_with = "json")]
    pub tag: Option<String>,
    /// Not before this time: `22:30`, `2026-11-21 22:30`, `2026-11-21T22:30+01:00` or `+2h`
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        conflicts_with = "json"
    )]
    pub at: Option<WrittenTime>,
    /// Run it without waiting for approval; takes the role approver there
    #[arg(long, conflicts_with = "json")]
    pub ready: bool,
    /// What people will call it
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    pub title: Option<String>,
    /// Remarks
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    pub details: Option<String>,
    /// An account that is asked to approve; may be given several times
    #[arg(long = "approver", value_name = "NAME", conflicts_with = "json")]
    pub approvers: Vec<String>,
    /// Idempotency key: asked again with the same one, it is still one task
    #[arg(long, value_name = "KEY", conflicts_with = "json")]
    pub key: Option<String>,
    /// As an earlier task, but for its time and its secrets; other options change it
    #[arg(long, value_name = "ID", conflicts_with = "json")]
    pub repeat: Option<u64>,
    /// Read all of it from a file (`-`: standard input), as `POST /api/v1/tasks` takes it
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
    /// Print the task's number and nothing else
    #[arg(long, conflicts_with = "wait")]
    pub id: bool,
    /// Follow the task to its end, and succeed only if it does
    #[arg(long)]
    pub wait: bool,
}
