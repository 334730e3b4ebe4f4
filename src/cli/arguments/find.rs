//! What lists take: tasks, and the hook log.

use clap::{Args, Subcommand};

use super::OutputForm;
use crate::domain::document;
use crate::domain::task::STATE_NAMES;
use crate::store::OUTCOME_NAMES;

#[derive(Debug, Args)]
pub struct Tasks {
    /// Only tasks in this state
    #[arg(long, value_name = "STATE", value_parser = state_name)]
    pub state: Option<String>,
    /// Only tasks of this project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Only tasks of this environment
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Only the task of this number
    #[arg(long, value_name = "ID")]
    pub id: Option<u64>,
    /// Only tasks of this template
    #[arg(long, value_name = "NAME")]
    pub template: Option<String>,
    /// Only tasks that this person submitted
    #[arg(long, value_name = "NAME")]
    pub submitter: Option<String>,
    /// Only tasks that this person approved
    #[arg(long, value_name = "NAME")]
    pub approver: Option<String>,
    /// Only tags that begin so
    #[arg(long, value_name = "TEXT")]
    pub tag: Option<String>,
    /// Only tasks that hold all these words in tag, title, remarks, commit, comments or reasons;
    /// seven digits or more are also looked for as the beginning of a commit's hash
    #[arg(long, value_name = "TEXT")]
    pub words: Option<String>,
    /// Only tasks made from then on: `2026-11-21`, `2026-11-21T18:04` or with an offset
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only tasks made up to then; a day is meant whole
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Go on where the list before ended
    #[arg(long, value_name = "CURSOR", conflicts_with = "before")]
    pub cursor: Option<String>,
    /// Only tasks made before this one: the page after it
    #[arg(long, value_name = "ID")]
    pub before: Option<u64>,
    /// How many at most
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
    /// List pushes that the hook handed over, newest first
    List(HooksList),
    /// Show one of them: what was pushed, by whom, what became of it and why
    Show {
        /// The entry's number
        id: u64,
        #[command(flatten)]
        form: OutputForm,
    },
    /// Decide one of them again, by the rules of today
    Replay {
        /// The entry's number
        id: u64,
        #[command(flatten)]
        form: OutputForm,
    },
}

#[derive(Debug, Args)]
pub struct HooksList {
    /// Only what concerned this project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Only refs whose names hold this
    #[arg(long = "ref", value_name = "TEXT")]
    pub reference: Option<String>,
    /// Only pushes by this person
    #[arg(long, value_name = "NAME")]
    pub pusher: Option<String>,
    /// Only what became this: `proposed`, `joined`, `no-rule`, …
    #[arg(long, value_name = "OUTCOME", value_parser = outcome_name)]
    pub outcome: Option<String>,
    /// Only from then on: `2026-11-21`, `2026-11-21T18:04` or with an offset
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only up to then; a day is meant whole
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Go on where the list before ended
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    #[command(flatten)]
    pub form: OutputForm,
}

/// Checks the name of a state; `rolling back` is `rolling-back`.
fn state_name(text: &str) -> Result<String, String> {
    one_of(text, "states", &STATE_NAMES)
}

/// Checks the name of an outcome; `no rule` is `no-rule`.
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
