//! The literal text that every match of a pattern starts with: asked before a pattern is compiled.
//! Never longer than the truth; shorter only costs time. Called by `rule` alone.

/// The literal text at the start of `pattern`, or less of it; empty where there is none.
pub(super) fn literal_prefix(pattern: &str) -> String {
    if has_branches(pattern) {
        return String::new();
    }
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let mut prefix = String::new();
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        let literal = match character {
            '\\' => match rest.next() {
                // Escaped punctuation means itself; escaped letters and digits are classes.
                // `\<` and `\>` are word boundaries.
                Some(escaped)
                    if escaped.is_ascii_punctuation() && !matches!(escaped, '<' | '>') =>
                {
                    escaped
                }
                _ => break,
            },
            '.' | '[' | ']' | '(' | ')' | '{' | '}' | '*' | '+' | '?' | '^' | '$' | '|' => break,
            literal => literal,
        };
        match rest.peek() {
            // It may be missing altogether: `{` may be `{0,3}`.
            Some('*' | '?' | '{') => break,
            Some('+') => {
                prefix.push(literal);
                break;
            }
            _ => prefix.push(literal),
        }
    }
    prefix
}

/// Whether a `|` stands outside every group. Where brackets make that hard to tell, yes.
fn has_branches(pattern: &str) -> bool {
    let mut depth = 0_usize;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            // Classes nest and have their own rules for `]`: not worth following.
            '[' if pattern.contains('|') && !class_is_plain(&mut characters) => return true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// Skips a class like `[^a-z0-9.]`; false if it holds anything but such plain members.
fn class_is_plain(characters: &mut std::str::Chars<'_>) -> bool {
    let mut seen = false;
    for character in characters {
        match character {
            ']' if seen => return true,
            '^' if !seen => {}
            '[' | '\\' | ']' | '&' | '~' => return false,
            _ => seen = true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::literal_prefix;

    #[test]
    fn text_before_the_first_operator_is_the_prefix() {
        for (pattern, prefix) in [
            ("release-", "release-"),
            ("^release-", "release-"),
            (r"release-\d+", "release-"),
            (r"v1\.2\.", "v1.2."),
            ("qa-*", "qa"),
            ("qa-?x", "qa"),
            ("qa{2}", "q"),
            ("qa+", "qa"),
            ("rel(a|b)", "rel"),
            ("rel-[0-9]+(-rc|)", "rel-"),
            ("ünï-", "ünï-"),
            ("qa$", "qa"),
        ] {
            assert_eq!(literal_prefix(pattern), prefix, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_may_start_otherwise_has_no_prefix() {
        for pattern in [
            "qa-|release-",
            "(?i)qa",
            "(?x) q a",
            ".*-prod",
            "[rq]a",
            r"\d+",
            "",
            "a[[:alpha:]|]|b",
            r"a[\]]|b",
            "a[]]|b",
            r"\<qa",
        ] {
            assert_eq!(literal_prefix(pattern), "", "{pattern}");
        }
    }
}
