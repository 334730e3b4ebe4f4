//! `args`: one line of arguments, as in CODO's templates. It is split into words like in a shell,
//! and a word that is a parameter's name is replaced by its value. Nothing else is expanded: no
//! variables, patterns or commands.

use std::collections::BTreeMap;

/// Splits a line into words, separated by blanks and grouped by quotes and backslashes. `$`, `*`,
/// `;` and the like are ordinary characters.
///
/// # Errors
/// A quote is not closed.
pub fn split(line: &str) -> Result<Vec<String>, UnclosedQuote> {
    shell_words::split(line).map_err(|_| UnclosedQuote)
}

/// A quote of `args` is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quote is not closed: close it")]
pub struct UnclosedQuote;

/// Returns the arguments with values: a word *equal* to a value's name is replaced by the value,
/// unchanged and never split or expanded. Other words are kept.
#[must_use]
pub fn arguments(arguments: &[String], values: &BTreeMap<String, String>) -> Vec<String> {
    arguments
        .iter()
        .map(|argument| values.get(argument).unwrap_or(argument).clone())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn command_line_is_split_without_expansion() {
        let arguments = |line| split(line).unwrap();
        assert_eq!(
            arguments("VERSION  --flow FLOW_ID"),
            ["VERSION", "--flow", "FLOW_ID"]
        );
        assert_eq!(
            arguments(r#"'a b' "c d" e\ f ''"#),
            ["a b", "c d", "e f", ""]
        );
        assert_eq!(
            arguments("$HOME *.txt ; `id` $(id) | > < a#b"),
            ["$HOME", "*.txt", ";", "`id`", "$(id)", "|", ">", "<", "a#b"]
        );
        assert!(arguments("  ").is_empty());
        for open in ["'a", "\"a"] {
            assert_eq!(split(open), Err(UnclosedQuote), "{open}");
        }
    }

    #[test]
    fn argument_naming_a_parameter_becomes_its_value() {
        let values = BTreeMap::from([
            (
                "VERSION".to_owned(),
                "1 2; rm -rf $HOME\nFLOW_ID".to_owned(),
            ),
            ("FLOW_ID".to_owned(), "7".to_owned()),
        ]);
        let parsed = split("VERSION FLOW_ID --v=VERSION version VERSIONS 'FLOW_ID'").unwrap();
        assert_eq!(
            arguments(&parsed, &values),
            [
                "1 2; rm -rf $HOME\nFLOW_ID",
                "7",
                "--v=VERSION",
                "version",
                "VERSIONS",
                "7"
            ]
        );
    }
}
