//! Templates that a user may see, shared by the pages, the JSON API and CODO's API.

use super::super::Site;
use super::super::authentication::Who;
use super::super::fault::Fault;
use crate::api::{TemplateLine, TemplateList, TemplateVersion};
use crate::config::Templates;
use crate::domain::permission::PermissionTarget;

/// Returns the name of a template given by name or number; an unknown one is returned unchanged.
pub(super) fn called<'a>(library: &'a Templates, given: &'a str) -> &'a str {
    let found = library.find(given);
    found.map_or(given, |template| template.name.as_str())
}

/// Whether a user may see a template: where it may be used, or where a rule uses it.
pub(in crate::server) fn seen(site: &Site, who: &Who, library: &Templates, name: &str) -> bool {
    let mut projects = site.web.config.projects.iter();
    // A rule may refer to it by number.
    let is_it = |rule: &str| rule == name || called(library, rule) == name;
    who.sees(&PermissionTarget::new("", "", name))
        || projects.any(|project| {
            let mut rules = project.rules.iter().filter(|rule| is_it(&rule.template));
            rules.any(|rule| {
                who.sees(&PermissionTarget::new(
                    &project.name,
                    &rule.environment,
                    name,
                ))
            })
        })
}

/// Returns the list for page and API. Problems with files are only for users who see everything.
pub(in crate::server) fn listed(site: &Site, who: &Who, library: &Templates) -> TemplateList {
    let mut templates: Vec<TemplateLine> = library
        .templates()
        .filter(|template| seen(site, who, library, &template.name))
        .map(|template| TemplateLine::of(template, library.file(template).unwrap_or_default()))
        .collect();
    templates.sort_by(|a, b| a.name.cmp(&b.name));
    TemplateList {
        templates,
        problems: match who.sees(&PermissionTarget::default()) {
            true => library.problems().iter().map(ToString::to_string).collect(),
            false => Vec::new(),
        },
    }
}

/// Returns the versions that tasks used, newest first.
pub(in crate::server) async fn versions(
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

pub(in crate::server) fn no_template(name: &str) -> Fault {
    Fault::NotFound(format!(
        "there is no template {}; see the list of templates",
        name.escape_debug().take(80).collect::<String>()
    ))
}
