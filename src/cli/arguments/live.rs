//! The words of `tagship live`.

use clap::Args;

use super::Form;

#[derive(Debug, Args)]
pub struct Live {
    /// Of this project only
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Of this environment only
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    #[command(flatten)]
    pub form: Form,
}
