//! `tagship man`: a manual page for each command.

use std::path::Path;

use clap::CommandFactory as _;

use super::arguments::Cli;
use super::error::CommandError;

/// Writes `tagship.1`, `tagship-approve.1` and the others into a directory.
pub(crate) fn man(directory: &Path) -> Result<(), CommandError> {
    let failed = |error| CommandError::File {
        doing: "write manual pages into",
        path: directory.to_owned(),
        error,
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)
}
