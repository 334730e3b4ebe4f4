//! Checks names of users: `[users.NAME]` and `approvals`. Accounts and groups are in the store, so
//! only names that they can never have are refused here. A user without an account when their task
//! lands is treated as unknown.

use std::collections::BTreeMap;

use super::super::pushers::is_public_key;
use super::ConfigCheck;
use crate::domain::document::Path;
use crate::domain::permission;
use crate::domain::template::{Approvers, Requirement};

impl ConfigCheck<'_> {
    pub(super) fn users(&mut self) {
        let mut projects = self.config.projects.iter();
        let has_path = projects.any(|project| project.repository.starts_with('/'));
        // For a repository given by its path, `gitlab` names a system user, too.
        let kind_of_name = if has_path { "system" } else { "gitlab" };
        let mut accounts: BTreeMap<(&str, &str), (&str, &str)> = BTreeMap::new();
        for (name, user) in &self.config.users {
            let path = Path::root().join("users").join(name);
            self.account_name(&path, "account", name);
            let keys = user.ssh_keys.iter();
            for key in keys.clone().filter(|key| !is_public_key(key)) {
                self.refuse(
                    &path.join("ssh_keys"),
                    format!("`{key}` is no public key: write the line of the .pub file, as in \"ssh-ed25519 AAAA…\""),
                );
            }
            let known = user
                .gitlab
                .iter()
                .map(|name| ("gitlab", kind_of_name, name));
            let known = known.chain(user.system.iter().map(|name| ("system", "system", name)));
            let known = known.chain(keys.map(|key| ("ssh_keys", "ssh_keys", key)));
            for (key, kind, pusher) in known {
                let first = accounts.entry((kind, pusher)).or_insert((name, key));
                let (other, other_key) = *first;
                if other == name {
                    continue;
                }
                let why = match key == other_key {
                    true => "",
                    false => " (for a repository given by its path, `gitlab` names a system user)",
                };
                let what = format!("`{pusher}` is already the account {other}{why}");
                self.refuse(&path.join(key), format!("{what}: one person, one account"));
            }
        }
    }

    pub(super) fn approvals(&mut self, approvals: &[Requirement], path: &Path) {
        if approvals.is_empty() {
            self.refuse(
                path,
                "`approvals` is empty: write [\"1\"], or let a rule say schedule = \"ready\"",
            );
        }
        for (index, requirement) in approvals.iter().enumerate() {
            match &requirement.of {
                Approvers::Anyone => {}
                Approvers::Group(name) => self.account_name(&path.join(index), "group", name),
                Approvers::User(name) => self.account_name(&path.join(index), "account", name),
            }
        }
    }

    /// Refuses a name that no account can have: an approval that requires it could never be given,
    /// and a push by that user would be attributed to another one.
    fn account_name(&mut self, path: &Path, kind: &str, name: &str) {
        if !permission::is_name(name) {
            let lower = name.to_lowercase();
            let hint = if permission::is_name(&lower) {
                format!("write `{lower}`")
            } else {
                format!(
                    "use up to {} of a-z, 0-9, dots, underscores and hyphens",
                    permission::NAME_CHARACTERS_MAX
                )
            };
            self.refuse(path, format!("no {kind} can be called `{name}`: {hint}"));
        }
    }
}
