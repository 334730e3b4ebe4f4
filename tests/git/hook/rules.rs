//! The shortcuts of `rule` (literal prefixes, no Unicode tables) change speed and nothing else.

use proptest::prelude::*;
use proptest::sample::select;
use tagship::domain::rule::{RuleSet, Schedule};

use crate::hook::shop::rule;

/// Pieces of patterns, joined at random: most of what people write, and what could mislead a
/// shortcut.
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

/// Pieces of names.
const LETTERS: &[&str] = &[
    "qa", "q", "a", "-", "k", "K", "b", ".", "1", "|", "/", "(", "ü", "é", "É", "\u{212a}", "٣",
    "]", "<", "\\", "{", "#",
];

/// Patterns that are well formed, nested as people nest them.
fn well_formed() -> impl Strategy<Value = String> {
    let leaf = select(vec![
        "q",
        "a",
        "k",
        "qa",
        "-",
        "1",
        ".",
        "[a-k]",
        "[^a]",
        "[q1_]",
        "[-.]",
        "[k-]",
        "[^-]",
        "[a--q]",
        "[a-k&&q]",
        "[[:alpha:]]",
        r"\d",
        r"\w",
        r"\.",
        r"\-",
        r"\b",
        "^",
        "$",
        "",
        "ü",
        "\u{212a}",
        "(?i:K)",
        r"\x6b",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.join("|")),
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|parts| format!("({})", parts.join("|"))),
            (
                inner,
                select(vec![
                    "*", "+", "?", "{0,1}", "{2}", "*?", "??", "+*", "+{0,1}", "{2}?"
                ])
            )
                .prop_map(|(part, often)| format!("(?:{part}){often}")),
            select(vec![
                "a*", "q?", "-+", r"\d{1,2}", "[a-k]*", "k{0}", "1{0,1}?"
            ])
            .prop_map(str::to_owned),
        ]
    })
}

fn names() -> impl Strategy<Value = Vec<String>> {
    let name = prop::collection::vec(select(LETTERS), 0..6).prop_map(|bits| bits.concat());
    prop::collection::vec(name, 1..8)
}

/// Whether the rules decide as the pattern alone does; `None` for a pattern that can't be used.
fn difference(pattern: &str, names: &[String]) -> Option<String> {
    let set = RuleSet::checked("shop", vec![rule(pattern, "qa", Schedule::Ready)]).ok()?;
    let plain = regex::Regex::new(&format!(r"\A(?:{pattern})")).unwrap();
    names
        .iter()
        .find(|name| set.first_match(name).unwrap().is_some() != plain.is_match(name))
        .map(|name| format!("pattern {pattern:?} and name {name:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn shortcuts_never_change_a_decision(pattern in well_formed(), names in names()) {
        prop_assert_eq!(difference(&pattern, &names), None);
    }

    #[test]
    fn shortcuts_never_change_a_decision_on_odd_patterns(
        bits in prop::collection::vec(select(BITS), 0..7),
        names in names(),
    ) {
        prop_assert_eq!(difference(&bits.concat(), &names), None);
    }
}
