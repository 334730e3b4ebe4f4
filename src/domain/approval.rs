//! Who may approve a plan, and whether there are enough approvals.
//!
//! Pure: the web and the command line call [`approve`] to evaluate an actor's approval; the task's
//! fold calls [`missing`] to decide whether the task may continue. Nothing here reads an account.
//! An [`Actor`] has the role (for the task's target), groups and [`Mandate`]s of that moment, and
//! its [`Approval`] records them.

pub mod freeze;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::domain::permission::Role;
use crate::domain::permission::{
    Ability, EffectiveRole, Missing, Ownership, PermissionTarget, Scopes,
};
use crate::domain::plan::PlanDigest;
use crate::domain::template::{Approvers, Requirement};

/// The operation that requires an admin.
pub const EMERGENCY: &str = "approve in an emergency";

/// The user who makes a request, with their current permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The account's name, or `os:NAME` for a user of the agent's machine.
    pub name: String,
    /// The role for this target, at most what `scopes` permit.
    pub role: Role,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Whether their approval counts: `[agent] local_approval` decides for `os:` actors.
    pub counts: ApprovalWeight,
    /// The scopes of their login, which limit what they may do.
    #[serde(default)]
    pub scopes: Scopes,
    /// The target of the request.
    #[serde(default, rename = "place")]
    pub target: PermissionTarget,
    /// The users on whose behalf they may approve there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mandates: Vec<Mandate>,
}

impl Actor {
    /// Returns an actor with this role and nothing else.
    #[must_use]
    pub fn new(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            role,
            groups: Vec::new(),
            counts: ApprovalWeight::Yes,
            scopes: Scopes::default(),
            target: PermissionTarget::default(),
            mandates: Vec::new(),
        }
    }

    fn effective_role(&self) -> EffectiveRole<'_> {
        EffectiveRole {
            name: &self.name,
            role: self.role,
            scopes: &self.scopes,
            target: &self.target,
        }
    }

    /// # Errors
    /// [`Missing`] names the permission that `action` (`roll back`) requires.
    pub fn may(&self, ability: Ability, what: &'static str) -> Result<(), Missing> {
        self.effective_role().may(ability, what)
    }

    /// Checks withdrawing, stopping or retrying a task.
    ///
    /// # Errors
    /// As [`Actor::may`].
    pub fn may_of(&self, ownership: Ownership, what: &'static str) -> Result<(), Missing> {
        self.effective_role().may_of(ownership, what)
    }

    /// Whether they may see what happens at their target: by their own role, or because they
    /// approve there on behalf of a user. (A token also needs the scope to read.)
    #[must_use]
    pub fn sees(&self, at: Timestamp) -> bool {
        self.role >= Ability::See.role() || self.mandates.iter().any(|mandate| mandate.is_valid(at))
    }
}

/// A delegation: one user lets another approve on their behalf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mandate {
    /// The user who delegates.
    pub of: String,
    /// That user's current role for the target.
    pub role: Role,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// When it expires.
    pub until: Timestamp,
}

impl Mandate {
    fn is_valid(&self, at: Timestamp) -> bool {
        at < self.until && self.role >= Role::Approver
    }
}

/// Whether an actor's approvals count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalWeight {
    Yes,
    /// A user of the agent's machine, while `[agent] local_approval` is off.
    NotLocally,
}

/// An approval: by whom, of which plan, when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: String,
    /// On whose behalf it was given, if so; the groups are then that user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_stead_of: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    pub plan: PlanDigest,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The task does not run before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Why an admin gave it in an emergency, if so: it replaces all missing approvals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
    pub at: Timestamp,
}

impl Approval {
    /// Returns `bob`, `bob on behalf of alice`, or `root in an EMERGENCY (the shop is down)`.
    #[must_use]
    pub fn attribution(&self) -> String {
        match (&self.in_stead_of, &self.emergency) {
            (_, Some(reason)) => format!("{} in an EMERGENCY ({reason})", self.by),
            (Some(of), None) => format!("{} on behalf of {of}", self.by),
            (None, None) => self.by.clone(),
        }
    }
}

