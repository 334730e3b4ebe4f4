#![allow(clippy::unwrap_used)]

use super::*;

pub(super) fn plan(name: &str) -> PlanDigest {
    PlanDigest(name.to_owned())
}

pub(super) fn actor(name: &str, groups: &[&str]) -> Actor {
    Actor {
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..Actor::new(name, Role::Approver)
    }
}

pub(super) fn terms(approvals: &[&str]) -> Terms {
    Terms {
        plan: plan("p"),
        approvals: approvals.iter().map(|text| text.parse().unwrap()).collect(),
        self_approval: false,
        submitters: ["alice".to_owned()].into(),
        more: 0,
    }
}

pub(super) fn yes(
    terms: &Terms,
    given: &[Approval],
    actor: &Actor,
) -> Result<Approval, ApprovalRefusal> {
    yes_to(terms, given, actor, "p")
}

fn yes_to(
    terms: &Terms,
    given: &[Approval],
    actor: &Actor,
    seen: &str,
) -> Result<Approval, ApprovalRefusal> {
    approve(
        terms,
        given,
        &ApprovalRequest {
            actor,
            plan: &plan(seen),
            comment: "",
            not_before: None,
            emergency: None,
            at: Timestamp::UNIX_EPOCH,
        },
    )
}

fn missing_texts(terms: &Terms, approvals: &[Approval]) -> Vec<String> {
    let missing = missing(terms, approvals);
    missing.iter().map(ToString::to_string).collect()
}

#[test]
fn one_approval_satisfies_a_requirement_of_one() {
    let terms = terms(&["1"]);
    assert_eq!(missing(&terms, &[]).len(), 1);
    let given = [yes(&terms, &[], &actor("bob", &[])).unwrap()];
    assert!(missing(&terms, &given).is_empty());
}

#[test]
fn submitter_may_not_approve_unless_the_plan_allows_it() {
    let mut terms = terms(&["1"]);
    let refused = yes(&terms, &[], &actor("alice", &[]));
    assert!(matches!(refused, Err(ApprovalRefusal::SelfApproval { .. })));
    terms.self_approval = true;
    let given = [yes(&terms, &[], &actor("alice", &[])).unwrap()];
    assert!(missing(&terms, &given).is_empty());
    terms.self_approval = false;
    assert_eq!(missing(&terms, &given).len(), 1, "also an appended one");
}

#[test]
fn no_submitter_of_a_task_may_approve_it() {
    let mut terms = terms(&["1"]);
    terms.submitters.insert("bob".to_owned());
    for name in ["alice", "bob"] {
        let refused = yes(&terms, &[], &actor(name, &[]));
        assert!(
            matches!(refused, Err(ApprovalRefusal::SelfApproval { .. })),
            "{name}"
        );
    }
    let given = [yes(&terms, &[], &actor("carol", &[])).unwrap()];
    assert!(missing(&terms, &given).is_empty());
}

#[test]
fn terms_of_earlier_version_still_bar_the_submitter() {
    let kept = |submitter: &str| {
        let text = format!(
            r#"{{"plan":"p","approvals":["1"],"self_approval":false,"submitter":{submitter}}}"#
        );
        serde_json::from_str::<Terms>(&text).unwrap()
    };
    assert_eq!(kept("\"alice\""), terms(&["1"]));
    assert!(kept("null").submitters.is_empty());
    let now = terms(&["1"]);
    let text = serde_json::to_string(&now).unwrap();
    assert_eq!(serde_json::from_str::<Terms>(&text).unwrap(), now);
}

#[test]
fn approval_of_another_plan_does_not_count() {
    let terms = terms(&["1"]);
    let refused = yes_to(&terms, &[], &actor("bob", &[]), "q");
    assert!(matches!(refused, Err(ApprovalRefusal::OtherPlan { .. })));
    let mut other = yes(&terms, &[], &actor("bob", &[])).unwrap();
    other.plan = plan("q");
    assert_eq!(missing(&terms, &[other]).len(), 1);
}

#[test]
fn outdated_approval_error_names_both_plans() {
    let terms = Terms {
        plan: plan(&"b".repeat(64)),
        ..terms(&["1"])
    };
    let refused = yes_to(&terms, &[], &actor("bob", &[]), &"a".repeat(64)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the plan has changed: you saw aaaaaaaaaaaa, it is now bbbbbbbbbbbb; look at it again"
    );
}

#[test]
fn the_same_person_counts_once() {
    let terms = terms(&["2"]);
    let bob = yes(&terms, &[], &actor("bob", &[])).unwrap();
    let given = [bob];
    let refused = yes(&terms, &given, &actor("bob", &[]));
    assert!(matches!(refused, Err(ApprovalRefusal::Twice { .. })));
    let twice = [given[0].clone(), given[0].clone()];
    assert_eq!(missing_texts(&terms, &twice), ["2 (has 1)"]);
}

