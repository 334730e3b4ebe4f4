//! The shortcuts of `rule` (literal prefixes, no Unicode tables) change speed and nothing else.

use proptest::prelude::*;
use proptest::sample::select;
use tagship::rule::{RuleSet, Schedule};

use crate::shop::rule;

/// Bits of patterns, joined at random: most of what people write, and what could fool a shortcut.
const BITS: &[&str] = &[
    "qa",
    "-",
    "a",
    "k",
    "^",
    "$",
    ".",
    "*",
    "+",
    "?",
    "|",
    "(",
    ")",
    "[",
    "]",
    "[a-k]",
    "[^a]",
    "[|]",
    "[^]|]",
    r"[\]|]",
    "[[:alpha:]|]",
    "{2}",
    "{0,1}",
    "{",
    "}",
    r"\d",
    r"\w",
    r"\W",
    r"\b",
    r"\.",
    r"\-",
    r"\|",
    r"\\",
    r"\x6b",
    r"\x{212A}",
    r"\p{Lu}",
    r"\<",
    "(?i)",
    "(?x)",
    "(?m)",
    "(?s)",
    "(?-u)",
    "(?:",
    "(?P<n>",
    "ü",
    "\u{212a}",
    "é",
    " ",
    "#",
    "/",
];

/// Bits of names.
const LETTERS: &[&str] = &[
    "qa", "q", "a", "-", "k", "K", "b", ".", "1", "|", "/", "(", "ü", "é", "É", "\u{212a}", "٣",
    "]", "<", "\\", "{", "#",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn shortcuts_never_change_a_decision(
        pattern in prop::collection::vec(select(BITS), 0..7),
        tags in prop::collection::vec(prop::collection::vec(select(LETTERS), 0..6), 1..6),
    ) {
        let pattern = pattern.concat();
        let Ok(set) = RuleSet::checked("shop", vec![rule(&pattern, "qa", Schedule::Ready)]) else {
            return Ok(());
        };
        let plain = regex::Regex::new(&format!(r"\A(?:{pattern})")).unwrap();
        for tag in tags {
            let tag = tag.concat();
            prop_assert_eq!(
                set.first_match(&tag).unwrap().is_some(),
                plain.is_match(&tag),
                "pattern {:?}, tag {:?}", pattern, tag
            );
        }
    }
}
