//! Finds the project and environment of an order, if it has one.

use std::collections::{BTreeMap, BTreeSet};

use super::{FieldProblem, PermissionTarget, ResolveSources, SubmissionOrder, Visibility};
use crate::config::{Config, Project};
use crate::domain::document::nearest;
use crate::domain::rule::{TAGS, is_reference};
use crate::domain::template::{StageTemplate, Template};

/// The target of an order.
#[derive(Clone, Debug, Default)]
pub(super) struct SubmissionTarget {
    /// Empty, like the environment, if it belongs to no project.
    pub(super) project: String,
    pub(super) environment: String,
    repository: String,
    tag: String,
    pub(super) refuse_older: bool,
    /// From the rule that matches the tag.
    pub(super) expires_s: Option<u64>,
}

impl SubmissionTarget {
    pub(super) fn of(
        order: &SubmissionOrder,
        sources: &ResolveSources<'_>,
        template: &Template,
        hosts: &BTreeMap<u8, Vec<String>>,
        problems: &mut Vec<FieldProblem>,
    ) -> Self {
        let mut search = Search {
            order,
            config: sources.config,
            viewer: sources.viewer,
            template: &template.name,
            problems,
        };
        let tag = search.either("tag", &order.tag, "TAG");
        let tag = tag.strip_prefix(TAGS).unwrap_or(&tag).to_owned();
        let Some(project) = search.project(template) else {
            return Self::default();
        };
        let mut target = Self {
            project: project.name.clone(),
            repository: project.repository.clone(),
            tag,
            ..Self::default()
        };
        if target.tag.is_empty() && template.releases() {
            let message = format!(
                "is missing: template {} releases the commit of a tag",
                template.name
            );
            search.refuse("tag", message);
        }
        if !target.tag.is_empty() && !is_reference(&target.reference()) {
            search.refuse("tag", "is no name that a tag can have");
        }
        target.environment = search.environment(project, &target.tag, hosts);
        // The rules of an environment apply however a tag gets there.
        let rules = project.rule_set();
        if let Ok(Some((index, rule))) = rules.first_match(&target.tag)
            && rule.environment == target.environment
        {
            target.refuse_older = project.rules[index].refuse_older;
            target.expires_s = Some(project.rules[index].expires.as_secs());
        }
        target
    }

    pub(super) fn placed(&self) -> bool {
        !self.project.is_empty()
    }

    pub(super) fn repository(&self) -> String {
        self.repository.clone()
    }

    /// Returns the full name of the ref; empty if nothing of a repository is released.
    pub(super) fn reference(&self) -> String {
        if self.tag.is_empty() {
            String::new()
        } else {
            format!("{TAGS}{}", self.tag)
        }
    }

    /// Returns the hosts of the environment.
    pub(super) fn hosts<'c>(&self, config: &'c Config) -> BTreeSet<&'c str> {
        config
            .project(&self.project)
            .and_then(|project| project.environments.get(&self.environment))
            .map(|environment| group(config, &environment.group))
            .unwrap_or_default()
    }
}

fn group<'c>(config: &'c Config, name: &str) -> BTreeSet<&'c str> {
    let hosts = config.groups.get(name).into_iter().flatten();
    hosts.map(String::as_str).collect()
}

/// Returns all hosts of all groups.
pub(super) fn all(given: &BTreeMap<u8, Vec<String>>) -> BTreeSet<&str> {
    given.values().flatten().map(String::as_str).collect()
}

fn takes_environment(template: &Template) -> bool {
    template.releases() || template.stages.iter().any(StageTemplate::takes_environment)
}

struct Search<'a> {
    order: &'a SubmissionOrder,
    config: &'a Config,
    viewer: &'a dyn Visibility,
    /// The template's name.
    template: &'a str,
    problems: &'a mut Vec<FieldProblem>,
}

