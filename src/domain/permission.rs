//! Permissions: roles, scopes of tokens, grants limited to a target, and what each ability
//! requires.
//!
//! Pure: `config` reads grants, `account` keeps roles and scopes, the web computes a user's role
//! for a target with [`role_in`], and [`EffectiveRole::may`] returns the missing permission. What a
//! plan requires of its approvers is in `approval`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The permissions of a user; each role includes those of the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Nothing except what is granted.
    None,
    /// May view.
    Viewer,
    /// May submit tasks that wait for approval; may withdraw, stop and retry their own.
    Submitter,
    /// May approve, reject, run, stop, retry and roll back.
    Approver,
    /// May manage users, tokens and hosts, and override freezes.
    Admin,
}

impl Role {
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Viewer,
        Self::Submitter,
        Self::Approver,
        Self::Admin,
    ];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Viewer => "viewer",
            Self::Submitter => "submitter",
            Self::Approver => "approver",
            Self::Admin => "admin",
        })
    }
}

/// The name of an unknown role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no role: choose none, viewer, submitter, approver or admin")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let role = Self::ALL.into_iter().find(|role| role.to_string() == text);
        role.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// What a token may be used for, within its account's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    Read,
    Submit,
    /// Includes run, stop and roll back.
    Approve,
    /// Includes the token's own account: password, tokens, second factor, delegations.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Read, Self::Submit, Self::Approve, Self::Admin];

    /// Returns the highest role whose abilities this scope permits.
    fn ceiling(self) -> Role {
        match self {
            Self::Read => Role::Viewer,
            Self::Submit => Role::Submitter,
            Self::Approve => Role::Approver,
            Self::Admin => Role::Admin,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Approve => "approve",
            Self::Admin => "admin",
        })
    }
}

/// The name of an unknown scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no scope: choose read, submit, approve or admin")]
pub struct UnknownScope(pub String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let scope = Self::ALL
            .into_iter()
            .find(|scope| scope.to_string() == text);
        scope.ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// A set of scopes; all of them by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(BTreeSet<Scope>);

impl Default for Scopes {
    fn default() -> Self {
        Self(BTreeSet::from(Scope::ALL))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl Scopes {
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of them are in `other`.
    #[must_use]
    pub fn are_within(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }

    /// Returns the highest role that these scopes permit, whatever the account's role is.
    #[must_use]
    pub fn ceiling(&self) -> Role {
        let roles = self.0.iter().map(|scope| scope.ceiling());
        roles.max().unwrap_or(Role::None)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (index, scope) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{scope}")?;
        }
        Ok(())
    }
}

/// The target of an operation. If all fields are empty it is no particular one, and only roles for
/// all targets count. A task without a project has an empty project and environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PermissionTarget {
    pub project: String,
    pub environment: String,
    /// The template's name, or its number if the task specified that.
    pub template: String,
}

impl PermissionTarget {
    #[must_use]
    pub fn new(project: &str, environment: &str, template: &str) -> Self {
        Self {
            project: project.to_owned(),
            environment: environment.to_owned(),
            template: template.to_owned(),
        }
    }
}

/// ` in shop production (template git-release)`: with a leading space; empty if all fields are.
impl fmt::Display for PermissionTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.project.as_str(), self.environment.as_str()) {
            ("", "") => {}
            (project, "") => write!(f, " in {project}")?,
            (project, environment) => write!(f, " in {project} {environment}")?,
        }
        match self.template.as_str() {
            "" => Ok(()),
            template => write!(f, " (template {template})"),
        }
    }
}

/// Maximum length of a name of an account or group.
pub const NAME_CHARACTERS_MAX: usize = 64;

/// Whether this is a valid name of an account or group: `[a-z0-9._-]`, at most 64, not `.` first.
/// Every name of one, including those in the configuration, obeys this rule.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=NAME_CHARACTERS_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// Who receives a grant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Grantee {
    Account(String),
    /// All members of this group; written with a leading `@`.
    Group(String),
}

/// A text that is not a valid account or group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an account nor a group: write \"alice\" or \"@pm\"")]
pub struct BadGrantee(pub String);

impl TryFrom<String> for Grantee {
    type Error = BadGrantee;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (group, name) = match text.strip_prefix('@') {
            Some(group) => (true, group),
            None => (false, text.as_str()),
        };
        match (is_name(name), group) {
            (false, _) => Err(BadGrantee(text.clone())),
            (true, true) => Ok(Self::Group(name.to_owned())),
            (true, false) => Ok(Self::Account(text)),
        }
    }
}

/// `[[grants]]`: raises a role for a target. A missing project, environment or template matches all
/// of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub to: Vec<Grantee>,
    pub role: Role,
    pub project: Option<String>,
    pub environment: Option<String>,
    /// The template's name or number.
    #[serde(default, deserialize_with = "template_named")]
    pub template: Option<String>,
}

/// Reads a template's name, or its number in CODO's API, with or without quotes.
pub(crate) fn template_named<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a template's name or number")]
    enum TemplateRef {
        Name(String),
        Number(u64),
    }
    Ok(Some(match TemplateRef::deserialize(deserializer)? {
        TemplateRef::Name(name) => name,
        TemplateRef::Number(number) => number.to_string(),
    }))
}

impl Grant {
    fn is_for(&self, name: &str, groups: &[String]) -> bool {
        self.to.iter().any(|grantee| match grantee {
            Grantee::Account(account) => account == name,
            Grantee::Group(group) => groups.contains(group),
        })
    }

