//! The life of a release on a host: staged, switched to, replaced, deleted.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use tagship::domain::host::{Existing, HostError, HostState, Release, Reply, TransferSet};
use tagship::hosts::publish;
use tagship::hosts::sync::rsync::TransferEnd;
use tagship_tests::eventually::eventually;

use crate::hostops::local_host::{Host, Mounted, SHELLS, Tree, digest_of, picture_of};

const HOUR_1: u64 = 1_700_000_000;
const HOUR_2: u64 = 1_700_003_600;

/// Names that reveal every quoting mistake.
pub(crate) fn first_tree() -> Tree {
    let tree = Tree::new();
    tree.file("index.php", "one", 0o644, HOUR_1)
        .file("bin/run", "#!/bin/sh\n", 0o755, HOUR_1)
        .file("bin/mode", "same bytes", 0o644, HOUR_1)
        .file("with space/new\nline", "n", 0o644, HOUR_1)
        .file("-rf", "dash", 0o644, HOUR_1)
        .file("#hash", "hash", 0o644, HOUR_1)
        .file(";semi", "semi", 0o644, HOUR_1)
        .file("it's \"quoted\" $(x)", "q", 0o644, HOUR_1)
        .file("größe/été", "ü", 0o644, HOUR_1)
        .file("deep/er/and/deeper", "d", 0o644, HOUR_1)
        .file("was-file", "f", 0o644, HOUR_1)
        .file("was-dir/inside", "i", 0o644, HOUR_1)
        .file("was-link-target", "t", 0o644, HOUR_1)
        .link("link", "index.php")
        .link("was-link", "was-link-target")
        .link("log", "../../shared/log");
    tree
}

/// Every kind of change at once, and the paths as a manifest's difference lists them.
fn second_tree(first: &Tree) -> (Tree, TransferSet, Vec<&'static [u8]>) {
    let tree = first.twin();
    tree.file("index.php", "two", 0o644, HOUR_2)
        .file("bin/mode", "same bytes", 0o755, HOUR_1)
        .file("with space/new\nline", "m", 0o644, HOUR_2)
        .file("-rf", "DASH", 0o644, HOUR_2)
        .file("#hash", "HASH", 0o644, HOUR_2)
        .file(";semi", "SEMI", 0o644, HOUR_2)
        .file("brand/new", "new", 0o644, HOUR_2)
        .without("deep")
        .without("was-file")
        .file("was-file/now/dir", "x", 0o644, HOUR_2)
        .without("was-dir")
        .file("was-dir", "x", 0o644, HOUR_2)
        .without("was-link")
        .file("was-link", "x", 0o644, HOUR_2)
        .without("link")
        .link("link", "bin/run");
    let changed = [
        "index.php",
        "bin/mode",
        "with space/new\nline",
        "-rf",
        "#hash",
        ";semi",
        "brand/new",
        "was-file/now/dir",
        "was-dir",
        "was-link",
        "link",
    ];
    let changed = changed
        .iter()
        .map(|path| path.as_bytes().to_vec())
        .collect();
    let removed = vec![&b"deep"[..], b"was-file", b"was-dir", b"was-link"];
    (tree, TransferSet::Changed(changed), removed)
}

#[test]
fn first_release_is_complete_without_a_previous_one() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let tree = first_tree();
        let first = tree.release("20261121-160314-3f2a9c1");
        let reply = host.prepare(7, &first, None, &[]).unwrap();
        let state = HostState {
            fence: 7,
            ..HostState::default()
        };
        assert_eq!(
            reply,
            Reply::Prepared {
                state,
                staged: false,
                based: false,
                shared_faults: vec![],
                apart: false,
            }
        );
        assert!(host.path().join("shared/public/up loads").is_dir());
        assert_eq!(
            host.transfer(7, tree.path(), &TransferSet::Whole),
            TransferEnd::Complete
        );
        assert_eq!(
            host.inspect().unwrap().releases,
            [],
            "nothing is complete before the seal"
        );
        assert_eq!(host.seal(7, &first), Ok(Reply::Sealed));
        assert_eq!(picture_of(&host.release(&first)), picture_of(tree.path()));
        assert_eq!(host.live(), None, "staging switches nothing");
        assert_eq!(host.publish(7, &first, "1-switch"), Ok(None));
        assert_eq!(host.live(), Some(first.id.0.clone()));
        let state = HostState {
            live: Some(first.id.clone()),
            releases: vec![first],
            fence: 7,
            changed: host.inspect().unwrap().changed,
            ..HostState::default()
        };
        assert!(state.changed.is_some());
        assert_eq!(host.inspect(), Ok(state));
    }
}

