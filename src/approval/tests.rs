#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];
const GROUPS: [&str; 2] = ["pm", "ops"];

fn plan(name: &str) -> PlanDigest {
    PlanDigest(name.to_owned())
}

fn actor(name: &str, groups: &[&str]) -> Actor {
    Actor {
        name: name.to_owned(),
        role: Role::Approver,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        counts: Counts::Yes,
    }
}

fn terms(approvals: &[&str]) -> Terms {
    Terms {
        plan: plan("p"),
        approvals: approvals.iter().map(|text| text.parse().unwrap()).collect(),
        self_approval: false,
        submitter: Some("alice".to_owned()),
    }
}

fn yes(terms: &Terms, given: &[Approval], actor: &Actor) -> Result<Approval, Refusal> {
    yes_to(terms, given, actor, "p")
}

fn yes_to(
    terms: &Terms,
    given: &[Approval],
    actor: &Actor,
    seen: &str,
) -> Result<Approval, Refusal> {
    approve(
        terms,
        given,
        &Request {
            actor,
            plan: &plan(seen),
            comment: "",
            not_before: None,
            at: Timestamp::UNIX_EPOCH,
        },
    )
}

#[test]
fn one_yes_is_enough_where_one_is_asked_for() {
    let terms = terms(&["1"]);
    assert_eq!(missing(&terms, &[]).len(), 1);
    let given = [yes(&terms, &[], &actor("bob", &[])).unwrap()];
    assert!(missing(&terms, &given).is_empty());
}

#[test]
fn who_submitted_may_not_approve_unless_the_plan_allows_it() {
    let mut terms = terms(&["1"]);
    let refused = yes(&terms, &[], &actor("alice", &[]));
    assert!(matches!(refused, Err(Refusal::SelfApproval { .. })));
    terms.self_approval = true;
    let given = [yes(&terms, &[], &actor("alice", &[])).unwrap()];
    assert!(missing(&terms, &given).is_empty());
    terms.self_approval = false;
    assert_eq!(
        missing(&terms, &given).len(),
        1,
        "also one that was appended all the same"
    );
}

#[test]
fn a_yes_to_another_plan_is_none() {
    let terms = terms(&["1"]);
    let refused = yes_to(&terms, &[], &actor("bob", &[]), "q");
    assert!(matches!(refused, Err(Refusal::OtherPlan { .. })));
    let mut other = yes(&terms, &[], &actor("bob", &[])).unwrap();
    other.plan = plan("q");
    assert_eq!(missing(&terms, &[other]).len(), 1);
}

#[test]
fn the_same_person_counts_once() {
    let terms = terms(&["2"]);
    let bob = yes(&terms, &[], &actor("bob", &[])).unwrap();
    let given = [bob];
    let refused = yes(&terms, &given, &actor("bob", &[]));
    assert!(matches!(refused, Err(Refusal::Twice { .. })));
    let twice = [given[0].clone(), given[0].clone()];
    assert_eq!(missing(&terms, &twice), ["2 (has 1)"]);
}

#[test]
fn every_requirement_must_hold_and_one_person_may_meet_several() {
    let terms = terms(&["1 of @pm", "1 of @ops"]);
    let refused = yes(&terms, &[], &actor("bob", &[]));
    assert!(matches!(refused, Err(Refusal::NotAsked { .. })));
    let pm = yes(&terms, &[], &actor("bob", &["pm"])).unwrap();
    assert_eq!(missing(&terms, &[pm]), ["1 of @ops (has 0)"]);
    let both = yes(&terms, &[], &actor("bob", &["pm", "ops"])).unwrap();
    assert!(missing(&terms, &[both]).is_empty());
}

#[test]
fn no_role_below_approver_approves_nor_a_user_of_the_machine() {
    let terms = terms(&["1"]);
    for role in [Role::Viewer, Role::Submitter] {
        let who = Actor {
            role,
            ..actor("bob", &[])
        };
        assert!(matches!(yes(&terms, &[], &who), Err(Refusal::Role { .. })));
    }
    let who = Actor {
        counts: Counts::NotLocally,
        ..actor("os:bob", &[])
    };
    assert!(matches!(yes(&terms, &[], &who), Err(Refusal::Local { .. })));
}

#[test]
fn terms_that_ask_for_nobody_ask_for_one() {
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

/// Somebody who says yes to some plan, belonging to some groups.
fn any_yes() -> impl Strategy<Value = (usize, Vec<usize>, bool)> {
    (
        0..PEOPLE.len(),
        prop::collection::vec(0..GROUPS.len(), 0..3),
        prop::bool::weighted(0.8),
    )
}

proptest! {
    /// Held against another way to count: the set of people for each requirement.
    #[test]
    fn enough_is_enough_different_people_of_the_right_kind(
        asked in prop::collection::vec((1..4_u32, 0..4_usize), 1..4),
        said in prop::collection::vec(any_yes(), 0..8),
        self_approval in prop::bool::ANY,
    ) {
        let approvals = asked.iter().map(|(count, of)| match of {
            0 => Requirement { count: *count, of: Approvers::Anyone },
            1 => Requirement { count: 1, of: Approvers::User("carol".to_owned()) },
            group => Requirement { count: *count, of: Approvers::Group(GROUPS[group - 2].to_owned()) },
        });
        let terms = Terms { approvals: approvals.collect(), self_approval, ..terms(&[]) };
        let given: Vec<Approval> = said.iter().map(|(who, groups, this)| Approval {
            by: PEOPLE[*who].to_owned(),
            groups: groups.iter().map(|group| GROUPS[*group].to_owned()).collect(),
            plan: plan(if *this { "p" } else { "q" }),
            comment: String::new(),
            not_before: None,
            at: Timestamp::UNIX_EPOCH,
        }).collect();
        let mut first: Vec<&Approval> = Vec::new();
        for yes in &given {
            let counts = yes.plan == terms.plan && (self_approval || yes.by != "alice");
            if counts && first.iter().all(|earlier| earlier.by != yes.by) {
                first.push(yes);
            }
        }
        let enough = terms.approvals.iter().all(|requirement| {
            let who: BTreeSet<&str> = first.iter().filter(|yes| match &requirement.of {
                Approvers::Anyone => true,
                Approvers::User(user) => *user == yes.by,
                Approvers::Group(group) => yes.groups.contains(group),
            }).map(|yes| yes.by.as_str()).collect();
            who.len() >= requirement.count as usize
        });
        prop_assert_eq!(missing(&terms, &given).is_empty(), enough);
    }
}
