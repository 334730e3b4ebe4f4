//! Users, their tokens and delegations, as API types.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::approval::Role;
use crate::domain::permission::{Scope, Scopes};

/// `GET /api/v1/users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserList {
    pub users: Vec<UserView>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    pub name: String,
    pub display: String,
    pub role: Role,
    pub groups: Vec<String>,
    pub disabled: bool,
    pub created_at: Timestamp,
    /// Since when a login also needs a code; `null`: the password is enough.
    #[serde(default)]
    pub second_factor: Option<Timestamp>,
}

/// `POST /api/v1/users`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUserBody {
    pub name: String,
    #[serde(default)]
    pub display: String,
    pub role: Role,
    #[serde(default)]
    pub groups: Vec<String>,
    /// Without one, they use tokens only.
    #[serde(default)]
    pub password: Option<String>,
}

/// `POST /api/v1/users/NAME`: absent fields stay unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeUser {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// All groups of the user: they leave those that are not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Whether they are disabled: for password, session and token alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// `POST /api/v1/users/NAME/password`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    pub password: String,
    /// The user's current password; admins need not know that of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<String>,
}

/// `POST /api/v1/users/NAME/totp/begin`: a second factor that was just begun, shown once.
#[derive(Clone, Serialize, Deserialize)]
pub struct BegunFactor {
    /// The secret to type into an authenticator app.
    pub secret: String,
    /// The same as `otpauth://…`, to open or to show as a QR code.
    pub uri: String,
}

/// `POST /api/v1/users/NAME/totp/confirm`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeBody {
    pub code: String,
}

/// `POST /api/v1/users/NAME/totp/reset`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResetFactor {
    /// A code of the user's own second factor; admins need not know that of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// `POST /api/v1/users/NAME/delegations`: NAME delegates their approvals to another user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDelegationBody {
    pub to: String,
    /// When it expires.
    pub until: Timestamp,
    /// Only for this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// `GET /api/v1/delegations`: those not expired, the user's own or, for admins, all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationList {
    pub delegations: Vec<DelegationView>,
}

/// A delegation: a user may approve on behalf of another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationView {
    pub id: String,
    pub from: String,
    pub to: String,
    pub until: Timestamp,
    pub project: Option<String>,
    /// Who created it.
    pub by: String,
    pub created_at: Timestamp,
}

/// `POST /api/v1/users/NAME/tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewTokenBody {
    /// What it is for.
    pub name: String,
    /// When it expires; `null`: it is valid until revoked.
    pub expires: Option<Timestamp>,
    /// Its scopes; `null`: all scopes of the credential that requests it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
}

/// A new token: shown once.
#[derive(Clone, Serialize, Deserialize)]
pub struct MadeToken {
    pub id: String,
    pub token: String,
}

/// `GET /api/v1/users/NAME/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList {
    pub tokens: Vec<TokenView>,
}

/// What is known of a token after it was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    pub id: String,
    pub name: String,
    pub created_at: Timestamp,
    pub expires: Option<Timestamp>,
    #[serde(default)]
    pub scopes: Scopes,
}