#[test]
fn next_release_links_unchanged_files_and_keeps_the_last() {
    for shell in SHELLS {
        for by_link_dest in [false, true] {
            let host = Host::new(shell);
            let tree = first_tree();
            let first = tree.release("r1");
            host.stage(1, &tree, &first);
            host.publish(1, &first, "1").unwrap();
            let before = picture_of(&host.release(&first));
            let (next_tree, changed, removed) = second_tree(&tree);
            let second = next_tree.release("r2");

            let base = (!by_link_dest).then_some(&first);
            let reply = host.prepare(2, &second, base, &removed).unwrap();
            let Reply::Prepared {
                staged: false,
                based,
                ..
            } = reply
            else {
                panic!("{reply:?}");
            };
            assert_eq!(based, !by_link_dest);
            let set = if by_link_dest {
                TransferSet::LinkDest(first.id.clone())
            } else {
                changed
            };
            assert_eq!(
                host.transfer(2, next_tree.path(), &set),
                TransferEnd::Complete
            );
            assert_eq!(host.seal(2, &second), Ok(Reply::Sealed));

            assert_eq!(
                picture_of(&host.release(&second)),
                picture_of(next_tree.path())
            );
            assert_eq!(
                picture_of(&host.release(&first)),
                before,
                "through a hard link"
            );
            let inode = |release: &Release, path: &str| {
                host.release(release)
                    .join(path)
                    .symlink_metadata()
                    .unwrap()
                    .ino()
            };
            for same in ["bin/run", "größe/été"] {
                assert_eq!(inode(&first, same), inode(&second, same), "{same}");
            }
            for other in ["index.php", "bin/mode"] {
                assert_ne!(inode(&first, other), inode(&second, other), "{other}");
            }
            assert_eq!(host.publish(2, &second, "2"), Ok(Some("r1".into())));
            assert_eq!(
                host.publish(3, &first, "3"),
                Ok(Some("r2".into())),
                "the way back"
            );
            assert_eq!(host.live().as_deref(), Some("r1"));
        }
    }
}

#[test]
fn a_release_whose_manifest_is_lost_is_compared_and_not_touched() {
    let host = Host::new(SHELLS[0]);
    let tree = first_tree();
    let first = tree.release("r1");
    host.stage(1, &tree, &first);
    host.publish(1, &first, "1").unwrap();
    std::fs::remove_file(host.path().join(".tagship/manifests/r1")).unwrap();
    assert_eq!(host.inspect().unwrap().releases, []);
    let before = picture_of(&host.release(&first));

    let next_tree = tree.twin();
    // The same bytes with other times: the agent no longer knows those of the host.
    next_tree.file("index.php", "one", 0o644, HOUR_2);
    let second = next_tree.release("r2");
    host.prepare(2, &second, None, &[]).unwrap();
    let set = TransferSet::Compare(first.id.clone());
    assert_eq!(
        host.transfer(2, next_tree.path(), &set),
        TransferEnd::Complete
    );
    assert_eq!(host.seal(2, &second), Ok(Reply::Sealed));
    assert_eq!(picture_of(&host.release(&first)), before);
    assert_eq!(host.inspect().unwrap().releases, [second]);
}

#[test]
fn modified_base_release_is_not_used() {
    let host = Host::new(SHELLS[0]);
    let tree = first_tree();
    let first = tree.release("r1");
    host.stage(1, &tree, &first);
    host.publish(1, &first, "1").unwrap();
    std::fs::write(host.release(&first).join("upload.jpg"), "from a visitor").unwrap();
    let (next_tree, _, removed) = second_tree(&tree);
    let second = next_tree.release("r2");
    let reply = host.prepare(2, &second, Some(&first), &removed).unwrap();
    assert!(
        matches!(
            reply,
            Reply::Prepared {
                based: false,
                staged: false,
                ..
            }
        ),
        "{reply:?}"
    );
    let set = TransferSet::LinkDest(first.id.clone());
    assert_eq!(
        host.transfer(2, next_tree.path(), &set),
        TransferEnd::Complete
    );
    assert_eq!(host.seal(2, &second), Ok(Reply::Sealed));
}

