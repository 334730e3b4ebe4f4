//! The argument of all commands that says when output is coloured.

use std::ffi::OsString;

use clap::{ColorChoice, ValueEnum};

/// When states are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    #[default]
    Auto,
    Always,
    Never,
}

/// Returns the value of `--color` in arguments that are not parsed yet. The parser needs it for its
/// own messages.
pub(crate) fn unparsed(arguments: impl IntoIterator<Item = OsString>) -> ColorChoice {
    let mut choice = ColorChoice::Auto;
    let mut is_value = false;
    for argument in arguments {
        let text = argument.to_str().unwrap_or_default();
        let value = match is_value {
            true => text,
            false => text.strip_prefix("--color=").unwrap_or_default(),
        };
        is_value = text == "--color";
        match ColorWhen::from_str(value, false) {
            Ok(ColorWhen::Auto) => choice = ColorChoice::Auto,
            Ok(ColorWhen::Always) => choice = ColorChoice::Always,
            Ok(ColorWhen::Never) => choice = ColorChoice::Never,
            Err(_) => {}
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn color_is_known_before_the_arguments_are_parsed() {
        let of = |arguments: &[&str]| unparsed(arguments.iter().map(OsString::from));
        assert_eq!(of(&["tasks", "--help"]), ColorChoice::Auto);
        assert_eq!(of(&["tasks", "--color", "never"]), ColorChoice::Never);
        assert_eq!(of(&["--color=always", "tasks"]), ColorChoice::Always);
        assert_eq!(of(&["--color", "sometimes"]), ColorChoice::Auto);
    }
}