#[test]
fn every_requirement_must_hold_and_one_person_may_meet_several() {
    let terms = terms(&["1 of @pm", "1 of @ops"]);
    let refused = yes(&terms, &[], &actor("bob", &[]));
    assert!(matches!(refused, Err(ApprovalRefusal::NotRequired { .. })));
    let pm = yes(&terms, &[], &actor("bob", &["pm"])).unwrap();
    assert_eq!(missing_texts(&terms, &[pm]), ["1 of @ops (has 0)"]);
    let both = yes(&terms, &[], &actor("bob", &["pm", "ops"])).unwrap();
    assert!(missing(&terms, &[both]).is_empty());
}

#[test]
fn approval_requires_approver_role_and_an_account() {
    let terms = terms(&["1"]);
    for role in [Role::None, Role::Viewer, Role::Submitter] {
        let who = Actor {
            role,
            ..actor("bob", &[])
        };
        let refused = yes(&terms, &[], &who);
        assert!(
            matches!(refused, Err(ApprovalRefusal::Right(_))),
            "{refused:?}"
        );
    }
    let who = Actor {
        counts: ApprovalWeight::NotLocally,
        ..actor("os:bob", &[])
    };
    assert!(matches!(
        yes(&terms, &[], &who),
        Err(ApprovalRefusal::Local { .. })
    ));
}

#[test]
fn empty_terms_require_one_approval() {
    let mut terms = terms(&[]);
    let mut own = yes(&terms, &[], &actor("bob", &[])).unwrap();
    assert_eq!(missing(&terms, &[]).len(), 1);
    assert!(missing(&terms, std::slice::from_ref(&own)).is_empty());
    own.by = "alice".to_owned();
    assert_eq!(missing(&terms, std::slice::from_ref(&own)).len(), 1);
    terms.plan = plan("q");
    own.by = "bob".to_owned();
    assert_eq!(missing(&terms, &[own]).len(), 1);
}

pub(super) fn mandate(of: &str, groups: &[&str]) -> Mandate {
    Mandate {
        of: of.to_owned(),
        role: Role::Approver,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        until: Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(60),
    }
}

pub(super) fn with(actor: Actor, mandates: &[Mandate]) -> Actor {
    Actor {
        mandates: mandates.to_vec(),
        ..actor
    }
}

#[test]
fn delegate_approves_for_delegator_and_both_are_recorded() {
    let terms = terms(&["1 of @pm", "1 of carol"]);
    let dave = with(
        Actor {
            role: Role::Viewer,
            ..actor("dave", &[])
        },
        &[mandate("carol", &["pm"])],
    );
    let given = yes(&terms, &[], &dave).unwrap();
    assert_eq!(given.by, "dave");
    assert_eq!(given.in_stead_of.as_deref(), Some("carol"));
    assert!(missing(&terms, &[given]).is_empty());
}

#[test]
fn delegation_counts_no_person_twice() {
    let terms = terms(&["2"]);
    let dave = with(actor("dave", &[]), &[mandate("carol", &[])]);
    let own = yes(&terms, &[], &dave).unwrap();
    assert_eq!(own.in_stead_of, None, "the own yes comes first");
    let again = yes(&terms, std::slice::from_ref(&own), &dave);
    assert!(
        matches!(again, Err(ApprovalRefusal::Twice { .. })),
        "{again:?}"
    );
    // Approvals that were written directly to the log.
    let stead = Approval {
        in_stead_of: Some("carol".to_owned()),
        ..own.clone()
    };
    assert_eq!(
        missing_texts(&terms, &[own.clone(), stead.clone()]),
        ["2 (has 1)"]
    );
    let carol = Approval {
        by: "carol".to_owned(),
        ..own.clone()
    };
    assert_eq!(
        missing_texts(&terms, &[stead.clone(), carol.clone()]),
        ["2 (has 1)"]
    );
    assert!(missing(&terms, &[own, carol]).is_empty());
    let carol = yes(&terms, &[stead], &actor("carol", &[]));
    assert!(
        matches!(carol, Err(ApprovalRefusal::Twice { .. })),
        "{carol:?}"
    );
}

#[test]
fn submitter_can_neither_delegate_nor_be_a_delegate() {
    let mut terms = terms(&["1"]);
    let viewer = |name| Actor {
        role: Role::Viewer,
        ..actor(name, &[])
    };
    let for_submitter = with(viewer("dave"), &[mandate("alice", &[])]);
    let refused = yes(&terms, &[], &for_submitter);
    assert!(
        matches!(refused, Err(ApprovalRefusal::Right(_))),
        "{refused:?}"
    );
    let submitter = with(actor("alice", &[]), &[mandate("carol", &[])]);
    let refused = yes(&terms, &[], &submitter);
    assert!(
        matches!(refused, Err(ApprovalRefusal::SelfApproval { .. })),
        "{refused:?}"
    );
    terms.self_approval = true;
    yes(&terms, &[], &for_submitter).unwrap();
}