/// A request to approve.
#[derive(Clone, Debug)]
pub struct ApprovalRequest<'a> {
    pub actor: &'a Actor,
    /// The digest that the actor saw.
    pub plan: &'a PlanDigest,
    pub comment: &'a str,
    pub not_before: Option<Timestamp>,
    /// Why it is given in an emergency, if so.
    pub emergency: Option<&'a str>,
    pub at: Timestamp,
}

/// What a plan requires of its approvers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub plan: PlanDigest,
    pub approvals: Vec<Requirement>,
    pub self_approval: bool,
    /// Accounts that may not approve because they are involved in the task: that of the user who
    /// pushed or submitted it or had the push replayed, and the one that a client names. Earlier
    /// versions kept one, or `null`.
    #[serde(
        default,
        alias = "submitter",
        deserialize_with = "one_or_many",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub submitters: BTreeSet<String>,
    /// Additional approvals, from any approver: one if the pusher's account is unknown, because the
    /// pusher may be one of the approvers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeSet<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum StoredSubmitters {
        Several(BTreeSet<String>),
        One(Option<String>),
    }
    Ok(match StoredSubmitters::deserialize(deserializer)? {
        StoredSubmitters::Several(several) => several,
        StoredSubmitters::One(one) => one.into_iter().collect(),
    })
}

/// Returns the number of additional approvals for a submitter with this account.
#[must_use]
pub fn more_for(submitter: Option<&str>) -> u32 {
    u32::from(submitter.is_none())
}

/// Why an approval is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalRefusal {
    #[error(transparent)]
    Right(#[from] Missing),
    #[error(
        "{actor} is a user of the agent's machine, whose approval does not count; log in as an approver, set [agent] local_approval = true, or, in an emergency, approve with --emergency REASON"
    )]
    Local { actor: String },
    #[error("{actor} submitted this task and may not approve it; another approver has to")]
    SelfApproval { actor: String },
    #[error(
        "{actor} has approved this plan already, or another user on their behalf; another approver has to"
    )]
    Twice { actor: String },
    #[error("the plan has changed: you saw {seen}, it is now {now}; look at it again")]
    OtherPlan { seen: String, now: String },
    #[error("{actor} is in none of the groups that this plan asks for: {required}")]
    NotRequired { actor: String, required: String },
}

/// In which capacity a user approves.
#[derive(Clone, Copy)]
struct Capacity<'a> {
    /// The user who approves.
    by: &'a str,
    /// On whose behalf, if not their own.
    of: Option<&'a str>,
    groups: &'a [String],
}

impl<'a> Capacity<'a> {
    fn of_approval(approval: &'a Approval) -> Self {
        Self {
            by: &approval.by,
            of: approval.in_stead_of.as_deref(),
            groups: &approval.groups,
        }
    }

    /// Returns the user whose approval it counts as.
    fn counted_user(&self) -> &'a str {
        self.of.unwrap_or(self.by)
    }

    fn involves(&self, name: &str) -> bool {
        self.by == name || self.of == Some(name)
    }

    /// Whether the two have a user in common: no person counts twice.
    fn shares_user(&self, other: &Self) -> bool {
        self.involves(other.by) || other.of.is_some_and(|of| self.involves(of))
    }

    /// Whether a user in it submitted the task and may therefore not approve it.
    fn submitted(&self, terms: &Terms) -> bool {
        let mut submitters = terms.submitters.iter();
        !terms.self_approval && submitters.any(|submitter| self.involves(submitter))
    }

    fn satisfies(&self, requirement: &Requirement) -> bool {
        match &requirement.of {
            Approvers::Anyone => true,
            Approvers::Group(group) => self.groups.contains(group),
            Approvers::User(user) => user == self.counted_user(),
        }
    }

    /// Whether the plan requires it at all.
    fn is_required(&self, terms: &Terms) -> bool {
        terms.more > 0
            || terms.approvals.is_empty()
            || terms
                .approvals
                .iter()
                .any(|required| self.satisfies(required))
    }
}

