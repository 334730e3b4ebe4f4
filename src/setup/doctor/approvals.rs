//! Checks whether enough accounts may give the approvals that environments require. Reads nothing;
//! the caller supplies the accounts.

use super::{CheckFinding, CheckScope, KnownAccount, KnownAccounts, Subject};
use crate::config::{Config, EnvironmentConfig, Project, RuleConfig};
use crate::domain::permission::{Ability, PermissionTarget, role_in};
use crate::domain::rule::Schedule;
use crate::domain::template::{Approvers, Requirement};

pub(super) const JOIN: &str = "add a user to it (tagship user set), or correct the name";
const RAISE: &str = "give more accounts the role approver there (tagship user set, or [[grants]]), or ask for fewer";
const PUSHER: &str = "let one more account approve there (tagship user set, or [[grants]]), or set \
                      self_approval = true";
const MAP: &str =
    "map the pushers ([users.NAME]), or let one more account approve there (tagship user set)";

/// Returns the remedy for a missing account.
pub(super) fn add(name: &str) -> String {
    format!("add it (tagship user add {name}), or correct the name")
}

/// Returns how many accounts are in a group.
pub(super) fn members(accounts: &KnownAccounts, group: &str) -> usize {
    let accounts = accounts.values();
    accounts
        .filter(|account| account.groups.iter().any(|name| name == group))
        .count()
}

/// Returns environments in which tasks cannot be approved.
pub(super) fn findings(
    config: &Config,
    scope: &CheckScope,
    accounts: &KnownAccounts,
) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    for project in config.projects.iter().filter(|p| scope.covers(&p.name)) {
        for (name, environment) in &project.environments {
            let approvals = EnvironmentApprovals::new(config, project, name, environment, accounts);
            for requirement in &environment.approvals {
                let Some((what, remedy)) = approvals.lack(requirement) else {
                    continue;
                };
                let what = format!("{name} asks for the approval of {requirement}, {what}");
                let subject = Subject::Project(project.name.clone());
                findings.push(CheckFinding::warn(&subject, what, remedy));
            }
        }
    }
    findings
}

/// One environment, and who may approve there.
struct EnvironmentApprovals<'a> {
    config: &'a Config,
    environment: &'a EnvironmentConfig,
    accounts: &'a KnownAccounts,
    approvers: Vec<(&'a str, &'a KnownAccount)>,
    /// Whether tasks wait there for an approval: not if rules release each tag at once.
    has_waiting: bool,
    /// Whether pushed tags do.
    has_waiting_pushes: bool,
}

impl<'a> EnvironmentApprovals<'a> {
    fn new(
        config: &'a Config,
        project: &Project,
        name: &str,
        environment: &'a EnvironmentConfig,
        accounts: &'a KnownAccounts,
    ) -> Self {
        let rules = project.rules.iter().filter(|rule| rule.environment == name);
        let rules: Vec<&RuleConfig> = rules.collect();
        let target = |template: &str| PermissionTarget::new(&project.name, name, template);
        let mut targets = vec![target("")];
        targets.extend(rules.iter().map(|rule| target(&rule.template)));
        let may_approve = |name: &str, account: &KnownAccount| {
            targets.iter().any(|target| {
                let role = role_in(account.role, name, &account.groups, &config.grants, target);
                role >= Ability::Approve.role()
            })
        };
        let has_waiting_pushes = rules.iter().any(|rule| rule.schedule == Schedule::New);
        let approvers = accounts
            .iter()
            .map(|(name, account)| (name.as_str(), account))
            .filter(|(name, account)| may_approve(name, account));
        Self {
            config,
            environment,
            accounts,
            approvers: approvers.collect(),
            has_waiting: rules.is_empty() || has_waiting_pushes,
            has_waiting_pushes,
        }
    }

