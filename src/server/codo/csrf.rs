//! The `csrf_key` of CODO's API: a GET issues one, a POST spends it. It proves that the sender
//! could read our response, which a foreign page cannot.
//!
//! A key is `EXPIRES.NONCE.MAC`: nothing is stored when it is issued, so issuing costs no commit.
//! It is bound to its account and to a secret stored under `csrf/secret`, so it survives a restart.
//! The submission's commit ensures that it is spent once: the nonce is its idempotency key.

use std::sync::Arc;

use hmac::{Hmac, Mac};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

use crate::base::secret::{self, NoRandomness, SecretString};
use crate::store::kv::{Commit, CommitError, Kv, KvError, Require};

/// The lifetime of a key, in seconds.
pub(super) const LIFETIME_S: i64 = 1800;

const SECRET: &str = "csrf/secret";

/// Why no key can be issued or checked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CsrfError {
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    #[error(transparent)]
    Store(#[from] KvError),
    #[error("the store did not take the secret of csrf keys: {0}; try again")]
    Unconfirmed(#[from] CommitError),
}

/// A key issued to this account that has not expired. Only the store knows whether it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValidKey {
    nonce: String,
}

impl ValidKey {
    /// Returns the idempotency key that is stored once the key is used.
    pub(super) fn idempotency_key(&self) -> String {
        format!("csrf {}", self.nonce)
    }
}

/// Issues and checks keys.
pub(super) struct Keys {
    secret: Vec<u8>,
}

impl Keys {
    /// Loads the store's secret, which is created on first use.
    pub(super) async fn of(kv: &Arc<dyn Kv>) -> Result<Self, CsrfError> {
        loop {
            if let Some(entry) = kv.get(SECRET.as_bytes()).await? {
                return Ok(Self {
                    secret: entry.value,
                });
            }
            let made = secret::random_bytes::<32>()?;
            let commit = Commit::new()
                .require(SECRET, Require::Absent)
                .put(SECRET, made);
            match kv.commit(commit).await {
                // Another writer's secret, if two race.
                Ok(_) | Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Issues a new key for an account.
    pub(super) fn give(&self, account: &str, now: Timestamp) -> Result<SecretString, CsrfError> {
        let expires = now.as_second() + LIFETIME_S;
        let nonce = secret::hex(&secret::random_bytes::<16>()?);
        let mac = secret::hex(&self.mac(account, expires, &nonce).finalize().into_bytes());
        Ok(format!("{expires}.{nonce}.{mac}").into())
    }

    /// Checks a key; returns `None` if it is not valid.
    pub(super) fn check(&self, account: &str, key: &str, now: Timestamp) -> Option<ValidKey> {
        let (expires, rest) = key.split_once('.')?;
        let (nonce, mac) = rest.split_once('.')?;
        let expires: i64 = expires.parse().ok()?;
        let made = self.mac(account, expires, nonce).finalize().into_bytes();
        if !secret::equal(secret::hex(&made).as_bytes(), mac.as_bytes()) {
            return None;
        }
        let left = Timestamp::from_second(expires).ok()?.duration_since(now);
        let lifetime = SignedDuration::from_secs(LIFETIME_S);
        // A key from the future was issued before the clock was set back: its age is unknown.
        (left > SignedDuration::ZERO && left <= lifetime).then(|| ValidKey {
            nonce: nonce.to_owned(),
        })
    }

    fn mac(&self, account: &str, expires: i64, nonce: &str) -> Hmac<Sha256> {
        let mut key = hmac::digest::Key::<Hmac<Sha256>>::default();
        for (byte, secret) in key.iter_mut().zip(&self.secret) {
            *byte = *secret;
        }
        let mut mac: Hmac<Sha256> = Mac::new(&key);
        mac.update(format!("tagship csrf\0{account}\0{expires}\0{nonce}").as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::secret::ExposeSecret as _;
    use crate::store::memory::MemoryKv;

    async fn keys() -> (Arc<dyn Kv>, Keys) {
        let kv: Arc<dyn Kv> = Arc::new(MemoryKv::new());
        let keys = Keys::of(&kv).await.unwrap();
        (kv, keys)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[tokio::test]
    async fn csrf_key_is_bound_to_its_account_and_time() {
        let (_, keys) = keys().await;
        let key = keys.give("alice", at(0)).unwrap();
        let key = key.expose_secret();
        assert!(keys.check("alice", key, at(0)).is_some());
        assert!(keys.check("alice", key, at(LIFETIME_S - 1)).is_some());
        assert_eq!(keys.check("alice", key, at(LIFETIME_S)), None);
        assert_eq!(keys.check("alice", key, at(-1)), None);
        assert_eq!(keys.check("bob", key, at(0)), None);
    }

    #[tokio::test]
    async fn modified_csrf_key_is_invalid() {
        let (_, keys) = keys().await;
        let key = keys.give("alice", at(0)).unwrap();
        let key = key.expose_secret();
        let later = key.replacen("17", "18", 1);
        let other = keys.give("alice", at(0)).unwrap();
        let (head, _) = key.rsplit_once('.').unwrap();
        let (_, mac) = other.expose_secret().rsplit_once('.').unwrap();
        for wrong in [
            "",
            ".",
            "..",
            "1..",
            &key[1..],
            &later,
            &format!("{head}."),
            &format!("{head}.{mac}"),
        ] {
            assert_eq!(keys.check("alice", wrong, at(0)), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn csrf_keys_survive_a_restart_but_not_another_store() {
        let (kv, keys_before) = keys().await;
        let key = keys_before.give("alice", at(0)).unwrap();
        let key = key.expose_secret();
        let again = Keys::of(&kv).await.unwrap();
        assert_eq!(
            again.check("alice", key, at(1)),
            keys_before.check("alice", key, at(1))
        );
        let (_, elsewhere) = keys().await;
        assert_eq!(elsewhere.check("alice", key, at(1)), None);
    }
}
