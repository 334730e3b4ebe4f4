//! From the hook to the agent: a directory of small files, each written to a temporary file, synced
//! and renamed, with a sync of the directory. A record is either complete and durable or absent.
//!
//! ```text
//! spool_dir/          3770, group of the git user: git users may add files, not delete others'
//!   tmp/              3770, records that are being written
//!   new/              3770, pending records: <unix ms>-<id>.toml, oldest first
//!   bad/              2750, records that the agent could not parse, kept for inspection
//!   rules/            2750, one file per repository, written by the agent, read by the hook
//! ```
//!
//! A record contains hints: never a command, a host or a URL. Writing here can only create a
//! proposal; the agent queries the git server itself. The hook calls [`write()`] and [`read_rules`];
//! the agent calls the rest. Nothing here decides anything.

mod directory;
mod record;
mod rules;

pub use directory::{
    Received, Waiting, probe, quarantine, read, remove, setup, sweep, waiting, write,
};
pub use record::{Record, RecordError, RecordId};
pub use rules::{publish_rules, read_rules, rules_path};

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::rule::RulesFileError;

/// A record is refused beyond this many bytes.
pub const RECORD_LIMIT: u64 = 16 * 1024;

/// A rules file is refused beyond this many bytes.
pub const RULES_LIMIT: u64 = 1024 * 1024;

/// The directory of pending records, below the spool directory: the agent watches it.
pub const NEW: &str = "new";
/// The directory in which records are written.
pub const TMP: &str = "tmp";
/// The directory of invalid records.
pub const BAD: &str = "bad";
/// The directory in which the agent publishes rules.
pub const RULES: &str = "rules";

/// Why a file of the spool could not be used.
#[derive(Debug)]
pub enum SpoolError {
    /// A system call failed.
    Io {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    /// More than [`RECORD_LIMIT`] or [`RULES_LIMIT`] bytes.
    TooLarge(PathBuf),
    /// A directory, a pipe or a symbolic link instead of a file.
    NotAFile(PathBuf),
    /// Written by a version with an incompatible format: keep it.
    Newer { path: PathBuf, format: u32 },
    /// Not in the format: set it aside.
    Malformed { path: PathBuf, reason: String },
    /// A repository key that cannot be a file name.
    Repository(String),
}

impl SpoolError {
    /// Whether the file itself is invalid, so that a retry would fail, too.
    #[must_use]
    pub fn is_bad_file(&self) -> bool {
        matches!(
            self,
            Self::TooLarge(_) | Self::NotAFile(_) | Self::Malformed { .. }
        )
    }

    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, error }
    }

    fn rules(path: &Path, error: RulesFileError) -> Self {
        let path = path.to_owned();
        match error {
            RulesFileError::Newer { format } => Self::Newer { path, format },
            malformed @ RulesFileError::Malformed(_) => Self::Malformed {
                path,
                reason: malformed.to_string(),
            },
        }
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, error } => {
                write!(f, "cannot {doing} {}: {error}", path.display())
            }
            Self::TooLarge(path) => write!(f, "{} is too large", path.display()),
            Self::NotAFile(path) => write!(f, "{} is not a plain file", path.display()),
            Self::Newer { path, format } => write!(
                f,
                "{} has format {format}, which is newer than this program understands ({}); bring hook and agent to the same version",
                path.display(),
                crate::rule::FORMAT
            ),
            Self::Malformed { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Repository(key) => {
                write!(
                    f,
                    "{key:?} cannot name a repository: empty, or longer than a file name may be"
                )
            }
        }
    }
}

impl std::error::Error for SpoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
