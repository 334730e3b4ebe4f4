//! The text of a `known_hosts` file, as sshd(8) describes it under SSH_KNOWN_HOSTS FILE FORMAT.
//!
//! Pure: text in, verdict out. Supports plain names, `[host]:port`, hashed names (`|1|…`), the
//! wildcards `*` and `?`, negation with `!`, several keys for one host, and `@revoked`.
//! `@cert-authority` lines are skipped: host certificates are not supported. An invalid line
//! matches nothing. `pin` adds lines to a file.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// A host as `known_hosts` names it: `address` for port 22, else `[address]:port`; lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName(String);

impl HostName {
    #[must_use]
    pub fn new(address: &str, port: u16) -> Self {
        let address = address.to_lowercase();
        Self(match port {
            22 => address,
            port => format!("[{address}]:{port}"),
        })
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public host key: its type and its bytes on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// `ssh-ed25519`, `ssh-rsa`, …
    pub key_type: String,
    /// The whole key blob (RFC 4253, 6.6), type included.
    pub blob: Vec<u8>,
}

impl HostKey {
    /// Returns `SHA256:…` as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!(
            "SHA256:{}",
            STANDARD_NO_PAD.encode(Sha256::digest(&self.blob))
        )
    }

    /// Returns the line that pins this key for `host`, without the newline.
    #[must_use]
    pub fn line(&self, host: &HostName) -> String {
        format!("{host} {} {}", self.key_type, STANDARD.encode(&self.blob))
    }
}

/// What the file says about a key that a host has shown. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeyTrust {
    Trusted,
    /// No line matches this host.
    Unknown,
    /// A line holds another key of the same type for this host.
    Changed {
        line: usize,
        expected: HostKey,
    },
    /// Lines match this host, but none holds a key of this type.
    OtherTypes {
        held: Vec<String>,
    },
    Revoked {
        line: usize,
    },
}

/// The lines of a `known_hosts` file.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts {
    lines: Vec<KnownHostsLine>,
}

#[derive(Clone, Debug)]
struct KnownHostsLine {
    number: usize,
    mark: Mark,
    hosts: String,
    key_type: String,
    key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Pin,
    Revoked,
}

impl KnownHosts {
    /// Splits the file's text into lines; decodes nothing yet, so that a file with thousands of
    /// hosts costs little for one of them.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .enumerate()
            .filter_map(|(index, text)| KnownHostsLine::parse(index + 1, text))
            .collect();
        Self { lines }
    }

    /// Returns what the file says about `key`, shown by `host`. A revocation overrides everything.
    #[must_use]
    pub fn check(&self, host: &HostName, key: &HostKey) -> HostKeyTrust {
        let mut changed = None;
        let mut trusted = false;
        let mut held: Vec<String> = Vec::new();
        for line in self.lines.iter().filter(|line| line.is_about(host)) {
            let Some(known) = line.decode() else { continue };
            match line.mark {
                Mark::Revoked if known == *key => {
                    return HostKeyTrust::Revoked { line: line.number };
                }
                Mark::Revoked => {}
                Mark::Pin if known == *key => trusted = true,
                Mark::Pin => {
                    if known.key_type == key.key_type {
                        changed.get_or_insert((line.number, known.clone()));
                    }
                    held.push(known.key_type);
                }
            }
        }
        match changed {
            _ if trusted => HostKeyTrust::Trusted,
            Some((line, expected)) => HostKeyTrust::Changed { line, expected },
            None if held.is_empty() => HostKeyTrust::Unknown,
            None => HostKeyTrust::OtherTypes { held },
        }
    }

    /// Returns the types of the keys that are pinned for `host`, so that only those are requested
    /// from the server.
    #[must_use]
    pub fn key_types(&self, host: &HostName) -> Vec<String> {
        let mut types: Vec<String> = self
            .lines
            .iter()
            .filter(|line| line.mark == Mark::Pin && line.is_about(host))
            .filter_map(|line| line.decode().map(|key| key.key_type))
            .collect();
        types.sort();
        types.dedup();
        types
    }
}

impl KnownHostsLine {
    fn parse(number: usize, text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let first = words.next().filter(|word| !word.starts_with('#'))?;
        let (mark, hosts) = match first {
            "@revoked" => (Mark::Revoked, words.next()?),
            marker if marker.starts_with('@') => return None,
            hosts => (Mark::Pin, hosts),
        };
        Some(Self {
            number,
            mark,
            hosts: hosts.to_owned(),
            key_type: words.next()?.to_owned(),
            key: words.next()?.to_owned(),
        })
    }

