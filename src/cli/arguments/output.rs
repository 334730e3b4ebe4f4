//! The argument of all commands that print data.

use clap::Args;

/// The output format.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputForm {
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}
