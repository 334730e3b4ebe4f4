//! The text format of a template: one struct per table, converted to the types of the program.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::params::{ParamKind, anchored};
use super::reader::{StepFile, TemplateReader, Use};
use super::steps::Synced;
use super::{
    Gate, Param, SUPPLIED, StageHosts, StageTemplate, Step, StepAction, Template, is_name,
    is_parameter_name, outputs, structure,
};
use crate::domain::document::{Document, Path, Problems, one_line};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TemplateFile {
    id: Option<u64>,
    name: String,
    #[serde(default)]
    free_hosts: bool,
    #[serde(default)]
    params: Vec<ParamFile>,
    #[serde(default)]
    stage: Vec<StageFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParamFile {
    name: String,
    alias: Option<String>,
    #[serde(default)]
    kind: ParamKind,
    #[serde(default)]
    choices: Vec<String>,
    #[serde(default)]
    required: bool,
    default: Option<String>,
    pattern: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageFile {
    name: String,
    hosts: Option<String>,
    #[serde(default)]
    gate: Gate,
    batch: Option<NonZeroU32>,
    #[serde(default)]
    steps: Vec<StepFile>,
}

impl Template {
    /// Parses and checks the text of a template; `file` is the name to show for it.
    ///
    /// # Errors
    /// All problems, each with its line.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let document = Document::parse(file, text)?;
        let raw: TemplateFile = document.read()?;
        let mut reader = TemplateReader {
            document: &document,
            parameters: SUPPLIED.iter().map(|name| (*name).to_owned()).collect(),
            problems: Vec::new(),
        };
        let template = reader.template(raw, text);
        reader
            .problems
            .extend(structure::problems(&template, &document));
        reader
            .problems
            .extend(outputs::problems(&template, &document));
        if reader.problems.is_empty() {
            Ok(template)
        } else {
            reader.problems.sort();
            Err(Problems(reader.problems))
        }
    }
}

impl TemplateReader<'_> {
    fn template(&mut self, raw: TemplateFile, text: &str) -> Template {
        let root = Path::root();
        self.name(&root.join("name"), "template", &raw.name);
        let mut params: Vec<Param> = Vec::new();
        for (index, param) in raw.params.into_iter().enumerate() {
            let param = self.param(param, &params, &root.join("params").join(index));
            params.push(param);
        }
        if raw.stage.is_empty() {
            self.refuse(&root, "a template needs a stage: add [[stage]]");
        }
        let mut stages: Vec<StageTemplate> = Vec::new();
        for (index, stage) in raw.stage.into_iter().enumerate() {
            let path = root.join("stage").join(index);
            if stages.iter().any(|other| other.name == stage.name) {
                let name = &stage.name;
                self.refuse(
                    &path.join("name"),
                    format!("two stages are named `{name}`: rename one"),
                );
            }
            let stage = self.stage(stage, &stages, &path);
            stages.push(stage);
        }
        Template {
            id: raw.id,
            name: raw.name,
            free_hosts: raw.free_hosts,
            params,
            stages,
            scripts: BTreeMap::new(),
            digest: format!("{:x}", Sha256::digest(text)),
        }
    }

    fn param(&mut self, raw: ParamFile, before: &[Param], path: &Path) -> Param {
        let name_path = path.join("name");
        let name = &raw.name;
        if !is_parameter_name(name) {
            self.refuse(
                &name_path,
                format!(
                    "`{name}` is no name for a parameter: use A-Z, 0-9 and _, up to 64 characters"
                ),
            );
        } else if SUPPLIED.contains(&name.as_str()) || name.starts_with("TAGSHIP_") {
            self.refuse(
                &name_path,
                format!("parameter {name} is supplied by tagship: choose another name"),
            );
        } else if before.iter().any(|param| param.name == *name) {
            self.refuse(
                &name_path,
                format!("two parameters are named {name}: rename one"),
            );
        }
        self.parameters.insert(raw.name.clone());
        let param = Param {
            name: raw.name,
            alias: raw.alias,
            kind: raw.kind,
            choices: raw.choices,
            required: raw.required,
            default: raw.default,
            pattern: raw.pattern,
        };
        self.choices(&param, path);
        if let Some(pattern) = &param.pattern
            && let Err(error) = anchored(pattern)
        {
            let pattern_path = path.join("pattern");
            self.refuse(
                &pattern_path,
                one_line("bad regular expression", &error.to_string()),
            );
        } else if let Some(default) = &param.default
            && let Err(error) = param.check(default)
        {
            self.refuse(&path.join("default"), error.to_string());
        }
        param
    }

    /// Checks that a choice has options, and that no other kind has.
    fn choices(&mut self, param: &Param, path: &Path) {
        let name = &param.name;
        let given = !param.choices.is_empty();
        if param.kind == ParamKind::Choice && !given {
            self.refuse(
                &path.join("kind"),
                format!("parameter {name} has no choices: add `choices = [\"…\"]`"),
            );
        } else if param.kind != ParamKind::Choice && given {
            self.refuse(
                &path.join("choices"),
                "`choices` means nothing without `kind = \"choice\"`: add that, or take it out",
            );
        }
        if param.kind == ParamKind::Secret && param.default.is_some() {
            self.refuse(
                &path.join("default"),
                "a secret parameter can't have a default: take the default out",
            );
        }
    }

    fn stage(&mut self, raw: StageFile, before: &[StageTemplate], path: &Path) -> StageTemplate {
        self.name(&path.join("name"), "stage", &raw.name);
        if raw.steps.is_empty() {
            self.refuse(path, "a stage needs a step: add one to `steps`");
        }
        let on_agent = raw
            .steps
            .iter()
            .any(|step| step.uses == Some(Use::Checkout));
        let hosts = self.hosts(raw.hosts.as_deref(), on_agent, path);
        if on_agent && raw.batch.is_some() {
            self.refuse(
                &path.join("batch"),
                "a checkout happens once, on the agent: take `batch` out",
            );
        }
        let syncs = |step: &Step| step.action == StepAction::Sync;
        let mut synced = Synced::No;
        if before
            .iter()
            .any(|stage| stage.hosts == hosts && stage.steps.iter().any(syncs))
        {
            synced = Synced::Yes;
        }
        let mut steps: Vec<Step> = Vec::new();
        for (index, step) in raw.steps.into_iter().enumerate() {
            let path = path.join("steps").join(index);
            let step = self.step(step, &steps, synced, &path);
            if syncs(&step) {
                synced = Synced::Yes;
            }
            steps.push(step);
        }
        StageTemplate {
            name: raw.name,
            hosts,
            gate: raw.gate,
            batch: raw.batch,
            steps,
        }
    }

    fn hosts(&mut self, text: Option<&str>, on_agent: bool, path: &Path) -> StageHosts {
        let path = path.join("hosts");
        if on_agent {
            if text.is_some() {
                self.refuse(&path, "a checkout happens on the agent: take `hosts` out");
            }
            return StageHosts::Agent;
        }
        match text {
            None | Some("{group}") => StageHosts::Environment,
            Some(group) if is_name(group) => StageHosts::Group(group.to_owned()),
            Some(other) => match other.as_bytes() {
                [b'{', digit @ b'1'..=b'9', b'}'] => StageHosts::Given(digit - b'0'),
                _ => {
                    self.refuse(
                        &path,
                        format!(
                            "`{other}` is no group of hosts: write \"{{group}}\", the name of a \
                             group, or \"{{1}}\" to \"{{9}}\""
                        ),
                    );
                    StageHosts::Environment
                }
            },
        }
    }
}
