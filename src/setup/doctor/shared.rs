//! What a host needs in `shared/` of a deploy path, and what is wrong there (pure).

use std::collections::{BTreeMap, BTreeSet};

use super::{CheckFinding, Subject};
use crate::domain::host::SHARED_IS_DIRECTORY;
use crate::domain::plan::SharedMissing;

/// How many characters of a host's reason are shown.
const REASON_CHARS_MAX: usize = 500;

/// What a deploy path needs besides space and permissions.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeployPathNeeds {
    /// Directories in `shared/` that a release makes.
    pub(crate) shared_directories: BTreeSet<String>,
    /// Files in `shared/` that the operator puts there.
    pub(crate) shared_files: BTreeSet<String>,
    /// Whether a release continues without them.
    pub(crate) shared_missing: SharedMissing,
}

/// Reports a shared path: without it a release fails or warns.
pub(super) fn finding(
    subject: &Subject,
    key: &str,
    value: &str,
    targets: &BTreeMap<String, DeployPathNeeds>,
) -> Option<CheckFinding> {
    let (path, reason) = value.split_once('\t').unwrap_or((value, ""));
    let reason: String = reason
        .chars()
        .filter(|letter| !letter.is_control())
        .take(REASON_CHARS_MAX)
        .collect();
    // Accept only what was asked for.
    let of_path = |(deploy_to, needs): (&String, &DeployPathNeeds)| {
        let name = path
            .strip_prefix(deploy_to.as_str())?
            .strip_prefix("/shared/")?;
        let needed = match key {
            "unmade-shared" => &needs.shared_directories,
            _ => &needs.shared_files,
        };
        needed.contains(name).then_some(needs.shared_missing)
    };
    let missing = targets.iter().find_map(of_path)?;
    match key {
        "unmade-shared" => Some(CheckFinding::fail(
            subject,
            format!("shared directory {path} cannot be made: {reason}"),
            "make it there once, for the login user",
        )),
        "directory-shared" => Some(CheckFinding::warn(
            subject,
            format!("shared file {path} is a directory"),
            SHARED_IS_DIRECTORY,
        )),
        "missing-shared" => {
            let mut what = format!("shared file {path} is missing");
            let mut remedy =
                "put it there, or write it with a `/` at its end in shared if it is a directory";
            if !reason.is_empty() {
                what.push_str(&format!(": {reason}"));
                remedy = "let the login user reach it there";
            }
            Some(match missing {
                SharedMissing::Fail => CheckFinding::fail(subject, what, remedy),
                SharedMissing::Warn => CheckFinding::warn(subject, what, remedy),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::CheckStatus;
    use super::*;

    #[test]
    fn shared_paths_are_reported_with_their_reason() {
        let subject = Subject::Host("web1".into());
        let needs = DeployPathNeeds {
            shared_directories: ["log".to_owned()].into(),
            shared_files: [".env".to_owned()].into(),
            shared_missing: SharedMissing::Warn,
        };
        let targets = BTreeMap::from([("/srv/shop".to_owned(), needs)]);
        let found = |key: &str, value: &str| {
            finding(&subject, key, value, &targets).map(|found| (found.status, found.text))
        };
        for (key, value, status, text) in [
            (
                "unmade-shared",
                "/srv/shop/shared/log\tshared/log is a link to what is not there: /mnt/log",
                CheckStatus::Fail,
                "shared directory /srv/shop/shared/log cannot be made: shared/log is a link to what is not there: /mnt/log",
            ),
            (
                "directory-shared",
                "/srv/shop/shared/.env",
                CheckStatus::Warn,
                "shared file /srv/shop/shared/.env is a directory",
            ),
            (
                "missing-shared",
                "/srv/shop/shared/.env\tdeploy may not see what is in shared",
                CheckStatus::Warn,
                "shared file /srv/shop/shared/.env is missing: deploy may not see what is in shared",
            ),
            (
                "missing-shared",
                "/srv/shop/shared/.env\t",
                CheckStatus::Warn,
                "shared file /srv/shop/shared/.env is missing",
            ),
        ] {
            assert_eq!(found(key, value), Some((status, text.to_owned())), "{key}");
        }
        for (key, value) in [
            ("unmade-shared", "/srv/shop/shared/.env\tx"),
            ("directory-shared", "/srv/shop/shared/log"),
            ("missing-shared", "/srv/other/shared/.env\t"),
            ("left", "/srv/shop/shared/.env"),
        ] {
            assert_eq!(found(key, value), None, "{key} {value}");
        }
    }
}
