//! Passwords: Argon2id, verified on a blocking thread. Stores and counts nothing.

use std::sync::{Arc, LazyLock};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::base::secret::{self, ExposeSecret, SecretString};

/// Argon2id with 19 MiB, two passes, one lane: the first choice of OWASP's password storage cheat
/// sheet. The hash contains its parameters, so older hashes keep working when these change.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The maximum number of concurrent hashes: each takes [`MEMORY_KIB`] and a CPU.
const AT_ONCE: usize = 2;

const CHARACTERS_MIN: usize = 8;
/// Limits the work per request.
const BYTES_MAX: usize = 1024;

/// Why a password is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("the password has fewer than {CHARACTERS_MIN} characters: choose a longer one")]
    Short,
    #[error("the password has more than {BYTES_MAX} bytes: choose a shorter one")]
    Long,
    #[error("cannot hash the password: {0}")]
    Hash(String),
}

/// A hash in PHC form: algorithm, parameters, salt and digest.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Hash(String);

/// Hashes and verifies passwords with limited concurrency.
pub(super) struct Passwords {
    slots: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Passwords {
    pub(super) async fn hash(&self, password: &SecretString) -> Result<Hash, PasswordError> {
        let length = password.expose_secret().len();
        if password.expose_secret().chars().count() < CHARACTERS_MIN {
            return Err(PasswordError::Short);
        }
        if length > BYTES_MAX {
            return Err(PasswordError::Long);
        }
        let password = password.clone();
        self.with_slot(move || hash_now(password.expose_secret().as_bytes()))
            .await?
    }

    /// Whether the password matches the hash. Without a hash it takes as long and returns false, so
    /// that timing does not reveal which accounts exist.
    pub(super) async fn verify(
        &self,
        password: &SecretString,
        hash: Option<Hash>,
    ) -> Result<PasswordMatch, PasswordError> {
        if password.expose_secret().len() > BYTES_MAX {
            return Ok(PasswordMatch::Wrong);
        }
        let password = password.clone();
        self.with_slot(move || match hash {
            Some(hash) => verify_now(password.expose_secret().as_bytes(), &hash),
            None => {
                if let Ok(decoy) = &*DECOY_HASH {
                    verify_now(password.expose_secret().as_bytes(), decoy);
                }
                PasswordMatch::Wrong
            }
        })
        .await
    }

    async fn with_slot<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let ended = |_| PasswordError::Hash("the agent is stopping".into());
        let slots = Arc::clone(&self.slots);
        let slot = slots.acquire_owned().await;
        let slot = slot.map_err(|closed| PasswordError::Hash(closed.to_string()))?;
        let work = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(slot);
            result
        });
        work.await.map_err(ended)
    }
}

/// The result of verifying a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordMatch {
    Right,
    Wrong,
}

/// The hash of a random password.
static DECOY_HASH: LazyLock<Result<Hash, PasswordError>> = LazyLock::new(|| {
    let password = secret::random_bytes::<32>();
    let password = password.map_err(|error| PasswordError::Hash(error.to_string()))?;
    hash_now(&password)
});

fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None);
    let params = params.map_err(|error| PasswordError::Hash(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_now(password: &[u8]) -> Result<Hash, PasswordError> {
    let salt = secret::random_bytes::<16>();
    let salt = salt.map_err(|error| PasswordError::Hash(error.to_string()))?;
    let failed = |error: argon2::password_hash::Error| PasswordError::Hash(error.to_string());
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    let hash = argon2()?.hash_password(password, &salt).map_err(failed)?;
    Ok(Hash(hash.to_string()))
}

fn verify_now(password: &[u8], hash: &Hash) -> PasswordMatch {
    // The hash contains its parameters; `Argon2` reads them from there.
    let right = PasswordHash::new(&hash.0)
        .and_then(|hash| Argon2::default().verify_password(password, &hash));
    match right {
        Ok(()) => PasswordMatch::Right,
        Err(_) => PasswordMatch::Wrong,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn only_the_password_that_was_hashed_is_right() {
        let passwords = Passwords::default();
        let hash = passwords.hash(&"correct horse".into()).await.unwrap();
        assert!(
            hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hash.0
        );
        let verify = async |text: &str, hash| passwords.verify(&text.into(), hash).await.unwrap();
        assert_eq!(
            verify("correct horse", Some(hash.clone())).await,
            PasswordMatch::Right
        );
        assert_eq!(
            verify("correct horse ", Some(hash.clone())).await,
            PasswordMatch::Wrong
        );
        assert_eq!(
            verify(&"x".repeat(2000), Some(hash)).await,
            PasswordMatch::Wrong
        );
        assert_eq!(verify("correct horse", None).await, PasswordMatch::Wrong);
        assert_eq!(
            verify("correct horse", Some(Hash("garbage".into()))).await,
            PasswordMatch::Wrong
        );
    }

    #[tokio::test]
    async fn the_same_password_has_another_hash_each_time() {
        let passwords = Passwords::default();
        let first = passwords.hash(&"correct horse".into()).await.unwrap();
        let second = passwords.hash(&"correct horse".into()).await.unwrap();
        assert_ne!(first.0, second.0);
    }

    #[tokio::test]
    async fn short_and_endless_passwords_are_refused() {
        let passwords = Passwords::default();
        let refused = async |text: &str| passwords.hash(&text.into()).await.err();
        assert_eq!(refused("äöüäöüä").await, Some(PasswordError::Short));
        assert_eq!(refused(&"x".repeat(1025)).await, Some(PasswordError::Long));
    }
}
