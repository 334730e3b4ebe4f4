//! Who may do what, and where: roles, the scopes of tokens, grants in one place, and what each
//! ability takes.
//!
//! Pure: `config` reads grants, `account` keeps roles and scopes, the web works out with [`role_in`]
//! what somebody is in the place that is asked about, and [`EffectiveRole::may`] says which right is
//! missing. What a plan asks of its approvers is `approval`'s.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a person may do; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Nothing but what is granted.
    None,
    /// May look.
    Viewer,
    /// May submit what waits for approval; may withdraw, stop and retry that.
    Submitter,
    /// May approve, reject, run, stop, retry and roll back.
    Approver,
    /// May manage people, tokens and hosts, and override freezes.
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

/// No role has this name.
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

/// What a token may be used for, as far as its account's role goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    Read,
    Submit,
    /// Also to run, stop and roll back.
    Approve,
    /// Also for one's own account: password, tokens, second factor, delegations.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Read, Self::Submit, Self::Approve, Self::Admin];

    /// The highest role whose abilities this scope lets through.
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

/// No scope has this name.
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

/// A set of scopes; all of them, where nothing else was said.
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

    /// Whether each of these is in `other`, too.
    #[must_use]
    pub fn are_within(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }

    /// No role above this one gets through, whatever the account has.
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

/// Where something is done. All empty: nowhere in particular, so that only what holds everywhere
/// counts. A task of no project has an empty project and environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PermissionTarget {
    pub project: String,
    pub environment: String,
    /// The template's name, or its number where the task was given that.
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

/// ` in shop production (template git-release)`: with a space before it, or nothing at all.
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

/// The most characters of a name of an account, or of a group of them.
pub const NAME_CHARACTERS_MAX: usize = 64;

/// Whether an account, or a group of accounts, can be called so: `[a-z0-9._-]`, at most 64, not `.`
/// first. Whatever names one, in the configuration too, names none by anything else.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=NAME_CHARACTERS_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// To whom a grant is given.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Grantee {
    Account(String),
    /// Everybody of this group; written with an `@` before it.
    Group(String),
}

/// Nobody can be called this.
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

/// `[[grants]]`: raises a role in one place. Each of project, environment and template that is
/// missing means all of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub to: Vec<Grantee>,
    pub role: Role,
    pub project: Option<String>,
    pub environment: Option<String>,
    /// Its name or number.
    #[serde(default, deserialize_with = "template_named")]
    pub template: Option<String>,
}

/// A template by its name, or by the number that CODO's API asks for: that with quotes or without.
pub(crate) fn template_named<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a template's name or number")]
    enum Named {
        Name(String),
        Number(u64),
    }
    Ok(Some(match Named::deserialize(deserializer)? {
        Named::Name(name) => name,
        Named::Number(number) => number.to_string(),
    }))
}

impl Grant {
    fn is_for(&self, name: &str, groups: &[String]) -> bool {
        self.to.iter().any(|grantee| match grantee {
            Grantee::Account(account) => account == name,
            Grantee::Group(group) => groups.contains(group),
        })
    }

    fn holds_in(&self, place: &PermissionTarget) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == value)
        };
        is(&self.project, &place.project)
            && is(&self.environment, &place.environment)
            && is(&self.template, &place.template)
    }
}

/// What somebody is in a place: the highest of their base role and of what is granted there.
#[must_use]
pub fn role_in(
    base: Role,
    name: &str,
    groups: &[String],
    grants: &[Grant],
    place: &PermissionTarget,
) -> Role {
    grants
        .iter()
        .filter(|grant| grant.is_for(name, groups) && grant.holds_in(place))
        .map(|grant| grant.role)
        .fold(base, Role::max)
}

/// The most that somebody is in any place.
#[must_use]
pub fn role_anywhere(base: Role, name: &str, groups: &[String], grants: &[Grant]) -> Role {
    grants
        .iter()
        .filter(|grant| grant.is_for(name, groups))
        .map(|grant| grant.role)
        .fold(base, Role::max)
}

