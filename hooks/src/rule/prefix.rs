//! The literal prefix of every match of a pattern, checked before the pattern is compiled. Never
//! longer than the true prefix; a shorter one only costs time. Called by `rule` alone.

/// Returns the literal text at the start of `pattern`, or part of it; empty if it starts with none.
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
            // It may match nothing: `{` may be `{0,3}`.
            Some('*' | '?' | '{') => break,
            Some('+') => {
                rest.next();
                // `a+*` is valid, and may match nothing again.
                if !matches!(rest.peek(), Some('*' | '?' | '{')) {
                    prefix.push(literal);
                }
                break;
            }
            _ => prefix.push(literal),
        }
    }
    prefix
}

/// Whether a `|` is outside every group. True if brackets make that hard to decide.
fn has_branches(pattern: &str) -> bool {
    let mut depth = 0_usize;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            // Classes nest and have their own rules for `]`: not worth parsing.
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

/// Whether a match may start with `first`, by a quick check. Used if there is no literal prefix:
/// `(qa|rel)-`, `v?\d+`.
pub(super) fn may_start_with(pattern: &str, first: u8) -> bool {
    let mut rest = pattern.chars().peekable();
    match alternatives(&mut rest, first) {
        Some(start) if rest.next().is_none() => start != Start::Other,
        _ => true,
    }
}

/// How a part of a pattern can start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// With some other byte only.
    Other,
    /// With `first`, among others.
    Fits,
    /// It can be empty: the next part decides.
    Empty,
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Reads branches up to the end or a closing parenthesis; `None` if not worth parsing.
fn alternatives(rest: &mut Rest<'_>, first: u8) -> Option<Start> {
    let mut whole = Start::Other;
    loop {
        let mut branch = Start::Empty;
        while !matches!(rest.peek(), None | Some('|' | ')')) {
            let start = atom(rest, first)?;
            // Several may follow each other: `a+*` may be empty; treat `a+?` alike.
            let mut often = 0;
            let mut maybe_none = false;
            while let Some(sign) = rest.next_if(|next| matches!(next, '*' | '+' | '?' | '{')) {
                often += 1;
                maybe_none |= sign != '+' || often > 1;
                if sign == '{' {
                    rest.find(|next| *next == '}')?;
                }
            }
            let start = match start {
                Start::Other if maybe_none => Start::Empty,
                start => start,
            };
            if branch == Start::Empty {
                branch = start;
            }
        }
        whole = match (whole, branch) {
            (Start::Fits, _) | (_, Start::Fits) => Start::Fits,
            (Start::Empty, _) | (_, Start::Empty) => Start::Empty,
            _ => Start::Other,
        };
        if rest.next_if_eq(&'|').is_none() {
            return Some(whole);
        }
    }
}

fn atom(rest: &mut Rest<'_>, first: u8) -> Option<Start> {
    let fits = |yes: bool| Some(if yes { Start::Fits } else { Start::Other });
    match rest.next()? {
        '(' => {
            if rest.next_if_eq(&'?').is_some() && rest.next() != Some(':') {
                return None;
            }
            let start = alternatives(rest, first)?;
            (rest.next() == Some(')')).then_some(start)
        }
        '[' => class(rest, first),
        '.' => Some(Start::Fits),
        '^' | '$' => Some(Start::Empty),
        '\\' => match rest.next()? {
            // Digits and letters of other scripts start with a non-ASCII byte.
            'd' => fits(first.is_ascii_digit() || !first.is_ascii()),
            'w' => fits(first.is_ascii_alphanumeric() || first == b'_' || !first.is_ascii()),
            punctuation @ ('.' | '-' | '/' | '+') => fits(punctuation == char::from(first)),
            _ => None,
        },
        ']' | '{' | '}' | '*' | '+' | '?' => None,
        literal => fits(literal.encode_utf8(&mut [0; 4]).as_bytes()[0] == first),
    }
}
/// Reads a class of plain members: `[a-z0-9_]`, `[-._]`.
fn class(rest: &mut Rest<'_>, first: u8) -> Option<Start> {
    let first = char::from(first);
    let mut fits = false;
    let mut last = None;
    loop {
        let member = rest.next()?;
        match (member, last) {
            (']', Some(_)) => return Some(if fits { Start::Fits } else { Start::Other }),
            ('-', Some(from)) if rest.peek() != Some(&']') => {
                let to = rest.next()?;
                // `a--b` is a difference.
                if !to.is_ascii_alphanumeric() {
                    return None;
                }
                fits |= (from..=to).contains(&first);
            }
            ('a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' | '/' | '+', _) => {
                fits |= member == first;
            }
            _ => return None,
        }
        last = Some(member);
    }
}

#[cfg(test)]
mod tests {
    use super::{literal_prefix, may_start_with};

    #[test]
    fn the_first_letter_rules_patterns_out() {
        for (pattern, fits, other) in [
            ("(qa|rel)-", "qr", "av("),
            ("(?:qa|rel)-", "qr", "av:"),
            ("qa|rel", "qr", "av|"),
            (r"v?\d+", "v1", "aq?"),
            ("(v|)(x|y)", "vxy", "aq"),
            ("[a-c_]x", "abc_", "dx["),
            ("[-_]x", "-_", "a]"),
            ("[a-]x", "a-", "b]"),
            ("(qa|hot)[-_]v", "qh", "v-"),
            (r"[a-z]+\.", "az", "A.1"),
            ("(a*|b)c", "abc", "d"),
            (r"\w-", "a1_", "-."),
            (r"(\.|\-|\/|\+)x", ".-/+", "ax,"),
            ("^(qa)", "q", "a^"),
            (r"(qa|rel)-\d{4}(\.\d{1,2})?$", "qr", "a-1{"),
            ("[ab]{0,1}c", "abc", "d0{"),
        ] {
            for letter in fits.bytes() {
                assert!(may_start_with(pattern, letter), "{pattern} {letter}");
            }
            for letter in other.bytes() {
                assert!(!may_start_with(pattern, letter), "{pattern} {letter}");
            }
        }
    }

    #[test]
    fn unusual_pattern_starts_are_never_ruled_out() {
        for pattern in [
            "",
            "a*",
            "(?i)q",
            "(?x) q",
            "[^q]",
            "[[:alpha:]]",
            "q{0,1}",
            r"\x41",
            r"\s",
            "(q|)",
            ".",
            "q)(a",
            r"\b|q",
        ] {
            assert!(may_start_with(pattern, b'Z'), "{pattern}");
        }
        assert!(may_start_with(r"\d", 0xd9), "an Arabic digit");
    }

    /// All patterns of up to four of these pieces: no pattern matches what the quick checks
    /// exclude.
    #[test]
    fn prefix_check_never_rules_out_a_matching_name() {
        const PIECES: [&str; 16] = [
            "a", "b", "|", "()", "(", "\\", "*", "+", "?", "^", "{1}", "[(]", r"[\](]", "[^](]",
            "[](]", "[[(]]",
        ];
        const LETTERS: [&str; 5] = ["", "a", "b", "(", "|"];
        let mut patterns = vec![String::new()];
        for _ in 0..3 {
            let longer = patterns
                .iter()
                .flat_map(|pattern| PIECES.iter().map(move |piece| format!("{pattern}{piece}")));
            patterns = patterns.iter().cloned().chain(longer).collect();
            patterns.sort();
            patterns.dedup();
        }
        let mut looked_at = 0;
        for pattern in patterns
            .iter()
            .flat_map(|pattern| ["", "a", "b"].map(|last| format!("{pattern}{last}")))
        {
            let prefix = literal_prefix(&pattern);
            let out = |name: &str| {
                let first = name.as_bytes().first();
                !name.starts_with(&prefix)
                    || (prefix.is_empty()
                        && first.is_some_and(|first| !may_start_with(&pattern, *first)))
            };
            let names = LETTERS
                .iter()
                .flat_map(|one| LETTERS.map(|two| format!("{one}{two}")));
            let ruled_out: Vec<String> = names.filter(|name| out(name)).collect();
            if ruled_out.is_empty() {
                continue;
            }
            let Ok(regex) = super::super::anchored(&pattern) else {
                continue;
            };
            looked_at += 1;
            for name in ruled_out {
                assert!(!regex.is_match(&name), "{pattern} matches {name}");
            }
        }
        assert!(looked_at > 1_000, "{looked_at}");
    }

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
            ("qa+*", "q"),
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
