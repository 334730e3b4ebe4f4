//! `tagship rules test`, which needs no agent.

use serde_json::json;

use crate::test::Test;

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
fn the_rule_that_decides_is_named_and_the_others_say_why_they_do_not() {
    shop()
        .arguments(["qa-7"])
        .stdout(
            "qa-7 goes to qa of shop by rule 1 (template git-release): queued once it has landed; the newest tag of its push runs\n\
             \x20 rule 1 \"qa-*\" matches, and decides\n\
             \x20 rule 2 \"release-\" does not match: the name does not start with \"release-\"\n\
             \x20 rule 3 \"qa-7\" would match too, but rule 1 comes first\n",
        )
        .run();
}

#[test]
fn a_full_name_is_taken_too_and_approval_is_told() {
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
fn a_tag_that_no_rule_matches_is_an_answer() {
    let said = shop().arguments(["v1"]).said();
    assert_eq!(said.status, Some(0));
    assert!(
        said.stdout
            .starts_with("no rule of shop matches v1; nothing will be released\n"),
        "{said}"
    );
}

#[test]
fn programs_get_the_same_as_json() {
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
fn a_project_that_is_not_there_names_those_that_are() {
    Test::new()
        .config(SHOP)
        .arguments(["rules", "test", "qa-7", "--project", "shoe"])
        .stderr("error: no project is named shoe; the configuration has shop\n")
        .status(1)
        .run();
}
