//! The rules of one repository as the agent publishes them for the hook: to text and from text.
//!
//! The file only serves the hook's messages. The agent decides again with its configuration, so
//! editing this copy has no effect. [`crate::spool`] reads and writes the files.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Rule, RuleSet};
use crate::pusher::Pushers;

/// The format of rules files and records that this version writes. It increases only if an older
/// reader would misread them; readers ignore unknown keys.
pub const FORMAT: u32 = 1;

/// What the hook does with a tag that it cannot record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnSpoolError {
    /// The ref is refused; the pusher pushes again later.
    #[default]
    Reject,
    /// The ref is accepted, nothing is released, and the pusher is notified.
    Accept,
}

/// The hook's data about one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesFile {
    pub format: u32,
    /// The key of the repository: `alice/shop`, or GitLab's `project-7`.
    pub repository: String,
    #[serde(default)]
    pub on_spool_error: OnSpoolError,
    /// The URL of the tasks page: `https://ship.example.com/tasks`; empty if not configured.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub page: String,
    /// The accounts of pushers; `None` if the agent does not publish them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushers: Option<Pushers>,
    /// The projects in this repository; one, except in a monorepo.
    #[serde(default)]
    pub projects: Vec<ProjectRules>,
}

/// The rules of one project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRules {
    pub name: String,
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// Why a rules file is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulesFileError {
    /// Written by a version with an incompatible format.
    Newer { format: u32 },
    /// Not in the format.
    Malformed(String),
}

impl fmt::Display for RulesFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { format } => write!(
                f,
                "format {format} is newer than this program understands ({FORMAT}); install the hook of the agent's version"
            ),
            Self::Malformed(reason) => {
                write!(
                    f,
                    "{}; restart the agent, which writes it again",
                    reason.trim_end()
                )
            }
        }
    }
}

impl std::error::Error for RulesFileError {}

#[derive(Deserialize)]
struct RulesFormat {
    format: u32,
}

impl RulesFile {
    /// Returns the text of the file.
    ///
    /// # Errors
    /// Never for values that were parsed or built by a program; TOML cannot represent some others.
    pub fn to_text(&self) -> Result<String, RulesFileError> {
        toml::to_string(self).map_err(|error| RulesFileError::Malformed(error.to_string()))
    }

    /// Parses the text of a rules file.
    ///
    /// # Errors
    /// [`RulesFileError::Newer`] for a higher format, whatever else the text contains.
    pub fn parse(text: &str) -> Result<Self, RulesFileError> {
        toml::from_str(text)
            .map_err(|error| error.message().to_owned())
            .and_then(|file: Self| {
                if file.format == FORMAT {
                    Ok(file)
                } else {
                    Err(format!("format {} is unknown", file.format))
                }
            })
            .map_err(|reason| match toml::from_str::<RulesFormat>(text) {
                Ok(RulesFormat { format }) if format > FORMAT => RulesFileError::Newer { format },
                _ => RulesFileError::Malformed(reason),
            })
    }

    /// Returns the rules of each project, ready to decide.
    #[must_use]
    pub fn rule_sets(self) -> Vec<RuleSet> {
        self.projects
            .into_iter()
            .map(|project| RuleSet::new(project.name, project.rules))
            .collect()
    }
}
