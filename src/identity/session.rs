//! Cookie sessions of browsers, in the store, and the token that proves that a form came from our
//! own page. It never checks a password; `server` calls it after `account` has verified the login.
//!
//! A session is 256 random bits in a cookie. The store has only their hash, under `session/SHA256`.
//! It ends after 12 hours without a request, after 7 days, at logout, and when its account is
//! disabled, removed, or gets another password or second factor. Its permissions follow the
//! account's role at each request.
//!
//! Two other kinds are stored alike and never accepted as a session: a login with a correct
//! password that still needs its code ([`Sessions::halfway`], 5 minutes), and the `auth_key` of
//! CODO's API ([`Sessions::auth_key`], one day).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::clock::Clock;
use crate::base::secret::{self, ExposeSecret, NoRandomness, SecretString};
use crate::identity::account::{Account, AccountError, Accounts, Status};
use crate::store::kv::{self, Commit, CommitError, Kv, KvError, Range, Require, Row, StoredValue};

const SESSIONS: &str = "session/";

/// A session ends after this long without a request.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// A session ends after this long in any case.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// The time limit from the password to the code.
const CODE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The lifetime that CODO's clients expect.
const AUTH_KEY: Duration = Duration::from_secs(24 * 3600);
/// The cookie of a login that still needs its code.
const HALFWAY_COOKIE: &str = "tagship_halfway";
/// A session's last use is stored at most this often: a commit per request would cost more than the
/// request.
const USE_STORED_EVERY: Duration = Duration::from_secs(10 * 60);

/// The maximum number of sessions that one round of [`Sessions::purge`] reads and deletes.
const PURGE_ROWS: usize = 50;

/// The transport between browsers and the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebTransport {
    Http,
    Https,
}

impl WebTransport {
    /// Returns the transport of `public_url`.
    #[must_use]
    pub fn of_url(url: &str) -> Self {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        if scheme.eq_ignore_ascii_case("https") {
            Self::Https
        } else {
            Self::Http
        }
    }

    /// With `__Host-` a browser accepts the cookie only from us, over TLS, for the whole host: no
    /// neighbouring host can set one.
    fn cookie_name(self) -> &'static str {
        match self {
            Self::Http => "tagship_session",
            Self::Https => "__Host-tagship_session",
        }
    }

    /// Returns the value of `Set-Cookie`.
    ///
    /// `SameSite=Lax`, not `Strict`: a user who follows a link from a mail to a task must arrive
    /// logged in. Changes need a POST with a CSRF token.
    fn set_cookie(self, value: &str, max_age: Duration) -> String {
        self.set_named(self.cookie_name(), value, max_age)
    }

    fn set_named(self, name: &str, value: &str, max_age: Duration) -> String {
        let secure = match self {
            Self::Http => "",
            Self::Https => "; Secure",
        };
        format!(
            "{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{secure}",
            max_age.as_secs()
        )
    }
}

/// Why a session cannot be started, found or ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Store(#[from] KvError),
    #[error("the store did not take the session: {0}; try again")]
    Unconfirmed(CommitError),
    #[error("a stored session cannot be read ({0}): log in again")]
    Damaged(String),
}

/// The form did not come from a page of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this form is not from your session: load the page again, then send it")]
pub struct CsrfMismatch;

/// A session that was just started.
pub struct NewSession {
    /// The value of the `Set-Cookie` header. A secret.
    pub set_cookie: SecretString,
    pub session: Session,
}

/// The authenticated user of a request, by cookie.
pub struct Session {
    pub account: Account,
    /// The latest time at which it ends, known without a request.
    pub ends: Timestamp,
    secret: SecretString,
}

impl Session {
    /// Returns the token for every form on this session's pages. It is derived from the cookie, so
    /// it needs no storage and does not reveal the cookie.
    #[must_use]
    pub fn csrf_token(&self) -> String {
        digest("csrf", &self.secret)
    }

