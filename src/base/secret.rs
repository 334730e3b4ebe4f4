//! Values that must not be printed: generation, comparison and digests. A thin layer over `secrecy`,
//! `subtle`, `getrandom` and `sha2`; it stores nothing. `engine/executor/mask.rs` masks output.

use std::fmt::Write as _;

pub use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Is shown in place of a secret.
pub const REDACTED: &str = "[REDACTED]";

/// Number of random bytes in a [`token`].
const TOKEN_BYTES: usize = 32;

/// The operating system returned no random numbers; nothing works without them.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random numbers: {0}; look at /dev/urandom")]
pub struct NoRandomness(#[from] getrandom::Error);

/// Returns `N` bytes from the operating system's random number generator.
///
/// # Errors
/// [`NoRandomness`].
pub fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Returns an unguessable secret: 256 random bits as 64 hex digits.
///
/// # Errors
/// [`NoRandomness`].
pub fn token() -> Result<SecretString, NoRandomness> {
    Ok(hex(&random_bytes::<TOKEN_BYTES>()?).into())
}

/// Compares in constant time, independent of where the values differ. Their lengths may leak.
#[must_use]
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// Returns SHA-256 as 64 hex digits. Suitable for storing [tokens](token), never for passwords.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns bytes as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tokens_are_256_bits_and_unique() {
        let first = token().unwrap();
        let second = token().unwrap();
        assert_eq!(first.expose_secret().len(), 64);
        assert_ne!(first.expose_secret(), second.expose_secret());
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let secret = token().unwrap();
        assert!(!format!("{secret:?}").contains(secret.expose_secret()));
    }

    #[test]
    fn digest_matches_the_standard() {
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn values_are_equal_only_byte_for_byte() {
        assert!(equal(b"abc", b"abc"));
        assert!(!equal(b"abc", b"abd"));
        assert!(!equal(b"abc", b"abcd"));
        assert!(equal(b"", b""));
    }
}
