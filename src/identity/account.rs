//! Users, roles, tokens, second factors and delegations, in the store. Decides who a user is and
//! their maximum role; approvals are `approval`'s. `session`, `server` and `cli` call it.
//!
//! | key | what |
//! |---|---|
//! | `account/NAME` | one [`Account`] and the hash of its password |
//! | `token/user/NAME/ID` | one [`Token`], to list and to revoke |
//! | `token/hash/SHA256` | the account that the token with this hash authenticates |
//! | `delegation/TO/ID` | one [`Delegation`] |

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::change::AccountChange;
pub use self::delegation::{Delegation, NewDelegation};
pub use self::factor::{Enrolment, code_at};
use self::limiter::Limiter;
pub use self::password::PasswordError;
use self::password::{Hash, PasswordMatch, Passwords};
pub use self::qr::Qr;
pub use self::token::{AuthenticatedToken, NewToken, Token, TokenTerms};
use crate::base::clock::Clock;
use crate::base::language::Language;
use crate::base::mutex::lock;
use crate::base::secret::{self, NoRandomness, SecretString};
pub use crate::domain::permission::Role;
use crate::domain::permission::{self, NAME_CHARACTERS_MAX};
use crate::store::kv::{Commit, CommitError, KeyVersion, Kv, KvError, Require, all_rows};

mod change;
mod delegation;
mod factor;
mod limiter;
mod password;
mod qr;
mod token;

const ACCOUNTS: &str = "account/";
const TOKENS: &str = "token/";
const DELEGATIONS: &str = "delegation/";

const DISPLAY_CHARACTERS_MAX: usize = 100;
const GROUPS_MAX: usize = 100;

/// How often a change is retried after a concurrent change of the same account.
const ATTEMPTS_MAX: usize = 8;

/// Whether an account may log in at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Active,
    /// Logins, sessions and tokens of the account are invalid until it is active again.
    Disabled,
}

/// A user (or program).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The login name: `[a-z0-9._-]`, at most 64 characters.
    pub name: String,
    /// The display name.
    pub display: String,
    pub role: Role,
    /// Groups, as used in `approvals = ["1 of @pm"]`, without the `@`.
    pub groups: BTreeSet<String>,
    pub status: Status,
    pub created: Timestamp,
    /// Unique: a later account of the same name has a different one. Tokens and sessions are bound
    /// to it.
    pub uid: String,
    /// Incremented by each change that must end sessions: password, status, second factor.
    pub epoch: u32,
    /// Since when a login needs a code, too; `None`: the password is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_factor: Option<Timestamp>,
    /// The language of its pages; `None`: the browser's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
}

/// The fields of a new account.
#[derive(Clone, Debug)]
pub struct NewAccount {
    pub name: String,
    /// Empty: same as the name.
    pub display: String,
    pub role: Role,
    pub groups: BTreeSet<String>,
    /// Without a password the account can only use tokens.
    pub password: Option<SecretString>,
}

/// Why an account operation failed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("no account is called {0}: see `tagship user list`")]
    NoSuchAccount(String),
    #[error("an account called {0} exists already: choose another name")]
    Exists(String),
    #[error(
        "{0} is no name: use 1 to {NAME_CHARACTERS_MAX} of a-z, 0-9, '.', '_' and '-', not '.' first; the display name may be anything"
    )]
    BadName(String),
    #[error(
        "the displayed name must be one line of at most {DISPLAY_CHARACTERS_MAX} characters: \
         shorten it"
    )]
    BadDisplay,
    #[error("{0} groups, at most {GROUPS_MAX} are allowed: leave some out")]
    TooManyGroups(usize),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("{user} has no token {id}: see `tagship token list {user}`")]
    NoSuchToken { user: String, id: String },
    #[error("{0} has as many tokens as are allowed: revoke one first")]
    TooManyTokens(String),
    #[error(
        "the token's label must be one line of at most {DISPLAY_CHARACTERS_MAX} characters: shorten it"
    )]
    BadLabel,
    /// A requirement of the same commit no longer holds. Nothing happened.
    #[error("another request changed it at the same time: try again")]
    Overtaken,
    #[error("{0} is the only enabled admin: make another user an admin first")]
    LastAdmin(String),
    #[error("a token without a scope permits nothing: choose read, submit, approve or admin")]
    NoScope,
    #[error("{0} has passed already: choose a later one")]
    Past(&'static str),
    #[error("{0} has a second factor already: reset it first")]
    HasFactor(String),
    #[error("{0} has begun no second factor: begin with `tagship user totp {0}`")]
    NoFactor(String),
    #[error("the code is wrong, or was used before: wait for the next one")]
    WrongCode,
    #[error("a user can't delegate to themselves: name another user")]
    ToOneself,
    #[error("there is no delegation {0} of {1}: see `tagship user delegations`")]
    NoSuchDelegation(String, String),
    #[error("{0} has as many delegations as are allowed: end one first")]
    TooManyDelegations(String),
    #[error("the store did not confirm the change of {name} ({why}): look whether it happened")]
    Unconfirmed { name: String, why: String },
    #[error("what is stored about {name} cannot be read ({why}): restore a backup")]
    Damaged { name: String, why: String },
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    #[error(transparent)]
    Store(#[from] KvError),
}

/// Why a login is refused. Reveals no more than a stranger may know.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("wrong name or password")]
    Denied,
    #[error("the code is wrong, or was used before: wait for the next one")]
    WrongCode,
    /// Reported to users as a wrong code, so that guessing reveals nothing.
    #[error("the code is wrong, or was used before: wait for the next one")]
    UsedCode,
    #[error("too many failed logins: try again after {0}")]
    TooMany(Timestamp),
    #[error("logins are not possible now: {0}")]
    Unavailable(#[from] AccountError),
}

/// The stored form of an account.
#[derive(Clone, Serialize, Deserialize)]
struct AccountRecord {
    #[serde(flatten)]
    account: Account,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<Hash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factor: Option<SecondFactor>,
}

/// The second factor, as stored with its account.
#[derive(Clone, Serialize, Deserialize)]
struct SecondFactor {
    /// In base32, as apps expect it.
    secret: String,
    /// The step of the last accepted code; `0` before the first.
    last_step: u64,
}

/// The result of a correct name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    In(Account),
    /// Not logged in: [`Accounts::verify_code`] must follow.
    CodeNeeded(Account),
}

