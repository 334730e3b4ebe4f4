//! `args`: one line of arguments, as CODO's templates have them. It is split into words as a shell
//! would, and a word that is a parameter's name stands for its value. Nothing is expanded: no
//! variables, no patterns, no commands.

use std::collections::BTreeMap;

/// Splits a line into words: blanks part them, quotes and backslashes hold them together. `$`, `*`,
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

/// The arguments for these values: a word that *is* the name of a value becomes that value, whole and
/// byte for byte, never split or looked into; every other word stays as it is.
#[must_use]
pub fn arguments(words: &[String], values: &BTreeMap<String, String>) -> Vec<String> {
    words
        .iter()
        .map(|word| values.get(word).unwrap_or(word).clone())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_is_split_as_a_shell_would_and_nothing_is_expanded() {
        let words = |line| split(line).unwrap();
        assert_eq!(
            words("VERSION  --flow FLOW_ID"),
            ["VERSION", "--flow", "FLOW_ID"]
        );
        assert_eq!(words(r#"'a b' "c d" e\ f ''"#), ["a b", "c d", "e f", ""]);
        assert_eq!(
            words("$HOME *.txt ; `id` $(id) | > < a#b"),
            ["$HOME", "*.txt", ";", "`id`", "$(id)", "|", ">", "<", "a#b"]
        );
        assert!(words("  ").is_empty());
        for open in ["'a", "\"a"] {
            assert_eq!(split(open), Err(UnclosedQuote), "{open}");
        }
    }

    #[test]
    fn a_word_that_is_a_name_becomes_its_value_whole() {
        let values = BTreeMap::from([
            (
                "VERSION".to_owned(),
                "1 2; rm -rf $HOME\nFLOW_ID".to_owned(),
            ),
            ("FLOW_ID".to_owned(), "7".to_owned()),
        ]);
        let words = split("VERSION FLOW_ID --v=VERSION version VERSIONS 'FLOW_ID'").unwrap();
        assert_eq!(
            arguments(&words, &values),
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
