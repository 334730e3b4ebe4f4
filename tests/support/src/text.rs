//! Texts of several lines: written between the lines of a test, and compared so that a failure shows what
//! differs.

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

/// A text that begins with an empty line, without it and without the spaces that all other lines begin
/// with. Any other text stays as it is.
#[must_use]
pub fn unindent(text: &str) -> String {
    let Some(text) = text.strip_prefix('\n') else {
        return text.to_owned();
    };
    let filled = text.lines().filter(|line| !line.trim().is_empty());
    let indents = filled.map(|line| line.len() - line.trim_start_matches(' ').len());
    let indent = indents.min().unwrap_or(0);
    let lines = text.split('\n');
    let lines: Vec<&str> = lines
        .map(|line| line.get(indent..).unwrap_or_default())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::unindent;

    #[test]
    fn first_empty_line_and_common_spaces_are_removed() {
        for (text, wanted) in [
            ("\n    a\n      b\n    c\n    ", "a\n  b\nc\n"),
            ("\n      a\n\n   \n    b\n", "  a\n\n\nb\n"),
            ("\n    ä\n    \tb", "ä\n\tb"),
            ("\na\n  b\n", "a\n  b\n"),
            ("  a\n  b\n", "  a\n  b\n"),
            ("\n\n  a\n", "\na\n"),
            ("\n", ""),
            ("", ""),
        ] {
            assert_eq!(unindent(text), wanted, "{text:?}");
        }
    }
}
