//! Changes in a new release do not reach the live one, and a service's changes to directories of
//! the live one do not reach the new one. Also leftovers that the login user cannot delete.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use tagship::domain::host::{HostError, Inodes, Release, Reply, TransferSet};
use tagship::hosts::sync::rsync::TransferEnd;

use crate::hostops::local_host::{Host, Mounted, SERVICE, SHELLS, Tree, picture_of};
use crate::hostops::release::first_tree;

const HOUR: u64 = 1_700_000_000;

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Bytes, modes, times, owners and inodes of everything that is not a directory.
fn inodes_of(path: &Path) -> String {
    let find = "find . ! -type d -printf '%i %m %U %G %T@ %P\\n' | sort";
    let Output { stdout, .. } = Command::new("sh")
        .args(["-c", find])
        .current_dir(path)
        .output()
        .unwrap();
    picture_of(path) + &String::from_utf8(stdout).unwrap()
}

/// A host whose release r1 is live.
fn live(shell: &'static [&'static str], tree: &Tree) -> (Host, Release) {
    let host = Host::named(shell, "shop");
    let first = tree.release("r1");
    host.stage(1, tree, &first);
    host.publish(1, &first, "1").unwrap();
    (host, first)
}

/// Staged from the live release by a copy on the host, or by rsync alone.
fn staged_from(host: &Host, tree: &Tree, (first, second): (&Release, &Release), copied: bool) {
    let base = copied.then_some(first);
    host.prepare(2, second, base, &[]).unwrap();
    let set = match copied {
        true => TransferSet::Changed(Vec::new()),
        false => TransferSet::LinkDest(first.id.clone()),
    };
    if set != TransferSet::Changed(Vec::new()) {
        assert_eq!(host.transfer(2, tree.path(), &set), TransferEnd::Complete);
    }
}

#[test]
fn step_before_publish_changes_nothing_of_the_live_release() {
    for shell in SHELLS {
        for copied in [true, false] {
            let tree = first_tree();
            let (host, first) = live(shell, &tree);
            let before = inodes_of(&host.release(&first));
            let second = tree.release("r2");
            host.inodes.set(Inodes::Own);
            staged_from(&host, &tree, (&first, &second), copied);
            host.seal(2, &second).unwrap();

            let file = host.release(&second).join("index.php");
            let mut writer = std::fs::File::options().append(true).open(&file).unwrap();
            writer.write_all(b"built").unwrap();
            chmod(&file, 0o600);
            writer
                .set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
            let other = host.release(&second).join("bin/run");
            if rustix::process::geteuid().is_root() {
                chown(&other, Some(SERVICE), Some(SERVICE)).unwrap();
            }
            assert_eq!(inodes_of(&host.release(&first)), before, "copied: {copied}");
        }
    }
}

#[test]
fn change_of_owner_changes_nothing_of_the_live_release() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root gives files away");
        return;
    }
    for shell in SHELLS {
        for copied in [true, false] {
            let tree = first_tree();
            let (host, first) = live(shell, &tree);
            let before = inodes_of(&host.release(&first));
            let owner = format!("{SERVICE}:{SERVICE}");
            let second = tree.release("r2");
            staged_from(&host, &tree, (&first, &second), copied);
            host.seal_for(2, &second, Some(&owner)).unwrap();
            assert_eq!(inodes_of(&host.release(&first)), before, "copied: {copied}");
            let given = host.release(&second);
            for path in ["", "index.php", "bin", "link"] {
                let metadata = given.join(path).symlink_metadata().unwrap();
                assert_eq!(
                    (metadata.uid(), metadata.gid()),
                    (SERVICE, SERVICE),
                    "{path}"
                );
            }
            // From here on nothing changes its owner, and files are shared again.
            host.publish(2, &second, "2").unwrap();
            let third = tree.release("r3");
            staged_from(&host, &tree, (&second, &third), copied);
            host.seal_for(2, &third, Some(&owner)).unwrap();
            let inode = |release| host.release(release).join("index.php").metadata().unwrap();
            assert_eq!(inode(&third).ino(), inode(&second).ino());
        }
    }
}