#[test]
fn delegation_ends_on_time_and_needs_delegators_role_and_plan() {
    let terms = terms(&["1"]);
    let viewer = |mandate| {
        let dave = Actor {
            role: Role::Viewer,
            ..actor("dave", &[])
        };
        with(dave, &[mandate])
    };
    let at = |second, actor: &Actor| {
        let request = ApprovalRequest {
            actor,
            plan: &plan("p"),
            comment: "",
            not_before: None,
            emergency: None,
            at: Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(second),
        };
        approve(&terms, &[], &request)
    };
    let dave = viewer(mandate("carol", &[]));
    assert!(at(59, &dave).is_ok() && dave.sees(Timestamp::UNIX_EPOCH));
    assert!(at(60, &dave).is_err());
    assert!(yes_to(&terms, &[], &dave, "q").is_err());
    let powerless = Mandate {
        role: Role::Submitter,
        ..mandate("carol", &[])
    };
    assert!(yes(&terms, &[], &viewer(powerless)).is_err());
    let narrow = Actor {
        scopes: [crate::domain::permission::Scope::Read]
            .into_iter()
            .collect(),
        ..dave
    };
    let refused = yes(&terms, &[], &narrow).unwrap_err();
    assert!(
        refused.to_string().contains("requires the scope approve"),
        "{refused}"
    );
}

#[test]
fn delegate_approves_as_the_identity_still_required() {
    let terms = terms(&["1 of @pm", "1 of @ops"]);
    let ops = yes(&terms, &[], &actor("bob", &["ops"])).unwrap();
    let dave = with(actor("dave", &["ops"]), &[mandate("carol", &["pm"])]);
    let given = yes(&terms, std::slice::from_ref(&ops), &dave).unwrap();
    assert_eq!(given.in_stead_of.as_deref(), Some("carol"));
    assert!(missing(&terms, &[ops, given]).is_empty());
}

#[test]
fn unknown_pusher_requires_one_more_approval() {
    let terms = Terms {
        more: more_for(None),
        submitters: BTreeSet::new(),
        ..terms(&["1 of @pm"])
    };
    assert_eq!(more_for(Some("alice")), 0);
    let pm = yes(&terms, &[], &actor("bob", &["pm"])).unwrap();
    let left = missing_texts(&terms, std::slice::from_ref(&pm));
    assert_eq!(left.len(), 1);
    assert!(left[0].starts_with("1 more, because no account is known"));
    let anybody = yes(&terms, std::slice::from_ref(&pm), &actor("carol", &[])).unwrap();
    assert!(missing(&terms, &[pm, anybody.clone()]).is_empty());
    let other = yes(&terms, std::slice::from_ref(&anybody), &actor("dave", &[])).unwrap();
    // Two approvals that no requirement names are not enough.
    assert_eq!(missing(&terms, &[anybody, other]).len(), 1);
}

#[test]
fn viewers_and_delegates_of_approvers_see_a_task() {
    let now = Timestamp::UNIX_EPOCH;
    let nobody = Actor::new("dave", Role::None);
    assert!(!nobody.sees(now));
    assert!(Actor::new("dave", Role::Viewer).sees(now));
    assert!(with(nobody.clone(), &[mandate("carol", &[])]).sees(now));
    let powerless = Mandate {
        role: Role::Submitter,
        ..mandate("carol", &[])
    };
    assert!(!with(nobody, &[powerless]).sees(now));
}

#[test]
fn delegate_may_not_stop_tasks_of_others() {
    let dave = with(
        Actor::new("dave", Role::Submitter),
        &[mandate("carol", &[])],
    );
    dave.may_of(Ownership::Own, "stop this task").unwrap();
    assert!(dave.may_of(Ownership::Others, "stop this task").is_err());
}

#[test]
fn approval_names_the_delegate_and_the_delegator() {
    let terms = terms(&["1"]);
    let own = yes(&terms, &[], &actor("bob", &[])).unwrap();
    assert_eq!(own.attribution(), "bob");
    let stead = Approval {
        in_stead_of: Some("carol".to_owned()),
        ..own
    };
    assert_eq!(stead.attribution(), "bob on behalf of carol");
}

#[test]
fn additional_approvals_are_kept_with_the_terms() {
    let besides = Terms {
        more: 1,
        ..terms(&["1"])
    };
    let text = serde_json::to_string(&besides).unwrap();
    assert_eq!(serde_json::from_str::<Terms>(&text).unwrap(), besides);
    // Terms that were stored before this field existed keep their bytes.
    let none = serde_json::to_string(&terms(&["1"])).unwrap();
    assert!(!none.contains("more"), "{none}");
}
