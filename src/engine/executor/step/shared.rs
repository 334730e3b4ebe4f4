//! Reports what is wrong with the shared files of a host.

use super::context::{StepContext, StepError};
use crate::domain::host::{SHARED_IS_DIRECTORY, SharedFault};
use crate::domain::plan::{Placement, SharedMissing};

/// Fails the step or warns if shared files are missing; a rollback is never refused for them. Also
/// warns of directories in their place. Returns the warnings.
pub(super) fn check(
    ctx: &StepContext<'_>,
    placement: &Placement,
    faults: &[SharedFault],
    is_rollback: bool,
) -> Result<Vec<String>, StepError> {
    let shared = format!("{}/shared", placement.path_on(ctx.work.host()));
    let mut missing = Vec::new();
    let mut notes = Vec::new();
    // Accept only names that were requested, each once.
    for name in &placement.shared {
        match faults.iter().find(|fault| fault.path() == name.as_str()) {
            Some(SharedFault::Missing { reason, .. }) if reason.is_empty() => {
                missing.push(name.clone());
            }
            Some(SharedFault::Missing { reason, .. }) => missing.push(format!("{name} ({reason})")),
            Some(SharedFault::Directory { .. }) => notes.push(format!(
                "{shared}/{name} is a directory: {SHARED_IS_DIRECTORY}"
            )),
            None => {}
        }
    }
    if !missing.is_empty() {
        let what = format!("missing in {shared}: {}", missing.join(", "));
        if placement.shared_missing == SharedMissing::Fail && !is_rollback {
            return Err(StepError::Failed(format!(
                "{what}; put it there, then retry (a directory is written with a `/` at its end in shared; shared_missing = \"warn\" releases all the same)"
            )));
        }
        notes.insert(0, what);
    }
    for note in &notes {
        ctx.output.line(note);
    }
    Ok(notes)
}
