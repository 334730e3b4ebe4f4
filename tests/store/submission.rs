//! A submission as by a push, for tests without a push.

use std::collections::{BTreeMap, BTreeSet};

use tagship::domain::rule::Schedule;
use tagship::domain::task::{Origin, PushedTag, Submission, Submitter, Supersede};

/// alice pushed the tag `release-1` of `shop`; it waits for an approval in production.
pub(crate) fn pushed() -> Submission {
    Submission {
        origin: of_rule("release-", Supersede::ByNewer),
        project: "shop".to_owned(),
        environment: "production".to_owned(),
        repository: "alice/shop".to_owned(),
        reference: "refs/tags/release-1".to_owned(),
        object: "1".repeat(40),
        template: "git-release".to_owned(),
        schedule: Schedule::New,
        submitter: Submitter {
            name: "alice".to_owned(),
            account: Some("alice".to_owned()),
        },
        expires_s: Some(7 * 86400),
        refuse_older: false,
        parameters: BTreeMap::new(),
        secrets: BTreeMap::new(),
        unclassified: BTreeMap::new(),
        hosts: BTreeMap::new(),
        title: String::new(),
        involved: BTreeSet::new(),
    }
}

/// The origin of a tag that was pushed alone and matched this rule.
pub(crate) fn of_rule(rule: &str, supersede: Supersede) -> Origin {
    Origin::Tag(PushedTag {
        rule: rule.to_owned(),
        push: None,
        supersede,
    })
}