#[test]
fn every_host_operation_is_idempotent() {
    let host = Host::new(SHELLS[0]);
    let tree = first_tree();
    let first = tree.release("r1");
    for _ in 0..2 {
        host.prepare(1, &first, None, &[]).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(
            host.transfer(1, tree.path(), &TransferSet::Whole),
            TransferEnd::Complete
        );
    }
    for _ in 0..2 {
        assert_eq!(host.seal(1, &first), Ok(Reply::Sealed));
    }
    let reply = host.prepare(1, &first, None, &[]).unwrap();
    assert!(
        matches!(reply, Reply::Prepared { staged: true, .. }),
        "{reply:?}"
    );
    for _ in 0..2 {
        assert_eq!(host.publish(1, &first, "1"), Ok(None));
    }
    let (next_tree, _, _) = second_tree(&tree);
    let second = next_tree.release("r2");
    host.stage(2, &next_tree, &second);
    for _ in 0..2 {
        assert_eq!(host.publish(2, &second, "2"), Ok(Some("r1".into())));
    }
}

#[test]
fn altered_transfer_is_never_sealed() {
    let host = Host::new(SHELLS[0]);
    let tree = first_tree();
    let first = tree.release("r1");
    let partial = || host.path().join(".tagship/fence-1/partial");
    let spoils: [(&str, &dyn Fn()); 4] = [
        ("a file too much", &|| {
            std::fs::write(partial().join("extra"), "x").unwrap();
        }),
        ("a file too few", &|| {
            std::fs::remove_file(partial().join("-rf")).unwrap();
        }),
        ("another mode", &|| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(partial().join("index.php"), mode).unwrap();
        }),
        ("another link", &|| {
            std::fs::remove_file(partial().join("link")).unwrap();
            std::os::unix::fs::symlink("elsewhere", partial().join("link")).unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        host.prepare(1, &first, None, &[]).unwrap();
        assert_eq!(
            host.transfer(1, tree.path(), &TransferSet::Whole),
            TransferEnd::Complete
        );
        spoil();
        assert!(
            matches!(host.seal(1, &first), Err(HostError::Refused(_))),
            "{what}"
        );
        assert!(!host.release(&first).exists(), "{what}");
        assert!(
            matches!(host.publish(1, &first, "1"), Err(HostError::Refused(_))),
            "{what}"
        );
    }
    host.stage(1, &tree, &first);
}

#[test]
fn killed_transfer_does_not_block_the_next() {
    let host = Host::new(SHELLS[0]);
    let tree = Tree::new();
    tree.file("big", &"x".repeat(4 << 20), 0o644, HOUR_1)
        .file("small", "s", 0o644, HOUR_1);
    let first = tree.release("r1");
    host.prepare(1, &first, None, &[]).unwrap();
    let fence = host.path().join(".tagship/fence-1");
    let mut slow = host.transfer_command(1, tree.path(), &TransferSet::Whole);
    let mut slow = slow.arg("--bwlimit=200").process_group(0).spawn().unwrap();
    eventually("something is being written", || {
        let written = |directory: &str| {
            std::fs::read_dir(fence.join(directory))
                .unwrap()
                .any(|entry| {
                    entry
                        .unwrap()
                        .file_name()
                        .to_str()
                        .unwrap()
                        .contains("big.")
                })
        };
        (written("temporary") || written("partial")).then_some(())
    });
    let group = format!("-{}", slow.id());
    let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
    assert!(killed.unwrap().success());
    slow.wait().unwrap();
    assert_eq!(
        host.transfer(1, tree.path(), &TransferSet::Whole),
        TransferEnd::Complete
    );
    assert_eq!(host.seal(1, &first), Ok(Reply::Sealed));
    host.prepare(2, &tree.release("r2"), None, &[]).unwrap();
    let left = std::fs::read_dir(host.path().join(".tagship/fence-2/temporary"));
    assert_eq!(left.unwrap().count(), 0, "and it goes");
}

#[test]
fn differing_release_is_sent_again_unless_live() {
    let host = Host::new(SHELLS[0]);
    let tree = first_tree();
    let first = tree.release("r1");
    host.stage(1, &tree, &first);
    std::fs::write(host.release(&first).join("index.php"), "changed").unwrap();
    let reply = host.prepare(1, &first, None, &[]).unwrap();
    assert!(
        matches!(reply, Reply::Prepared { staged: false, .. }),
        "{reply:?}"
    );
    assert!(!host.release(&first).exists());
    host.stage(1, &tree, &first);
    host.publish(1, &first, "1").unwrap();
    std::fs::write(host.release(&first).join("index.php"), "changed").unwrap();
    assert!(matches!(
        host.prepare(1, &first, None, &[]),
        Err(HostError::Refused(_))
    ));
    assert_eq!(host.live().as_deref(), Some("r1"));
}

#[test]
fn cleanup_keeps_live_protected_and_newest_releases() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let tree = Tree::new();
        tree.file("a", "a", 0o644, HOUR_1);
        let releases: Vec<Release> = (1..=8).map(|n| tree.release(&format!("r{n}"))).collect();
        for release in &releases {
            host.stage(1, &tree, release);
        }
        let of = |n: usize| &releases[n - 1];
        host.publish(1, of(2), "1").unwrap();
        let foreign = host.path().join("releases/by-hand");
        std::fs::create_dir(&foreign).unwrap();

        // Live r2, protected r3, failed r8: of r1 and r4 to r7, two may stay beside r2 and r3.
        let deleted = host.prune(1, 4, &[of(3)], &[of(8)]).unwrap();
        assert_eq!(deleted, ["r8", "r5", "r4", "r1"]);
        let state = host.inspect().unwrap();
        let names: Vec<&str> = state.releases.iter().map(|r| r.id.0.as_str()).collect();
        assert_eq!(names, ["r2", "r3", "r6", "r7"]);
        for n in [1, 4, 5, 8] {
            assert!(!host.release(of(n)).exists());
        }
        assert!(
            foreign.exists(),
            "what tagship did not bring is not its to delete"
        );
        assert_eq!(host.prune(1, 4, &[of(3)], &[of(8)]).unwrap(), [""; 0]);
        assert_eq!(host.prune(1, 0, &[], &[of(2)]).unwrap(), ["r7", "r6", "r3"]);
        assert_eq!(host.live().as_deref(), Some("r2"));
        assert_eq!(digest_of(&host.release(of(2))), of(2).digest);
    }
}

