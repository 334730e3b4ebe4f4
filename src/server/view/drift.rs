//! Drift in the words of pages and commands (pure).

use jiff::Timestamp;

use crate::base::language::Language;
use crate::domain::host::{BrokenCurrent, Drift};

/// Says what is live instead, and since when that is known, by the given format of a time.
pub(in crate::server) fn described(
    language: Language,
    drift: &Drift,
    show: impl Fn(Timestamp) -> String,
) -> String {
    let text = match drift.changed {
        Some(changed) => language
            .say("drift-since-change")
            .with("changed", show(changed)),
        None => language.say("drift-since"),
    };
    let text = text.with("drift", what(language, drift));
    text.with("seen", show(drift.since)).to_string()
}

fn what(language: Language, drift: &Drift) -> String {
    let text = match (drift.broken, &drift.to) {
        (Some(BrokenCurrent::Directory), _) => language.say("drift-directory"),
        (Some(BrokenCurrent::File), _) => language.say("drift-file"),
        (Some(BrokenCurrent::Text), _) => language.say("drift-text"),
        (Some(BrokenCurrent::Dangling), Some(to)) => {
            language.say("drift-dangling").with("to", to.to_string())
        }
        (Some(BrokenCurrent::Dangling), None) => language.say("drift-loop"),
        (None, Some(to)) => language.say("drift-elsewhere").with("to", to.to_string()),
        (None, None) => language.say("drift-missing"),
    };
    text.with("from", drift.from.to_string()).to_string()
}

/// Says what to do about it.
pub(in crate::server) fn remedy(language: Language, drift: &Drift) -> String {
    let text = match drift.broken {
        None => language.say("drift-remedy"),
        Some(BrokenCurrent::Dangling) => language.say("drift-remedy-dangling"),
        Some(BrokenCurrent::Text) => language.say("drift-remedy-text"),
        Some(BrokenCurrent::Directory | BrokenCurrent::File) => {
            language.say("drift-remedy-directory")
        }
    };
    text.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::host::{ReleaseId, utc};

    #[test]
    fn english_words_are_those_of_the_command_line() {
        let release = |name: &str| ReleaseId(name.to_owned());
        let broken = [
            None,
            Some(BrokenCurrent::Directory),
            Some(BrokenCurrent::File),
            Some(BrokenCurrent::Text),
            Some(BrokenCurrent::Dangling),
        ];
        for broken in broken {
            for to in [None, Some(release("b"))] {
                for changed in [None, Some(Timestamp::UNIX_EPOCH)] {
                    let drift = Drift {
                        from: release("a"),
                        to: to.clone(),
                        since: Timestamp::UNIX_EPOCH,
                        changed,
                        broken,
                    };
                    let words = described(Language::English, &drift, utc);
                    assert_eq!(words, drift.describe(utc));
                    assert_eq!(remedy(Language::English, &drift), drift.remedy());
                }
            }
        }
    }
}