    /// Returns the key, if it is valid and of the type that the line says.
    fn decode(&self) -> Option<HostKey> {
        let blob = STANDARD.decode(&self.key).ok()?;
        let length = u32::from_be_bytes(blob.get(..4)?.try_into().ok()?) as usize;
        let inner = blob.get(4..4usize.checked_add(length)?)?;
        (inner == self.key_type.as_bytes()).then(|| HostKey {
            key_type: self.key_type.clone(),
            blob,
        })
    }

    /// Whether the line matches the host. One matching negated pattern excludes it.
    fn is_about(&self, host: &HostName) -> bool {
        if self.hosts.starts_with('|') {
            return matches_hash(&self.hosts, &host.0).unwrap_or(false);
        }
        let mut about = false;
        for pattern in self.hosts.split(',') {
            match pattern.strip_prefix('!') {
                Some(pattern) if matches_glob(&pattern.to_lowercase(), &host.0) => return false,
                Some(_) => {}
                None => about |= matches_glob(&pattern.to_lowercase(), &host.0),
            }
        }
        about
    }
}

/// Matches `|1|base64(salt)|base64(HMAC-SHA1(salt, host))`; `None` if the pattern is invalid.
fn matches_hash(pattern: &str, host: &str) -> Option<bool> {
    let (salt, hash) = pattern.strip_prefix("|1|")?.split_once('|')?;
    let salt = STANDARD.decode(salt).ok()?;
    let hash = STANDARD.decode(hash).ok()?;
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(&salt).ok()?;
    mac.update(host.as_bytes());
    Some(mac.verify_slice(&hash).is_ok())
}