    /// # Errors
    /// [`CsrfMismatch`] unless `given` is [`csrf_token`](Self::csrf_token).
    pub fn check_csrf(&self, given: &str) -> Result<(), CsrfMismatch> {
        if secret::equal(given.as_bytes(), self.csrf_token().as_bytes()) {
            Ok(())
        } else {
            Err(CsrfMismatch)
        }
    }
}

/// An `auth_key` that was just created.
pub struct NewAuthKey {
    /// The value of the `Set-Cookie` header. A secret.
    pub set_cookie: SecretString,
    /// The key itself.
    pub value: SecretString,
}

/// The purpose of a stored secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SecretKind {
    #[default]
    Session,
    Halfway,
    AuthKey,
}

/// The stored form of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SessionRecord {
    #[serde(default)]
    kind: SecretKind,
    user: String,
    /// As in the account when the session started: see [`Account`].
    uid: String,
    epoch: u32,
    created: Timestamp,
    /// The last use that was stored.
    last_used: Timestamp,
}

impl SessionRecord {
    fn ends(&self) -> Timestamp {
        match self.kind {
            SecretKind::Session => (self.last_used + IDLE).min(self.created + LIFETIME),
            SecretKind::Halfway => self.created + CODE_TIMEOUT,
            SecretKind::AuthKey => self.created + AUTH_KEY,
        }
    }

    fn belongs_to(&self, account: &Account) -> bool {
        account.uid == self.uid && account.epoch == self.epoch && account.status == Status::Active
    }
}

/// The sessions of one agent.
pub struct Sessions {
    kv: Arc<dyn Kv>,
    clock: Arc<dyn Clock>,
    accounts: Arc<Accounts>,
    transport: WebTransport,
}

impl Sessions {
    #[must_use]
    pub fn new(
        kv: Arc<dyn Kv>,
        clock: Arc<dyn Clock>,
        accounts: Arc<Accounts>,
        transport: WebTransport,
    ) -> Self {
        Self {
            kv,
            clock,
            accounts,
            transport,
        }
    }

    /// Starts a session for a user whose password (or more) was just verified. Always with a fresh
    /// id: a cookie planted before the login is worthless.
    ///
    /// # Errors
    /// [`SessionError`]; the caller shows the login page again.
    pub async fn begin(&self, account: &Account) -> Result<NewSession, SessionError> {
        let (secret, ends) = self.insert(account, SecretKind::Session).await?;
        let cookie = self.transport.set_cookie(secret.expose_secret(), LIFETIME);
        Ok(NewSession {
            set_cookie: cookie.into(),
            session: Session {
                account: account.clone(),
                ends,
                secret,
            },
        })
    }

    /// Stores for some minutes that a user's password was correct, so that only the code is asked
    /// for. Returns the value of the `Set-Cookie` header.
    ///
    /// # Errors
    /// As [`Sessions::begin`].
    pub async fn halfway(&self, account: &Account) -> Result<SecretString, SessionError> {
        let (secret, _) = self.insert(account, SecretKind::Halfway).await?;
        let cookie = self
            .transport
            .set_named(HALFWAY_COOKIE, secret.expose_secret(), CODE_TIMEOUT);
        Ok(cookie.into())
    }

    /// Returns the user whose password was correct, by `Cookie` header.
    ///
    /// # Errors
    /// [`SessionError`] if the store cannot be read.
    pub async fn is_halfway(&self, cookie_header: &str) -> Result<Option<Account>, SessionError> {
        let Some(secret) = cookie(cookie_header, HALFWAY_COOKIE) else {
            return Ok(None);
        };
        self.account_by_secret(&secret, SecretKind::Halfway).await
    }

    /// Deletes it, and returns the `Set-Cookie` that deletes it in the browser.
    ///
    /// # Errors
    /// As [`Sessions::end`].
    pub async fn end_halfway(&self, cookie_header: &str) -> Result<String, SessionError> {
        if let Some(secret) = cookie(cookie_header, HALFWAY_COOKIE) {
            self.delete(&secret, SecretKind::Halfway).await?;
        }
        let forget = self.transport.set_named(HALFWAY_COOKIE, "", Duration::ZERO);
        Ok(forget)
    }

