//! People, their tokens and delegations, as the API takes and gives them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::approval::Role;
use crate::domain::right::{Scope, Scopes};

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
    /// Since when a login takes a code, too; `null`: the password is enough.
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
    /// Without one they use tokens only.
    #[serde(default)]
    pub password: Option<String>,
}

/// `POST /api/v1/users/NAME`: what is not there stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeUser {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// All of them: those that are not named are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Whether they are kept out: by password, session and token alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// `POST /api/v1/users/NAME/password`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    pub password: String,
    /// One's present password; admins need not know that of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<String>,
}

/// `POST /api/v1/users/NAME/totp/begin`: a second factor that was just begun, shown once.
#[derive(Clone, Serialize, Deserialize)]
pub struct BegunFactor {
    /// For the authenticator app, to be typed.
    pub secret: String,
    /// The same as `otpauth://…`, to be opened or drawn as a QR code.
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
    /// A code of one's own second factor; admins need not know that of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// `POST /api/v1/users/NAME/delegations`: NAME lets somebody approve in their stead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDelegationBody {
    pub to: String,
    /// From then on it is worth nothing.
    pub until: Timestamp,
    /// Only for this project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// `GET /api/v1/delegations`: those that are not over, one's own or, for admins, all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationList {
    pub delegations: Vec<DelegationView>,
}

/// Somebody lets somebody else approve in their stead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationView {
    pub id: String,
    pub from: String,
    pub to: String,
    pub until: Timestamp,
    pub project: Option<String>,
    /// Who made it.
    pub by: String,
    pub created_at: Timestamp,
}

/// `POST /api/v1/users/NAME/tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewTokenBody {
    /// What it is for.
    pub name: String,
    /// From then on it is good for nothing; `null`: until it is revoked.
    pub expires: Option<Timestamp>,
    /// What it may be used for; `null`: all that what asks for it may be used for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
}

/// A token that was just made: shown once.
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

/// What is known of a token once it was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    pub id: String,
    pub name: String,
    pub created_at: Timestamp,
    pub expires: Option<Timestamp>,
    #[serde(default)]
    pub scopes: Scopes,
}
