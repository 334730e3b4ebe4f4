//! Places that the login user cannot write or make, each with its remedy (pure).

use super::{CheckFinding, Subject};
use crate::hosts::ssh::script::quote;

/// Returns the finding for a place that cannot be written. `user` is the login user.
pub(super) fn finding(
    subject: &Subject,
    key: &str,
    value: &str,
    user: &str,
) -> Option<CheckFinding> {
    let fail = |what: String, remedy: &str| Some(CheckFinding::fail(subject, what, remedy));
    match key {
        "unwritable" if value.contains("/.tagship") => fail(
            format!("{value} cannot be written by the login user"),
            &format!(
                "run there as root, in deploy_to: find .tagship -type d ! -path '*/trash/*' ! -path '*/left-*' -exec chown {user} {{}} +"
            ),
        ),
        "unwritable" => fail(
            format!("{value} cannot be written by the login user"),
            "give it to that user (chown)",
        ),
        "unwritable-shared" => Some(CheckFinding::warn(
            subject,
            format!("{value} cannot be written by the login user"),
            "give it to that user (chown), or make each new directory of shared there yourself",
        )),
        "immutable" => fail(
            format!("{value} is immutable, so nothing can be written in it"),
            "look for the attribute i there (lsattr -d) and clear it as root (chattr -i)",
        ),
        "readonly" => fail(
            format!("{value} is on a file system that is mounted read-only"),
            "mount it writable",
        ),
        "unmade" => {
            let quoted = quote("deploy_to", value).unwrap_or_else(|_| value.to_owned());
            fail(
                format!("{value} is not there, and the login user cannot make it"),
                &format!("make it there as root: install -d -o {user} {quoted}"),
            )
        }
        _ => None,
    }
}