/// Creates an actor's [`Approval`] of exactly this plan: in their own name, or on behalf of a user
/// who delegated to them. It prefers the capacity that fulfils a requirement.
///
/// # Errors
/// An [`ApprovalRefusal`] that names the missing permission.
pub fn approve(
    terms: &Terms,
    approvals: &[Approval],
    request: &ApprovalRequest<'_>,
) -> Result<Approval, ApprovalRefusal> {
    let actor = request.actor;
    if let Some(reason) = request.emergency {
        return emergency(terms, request, reason);
    }
    let own = Capacity {
        by: &actor.name,
        of: None,
        groups: &actor.groups,
    };
    let refusal = refusal(terms, approvals, request, own);
    let mut capacities: Vec<Capacity<'_>> = Vec::new();
    capacities.extend(refusal.is_none().then_some(own));
    // Approving on behalf of another needs neither a role nor a group, but everything else.
    let may_stand_in = *request.plan == terms.plan
        && actor.counts == ApprovalWeight::Yes
        && actor.scopes.has(Ability::Approve.scope());
    let others = actor
        .mandates
        .iter()
        .filter(|mandate| may_stand_in && mandate.is_valid(request.at))
        .map(|mandate| Capacity {
            by: &actor.name,
            of: Some(&mandate.of),
            groups: &mandate.groups,
        });
    capacities.extend(others.filter(|other| check_capacity(terms, approvals, *other).is_ok()));
    let helps = |capacity: &&Capacity<'_>| {
        unmet(terms, approvals)
            .iter()
            .any(|(requirement, _)| capacity.satisfies(requirement))
    };
    let best = capacities.iter().find(helps).or(capacities.first());
    let Some(capacity) = best else {
        return Err(refusal.unwrap_or_else(|| ApprovalRefusal::Twice {
            actor: actor.name.clone(),
        }));
    };
    Ok(Approval {
        by: actor.name.clone(),
        in_stead_of: capacity.of.map(str::to_owned),
        groups: capacity.groups.to_vec(),
        plan: terms.plan.clone(),
        comment: request.comment.to_owned(),
        not_before: request.not_before,
        emergency: None,
        at: request.at,
    })
}

/// Creates an admin's emergency approval. The submitter and users of the agent's machine may also
/// give it: it is marked wherever the task is shown.
fn emergency(
    terms: &Terms,
    request: &ApprovalRequest<'_>,
    reason: &str,
) -> Result<Approval, ApprovalRefusal> {
    let actor = request.actor;
    actor.may(Ability::Manage, EMERGENCY)?;
    if let Some(refusal) = other_plan(terms, request) {
        return Err(refusal);
    }
    Ok(Approval {
        by: actor.name.clone(),
        in_stead_of: None,
        groups: actor.groups.clone(),
        plan: terms.plan.clone(),
        comment: request.comment.to_owned(),
        not_before: request.not_before,
        emergency: Some(reason.to_owned()),
        at: request.at,
    })
}

fn other_plan(terms: &Terms, request: &ApprovalRequest<'_>) -> Option<ApprovalRefusal> {
    (*request.plan != terms.plan).then(|| ApprovalRefusal::OtherPlan {
        seen: short_digest(&request.plan.0),
        now: short_digest(&terms.plan.0),
    })
}

/// Returns why the actor may not approve in their own name, if so.
fn refusal(
    terms: &Terms,
    approvals: &[Approval],
    request: &ApprovalRequest<'_>,
    own: Capacity<'_>,
) -> Option<ApprovalRefusal> {
    let actor = request.actor;
    if let Err(missing) = actor.may(Ability::Approve, "approve a task") {
        return Some(missing.into());
    }
    if actor.counts == ApprovalWeight::NotLocally {
        let actor = actor.name.clone();
        return Some(ApprovalRefusal::Local { actor });
    }
    if own.submitted(terms) {
        let actor = actor.name.clone();
        return Some(ApprovalRefusal::SelfApproval { actor });
    }
    other_plan(terms, request).or_else(|| check_capacity(terms, approvals, own).err())
}

/// Checks whether an approval in this capacity would count.
fn check_capacity(
    terms: &Terms,
    approvals: &[Approval],
    capacity: Capacity<'_>,
) -> Result<(), ApprovalRefusal> {
    let actor = || capacity.by.to_owned();
    if capacity.submitted(terms) {
        return Err(ApprovalRefusal::SelfApproval { actor: actor() });
    }
    if valid_approvals(terms, approvals)
        .any(|approval| Capacity::of_approval(approval).shares_user(&capacity))
    {
        return Err(ApprovalRefusal::Twice { actor: actor() });
    }
    if !capacity.is_required(terms) {
        let required: Vec<String> = terms.approvals.iter().map(ToString::to_string).collect();
        return Err(ApprovalRefusal::NotRequired {
            actor: actor(),
            required: required.join(", "),
        });
    }
    Ok(())
}

