//! The templates that tasks can use: the operator's files, then the built-in ones.

mod stamps;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use stamps::FileStamps;

use super::Config;
use crate::domain::document::{self, Document, DocumentProblem, Path as Way, Problems};
use crate::domain::template::{AGENT, StageHosts, StoredTemplate, Template};

/// The built-in templates: the file name to show, and the text.
const BUILT_IN: [(&str, &str); 1] = [(
    "git-release.toml (built in)",
    include_str!("../../templates/tasks/git-release.toml"),
)];

/// The templates at one point in time. Reloading after a file has changed makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    entries: Vec<TemplateEntry>,
    problems: Vec<DocumentProblem>,
    /// A file could not be read, which may be temporary.
    partly_unread: bool,
    /// A text is wrong, or a script is missing; it may be in the middle of an edit.
    partly_wrong: bool,
    files: FileStamps,
}

/// A template with its source texts.
#[derive(Clone, Debug)]
struct TemplateEntry {
    /// The file name to show.
    file: String,
    template: Template,
    text: String,
    scripts: BTreeMap<String, String>,
    built_in: bool,
}

/// The maximum size of a script, in bytes.
const SCRIPT_BYTES_MAX: u64 = 256 * 1024;

impl Templates {
    /// Reads every `*.toml` of `dir` (which need not exist), then the built-in templates. A wrong
    /// file does not affect the others; see [`Templates::problems`]. A file replaces the built-in
    /// template of the same name even if it is wrong: otherwise a task could run fewer steps than
    /// its author wrote.
    #[must_use]
    pub fn load(dir: &Path) -> Self {
        let mut library = Self::default();
        let mut replaced = BTreeSet::new();
        for (file, text) in library.read_files(dir, &mut replaced) {
            match Template::parse(&file, &text) {
                Ok(template) => {
                    replaced.insert(template.name.clone());
                    library.add_file(dir, file, template, text);
                }
                Err(Problems(problems)) => {
                    replaced.extend(name_of(&file, &text));
                    library.partly_wrong = true;
                    library.problems.extend(problems);
                }
            }
        }
        for (file, text) in BUILT_IN {
            match Template::parse(file, text) {
                Ok(template) if replaced.contains(&template.name) => {}
                Ok(mut template) => {
                    // Numbers of files take precedence over those of built-in templates.
                    let id = template.id.take();
                    let is_taken = |entry: &TemplateEntry| entry.template.id == id;
                    template.id = id.filter(|_| !library.entries.iter().any(is_taken));
                    library.entries.push(TemplateEntry {
                        file: file.to_owned(),
                        template,
                        text: text.to_owned(),
                        scripts: BTreeMap::new(),
                        built_in: true,
                    });
                }
                Err(Problems(problems)) => library.problems.extend(problems),
            }
        }
        library
    }

    /// Whether loading them again would give the same.
    pub(super) fn is_current(&self) -> bool {
        !self.partly_unread && self.files.are_current()
    }

    /// Reads a single template file, with the scripts beside it.
    #[must_use]
    pub fn of_file(file: &Path) -> Self {
        let mut library = Self::default();
        let shown = file.display().to_string();
        let dir = file.parent().unwrap_or(Path::new("."));
        match std::fs::read_to_string(file) {
            Ok(text) => match Template::parse(&shown, &text) {
                Ok(template) => library.add_file(dir, shown, template, text),
                Err(Problems(problems)) => library.problems = problems,
            },
            Err(error) => library.problems.push(DocumentProblem {
                file: shown,
                position: None,
                message: format!("can't be read: {error}; name a file that is there"),
            }),
        }
        library
    }

    /// Returns what a template names that this configuration does not have: groups, but not the
    /// hosts that a task gives.
    #[must_use]
    pub fn mismatches_of(&self, template: &Template, config: &Config) -> Vec<DocumentProblem> {
        let stages = template.stages.iter();
        let groups = stages.filter_map(|stage| match &stage.hosts {
            StageHosts::Group(group) if !config.groups.contains_key(group) => Some(format!(
                "template `{}` uses the group `{group}`, which is not in [groups]: add it",
                template.name
            )),
            _ => None,
        });
        let messages = groups.chain(step_misfits(template, config));
        messages
            .map(|message| DocumentProblem {
                file: self.file(template).unwrap_or_default().to_owned(),
                position: None,
                message,
            })
            .collect()
    }

