//! The arguments of all commands that print data or make a request.

use clap::Args;

/// The output format.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputForm {
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// What to do after the agent has accepted an action.
#[derive(Clone, Copy, Debug, Args)]
pub struct FollowUp {
    /// Follow the task until it ends; exit 0 only if it succeeds
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub form: OutputForm,
}
