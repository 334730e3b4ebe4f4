//! Colours of states (pure). A colour follows from the word that is shown, so it says nothing that
//! the word does not say.

use std::ffi::OsStr;

use super::arguments::ColorWhen;

/// Ends a colour.
const PLAIN: &str = "\x1b[0m";

/// What a state means for its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Good,
    Active,
    /// A person should look at it.
    Attention,
    Bad,
    Neutral,
}

/// The words that states begin with: of tasks, steps, findings, hosts and what is live.
const TONES: [(&str, Tone); 30] = [
    ("succeeded", Tone::Good),
    ("ok", Tone::Good),
    ("running", Tone::Active),
    ("queued", Tone::Active),
    ("rolling back", Tone::Active),
    ("stopping", Tone::Active),
    ("waiting", Tone::Attention),
    ("paused", Tone::Attention),
    ("held", Tone::Attention),
    ("skipped", Tone::Attention),
    ("stopped", Tone::Attention),
    ("rolled back", Tone::Attention),
    ("warn", Tone::Attention),
    ("drift", Tone::Attention),
    ("no", Tone::Attention),
    ("failed", Tone::Bad),
    ("rollback failed", Tone::Bad),
    ("unknown", Tone::Bad),
    ("FAIL", Tone::Bad),
    ("proposed", Tone::Neutral),
    ("scheduled", Tone::Neutral),
    ("rejected", Tone::Neutral),
    ("expired", Tone::Neutral),
    ("withdrawn", Tone::Neutral),
    ("superseded", Tone::Neutral),
    ("observed", Tone::Neutral),
    ("pending", Tone::Neutral),
    ("elsewhere", Tone::Neutral),
    ("yes", Tone::Neutral),
    ("-", Tone::Neutral),
];

impl Tone {
    /// Returns the sequence that begins its colour; terminals choose the shades.
    fn begins(self) -> Option<&'static str> {
        match self {
            Self::Good => Some("\x1b[32m"),
            Self::Active => Some("\x1b[36m"),
            Self::Attention => Some("\x1b[33m"),
            Self::Bad => Some("\x1b[1;31m"),
            Self::Neutral => None,
        }
    }
}

/// Whether states are printed in colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    pub(crate) fn new(on: bool) -> Self {
        Self { on }
    }

    /// Returns the text, with the state that it begins with in colour.
    pub(crate) fn state(self, text: &str) -> String {
        self.part(text, text)
    }

    /// Returns what is shown of a text that begins with a state: a part may be cut off.
    pub(crate) fn part(self, text: &str, shown: &str) -> String {
        let known = known(text).filter(|_| self.on);
        let Some((word, begins)) = known.and_then(|(word, tone)| Some((word, tone.begins()?)))
        else {
            return shown.to_owned();
        };
        let rest = shown.strip_prefix(word).unwrap_or_default();
        let state = &shown[..shown.len() - rest.len()];
        format!("{begins}{state}{PLAIN}{rest}")
    }
}

/// Returns the state that a text begins with.
fn known(text: &str) -> Option<(&'static str, Tone)> {
    let begins = |word: &str| {
        let rest = text.strip_prefix(word);
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    TONES.into_iter().find(|(word, _)| begins(word))
}

/// Whether output to a stream is coloured: `no_color` and `term` are the variables of these names.
pub(crate) fn is_wanted(
    when: ColorWhen,
    is_terminal: bool,
    no_color: &OsStr,
    term: &OsStr,
) -> bool {
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => is_terminal && no_color.is_empty() && !is_dumb(term),
    }
}

/// Whether a terminal of this kind only writes lines.
pub(crate) fn is_dumb(term: &OsStr) -> bool {
    term.is_empty() || term == "dumb"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::StepState;
    use crate::domain::task::StateName;

    #[test]
    fn every_state_of_tasks_and_steps_has_a_colour_or_none() {
        let tasks = StateName::ALL.map(StateName::words);
        let steps = [
            StepState::Pending,
            StepState::Running,
            StepState::Succeeded,
            StepState::Failed,
            StepState::Unknown,
            StepState::Stopped,
            StepState::Held,
            StepState::Skipped,
            StepState::Elsewhere,
        ];
        let steps = steps.map(|state| state.name().to_owned());
        for state in tasks.iter().chain(&steps) {
            let found = known(state).map(|(word, _)| word);
            assert_eq!(found, Some(state.as_str()));
        }
    }

    #[test]
    fn only_the_state_is_coloured() {
        let paint = Paint::new(true);
        assert_eq!(paint.state("failed"), "\x1b[1;31mfailed\x1b[0m");
        assert_eq!(
            paint.state("rolled back: web1: failed"),
            "\x1b[33mrolled back\x1b[0m: web1: failed"
        );
        assert_eq!(paint.state("scheduled for 22:30"), "scheduled for 22:30");
        assert_eq!(paint.state("failedly"), "failedly");
        assert_eq!(
            paint.part("rolling back", "rolling…"),
            "\x1b[36mrolling…\x1b[0m"
        );
        assert_eq!(Paint::default().state("failed"), "failed");
    }

    #[test]
    fn terminals_get_colour_unless_the_user_declines() {
        let auto = |is_terminal, no_color: &str, term: &str| {
            let (no_color, term) = (OsStr::new(no_color), OsStr::new(term));
            is_wanted(ColorWhen::Auto, is_terminal, no_color, term)
        };
        assert!(auto(true, "", "xterm"));
        assert!(!auto(false, "", "xterm"), "a file");
        assert!(!auto(true, "1", "xterm"), "NO_COLOR");
        assert!(!auto(true, "", "dumb") && !auto(true, "", ""), "TERM");
        let none = OsStr::new("");
        assert!(is_wanted(ColorWhen::Always, false, OsStr::new("1"), none));
        assert!(!is_wanted(
            ColorWhen::Never,
            true,
            none,
            OsStr::new("xterm")
        ));
    }
}
