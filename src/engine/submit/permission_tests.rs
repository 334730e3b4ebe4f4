//! Who may submit, and what is refused for every user.

#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::tests::{World, actor, release, restart};
use super::*;
use crate::domain::permission::Role;

#[test]
fn ready_requires_a_sufficient_approver() {
    let world = World::new();
    let ready = |environment: &str| {
        let fields = json!({ "schedule": "ready", "environment": environment });
        world.resolved(&release(&fields)).unwrap()
    };
    let may = |resolved: &Resolved, actor: &Actor| match admit(resolved, actor, Via::Api) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert_eq!(may(&ready("qa"), &actor(Role::Approver, &[])), "");
    assert_eq!(
        may(&ready("qa"), &actor(Role::Submitter, &[])),
        "alice has the role submitter; to run a task without approval requires the role approver: ask an admin for it"
    );
    assert!(may(&ready("production"), &actor(Role::Admin, &[])).contains("1 of @pm"));
    assert_eq!(may(&ready("production"), &actor(Role::Admin, &["pm"])), "");
    assert_eq!(may(&ready("own"), &actor(Role::Approver, &["pm"])), "");
    assert!(may(&ready("careful"), &actor(Role::Admin, &["pm"])).contains("2 (has 1)"));
    let mut local = actor(Role::Admin, &[]);
    local.counts = ApprovalWeight::NotLocally;
    let refused = may(&ready("qa"), &local);
    let remedy =
        "; submit it as `new`, log in as an approver, or set [agent] local_approval = true";
    assert!(refused.ends_with(remedy), "{refused}");
}

#[test]
fn ready_does_not_bypass_required_approvers() {
    let world = World::new();
    let fields = json!({ "schedule": "ready", "environment": "production" });
    let resolved = world.resolved(&release(&fields)).unwrap();
    let refused = admit(&resolved, &actor(Role::Approver, &["pm"]), Via::Api).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "alice may not run a task without approval in shop production (template git-release): it requires the role admin, or `self_approval = true` there, because that environment says who approves; submit it as `new`"
    );
    let admitted = admit(&resolved, &actor(Role::Admin, &["pm"]), Via::Api);
    assert_eq!(admitted.unwrap().schedule, Schedule::Ready);
}

#[test]
fn freely_chosen_host_is_never_the_agents_machine() {
    let world = World::new();
    let order = json!({ "template": "free", "hosts": { "2": ["agent"] } });
    let problems = world.problems(&order);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("hosts.2: `agent` is the name of the agent's own machine"),
        "{problems:?}"
    );
}

#[test]
fn group_number_has_one_spelling() {
    for number in ["1", "9"] {
        assert_eq!(group_number(number), number.parse().ok());
    }
    for number in ["", "0", "01", "+1", " 1", "10", "１"] {
        assert_eq!(group_number(number), None, "{number}");
    }
}

#[test]
fn submitting_needs_the_role_submitter() {
    let world = World::new();
    let resolved = world.resolved(&restart()).unwrap();
    let error = admit(&resolved, &actor(Role::Viewer, &[]), Via::Page).unwrap_err();
    assert_eq!(
        error.to_string(),
        "alice has the role viewer; to submit a task requires the role submitter: ask an admin for it"
    );
    let submission = admit(&resolved, &actor(Role::Submitter, &[]), Via::Page).unwrap();
    assert_eq!(submission.submitter.account.as_deref(), Some("alice"));
    assert_eq!(submission.schedule, Schedule::New);
}
