//! The pusher and its account. Pure: the hook and the agent determine it alike; the hook from data
//! that the agent published, for its messages to the pusher. The agent decides.
//!
//! A record's pusher is trusted only if its file belongs to the git user: the whole spool group can
//! write records. Otherwise the pusher is the file's owner, guaranteed by the kernel.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The prefix of a system user in a plain server's record: `uid:1000`.
const SYSTEM: &str = "uid:";
/// The maximum length of a public key: RSA of 16,384 bits has 2,800 characters.
pub const KEY_LENGTH_MAX: usize = 4096;

/// The pusher, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pusher<'r> {
    /// By the git server's user name.
    Name(&'r str),
    /// By the public SSH key of the login, `ssh-ed25519 AAAA…`.
    Key(&'r str),
    /// By the number of a system user.
    System(u32),
}

impl<'r> Pusher<'r> {
    /// Returns the pusher of a record, if its `owner` is the git user; otherwise the owner.
    #[must_use]
    pub fn from_record(
        pusher: &'r str,
        ssh_key: &'r str,
        owner: u32,
        git_user: Option<u32>,
    ) -> Self {
        if git_user != Some(owner) {
            return Self::System(owner);
        }
        if !ssh_key.is_empty() {
            return Self::Key(ssh_key);
        }
        let number = pusher.strip_prefix(SYSTEM).map(str::parse);
        match number {
            Some(Ok(number)) => Self::System(number),
            _ if pusher.is_empty() => Self::System(owner),
            _ => Self::Name(pusher),
        }
    }

    /// Returns a record's name for a system user.
    #[must_use]
    pub fn system(number: u32) -> String {
        format!("{SYSTEM}{number}")
    }
}

impl fmt::Display for Pusher<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Key(_) => f.write_str("your SSH key"),
            Self::System(number) => write!(f, "system user number {number}"),
        }
    }
}

/// The accounts of the pushers to one repository, as the agent publishes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushers {
    /// The number of the git user; none if the agent's machine has no such user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_user: Option<u32>,
    /// By the git server's name.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
    /// By the number of the system user.
    #[serde(default)]
    pub system: BTreeMap<String, String>,
    /// By the public SSH key.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
}

impl Pushers {
    /// Returns a pusher's account.
    #[must_use]
    pub fn account(&self, pusher: &Pusher<'_>) -> Option<&str> {
        let account = match pusher {
            Pusher::Name(name) => self.names.get(*name),
            Pusher::Key(key) => self.keys.get(*key),
            Pusher::System(number) => self.system.get(&number.to_string()),
        };
        account.map(String::as_str)
    }
}

/// Returns the public key from sshd's login information (`ExposeAuthInfo`, one line for each method
/// used: `publickey ssh-ed25519 AAAA…`). Certificates are skipped: they are no user's own key.
#[must_use]
pub fn key_of_login(login_info: &str) -> Option<String> {
    login_info.lines().find_map(|line| {
        let mut words = line.strip_prefix("publickey ")?.split(' ');
        let (kind, key) = (words.next()?, words.next()?);
        let key = format!("{kind} {key}");
        (!kind.contains("-cert-") && is_key(&key)).then_some(key)
    })
}

/// Whether a text has the form of a public key without its comment.
#[must_use]
pub fn is_key(text: &str) -> bool {
    let Some((kind, key)) = text.split_once(' ') else {
        return false;
    };
    let is_kind = |byte: u8| byte.is_ascii_alphanumeric() || b"-@.".contains(&byte);
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    text.len() <= KEY_LENGTH_MAX
        && !kind.is_empty()
        && !key.is_empty()
        && kind.bytes().all(is_kind)
        && key.bytes().all(is_base64)
}