    /// Creates an `auth_key` for an authenticated user: valid for one day, and only for CODO's API.
    ///
    /// # Errors
    /// As [`Sessions::begin`].
    pub async fn auth_key(&self, account: &Account) -> Result<NewAuthKey, SessionError> {
        let (secret, _) = self.insert(account, SecretKind::AuthKey).await?;
        let cookie = self
            .transport
            .set_named("auth_key", secret.expose_secret(), AUTH_KEY);
        Ok(NewAuthKey {
            set_cookie: cookie.into(),
            value: secret,
        })
    }

    /// Returns the user that an `auth_key` authenticates.
    ///
    /// # Errors
    /// [`SessionError`] if the store cannot be read.
    pub async fn of_auth_key(
        &self,
        auth_key: &SecretString,
    ) -> Result<Option<Account>, SessionError> {
        self.account_by_secret(auth_key, SecretKind::AuthKey).await
    }

    /// Stores a fresh secret; returns it and its end.
    async fn insert(
        &self,
        account: &Account,
        kind: SecretKind,
    ) -> Result<(SecretString, Timestamp), SessionError> {
        let secret = secret::token()?;
        let now = self.clock.now();
        let record = SessionRecord {
            kind,
            user: account.name.clone(),
            uid: account.uid.clone(),
            epoch: account.epoch,
            created: now,
            last_used: now,
        };
        let key = key(&secret);
        let commit = Commit::new().require(key.clone(), Require::Absent);
        let commit = commit.put(key, encode(&record)?);
        self.kv
            .commit(commit)
            .await
            .map_err(SessionError::Unconfirmed)?;
        Ok((secret, record.ends()))
    }

    /// Returns the user that a valid secret of this kind authenticates.
    async fn account_by_secret(
        &self,
        secret: &SecretString,
        kind: SecretKind,
    ) -> Result<Option<Account>, SessionError> {
        match self.stored(secret, kind).await? {
            Some((record, _)) => self.account_of(&record).await,
            None => Ok(None),
        }
    }

    /// Returns the stored record of an unexpired secret of this kind. This is the only place where
    /// one kind could be mistaken for another.
    async fn stored(
        &self,
        secret: &SecretString,
        kind: SecretKind,
    ) -> Result<Option<(SessionRecord, StoredValue)>, SessionError> {
        let Some(entry) = self.kv.get(key(secret).as_bytes()).await? else {
            return Ok(None);
        };
        let record: SessionRecord = decode(&entry.value)?;
        let is_good = record.kind == kind && record.ends() > self.clock.now();
        Ok(is_good.then_some((record, entry)))
    }