#[test]
fn directories_come_from_the_commit_not_the_live_release() {
    for shell in SHELLS {
        for copied in [true, false] {
            let tree = first_tree();
            let (host, first) = live(shell, &tree);
            let of_live = host.release(&first);
            std::fs::create_dir_all(of_live.join("tmp/of/the service")).unwrap();
            std::fs::create_dir(of_live.join("deep/er/empty")).unwrap();
            for (path, mode) in [
                ("bin", 0o700),
                ("deep", 0o1777),
                ("was-dir", 0o2770),
                ("", 0o711),
            ] {
                chmod(&of_live.join(path), mode);
            }
            if rustix::process::geteuid().is_root() {
                chown(of_live.join("größe"), Some(SERVICE), Some(SERVICE)).unwrap();
            }
            let second = tree.release("r2");
            staged_from(&host, &tree, (&first, &second), copied);
            host.seal(2, &second).unwrap();
            let new = host.release(&second);
            assert_eq!(
                picture_of(&new),
                picture_of(tree.path()),
                "copied: {copied}"
            );
            let own = host.path().metadata().unwrap().uid();
            for path in ["", "bin", "deep", "deep/er", "was-dir", "größe"] {
                let metadata = new.join(path).metadata().unwrap();
                let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
                assert_eq!((mode, owner), (0o755, own), "{path:?}, copied: {copied}");
            }
        }
    }
}

/// An operator moved the live release to another disk, and left a link.
#[test]
fn release_behind_a_link_is_never_changed() {
    for shell in SHELLS {
        let tree = first_tree();
        let (host, first) = live(shell, &tree);
        let moved = host.path().join("moved");
        std::fs::rename(host.release(&first), &moved).unwrap();
        symlink(&moved, host.release(&first)).unwrap();
        let before = inodes_of(&moved);

        let next = tree.twin();
        next.file("index.php", "two", 0o644, HOUR + 60)
            .without("was-file");
        let second = next.release("r2");
        let prepared = host.prepare(2, &second, Some(&first), &[b"was-file"]);
        assert!(
            matches!(prepared, Ok(Reply::Prepared { based: true, .. })),
            "{prepared:?}"
        );
        let changed = TransferSet::Changed(vec![b"index.php".to_vec()]);
        assert_eq!(
            host.transfer(2, next.path(), &changed),
            TransferEnd::Complete
        );
        host.seal(2, &second).unwrap();
        assert_eq!(inodes_of(&moved), before, "{shell:?}");
        let made = host.release(&second);
        assert!(made.symlink_metadata().unwrap().is_dir());
        assert_eq!(picture_of(&made), picture_of(next.path()));

        // Of an old release the link is deleted, never what it points to.
        host.publish(2, &second, "2").unwrap();
        std::fs::rename(&moved, host.path().join("unmounted")).unwrap();
        assert_eq!(host.prune(2, 1, &[], &[]).unwrap(), [""; 0]);
        std::fs::rename(host.path().join("unmounted"), &moved).unwrap();
        assert_eq!(host.prune(2, 1, &[], &[]).unwrap(), ["r1"]);
        assert_eq!(inodes_of(&moved), before, "{shell:?}");
    }
}

#[test]
fn partial_release_that_is_a_link_is_refused() {
    let tree = first_tree();
    let (host, first) = live(SHELLS[0], &tree);
    let second = tree.release("r2");
    host.prepare(2, &second, None, &[]).unwrap();
    let partial = host.path().join(".tagship/fence-2/partial");
    std::fs::remove_dir(&partial).unwrap();
    symlink(host.release(&first), &partial).unwrap();
    let sealed = host.seal(2, &second);
    assert!(matches!(sealed, Err(HostError::Refused(_))), "{sealed:?}");
    assert!(!host.release(&second).exists());
}

