//! Converts the configuration's rules for module `rule`: for the agent, and for the files that the
//! hook reads.

use std::collections::BTreeMap;

use super::keys::{Config, Project, RuleConfig};
use crate::domain::rule::{self, FORMAT, ProjectRules, RuleSet, RulesFile, Schedule};
use crate::domain::template::{Approvers, Requirement};

/// Rules by project name, ready for evaluation.
pub type RuleSets = BTreeMap<String, RuleSet>;

impl Config {
    /// Returns the files for the hook, one per repository. `intake` publishes them.
    #[must_use]
    pub fn rules_files(&self) -> Vec<RulesFile> {
        let mut repositories: BTreeMap<&str, Vec<ProjectRules>> = BTreeMap::new();
        for project in &self.projects {
            let rules = repositories.entry(&project.repository).or_default();
            rules.push(ProjectRules {
                name: project.name.clone(),
                rules: project.hook_rules(),
            });
        }
        let page = format!("{}/tasks", self.public_url());
        repositories
            .into_iter()
            .map(|(repository, projects)| RulesFile {
                format: FORMAT,
                repository: repository.to_owned(),
                on_spool_error: self.agent.on_spool_error,
                page: page.clone(),
                pushers: Some(self.pushers(repository)),
                projects,
            })
            .collect()
    }

    /// Returns the rules of every project, by name. Patterns are compiled on first use, so callers
    /// that decide often should keep the result.
    #[must_use]
    pub fn rule_sets(&self) -> RuleSets {
        let sets = self.projects.iter();
        sets.map(|project| (project.name.clone(), project.rule_set()))
            .collect()
    }
}

impl Project {
    /// Returns the project's rules, ready for evaluation; a decision's index is that in `rules`.
    #[must_use]
    pub fn rule_set(&self) -> RuleSet {
        RuleSet::new(&self.name, self.hook_rules())
    }

    fn hook_rules(&self) -> Vec<rule::Rule> {
        self.rules.iter().map(|rule| self.hook_rule(rule)).collect()
    }

    pub(super) fn hook_rule(&self, rule: &RuleConfig) -> rule::Rule {
        let approvals = match (rule.schedule, self.environments.get(&rule.environment)) {
            (Schedule::New, Some(environment)) => environment.approvals.as_slice(),
            _ => &[],
        };
        let approvals: Vec<String> = approvals.iter().map(in_words).collect();
        rule::Rule {
            pattern: rule.pattern.clone(),
            environment: rule.environment.clone(),
            template: rule.template.clone(),
            schedule: rule.schedule,
            approval: approvals.join(" and "),
            supersede: rule.supersede,
            self_approval: self
                .environments
                .get(&rule.environment)
                .is_some_and(|environment| environment.self_approval),
        }
    }
}

/// Describes a requirement to the pusher: "waits for approval by …".
fn in_words(requirement: &Requirement) -> String {
    match requirement {
        Requirement {
            count: 1,
            of: Approvers::Anyone,
        } => "any approver".to_owned(),
        Requirement {
            count,
            of: Approvers::Anyone,
        } => format!("{count} approvers"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;
    use crate::domain::rule::Decision;

    const MONOREPO: &str = r#"
        [agent]
        public_url = "https://ship.example.com/"
        on_spool_error = "accept"
        [hosts.web1]
        [groups]
        web = ["web1"]
        [[projects]]
        name = "shop"
        repository = "alice/mono"
        git_url = "https://git.example.com/alice/mono.git"
        source = "shop/"
        environments.qa = { group = "web", deploy_to = "/srv/shop", approvals = ["1 of @pm", "1 of @ops"] }
        rules = [
            { pattern = "qa-*", environment = "qa", schedule = "ready" },
            { pattern = "rc-*", environment = "qa" },
        ]
        [[projects]]
        name = "docs"
        repository = "alice/mono"
        git_url = "https://git.example.com/alice/mono.git"
        source = "docs"
        environments.qa = { group = "web", deploy_to = "/srv/docs" }
    "#;

    #[test]
    fn projects_of_one_repository_share_a_rules_file() {
        let config = super::super::parse("config.toml", MONOREPO, Path::new("/")).unwrap();
        let files = config.rules_files();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].repository, "alice/mono");
        assert_eq!(files[0].on_spool_error, rule::OnSpoolError::Accept);
        assert_eq!(files[0].page, "https://ship.example.com/tasks");
        let names: Vec<&str> = files[0].projects.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["shop", "docs"]);
        assert_eq!(files[0].projects[0].rules[0].approval, "");
        assert_eq!(
            files[0].projects[0].rules[1].approval,
            "1 of @pm and 1 of @ops"
        );
        assert_eq!(config.projects_of("alice/mono").count(), 2);
    }

    #[test]
    fn required_approvers_are_described() {
        let words = |text: &str| in_words(&text.parse().unwrap());
        assert_eq!(words("1"), "any approver");
        assert_eq!(words("2"), "2 approvers");
        assert_eq!(words("1 of alice"), "1 of alice");
    }

    #[test]
    fn the_agent_decides_with_the_same_rules() {
        let config = super::super::parse("config.toml", MONOREPO, Path::new("/")).unwrap();
        let zero = "0".repeat(40);
        let rules = config.projects[0].rule_set();
        let decision = rules.decide(b"refs/tags/rc-1", &zero, &"1".repeat(40));
        assert!(matches!(decision, Ok(Decision::Matched { index: 1, .. })));
    }
}
