//! Long-lived tokens: shown once, stored as a hash, revocable, limited to scopes and optionally in
//! time. Using one writes nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Account, AccountError, Accounts, Committed, LoginError, Status, TOKENS, decode, encode,
    is_one_line, key,
};
use crate::base::secret::{self, ExposeSecret, SecretString};
use crate::domain::permission::Scopes;
use crate::store::kv::{Commit, Require, all_rows};

/// The prefix of every token, which lets people and scanners recognise it.
pub(super) const TOKEN_PREFIX: &str = "tagship_";

/// The maximum number of tokens of one account. All are removed in one commit with the account.
const TOKENS_MAX: usize = 40;

/// The stored properties of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Unique among the tokens of its account.
    pub id: String,
    pub user: String,
    /// Its purpose, as described by its owner.
    pub label: String,
    pub created: Timestamp,
    /// When it expires; `None`: valid until it is revoked.
    pub expires: Option<Timestamp>,
    /// Its permissions; tokens from before scopes existed have all of them.
    #[serde(default)]
    pub scopes: Scopes,
}

/// The terms of a new token, apart from the account it authenticates.
#[derive(Clone, Debug, Default)]
pub struct TokenTerms {
    pub label: String,
    pub expires: Option<Timestamp>,
    pub scopes: Scopes,
}

/// The result of authenticating with a token.
#[derive(Clone, Debug)]
pub struct AuthenticatedToken {
    pub account: Account,
    /// The token's id.
    pub token: String,
    pub scopes: Scopes,
}

/// A token that was just created, with the only copy of its secret.
#[derive(Debug)]
pub struct NewToken {
    pub secret: SecretString,
    pub token: Token,
}

/// The row under the account's name.
#[derive(Serialize, Deserialize)]
struct ListedToken {
    #[serde(flatten)]
    token: Token,
    hash: String,
}

/// The row under the token's hash.
#[derive(Serialize, Deserialize)]
struct StoredToken {
    user: String,
    /// The uid of the account that it was made for, in case the name is reused.
    uid: String,
    id: String,
    expires: Option<Timestamp>,
    #[serde(default)]
    scopes: Scopes,
}

impl Accounts {
    /// Creates a token that authenticates as an account.
    ///
    /// # Errors
    /// [`AccountError`]: there is no such account, it has [`TOKENS_MAX`] tokens, or the label, the
    /// end or the scopes are refused.
    pub async fn new_token(
        &self,
        user: &str,
        terms: TokenTerms,
        writes: Commit,
    ) -> Result<NewToken, AccountError> {
        let TokenTerms {
            label,
            expires,
            scopes,
        } = terms;
        if !is_one_line(&label) {
            return Err(AccountError::BadLabel);
        }
        if scopes.is_empty() {
            return Err(AccountError::NoScope);
        }
        if expires.is_some_and(|expires| expires <= self.clock.now()) {
            return Err(AccountError::Past("the token's end"));
        }
        for _ in 0..super::ATTEMPTS_MAX {
            let (record, version) = self.record(user).await?;
            if self.listed(user).await?.len() >= TOKENS_MAX {
                return Err(AccountError::TooManyTokens(user.to_owned()));
            }
            let secret = secret::token()?;
            let secret = SecretString::from(format!("{TOKEN_PREFIX}{}", secret.expose_secret()));
            let listed = ListedToken {
                token: Token {
                    id: secret::hex(&secret::random_bytes::<4>()?),
                    user: user.to_owned(),
                    label: label.clone(),
                    created: self.clock.now(),
                    expires,
                    scopes: scopes.clone(),
                },
                hash: hash(&secret),
            };
            let stored = StoredToken {
                user: user.to_owned(),
                uid: record.account.uid.clone(),
                id: listed.token.id.clone(),
                expires,
                scopes: scopes.clone(),
            };
            let listed_key = listed_key(user, &listed.token.id);
            let commit = Commit::new()
                .require(key(user), Require::Version(version))
                .require(listed_key.clone(), Require::Absent)
                // Unchanged, but with a new version: concurrent counts or removals of tokens must
                // read again.
                .put(key(user), encode(user, &record)?)
                .put(listed_key, encode(user, &listed)?)
                .put(hash_key(&listed.hash), encode(user, &stored)?);
            match self.commit(user, commit.and(writes.clone())).await? {
                Committed::Done => {
                    let token = listed.token;
                    return Ok(NewToken { secret, token });
                }
                Committed::Conflict => {}
            }
        }
        Err(AccountError::Overtaken)
    }

