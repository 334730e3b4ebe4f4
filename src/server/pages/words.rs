//! Words that several pages share, in the language of their reader.

use super::Frame;
use crate::base::language::Sentence;
use crate::domain::host::{BrokenCurrent, Drift, utc};
use crate::domain::permission::{Role, Scope};

impl Frame {
    pub(super) fn role(&self, role: &Role) -> Sentence {
        self.language.say(format!("user-role-{role}"))
    }

    /// Returns the name of an outcome in the hook log.
    pub(super) fn outcome(&self, name: &str) -> Sentence {
        self.language.say(format!("hook-outcome-{name}"))
    }

    /// Returns the words of a link to a task.
    pub(super) fn task_link(&self, id: &u64) -> Sentence {
        self.say("link-task").with("id", id.to_string())
    }

    /// Returns what a scope of a token permits.
    pub(super) fn scope(&self, scope: &Scope) -> Sentence {
        self.language.say(format!("user-scope-{scope}"))
    }

    /// Describes what `current` on a host is instead of the link that tagship made.
    pub(super) fn drift(&self, drift: &Drift) -> String {
        let found = match (drift.broken, &drift.to) {
            (Some(BrokenCurrent::Directory), _) => self.say("drift-directory"),
            (Some(BrokenCurrent::File), _) => self.say("drift-file"),
            (Some(BrokenCurrent::Text), _) => self.say("drift-text"),
            (Some(BrokenCurrent::Dangling), None) => self.say("drift-loop"),
            (Some(BrokenCurrent::Dangling), Some(to)) => {
                self.say("drift-dangling").with("to", to.0.clone())
            }
            (None, Some(to)) => self.say("drift-elsewhere").with("to", to.0.clone()),
            (None, None) => self.say("drift-missing"),
        };
        let found = found.with("from", drift.from.0.clone()).to_string();
        let said = match drift.changed {
            Some(changed) => self.say("drift-since-change").with("changed", utc(changed)),
            None => self.say("drift-since"),
        };
        said.with("drift", found)
            .with("seen", utc(drift.since))
            .to_string()
    }
}