/// Approvals that a plan still needs before it may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingApproval {
    /// The number required.
    pub required: u32,
    /// The number given so far.
    pub have: u32,
    /// Whose approval counts, an account or `@GROUP`; `null`: that of every approver.
    pub of: Option<String>,
    /// Whether they are required in addition, because no account is known for the pusher.
    pub unknown_pusher: bool,
}

impl fmt::Display for MissingApproval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (required, have) = (self.required, self.have);
        match &self.of {
            _ if self.unknown_pusher => write!(
                f,
                "{required} more, because no account is known for the pusher (map it with gitlab, system or ssh_keys of [users.NAME])"
            ),
            None => write!(f, "{required} (has {have})"),
            Some(of) => write!(f, "{required} of {of} (has {have})"),
        }
    }
}

/// Returns what the plan still needs before it may run; empty if nothing. One person's approval may
/// count for several requirements, but only once for each.
#[must_use]
pub fn missing(terms: &Terms, approvals: &[Approval]) -> Vec<MissingApproval> {
    let in_emergency =
        |approval: &Approval| approval.plan == terms.plan && approval.emergency.is_some();
    if approvals.iter().any(in_emergency) {
        return Vec::new();
    }
    let lacking = unmet(terms, approvals);
    let mut missing: Vec<MissingApproval> = lacking
        .into_iter()
        .map(|(requirement, have)| MissingApproval {
            required: requirement.count,
            have,
            of: requirement.of.name(),
            unknown_pusher: false,
        })
        .collect();
    let have = surplus(terms, approvals);
    if have < terms.more {
        missing.push(MissingApproval {
            required: terms.more,
            have,
            of: None,
            unknown_pusher: true,
        });
    }
    missing
}

/// Returns the requirements that are not met, with the number of approvals each has.
fn unmet(terms: &Terms, approvals: &[Approval]) -> Vec<(Requirement, u32)> {
    let valid: Vec<Capacity<'_>> = valid_approvals(terms, approvals)
        .map(Capacity::of_approval)
        .collect();
    unmet_by(terms, &valid)
}

fn unmet_by(terms: &Terms, valid: &[Capacity<'_>]) -> Vec<(Requirement, u32)> {
    let anyone = [Requirement {
        count: 1,
        of: Approvers::Anyone,
    }];
    let required = match terms.approvals.as_slice() {
        [] => anyone.as_slice(),
        required => required,
    };
    required
        .iter()
        .map(|requirement| {
            let fulfilling = valid.iter().filter(|one| one.satisfies(requirement));
            (requirement.clone(), fulfilling.map(|_| 1).sum())
        })
        .filter(|(requirement, have)| *have < requirement.count)
        .collect()
}

/// Returns how many of the approvals are not needed for the requirements.
fn surplus(terms: &Terms, approvals: &[Approval]) -> u32 {
    let mut valid: Vec<Capacity<'_>> = valid_approvals(terms, approvals)
        .map(Capacity::of_approval)
        .collect();
    let lacking = unmet_by(terms, &valid);
    let mut spare = 0;
    let mut index = 0;
    while index < valid.len() {
        let one = valid.remove(index);
        if unmet_by(terms, &valid) == lacking {
            spare += 1;
        } else {
            valid.insert(index, one);
            index += 1;
        }
    }
    spare
}

/// Returns the approvals that count: of this plan, one for each person, none of the submitter.
fn valid_approvals<'a>(
    terms: &'a Terms,
    approvals: &'a [Approval],
) -> impl Iterator<Item = &'a Approval> {
    let mut counted: Vec<Capacity<'a>> = Vec::new();
    approvals.iter().filter(move |approval| {
        let capacity = Capacity::of_approval(approval);
        let counts = approval.plan == terms.plan
            && !capacity.submitted(terms)
            && !counted.iter().any(|earlier| earlier.shares_user(&capacity));
        if counts {
            counted.push(capacity);
        }
        counts
    })
}

fn short_digest(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod emergency_tests;
#[cfg(test)]
mod invariant_tests;
#[cfg(test)]
mod tests;