    /// Returns what keeps a requirement from being met, and the remedy.
    fn lack(&self, requirement: &Requirement) -> Option<(String, String)> {
        let needed = usize::try_from(requirement.count).unwrap_or(usize::MAX);
        let of = &requirement.of;
        let approvers = self.approvers.iter();
        let giving: Vec<&str> = approvers
            .filter(|(name, account)| is_asked(of, name, account))
            .map(|(name, _)| *name)
            .collect();
        if giving.len() < needed {
            let (there, remedy) = self.shortage(of, needed, giving.len())?;
            let what = format!("and {there}: what waits there cannot be approved");
            return Some((what, remedy));
        }
        // With this setting, users of the agent's machine approve, too.
        if !self.has_waiting_pushes || self.config.agent.local_approval {
            return None;
        }
        self.lack_for_pushers(&giving, needed)
    }

    /// Returns why too few accounts may give it.
    fn shortage(&self, of: &Approvers, needed: usize, giving: usize) -> Option<(String, String)> {
        let raise = |there: String| Some((there, RAISE.to_owned()));
        match of {
            Approvers::User(name) if !self.accounts.contains_key(name) => {
                let there = "that account does not exist".to_owned();
                Some((there, add(name)))
            }
            Approvers::User(_) => raise("that account may not approve there".to_owned()),
            Approvers::Group(group) => {
                let remedy = JOIN.to_owned();
                match members(self.accounts, group) {
                    0 => Some(("that group has no members".to_owned(), remedy)),
                    members if members < needed => {
                        Some((format!("that group has {members}"), remedy))
                    }
                    _ if giving == 0 => raise("none of its members may approve there".to_owned()),
                    _ => raise(format!("only {giving} of its members may approve there")),
                }
            }
            Approvers::Anyone if !self.has_waiting || self.config.agent.local_approval => None,
            Approvers::Anyone => raise(match giving {
                0 => "no account may approve there".to_owned(),
                1 => "only 1 account may approve there".to_owned(),
                _ => format!("only {giving} accounts may approve there"),
            }),
        }
    }

    /// Returns which pushes cannot be approved although other tasks can: no account approves its own
    /// push, and a push without a known account needs one approval more.
    fn lack_for_pushers(&self, giving: &[&str], needed: usize) -> Option<(String, String)> {
        let users = &self.config.users;
        if users.is_empty() && self.approvers.len() <= needed {
            let what = "and as many accounts may approve there: a push without [users.NAME] needs one \
                        more, and cannot be approved";
            return Some((what.to_owned(), MAP.to_owned()));
        }
        let pushers = giving.iter().filter(|name| users.contains_key(**name));
        let pushers: Vec<&str> = pushers.copied().collect();
        if pushers.is_empty() || giving.len() > needed || self.environment.self_approval {
            return None;
        }
        let what = format!(
            "which only {} can give: what is pushed by {} cannot be approved",
            giving.join(", "),
            pushers.join(" or ")
        );
        Some((what, PUSHER.to_owned()))
    }
}

