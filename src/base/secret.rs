//! Values that must not be printed: generation, comparison, and redaction from text. A thin layer
//! over `secrecy`, `subtle`, `getrandom` and `sha2`; it stores nothing. Used by `account`,
//! `session`, `config` and everything that writes logs.

use std::borrow::Cow;
use std::fmt::Write as _;

use regex::bytes::{NoExpand, Regex, RegexBuilder};
pub use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Replaces a secret in redacted text.
pub const REDACTED: &str = "[REDACTED]";

/// Number of random bytes in a [`token`].
const TOKEN_BYTES: usize = 32;

/// Shorter lines of a multi-line secret are not redacted: they would also match harmless text (`}`,
/// `-----`).
const LINE_BYTES_MIN: usize = 8;

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

/// Removes a set of secrets from text: as a whole, and line by line if they are multi-line.
///
/// It matches a secret only as given: encoded forms (base64, percent-encoding) are not found.
pub struct Redactor {
    /// `None` if there is nothing to redact.
    secrets: Option<Regex>,
}

impl Redactor {
    /// # Errors
    /// [`regex::Error`] if the secrets add up to many megabytes.
    pub fn new<'a>(
        secrets: impl IntoIterator<Item = &'a SecretString>,
    ) -> Result<Self, regex::Error> {
        let mut parts: Vec<&str> = Vec::new();
        for secret in secrets {
            let secret = secret.expose_secret();
            parts.push(secret);
            parts.push(secret.trim_end_matches(['\r', '\n']));
            let lines = secret.lines().map(str::trim);
            parts.extend(lines.filter(|line| line.len() >= LINE_BYTES_MIN));
        }
        parts.retain(|part| !part.trim().is_empty());
        // The first matching alternative wins: put a secret before any secret that it contains.
        parts.sort_by(|left, right| right.len().cmp(&left.len()).then(left.cmp(right)));
        parts.dedup();
        if parts.is_empty() {
            return Ok(Self { secrets: None });
        }
        let escaped: Vec<String> = parts.iter().map(|part| regex::escape(part)).collect();
        let pattern = RegexBuilder::new(&escaped.join("|"))
            .size_limit(64 * 1024 * 1024)
            .build()?;
        Ok(Self {
            secrets: Some(pattern),
        })
    }

    /// Returns the text with every secret replaced by [`REDACTED`].
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Secrets consist of whole characters, so the rest does too.
            Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        }
    }

    /// As [`redact`](Self::redact), for program output, which need not be UTF-8. Pass whole lines:
    /// a secret split at the end of `text` is not found.
    #[must_use]
    pub fn redact_bytes<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        match &self.secrets {
            Some(secrets) => secrets.replace_all(text, NoExpand(REDACTED.as_bytes())),
            None => Cow::Borrowed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let secrets: Vec<SecretString> = secrets.iter().map(|s| (*s).into()).collect();
        Redactor::new(&secrets).unwrap()
    }

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

    #[test]
    fn a_secret_that_contains_another_is_redacted_whole() {
        let redactor = redactor(&["pass", "password1"]);
        assert_eq!(
            redactor.redact("login with password1, then pass"),
            "login with [REDACTED], then [REDACTED]"
        );
    }

    #[test]
    fn each_line_of_a_key_is_redacted() {
        let redactor = redactor(&["-----BEGIN-----\nb3BlbnNzaC1rZXk\n}\n"]);
        assert_eq!(
            redactor.redact("line: b3BlbnNzaC1rZXk }"),
            "line: [REDACTED] }"
        );
    }

    #[test]
    fn regex_characters_in_secrets_are_literal() {
        let redactor = redactor(&["a.c$1"]);
        assert_eq!(redactor.redact("abc$1 a.c$1"), "abc$1 [REDACTED]");
    }

    #[test]
    fn no_secrets_and_blank_secrets_change_nothing() {
        assert_eq!(redactor(&[]).redact("text"), "text");
        assert_eq!(redactor(&["", " ", "\n"]).redact("a\n b"), "a\n b");
        assert!(matches!(redactor(&["y"]).redact("text"), Cow::Borrowed(_)));
    }

    #[test]
    fn output_that_is_not_utf8_is_redacted_too() {
        let redactor = redactor(&["hunter22"]);
        assert_eq!(
            redactor.redact_bytes(b"\xff hunter22 \xfe").as_ref(),
            b"\xff [REDACTED] \xfe"
        );
    }

    proptest! {
        #[test]
        fn no_secret_is_left_in_any_text(
            secrets in prop::collection::vec("[a-c]{1,4}", 1..5),
            text in "[a-d]{0,60}",
        ) {
            let refs: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let redacted = redactor(&refs).redact(&text).replace(REDACTED, "|");
            for secret in &secrets {
                prop_assert!(!redacted.contains(secret.as_str()));
            }
        }
    }
}
