//! Pagination cursors: opaque to clients, and valid for the same search only (pure).

use serde::Serialize;

use super::fault::Fault;
use crate::base::secret;

/// Digits of the search's digest in a cursor: they detect mistakes, not attacks.
const DIGITS: usize = 10;

/// Returns the cursor for a position in a search.
pub(super) fn cursor(position: &str, search: &impl Serialize) -> String {
    format!("{position}.{}", digest(search))
}

/// Returns the position that a cursor names.
pub(super) fn position<'a>(cursor: &'a str, search: &impl Serialize) -> Result<&'a str, Fault> {
    match cursor.rsplit_once('.') {
        Some((position, digits)) if digits == digest(search) => Ok(position),
        _ => Err(Fault::Invalid(
            "the cursor belongs to another search: start again without it".to_owned(),
        )),
    }
}

/// Returns the fault for a position that was never issued.
pub(super) fn unknown_position() -> Fault {
    Fault::Invalid("the cursor is invalid: start again without it".to_owned())
}

fn digest(search: &impl Serialize) -> String {
    let text = serde_json::to_vec(search).unwrap_or_default();
    secret::sha256_hex(&text)[..DIGITS].to_owned()
}
