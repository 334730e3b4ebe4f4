//! The second factor: codes that change every 30 seconds, as authenticator apps generate them
//! (TOTP, RFC 6238: SHA-1, six digits). It starts with a fresh secret, becomes active once a code
//! was correct, and is removed by a reset. A code is valid once: the last accepted step is stored,
//! and no code up to it is accepted again.

use std::net::IpAddr;

use jiff::Timestamp;
use totp_rs::{Builder, Secret, Totp};

use super::{
    ATTEMPTS_MAX, Account, AccountError, Accounts, Committed, LoginError, SecondFactor, Status,
    encode, key,
};
use crate::base::secret::{self, ExposeSecret, SecretString};
use crate::store::kv::{Commit, Require};

/// Shown in the app next to the account name.
const ISSUER: &str = "tagship";
/// The length of a step, in seconds.
const STEP_S: u64 = 30;
/// How many steps a code may be early or late, since clocks differ and typing takes time.
const SKEW: u16 = 1;

/// The result of checking a code.
enum CodeCheck {
    /// Correct for this step, which is later than the last accepted one.
    Right(u64),
    /// Correct, but it or a later one was accepted before.
    Used,
    Wrong,
}

impl SecondFactor {
    /// Checks a code at this time.
    fn check(&self, name: &str, code: &str, now: Timestamp) -> Result<CodeCheck, AccountError> {
        let totp = totp(name, &self.secret)?;
        let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let time = u64::try_from(now.as_second()).unwrap_or(0);
        Ok(match totp.check(&digits, time) {
            Some(step) if step > self.last_step => CodeCheck::Right(step),
            Some(_) => CodeCheck::Used,
            None => CodeCheck::Wrong,
        })
    }
}

/// A second factor that was just started, with the data for the app. Shown once.
#[derive(Debug)]
pub struct Enrolment {
    /// In base32, for typing.
    pub secret: SecretString,
    /// `otpauth://…`, for opening.
    pub uri: SecretString,
}

impl Accounts {
    /// Starts a second factor: a fresh secret, inactive until [`Accounts::confirm_factor`].
    ///
    /// # Errors
    /// [`AccountError::HasFactor`] if one is active.
    pub async fn begin_factor(
        &self,
        name: &str,
        writes: Commit,
    ) -> Result<Enrolment, AccountError> {
        let fresh = Secret::from(secret::random_bytes::<20>()?).to_base32();
        let uri = totp(name, &fresh)?.to_url();
        let uri = uri.map_err(|error| damaged(name, &error))?;
        let record = self.rewrite(name, writes, |record| {
            if record.account.second_factor.is_some() {
                return Err(AccountError::HasFactor(name.to_owned()));
            }
            record.factor = Some(SecondFactor {
                secret: fresh.clone(),
                last_step: 0,
            });
            Ok(())
        });
        record.await?;
        Ok(Enrolment {
            secret: fresh.into(),
            uri: uri.into(),
        })
    }

    /// Activates a second factor: the user proves that the app works. Sessions end.
    ///
    /// # Errors
    /// [`AccountError`]: none was started, one is active, or the code is wrong.
    pub async fn confirm_factor(
        &self,
        name: &str,
        code: &str,
        writes: Commit,
    ) -> Result<Account, AccountError> {
        let record = self.rewrite(name, writes, |record| {
            if record.account.second_factor.is_some() {
                return Err(AccountError::HasFactor(name.to_owned()));
            }
            let now = self.clock.now();
            let factor = record.factor.as_mut();
            let factor = factor.ok_or_else(|| AccountError::NoFactor(name.to_owned()))?;
            factor.last_step = match factor.check(name, code, now)? {
                CodeCheck::Right(step) => step,
                CodeCheck::Used | CodeCheck::Wrong => return Err(AccountError::WrongCode),
            };
            record.account.second_factor = Some(now);
            record.account.epoch += 1;
            Ok(())
        });
        Ok(record.await?.account)
    }

    /// Removes the second factor, whether active or only started. Sessions end.
    ///
    /// # Errors
    /// [`AccountError::NoSuchAccount`].
    pub async fn reset_factor(&self, name: &str, writes: Commit) -> Result<(), AccountError> {
        let record = self.rewrite(name, writes, |record| {
            record.factor = None;
            record.account.second_factor = None;
            record.account.epoch += 1;
            Ok(())
        });
        record.await.map(|_| ())
    }

    /// Verifies the second factor of a user whose password was correct. A code is accepted once,
    /// also across restarts and concurrent requests; wrong codes count as failed logins of the
    /// account and address.
    ///
    /// # Errors
    /// [`LoginError`]: `UsedCode` for a correct code that was accepted before.
    pub async fn verify_code(
        &self,
        name: &str,
        code: &str,
        from: IpAddr,
    ) -> Result<Account, LoginError> {
        self.limiter()
            .begin_code(name, from, self.clock.now())
            .map_err(LoginError::TooMany)?;
        for _ in 0..ATTEMPTS_MAX {
            let (mut record, version) = match self.record(name).await {
                Ok(found) => found,
                Err(AccountError::NoSuchAccount(_)) => return Err(LoginError::Denied),
                Err(error) => return Err(error.into()),
            };
            let in_force = record.account.second_factor.is_some();
            if record.account.status != Status::Active || !in_force {
                return Err(LoginError::Denied);
            }
            let Some(factor) = &mut record.factor else {
                return Err(LoginError::WrongCode);
            };
            factor.last_step = match factor.check(name, code, self.clock.now())? {
                CodeCheck::Right(step) => step,
                CodeCheck::Used => return Err(LoginError::UsedCode),
                CodeCheck::Wrong => return Err(LoginError::WrongCode),
            };
            let commit = Commit::new().require(key(name), Require::Version(version));
            let commit = commit.put(key(name), encode(name, &record)?);
            // A conflict: the same code may have been used concurrently. Check again.
            if let Committed::Done = self.commit(name, commit).await? {
                self.limiter().succeeded_code(name, from);
                return Ok(record.account);
            }
        }
        Err(AccountError::Overtaken.into())
    }
}

fn totp(name: &str, base32: &str) -> Result<Totp, AccountError> {
    let secret = Secret::try_from_base32(base32).map_err(|error| damaged(name, &error))?;
    Builder::new()
        .with_secret(secret)
        .with_skew(SKEW)
        .with_step_duration(STEP_S)
        .with_account_name(name)
        .with_issuer(Some(ISSUER))
        .build()
        .map_err(|error| damaged(name, &error))
}

fn damaged(name: &str, error: &impl std::fmt::Display) -> AccountError {
    AccountError::Damaged {
        name: name.to_owned(),
        why: format!("second factor: {error}"),
    }
}

/// Returns the code of a secret at a time, as an app would show it. For tests and for programs that
/// log in.
///
/// # Errors
/// [`AccountError::Damaged`] if the secret is invalid.
pub fn code_at(secret: &SecretString, at: Timestamp) -> Result<String, AccountError> {
    let time = u64::try_from(at.as_second()).unwrap_or(0);
    Ok(totp("account", secret.expose_secret())?
        .generate(time)
        .to_string())
}

#[cfg(test)]
mod tests;
