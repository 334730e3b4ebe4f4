//! Hook → agent: a directory of small files, each written beside its place, synced, renamed, and
//! the directory synced, so that a record is either whole and durable or not there.
//!
//! ```text
//! spool_dir/          3770, group of the git user: whoever runs git may add, not take away
//!   tmp/              3770, records that are being written
//!   new/              3770, records that wait for the agent: <unix ms>-<id>.toml, oldest first
//!   bad/              2750, records that the agent could not understand, kept for people
//!   rules/            2750, one file per repository, written by the agent, read by the hook
//! ```
//!
//! A record holds hints: never a command, a host or a URL. Whoever can write here gains a proposal
//! and nothing else; the agent looks at the git server itself. The hook calls [`write`] and
//! [`read_rules`]; the agent calls the rest. Nothing here decides anything.

mod directory;
mod record;
mod rules;

pub use directory::{
    Received, Waiting, probe, read, remove, set_aside, setup, sweep, waiting, write,
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

/// Where records wait, below the spool directory: what the agent watches.
pub const NEW: &str = "new";
/// Where records are written.
pub const TMP: &str = "tmp";
/// Where records that nobody understands are kept.
pub const BAD: &str = "bad";
/// Where the agent publishes rules.
pub const RULES: &str = "rules";

/// Something about a file of the spool.
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
    /// A directory, a pipe, a symbolic link where a file should be.
    NotAFile(PathBuf),
    /// Written by a version whose records mean something else: keep it.
    Newer { path: PathBuf, format: u32 },
    /// Not what the format says: set it aside.
    Malformed { path: PathBuf, reason: String },
    /// The key of a repository that makes no file name.
    Repository(String),
}

impl SpoolError {
    /// Whether the file itself is at fault, and will be at the next attempt too.
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
