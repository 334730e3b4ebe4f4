//! `tagship templates …`.

use std::path::PathBuf;

use clap::Subcommand;

use super::OutputForm;

#[derive(Debug, Subcommand)]
pub enum TemplatesCommand {
    /// List the templates
    List {
        #[command(flatten)]
        form: OutputForm,
    },
    /// Show a template: stages, parameters, text and versions that tasks used
    Show {
        /// The template's name or number
        name: String,
        #[command(flatten)]
        form: OutputForm,
    },
    /// Validate a template's file; without FILE, all templates
    Validate {
        /// The file
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        form: OutputForm,
    },
}
