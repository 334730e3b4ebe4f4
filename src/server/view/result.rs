//! The result of a step, for people (pure).

use crate::api::StepState;
use crate::base::language::Language;
use crate::domain::task::StepResult;

/// Returns the state of a step that has ended, what it did or why it failed, and the exit code; `runs`
/// is whether it ran a program.
pub(super) fn result_view(
    language: Language,
    result: &StepResult,
    runs: bool,
) -> (StepState, String, Option<i32>) {
    let done = StepState::Succeeded;
    match result {
        StepResult::CheckedOut { files, .. } => {
            let text = language.say("step-checked-out").with("count", *files);
            (done, text.to_string(), None)
        }
        StepResult::Staged {
            files_sent,
            bytes_sent,
            notes,
            ..
        } => {
            let sent = language.say("step-sent").with("count", *files_sent);
            let sent = sent.with("size", size(*bytes_sent)).to_string();
            (done, with_notes(sent, notes), None)
        }
        StepResult::Published { was, found } => {
            let before = match was {
                Some(was) => language
                    .say("step-was-live")
                    .with("release", was.to_string()),
                None => language.say("step-nothing-was-live"),
            };
            (done, with_notes(before.to_string(), &found.notes), None)
        }
        StepResult::Done { .. } => (done, String::new(), runs.then_some(0)),
        StepResult::Failed {
            message, exit_code, ..
        } => (StepState::Failed, message.clone(), *exit_code),
        StepResult::Unknown { message } => (StepState::Unknown, message.clone(), None),
        StepResult::Stopped => (StepState::Stopped, String::new(), None),
    }
}

fn with_notes(mut message: String, notes: &[String]) -> String {
    for note in notes {
        message.push_str("; ");
        message.push_str(note);
    }
    message
}

/// `17 bytes`, `80.0 KiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}