    /// Returns the account of a session, if the session is still valid for it.
    async fn account_of(&self, record: &SessionRecord) -> Result<Option<Account>, SessionError> {
        match self.accounts.get(&record.user).await {
            Ok(account) if record.belongs_to(&account) => Ok(Some(account)),
            Ok(_) | Err(AccountError::NoSuchAccount(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn delete(&self, secret: &SecretString, kind: SecretKind) -> Result<(), SessionError> {
        if self.stored(secret, kind).await?.is_none() {
            return Ok(());
        }
        let commit = Commit::new().delete(key(secret));
        let deleted = self.kv.commit(commit).await;
        deleted.map(drop).map_err(SessionError::Unconfirmed)
    }

    /// Returns the valid session that a `Cookie` header names, and records its use.
    ///
    /// # Errors
    /// [`SessionError`] if the store cannot be read.
    pub async fn find(&self, cookie_header: &str) -> Result<Option<Session>, SessionError> {
        let Some(secret) = cookie(cookie_header, self.transport.cookie_name()) else {
            return Ok(None);
        };
        let Some((mut record, entry)) = self.stored(&secret, SecretKind::Session).await? else {
            return Ok(None);
        };
        let now = self.clock.now();
        let Some(account) = self.account_of(&record).await? else {
            return Ok(None);
        };
        if record.last_used + USE_STORED_EVERY <= now {
            record.last_used = now;
            self.record_use(&secret, &entry, &record).await?;
        }
        Ok(Some(Session {
            account,
            ends: record.ends(),
            secret,
        }))
    }

    /// Ends the session that a `Cookie` header names, and returns the `Set-Cookie` that deletes it
    /// in the browser. Ending an ended session is no error.
    ///
    /// # Errors
    /// [`SessionError`] if the store did not confirm it; the cookie may still be valid.
    pub async fn end(&self, cookie_header: &str) -> Result<String, SessionError> {
        if let Some(secret) = cookie(cookie_header, self.transport.cookie_name()) {
            self.delete(&secret, SecretKind::Session).await?;
        }
        Ok(self.transport.set_cookie("", Duration::ZERO))
    }

    /// Deletes ended sessions and returns how many; to be called periodically.
    ///
    /// # Errors
    /// [`SessionError`]; the rest is deleted by a later call.
    pub async fn purge(&self) -> Result<usize, SessionError> {
        let now = self.clock.now();
        let mut pages = kv::pages(&*self.kv, Range::prefix(SESSIONS).limit(PURGE_ROWS));
        let mut purged = 0;
        while let Some(page) = pages.next().await? {
            let mut ended = Vec::new();
            for row in &page.rows {
                if self.has_ended(row, now).await? {
                    ended.push(row);
                }
            }
            let commit = ended.iter().fold(Commit::new(), |commit, row| {
                // If it was used meanwhile, it has not ended.
                let unchanged = Require::Version(row.version);
                commit
                    .require(row.key.clone(), unchanged)
                    .delete(row.key.clone())
            });
            match self.kv.commit(commit).await {
                Ok(_) => purged += ended.len(),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(SessionError::Unconfirmed(error)),
            }
        }
        Ok(purged)
    }

    async fn has_ended(&self, row: &Row, now: Timestamp) -> Result<bool, SessionError> {
        let Ok(record) = decode::<SessionRecord>(&row.value) else {
            return Ok(true);
        };
        if record.ends() <= now {
            return Ok(true);
        }
        Ok(self.account_of(&record).await?.is_none())
    }

    /// Records a use. A failure does not refuse the request: another request of the same session
    /// may have recorded it, or the session was ended at this moment.
    async fn record_use(
        &self,
        secret: &SecretString,
        entry: &StoredValue,
        record: &SessionRecord,
    ) -> Result<(), SessionError> {
        let key = key(secret);
        let commit = Commit::new().require(key.clone(), Require::Version(entry.version));
        match self.kv.commit(commit.put(key, encode(record)?)).await {
            Ok(_) | Err(CommitError::Conflict { .. } | CommitError::Unknown(_)) => Ok(()),
            Err(error) => Err(SessionError::Unconfirmed(error)),
        }
    }
}

fn key(secret: &SecretString) -> String {
    format!("{SESSIONS}{}", digest("session", secret))
}

/// Derives a different value for each purpose, which reveals neither the secret nor other values.
fn digest(purpose: &str, secret: &SecretString) -> String {
    secret::sha256_hex(format!("tagship {purpose} {}", secret.expose_secret()).as_bytes())
}

/// Returns a cookie's value in a `Cookie` header; the first if the name is repeated.
#[must_use]
pub fn cookie(header: &str, name: &str) -> Option<SecretString> {
    let value = header.split(';').find_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then_some(value)
    });
    value
        .filter(|value| !value.is_empty())
        .map(SecretString::from)
}

fn encode(record: &SessionRecord) -> Result<Vec<u8>, SessionError> {
    serde_json::to_vec(record).map_err(|error| SessionError::Damaged(error.to_string()))
}

fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, SessionError> {
    serde_json::from_slice(bytes).map_err(|error| SessionError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests;
