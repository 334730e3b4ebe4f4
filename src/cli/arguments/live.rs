//! The words of `tagship live`.

use clap::Args;

use super::OutputForm;

#[derive(Debug, Args)]
pub struct LiveArgs {
    /// Of this project only
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Of this environment only
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    #[command(flatten)]
    pub form: OutputForm,
}