impl Login {
    /// Returns the account whose password was correct: enough to reauthenticate a logged-in user.
    #[must_use]
    pub fn account(&self) -> &Account {
        match self {
            Self::In(account) | Self::CodeNeeded(account) => account,
        }
    }
}

/// The accounts of one agent.
///
/// Each change takes `writes` for the same commit, such as its audit entry. If one of its
/// requirements does not hold, nothing happens ([`AccountError::Overtaken`]).
pub struct Accounts {
    kv: Arc<dyn Kv>,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    limiter: Mutex<Limiter>,
}

impl Accounts {
    #[must_use]
    pub fn new(kv: Arc<dyn Kv>, clock: Arc<dyn Clock>) -> Self {
        Self {
            kv,
            clock,
            passwords: Passwords::default(),
            limiter: Mutex::default(),
        }
    }

    /// # Errors
    /// [`AccountError`]: the name is taken or invalid, or the password is refused.
    pub async fn add(&self, new: NewAccount, writes: Commit) -> Result<Account, AccountError> {
        check_name(&new.name)?;
        check_groups(&new.groups)?;
        let display = if new.display.is_empty() {
            new.name.clone()
        } else {
            new.display
        };
        check_display(&display)?;
        let password = match &new.password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        let account = Account {
            name: new.name,
            display,
            role: new.role,
            groups: new.groups,
            status: Status::Active,
            created: self.clock.now(),
            uid: secret::hex(&secret::random_bytes::<16>()?),
            epoch: 0,
            second_factor: None,
            language: None,
        };
        let record = AccountRecord {
            account: account.clone(),
            password,
            factor: None,
        };
        let key = key(&account.name);
        let commit = Commit::new().require(key.clone(), Require::Absent);
        let commit = commit.put(key, encode(&account.name, &record)?).and(writes);
        match self.commit(&account.name, commit).await? {
            Committed::Done => Ok(account),
            Committed::Conflict => Err(AccountError::Exists(account.name)),
        }
    }

    /// # Errors
    /// [`AccountError::NoSuchAccount`], or that the store cannot be read.
    pub async fn get(&self, name: &str) -> Result<Account, AccountError> {
        Ok(self.record(name).await?.0.account)
    }

    /// Returns all accounts, by name.
    ///
    /// # Errors
    /// [`AccountError::Store`] or [`AccountError::Damaged`].
    pub async fn list(&self) -> Result<Vec<Account>, AccountError> {
        let rows = all_rows(&*self.kv, ACCOUNTS.as_bytes()).await?;
        rows.iter()
            .map(|row| {
                let name = String::from_utf8_lossy(&row.key[ACCOUNTS.len()..]);
                decode::<AccountRecord>(&name, &row.value).map(|record| record.account)
            })
            .collect()
    }

    /// Sets the password and ends the account's sessions; its tokens stay.
    ///
    /// # Errors
    /// [`AccountError`]: there is no such account, or the password is refused.
    pub async fn set_password(
        &self,
        name: &str,
        password: &SecretString,
        writes: Commit,
    ) -> Result<(), AccountError> {
        let hash = self.passwords.hash(password).await?;
        let record = self.rewrite(name, writes, |record| {
            record.password = Some(hash.clone());
            record.account.epoch += 1;
            Ok(())
        });
        record.await.map(|_| ())
    }

