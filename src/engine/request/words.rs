//! Words for refusals: lists of names, and reasons. Pure; called by `request` alone.

use super::RequestError;

pub(super) fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

/// Returns the reason if it is not empty.
///
/// # Errors
/// It is empty.
pub(super) fn given(reason: &str, what: &'static str) -> Result<String, RequestError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(RequestError::NoReason(what));
    }
    Ok(reason.to_owned())
}
