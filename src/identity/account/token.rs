//! Long-lived tokens: shown once, stored as a hash, revocable, good for some scopes and perhaps for
//! some time. Using one writes nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Account, AccountError, Accounts, Committed, LoginError, Status, TOKENS, decode, encode,
    is_one_line, key,
};
use crate::base::secret::{self, ExposeSecret, SecretString};
use crate::domain::right::Scopes;
use crate::store::kv::{Commit, Require, all_rows};

/// What a token begins with, so that people and scanners know it when they see it.
pub(super) const MARK: &str = "tagship_";

/// Tokens of one account. All of them go in one commit when the account does.
const TOKENS_MAX: usize = 40;

/// What is known of a token once it was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Names it among the tokens of its account.
    pub id: String,
    pub user: String,
    /// What it is for, in its owner's words.
    pub label: String,
    pub created: Timestamp,
    /// From then on it is good for nothing; `None`: until it is revoked.
    pub expires: Option<Timestamp>,
    /// What it may be used for; tokens from before there were scopes may be used for everything.
    #[serde(default)]
    pub scopes: Scopes,
}

/// What a token is made of, besides the account that it speaks for.
#[derive(Clone, Debug, Default)]
pub struct TokenTerms {
    pub label: String,
    pub expires: Option<Timestamp>,
    pub scopes: Scopes,
}

/// What a token proves.
#[derive(Clone, Debug)]
pub struct Spoken {
    pub account: Account,
    /// The token's id.
    pub token: String,
    pub scopes: Scopes,
}

/// A token that was just made, with the only copy of its secret.
#[derive(Debug)]
pub struct NewToken {
    pub secret: SecretString,
    pub token: Token,
}

/// Under the name of its account.
#[derive(Serialize, Deserialize)]
struct Listed {
    #[serde(flatten)]
    token: Token,
    hash: String,
}

/// Under its hash.
#[derive(Serialize, Deserialize)]
struct Speaks {
    user: String,
    /// Of the account that it was made for, should another one get the name.
    uid: String,
    id: String,
    expires: Option<Timestamp>,
    #[serde(default)]
    scopes: Scopes,
}

impl Accounts {
    /// Makes a token that speaks for an account.
    ///
    /// # Errors
    /// [`AccountError`]: there is no such account, it has [`TOKENS_MAX`] tokens, or the label, the
    /// end or the scopes are refused.
    pub async fn new_token(
        &self,
        user: &str,
        terms: TokenTerms,
        also: Commit,
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
            let secret = SecretString::from(format!("{MARK}{}", secret.expose_secret()));
            let listed = Listed {
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
            let speaks = Speaks {
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
                // Unchanged, but another version: whoever counts or removes tokens meanwhile
                // has to look again.
                .put(key(user), encode(user, &record)?)
                .put(listed_key, encode(user, &listed)?)
                .put(hash_key(&listed.hash), encode(user, &speaks)?);
            match self.commit(user, commit.and(also.clone())).await? {
                Committed::Done => {
                    let token = listed.token;
                    return Ok(NewToken { secret, token });
                }
                Committed::Conflict => {}
            }
        }
        Err(AccountError::Overtaken)
    }

    /// The tokens of an account, oldest first.
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

    /// Makes a token good for nothing.
    ///
    /// # Errors
    /// [`AccountError::NoSuchToken`], also if it was revoked meanwhile.
    pub async fn revoke(&self, user: &str, id: &str, also: Commit) -> Result<(), AccountError> {
        let missing = || AccountError::NoSuchToken {
            user: user.to_owned(),
            id: id.to_owned(),
        };
        let listed_key = listed_key(user, id);
        // An id that is none would make a key that is none.
        if listed_key.len() > 200 {
            return Err(missing());
        }
        let entry = self.kv.get(listed_key.as_bytes()).await?;
        let entry = entry.ok_or_else(missing)?;
        let listed: Listed = decode(user, &entry.value)?;
        let commit = Commit::new()
            .require(listed_key.clone(), Require::Version(entry.version))
            .delete(listed_key)
            .delete(hash_key(&listed.hash));
        match self.commit(user, commit.and(also)).await? {
            Committed::Done => Ok(()),
            Committed::Conflict => Err(missing()),
        }
    }

    /// Whom a token speaks for, and what it may be used for.
    ///
    /// # Errors
    /// [`LoginError::Denied`] unless the token stands, has not expired, and its account is active.
    pub async fn authenticate(&self, secret: &SecretString) -> Result<Spoken, LoginError> {
        // 256 random bits: finding one by its hash tells a guesser nothing worth timing.
        let found = self.kv.get(hash_key(&hash(secret)).as_bytes()).await;
        let Some(entry) = found.map_err(AccountError::from)? else {
            return Err(LoginError::Denied);
        };
        let speaks: Speaks = decode("a token", &entry.value)?;
        if speaks
            .expires
            .is_some_and(|expires| expires <= self.clock.now())
        {
            return Err(LoginError::Denied);
        }
        match self.get(&speaks.user).await {
            Ok(account) if account.uid == speaks.uid && account.status == Status::Active => {
                Ok(Spoken {
                    account,
                    token: speaks.id,
                    scopes: speaks.scopes,
                })
            }
            Ok(_) | Err(AccountError::NoSuchAccount(_)) => Err(LoginError::Denied),
            Err(error) => Err(error.into()),
        }
    }

    /// What takes every token of an account away.
    pub(super) async fn without_tokens(&self, user: &str) -> Result<Commit, AccountError> {
        let listed = self.listed(user).await?;
        Ok(listed.iter().fold(Commit::new(), |commit, listed| {
            commit
                .delete(listed_key(user, &listed.token.id))
                .delete(hash_key(&listed.hash))
        }))
    }

    async fn listed(&self, user: &str) -> Result<Vec<Listed>, AccountError> {
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