    /// Verifies a name and password, and returns whether that is enough. Slow on purpose; failures
    /// are limited per account and address. Sessions and tokens avoid the cost.
    ///
    /// # Errors
    /// [`LoginError`], the same for an unknown name, a wrong password and a disabled account.
    pub async fn verify_password(
        &self,
        name: &str,
        password: &SecretString,
        from: IpAddr,
    ) -> Result<Login, LoginError> {
        // All invalid names are counted under the empty one.
        let counted = check_name(name).map_or("", |()| name);
        let limiter = || self.limiter();
        limiter()
            .begin(counted, from, self.clock.now())
            .map_err(LoginError::TooMany)?;
        let record = match self.record(counted).await {
            Ok((record, _)) => Some(record),
            Err(AccountError::NoSuchAccount(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let hash = record.as_ref().and_then(|record| record.password.clone());
        let verdict = self.passwords.verify(password, hash).await;
        match (verdict.map_err(AccountError::from)?, record) {
            (PasswordMatch::Right, Some(AccountRecord { account, .. }))
                if account.status == Status::Active =>
            {
                if account.second_factor.is_some() {
                    // Only the code clears the count: a correct password allows no extra codes.
                    limiter().undo(counted, from);
                    return Ok(Login::CodeNeeded(account));
                }
                limiter().succeeded(counted, from);
                Ok(Login::In(account))
            }
            (PasswordMatch::Right | PasswordMatch::Wrong, _) => Err(LoginError::Denied),
        }
    }

    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        lock(&self.limiter)
    }

    async fn record(&self, name: &str) -> Result<(AccountRecord, KeyVersion), AccountError> {
        let entry = self.kv.get(key(name).as_bytes()).await?;
        let entry = entry.ok_or_else(|| AccountError::NoSuchAccount(name.to_owned()))?;
        Ok((decode(name, &entry.value)?, entry.version))
    }

    async fn rewrite(
        &self,
        name: &str,
        writes: Commit,
        change: impl Fn(&mut AccountRecord) -> Result<(), AccountError>,
    ) -> Result<AccountRecord, AccountError> {
        for _ in 0..ATTEMPTS_MAX {
            let (mut record, version) = self.record(name).await?;
            change(&mut record)?;
            let commit = Commit::new().require(key(name), Require::Version(version));
            let commit = commit.put(key(name), encode(name, &record)?);
            match self.commit(name, commit.and(writes.clone())).await? {
                Committed::Done => return Ok(record),
                Committed::Conflict => {}
            }
        }
        Err(AccountError::Overtaken)
    }

    /// Returns a conflict on keys of this module for retrying; others are an error.
    async fn commit(&self, name: &str, commit: Commit) -> Result<Committed, AccountError> {
        match self.kv.commit(commit).await {
            Ok(_) => Ok(Committed::Done),
            Err(CommitError::Conflict { key }) if is_of_accounts(&key) => Ok(Committed::Conflict),
            Err(CommitError::Conflict { .. }) => Err(AccountError::Overtaken),
            Err(CommitError::Failed(error)) => Err(error.into()),
            Err(error @ (CommitError::Unknown(_) | CommitError::TooLarge(_))) => {
                Err(AccountError::Unconfirmed {
                    name: name.to_owned(),
                    why: error.to_string(),
                })
            }
        }
    }
}

enum Committed {
    Done,
    Conflict,
}

/// Whether a key belongs to this module rather than to a commit's other writes.
fn is_of_accounts(key: &[u8]) -> bool {
    [ACCOUNTS, TOKENS, DELEGATIONS]
        .iter()
        .any(|prefix| key.starts_with(prefix.as_bytes()))
}

fn key(name: &str) -> String {
    format!("{ACCOUNTS}{name}")
}

fn encode(name: &str, value: &impl Serialize) -> Result<Vec<u8>, AccountError> {
    serde_json::to_vec(value).map_err(|error| damaged(name, &error))
}

fn decode<'de, T: Deserialize<'de>>(name: &str, bytes: &'de [u8]) -> Result<T, AccountError> {
    serde_json::from_slice(bytes).map_err(|error| damaged(name, &error))
}

fn damaged(name: &str, error: &serde_json::Error) -> AccountError {
    AccountError::Damaged {
        name: name.to_owned(),
        why: error.to_string(),
    }
}

/// Checks a name of an account or group.
fn check_name(name: &str) -> Result<(), AccountError> {
    if permission::is_name(name) {
        Ok(())
    } else {
        Err(AccountError::BadName(
            name.escape_debug().take(80).collect(),
        ))
    }
}

fn check_groups(groups: &BTreeSet<String>) -> Result<(), AccountError> {
    if groups.len() > GROUPS_MAX {
        return Err(AccountError::TooManyGroups(groups.len()));
    }
    groups.iter().try_for_each(|group| check_name(group))
}

fn check_display(display: &str) -> Result<(), AccountError> {
    if is_one_line(display) {
        Ok(())
    } else {
        Err(AccountError::BadDisplay)
    }
}

fn is_one_line(text: &str) -> bool {
    let characters = text.chars().count();
    (1..=DISPLAY_CHARACTERS_MAX).contains(&characters) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
