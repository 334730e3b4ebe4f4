//! Hostile tag names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use tagship::domain::rule::{OnSpoolError, Schedule};

use crate::hook::shop::{Shop, rule, rules};

#[test]
fn hostile_names_are_recorded_unchanged_and_run_nothing() {
    let shop = Shop::new();
    let names = [
        "release-$(touch${IFS}p)",
        "release-`touch${IFS}p`",
        "release-;touch${IFS}p;",
        "release-'\"'",
        "release-{a,b}|&p<x>",
        "release-\"\"\"'''",
        "release-ünïcödé-🚀",
        "release-#=]",
    ];
    for name in names {
        shop.tree().tag(name, "HEAD");
        let pushed = shop.tree().push_tag(name);
        assert!(pushed.success, "{name}: {}", pushed.text);
    }
    let references: Vec<_> = shop.records().into_iter().map(|r| r.reference).collect();
    let wanted: Vec<_> = names.iter().map(|n| format!("refs/tags/{n}")).collect();
    assert_eq!(references, wanted);
    for place in [&shop.repo().path, &shop.spool(), &shop.tree().path] {
        assert!(!place.join("p").exists());
    }
}

#[test]
fn bidirectional_text_in_a_name_is_escaped() {
    let shop = Shop::new();
    let name = "release-\u{202e}31m";
    shop.tree().tag(name, "HEAD");
    let pushed = shop.tree().push_tag(name);
    assert!(pushed.success, "{}", pushed.text);
    assert!(
        pushed.remote_lines()[0].starts_with("tagship: release-\\u{202e}31m → shop"),
        "{}",
        pushed.text
    );
    assert_eq!(shop.records()[0].reference, format!("refs/tags/{name}"));
}

#[test]
fn name_with_terminal_controls_is_never_released() {
    let shop = Shop::new();
    let name = "release-\u{9b}31m";
    shop.tree().tag(name, "HEAD");
    let pushed = shop.tree().push_tag(name);
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(
        pushed.remote_lines(),
        ["tagship: the tag's name is too long or holds a control character; it is never released"]
    );
    assert_eq!(shop.records(), []);
}

#[test]
fn a_name_that_is_not_utf8_passes_and_is_never_released() {
    let shop = Shop::new();
    let mut file = rules("shop", OnSpoolError::Reject);
    file.projects[0].rules = vec![rule(".*", "production", Schedule::Ready)];
    shop.publish(file);
    let name = OsStr::from_bytes(b"release-\xff\xfe");
    shop.tree().tag(name, "HEAD");
    let pushed = shop.tree().push_tag(name);
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(
        pushed.remote_lines(),
        ["tagship: the tag's name is not UTF-8; it is never released"]
    );
    assert_eq!(shop.records(), []);
}

#[test]
fn name_cannot_escape_the_spool() {
    let shop = Shop::new();
    for key in [
        "../shop",
        "/etc/passwd",
        ".",
        "..",
        "a/../../b",
        "%2e",
        "a\0b",
    ] {
        let path = tagship::engine::spool::rules_path(&shop.spool(), key).unwrap();
        assert_eq!(
            path.parent().unwrap(),
            shop.spool().join("rules"),
            "{key:?}"
        );
    }
}
