//! Estimates which ids may have been allocated after the backup: from what is left in `data_dir`,
//! and from the elapsed time in case the machine was lost.

use std::fs;
use std::path::Path;

use jiff::Timestamp;

/// Upper bound on tasks made between a backup and its restore: this many at once …
const TASKS_AT_ONCE: u64 = 10_000;
/// … plus one per second on average.
const TASKS_PER_S: u64 = 1;
/// Ids continue at a round number, so that the gap is visible.
const ROUNDED_TO: u64 = 1_000;

/// Returns the first id for a restored agent: above any that may have been allocated before.
pub(super) fn next_id(data_dir: &Path, last: u64, backup: Timestamp, now: Timestamp) -> u64 {
    let elapsed = now.duration_since(backup).as_secs();
    let elapsed = u64::try_from(elapsed).unwrap_or(0);
    let bound = last + TASKS_AT_ONCE + elapsed.saturating_mul(TASKS_PER_S);
    (bound.max(seen(data_dir)) + 1).next_multiple_of(ROUNDED_TO)
}

/// Returns the highest id that left a trace in `data_dir`; 0 without any.
pub(super) fn seen(data_dir: &Path) -> u64 {
    numbers(&data_dir.join("logs")).max(in_mirrors(data_dir))
}

/// Returns the highest id whose commit is pinned in a mirror, as a loose or packed ref.
fn in_mirrors(data_dir: &Path) -> u64 {
    let mirrors = fs::read_dir(data_dir.join("mirrors"));
    let highest = mirrors.into_iter().flatten().flatten().map(|mirror| {
        let packed = fs::read_to_string(mirror.path().join("packed-refs")).unwrap_or_default();
        let packed = packed
            .lines()
            .filter_map(|line| line.split_once(" refs/tagship/tasks/")?.1.parse().ok())
            .max();
        numbers(&mirror.path().join("refs/tagship/tasks")).max(packed.unwrap_or(0))
    });
    highest.max().unwrap_or(0)
}

fn numbers(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn restored_ids_continue_above_elapsed_time_and_evidence() {
        let dir = tempfile::tempdir().unwrap();
        let (then, now) = (at("2026-11-20T15:00:00Z"), at("2026-11-21T15:00:00Z"));
        assert_eq!(next_id(dir.path(), 4_321, then, now), 101_000);
        assert_eq!(next_id(dir.path(), 4_321, then, then), 15_000);
        // A clock that was set back gives no limit, but does not lower one.
        assert_eq!(next_id(dir.path(), 4_321, now, then), 15_000);

        fs::create_dir_all(dir.path().join("logs/222333/web1")).unwrap();
        assert_eq!(next_id(dir.path(), 4_321, then, now), 223_000);
        let mirror = dir.path().join("mirrors/shop.git");
        fs::create_dir_all(mirror.join("refs/tagship/tasks")).unwrap();
        fs::write(mirror.join("refs/tagship/tasks/300000"), "").unwrap();
        assert_eq!(next_id(dir.path(), 4_321, then, now), 301_000);
        let packed = "# pack-refs\nabc refs/heads/main\nabc refs/tagship/tasks/400999\n";
        fs::write(mirror.join("packed-refs"), packed).unwrap();
        assert_eq!(next_id(dir.path(), 4_321, then, now), 401_000);
    }
}
