//! Checks `[[grants]]`: whether everything they name exists.

use super::ConfigCheck;
use crate::domain::document::Path;
use crate::domain::permission::Role;

impl ConfigCheck<'_> {
    /// Accounts and groups are in the store, so their names cannot be checked here. Neither can
    /// templates: [`Templates::mismatches`](super::super::Templates::mismatches) does.
    pub(super) fn grants(&mut self) {
        for (index, grant) in self.config.grants.iter().enumerate() {
            let path = Path::root().join("grants").join(index);
            if grant.to.is_empty() {
                self.refuse(
                    &path.join("to"),
                    "a grant without users: write to = [\"alice\"] or to = [\"@pm\"]",
                );
            }
            if grant.role == Role::None {
                self.refuse(
                    &path.join("role"),
                    "a grant of the role none grants nothing: grants only raise; set the account's \
                     own role to none, and grant what it may",
                );
            }
            let project = grant.project.as_deref();
            if let Some(name) = project
                && self.config.project(name).is_none()
            {
                let known = self.config.projects.iter().map(|project| &project.name);
                let message = self.unknown("project", name, known);
                self.refuse(&path.join("project"), message);
                continue;
            }
            let Some(environment) = &grant.environment else {
                continue;
            };
            let of_project: Vec<&String> = self
                .config
                .projects
                .iter()
                .filter(|known| project.is_none_or(|name| known.name == name))
                .flat_map(|known| known.environments.keys())
                .collect();
            if !of_project.contains(&environment) {
                let what = match project {
                    Some(_) => "environment of this project",
                    None => "environment of any project",
                };
                let message = self.unknown(what, environment, of_project.into_iter());
                self.refuse(&path.join("environment"), message);
            }
        }
    }
}
