//! The arguments of `tagship live` and `tagship status`.

use clap::Args;

use super::OutputForm;

#[derive(Debug, Args)]
pub struct LiveArgs {
    /// List only this project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// List only this environment
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show only this project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Show only this environment
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    #[command(flatten)]
    pub form: OutputForm,
}
