//! Directories of tagship that belong to another user, or are immutable: the error says what to run,
//! once for all of them.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;

use tagship::domain::host::{HostError, Release};

use crate::hostops::local_host::{AS_SERVICE, Host, SHELLS, Tree};
use crate::hostops::release::first_tree;

fn run(command: &str, path: &Path) {
    let line = format!("{command} '{}'", path.display());
    let status = Command::new("sh").args(["-c", &line]).status().unwrap();
    assert!(status.success(), "{line}");
}

/// A host on which r1 is live, made by root and then given to another login user.
fn given_away(shell: usize, tree: &Tree) -> (Host, Release) {
    let mut host = Host::named(SHELLS[shell], "shop");
    let first = tree.release("r1");
    host.stage(1, tree, &first);
    host.publish(1, &first, "1").unwrap();
    host.shell = AS_SERVICE[shell];
    run("chmod 755", host.path().parent().unwrap());
    run("chown -R 65534:65534", &host.path());
    (host, first)
}

/// Releases r2, whose files are those of r1.
fn release(host: &Host, fence: u64, tree: &Tree, first: &Release) -> Result<(), HostError> {
    let second = tree.release("r2");
    host.prepare(fence, &second, Some(first), &[])?;
    host.seal(fence, &second)?;
    host.publish(fence, &second, &fence.to_string())?;
    Ok(())
}

#[test]
fn directories_of_another_user_are_named_with_one_remedy() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root gives files away");
        return;
    }
    let all = [
        ".tagship",
        ".tagship/manifests",
        ".tagship/journal",
        ".tagship/fence-1",
        ".tagship/fence-1/turn-N",
    ];
    let each = all.iter().map(std::slice::from_ref);
    for shell in 0..SHELLS.len() {
        for denied in each.clone().chain([&["releases"][..], &all[..]]) {
            let tree = first_tree();
            let (host, first) = given_away(shell, &tree);
            let file = host.path().join(".tagship/manifests/r1");
            for path in denied {
                let path = path.replace("turn-N", &format!("turn-{}", host.last_seq()));
                chown(host.path().join(path), Some(0), Some(0)).unwrap();
            }
            chown(&file, Some(0), Some(0)).unwrap();
            let Err(HostError::Refused(why)) = release(&host, 2, &tree, &first) else {
                panic!("{denied:?}: it has written there");
            };
            let (what, command) = why.split_once("; as root on the host, run: ").unwrap();
            assert!(what.contains("Permission denied"), "{why}");
            assert!(what.contains(" may not write in "), "{why}");
            assert!(!why.contains("was emptied"), "{why}");
            let followed = Command::new("sh").args(["-c", command]).status().unwrap();
            assert!(followed.success(), "{command}");
            release(&host, 3, &tree, &first).unwrap_or_else(|error| panic!("{denied:?}: {error}"));
            assert_eq!(host.live().as_deref(), Some("r2"));
            let owner = file.metadata().unwrap().uid();
            assert_eq!(owner, 0, "it may have a second name in a release");
        }
    }
}

#[test]
fn unreadable_fence_is_not_taken_for_an_emptied_one() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root gives files away");
        return;
    }
    for shell in 0..SHELLS.len() {
        let tree = first_tree();
        let (host, first) = given_away(shell, &tree);
        let fence = host.path().join(".tagship/fence-1");
        run("chmod 700", &fence);
        chown(&fence, Some(0), Some(0)).unwrap();
        let Err(HostError::Refused(why)) = release(&host, 2, &tree, &first) else {
            panic!("it has written there");
        };
        assert!(why.contains("fence-2: Permission denied"), "{why}");
        assert!(why.contains("-exec chown"), "{why}");
        assert!(!why.contains("was emptied"), "{why}");
    }
}

#[test]
fn immutable_directory_is_named_as_such() {
    for shell in SHELLS {
        for path in [".tagship", "releases"] {
            // tmpfs has no immutable files.
            let host = Host::on_disk(shell, "shop");
            let tree = first_tree();
            let first = tree.release("r1");
            host.stage(1, &tree, &first);
            host.publish(1, &first, "1").unwrap();
            let chattr = |flag: &str| {
                let path = host.path().join(path);
                let status = Command::new("chattr").arg(flag).arg(path).output();
                status.is_ok_and(|output| output.status.success())
            };
            if !chattr("+i") {
                eprintln!("SKIPPED: only root makes directories immutable, on a disk that can");
                return;
            }
            let answer = release(&host, 2, &tree, &first);
            assert!(chattr("-i"));
            let Err(HostError::Refused(why)) = answer else {
                panic!("{path}: {answer:?}");
            };
            assert!(why.contains("Operation not permitted"), "{why}");
            assert!(why.contains("immutable"), "{why}");
            assert!(!why.contains("was emptied"), "{why}");
        }
    }
}