    /// Returns names and texts of the files of a directory, sorted by name. Adds to `replaced` the
    /// names that unreadable files may have.
    fn read_files(&mut self, dir: &Path, replaced: &mut BTreeSet<String>) -> Vec<(String, String)> {
        let mut report_error = |path: &Path, error: std::io::Error| {
            self.partly_unread |= is_temporary(path, &error);
            self.partly_wrong |= error.kind() == ErrorKind::InvalidData;
            replaced.extend(stem(path));
            self.problems.push(DocumentProblem {
                file: path.display().to_string(),
                position: None,
                message: format!("can't be read: {error}; {}", remedy(&error)),
            });
        };
        self.files.note(dir);
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                report_error(dir, error);
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => {
                    report_error(dir, error);
                    continue;
                }
            };
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            self.files.note(&path);
            match std::fs::read_to_string(&path) {
                Ok(text) => texts.push((path.display().to_string(), text)),
                Err(error) => report_error(&path, error),
            }
        }
        texts.sort();
        texts
    }

    /// Adds a file's template with its scripts, if all of them exist.
    fn add_file(&mut self, dir: &Path, file: String, template: Template, text: String) {
        for name in template
            .steps()
            .filter_map(|(_, step)| step.action.script())
        {
            self.files.note(&dir.join(name));
        }
        match scripts(dir, &file, &text, &template) {
            Ok(scripts) => {
                let template = template.with_scripts(&scripts);
                self.insert(TemplateEntry {
                    file,
                    template,
                    text,
                    scripts,
                    built_in: false,
                });
            }
            Err(ScriptProblems { problems, passing }) => {
                self.partly_unread |= passing;
                self.partly_wrong = true;
                self.problems.extend(problems);
            }
        }
    }

    /// Adds a file's template, unless its name or number is taken.
    fn insert(&mut self, new: TemplateEntry) {
        let template = &new.template;
        let same_name = |entry: &&TemplateEntry| entry.template.name == template.name;
        let same_id =
            |entry: &&TemplateEntry| template.id.is_some() && entry.template.id == template.id;
        let message = if self.entries.iter().any(|entry| same_name(&entry)) {
            format!(
                "another file has the template `{}` already: rename one",
                template.name
            )
        } else if let Some(other) = self.entries.iter().find(same_id) {
            format!(
                "template `{}` has the same `id` already: change one",
                other.template.name
            )
        } else {
            self.entries.push(new);
            return;
        };
        self.problems.push(DocumentProblem {
            file: new.file,
            position: None,
            message,
        });
    }

    /// Returns the template with this name or number.
    #[must_use]
    pub fn find(&self, name_or_id: &str) -> Option<&Template> {
        self.templates()
            .find(|template| template.has_name_or_id(name_or_id))
    }

    /// Returns all templates, in lookup order.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.entries.iter().map(|entry| &entry.template)
    }

    /// Returns the text of the template with this digest.
    #[must_use]
    pub fn text(&self, digest: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|entry| entry.template.digest == digest)
            .map(|entry| entry.text.as_str())
    }

    /// Returns the template with this name or number as stored with the tasks that use it.
    #[must_use]
    pub fn version(&self, name_or_id: &str) -> Option<StoredTemplate> {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.template.has_name_or_id(name_or_id))?;
        Some(StoredTemplate {
            name: entry.template.name.clone(),
            digest: entry.template.digest.clone(),
            text: entry.text.clone(),
            scripts: entry.scripts.clone(),
        })
    }

    /// Returns the file name of this template, for display.
    #[must_use]
    pub fn file(&self, template: &Template) -> Option<&str> {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.template.name == template.name)?;
        Some(&entry.file)
    }

    /// Whether it is uncertain which template this name or number means. Either none exists and
    /// some file is wrong, possibly during an edit. Or it is built in and some file could not be
    /// read: it may replace the built-in template.
    #[must_use]
    pub fn is_in_doubt(&self, name_or_id: &str) -> bool {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.template.has_name_or_id(name_or_id));
        match entry {
            None => self.partly_unread || self.partly_wrong,
            Some(entry) => self.partly_unread && entry.built_in,
        }
    }

    /// Returns the problems of files; their templates are missing here.
    #[must_use]
    pub fn problems(&self) -> &[DocumentProblem] {
        &self.problems
    }

    /// Returns the mismatches between the rules and grants of a configuration and these templates,
    /// each with its line in the configuration.
    #[must_use]
    pub fn mismatches(&self, config: &Config) -> Vec<DocumentProblem> {
        let Ok(document) = Document::parse(&config.origin.file, &config.origin.text) else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        for (project_index, project) in config.projects.iter().enumerate() {
            let rules = Way::root()
                .join("projects")
                .join(project_index)
                .join("rules");
            for (index, rule) in project.rules.iter().enumerate() {
                let path = rules.join(index);
                let Some(template) = self.find(&rule.template) else {
                    let message = self.missing_template(&rule.template);
                    problems.push(document.problem(&path.join("template"), message));
                    continue;
                };
                for message in stage_misfits(template, config) {
                    problems.push(document.problem(&path.join("template"), message));
                }
                for error in template.parameters(&rule.params).err().unwrap_or_default() {
                    problems.push(document.problem(&path.join("params"), error.to_string()));
                }
            }
        }
        for (index, grant) in config.grants.iter().enumerate() {
            if let Some(name) = &grant.template
                && self.find(name).is_none()
            {
                let path = Way::root().join("grants").join(index).join("template");
                problems.push(document.problem(&path, self.missing_template(name)));
            }
        }
        problems
    }

    fn missing_template(&self, name: &str) -> String {
        let known: Vec<&str> = self.templates().map(|t| t.name.as_str()).collect();
        let hint = document::hint(name, &known, || {
            let all = known.join(", ");
            format!("put it into `templates_dir`, or take one of {all}")
        });
        format!("no template is named `{name}`: {hint}")
    }
}