impl<'a> Search<'a> {
    /// Returns the environments of a project that the user may name for this template.
    fn nameable(&self, project: &'a Project) -> Vec<&'a str> {
        self.seen_with(project, self.template)
    }

    /// Returns those that errors may list: permission for one template reveals no environments.
    fn shown(&self, project: &'a Project) -> Vec<&'a str> {
        self.seen_with(project, "")
    }

    fn seen_with(&self, project: &'a Project, template: &str) -> Vec<&'a str> {
        let names = project.environments.keys().map(String::as_str);
        let seen = |name: &&str| {
            let target = PermissionTarget::new(&project.name, name, template);
            self.viewer.sees(&target)
        };
        names.filter(seen).collect()
    }

    /// Returns the projects that the user may name.
    fn projects(&self) -> Vec<&'a Project> {
        let projects = self.config.projects.iter();
        projects
            .filter(|project| !self.nameable(project).is_empty())
            .collect()
    }

    /// Returns the names of those that errors may list.
    fn listed(&self, projects: &[&'a Project]) -> Vec<&'a str> {
        let shown = projects
            .iter()
            .filter(|project| !self.shown(project).is_empty());
        shown.map(|project| project.name.as_str()).collect()
    }

    fn refuse(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(FieldProblem::new(field, message));
    }

    /// Returns a field, or the parameter that CODO's clients use instead.
    fn either(&mut self, field: &str, own: &str, parameter: &str) -> String {
        let given = self.order.params.get(parameter).map(|text| text.trim());
        match given {
            Some(given) if !own.is_empty() && given != own => {
                let message = format!("says `{own}`, and params.{parameter} something else");
                self.refuse(field, message);
                own.to_owned()
            }
            Some(given) if own.is_empty() => given.to_owned(),
            _ => own.to_owned(),
        }
    }

    /// Returns the project; `None` if the task has none or the order's values are invalid.
    fn project(&mut self, template: &Template) -> Option<&'a Project> {
        let takes = takes_environment(template);
        let named = if takes {
            self.either("project", &self.order.project, "PROJECT")
        } else {
            self.order.project.clone()
        };
        if !named.is_empty() {
            return self.named(&named);
        }
        if !takes {
            if !self.order.environment.is_empty() {
                self.refuse("project", "is missing: an environment belongs to one");
            }
            return None;
        }
        let Some(url) = self.order.params.get("GIT_URL") else {
            let message = format!(
                "is missing: template {} runs in an environment; give `project`, or params.GIT_URL",
                template.name
            );
            self.refuse("project", message);
            return None;
        };
        let url = bare(url);
        let fits =
            |project: &&Project| bare(project.git_url()) == url || bare(&project.repository) == url;
        let found: Vec<&Project> = self.projects().into_iter().filter(fits).collect();
        match found.as_slice() {
            [project] => Some(project),
            [] => {
                self.refuse(
                    "params.GIT_URL",
                    "is the repository of no configured project: correct it, or add [[projects]]",
                );
                None
            }
            several => {
                let which = match self.listed(several).as_slice() {
                    [] => "name one".to_owned(),
                    names => names.join(", "),
                };
                self.refuse(
                    "project",
                    format!("is missing: several projects live in this repository: {which}"),
                );
                None
            }
        }
    }

    fn named(&mut self, name: &str) -> Option<&'a Project> {
        let projects = self.projects();
        let found = projects.iter().find(|project| project.name == name);
        let found = found.copied();
        if found.is_none() {
            let known = self.listed(&projects);
            self.refuse("project", unknown("project", name, &known));
        }
        found
    }

    /// Returns the one given, the matching rule's, or the only one with exactly these hosts.
    fn environment(
        &mut self,
        project: &Project,
        tag: &str,
        hosts: &BTreeMap<u8, Vec<String>>,
    ) -> String {
        let given = self.either("environment", &self.order.environment, "ENVIRONMENT");
        let known = self.nameable(project);
        if !given.is_empty() {
            if !known.contains(&given.as_str()) {
                let shown = self.shown(project);
                self.refuse("environment", unknown("environment", &given, &shown));
            }
            return given;
        }
        if !tag.is_empty()
            && let Ok(Some((_, rule))) = project.rule_set().first_match(tag)
            && known.contains(&rule.environment.as_str())
        {
            return rule.environment.clone();
        }
        let given = all(hosts);
        let environments = project.environments.iter();
        let fitting: Vec<&String> = environments
            .filter(|(name, environment)| {
                !given.is_empty()
                    && known.contains(&name.as_str())
                    && group(self.config, &environment.group) == given
            })
            .map(|(name, _)| name)
            .collect();
        if let [one] = fitting.as_slice() {
            return (*one).clone();
        }
        let which = match self.shown(project).as_slice() {
            [] => "name one".to_owned(),
            shown => format!("{} has {}", project.name, shown.join(", ")),
        };
        let message = format!("is missing, and neither the tag nor the hosts tell it: {which}");
        self.refuse("environment", message);
        String::new()
    }
}

/// Reduces a repository URL to a form without protocol: `git@git.example.com:alice/shop.git` and
/// `https://git.example.com/alice/shop` are the same repository.
fn bare(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    if let Some(path) = url.strip_prefix("file://") {
        return path.to_owned();
    }
    let (place, path) = match url.split_once("://") {
        Some((_, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit('@').next().unwrap_or_default();
            (host.split(':').next().unwrap_or_default(), path)
        }
        None => match url.split_once(':') {
            Some((host, path)) if !host.contains('/') => {
                (host.rsplit('@').next().unwrap_or_default(), path)
            }
            // A path, or the git server's own name.
            _ => return url.to_owned(),
        },
    };
    format!("{}:{}", place.to_lowercase(), path.trim_start_matches('/'))
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let name: String = name.escape_debug().take(64).collect();
    match nearest(&name, known) {
        Some(nearest) => format!("no {what} is named `{name}`: did you mean `{nearest}`?"),
        None if known.is_empty() => {
            format!("no {what} is named `{name}`, or you may not know of it: ask an admin")
        }
        None => format!(
            "no {what} is named `{name}`: there are {}",
            known.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn repository_identity_ignores_the_transport() {
        let same = [
            "git@git.example.com:alice/shop.git",
            "git.example.com:/alice/shop",
            "ssh://git@git.example.com:2222/alice/shop.git/",
            "https://git.example.com/alice/shop.git",
            "http://bob:secret@Git.Example.com:8080/alice/shop ",
        ];
        for url in same {
            assert_eq!(bare(url), "git.example.com:alice/shop", "{url}");
        }
        for (url, other) in [
            ("/srv/git/shop.git", "file:///srv/git/shop"),
            ("alice/shop", "alice/shop.git"),
        ] {
            assert_eq!(bare(url), bare(other));
        }
        let different = [
            "git@git.example.com:bob/shop.git",
            "git@git.example.org:alice/shop.git",
            "git.example.com/alice/shop",
            "/alice/shop",
            "alice/shop",
        ];
        for url in different {
            assert_ne!(bare(url), "git.example.com:alice/shop", "{url}");
        }
    }
}
