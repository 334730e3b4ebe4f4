//! Where a configuration comes from.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::domain::document::Problems;

/// The default path of the configuration.
pub const DEFAULT_FILE: &str = "/etc/tagship/config.toml";
/// The next path that `serve` and `demo` try.
const LOCAL_FILE: &str = "config.toml";

/// A source of configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    File(PathBuf),
    /// The built-in `config.toml`; its paths are relative to the working directory.
    BuiltIn,
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::BuiltIn => f.write_str("config.toml (built in)"),
        }
    }
}

/// The source file of a loaded configuration, for naming the line of problems found later.
#[derive(Clone, Debug, Default)]
pub struct ConfigOrigin {
    /// The file name to show.
    pub file: String,
    pub text: String,
}

/// Whether `./config.toml` and the built-in configuration are acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalConfig {
    /// For `serve` and `demo`, which start their own agent.
    Also,
    /// For commands that connect to a running agent.
    Never,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("no configuration at {}: write one, or give --config FILE", .0.display())]
    Absent(PathBuf),
    #[error("can't read {}: {error}; give its user the right to, or give --config FILE", path.display())]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    /// All problems of the file, one per line.
    #[error("{0}")]
    Wrong(#[from] Problems),
}

/// Finds the configuration: the given file; else `/etc/tagship/config.toml`; else, with
/// [`LocalConfig::Also`], `./config.toml`, and last the built-in one.
///
/// # Errors
/// None of them exists.
pub fn find(explicit: Option<&Path>, local: LocalConfig) -> Result<ConfigSource, ConfigError> {
    find_among(
        explicit,
        local,
        Path::new(DEFAULT_FILE),
        Path::new(LOCAL_FILE),
    )
}

fn find_among(
    explicit: Option<&Path>,
    local: LocalConfig,
    default_file: &Path,
    local_file: &Path,
) -> Result<ConfigSource, ConfigError> {
    if let Some(path) = explicit {
        return if path.exists() {
            Ok(ConfigSource::File(path.to_owned()))
        } else {
            Err(ConfigError::Absent(path.to_owned()))
        };
    }
    if default_file.exists() {
        return Ok(ConfigSource::File(default_file.to_owned()));
    }
    match local {
        LocalConfig::Also if local_file.exists() => Ok(ConfigSource::File(local_file.to_owned())),
        LocalConfig::Also => Ok(ConfigSource::BuiltIn),
        LocalConfig::Never => Err(ConfigError::Absent(default_file.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn config_lookup_order_is_option_system_local_built_in() {
        let dir = tempfile::tempdir().unwrap();
        let default_file = dir.path().join("default.toml");
        let local_file = dir.path().join("local.toml");
        let find = |explicit: Option<&Path>, local| {
            find_among(explicit, local, &default_file, &local_file)
        };
        let file = |path: &Path| ConfigSource::File(path.to_owned());

        assert_eq!(
            find(None, LocalConfig::Also).unwrap(),
            ConfigSource::BuiltIn
        );
        assert!(find(None, LocalConfig::Never).is_err());
        std::fs::write(&local_file, "").unwrap();
        assert_eq!(find(None, LocalConfig::Also).unwrap(), file(&local_file));
        assert!(find(None, LocalConfig::Never).is_err());
        std::fs::write(&default_file, "").unwrap();
        assert_eq!(find(None, LocalConfig::Also).unwrap(), file(&default_file));
        assert_eq!(find(None, LocalConfig::Never).unwrap(), file(&default_file));
        let explicit = Some(local_file.as_path());
        assert_eq!(
            find(explicit, LocalConfig::Never).unwrap(),
            file(&local_file)
        );
        let absent = dir.path().join("absent.toml");
        let error = find(Some(&absent), LocalConfig::Also).unwrap_err();
        assert!(error.to_string().contains("absent.toml"), "{error}");
    }
}
