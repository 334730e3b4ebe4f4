//! The commands of the verbs: one for each, except `approve`, which first reads the plan.

use clap::{Args, Subcommand};

use super::output::{FollowUp, OutputForm};
use crate::engine::request::{TaskRequest, Verb};

/// The commands whose request follows from their arguments alone.
#[derive(Clone, Debug, Subcommand)]
pub enum VerbCommand {
    #[command(about = Verb::Reject.spec().summary)]
    Reject(Reject),
    #[command(about = Verb::Withdraw.spec().summary)]
    Withdraw(Withdraw),
    #[command(about = Verb::Stop.spec().summary)]
    Stop(Stop),
    #[command(about = Verb::Skip.spec().summary)]
    Skip(Skip),
    #[command(about = Verb::Retry.spec().summary)]
    Retry(Retry),
    #[command(about = Verb::Resume.spec().summary, alias = "go")]
    Resume(Resume),
}

impl VerbCommand {
    /// Returns the task, the request on it, and what to do once it is accepted.
    #[must_use]
    pub fn request(self) -> (u64, TaskRequest, FollowUp) {
        let at_once = |form| FollowUp { wait: false, form };
        match self {
            Self::Reject(Reject { id, reason, form }) => {
                (id, TaskRequest::Reject { reason }, at_once(form))
            }
            Self::Withdraw(Withdraw { id, reason, form }) => {
                (id, TaskRequest::Withdraw { reason }, at_once(form))
            }
            Self::Stop(Stop { id, host, then }) => (id, TaskRequest::Stop { host }, then),
            Self::Skip(args) => {
                let (host, reason) = (args.host, args.reason);
                (args.id, TaskRequest::Skip { host, reason }, args.then)
            }
            Self::Retry(Retry { id, then }) => (id, TaskRequest::Retry, then),
            Self::Resume(args) => {
                let host = args.host;
                let resume = TaskRequest::Resume { host };
                let exempt = |reason| TaskRequest::OverrideFreeze { reason };
                let request = args.override_freeze.map_or(resume, exempt);
                (args.id, request, args.then)
            }
        }
    }
}

#[derive(Clone, Debug, Args)]
pub struct Retry {
    /// The task's number
    pub id: u64,
    #[command(flatten)]
    pub then: FollowUp,
}

#[derive(Clone, Debug, Args)]
pub struct Stop {
    /// The task's number
    pub id: u64,
    /// Stop only this host; the others continue
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    #[command(flatten)]
    pub then: FollowUp,
}

#[derive(Clone, Debug, Args)]
pub struct Skip {
    /// The task's number
    pub id: u64,
    /// The host to skip
    #[arg(long, value_name = "NAME")]
    pub host: String,
    /// The reason; shown in the task's history
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub then: FollowUp,
}

#[derive(Clone, Debug, Args)]
pub struct Resume {
    /// The task's number
    pub id: u64,
    /// Resume only this host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Run during a freeze, with a reason; requires the role admin
    #[arg(long, value_name = "REASON")]
    pub override_freeze: Option<String>,
    #[command(flatten)]
    pub then: FollowUp,
}

#[derive(Clone, Debug, Args)]
pub struct Reject {
    /// The task's number
    pub id: u64,
    /// The reason
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Clone, Debug, Args)]
pub struct Withdraw {
    /// The task's number
    pub id: u64,
    /// The reason
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
