//! Who may approve a plan, and whether enough people have.
//!
//! Pure: the web and the command line ask [`approve`] what an actor's yes is worth, the task's fold
//! asks [`missing`] whether it may go on. Nothing here reads an account; an [`Actor`] arrives with
//! the role and the groups that it had at that moment, and its [`Approval`] keeps them.

pub mod freeze;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::PlanDigest;
use crate::template::{Approvers, Requirement};

/// What a person may do; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// May look.
    Viewer,
    /// May withdraw what they submitted, and retry it.
    Submitter,
    /// May approve, reject, stop, retry and roll back.
    Approver,
    /// May manage people and hosts.
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Submitter, Self::Approver, Self::Admin];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Submitter => "submitter",
            Self::Approver => "approver",
            Self::Admin => "admin",
        })
    }
}

/// No role has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no role: choose viewer, submitter, approver or admin")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let role = Self::ALL.into_iter().find(|role| role.to_string() == text);
        role.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// Somebody who asks for something, with what they are at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The account's name, or `os:NAME` for a user of the agent's machine.
    pub name: String,
    pub role: Role,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Whether their yes can count at all: `[agent] local_approval` decides it for `os:` actors.
    pub counts: Counts,
}

/// Whether an actor's approval counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    Yes,
    /// A user of the agent's machine, where `[agent] local_approval` is off.
    NotLocally,
}

/// A yes: who said it, to which plan, when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    pub plan: PlanDigest,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The task shall not run before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    pub at: Timestamp,
}

/// What the yes of an actor was asked for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub actor: &'a Actor,
    /// The digest that the actor saw.
    pub plan: &'a PlanDigest,
    pub comment: &'a str,
    pub not_before: Option<Timestamp>,
    pub at: Timestamp,
}

/// What a plan asks of its approvers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub plan: PlanDigest,
    pub approvals: Vec<Requirement>,
    pub self_approval: bool,
    /// The account that submitted the task, if it is known.
    pub submitter: Option<String>,
}

/// Why an approval is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{actor} has the role {role}; approving takes the role approver")]
    Role { actor: String, role: Role },
    #[error(
        "{actor} is a user of the agent's machine, whose approval does not count; log in as an approver, or set [agent] local_approval = true"
    )]
    Local { actor: String },
    #[error("{actor} submitted this task and may not approve it; somebody else has to")]
    SelfApproval { actor: String },
    #[error("{actor} has approved this plan already")]
    Twice { actor: String },
    #[error("the plan has changed: you saw {seen}, it is now {now}; look at it again")]
    OtherPlan { seen: String, now: String },
    #[error("{actor} is in none of the groups that this plan asks for: {asked}")]
    NotAsked { actor: String, asked: String },
}

/// Turns an actor's yes into an [`Approval`] of exactly this plan.
///
/// # Errors
/// A [`Refusal`] that says which right is missing.
pub fn approve(
    terms: &Terms,
    given: &[Approval],
    request: &Request<'_>,
) -> Result<Approval, Refusal> {
    let actor = request.actor;
    let name = || actor.name.clone();
    if actor.role < Role::Approver {
        return Err(Refusal::Role {
            actor: name(),
            role: actor.role,
        });
    }
    if actor.counts == Counts::NotLocally {
        return Err(Refusal::Local { actor: name() });
    }
    if !terms.self_approval && terms.submitter.as_deref() == Some(actor.name.as_str()) {
        return Err(Refusal::SelfApproval { actor: name() });
    }
    if *request.plan != terms.plan {
        return Err(Refusal::OtherPlan {
            seen: short(&request.plan.0),
            now: short(&terms.plan.0),
        });
    }
    if valid(terms, given).any(|approval| approval.by == actor.name) {
        return Err(Refusal::Twice { actor: name() });
    }
    let asked = terms
        .approvals
        .iter()
        .any(|requirement| meets(requirement, &actor.name, &actor.groups));
    if !asked && !terms.approvals.is_empty() {
        let asked: Vec<String> = terms.approvals.iter().map(ToString::to_string).collect();
        return Err(Refusal::NotAsked {
            actor: name(),
            asked: asked.join(", "),
        });
    }
    Ok(Approval {
        by: name(),
        groups: actor.groups.clone(),
        plan: terms.plan.clone(),
        comment: request.comment.to_owned(),
        not_before: request.not_before,
        at: request.at,
    })
}

/// What is still missing before the plan may run: nothing, when the list is empty. One person's yes
/// may count for several requirements, but only once for each.
#[must_use]
pub fn missing(terms: &Terms, given: &[Approval]) -> Vec<String> {
    let mut missing = Vec::new();
    if terms.approvals.is_empty() && valid(terms, given).next().is_none() {
        missing.push("1 (has 0)".to_owned());
    }
    for requirement in &terms.approvals {
        let have = valid(terms, given)
            .filter(|approval| meets(requirement, &approval.by, &approval.groups))
            .count();
        if have < requirement.count as usize {
            missing.push(format!("{requirement} (has {have})"));
        }
    }
    missing
}

/// The approvals that count: of this plan, each person once, never the submitter's own.
fn valid<'a>(terms: &'a Terms, given: &'a [Approval]) -> impl Iterator<Item = &'a Approval> {
    given
        .iter()
        .enumerate()
        .filter_map(move |(index, approval)| {
            let own =
                !terms.self_approval && terms.submitter.as_deref() == Some(approval.by.as_str());
            let repeated = given[..index]
                .iter()
                .any(|earlier| earlier.by == approval.by && earlier.plan == approval.plan);
            (approval.plan == terms.plan && !own && !repeated).then_some(approval)
        })
}

fn meets(requirement: &Requirement, name: &str, groups: &[String]) -> bool {
    match &requirement.of {
        Approvers::Anyone => true,
        Approvers::Group(group) => groups.iter().any(|own| own == group),
        Approvers::User(user) => user == name,
    }
}

fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests;
