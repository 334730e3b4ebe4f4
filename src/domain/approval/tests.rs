#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];
const GROUPS: [&str; 2] = ["pm", "ops"];

pub(super) fn plan(name: &str) -> PlanDigest {
    PlanDigest(name.to_owned())
}

fn actor(name: &str, groups: &[&str]) -> Actor {
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

fn yes(terms: &Terms, given: &[Approval], actor: &Actor) -> Result<Approval, ApprovalRefusal> {
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
    assert!(matches!(refused, Err(ApprovalRefusal::SelfApproval { .. })));
    terms.self_approval = true;
    let given = [yes(&terms, &[], &actor("alice", &[])).unwrap()];
    assert!(missing(&terms, &given).is_empty());
    terms.self_approval = false;
    assert_eq!(missing(&terms, &given).len(), 1, "also an appended one");
}

#[test]
fn nobody_who_has_a_part_in_a_task_approves_it() {
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
fn terms_that_an_earlier_version_kept_still_forbid_the_submitter() {
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
fn a_yes_to_another_plan_is_none() {
    let terms = terms(&["1"]);
    let refused = yes_to(&terms, &[], &actor("bob", &[]), "q");
    assert!(matches!(refused, Err(ApprovalRefusal::OtherPlan { .. })));
    let mut other = yes(&terms, &[], &actor("bob", &[])).unwrap();
    other.plan = plan("q");
    assert_eq!(missing(&terms, &[other]).len(), 1);
}

#[test]
fn who_saw_another_plan_is_told_which_and_which_it_is_now() {
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
    assert_eq!(missing(&terms, &twice), ["2 (has 1)"]);
}

#[test]
fn every_requirement_must_hold_and_one_person_may_meet_several() {
    let terms = terms(&["1 of @pm", "1 of @ops"]);
    let refused = yes(&terms, &[], &actor("bob", &[]));
    assert!(matches!(refused, Err(ApprovalRefusal::NotAsked { .. })));
    let pm = yes(&terms, &[], &actor("bob", &["pm"])).unwrap();
    assert_eq!(missing(&terms, &[pm]), ["1 of @ops (has 0)"]);
    let both = yes(&terms, &[], &actor("bob", &["pm", "ops"])).unwrap();
    assert!(missing(&terms, &[both]).is_empty());
}

#[test]
fn no_role_below_approver_approves_nor_a_user_of_the_machine() {
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

fn mandate(of: &str, groups: &[&str]) -> Mandate {
    Mandate {
        of: of.to_owned(),
        role: Role::Approver,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        until: Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(60),
    }
}

fn with(actor: Actor, mandates: &[Mandate]) -> Actor {
    Actor {
        mandates: mandates.to_vec(),
        ..actor
    }
}

#[test]
fn who_stands_in_approves_as_the_other_and_both_are_kept() {
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
fn standing_in_counts_nobody_twice() {
    let terms = terms(&["2"]);
    let dave = with(actor("dave", &[]), &[mandate("carol", &[])]);
    let own = yes(&terms, &[], &dave).unwrap();
    assert_eq!(own.in_stead_of, None, "the own yes comes first");
    let again = yes(&terms, std::slice::from_ref(&own), &dave);
    assert!(
        matches!(again, Err(ApprovalRefusal::Twice { .. })),
        "{again:?}"
    );
    // Whatever somebody wrote into the log.
    let stead = Approval {
        in_stead_of: Some("carol".to_owned()),
        ..own.clone()
    };
    assert_eq!(
        missing(&terms, &[own.clone(), stead.clone()]),
        ["2 (has 1)"]
    );
    let carol = Approval {
        by: "carol".to_owned(),
        ..own.clone()
    };
    assert_eq!(
        missing(&terms, &[stead.clone(), carol.clone()]),
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
fn nobody_stands_in_for_the_submitter_nor_as_the_submitter() {
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
fn standing_in_ends_exactly_at_its_time_and_takes_the_others_right_and_the_plan() {
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
        scopes: [crate::domain::right::Scope::Read].into_iter().collect(),
        ..dave
    };
    let refused = yes(&terms, &[], &narrow).unwrap_err();
    assert!(
        refused.to_string().contains("takes the scope approve"),
        "{refused}"
    );
}

#[test]
fn a_yes_is_given_as_whoever_brings_the_task_further() {
    let terms = terms(&["1 of @pm", "1 of @ops"]);
    let ops = yes(&terms, &[], &actor("bob", &["ops"])).unwrap();
    let dave = with(actor("dave", &["ops"]), &[mandate("carol", &["pm"])]);
    let given = yes(&terms, std::slice::from_ref(&ops), &dave).unwrap();
    assert_eq!(given.in_stead_of.as_deref(), Some("carol"));
    assert!(missing(&terms, &[ops, given]).is_empty());
}

#[test]
fn where_nobody_knows_who_pushed_one_approval_more_is_asked_by_whomever() {
    let terms = Terms {
        more: more_for(None),
        submitters: BTreeSet::new(),
        ..terms(&["1 of @pm"])
    };
    assert_eq!(more_for(Some("alice")), 0);
    let pm = yes(&terms, &[], &actor("bob", &["pm"])).unwrap();
    let left = missing(&terms, std::slice::from_ref(&pm));
    assert_eq!(left.len(), 1);
    assert!(left[0].starts_with("1 more, because no account is known"));
    let anybody = yes(&terms, std::slice::from_ref(&pm), &actor("carol", &[])).unwrap();
    assert!(missing(&terms, &[pm, anybody.clone()]).is_empty());
    let other = yes(&terms, std::slice::from_ref(&anybody), &actor("dave", &[])).unwrap();
    // Two of whom none is asked for are not enough.
    assert_eq!(missing(&terms, &[anybody, other]).len(), 1);
}

#[test]
fn a_task_is_seen_by_viewers_and_by_those_who_stand_in_for_an_approver() {
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
fn standing_in_lets_nobody_stop_a_task_of_others() {
    let dave = with(
        Actor::new("dave", Role::Submitter),
        &[mandate("carol", &[])],
    );
    dave.may_of(Whose::Own, "stop this task").unwrap();
    assert!(dave.may_of(Whose::Others, "stop this task").is_err());
}

#[test]
fn who_approved_is_told_with_whom_they_stood_in_for() {
    let terms = terms(&["1"]);
    let own = yes(&terms, &[], &actor("bob", &[])).unwrap();
    assert_eq!(own.said_by(), "bob");
    let stead = Approval {
        in_stead_of: Some("carol".to_owned()),
        ..own
    };
    assert_eq!(stead.said_by(), "bob in the stead of carol");
}

#[test]
fn approvals_that_are_asked_for_besides_are_kept_with_the_terms() {
    let besides = Terms {
        more: 1,
        ..terms(&["1"])
    };
    let text = serde_json::to_string(&besides).unwrap();
    assert_eq!(serde_json::from_str::<Terms>(&text).unwrap(), besides);
    // What was kept before there were any stays byte for byte as it was.
    let none = serde_json::to_string(&terms(&["1"])).unwrap();
    assert!(!none.contains("more"), "{none}");
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
            in_stead_of: None,
            groups: groups.iter().map(|group| GROUPS[*group].to_owned()).collect(),
            plan: plan(if *this { "p" } else { "q" }),
            comment: String::new(),
            not_before: None,
            emergency: None,
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

/// People who may ask whom they like to approve in their stead.
const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

/// What a plan may ask of named people and of groups. Alice submitted it.
fn any_terms() -> impl Strategy<Value = Terms> {
    let requirement = prop_oneof![
        (1..4_u32).prop_map(|count| Requirement {
            count,
            of: Approvers::Anyone
        }),
        (1..3_u32, 0..GROUPS.len()).prop_map(|(count, group)| Requirement {
            count,
            of: Approvers::Group(GROUPS[group].to_owned()),
        }),
        (1..NAMES.len()).prop_map(|name| Requirement {
            count: 1,
            of: Approvers::User(NAMES[name].to_owned()),
        }),
    ];
    let asked = prop::collection::vec(requirement, 0..4);
    (asked, prop::bool::ANY, 0..2_u32).prop_map(|(approvals, self_approval, more)| Terms {
        approvals,
        self_approval,
        more,
        ..terms(&[])
    })
}

/// A yes as it stands in a log, whoever wrote it there.
fn any_kept() -> impl Strategy<Value = Approval> {
    let stead = prop::option::of(0..NAMES.len());
    let groups = prop::collection::vec(0..GROUPS.len(), 0..3);
    (0..NAMES.len(), stead, groups).prop_map(|(by, stead, groups)| Approval {
        by: NAMES[by].to_owned(),
        in_stead_of: stead.filter(|of| *of != by).map(|of| NAMES[of].to_owned()),
        groups: groups
            .into_iter()
            .map(|group| GROUPS[group].to_owned())
            .collect(),
        plan: plan("p"),
        comment: String::new(),
        not_before: None,
        emergency: None,
        at: Timestamp::UNIX_EPOCH,
    })
}

/// Everybody who has a part in a yes.
fn part_of(approval: &Approval) -> BTreeSet<&str> {
    let stead = approval.in_stead_of.as_deref();
    std::iter::once(approval.by.as_str()).chain(stead).collect()
}

/// In another way than [`missing`]: what counts are approvals of which no two have a person in common,
/// and none has a submitter.
fn counted<'a>(terms: &Terms, given: &'a [Approval]) -> Vec<&'a Approval> {
    let mut spent: BTreeSet<&str> = BTreeSet::new();
    if !terms.self_approval {
        spent.extend(["alice"]);
    }
    let mut counted = Vec::new();
    for approval in given {
        let people = part_of(approval);
        if people.is_disjoint(&spent) {
            // Under self-approval the submitter counts like everybody else.
            spent.extend(people);
            counted.push(approval);
        }
    }
    counted
}

fn meets(approval: &Approval, of: &Approvers) -> bool {
    let voice = approval.in_stead_of.as_ref().unwrap_or(&approval.by);
    match of {
        Approvers::Anyone => true,
        Approvers::User(user) => user == voice,
        Approvers::Group(group) => approval.groups.contains(group),
    }
}

fn is_enough(terms: &Terms, counted: &[&Approval]) -> bool {
    let met = |requirement: &Requirement| {
        let meeting = counted.iter().filter(|one| meets(one, &requirement.of));
        meeting.count() >= requirement.count as usize
    };
    terms.approvals.iter().all(met) && !counted.is_empty()
}

/// Every order of a few things.
fn orders<T: Clone>(things: &[T]) -> Vec<Vec<T>> {
    if things.is_empty() {
        return vec![Vec::new()];
    }
    let first = (0..things.len()).flat_map(|index| {
        let mut rest = things.to_vec();
        let first = rest.remove(index);
        orders(&rest).into_iter().map(move |mut order| {
            order.insert(0, first.clone());
            order
        })
    });
    first.collect()
}

proptest! {
    /// One person never counts for two names, in whatever order the log has them.
    #[test]
    fn no_two_approvals_that_count_have_a_person_in_common(
        terms in any_terms(),
        kept in prop::collection::vec(any_kept(), 0..5),
    ) {
        for given in orders(&kept) {
            let expected = counted(&terms, &given);
            let found: Vec<&Approval> = valid(&terms, &given).collect();
            prop_assert_eq!(&found, &expected);
            if missing(&terms, &given).is_empty() {
                prop_assert!(is_enough(&terms, &expected), "{:?}", given);
            } else if terms.more == 0 {
                prop_assert!(!is_enough(&terms, &expected), "{:?}", given);
            }
        }
    }

    /// What [`approve`] takes of people who stand in for each other counts, and what it refuses as said
    /// twice has somebody in common with what was said.
    #[test]
    fn standing_in_takes_only_what_counts(
        terms in any_terms(),
        steads in prop::collection::vec((0..NAMES.len(), 0..NAMES.len()), 0..8),
        groups in prop::collection::vec((0..NAMES.len(), 0..GROUPS.len()), 0..6),
        order in prop::collection::vec(0..NAMES.len(), 0..10),
    ) {
        let groups_of = |name: usize| -> Vec<&str> {
            let own = groups.iter().filter(|(who, _)| *who == name);
            own.map(|(_, group)| GROUPS[*group]).collect()
        };
        let mut given: Vec<Approval> = Vec::new();
        for who in order {
            let mandates: Vec<Mandate> = steads
                .iter()
                .filter(|(by, of)| *by == who && *of != who)
                .map(|(_, of)| mandate(NAMES[*of], &groups_of(*of)))
                .collect();
            let actor = with(actor(NAMES[who], &groups_of(who)), &mandates);
            match yes(&terms, &given, &actor) {
                Ok(approval) => given.push(approval),
                Err(ApprovalRefusal::Twice { .. }) => {
                    let own = given.iter().any(|one| part_of(one).contains(NAMES[who]));
                    prop_assert!(own, "{}: {:?}", NAMES[who], given);
                }
                Err(_) => {}
            }
            // Each one counts, and so nobody has a part in two.
            prop_assert_eq!(counted(&terms, &given).len(), given.len(), "{:?}", &given);
            let people: usize = given.iter().map(|one| part_of(one).len()).sum();
            let different: BTreeSet<&str> = given.iter().flat_map(part_of).collect();
            prop_assert_eq!(different.len(), people);
        }
        if missing(&terms, &given).is_empty() {
            prop_assert!(is_enough(&terms, &counted(&terms, &given)), "{:?}", given);
        }
    }
}