#[test]
fn new_host_can_be_inspected() {
    let host = Host::new(SHELLS[0]);
    assert_eq!(host.inspect(), Ok(HostState::default()));
    assert_eq!(host.prune(1, 3, &[], &[]), Ok(vec![]));
    assert!(!host.path().exists(), "asking makes nothing");
}

/// On a file system of 2 MiB.
#[test]
fn full_disk_is_reported_and_leaves_no_partial_release() {
    let host = Host::new(SHELLS[0]);
    std::fs::create_dir(host.path()).unwrap();
    let options = ["-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs"];
    let Some(_mounted) = Mounted::at(host.path(), &options) else {
        return;
    };
    let tree = Tree::new();
    tree.file("small", "s", 0o644, HOUR_1);
    let small = tree.release("r1");
    host.stage(1, &tree, &small);
    host.publish(1, &small, "1").unwrap();
    let big_tree = tree.twin();
    big_tree.file("big", &"x".repeat(4 << 20), 0o644, HOUR_2);
    let big = big_tree.release("r2");
    host.prepare(2, &big, Some(&small), &[]).unwrap();
    let TransferEnd::Failed(why) =
        host.transfer(2, big_tree.path(), &TransferSet::LinkDest(small.id.clone()))
    else {
        panic!("4 MiB do not fit into 2");
    };
    assert!(why.contains("free space"), "{why}");
    assert!(matches!(host.seal(2, &big), Err(HostError::Refused(_))));
    assert_eq!(host.live().as_deref(), Some("r1"));
    assert_eq!(digest_of(&host.release(&small)), small.digest);
    // The next attempt removes what is left of it.
    host.stage(3, &tree, &tree.release("r3"));
}

/// Another release goes live after a task's inspection and before its switch.
#[test]
fn switch_leaves_an_unexpected_live_release_alone() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let one = Tree::new();
        one.file("index.php", "one", 0o644, HOUR_1);
        let releases = ["r1", "r2", "r3"].map(|name| one.release(name));
        for release in &releases {
            host.stage(1, &one, release);
        }
        let [r1, r2, r3] = &releases;
        assert_eq!(host.publish(1, r1, "1-forward"), Ok(None));
        assert_eq!(
            host.publish(2, r3, "3-forward").unwrap().as_deref(),
            Some("r1")
        );
        let switch = |over: &[&Release]| {
            let over: Vec<_> = over.iter().map(|release| release.id.clone()).collect();
            let script = publish::publish(
                &host.place(3),
                host.seq(),
                &r2.id,
                &over,
                "2-forward",
                Existing::Equal,
            );
            publish::read_published(&host.ask(3, &script.unwrap())?)
        };
        for over in [&[][..], &[r1]] {
            let live = r3.id.clone();
            assert_eq!(switch(over), Ok(Reply::Occupied { live }));
            assert_eq!(host.live().as_deref(), Some("r3"));
        }
        // Nothing was recorded under its key.
        let Ok(Reply::Published { was, .. }) = switch(&[r1, r3]) else {
            panic!("nothing was switched");
        };
        assert_eq!(was.as_ref(), Some(&r3.id));
        assert_eq!(host.live().as_deref(), Some("r2"));
    }
}