/// Whether a read error may be temporary. A non-file, non-text or dangling link is not; a file that
/// an editor or copy is replacing is soon back.
fn is_temporary(path: &Path, error: &std::io::Error) -> bool {
    match error.kind() {
        ErrorKind::IsADirectory | ErrorKind::InvalidData => false,
        ErrorKind::NotFound => path.symlink_metadata().is_err(),
        _ => true,
    }
}

/// Returns what to do about a file or directory that can't be read.
fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => "give the agent's user the right to read it",
        ErrorKind::NotADirectory => {
            "a file is in the place of a directory: move it away, or choose another [agent] templates_dir"
        }
        ErrorKind::IsADirectory => "a directory is in the place of a file: rename it",
        ErrorKind::InvalidData => "write it in UTF-8",
        _ => "look at that path, and correct it",
    }
}

/// Why some scripts of a template are missing.
struct ScriptProblems {
    problems: Vec<DocumentProblem>,
    /// One of them may be readable later.
    passing: bool,
}

/// Reads the scripts of a template, which are beside it.
fn scripts(
    dir: &Path,
    file: &str,
    text: &str,
    template: &Template,
) -> Result<BTreeMap<String, String>, ScriptProblems> {
    let mut scripts = BTreeMap::new();
    let mut problems = Vec::new();
    let mut passing = false;
    for (stage_index, stage) in template.stages.iter().enumerate() {
        for (index, step) in stage.steps.iter().enumerate() {
            let Some(name) = step.action.script() else {
                continue;
            };
            match script(&dir.join(name)) {
                Ok(content) => {
                    scripts.insert(name.to_owned(), content);
                }
                Err(wrong) => {
                    passing |= matches!(wrong, ScriptError::Unread(_));
                    let path = Way::root().join("stage").join(stage_index);
                    let path = path.join("steps").join(index).join("script");
                    let message = format!("script {name} {wrong}");
                    problems.push(match Document::parse(file, text) {
                        Ok(document) => document.problem(&path, message),
                        Err(Problems(mut problems)) => problems.remove(0),
                    });
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(scripts)
    } else {
        Err(ScriptProblems { problems, passing })
    }
}

/// Why a script is refused; its name precedes the message.
#[derive(Debug, thiserror::Error)]
enum ScriptError {
    #[error("is longer than {SCRIPT_BYTES_MAX} bytes: let it fetch what it needs")]
    TooLong,
    #[error("is not there: put it beside the template ({})", .0.display())]
    Missing(PathBuf),
    #[error("is no text in UTF-8: write one that starts the program")]
    NoText,
    #[error("holds a NUL character: take it out")]
    Nul,
    #[error("can't be read: {}; {}", .0, remedy(.0))]
    Unreadable(std::io::Error),
    #[error("can't be read: {}; {}", .0, remedy(.0))]
    Unread(std::io::Error),
}

fn script(path: &Path) -> Result<String, ScriptError> {
    let size = std::fs::metadata(path).map(|found| found.len());
    if size.is_ok_and(|size| size > SCRIPT_BYTES_MAX) {
        return Err(ScriptError::TooLong);
    }
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => ScriptError::Missing(path.to_owned()),
        ErrorKind::InvalidData => ScriptError::NoText,
        _ if is_temporary(path, &error) => ScriptError::Unread(error),
        _ => ScriptError::Unreadable(error),
    })?;
    if text.contains('\0') {
        return Err(ScriptError::Nul);
    }
    Ok(text)
}

/// Returns which stages of the template would have no hosts in a task of a tag.
fn stage_misfits(template: &Template, config: &Config) -> Vec<String> {
    let name = &template.name;
    let message = |hosts: &StageHosts| match hosts {
        StageHosts::Agent | StageHosts::Environment => None,
        StageHosts::Group(group) if config.groups.contains_key(group) => None,
        StageHosts::Group(group) => Some(format!(
            "template `{name}` uses the group `{group}`, which is not in [groups]: add it"
        )),
        StageHosts::Given(number) => Some(format!(
            "template `{name}` wants hosts {{{number}}} given by the task, and a tag gives none: \
             take another template"
        )),
    };
    let mut messages: Vec<String> = template
        .stages
        .iter()
        .filter(|stage| stage.steps.iter().any(|step| step.host.is_none()))
        .filter_map(|stage| message(&stage.hosts))
        .chain(step_misfits(template, config))
        .collect();
    messages.dedup();
    messages
}

/// Returns what single steps of the template name that the configuration does not have.
fn step_misfits(template: &Template, config: &Config) -> Vec<String> {
    let name = &template.name;
    let mut messages = Vec::new();
    for (_, step) in template.steps() {
        let step_name = &step.name;
        match step.host.as_deref() {
            Some(AGENT) if config.local_run.is_none() => messages.push(format!(
                "template `{name}` runs step `{step_name}` on the agent's own machine, which nothing \
                 may by default: add [local_run] with a system user for it"
            )),
            Some(host) if host != AGENT && !config.hosts.contains_key(host) => messages.push(
                format!("template `{name}` runs step `{step_name}` on host `{host}`, which is not in [hosts]: add it"),
            ),
            _ => {}
        }
        if let Some(user) = &step.user
            && !config.execution_users.contains_key(user)
        {
            messages.push(format!(
                "template `{name}` runs step `{step_name}` as `{user}`, who is not in \
                 [execution_users]: add them"
            ));
        }
    }
    messages
}

/// Returns the names that a template with a wrong text may be meant to have.
fn name_of(file: &str, text: &str) -> Vec<String> {
    let (table, _) = toml::de::DeTable::parse_recoverable(text);
    let name = table.get_ref().get("name");
    let name = name.and_then(|name| name.get_ref().as_str().map(str::to_owned));
    stem(Path::new(file)).into_iter().chain(name).collect()
}

fn stem(file: &Path) -> Option<String> {
    let stem = file.file_stem();
    stem.map(|stem| stem.to_string_lossy().into_owned())
}
