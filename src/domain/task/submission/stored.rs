//! The stored form of a submission: one flat object, which all versions can read. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ManualRequest, Origin, OriginKind, PushedTag, PushedWith, Submission, Submitter, Supersede,
};
use crate::domain::rule::Schedule;
use crate::domain::template::Hidden;

/// All fields of [`Submission`] and of every [`Origin`].
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredSubmission {
    origin: OriginKind,
    project: String,
    environment: String,
    repository: String,
    reference: String,
    object: String,
    template: String,
    schedule: Schedule,
    submitter: Submitter,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_s: Option<u64>,
    supersede: Supersede,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    push: Option<PushedWith>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    refuse_older: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, Hidden>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unsorted: BTreeMap<String, Hidden>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    details: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_at: Option<Timestamp>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "numeric_keys"
    )]
    hosts: BTreeMap<u8, Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    approvers: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    executor: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    claimed_submitter: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    involved: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
}

/// Reads numeric keys: JSON keys are text, and serde does not convert them inside an event.
fn numeric_keys<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<u8, Vec<String>>, D::Error> {
    let groups = BTreeMap::<String, Vec<String>>::deserialize(deserializer)?;
    groups
        .into_iter()
        .map(|(number, hosts)| {
            let number = number.parse().map_err(serde::de::Error::custom)?;
            Ok((number, hosts))
        })
        .collect()
}

impl From<StoredSubmission> for Submission {
    fn from(stored: StoredSubmission) -> Self {
        let origin = match stored.origin {
            OriginKind::Tag { rule } => Origin::Tag(PushedTag {
                rule,
                push: stored.push,
                supersede: stored.supersede,
            }),
            OriginKind::Rollback { to, release } => Origin::Rollback { to, release },
            OriginKind::Submitted { via } => Origin::Submitted(ManualRequest {
                via,
                details: stored.details,
                run_at: stored.run_at,
                approvers: stored.approvers,
                executor: stored.executor,
                claimed_submitter: stored.claimed_submitter,
                idempotency_key: stored.idempotency_key,
            }),
        };
        Self {
            origin,
            project: stored.project,
            environment: stored.environment,
            repository: stored.repository,
            reference: stored.reference,
            object: stored.object,
            template: stored.template,
            schedule: stored.schedule,
            submitter: stored.submitter,
            expires_s: stored.expires_s,
            refuse_older: stored.refuse_older,
            parameters: stored.parameters,
            secrets: stored.secrets,
            unclassified: stored.unsorted,
            hosts: stored.hosts,
            title: stored.title,
            involved: stored.involved,
        }
    }
}

impl From<Submission> for StoredSubmission {
    fn from(submission: Submission) -> Self {
        let origin = OriginKind::from(&submission.origin);
        let (mut supersede, mut push, mut request) =
            (Supersede::Never, None, ManualRequest::default());
        match submission.origin {
            Origin::Tag(tag) => (supersede, push) = (tag.supersede, tag.push),
            Origin::Submitted(manual) => request = manual,
            Origin::Rollback { .. } => {}
        }
        Self {
            origin,
            project: submission.project,
            environment: submission.environment,
            repository: submission.repository,
            reference: submission.reference,
            object: submission.object,
            template: submission.template,
            schedule: submission.schedule,
            submitter: submission.submitter,
            expires_s: submission.expires_s,
            supersede,
            push,
            refuse_older: submission.refuse_older,
            parameters: submission.parameters,
            secrets: submission.secrets,
            unsorted: submission.unclassified,
            title: submission.title,
            details: request.details,
            run_at: request.run_at,
            hosts: submission.hosts,
            approvers: request.approvers,
            executor: request.executor,
            claimed_submitter: request.claimed_submitter,
            involved: submission.involved,
            idempotency_key: request.idempotency_key,
        }
    }
}