fn is_asked(of: &Approvers, name: &str, account: &KnownAccount) -> bool {
    match of {
        Approvers::Anyone => true,
        Approvers::Group(group) => account.groups.contains(group),
        Approvers::User(user) => user == name,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::domain::permission::Role;

    const PUSHED: &str = r#"rules = [{ pattern = "v*", environment = "live" }]"#;

    /// The findings where the environment has this requirement and these accounts.
    fn found(
        more: &str,
        approvals: &str,
        rules: &str,
        accounts: &[(&str, Role, &str)],
    ) -> Vec<String> {
        let text = format!(
            r#"{more}
[hosts.web1]
address = "192.0.2.1"
[groups]
web = ["web1"]
[[projects]]
name = "shop"
repository = "/srv/git/shop.git"
environments.live = {{ group = "web", deploy_to = "/srv/live", approvals = ["{approvals}"] }}
{rules}
"#
        );
        let config = config::parse("c.toml", &text, Path::new("/etc/tagship")).unwrap();
        let accounts = accounts.iter().map(|(name, role, group)| {
            let account = KnownAccount {
                role: *role,
                groups: vec![(*group).to_owned()],
            };
            ((*name).to_owned(), account)
        });
        let accounts: KnownAccounts = accounts.collect();
        findings(&config, &CheckScope::default(), &accounts)
            .into_iter()
            .map(|finding| finding.text)
            .collect()
    }

    #[test]
    fn only_accounts_that_may_approve_there_count() {
        type Named = (&'static str, Role, &'static str);
        let viewer: Named = ("ann", Role::Viewer, "pm");
        let approver: Named = ("bob", Role::Approver, "pm");
        let cases: [(&str, &[Named], &str); 5] = [
            ("1", &[viewer], "1, and no account may approve there"),
            (
                "2",
                &[viewer, approver],
                "2, and only 1 account may approve there",
            ),
            (
                "1 of @pm",
                &[viewer],
                "1 of @pm, and none of its members may approve there",
            ),
            (
                "2 of @pm",
                &[viewer, approver],
                "2 of @pm, and only 1 of its members may approve there",
            ),
            (
                "1 of ann",
                &[viewer, approver],
                "1 of ann, and that account may not approve there",
            ),
        ];
        for (approvals, accounts, lack) in cases {
            assert_eq!(
                found("", approvals, "", accounts),
                [format!(
                    "live asks for the approval of {lack}: what waits there cannot be approved"
                )]
            );
        }
        assert!(found("", "1 of @pm", "", &[viewer, approver]).is_empty());
    }

    #[test]
    fn grants_make_approvers_of_the_target_only() {
        let grant = |environment: &str| {
            format!(
                "[[grants]]\nto = [\"@pm\"]\nrole = \"approver\"\nenvironment = {environment:?}\n"
            )
        };
        let viewer = [("ann", Role::Viewer, "pm")];
        assert!(found(&grant("live"), "1", "", &viewer).is_empty());
        let with_template = format!("{}template = \"git-release\"\n", grant("live"));
        assert_eq!(found(&with_template, "1", "", &viewer).len(), 1);
        let map = "[users.zoe]\nsystem = \"zoe\"\n";
        let with_template = format!("{map}{with_template}");
        assert!(found(&with_template, "1", PUSHED, &viewer).is_empty());
    }

    #[test]
    fn pusher_among_the_only_approvers_is_reported() {
        let users = "[users.alice]\nsystem = \"alice\"\n";
        let two = [("alice", Role::Approver, ""), ("pat", Role::Approver, "pm")];
        assert_eq!(
            found(users, "2", PUSHED, &two),
            [
                "live asks for the approval of 2, which only alice, pat can give: what is pushed by \
                 alice cannot be approved"
            ]
        );
        assert!(found(users, "1", PUSHED, &two).is_empty());
        assert!(found(users, "1 of pat", PUSHED, &two).is_empty());
        assert!(found(users, "2", "", &two).is_empty(), "no tag leads there");
    }

    #[test]
    fn unmapped_pusher_needs_one_approver_more() {
        let two = [("alice", Role::Approver, ""), ("pat", Role::Approver, "pm")];
        let found_without_users = found("", "2", PUSHED, &two);
        assert_eq!(found_without_users.len(), 1);
        assert!(found_without_users[0].contains("a push without [users.NAME] needs one more"));
        assert!(found("", "1", PUSHED, &two).is_empty());
    }

    #[test]
    fn nothing_is_missing_where_no_account_has_to_approve() {
        let at_once = r#"rules = [{ pattern = "v*", environment = "live", schedule = "ready" }]"#;
        assert!(found("", "1", at_once, &[]).is_empty());
        let local = "[agent]\nlocal_approval = true\n";
        assert!(found(local, "1", PUSHED, &[]).is_empty());
        assert_eq!(found(local, "1 of @pm", PUSHED, &[]).len(), 1);
    }
}