#[test]
fn set_id_bits_of_directories_stay_out_of_a_release() {
    for shell in SHELLS {
        for (inodes, copied) in [
            (Inodes::Shared, true),
            (Inodes::Own, true),
            (Inodes::Own, false),
        ] {
            let tree = first_tree();
            let host = Host::named(shell, "shop");
            // Every directory that is made below inherits set-gid.
            std::fs::create_dir(host.path()).unwrap();
            chmod(&host.path(), 0o2755);
            let [first, second] = ["r1", "r2"].map(|name| tree.release(name));
            host.stage(1, &tree, &first);
            host.publish(1, &first, "1").unwrap();
            for (path, mode) in [("bin", 0o2755), ("deep", 0o4755), ("deep/er", 0o6700)] {
                chmod(&host.release(&first).join(path), mode);
            }
            host.inodes.set(inodes);
            staged_from(&host, &tree, (&first, &second), copied);
            let is_root = rustix::process::geteuid().is_root();
            let owner = is_root.then(|| SERVICE.to_string());
            host.seal_for(2, &second, owner.as_deref()).unwrap();
            for path in ["", "bin", "deep", "deep/er"] {
                let metadata = host.release(&second).join(path).metadata().unwrap();
                let mode = metadata.mode() & 0o7777;
                assert_eq!(mode, 0o755, "{path:?}, {inodes:?}, copied: {copied}");
            }
        }
    }
}

/// Makes files that not even root can delete, if the file system supports that.
fn immutable(path: &Path, flag: &str) -> bool {
    let chattr = Command::new("chattr").args(["-R", flag]).arg(path).output();
    chattr.is_ok_and(|output| output.status.success())
}

#[test]
fn read_only_release_directories_are_deleted() {
    for shell in SHELLS {
        let tree = first_tree();
        let (host, first) = live(shell, &tree);
        let second = tree.release("r2");
        host.stage(2, &tree, &second);
        host.publish(2, &second, "2").unwrap();
        for path in ["deep/er", "deep", "bin", ""] {
            chmod(&host.release(&first).join(path), 0o555);
        }
        assert_eq!(host.prune(2, 1, &[], &[]).unwrap(), ["r1"]);
        assert!(!host.path().join(".tagship/trash").exists());
    }
}

#[test]
fn leftovers_are_set_aside_and_reported_until_deleted() {
    for shell in SHELLS {
        // tmpfs has no immutable files.
        let host = Host::on_disk(shell, "shop");
        let tree = Tree::new();
        tree.file("a", "a", 0o644, HOUR);
        let releases = ["r1", "r2", "r3", "r4"].map(|name| tree.release(name));
        host.stage(1, &tree, &releases[0]);
        let log = host.release(&releases[0]).join("log");
        std::fs::create_dir(&log).unwrap();
        std::fs::write(log.join("prod.log"), "x").unwrap();
        if !immutable(&log, "+i") {
            eprintln!("SKIPPED: only root makes files immutable, on a disk that knows them");
            return;
        }
        let trash = host.path().join(".tagship/trash/r1");
        for (fence, release) in (2..).zip(&releases[1..]) {
            host.stage(fence, &tree, release);
            host.publish(fence, release, &fence.to_string()).unwrap();
            let (deleted, left) = host.pruned(fence, 1, &[], &[]).unwrap();
            let [left] = left.as_slice() else {
                panic!("{left:?}");
            };
            assert_eq!(left.path, trash.to_str().unwrap());
            assert!(left.reason.contains("not permitted"), "{left}");
            assert!(left.to_string().contains("rm -rf"), "{left}");
            assert_eq!(deleted.len(), 1, "the release before goes all the same");
            let names = std::fs::read_dir(host.path().join("releases")).unwrap();
            assert_eq!(names.count(), 1);
        }
        assert!(immutable(&trash, "-i"));
        assert_eq!(host.prune(9, 1, &[], &[]).unwrap(), [""; 0]);
        assert!(!trash.exists());
    }
}

/// Its parts are of another user, so that they cannot be moved to another directory, or are mounted.
#[test]
fn leftover_of_a_transfer_is_set_aside_and_reported() {
    for shell in SHELLS {
        let tree = first_tree();
        let (host, _) = live(shell, &tree);
        host.prepare(2, &tree.release("r2"), None, &[]).unwrap();
        let partial = host.path().join(".tagship/fence-2/partial");
        let mounted = partial.join("uploads");
        std::fs::create_dir_all(&mounted).unwrap();
        let Some(mount) = Mounted::at(mounted.clone(), &["-t", "tmpfs", "tmpfs"]) else {
            return;
        };
        std::fs::write(mounted.join("cat.jpg"), "x").unwrap();

        let third = tree.release("r3");
        host.stage(3, &tree, &third);
        host.publish(3, &third, "3").unwrap();
        let left = host.path().join(".tagship/fence-3/left-partial");
        let (_, leftovers) = host.pruned(3, 1, &[], &[]).unwrap();
        let paths: Vec<&str> = leftovers.iter().map(|left| left.path.as_str()).collect();
        assert_eq!(paths, [left.to_str().unwrap()], "{shell:?}");
        assert!(left.join("uploads/cat.jpg").exists(), "{shell:?}");
        drop(mount);
        let unmounted = Command::new("umount").arg(left.join("uploads")).status();
        assert!(unmounted.unwrap().success());
        assert_eq!(host.prune(4, 1, &[], &[]).unwrap(), [""; 0]);
        assert!(!host.path().join(".tagship/fence-4/left-partial").exists());
    }
}

