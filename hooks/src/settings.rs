//! The settings file beside the hook, with the path of the spool.
//!
//! A git server starts hooks with an empty environment, so the hook reads one file at a fixed
//! place: `<the hook's real file>.toml` (`hooks/update.tagship.toml`,
//! `custom_hooks/update.d/90-tagship.toml`: not executable, so the server does not run it), else
//! [`COMMON`]. `tagship install` writes it.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::rule::OnSpoolError;

/// Read if there is no file beside the hook.
pub const COMMON: &str = "/etc/tagship/hook.toml";

/// The content of the file. Unknown keys are refused: a mistyped one must not pass silently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The agent's spool, absolute.
    pub spool_dir: PathBuf,
    /// The key of the repository, if the server does not set it: plain bare repositories. It
    /// overrides the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Overrides the agent's published value, and is used alone while the spool cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_spool_error: Option<OnSpoolError>,
}

/// Why the hook does not know its spool.
#[derive(Debug)]
pub enum SettingsError {
    /// No file exists at any of these paths.
    Missing(Vec<PathBuf>),
    /// The file exists and cannot be read.
    Io(PathBuf, io::Error),
    /// The file is invalid.
    Malformed(PathBuf, String),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(places) => {
                f.write_str("the hook has no settings: looked for")?;
                for (number, place) in places.iter().enumerate() {
                    let word = if number == 0 { "" } else { " and" };
                    write!(f, "{word} {}", place.display())?;
                }
                f.write_str("; run tagship install again")
            }
            Self::Io(path, error) => {
                write!(
                    f,
                    "{}: {error}; make it readable for the user who runs git",
                    path.display()
                )
            }
            Self::Malformed(path, reason) => write!(
                f,
                "{}: {}; correct it or run tagship install again",
                path.display(),
                reason.trim_end()
            ),
        }
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// Returns the path of the settings of this hook.
    #[must_use]
    pub fn beside(hook: &Path) -> PathBuf {
        let mut path = hook.as_os_str().to_owned();
        path.push(".toml");
        path.into()
    }

    /// Finds and reads the settings of the running hook; `program` is its `argv[0]`.
    ///
    /// # Errors
    /// [`SettingsError`]; the first file that exists must be valid, the next is not tried.
    pub fn find(program: &OsStr) -> Result<Self, SettingsError> {
        let mut places = Vec::with_capacity(2);
        if let Some(real) = real_file(program) {
            places.push(Self::beside(&real));
        }
        places.push(COMMON.into());
        for place in &places {
            match std::fs::read_to_string(place) {
                Ok(text) => return Self::parse(place, &text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(SettingsError::Io(place.clone(), error)),
            }
        }
        Err(SettingsError::Missing(places))
    }

    /// Parses the text of a settings file.
    ///
    /// # Errors
    /// [`SettingsError::Malformed`], also for a relative `spool_dir`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        let malformed = |reason: String| SettingsError::Malformed(path.to_owned(), reason);
        let settings: Self =
            toml::from_str(text).map_err(|error| malformed(error.message().to_owned()))?;
        if !settings.spool_dir.is_absolute() {
            return Err(malformed("spool_dir must be an absolute path".to_owned()));
        }
        Ok(settings)
    }

    /// Returns the text of the file.
    ///
    /// # Errors
    /// TOML cannot represent a path that is not UTF-8.
    pub fn to_text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }
}

/// Returns the file behind `argv[0]`, with links resolved. Not `/proc/self/exe`: that ends in `
/// (deleted)` if the hook is replaced while it runs.
fn real_file(program: &OsStr) -> Option<PathBuf> {
    if program.as_encoded_bytes().contains(&b'/') {
        std::fs::canonicalize(program).ok()
    } else {
        std::env::current_exe().ok()
    }
}
