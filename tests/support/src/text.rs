//! Compares long texts, so that a failure shows the difference.

use similar::TextDiff;

/// Panics with the lines that differ, at the caller's line.
#[track_caller]
pub fn assert_text_eq(actual: &str, expected: &str, what: &str) {
    if actual == expected {
        return;
    }
    let diff = TextDiff::from_lines(expected, actual);
    let mut shown = diff.unified_diff();
    let shown = shown.header("expected", "actual");
    panic!("{what}\n{shown}");
}
