//! What hosts keep: by days, by number, and always.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tagship::domain::host::Release;

use crate::hostops::attempt::{ended, shell as program};
use crate::hostops::local_host::{Host, SHELLS, Tree};

const HOUR_1: u64 = 1_700_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Sets the age of a file or directory.
fn age(path: &Path, age: Duration) {
    let time = SystemTime::now() - age;
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// Older than 30 days, as `find` counts: attempts, which are directories, and switches, which are
/// files.
#[test]
fn journal_entry_is_kept_for_31_days() {
    let minute = Duration::from_secs(60);
    for shell in SHELLS {
        let host = Host::new(shell);
        let tree = Tree::new();
        tree.file("a", "a", 0o644, HOUR_1);
        let release = tree.release("r1");
        host.stage(1, &tree, &release);
        host.publish(1, &release, "now").unwrap();
        let journal = host.path().join(".tagship/journal");
        for (name, days) in [("before", 31 * DAY - minute), ("after", 31 * DAY + minute)] {
            let attempt = journal.join(format!("attempt-{name}"));
            std::fs::create_dir(&attempt).unwrap();
            std::fs::write(attempt.join("exit"), "0").unwrap();
            let switch = journal.join(format!("switch-{name}"));
            std::fs::write(&switch, "releases/r0\n").unwrap();
            age(&attempt, days);
            age(&switch, days);
        }
        host.prune(1, 3, &[], &[]).unwrap();
        for kind in ["attempt", "switch"] {
            assert!(journal.join(format!("{kind}-before")).exists(), "{kind}");
            assert!(!journal.join(format!("{kind}-after")).exists(), "{kind}");
        }
        assert!(
            journal.join("now").exists(),
            "what was live before this switch"
        );
    }
}

/// Older than 90 days, as `find` counts; other directories beside them are not ours.
#[test]
fn directory_of_a_task_is_kept_for_91_days() {
    let minute = Duration::from_secs(60);
    for shell in SHELLS {
        let host = Host::named(shell, ".tagship-tasks/7-aa");
        let tasks = host.path().parent().unwrap().to_owned();
        std::fs::create_dir(&tasks).unwrap();
        for (name, days) in [
            ("5-before", 91 * DAY - minute),
            ("5-after", 91 * DAY + minute),
            ("notes", 91 * DAY + minute),
        ] {
            let task = tasks.join(name);
            std::fs::create_dir(&task).unwrap();
            std::fs::write(task.join("file"), "").unwrap();
            age(&task, days);
        }
        assert_eq!(host.run(&program("k", "true")).end, ended(0));
        let left = std::fs::read_dir(&tasks).unwrap();
        let left: BTreeSet<_> = left.map(|one| one.unwrap().file_name()).collect();
        let kept = ["5-before", "7-aa", "notes"];
        assert_eq!(left, kept.map(Into::into).into_iter().collect());
    }
}

/// `keep` complete releases are kept, including the live and protected ones, which always stay.
/// Failed ones are not counted. One more release deletes the oldest.
#[test]
fn configured_and_protected_releases_are_kept() {
    let host = Host::new(SHELLS[0]);
    let tree = Tree::new();
    tree.file("a", "a", 0o644, HOUR_1);
    let releases: Vec<Release> = (1..=6).map(|n| tree.release(&format!("r{n}"))).collect();
    for release in &releases {
        host.stage(1, &tree, release);
    }
    let of = |n: usize| &releases[n - 1];
    host.publish(1, of(5), "1").unwrap();
    let there = || -> Vec<String> {
        let state = host.inspect().unwrap();
        state.releases.into_iter().map(|one| one.id.0).collect()
    };
    let all = ["r1", "r2", "r3", "r4", "r5", "r6"];
    // r6 has failed: it is deleted and does not count.
    assert_eq!(host.prune(1, 5, &[of(1)], &[of(6)]).unwrap(), ["r6"]);
    assert_eq!(there(), all[..5]);
    assert_eq!(host.prune(1, 4, &[of(1)], &[of(6)]).unwrap(), ["r2"]);
    assert_eq!(there(), ["r1", "r3", "r4", "r5"]);
    // The live one and the last good one stay, whatever `keep` is.
    assert_eq!(host.prune(1, 1, &[of(1)], &[]).unwrap(), ["r4", "r3"]);
    assert_eq!(
        host.prune(1, 0, &[of(1)], &[of(1), of(5)]).unwrap(),
        [""; 0]
    );
    assert_eq!(there(), ["r1", "r5"]);
    assert_eq!(host.live().as_deref(), Some("r5"));
}
