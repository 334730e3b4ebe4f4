//! `tagship templates …`.

use std::path::PathBuf;

use clap::Subcommand;

use super::OutputForm;

#[derive(Debug, Subcommand)]
pub enum TemplatesCommand {
    /// List the templates that tasks can ask for
    List {
        #[command(flatten)]
        form: OutputForm,
    },
    /// Show one template: stages, parameters, text, versions that tasks used
    Show {
        /// Its name or number
        name: String,
        #[command(flatten)]
        form: OutputForm,
    },
    /// Say what is wrong with a template's file; without FILE, with all of them
    Validate {
        /// The file
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        form: OutputForm,
    },
}