    /// Returns the tokens of an account, oldest first.
    ///
    /// # Errors
    /// [`AccountError`]: there is no such account.
    pub async fn tokens(&self, user: &str) -> Result<Vec<Token>, AccountError> {
        self.get(user).await?;
        let listed = self.listed(user).await?;
        let mut tokens: Vec<Token> = listed.into_iter().map(|listed| listed.token).collect();
        tokens.sort_by(|left, right| (left.created, &left.id).cmp(&(right.created, &right.id)));
        Ok(tokens)
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// [`AccountError::NoSuchToken`], also if it was revoked concurrently.
    pub async fn revoke(&self, user: &str, id: &str, writes: Commit) -> Result<(), AccountError> {
        let missing = || AccountError::NoSuchToken {
            user: user.to_owned(),
            id: id.to_owned(),
        };
        let listed_key = listed_key(user, id);
        // An invalid id would make an invalid key.
        if listed_key.len() > 200 {
            return Err(missing());
        }
        let entry = self.kv.get(listed_key.as_bytes()).await?;
        let entry = entry.ok_or_else(missing)?;
        let listed: ListedToken = decode(user, &entry.value)?;
        let commit = Commit::new()
            .require(listed_key.clone(), Require::Version(entry.version))
            .delete(listed_key)
            .delete(hash_key(&listed.hash));
        match self.commit(user, commit.and(writes)).await? {
            Committed::Done => Ok(()),
            Committed::Conflict => Err(missing()),
        }
    }

    /// Returns the account that a token authenticates, and the token's scopes.
    ///
    /// # Errors
    /// [`LoginError::Denied`] unless token and account exist, unexpired and active.
    pub async fn authenticate(
        &self,
        secret: &SecretString,
    ) -> Result<AuthenticatedToken, LoginError> {
        // 256 random bits: the timing of a lookup by hash reveals nothing useful.
        let found = self.kv.get(hash_key(&hash(secret)).as_bytes()).await;
        let Some(entry) = found.map_err(AccountError::from)? else {
            return Err(LoginError::Denied);
        };
        let stored: StoredToken = decode("a token", &entry.value)?;
        if stored
            .expires
            .is_some_and(|expires| expires <= self.clock.now())
        {
            return Err(LoginError::Denied);
        }
        match self.get(&stored.user).await {
            Ok(account) if account.uid == stored.uid && account.status == Status::Active => {
                Ok(AuthenticatedToken {
                    account,
                    token: stored.id,
                    scopes: stored.scopes,
                })
            }
            Ok(_) | Err(AccountError::NoSuchAccount(_)) => Err(LoginError::Denied),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the writes that remove every token of an account.
    pub(super) async fn token_removals(&self, user: &str) -> Result<Commit, AccountError> {
        let listed = self.listed(user).await?;
        Ok(listed.iter().fold(Commit::new(), |commit, listed| {
            commit
                .delete(listed_key(user, &listed.token.id))
                .delete(hash_key(&listed.hash))
        }))
    }

    async fn listed(&self, user: &str) -> Result<Vec<ListedToken>, AccountError> {
        let rows = all_rows(&*self.kv, listed_key(user, "").as_bytes()).await?;
        rows.iter().map(|row| decode(user, &row.value)).collect()
    }
}

fn hash(secret: &SecretString) -> String {
    secret::sha256_hex(secret.expose_secret().as_bytes())
}

fn listed_key(user: &str, id: &str) -> String {
    format!("{TOKENS}user/{user}/{id}")
}

fn hash_key(hash: &str) -> String {
    format!("{TOKENS}hash/{hash}")
}
