//! Checks whether the users in the configuration exist. Reads nothing; the caller supplies the
//! accounts.

use super::approvals::{self, JOIN, add, members};
use super::{CheckFinding, CheckScope, KnownAccounts, Subject};
use crate::config::{Config, fingerprint};
use crate::domain::permission::Grantee;
use crate::domain::template::{Approvers, Requirement};

/// Returns the findings on users in the configuration.
pub(super) fn findings(config: &Config, scope: &CheckScope) -> Vec<CheckFinding> {
    let names_users = names_users(config, scope);
    if scope.accounts.is_none() && !names_users {
        return Vec::new();
    }
    let Some(accounts) = &scope.accounts else {
        let why = "the accounts of the people whom the configuration names cannot be read: no agent \
                   runs, or it lists users to admins only";
        return vec![CheckFinding::not_checked(&Subject::Agent, why)];
    };
    let mut findings = users(config, accounts);
    findings.extend(grants(config, accounts));
    findings.extend(approvals::findings(config, scope, accounts));
    if findings.is_empty() && names_users {
        let what = "the people whom the configuration names have accounts";
        findings.push(CheckFinding::ok(&Subject::Agent, what));
    }
    findings
}

fn names_users(config: &Config, scope: &CheckScope) -> bool {
    let named = |requirement: &Requirement| requirement.of != Approvers::Anyone;
    !config.users.is_empty() || !config.grants.is_empty() || requirements(config, scope).any(named)
}

/// Returns pushers who are mapped to a missing account.
fn users(config: &Config, accounts: &KnownAccounts) -> Vec<CheckFinding> {
    let missing = config
        .users
        .iter()
        .filter(|(name, _)| !accounts.contains_key(*name));
    let found = missing.map(|(name, user)| {
        let pusher = user.gitlab.iter().chain(&user.system).next().cloned();
        let pusher = pusher.or_else(|| user.ssh_keys.first().map(|key| fingerprint(key)));
        let what = match pusher {
            Some(pusher) => format!(
                "[users.{name}] maps the pusher {pusher} to an account that does not exist: what they \
                 push needs one approval more than the hook says"
            ),
            None => format!("[users.{name}] is an account that does not exist"),
        };
        CheckFinding::warn(&Subject::Agent, what, add(name))
    });
    found.collect()
}

fn grants(config: &Config, accounts: &KnownAccounts) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    for (index, grant) in config.grants.iter().enumerate() {
        for grantee in &grant.to {
            let (name, what, remedy) = match grantee {
                Grantee::Account(name) if !accounts.contains_key(name) => {
                    (name.clone(), "an account that does not exist", add(name))
                }
                Grantee::Group(group) if members(accounts, group) == 0 => (
                    format!("@{group}"),
                    "a group without members",
                    JOIN.to_owned(),
                ),
                _ => continue,
            };
            let number = index + 1;
            let role = grant.role;
            let what = format!("grant {number} gives the role {role} to {name}, {what}");
            findings.push(CheckFinding::warn(&Subject::Agent, what, remedy));
        }
    }
    findings
}

/// Returns the approval requirements of all environments.
fn requirements<'a>(
    config: &'a Config,
    scope: &'a CheckScope,
) -> impl Iterator<Item = &'a Requirement> {
    let projects = config.projects.iter().filter(|p| scope.covers(&p.name));
    let environments = projects.flat_map(|project| project.environments.values());
    environments.flat_map(|environment| &environment.approvals)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::domain::permission::Role;
    use crate::setup::doctor::{CheckStatus, KnownAccount};

    const SHOP: &str = r#"
[hosts.web1]
address = "192.0.2.1"
[groups]
web = ["web1"]
[users.alice]
gitlab = "alice"
[users.robert]
gitlab = "bob"
[[grants]]
to = ["alice", "carol", "@pm", "@ops"]
role = "approver"
project = "shop"
[[projects]]
name = "shop"
repository = "/srv/git/shop.git"
environments.qa = { group = "web", deploy_to = "/srv/qa", approvals = ["1"] }
environments.live = { group = "web", deploy_to = "/srv/live", approvals = ["2 of @pm", "1 of @ops", "1 of dora"] }
"#;

    fn read(text: &str) -> Config {
        config::parse("c.toml", text, Path::new("/etc/tagship")).unwrap()
    }

    fn found(text: &str, accounts: &[(&str, &[&str])]) -> Vec<(CheckStatus, String)> {
        let accounts = accounts.iter().map(|(name, groups)| {
            let account = KnownAccount {
                role: Role::Approver,
                groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            };
            ((*name).to_owned(), account)
        });
        let scope = CheckScope {
            accounts: Some(accounts.collect()),
            ..CheckScope::default()
        };
        let findings = findings(&read(text), &scope).into_iter();
        findings
            .map(|finding| (finding.status, finding.text))
            .collect()
    }

    #[test]
    fn missing_named_users_are_reported() {
        let found = found(SHOP, &[("alice", &["pm"]), ("bob", &[])]);
        let words: Vec<&str> = found.iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(
            words,
            [
                "[users.robert] maps the pusher bob to an account that does not exist: what they push \
                 needs one approval more than the hook says",
                "grant 1 gives the role approver to carol, an account that does not exist",
                "grant 1 gives the role approver to @ops, a group without members",
                "live asks for the approval of 2 of @pm, and that group has 1: what waits \
                 there cannot be approved",
                "live asks for the approval of 1 of @ops, and that group has no members: what waits \
                 there cannot be approved",
                "live asks for the approval of 1 of dora, and that account does not exist: what waits \
                 there cannot be approved",
            ]
        );
        assert!(
            found
                .iter()
                .all(|(verdict, _)| *verdict == CheckStatus::Warn)
        );
    }

    #[test]
    fn existing_named_users_give_one_passing_line() {
        let all: [(&str, &[&str]); 5] = [
            ("alice", &["pm"]),
            ("robert", &["pm"]),
            ("carol", &[]),
            ("dora", &[]),
            ("erin", &["ops"]),
        ];
        let found = found(SHOP, &all);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, CheckStatus::Ok);
    }

    #[test]
    fn unnamed_or_unknown_users_give_no_verdict() {
        let nobody = SHOP.split("[users.alice]").next().unwrap();
        assert_eq!(found(nobody, &[]), []);
        let unreported = findings(&read(SHOP), &CheckScope::default());
        assert_eq!(unreported.len(), 1);
        assert_eq!(unreported[0].status, CheckStatus::NotChecked);
    }
}
