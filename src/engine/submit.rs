//! Manually submitted tasks. An order ([`SubmissionOrder`]) is checked against configuration,
//! templates and permissions. It becomes a durable proposed task, or a list of all its problems.
//!
//! [`SubmissionOrder::read`], [`resolve()`] and [`admit`] are pure decisions over their arguments;
//! [`submit`] adds the store. Performs nothing: the executor lands the task and runs it. Called by
//! the web, for page, API, CODO's API and command line alike.

mod error;
mod order;
mod resolve;
mod sources;
mod target;

use std::collections::BTreeSet;

use jiff::Timestamp;

pub use error::{FieldProblem, SubmitError};
pub use order::{
    APPROVERS_MAX, DETAILS_CHARS_MAX, KEY_CHARS_MAX, PARAMS_MAX, SubmissionOrder, TITLE_CHARS_MAX,
    VALUE_BYTES_MAX, VALUES_BYTES_MAX, group_number,
};
use resolve::OwnApproval;
pub use resolve::{Resolved, is_usable, resolve};
pub use sources::{ResolveSources, Visibility};

use crate::domain::approval::{self, Actor, Approval, ApprovalWeight, MissingApproval, Terms};
pub use crate::domain::permission::PermissionTarget;
use crate::domain::permission::{Ability, Role};
use crate::domain::rule::Schedule;
use crate::domain::task::{Origin, Submission, Submitter, Via};
use crate::store::{ExtraWrites, IdempotencyKey, Proposal, Store};

/// The submitting user.
pub struct SubmittingUser<'a> {
    /// The account's name, or `os:NAME`.
    pub name: &'a str,
    /// The user's roles in a scope.
    pub actor_at: &'a (dyn Fn(&PermissionTarget) -> Actor + Sync),
    pub via: Via,
}

/// The result of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    New(u64),
    /// It was submitted before, under the same idempotency key.
    Before(u64),
}

impl Submitted {
    #[must_use]
    pub fn id(self) -> u64 {
        match self {
            Self::New(id) | Self::Before(id) => id,
        }
    }
}

/// Returns the submission of an order, if this actor is permitted to run it there.
///
/// # Errors
/// [`SubmitError::Missing`] or [`SubmitError::Right`] names the missing permission and its scope.
pub fn admit(resolved: &Resolved, actor: &Actor, via: Via) -> Result<Submission, SubmitError> {
    let right = |what, needs: String| SubmitError::Right {
        actor: actor.name.clone(),
        what,
        target: Box::new(resolved.target()),
        needs,
    };
    actor.may(Ability::Submit, "submit a task")?;
    if resolved.submission.schedule == Schedule::Ready {
        let what = "run a task without approval";
        actor.may(Ability::Run, what)?;
        if actor.counts == ApprovalWeight::NotLocally {
            return Err(right(
                what,
                "an account whose approval counts; submit it as `new`, log in as an approver, or set \
                 [agent] local_approval = true"
                    .to_owned(),
            ));
        }
        if resolved.own_approval == OwnApproval::NotHere && actor.role < Role::Admin {
            let needs = "the role admin, or `self_approval = true` there, because that environment says who approves";
            return Err(right(what, format!("{needs}; submit it as `new`")));
        }
        let missing = missing(resolved, actor);
        if !missing.is_empty() {
            let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
            let needs = format!("more approvals than one's own: {}", missing.join(", "));
            return Err(right(what, format!("{needs}; submit it as `new`")));
        }
    }
    let mut submission = resolved.submission.clone();
    if let Origin::Submitted(request) = &mut submission.origin {
        request.via = via;
    }
    Ok(Submission {
        submitter: Submitter {
            name: actor.name.clone(),
            account: Some(actor.name.clone()),
        },
        ..submission
    })
}

/// Returns the approvals that are needed beyond the submitter's own, which `ready` gives.
fn missing(resolved: &Resolved, actor: &Actor) -> Vec<MissingApproval> {
    let plan = crate::domain::plan::PlanDigest(String::new());
    let own = Approval {
        by: actor.name.clone(),
        in_stead_of: None,
        groups: actor.groups.clone(),
        plan: plan.clone(),
        comment: String::new(),
        not_before: None,
        emergency: None,
        at: Timestamp::UNIX_EPOCH,
    };
    let terms = Terms {
        plan,
        approvals: resolved.approvals.clone(),
        self_approval: true,
        submitters: BTreeSet::new(),
        more: 0,
    };
    approval::missing(&terms, &[own])
}

/// Makes a proposed task of an order. The same idempotency key from the same submitter returns the
/// same task. `also` is part of the same commit, for the number of the new task.
///
/// # Errors
/// [`SubmitError`]; nothing was made then.
pub async fn submit(
    store: &Store,
    sources: &ResolveSources<'_>,
    order: &SubmissionOrder,
    user: &SubmittingUser<'_>,
    now: Timestamp,
    also: ExtraWrites<'_>,
) -> Result<Submitted, SubmitError> {
    let idempotency = order.idempotency_key.as_ref().map(|key| IdempotencyKey {
        submitter: user.name.to_owned(),
        key: key.clone(),
        digest: order.digest(),
    });
    // A repeated order gets the same answer, whatever the configuration is now.
    if let Some(idempotency) = &idempotency
        && let Some(earlier) = store.task_of_key(idempotency, now).await?
    {
        return earlier_submission(idempotency, earlier);
    }
    let resolved = resolve(order, sources)?;
    let actor = (user.actor_at)(&resolved.target());
    let submission = admit(&resolved, &actor, user.via)?;
    match store
        .submit(submission, idempotency.as_ref(), now, also)
        .await?
    {
        Proposal::New(id) => Ok(Submitted::New(id)),
        Proposal::Joined(id) | Proposal::TakenInBefore(id) => Ok(Submitted::Before(id)),
        Proposal::OtherContent(id) => Err(SubmitError::OtherContent {
            key: order.idempotency_key.clone().unwrap_or_default(),
            id,
        }),
    }
}

fn earlier_submission(
    idempotency: &IdempotencyKey,
    earlier: (u64, String),
) -> Result<Submitted, SubmitError> {
    let (id, digest) = earlier;
    if digest == idempotency.digest {
        return Ok(Submitted::Before(id));
    }
    Err(SubmitError::OtherContent {
        key: idempotency.key.clone(),
        id,
    })
}

#[cfg(test)]
mod permission_tests;
#[cfg(test)]
mod tests;
