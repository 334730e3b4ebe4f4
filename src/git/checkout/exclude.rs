//! The `exclude` patterns of an environment, in `.gitignore` syntax. Pure.
//!
//! A pattern without `/` (except at its end) matches a name anywhere; with `/` it is anchored at
//! the release. `*` and `?` do not match `/`, `**` does, `[a-z]` is a class, `\` escapes the next
//! character, a trailing `/` matches directories only. Contents of an excluded directory are
//! excluded too. `!` is not supported.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::CheckoutError;

/// The compiled patterns of one environment.
pub(super) struct Exclude {
    any: GlobSet,
    directories: GlobSet,
}

impl Exclude {
    /// # Errors
    /// [`CheckoutError::Exclude`] names the invalid pattern.
    pub(super) fn new(patterns: &[String]) -> Result<Self, CheckoutError> {
        let (mut any, mut directories) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let failed = |reason: String| CheckoutError::Exclude {
                pattern: pattern.clone(),
                reason,
            };
            let path = pattern.strip_suffix('/').unwrap_or(pattern);
            let reason = match path {
                "" => Some("is empty"),
                _ if path.starts_with('!') => Some("`!` is not offered; write `\\!` for the name"),
                _ => None,
            };
            if let Some(reason) = reason {
                return Err(failed(reason.to_owned()));
            }
            let anchored = match (path.strip_prefix('/'), path.contains('/')) {
                (Some(rest), _) => rest.to_owned(),
                (None, true) => path.to_owned(),
                (None, false) => format!("**/{path}"),
            };
            let glob = GlobBuilder::new(&anchored)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|error| failed(error.kind().to_string()))?;
            if path.len() == pattern.len() {
                any.add(glob);
            } else {
                directories.add(glob);
            }
        }
        let failed = |error: globset::Error| CheckoutError::Exclude {
            pattern: patterns.join(", "),
            reason: error.to_string(),
        };
        Ok(Self {
            any: any.build().map_err(failed)?,
            directories: directories.build().map_err(failed)?,
        })
    }

    pub(super) fn file(&self, path: &[u8]) -> bool {
        self.any.is_match(Path::new(OsStr::from_bytes(path)))
    }

    pub(super) fn directory(&self, path: &[u8]) -> bool {
        self.file(path)
            || self
                .directories
                .is_match(Path::new(OsStr::from_bytes(path)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn exclude_patterns_follow_gitignore_rules() {
        let cases: &[(&str, &str, bool, bool)] = &[
            // pattern, path, excluded as a file, excluded as a directory
            ("*.map", "app.map", true, true),
            ("*.map", "js/deep/app.map", true, true),
            ("*.map", "app.map.txt", false, false),
            ("node_modules/", "node_modules", false, true),
            ("node_modules/", "a/node_modules", false, true),
            ("/docs", "docs", true, true),
            ("/docs", "a/docs", false, false),
            ("a/b", "a/b", true, true),
            ("a/b", "c/a/b", false, false),
            ("a/*", "a/b", true, true),
            ("a/*", "a/b/c", false, false),
            ("a/**", "a/b/c", true, true),
            ("**/test", "test", true, true),
            ("**/test", "x/y/test", true, true),
            ("a/**/z", "a/z", true, true),
            ("a/**/z", "a/b/c/z", true, true),
            ("fil?", "file", true, true),
            ("fil?", "fil", false, false),
            ("[a-c]x", "bx", true, true),
            ("[a-c]x", "dx", false, false),
            ("\\*", "*", true, true),
            ("\\*", "a", false, false),
            (".*", ".env", true, true),
            ("ünï*", "ünïcode", true, true),
        ];
        for (pattern, path, file, directory) in cases {
            let exclude = Exclude::new(&[(*pattern).to_owned()]).unwrap();
            let path = path.as_bytes();
            assert_eq!(exclude.file(path), *file, "{pattern} {path:?}");
            assert_eq!(exclude.directory(path), *directory, "{pattern} {path:?}/");
        }
    }

    #[test]
    fn names_that_are_not_utf8_are_matched_too() {
        let exclude = Exclude::new(&["*.bak".to_owned()]).unwrap();
        assert!(exclude.file(b"a/\xff\xfe.bak"));
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_named() {
        for pattern in ["", "/", "!x", "[a"] {
            let error = Exclude::new(&[pattern.to_owned()]).err().unwrap();
            let CheckoutError::Exclude { pattern: named, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(named, pattern);
        }
    }
}
