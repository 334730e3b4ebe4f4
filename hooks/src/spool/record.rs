//! One record: what the hook saw, as text.

use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::pusher::is_key;
use crate::rule::{FORMAT, TAGS, is_object_id};

/// 128 random bits, as 32 lower-case hexadecimal digits. Every run of the hook makes a new one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(String);

impl RecordId {
    /// Makes a new one from the kernel's random source.
    ///
    /// # Errors
    /// `/dev/urandom` cannot be read.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }

    /// Returns the 32 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_good(&self) -> bool {
        self.0.len() == 32 && self.0.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the hook saw. All of it is a hint: the agent queries the git server itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub format: u32,
    pub id: RecordId,
    /// The key under which the hook found the rules: `alice/shop`.
    pub repository: String,
    /// The full name: `refs/tags/v1`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What the ref pointed to; all zeros for a new tag.
    pub old: String,
    /// What it is to point to; all zeros for a deletion.
    pub new: String,
    /// The pusher's name from the git server: trusted only if the file belongs to the git user.
    #[serde(default)]
    pub pusher: String,
    /// The public SSH key of the login from a plain server's sshd: trusted like `pusher`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ssh_key: String,
    /// The time of the git server's clock, in milliseconds since 1970.
    pub time: i64,
    /// Equal for all refs of one push, if the hook can determine it; older hooks omit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<String>,
}

/// A longer name of a push is invalid.
const PUSH_LENGTH_MAX: usize = 200;

/// Why a record is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// A higher format.
    Newer { format: u32 },
    /// Not a record; the text says what is wrong.
    Malformed(String),
}

#[derive(Deserialize)]
struct RecordFormat {
    format: u32,
}

impl Record {
    /// Returns the text of the record.
    ///
    /// # Errors
    /// Never for the current types; TOML cannot represent some values.
    pub fn to_text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }

    /// Parses the text of a record. Ignores unknown keys.
    ///
    /// # Errors
    /// [`RecordError::Newer`] for a higher format, whatever else the text contains.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let record: Result<Self, String> =
            toml::from_str(text).map_err(|error| error.message().trim_end().to_owned());
        record.and_then(Self::checked).map_err(|reason| {
            match toml::from_str::<RecordFormat>(text) {
                Ok(RecordFormat { format }) if format > FORMAT => RecordError::Newer { format },
                _ => RecordError::Malformed(reason),
            }
        })
    }

    fn checked(self) -> Result<Self, String> {
        let wrong = if self.format != FORMAT {
            "its format is unknown"
        } else if !self.id.is_good() {
            "id is not 32 hexadecimal digits"
        } else if self.repository.is_empty() {
            "repository is empty"
        } else if self.reference.len() <= TAGS.len() || !self.reference.starts_with(TAGS) {
            "ref is not a tag"
        } else if !is_object_id(&self.old)
            || !is_object_id(&self.new)
            || self.old.len() != self.new.len()
        {
            "old and new are not two object ids of the same kind"
        } else if self
            .push
            .as_ref()
            .is_some_and(|push| push.len() > PUSH_LENGTH_MAX)
        {
            "push is too long"
        } else if !self.ssh_key.is_empty() && !is_key(&self.ssh_key) {
            "ssh_key is not a public key"
        } else {
            return Ok(self);
        };
        Err(wrong.to_owned())
    }
}
