//! Templates: the list, and one template with its stages, its text, the versions that tasks used
//! and the difference between two of them. Nothing is edited here: templates are files.

use std::sync::Arc;

use askama::Template;
use similar::{ChangeTag, TextDiff};

use super::super::Site;
use super::super::actions::templates::{listed, no_template, seen, versions};
use super::super::answer::HttpResult;
use super::super::authentication::{who, who_reads};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::text::{self, Times};
use super::{Frame, shown, times};
use crate::api::{TemplateLine, TemplateQuery, TemplateStage, TemplateVersion};
use crate::base::language::{Language, Sentence};
use crate::domain::template::{Gate, StoredTemplate};

/// How many unchanged lines are shown around a change.
const CONTEXT_LINES: usize = 3;

#[derive(Template)]
#[template(path = "web/templates.html")]
struct List {
    frame: Frame,
    templates: Vec<TemplateLine>,
    problems: Vec<String>,
}

#[derive(Template)]
#[template(path = "web/template.html")]
struct One {
    frame: Frame,
    times: Times,
    name: String,
    /// `None` if the file is gone and only versions are left.
    line: Option<TemplateLine>,
    /// The requested version, or the current one.
    version: StoredTemplate,
    versions: Vec<TemplateVersion>,
    changes: Option<TemplateChanges>,
}

/// The changes between two versions.
struct TemplateChanges {
    from: String,
    to: String,
    files: Vec<(String, Vec<DiffLine>)>,
}

/// A line of a diff.
struct DiffLine {
    tone: &'static str,
    mark: &'static str,
    text: String,
}

impl One {
    fn is_now(&self, digest: &str) -> bool {
        self.line.as_ref().is_some_and(|line| line.digest == digest)
    }

    /// Returns what a stage waits for before it begins, if anything.
    fn gate(&self, stage: &TemplateStage) -> Option<Sentence> {
        match stage.gate {
            Gate::None => None,
            Gate::Hand => Some(self.frame.say("template-gate-hand")),
            Gate::Timed => Some(self.frame.say("template-gate-timed")),
        }
    }

    fn outputs(&self, stage: &TemplateStage) -> String {
        let outputs = stage.outputs.iter().map(|output| {
            let id = match output.secret {
                true => "template-output-secret",
                false => "template-output",
            };
            let said = self.frame.say(id).with("name", output.name.clone());
            said.with("step", output.step.clone()).to_string()
        });
        outputs.collect::<Vec<_>>().join(", ")
    }

    fn now(&self) -> &str {
        self.line
            .as_ref()
            .map_or(self.version.digest.as_str(), |line| line.digest.as_str())
    }
}

pub(in crate::server) async fn list(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let library = site.web.templates.current().await;
    let listed = listed(site, &who, &library);
    shown(&List {
        frame: Frame::of(site, &who).await?,
        templates: listed.templates,
        problems: listed.problems,
    })
}

pub(in crate::server) async fn one(site: &Arc<Site>, call: &mut Call, name: &str) -> HttpResult {
    let who = who(site, call).await?;
    let query: TemplateQuery = call.query()?;
    let library = site.web.templates.current().await;
    let template = library.find(name);
    let name = template.map_or(name, |template| template.name.as_str());
    who.reads()?;
    if !seen(site, &who, &library, name) {
        return Err(no_template(name));
    }
    let now = library.version(name);
    let used = versions(site, name).await?;
    let newest = used.first().map(|version| version.digest.clone());
    let digest = query
        .to
        .or_else(|| now.as_ref().map(|now| now.digest.clone()));
    let digest = digest.or(newest).ok_or_else(|| no_template(name))?;
    let language = who.language;
    let version = version(site, language, name, &digest, now.as_ref()).await?;
    let changes = match &query.from {
        Some(from) => {
            let before = self::version(site, language, name, from, now.as_ref()).await?;
            Some(compared(&before, &version, language))
        }
        None => None,
    };
    shown(&One {
        frame: Frame::of(site, &who).await?,
        times: times(site),
        name: name.to_owned(),
        line: template
            .map(|template| TemplateLine::of(template, library.file(template).unwrap_or_default())),
        version,
        versions: used,
        changes,
    })
}

/// Returns the version with this digest: the current one, or one that a task used.
async fn version(
    site: &Site,
    language: Language,
    name: &str,
    digest: &str,
    now: Option<&StoredTemplate>,
) -> Result<StoredTemplate, Fault> {
    if let Some(now) = now.filter(|now| now.digest == digest) {
        return Ok(now.clone());
    }
    let kept = site.web.store.template_version(name, digest).await?;
    kept.ok_or_else(|| {
        let digest: String = digest.escape_debug().take(80).collect();
        let said = language.say("template-no-version");
        let said = said.with("digest", digest).with("name", name.to_owned());
        Fault::NotFound(said.to_string())
    })
}

fn compared(
    before: &StoredTemplate,
    after: &StoredTemplate,
    language: Language,
) -> TemplateChanges {
    let mut names: Vec<&String> = before.scripts.keys().chain(after.scripts.keys()).collect();
    names.sort();
    names.dedup();
    let none = String::new();
    let scripts = names.into_iter().map(|name| {
        let text = |version: &StoredTemplate| version.scripts.get(name).unwrap_or(&none).clone();
        (name.clone(), lines(&text(before), &text(after)))
    });
    let name = language.say("template-itself").to_string();
    let text = (name, lines(&before.text, &after.text));
    TemplateChanges {
        from: before.digest.clone(),
        to: after.digest.clone(),
        files: std::iter::once(text)
            .chain(scripts)
            .filter(|(_, lines)| !lines.is_empty())
            .collect(),
    }
}

/// Returns the changed lines with context; none if the texts are equal.
fn lines(before: &str, after: &str) -> Vec<DiffLine> {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for (number, group) in diff.grouped_ops(CONTEXT_LINES).iter().enumerate() {
        if number > 0 {
            lines.push(DiffLine {
                tone: "gap",
                mark: " ",
                text: "\u{22ef}".to_owned(),
            });
        }
        for change in group.iter().flat_map(|part| diff.iter_changes(part)) {
            let (tone, mark) = match change.tag() {
                ChangeTag::Equal => ("same", " "),
                ChangeTag::Delete => ("less", "\u{2212}"),
                ChangeTag::Insert => ("more", "+"),
            };
            lines.push(DiffLine {
                tone,
                mark,
                text: change.value().trim_end_matches('\n').to_owned(),
            });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_diff_shows_changes_with_context() {
        let before = "a\nb\nc\nd\ne\nf\n";
        let shown: Vec<String> = lines(before, &before.replace('e', "E"))
            .iter()
            .map(|line| format!("{}{}", line.mark, line.text))
            .collect();
        assert_eq!(shown, [" b", " c", " d", "\u{2212}e", "+E", " f"]);
        assert!(lines(before, before).is_empty());
    }
}