    fn applies_to(&self, target: &PermissionTarget) -> bool {
        let is = |filter: &Option<String>, value: &str| {
            filter.as_deref().is_none_or(|filter| filter == value)
        };
        is(&self.project, &target.project)
            && is(&self.environment, &target.environment)
            && is(&self.template, &target.template)
    }
}

/// Returns a user's role for a target: the highest of the base role and the matching grants.
#[must_use]
pub fn role_in(
    base: Role,
    name: &str,
    groups: &[String],
    grants: &[Grant],
    target: &PermissionTarget,
) -> Role {
    grants
        .iter()
        .filter(|grant| grant.is_for(name, groups) && grant.applies_to(target))
        .map(|grant| grant.role)
        .fold(base, Role::max)
}

/// Returns a user's highest role for any target.
#[must_use]
pub fn role_anywhere(base: Role, name: &str, groups: &[String], grants: &[Grant]) -> Role {
    grants
        .iter()
        .filter(|grant| grant.is_for(name, groups))
        .map(|grant| grant.role)
        .fold(base, Role::max)
}

/// Returns the targets of a user's grants; an empty field matches everything.
pub fn granted<'a>(
    name: &'a str,
    groups: &'a [String],
    grants: &'a [Grant],
) -> impl Iterator<Item = PermissionTarget> + 'a {
    let own = grants.iter().filter(|grant| grant.is_for(name, groups));
    own.map(|grant| {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        PermissionTarget {
            project: part(&grant.project),
            environment: part(&grant.environment),
            template: part(&grant.template),
        }
    })
}

/// Something that requires a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ability {
    /// See tasks, their logs, and what is live.
    See,
    /// Submit a task that waits for approval.
    Submit,
    /// Withdraw, stop and retry one's own tasks.
    Own,
    /// Approve and reject.
    Approve,
    /// Submit tasks that run without approval; resume, stop, retry, skip and roll back any task.
    Run,
    /// Manage users, tokens and hosts; override freezes.
    Manage,
}

impl Ability {
    pub const ALL: [Self; 6] = [
        Self::See,
        Self::Submit,
        Self::Own,
        Self::Approve,
        Self::Run,
        Self::Manage,
    ];

    /// Returns the lowest role that has it.
    #[must_use]
    pub fn role(self) -> Role {
        match self {
            Self::See => Role::Viewer,
            Self::Submit | Self::Own => Role::Submitter,
            Self::Approve | Self::Run => Role::Approver,
            Self::Manage => Role::Admin,
        }
    }

    /// Returns the scope that a token needs for it.
    #[must_use]
    pub fn scope(self) -> Scope {
        match self {
            Self::See => Scope::Read,
            Self::Submit | Self::Own => Scope::Submit,
            Self::Approve | Self::Run => Scope::Approve,
            Self::Manage => Scope::Admin,
        }
    }
}

/// The permission that a user lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    #[error(
        "{actor} has the role {role}{target}; to {action} requires the role {needs}: ask an admin for it"
    )]
    Role {
        actor: String,
        role: Role,
        target: Box<PermissionTarget>,
        action: &'static str,
        needs: &'static str,
    },
    #[error(
        "this token of {actor} has the scopes {scopes}; to {action} requires the scope {needs}: create a token with it"
    )]
    Scope {
        actor: String,
        scopes: Scopes,
        action: &'static str,
        needs: Scope,
    },
}

/// A user's role for one target at this moment, limited by the scopes of the token in use.
#[derive(Clone, Copy, Debug)]
pub struct EffectiveRole<'a> {
    pub name: &'a str,
    pub role: Role,
    pub scopes: &'a Scopes,
    pub target: &'a PermissionTarget,
}

impl EffectiveRole<'_> {
    /// # Errors
    /// [`Missing`] names the permission that `action` requires.
    pub fn may(&self, ability: Ability, action: &'static str) -> Result<(), Missing> {
        // Scope first: a role that the scope limits says nothing about the account.
        if !self.scopes.has(ability.scope()) {
            return Err(self.missing_scope(ability.scope(), action));
        }
        if self.role < ability.role() {
            return Err(self.missing_role(required_role(ability), action));
        }
        Ok(())
    }

    /// Checks withdraw, stop or retry: [`Ability::Own`] for one's own task, [`Ability::Run`] else.
    ///
    /// # Errors
    /// As [`EffectiveRole::may`].
    pub fn may_of(&self, ownership: Ownership, action: &'static str) -> Result<(), Missing> {
        match ownership {
            // If both are missing, report the lesser permission.
            Ownership::Own => self
                .may(Ability::Own, action)
                .or_else(|lacking| self.may(Ability::Run, action).map_err(|_| lacking)),
            Ownership::Others => match self.may(Ability::Run, action) {
                Err(Missing::Role { .. }) => {
                    Err(self.missing_role("approver (or submitter, for their own tasks)", action))
                }
                refused => refused,
            },
        }
    }

    fn missing_scope(&self, needs: Scope, action: &'static str) -> Missing {
        Missing::Scope {
            actor: self.name.to_owned(),
            scopes: self.scopes.clone(),
            action,
            needs,
        }
    }

    fn missing_role(&self, needs: &'static str, action: &'static str) -> Missing {
        Missing::Role {
            actor: self.name.to_owned(),
            role: self.role,
            target: Box::new(self.target.clone()),
            action,
            needs,
        }
    }
}

fn required_role(ability: Ability) -> &'static str {
    match ability.role() {
        Role::None => "none",
        Role::Viewer => "viewer",
        Role::Submitter => "submitter",
        Role::Approver => "approver",
        Role::Admin => "admin",
    }
}

/// Whose task it is, relative to the user who makes the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    Own,
    Others,
}

#[cfg(test)]
mod tests;
