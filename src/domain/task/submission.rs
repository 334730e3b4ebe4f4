//! What is known when a task is proposed: what it releases where, who requested it, and by which
//! way it came. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::host::ReleaseId;
use crate::domain::rule::Schedule;
use crate::domain::template::Hidden;

mod stored;

/// The origin of a task, with what only tasks of that origin have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Tag(PushedTag),
    /// A user requested a rollback to the release of an earlier task, or, without one, to what
    /// other tools left live: the plan names the release of each host.
    Rollback {
        to: Option<u64>,
        release: ReleaseId,
    },
    Submitted(ManualRequest),
}

/// The origin of a task as stored and shown, without its data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum OriginKind {
    Tag {
        rule: String,
    },
    Rollback {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
        release: ReleaseId,
    },
    Submitted {
        via: Via,
    },
}

impl From<&Origin> for OriginKind {
    fn from(origin: &Origin) -> Self {
        match origin {
            Origin::Tag(tag) => Self::Tag {
                rule: tag.rule.clone(),
            },
            Origin::Rollback { to, release } => Self::Rollback {
                to: *to,
                release: release.clone(),
            },
            Origin::Submitted(request) => Self::Submitted { via: request.via },
        }
    }
}

/// A tag that was pushed and matched a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedTag {
    /// The rule's pattern.
    pub rule: String,
    /// Of several tags in one push, the newest commit is released; `None` if unknown.
    pub push: Option<PushedWith>,
    pub supersede: Supersede,
}

/// The push that contained a tag, perhaps along with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedWith {
    /// Equal for all tags of one push, and for no others.
    pub id: String,
    /// The project's first task from this push: pushes are ordered by it.
    pub first: u64,
}

/// Whether a newer task of the same rule supersedes this one while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Supersede {
    ByNewer,
    Never,
}

/// What a user who submits a task manually may say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManualRequest {
    pub via: Via,
    /// Remarks for users.
    pub details: String,
    /// It does not run before this time; an approval may set a later one.
    pub run_at: Option<Timestamp>,
    /// Accounts that are requested to approve: they see the task, and gain no permission from this.
    pub approvers: Vec<String>,
    /// The person responsible for it; shown only.
    pub executor: String,
    /// The submitter named by a client; shown, and trusted only to bar them from approving.
    pub claimed_submitter: String,
    pub idempotency_key: Option<String>,
}

/// The interface by which a task was submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    Page,
    #[default]
    Api,
    /// CODO's own API.
    Codo,
    Command,
}

impl Via {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Api => "api",
            Self::Codo => "codo",
            Self::Command => "command",
        }
    }
}

/// The user who requested a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitter {
    /// As reported by the git server or the login.
    pub name: String,
    /// The account that it maps to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl Submitter {
    /// Returns the name to show: the account, if known.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.account.as_deref().unwrap_or(&self.name)
    }
}

/// Everything known when a task is proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "stored::StoredSubmission", into = "stored::StoredSubmission")]
pub struct Submission {
    pub origin: Origin,
    /// Empty, with the environment, for a task without a project: it has no queue.
    pub project: String,
    pub environment: String,
    pub repository: String,
    /// The full name of the ref, `refs/tags/release-1.0`; empty if the task releases nothing from a
    /// repository.
    pub reference: String,
    /// The object that was pushed: a commit or a tag object, 40 or 64 hex digits. Empty if only the
    /// tag's name was given: landing waits for the tag and pins what it points to then.
    pub object: String,
    pub template: String,
    pub schedule: Schedule,
    pub submitter: Submitter,
    /// How long the task may wait for approval, in seconds.
    pub expires_s: Option<u64>,
    /// Whether it is refused if it is older than what is live, or has diverged from it.
    pub refuse_older: bool,
    /// The template's parameters.
    pub parameters: BTreeMap<String, String>,
    /// Secret parameters, never shown. They are kept only here: no plan holds them.
    pub secrets: BTreeMap<String, Hidden>,
    /// Parameters from a rule, given while the template could not be read: it was unknown which are
    /// secret. Never shown, until the plan determines which are.
    pub unclassified: BTreeMap<String, Hidden>,
    /// The hosts given by the task itself, for stages with `hosts = "{1}"` to `"{9}"`: names of
    /// configured hosts, or addresses if the template allows free hosts.
    pub hosts: BTreeMap<u8, Vec<String>>,
    /// The title that is shown.
    pub title: String,
    /// Accounts besides the submitter's that may not approve it: those of the user who had a push
    /// replayed, and of the claimed submitter.
    pub involved: BTreeSet<String>,
}

impl Submission {
    /// Whether it has a project and environment, and so a queue and a release history.
    #[must_use]
    pub fn has_environment(&self) -> bool {
        !self.project.is_empty()
    }

    /// Whether it releases something from a repository, so that it has to land.
    #[must_use]
    pub fn has_reference(&self) -> bool {
        !self.reference.is_empty()
    }

    /// Returns a secret parameter's value. Earlier versions kept those of rules with the others.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&str> {
        let hidden = self.secrets.get(name);
        hidden
            .or_else(|| self.unclassified.get(name))
            .map(Hidden::expose)
            .or_else(|| self.parameters.get(name).map(String::as_str))
    }

    /// Returns the push that contained its tag, if known.
    #[must_use]
    pub fn push(&self) -> Option<&PushedWith> {
        match &self.origin {
            Origin::Tag(tag) => tag.push.as_ref(),
            Origin::Rollback { .. } | Origin::Submitted(_) => None,
        }
    }

    /// Whether a newer task of its rule supersedes it while it waits.
    #[must_use]
    pub fn yields_to_newer(&self) -> bool {
        matches!(&self.origin, Origin::Tag(tag) if tag.supersede == Supersede::ByNewer)
    }

    /// Returns what its submitter said of it, if it was submitted manually.
    #[must_use]
    pub fn request(&self) -> Option<&ManualRequest> {
        match &self.origin {
            Origin::Submitted(request) => Some(request),
            Origin::Tag(_) | Origin::Rollback { .. } => None,
        }
    }
}
