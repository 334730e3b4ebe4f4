//! Diagnoses a private key file with other content: pure. It reads only the public parts of a key:
//! its kind, and how it is encrypted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The supported ciphers of OpenSSH's own format.
const CIPHERS: [&str; 5] = [
    "none",
    "aes128-cbc",
    "aes128-ctr",
    "aes256-cbc",
    "aes256-ctr",
];
/// The supported cipher of PEM files as OpenSSL wrote them.
const PEM_CIPHER: &str = "AES-128-CBC";
const KINDS: [&str; 2] = ["ssh-ed25519", "ssh-rsa"];

/// Returns the text without artifacts of editors and clipboards: a byte order mark, blanks around
/// lines, other line ends.
pub(super) fn normalize(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}').trim();
    let mut normalized = String::with_capacity(text.len() + 1);
    for line in text.lines() {
        normalized.push_str(line.trim());
        normalized.push('\n');
    }
    normalized
}

/// Returns the cipher of a key if it is unsupported.
pub(super) fn unknown_cipher(text: &str) -> Option<String> {
    let pem = text.lines().find_map(|line| line.strip_prefix("DEK-Info:"));
    if let Some(name) = pem.and_then(|info| info.split(',').next()) {
        let name = name.trim();
        return (name != PEM_CIPHER).then(|| shown(name));
    }
    let cipher = Openssh::of(text)?.cipher;
    (!CIPHERS.contains(&cipher.as_str())).then(|| shown(&cipher))
}

/// Returns why a file holds no usable key, and what to do about it.
pub(super) fn unusable_reason(text: &str) -> Option<(String, String)> {
    let make = "make a key that can be used: ssh-keygen -t ed25519";
    let first = text.lines().next().unwrap_or_default();
    let (what, remedy) = if text.trim().is_empty() {
        ("is empty".to_owned(), make)
    } else if ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|kind| first.starts_with(kind))
    {
        let remedy = "name the private half, the file without `.pub`, as made by ssh-keygen";
        ("is the public half of a key".to_owned(), remedy)
    } else if first.contains("PUBLIC KEY") {
        (
            "is a public key".to_owned(),
            "name the private half, as made by ssh-keygen",
        )
    } else if first.starts_with("PuTTY-User-Key-File") {
        let remedy = "convert it: puttygen KEY -O private-openssh -o NEW (or make one: ssh-keygen -t ed25519)";
        ("is a key in PuTTY's format".to_owned(), remedy)
    } else if first.contains("BEGIN EC PRIVATE KEY") {
        (
            "is an ECDSA key, and only ed25519 and RSA can be used".to_owned(),
            make,
        )
    } else if first.contains("BEGIN DSA PRIVATE KEY") {
        (
            "is a DSA key, and only ed25519 and RSA can be used".to_owned(),
            make,
        )
    } else {
        let kind = Openssh::of(text)?.kind;
        if KINDS.contains(&kind.as_str()) {
            return None;
        }
        let kind = match kind.starts_with("ecdsa-") {
            true => format!("ECDSA ({})", shown(&kind)),
            false => shown(&kind),
        };
        let what = format!("is a key of the kind {kind}, and only ed25519 and RSA can be used");
        (what, make)
    };
    Some((what, remedy.to_owned()))
}

fn shown(name: &str) -> String {
    name.escape_debug().take(64).collect()
}

/// The public part of a key in OpenSSH's own format.
struct Openssh {
    cipher: String,
    kind: String,
}

impl Openssh {
    fn of(text: &str) -> Option<Self> {
        let body = text.strip_prefix("-----BEGIN OPENSSH PRIVATE KEY-----")?;
        let body = body.split("-----END").next()?;
        let body: String = body.split_whitespace().collect();
        let bytes = STANDARD.decode(body).ok()?;
        let mut rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
        let cipher = take(&mut rest)?;
        let (_derivation, _options) = (take(&mut rest)?, take(&mut rest)?);
        // The number of keys: one.
        rest = rest.get(4..)?;
        let mut public = take(&mut rest)?;
        let kind = take(&mut public)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Self {
            cipher: text(cipher),
            kind: text(kind),
        })
    }
}

/// Reads a length-prefixed string.
fn take<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let taken = rest.get(..length)?;
    *bytes = &rest[length..];
    Some(taken)
}
