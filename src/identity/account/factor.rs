//! The second factor: codes that change every 30 seconds, as authenticator apps make them (TOTP,
//! RFC 6238: SHA-1, six digits). Begun with a fresh secret, in force once one code of it was right,
//! taken away by a reset. A code is good once: the step of the last one is stored, and none up to it
//! is taken again.

use std::net::IpAddr;

use jiff::Timestamp;
use totp_rs::{Builder, Secret, Totp};

use super::{
    ATTEMPTS_MAX, Account, AccountError, AccountRecord, Accounts, Committed, LoginError,
    SecondFactor, Status, encode, key,
};
use crate::base::secret::{self, ExposeSecret, SecretString};
use crate::store::kv::{Commit, Require};

/// Shown in the app beside the account's name.
const ISSUER: &str = "tagship";
/// In seconds.
const STEP_S: u64 = 30;
/// A code may be so many steps early or late: clocks differ, and people type slowly.
const SKEW: u16 = 1;

/// What a code is.
enum Judged {
    /// Of this step, later than the last that was taken.
    Right(u64),
    /// It would be right, and it or a later one was taken before.
    Used,
    Wrong,
}

impl SecondFactor {
    /// What a code is at this time.
    fn judge(&self, name: &str, code: &str, now: Timestamp) -> Result<Judged, AccountError> {
        let totp = totp(name, &self.secret)?;
        let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let time = u64::try_from(now.as_second()).unwrap_or(0);
        Ok(match totp.check(&digits, time) {
            Some(step) if step > self.last_step => Judged::Right(step),
            Some(_) => Judged::Used,
            None => Judged::Wrong,
        })
    }
}

/// A second factor that was just begun: what the app is to be given. Shown once.
#[derive(Debug)]
pub struct Enrolment {
    /// In base32, to be typed.
    pub secret: SecretString,
    /// `otpauth://…`, to be opened.
    pub uri: SecretString,
}

impl Accounts {
    /// Begins a second factor: a fresh secret, good for nothing until [`Accounts::confirm_factor`].
    ///
    /// # Errors
    /// [`AccountError::HasFactor`] where one is in force.
    pub async fn begin_factor(&self, name: &str, also: Commit) -> Result<Enrolment, AccountError> {
        let fresh = Secret::from(secret::random_bytes::<20>()?).to_base32();
        let uri = totp(name, &fresh)?.to_url();
        let uri = uri.map_err(|error| damaged(name, &error))?;
        for _ in 0..ATTEMPTS_MAX {
            let (mut record, version) = self.record(name).await?;
            if record.account.second_factor.is_some() {
                return Err(AccountError::HasFactor(name.to_owned()));
            }
            record.factor = Some(SecondFactor {
                secret: fresh.clone(),
                last_step: 0,
            });
            let commit = Commit::new().require(key(name), Require::Version(version));
            let commit = commit.put(key(name), encode(name, &record)?);
            match self.commit(name, commit.and(also.clone())).await? {
                Committed::Done => {
                    return Ok(Enrolment {
                        secret: fresh.into(),
                        uri: uri.into(),
                    });
                }
                Committed::Conflict => {}
            }
        }
        Err(AccountError::Overtaken)
    }

    /// Puts a second factor in force: whoever has the app shows that it works. Sessions end.
    ///
    /// # Errors
    /// [`AccountError`]: none was begun, one is in force, or the code is wrong.
    pub async fn confirm_factor(
        &self,
        name: &str,
        code: &str,
        also: Commit,
    ) -> Result<Account, AccountError> {
        for _ in 0..ATTEMPTS_MAX {
            let (mut record, version) = self.record(name).await?;
            if record.account.second_factor.is_some() {
                return Err(AccountError::HasFactor(name.to_owned()));
            }
            let now = self.clock.now();
            let factor = record.factor.as_mut();
            let factor = factor.ok_or_else(|| AccountError::NoFactor(name.to_owned()))?;
            factor.last_step = match factor.judge(name, code, now)? {
                Judged::Right(step) => step,
                Judged::Used | Judged::Wrong => return Err(AccountError::WrongCode),
            };
            record.account.second_factor = Some(now);
            record.account.epoch += 1;
            let commit = Commit::new().require(key(name), Require::Version(version));
            let commit = commit.put(key(name), encode(name, &record)?);
            match self.commit(name, commit.and(also.clone())).await? {
                Committed::Done => return Ok(record.account),
                Committed::Conflict => {}
            }
        }
        Err(AccountError::Overtaken)
    }

    /// Takes the second factor away, whether it was in force or only begun. Sessions end.
    ///
    /// # Errors
    /// [`AccountError::NoSuchAccount`].
    pub async fn reset_factor(&self, name: &str, also: Commit) -> Result<(), AccountError> {
        let record = self.rewrite(name, also, |record| {
            record.factor = None;
            record.account.second_factor = None;
            record.account.epoch += 1;
        });
        record.await.map(|_| ())
    }

    /// Whether somebody whose password was right has the second factor, too. A code is taken once,
    /// also after a restart and by two who come at the same moment; wrong ones count as failed
    /// logins of the account and address.
    ///
    /// # Errors
    /// [`LoginError`]: `UsedCode` for one that was right, and was taken before.
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
            let judged = match &record.factor {
                Some(factor) => factor.judge(name, code, self.clock.now())?,
                None => Judged::Wrong,
            };
            let step = match judged {
                Judged::Right(step) => step,
                Judged::Used => return Err(LoginError::UsedCode),
                Judged::Wrong => return Err(LoginError::WrongCode),
            };
            self.use_up(&mut record, step);
            let commit = Commit::new().require(key(name), Require::Version(version));
            let commit = commit.put(key(name), encode(name, &record)?);
            // A conflict: somebody may have used this very code. Look again.
            if let Committed::Done = self.commit(name, commit).await? {
                self.limiter().succeeded_code(name, from);
                return Ok(record.account);
            }
        }
        Err(AccountError::Overtaken.into())
    }

    fn use_up(&self, record: &mut AccountRecord, step: u64) {
        if let Some(factor) = &mut record.factor {
            factor.last_step = step;
        }
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

/// The code of a secret at a time, as an app would show it. For tests and for whoever must log in by
/// a program.
///
/// # Errors
/// [`AccountError::Damaged`] where the secret is none.
pub fn code_at(secret: &SecretString, at: Timestamp) -> Result<String, AccountError> {
    let time = u64::try_from(at.as_second()).unwrap_or(0);
    Ok(totp("somebody", secret.expose_secret())?
        .generate(time)
        .to_string())
}

#[cfg(test)]
mod tests;
