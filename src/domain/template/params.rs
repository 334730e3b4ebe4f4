use serde::{Deserialize, Serialize};

/// A parameter that a template declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Name of the environment variable and placeholder: `[A-Z_][A-Z0-9_]*`.
    pub name: String,
    /// The name shown instead.
    pub alias: Option<String>,
    pub kind: ParamKind,
    /// The options of a [`ParamKind::Choice`]; empty for other kinds.
    pub choices: Vec<String>,
    /// Whether a task without it is refused.
    pub required: bool,
    /// The default value; if `None` and not required, it is the empty text.
    pub default: Option<String>,
    /// A regular expression that the whole value must match.
    pub pattern: Option<String>,
}

/// The type of a value, and of its form field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamKind {
    /// Any text.
    #[default]
    Text,
    /// One of several options.
    Choice,
    /// The name of a tag.
    Tag,
    /// Text that no page, log or answer shows.
    Secret,
}

/// Why the parameters of a task do not match its template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    #[error("parameter {name} is missing: template {template} requires it")]
    Missing { template: String, name: String },
    #[error("parameter {name} is not one of template {template}: it takes {known}")]
    Unknown {
        template: String,
        name: String,
        known: String,
    },
    #[error("parameter {name} is supplied by tagship: take it out")]
    Supplied { name: String },
    #[error("parameter {name} is one of {choices}: choose one")]
    Choice { name: String, choices: String },
    #[error("parameter {name} is no name that a tag can have: write it without `refs/tags/`")]
    Tag { name: String },
    #[error("parameter {name} must match `{pattern}`, and does not")]
    Mismatch { name: String, pattern: String },
    #[error("parameter {name} holds a NUL character, which no environment variable can hold")]
    Nul { name: String },
}

impl Param {
    /// Checks a value against the kind and the pattern.
    ///
    /// # Errors
    /// The value is not valid.
    pub fn check(&self, value: &str) -> Result<(), ParamError> {
        let name = || self.name.clone();
        if value.contains('\0') {
            return Err(ParamError::Nul { name: name() });
        }
        match self.kind {
            ParamKind::Choice if !self.choices.iter().any(|choice| choice == value) => {
                return Err(ParamError::Choice {
                    name: name(),
                    choices: self.choices.join(", "),
                });
            }
            ParamKind::Tag if !can_be_tag(value) => return Err(ParamError::Tag { name: name() }),
            _ => {}
        }
        match &self.pattern {
            Some(pattern) if !anchored(pattern).is_ok_and(|regex| regex.is_match(value)) => {
                Err(ParamError::Mismatch {
                    name: name(),
                    pattern: pattern.clone(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Whether this is a valid tag name, by the rules of `git check-ref-format`. A leading dash, which
/// git accepts there but refuses when it creates a tag, is not valid.
#[must_use]
pub fn can_be_tag(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !name.starts_with(['-', '/'])
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && !name.contains(|c: char| c.is_control() || " ~^:?*[\\".contains(c))
        && name.split('/').all(part)
}

/// Returns a regular expression that requires `pattern` to match the whole text.
pub(super) fn anchored(pattern: &str) -> Result<regex::Regex, regex::Error> {
    // Compile it alone first: `a)|(b` must not become valid by being wrapped.
    regex::Regex::new(pattern)?;
    regex::Regex::new(&format!(r"\A(?:{pattern})\z"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use crate::domain::template::Template;

    fn template() -> Template {
        let text = r#"
            name = "t"
            params = [
                { name = "VERSION", alias = "version", required = true, pattern = "v[0-9]+|next" },
                { name = "MODE", default = "fast" },
                { name = "NOTE" },
            ]
            [[stage]]
            name = "s"
            steps = [{ run = "true" }]
        "#;
        Template::parse("t.toml", text).unwrap()
    }

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn defaults_are_filled_in() {
        assert_eq!(
            template().parameters(&given(&[("VERSION", "v3")])).unwrap(),
            given(&[("VERSION", "v3"), ("MODE", "fast"), ("NOTE", "")])
        );
    }

    #[test]
    fn every_parameter_that_does_not_fit_is_named() {
        let errors = template()
            .parameters(&given(&[("VERSON", "v3"), ("TAG", "x"), ("NOTE", "a\0")]))
            .unwrap_err();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "parameter TAG is supplied by tagship: take it out",
                "parameter VERSON is not one of template t: it takes VERSION, MODE, NOTE",
                "parameter VERSION is missing: template t requires it",
                "parameter NOTE holds a NUL character, which no environment variable can hold",
            ]
        );
    }

    #[test]
    fn a_pattern_must_match_the_whole_value() {
        for value in ["v3; reboot", "xv3", "v3\n", "nextv3", ""] {
            assert!(
                template()
                    .parameters(&given(&[("VERSION", value)]))
                    .is_err(),
                "{value:?}"
            );
        }
        assert!(
            template()
                .parameters(&given(&[("VERSION", "next")]))
                .is_ok()
        );
    }
}
