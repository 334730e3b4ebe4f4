//! Emergency approvals by an admin.

#![allow(clippy::unwrap_used)]

use super::tests::{plan, terms};
use super::*;

fn in_emergency(
    terms: &Terms,
    given: &[Approval],
    actor: &Actor,
) -> Result<Approval, ApprovalRefusal> {
    let request = ApprovalRequest {
        actor,
        plan: &plan("p"),
        comment: "",
        not_before: None,
        emergency: Some("the shop is down"),
        at: Timestamp::UNIX_EPOCH,
    };
    approve(terms, given, &request)
}

#[test]
fn emergency_approval_supplies_every_missing_approval() {
    let mut terms = terms(&["2", "1 of @pm", "1 of carol"]);
    terms.more = 1;
    // Also the submitter, and a user of the agent's machine.
    terms.submitters.insert("root".to_owned());
    for counts in [ApprovalWeight::Yes, ApprovalWeight::NotLocally] {
        let root = Actor {
            counts,
            ..Actor::new("root", Role::Admin)
        };
        let given = [in_emergency(&terms, &[], &root).unwrap()];
        assert!(missing(&terms, &given).is_empty());
        assert_eq!(
            given[0].attribution(),
            "root in an EMERGENCY (the shop is down)"
        );
    }
}

#[test]
fn emergency_approval_requires_admin_role_and_scope() {
    let terms = terms(&["1"]);
    for role in Role::ALL {
        let allowed = in_emergency(&terms, &[], &Actor::new("dave", role)).is_ok();
        assert_eq!(allowed, role == Role::Admin, "{role}");
    }
    let token = Actor {
        scopes: [crate::domain::permission::Scope::Approve]
            .into_iter()
            .collect(),
        ..Actor::new("root", Role::Admin)
    };
    assert!(in_emergency(&terms, &[], &token).is_err());
}

#[test]
fn emergency_approval_counts_for_one_plan() {
    let mut terms = terms(&["1"]);
    let given = [in_emergency(&terms, &[], &Actor::new("root", Role::Admin)).unwrap()];
    terms.plan = plan("q");
    assert_eq!(missing(&terms, &given).len(), 1);
    let refused = in_emergency(&terms, &[], &Actor::new("root", Role::Admin));
    assert!(matches!(refused, Err(ApprovalRefusal::OtherPlan { .. })));
}