/// An agent that ended while it made `.tagship`, as another login user or on another disk.
#[test]
fn leftover_of_a_first_attempt_is_reported_until_deleted() {
    for shell in SHELLS {
        let tree = first_tree();
        let (host, _) = live(shell, &tree);
        let left = host.path().join(".tagship.new.7");
        std::fs::create_dir(&left).unwrap();
        let Some(mount) = Mounted::at(left.clone(), &["-t", "tmpfs", "tmpfs"]) else {
            return;
        };
        let (_, leftovers) = host.pruned(2, 1, &[], &[]).unwrap();
        let paths: Vec<&str> = leftovers.iter().map(|left| left.path.as_str()).collect();
        assert_eq!(paths, [left.to_str().unwrap()], "{shell:?}");
        drop(mount);
        assert_eq!(host.prune(3, 1, &[], &[]).unwrap(), [""; 0]);
        assert!(!left.exists(), "{shell:?}");
    }
}

/// Its record went when it could not be deleted.
#[test]
fn leftover_that_is_live_meanwhile_is_deleted_later() {
    for shell in SHELLS {
        let tree = first_tree();
        let (host, first) = live(shell, &tree);
        let own = host.path().join(".tagship");
        std::fs::remove_file(own.join("manifests/r1")).unwrap();
        std::fs::create_dir(own.join("trash")).unwrap();
        std::fs::write(own.join("trash/r1.stays"), "").unwrap();
        assert_eq!(host.prune(1, 1, &[], &[]).unwrap(), [""; 0]);
        assert!(host.release(&first).exists(), "{shell:?}");

        host.stage(2, &tree, &tree.release("r2"));
        let current = host.path().join("current");
        std::fs::remove_file(&current).unwrap();
        symlink("releases/r2", &current).unwrap();
        assert_eq!(host.prune(2, 1, &[], &[]).unwrap(), [""; 0]);
        assert!(!host.release(&first).exists(), "{shell:?}");
        assert!(!own.join("trash").exists(), "{shell:?}");
    }
}

#[test]
fn mounts_in_an_old_release_are_never_deleted() {
    for shell in SHELLS {
        let host = Host::named(shell, "a shop");
        let tree = Tree::new();
        tree.file("a", "a", 0o644, HOUR)
            .file("uploads/.keep", "", 0o644, HOUR);
        let [r1, r2, r3] = ["r1", "r2", "r3"].map(|name| tree.release(name));
        host.stage(1, &tree, &r1);
        host.publish(1, &r1, "1").unwrap();
        let uploads = tempfile::tempdir().unwrap();
        std::fs::write(uploads.path().join("cat.jpg"), "x").unwrap();
        let at = host.release(&r1).join("uploads");
        let Some(mounted) = Mounted::at(at, &["--bind", uploads.path().to_str().unwrap()]) else {
            return;
        };
        for (fence, release) in [(2, &r2), (3, &r3)] {
            host.stage(fence, &tree, release);
            host.publish(fence, release, &fence.to_string()).unwrap();
            let (_, left) = host.pruned(fence, 1, &[], &[]).unwrap();
            let [left] = left.as_slice() else {
                panic!("{left:?}");
            };
            assert!(left.reason.ends_with("uploads is mounted"), "{left}");
            assert!(left.to_string().contains("unmount"), "{left}");
            assert!(!left.to_string().contains("rm -rf"), "{left}");
            assert!(uploads.path().join("cat.jpg").exists());
        }
        drop(mounted);
        assert_eq!(host.pruned(4, 1, &[], &[]).unwrap().1, []);
        assert!(!host.release(&r1).exists());
        assert!(uploads.path().join("cat.jpg").exists());
    }
}
