//! What a push submits, where a test has no push.

use std::collections::{BTreeMap, BTreeSet};

use tagship::domain::rule::Schedule;
use tagship::domain::task::{Origin, Submission, Submitter, Supersede};

/// alice pushed the tag `release-1` of `shop`; it waits for an approval in production.
pub(crate) fn pushed() -> Submission {
    Submission {
        origin: Origin::Tag {
            rule: "release-".to_owned(),
        },
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
        supersede: Supersede::ByNewer,
        push: None,
        refuse_older: false,
        parameters: BTreeMap::new(),
        secrets: BTreeMap::new(),
        unsorted: BTreeMap::new(),
        title: String::new(),
        details: String::new(),
        run_at: None,
        hosts: BTreeMap::new(),
        approvers: Vec::new(),
        executor: String::new(),
        claimed_submitter: String::new(),
        involved: BTreeSet::new(),
        idempotency_key: None,
    }
}
