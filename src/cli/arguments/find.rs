//! The arguments of lists: tasks, and the hook log.

use clap::{Args, Subcommand};

use super::OutputForm;
use crate::domain::document;
use crate::domain::task::STATE_NAMES;
use crate::store::{OUTCOME_NAMES, SEARCHED};

#[derive(Debug, Args)]
pub struct Tasks {
    /// List only tasks in this state
    #[arg(long, value_name = "STATE", value_parser = state_name)]
    pub state: Option<String>,
    /// List only tasks of this project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// List only tasks of this environment
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// List only the task with this number
    #[arg(long, value_name = "ID")]
    pub id: Option<u64>,
    /// List only tasks of this template
    #[arg(long, value_name = "NAME")]
    pub template: Option<String>,
    /// List only tasks that this user submitted
    #[arg(long, value_name = "NAME")]
    pub submitter: Option<String>,
    /// List only tasks that this user approved
    #[arg(long, value_name = "NAME")]
    pub approver: Option<String>,
    /// List only tasks whose tag starts with this
    #[arg(long, value_name = "TEXT")]
    pub tag: Option<String>,
    #[arg(long, value_name = "TEXT", help = format!(
        "List only tasks that contain all these words in {SEARCHED}; 7 digits or more also match \
         the beginning of a commit's hash"
    ))]
    pub words: Option<String>,
    /// List only tasks created since: `2026-11-21`, `2026-11-21T18:04` or with an offset
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// List only tasks created until then; a date includes the whole day
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Continue the previous list from its cursor
    #[arg(long, value_name = "CURSOR", conflicts_with = "before")]
    pub cursor: Option<String>,
    /// List only tasks before this number (the next page)
    #[arg(long, value_name = "ID")]
    pub before: Option<u64>,
    /// The maximum number of entries
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    #[command(flatten)]
    pub form: OutputForm,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ListedHooks {
    #[command(subcommand)]
    pub what: Option<Hooks>,
    #[command(flatten)]
    pub list: HooksList,
}

#[derive(Debug, Subcommand)]
pub enum Hooks {
    /// List pushes, newest first
    List(HooksList),
    /// Show a push: refs, pusher, outcome and reason
    Show {
        /// The entry's number
        id: u64,
        #[command(flatten)]
        form: OutputForm,
    },
    /// Replay a push by the current rules
    Replay {
        /// The entry's number
        id: u64,
        #[command(flatten)]
        form: OutputForm,
    },
}

#[derive(Debug, Args)]
pub struct HooksList {
    /// List only pushes to this project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// List only refs whose names contain this
    #[arg(long = "ref", value_name = "TEXT")]
    pub reference: Option<String>,
    /// List only pushes by this user
    #[arg(long, value_name = "NAME")]
    pub pusher: Option<String>,
    /// List only this outcome: `proposed`, `joined`, `no-rule`, …
    #[arg(long, value_name = "OUTCOME", value_parser = outcome_name)]
    pub outcome: Option<String>,
    /// List only pushes since: `2026-11-21`, `2026-11-21T18:04` or with an offset
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// List only pushes until then; a date includes the whole day
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Continue the previous list from its cursor
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// The maximum number of entries
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    #[command(flatten)]
    pub form: OutputForm,
}

/// Parses the name of a state; `rolling back` is `rolling-back`.
fn state_name(text: &str) -> Result<String, String> {
    one_of(text, "states", &STATE_NAMES)
}

/// Parses the name of an outcome; `no rule` is `no-rule`.
fn outcome_name(text: &str) -> Result<String, String> {
    one_of(text, "outcomes", &OUTCOME_NAMES)
}

/// # Errors
/// Names the nearest one and all others.
fn one_of(text: &str, what: &str, names: &[&str]) -> Result<String, String> {
    let name = text.trim().to_lowercase().replace([' ', '_'], "-");
    if names.contains(&name.as_str()) {
        return Ok(name);
    }
    let all = names.join(", ");
    Err(match document::nearest(&name, names) {
        Some(nearest) => format!("did you mean {nearest}? The {what} are {all}"),
        None => format!("the {what} are {all}"),
    })
}
