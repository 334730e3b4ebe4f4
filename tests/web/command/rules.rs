//! `tagship rules test`, which needs no agent.

use serde_json::json;

use crate::command::program::Test;

const SHOP: &str = r#"
[hosts.web1]
[groups]
web = ["web1"]
[[projects]]
name = "shop"
repository = "/srv/git/shop.git"
environments.qa = { group = "web", deploy_to = "/srv/shop" }
environments.production = { group = "web", deploy_to = "/srv/production", approvals = ["1 of @pm", "1 of @ops"] }
rules = [
    { pattern = "qa-*", environment = "qa", schedule = "ready" },
    { pattern = "release-", environment = "production" },
    { pattern = "qa-7", environment = "production" },
]
"#;

fn shop() -> Test {
    Test::new()
        .config(SHOP)
        .arguments(["rules", "test", "--project", "shop"])
}

#[test]
fn deciding_rule_is_named_and_others_give_their_reason() {
    shop()
        .arguments(["qa-7"])
        .stdout(
            r#"
            qa-7 goes to qa of shop by rule 1 (template git-release): queued once it has landed; the newest tag of its push runs
              rule 1 "qa-*" matches, and decides
              rule 2 "release-" does not match: the name does not start with "release-"
              rule 3 "qa-7" would match too, but rule 1 comes first
            "#,
        )
        .run();
}

#[test]
fn full_ref_name_is_accepted_and_approval_is_shown() {
    let said = shop().arguments(["refs/tags/release-1"]).said();
    assert_eq!(said.status, Some(0));
    assert!(
        said.stdout.starts_with(
            "release-1 goes to production of shop by rule 2 (template git-release): waits for approval: 1 of @pm and 1 of @ops\n"
        ),
        "{said}"
    );
}

#[test]
fn unmatched_tag_is_a_valid_answer() {
    let said = shop().arguments(["v1"]).said();
    assert_eq!(said.status, Some(0));
    assert!(
        said.stdout
            .starts_with("no rule of shop matches v1; nothing will be released\n"),
        "{said}"
    );
}

#[test]
fn json_output_contains_the_same() {
    let said = shop().arguments(["qa-7", "--json"]).said();
    let answer = said.json();
    assert_eq!(answer["decides"], 1);
    assert_eq!(answer["tag"], "qa-7");
    assert_eq!(
        answer["rules"][2],
        json!({
            "number": 3,
            "pattern": "qa-7",
            "environment": "production",
            "template": "git-release",
            "schedule": "new",
            "matches": true,
            "verdict": "would match too, but rule 1 comes first",
        })
    );
}

#[test]
fn a_branch_is_never_released() {
    shop()
        .arguments(["refs/heads/main"])
        .stderr("error: REF: refs/heads/main is no tag, and only tags are released; give a tag\n")
        .status(1)
        .run();
}

#[test]
fn missing_project_error_lists_the_projects() {
    Test::new()
        .config(SHOP)
        .arguments(["rules", "test", "qa-7", "--project", "shoe"])
        .stderr("error: no project is named shoe; the configuration has shop; did you mean shop?\n")
        .status(1)
        .run();
}
