//! Templates: those that tasks can ask for, and every version that one used.

use std::sync::Arc;

use hyper::StatusCode;

use super::super::Site;
use super::super::answer::{self, Answer};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::view::{TemplateLine, TemplateList, TemplateVersion, TemplateView};
use super::super::who::{Who, who};
use crate::config::Library;
use crate::right::Place;

/// The templates of this moment.
pub(in crate::web) fn library(site: &Site) -> Library {
    Library::load(&site.web.config.agent.templates_dir)
}

/// Whether somebody may know of a template: where it may be used, or where a rule uses it.
pub(in crate::web) fn seen(site: &Site, who: &Who, name: &str) -> bool {
    let mut projects = site.web.config.projects.iter();
    who.sees(&Place::new("", "", name))
        || projects.any(|project| {
            let mut rules = project.rules.iter().filter(|rule| rule.template == name);
            rules.any(|rule| who.sees(&Place::new(&project.name, &rule.environment, name)))
        })
}

/// The list, as page and API show it. What is wrong with files is for those who see everything.
pub(in crate::web) fn listed(site: &Site, who: &Who, library: &Library) -> TemplateList {
    let mut templates: Vec<TemplateLine> = library
        .templates()
        .filter(|template| seen(site, who, &template.name))
        .map(|template| TemplateLine::of(template, library.file(template).unwrap_or_default()))
        .collect();
    templates.sort_by(|a, b| a.name.cmp(&b.name));
    TemplateList {
        templates,
        problems: match who.sees(&Place::default()) {
            true => library.problems().iter().map(ToString::to_string).collect(),
            false => Vec::new(),
        },
    }
}

pub(super) async fn list(site: &Arc<Site>, call: &mut Call) -> Answer {
    let who = who(site, call).await?;
    who.reads()?;
    answer::json(StatusCode::OK, &listed(site, &who, &library(site)))
}

pub(super) async fn show(site: &Arc<Site>, call: &mut Call, name: &str) -> Answer {
    let who = who(site, call).await?;
    who.reads()?;
    let library = library(site);
    let found = library.find(name).zip(library.version(name));
    let found = found.filter(|(template, _)| seen(site, &who, &template.name));
    let (template, version) = found.ok_or_else(|| no_template(name))?;
    let view = TemplateView {
        line: TemplateLine::of(template, library.file(template).unwrap_or_default()),
        text: version.text,
        versions: versions(site, &template.name).await?,
    };
    answer::json(StatusCode::OK, &view)
}

/// The versions that tasks used, newest first.
pub(in crate::web) async fn versions(
    site: &Site,
    name: &str,
) -> Result<Vec<TemplateVersion>, Fault> {
    let versions = site.web.store.template_versions(name).await?;
    Ok(versions
        .into_iter()
        .map(|version| TemplateVersion {
            digest: version.digest,
            first_used: version.first_used,
        })
        .collect())
}

pub(in crate::web) fn no_template(name: &str) -> Fault {
    Fault::NotFound(format!(
        "no template is named {}; see the list of templates",
        name.escape_debug().take(80).collect::<String>()
    ))
}