/// Matches with `*` for any run of characters and `?` for one; everything else literally (brackets
/// too). Two positions suffice: the last star, and where its run was tried last.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, tried)) => {
                    star = Some((at, tried + 1));
                    p = at + 1;
                    t = tried + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ED: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const ED_OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn key(base64: &str) -> HostKey {
        HostKey {
            key_type: "ssh-ed25519".into(),
            blob: STANDARD.decode(base64).unwrap(),
        }
    }

    fn verdict(text: &str, address: &str, port: u16, base64: &str) -> HostKeyTrust {
        KnownHosts::parse(text).check(&HostName::new(address, port), &key(base64))
    }

    #[test]
    fn a_pinned_key_is_trusted_for_its_host_and_port_only() {
        let text = format!("# ours\n\nweb1.example.com,10.0.0.5 ssh-ed25519 {ED} a comment\n");
        assert_eq!(verdict(&text, "10.0.0.5", 22, ED), HostKeyTrust::Trusted);
        assert_eq!(
            verdict(&text, "WEB1.example.com", 22, ED),
            HostKeyTrust::Trusted
        );
        assert_eq!(verdict(&text, "10.0.0.5", 2222, ED), HostKeyTrust::Unknown);
        assert_eq!(verdict(&text, "10.0.0.6", 22, ED), HostKeyTrust::Unknown);
    }

    #[test]
    fn a_port_other_than_22_is_written_in_brackets() {
        let text = format!("[10.0.0.5]:2222 ssh-ed25519 {ED}\n");
        assert_eq!(verdict(&text, "10.0.0.5", 2222, ED), HostKeyTrust::Trusted);
        assert_eq!(verdict(&text, "10.0.0.5", 22, ED), HostKeyTrust::Unknown);
    }

    #[test]
    fn changed_key_is_reported_with_line_and_key() {
        let text = format!("\n#\nweb1 ssh-ed25519 {ED}\n");
        let HostKeyTrust::Changed { line, expected } = verdict(&text, "web1", 22, ED_OTHER) else {
            panic!("not a change");
        };
        assert_eq!((line, expected), (3, key(ED)));
    }

    #[test]
    fn one_of_several_keys_of_a_host_is_enough() {
        let text = format!("web1 ssh-ed25519 {ED}\nweb1 ssh-ed25519 {ED_OTHER}\n");
        assert_eq!(verdict(&text, "web1", 22, ED), HostKeyTrust::Trusted);
        assert_eq!(verdict(&text, "web1", 22, ED_OTHER), HostKeyTrust::Trusted);
    }

    #[test]
    fn a_host_pinned_with_another_type_only_is_not_trusted() {
        let rsa = STANDARD.encode(b"\0\0\0\x07ssh-rsa\0\0\0\x03\x01\0\x01\0\0\0\x01\x03");
        let text = format!("web1 ssh-rsa {rsa}\n");
        assert_eq!(
            verdict(&text, "web1", 22, ED),
            HostKeyTrust::OtherTypes {
                held: vec!["ssh-rsa".into()]
            }
        );
        let types = KnownHosts::parse(&text).key_types(&HostName::new("web1", 22));
        assert_eq!(types, ["ssh-rsa"]);
    }

    #[test]
    fn hashed_names_match_with_and_without_a_port() {
        let salt = STANDARD.encode([b'a'; 20]);
        for (name, port) in [("web1.example.com", 22), ("web1.example.com", 2222)] {
            let mut mac = Hmac::<sha1::Sha1>::new_from_slice(&[b'a'; 20]).unwrap();
            mac.update(HostName::new(name, port).to_string().as_bytes());
            let hash = STANDARD.encode(mac.finalize().into_bytes());
            let text = format!("|1|{salt}|{hash} ssh-ed25519 {ED}\n");
            assert_eq!(verdict(&text, name, port, ED), HostKeyTrust::Trusted);
            assert_eq!(verdict(&text, name, 23, ED), HostKeyTrust::Unknown);
            assert_eq!(
                verdict(&text, "web2.example.com", port, ED),
                HostKeyTrust::Unknown
            );
        }
    }

    #[test]
    fn wildcards_match_and_negation_wins() {
        let text = format!("*.example.com,!db?.example.com ssh-ed25519 {ED}\n");
        assert_eq!(
            verdict(&text, "web1.example.com", 22, ED),
            HostKeyTrust::Trusted
        );
        assert_eq!(
            verdict(&text, "db1.example.com", 22, ED),
            HostKeyTrust::Unknown
        );
        assert_eq!(
            verdict(&text, "db10.example.com", 22, ED),
            HostKeyTrust::Trusted
        );
        assert_eq!(verdict(&text, "example.com", 22, ED), HostKeyTrust::Unknown);
        // A line with only a negation matches no host.
        let text = format!("!web1 ssh-ed25519 {ED}\n");
        assert_eq!(verdict(&text, "web2", 22, ED), HostKeyTrust::Unknown);
    }

    #[test]
    fn stars_backtrack() {
        assert!(matches_glob("a*b*c", "aXbYbZc"));
        assert!(!matches_glob("a*b*c", "aXbYbZ"));
        assert!(matches_glob("**", ""));
        assert!(!matches_glob("?", ""));
        assert!(matches_glob("[web?]:22*", "[web1]:2222"));
    }

    #[test]
    fn a_revoked_key_is_refused_even_if_a_pin_trusts_it() {
        let text = format!("web1 ssh-ed25519 {ED}\n@revoked * ssh-ed25519 {ED}\n");
        assert_eq!(
            verdict(&text, "web1", 22, ED),
            HostKeyTrust::Revoked { line: 2 }
        );
        assert_eq!(
            verdict(&text, "web1", 22, ED_OTHER),
            HostKeyTrust::Changed {
                line: 1,
                expected: key(ED)
            }
        );
    }

    #[test]
    fn ca_and_unreadable_lines_grant_no_trust() {
        for text in [
            format!("@cert-authority * ssh-ed25519 {ED}\n"),
            format!("@unheard-of * ssh-ed25519 {ED}\n"),
            format!("* ssh-rsa {ED}\n"),
            "* ssh-ed25519 not/base64!\n".into(),
            "* ssh-ed25519\n".into(),
            "|1|broken ssh-ed25519 x\n".into(),
            "* ssh-ed25519 AAAA\n".into(),
        ] {
            assert_eq!(
                verdict(&text, "web1", 22, ED),
                HostKeyTrust::Unknown,
                "{text}"
            );
        }
    }

    #[test]
    fn a_fingerprint_is_printed_as_ssh_keygen_does() {
        // ssh-keygen -lf on this key.
        assert_eq!(
            key(ED).fingerprint(),
            "SHA256:T7SvZ2cslqpPj6nKzitCBHHlpVF3r3MvLwmFL0fk0IE"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_or_trust(text in "\\PC{0,200}(\n\\PC{0,80}){0,4}") {
            proptest::prop_assert_ne!(verdict(&text, "web1", 22, ED), HostKeyTrust::Trusted);
        }
    }
}