/// The places in which somebody is granted anything; what of a place is empty may be anything.
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

/// Something that a right is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ability {
    /// See tasks, their logs, and what is live.
    See,
    /// Submit a task that waits for approval.
    Submit,
    /// Withdraw, stop and retry what one submitted oneself.
    Own,
    /// Approve and reject.
    Approve,
    /// Submit what runs without approval; let go on, stop, retry, skip, roll back, whoever
    /// submitted it.
    Run,
    /// Manage people, tokens and hosts; override freezes.
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

    /// The lowest role that has it.
    #[must_use]
    pub fn role(self) -> Role {
        match self {
            Self::See => Role::Viewer,
            Self::Submit | Self::Own => Role::Submitter,
            Self::Approve | Self::Run => Role::Approver,
            Self::Manage => Role::Admin,
        }
    }

    /// The scope that a token needs for it.
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

/// Which right somebody lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    #[error(
        "{actor} has the role {role}{place}; to {what} takes the role {needs}: ask an admin for it"
    )]
    Role {
        actor: String,
        role: Role,
        place: Box<PermissionTarget>,
        what: &'static str,
        needs: &'static str,
    },
    #[error(
        "this token of {actor} has the scopes {scopes}; to {what} takes the scope {needs}: make a token with it"
    )]
    Scope {
        actor: String,
        scopes: Scopes,
        what: &'static str,
        needs: Scope,
    },
}

/// What somebody is in one place at this moment, as far as what they log in with lets them.
#[derive(Clone, Copy, Debug)]
pub struct EffectiveRole<'a> {
    pub name: &'a str,
    pub role: Role,
    pub scopes: &'a Scopes,
    pub place: &'a PermissionTarget,
}

impl EffectiveRole<'_> {
    /// # Errors
    /// [`Missing`] says which right it takes to do `what`.
    pub fn may(&self, ability: Ability, what: &'static str) -> Result<(), Missing> {
        // First the scope: a role that is cut by it is no news about the account.
        if !self.scopes.has(ability.scope()) {
            return Err(self.lacks_scope(ability.scope(), what));
        }
        if self.role < ability.role() {
            return Err(self.lacks_role(needed(ability), what));
        }
        Ok(())
    }

    /// To withdraw, stop or retry: one's own with [`Ability::Own`], anybody's with [`Ability::Run`].
    ///
    /// # Errors
    /// As [`EffectiveRole::may`].
    pub fn may_of(&self, whose: Whose, what: &'static str) -> Result<(), Missing> {
        match whose {
            // Whoever lacks both is told of the smaller right.
            Whose::Own => self
                .may(Ability::Own, what)
                .or_else(|lacking| self.may(Ability::Run, what).map_err(|_| lacking)),
            Whose::Others => match self.may(Ability::Run, what) {
                Err(Missing::Role { .. }) => Err(self.lacks_role(
                    "approver (or submitter, for what one submitted oneself)",
                    what,
                )),
                refused => refused,
            },
        }
    }

    fn lacks_scope(&self, needs: Scope, what: &'static str) -> Missing {
        Missing::Scope {
            actor: self.name.to_owned(),
            scopes: self.scopes.clone(),
            what,
            needs,
        }
    }

    fn lacks_role(&self, needs: &'static str, what: &'static str) -> Missing {
        Missing::Role {
            actor: self.name.to_owned(),
            role: self.role,
            place: Box::new(self.place.clone()),
            what,
            needs,
        }
    }
}

fn needed(ability: Ability) -> &'static str {
    match ability.role() {
        Role::None => "none",
        Role::Viewer => "viewer",
        Role::Submitter => "submitter",
        Role::Approver => "approver",
        Role::Admin => "admin",
    }
}

/// Whose a task is, seen from whoever asks something of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Own,
    Others,
}

#[cfg(test)]
mod tests;
