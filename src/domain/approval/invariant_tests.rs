//! Laws of approvals, for any plan and any people.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::tests::{actor, mandate, plan, terms, with, yes};
use super::*;

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];
const GROUPS: [&str; 2] = ["pm", "ops"];

/// A user of some groups who approves some plan.
fn any_yes() -> impl Strategy<Value = (usize, Vec<usize>, bool)> {
    (
        0..PEOPLE.len(),
        prop::collection::vec(0..GROUPS.len(), 0..3),
        prop::bool::weighted(0.8),
    )
}

proptest! {
    /// Compared with another way to count: the set of people for each requirement.
    #[test]
    fn requirements_need_enough_distinct_eligible_people(
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

/// Users who may delegate to any other user.
const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

/// What a plan may require of named users and of groups. Alice submitted it.
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

/// An approval as a log may contain it, valid or not.
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

/// Every user involved in an approval.
fn part_of(approval: &Approval) -> BTreeSet<&str> {
    let stead = approval.in_stead_of.as_deref();
    std::iter::once(approval.by.as_str()).chain(stead).collect()
}

/// Counts in another way than [`missing`]: no two approvals that count share a user, and none has a
/// submitter.
fn counted<'a>(terms: &Terms, given: &'a [Approval]) -> Vec<&'a Approval> {
    let mut spent: BTreeSet<&str> = BTreeSet::new();
    if !terms.self_approval {
        spent.extend(["alice"]);
    }
    let mut counted = Vec::new();
    for approval in given {
        let people = part_of(approval);
        if people.is_disjoint(&spent) {
            // With self-approval the submitter counts like any other user.
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

/// All permutations.
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
    /// One user never counts for two names, in any order of the log.
    #[test]
    fn counted_approvals_share_no_person(
        terms in any_terms(),
        kept in prop::collection::vec(any_kept(), 0..5),
    ) {
        for given in orders(&kept) {
            let expected = counted(&terms, &given);
            let found: Vec<&Approval> = valid_approvals(&terms, &given).collect();
            prop_assert_eq!(&found, &expected);
            if missing(&terms, &given).is_empty() {
                prop_assert!(is_enough(&terms, &expected), "{:?}", given);
            } else if terms.more == 0 {
                prop_assert!(!is_enough(&terms, &expected), "{:?}", given);
            }
        }
    }

    /// What [`approve`] accepts from delegates counts. What it refuses as a second approval shares
    /// a user with the recorded ones.
    #[test]
    fn accepted_delegated_approvals_always_count(
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
            // Each one counts, so no user is involved in two.
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
