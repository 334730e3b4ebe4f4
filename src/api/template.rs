//! Templates, as API types.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::template::{Gate, Param, StageHosts, Step, Template};

/// `GET /api/v1/templates`: those that tasks can use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateList {
    pub templates: Vec<TemplateLine>,
    /// Problems with files whose templates are missing here.
    pub problems: Vec<String>,
}

/// One template of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateLine {
    pub name: String,
    pub id: Option<u64>,
    pub file: String,
    /// The digest of the version that new tasks use.
    pub digest: String,
    pub free_hosts: bool,
    pub params: Vec<Param>,
    pub stages: Vec<TemplateStage>,
}

/// A stage of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateStage {
    pub name: String,
    /// As written in the template: `{group}`, `{1}`, a group, `agent`.
    pub hosts: String,
    pub gate: Gate,
    pub batch: Option<u32>,
    pub steps: Vec<String>,
    /// What its steps pass to later ones.
    #[serde(default)]
    pub outputs: Vec<OutputView>,
}

/// An output: a named value that a step passes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputView {
    pub name: String,
    pub step: String,
    /// Its values are masked.
    pub secret: bool,
}

impl OutputView {
    fn of(step: &Step) -> impl Iterator<Item = Self> {
        let (seen, secret) = step.action.outputs();
        let seen = seen.iter().map(|name| (name, false));
        let names = seen.chain(secret.iter().map(|name| (name, true)));
        names.map(|(name, secret)| Self {
            name: name.clone(),
            step: step.name.clone(),
            secret,
        })
    }
}

impl fmt::Display for OutputView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = if self.secret { " (a secret)" } else { "" };
        write!(f, "{}{secret} from {}", self.name, self.step)
    }
}

/// `GET /api/v1/templates/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateView {
    #[serde(flatten)]
    pub line: TemplateLine,
    pub text: String,
    /// Those that tasks used, newest first.
    pub versions: Vec<TemplateVersion>,
}

/// A version of a template that tasks used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateVersion {
    pub digest: String,
    pub first_used: Timestamp,
}

/// The two versions that the page compares.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateQuery {
    pub from: Option<String>,
    pub to: Option<String>,
}

impl TemplateLine {
    /// Returns the line of a template that was read from this file.
    #[must_use]
    pub fn of(template: &Template, file: &str) -> Self {
        let stages = template.stages.iter();
        Self {
            name: template.name.clone(),
            id: template.id,
            file: file.to_owned(),
            digest: template.digest.clone(),
            free_hosts: template.free_hosts,
            params: template.params.clone(),
            stages: stages
                .map(|stage| TemplateStage {
                    name: stage.name.clone(),
                    hosts: match &stage.hosts {
                        StageHosts::Agent => "agent".to_owned(),
                        StageHosts::Environment => "{group}".to_owned(),
                        StageHosts::Group(group) => group.clone(),
                        StageHosts::Given(number) => format!("{{{number}}}"),
                    },
                    gate: stage.gate,
                    batch: stage.batch.map(std::num::NonZeroU32::get),
                    steps: stage.steps.iter().map(|step| step.name.clone()).collect(),
                    outputs: stage.steps.iter().flat_map(OutputView::of).collect(),
                })
                .collect(),
        }
    }
}
