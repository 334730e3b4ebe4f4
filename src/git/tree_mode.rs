//! What git takes an entry of a tree for. libgit2 reads unusual modes differently: it takes a link
//! with executable bits for a file.

use git2::TreeEntry;

pub(super) const DIRECTORY: i32 = 0o040_000;
pub(super) const LINK: i32 = 0o120_000;
pub(super) const SUBMODULE: i32 = 0o160_000;
pub(super) const EXECUTABLE: i32 = 0o100_755;
const PLAIN: i32 = 0o100_644;
const KIND: i32 = 0o170_000;
const FILE: i32 = 0o100_000;

/// Returns one of five modes, as git does (`canon_mode`).
pub(super) fn of(entry: &TreeEntry<'_>) -> i32 {
    canonical(entry.filemode_raw())
}

fn canonical(raw: i32) -> i32 {
    match raw & KIND {
        FILE if raw & 0o100 != 0 => EXECUTABLE,
        FILE => PLAIN,
        kind @ (LINK | DIRECTORY) => kind,
        _ => SUBMODULE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_modes_are_what_git_takes_them_for() {
        for (raw, expected) in [
            (0o100_600, PLAIN),
            (0o100_611, PLAIN),
            (0o100_744, EXECUTABLE),
            (0o120_777, LINK),
            (0o040_755, DIRECTORY),
            (0o160_000, SUBMODULE),
            (0o644, SUBMODULE),
            (0o140_000, SUBMODULE),
        ] {
            assert_eq!(canonical(raw), expected, "{raw:o}");
        }
    }
}
