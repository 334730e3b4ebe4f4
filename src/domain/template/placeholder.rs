//! `{NAME}`: parsed and replaced in arguments and addresses, never in shell text.

use std::collections::BTreeMap;

/// The parameters that every task has, regardless of its template.
pub const SUPPLIED: [&str; 9] = [
    "TAG",
    "COMMIT",
    "PROJECT",
    "ENVIRONMENT",
    "TASK_ID",
    "FLOW_ID",
    "GIT_URL",
    "HOST",
    "RELEASE",
];

/// Those of [`SUPPLIED`] that come from a project and its repository: a task without a project may set
/// its own.
pub const SUPPLIED_BY_PROJECT: [&str; 5] = ["TAG", "COMMIT", "PROJECT", "ENVIRONMENT", "GIT_URL"];

/// Whether this is a valid parameter name: `[A-Z_][A-Z0-9_]*`, at most 64 characters.
#[must_use]
pub fn is_parameter_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A piece of text with placeholders.
enum TextPiece<'t> {
    Text(&'t str),
    /// The name between the braces, and whether a `$` precedes them.
    Placeholder(&'t str, Dollar),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dollar {
    Before,
    Absent,
}

/// Splits text into literal parts and placeholders. Braces around anything but a parameter's name
/// are literal text.
fn pieces(text: &str) -> Vec<TextPiece<'_>> {
    let mut pieces = Vec::new();
    let mut done = 0;
    let mut from = 0;
    while let Some(open) = text[from..].find('{').map(|at| from + at) {
        from = open + 1;
        let Some(name) = text[from..].split_once('}').map(|(name, _)| name) else {
            break;
        };
        if is_parameter_name(name) {
            pieces.push(TextPiece::Text(&text[done..open]));
            let dollar = if text[..open].ends_with('$') {
                Dollar::Before
            } else {
                Dollar::Absent
            };
            pieces.push(TextPiece::Placeholder(name, dollar));
            from += name.len() + 1;
            done = from;
        }
    }
    pieces.push(TextPiece::Text(&text[done..]));
    pieces
}

/// Returns the names of the placeholders in a text, in order.
#[must_use]
pub fn names(text: &str) -> Vec<&str> {
    pieces(text)
        .into_iter()
        .filter_map(|piece| match piece {
            TextPiece::Placeholder(name, _) => Some(name),
            TextPiece::Text(_) => None,
        })
        .collect()
}

/// Returns the names of the placeholders in `sh` text, where `${NAME}` belongs to the shell.
pub(super) fn names_in_shell_text(text: &str) -> Vec<&str> {
    pieces(text)
        .into_iter()
        .filter_map(|piece| match piece {
            TextPiece::Placeholder(name, Dollar::Absent) => Some(name),
            _ => None,
        })
        .collect()
}

/// Replaces each placeholder by its value, once: values are not expanded. A name without a value is
/// left as it is (templates with such names are refused when they are read).
#[must_use]
pub fn fill(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            TextPiece::Text(text) => filled.push_str(text),
            TextPiece::Placeholder(name, _) => match values.get(name) {
                Some(value) => filled.push_str(value),
                None => {
                    filled.push('{');
                    filled.push_str(name);
                    filled.push('}');
                }
            },
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn substituted_value_is_not_expanded_again() {
        let values = values(&[("TAG", "{HOST}; rm -rf $HOME"), ("HOST", "web1")]);
        assert_eq!(
            fill("--tag={TAG} on {HOST}", &values),
            "--tag={HOST}; rm -rf $HOME on web1"
        );
    }

    #[test]
    fn other_braces_are_ordinary_text() {
        let values = values(&[("TAG", "v1")]);
        for text in [
            "{a,b}", "{}", "{tag}", "{ TAG }", "{TAG", "TAG}", "{9}", "é{",
        ] {
            assert_eq!(fill(text, &values), text);
        }
        assert_eq!(fill("{{TAG}}", &values), "{v1}");
        assert_eq!(fill("{x{TAG}", &values), "{xv1");
    }

    #[test]
    fn shell_braces_are_no_placeholders() {
        assert_eq!(names_in_shell_text("echo ${TAG} {HOST}"), ["HOST"]);
        assert_eq!(names("echo ${TAG} {HOST}"), ["TAG", "HOST"]);
    }
}
