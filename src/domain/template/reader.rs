//! The reader for a template's tables, and the raw table of a step.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Gate, ProgramCommand, name_problem};
use crate::domain::document::{Document, DocumentProblem, Path, duration};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepFile {
    #[serde(rename = "use")]
    pub(super) uses: Option<Use>,
    #[serde(default, deserialize_with = "command")]
    pub(super) run: Option<ProgramCommand>,
    pub(super) script: Option<String>,
    pub(super) args: Option<String>,
    pub(super) name: Option<String>,
    pub(super) gate: Option<Gate>,
    pub(super) user: Option<String>,
    pub(super) host: Option<String>,
    #[serde(rename = "in")]
    pub(super) directory: Option<String>,
    pub(super) once: Option<bool>,
    #[serde(default, deserialize_with = "duration::deserialize_option")]
    pub(super) timeout: Option<Duration>,
    pub(super) repeat: Option<bool>,
    pub(super) outputs: Option<Vec<String>>,
    pub(super) secret_outputs: Option<Vec<String>>,
    pub(super) http: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) tcp: Option<String>,
    #[serde(default, deserialize_with = "command")]
    pub(super) command: Option<ProgramCommand>,
    pub(super) retries: Option<u32>,
    #[serde(default, deserialize_with = "duration::deserialize_option")]
    pub(super) interval: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Use {
    Checkout,
    Sync,
    Publish,
    Check,
}

/// Reads a command: text for `sh` or a list of words.
fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ProgramCommand>, D::Error> {
    struct CommandVisitor;

    impl<'de> Visitor<'de> for CommandVisitor {
        type Value = ProgramCommand;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text for sh or a list of a program and its arguments")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<ProgramCommand, E> {
            Ok(ProgramCommand::Shell(text.to_owned()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ProgramCommand, A::Error> {
            let mut argv = Vec::new();
            while let Some(word) = items.next_element()? {
                argv.push(word);
            }
            Ok(ProgramCommand::Argv(argv))
        }
    }

    deserializer.deserialize_any(CommandVisitor).map(Some)
}

/// Converts the file's structs to a template and collects all problems. Invalid values are replaced
/// by dummies, so that the rest can be checked too.
pub(super) struct TemplateReader<'d> {
    pub(super) document: &'d Document<'d>,
    /// The parameters that placeholders may name.
    pub(super) parameters: BTreeSet<String>,
    pub(super) problems: Vec<DocumentProblem>,
}

impl TemplateReader<'_> {
    pub(super) fn refuse(&mut self, path: &Path, message: impl Into<String>) {
        self.problems.push(self.document.problem(path, message));
    }

    pub(super) fn name(&mut self, path: &Path, kind: &str, name: &str) {
        if let Some(problem) = name_problem(kind, name) {
            self.refuse(path, problem);
        }
    }
}
