//! Words that several pages share, in the language of their reader.

use super::Frame;
use crate::base::language::Sentence;
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
}
