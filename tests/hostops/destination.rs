//! Where releases go on a host: places that cannot be one, that are not there yet, that somebody else
//! made, and to whom the files belong.

use std::os::unix::fs::MetadataExt;

use tagship::domain::host::{BrokenCurrent, Existing, HostError, Release, Reply, TransferSet};
use tagship::hosts::sync::rsync::TransferEnd;

use crate::place::{Host, SHELLS};
use crate::release::first_tree;

#[test]
fn what_cannot_be_a_place_is_refused_with_a_remedy() {
    let refusal = |result: Result<_, HostError>| match result {
        Err(HostError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let tree = first_tree();
    let first = tree.release("r1");

    let host = Host::new(SHELLS[0]);
    std::fs::create_dir_all(host.path().join("current")).unwrap();
    let why = refusal(host.prepare(1, &first, None, &[]));
    assert!(
        why.contains("no symbolic link") && why.contains("deploy_to"),
        "{why}"
    );

    let host = Host::new(SHELLS[0]);
    std::fs::create_dir_all(host.path()).unwrap();
    std::os::unix::fs::symlink("a/\u{1b}[2J", host.path().join("current")).unwrap();
    let why = refusal(host.prepare(1, &first, None, &[]));
    assert!(why.contains("control characters"), "{why}");

    let mut place = Host::new(SHELLS[0]).place(1);
    place.deploy_to = "/dev/null/at all".into();
    let turn = tagship::hosts::remote::script::OpSequence(1);
    let script =
        tagship::hosts::sync::prepare(&place, turn, &first, None, &[], &[], Existing::Equal)
            .unwrap();
    let why = refusal(Host::new(SHELLS[0]).ask(1, &script).map(|_| Reply::Sealed));
    assert!(
        why.contains("/dev/null/at all") && why.contains("mkdir -p"),
        "{why}"
    );
}

#[test]
fn a_narrow_mask_of_the_user_narrows_no_release() {
    let host = Host::new(SHELLS[0]);
    let tree = first_tree();
    let first = tree.release("r1");
    let place = host.place(1);
    let script =
        tagship::hosts::sync::prepare(&place, host.turn(), &first, None, &[], &[], Existing::Equal)
            .unwrap();
    host.ask(1, &[b"umask 077\n", &script[..]].concat())
        .unwrap();
    assert_eq!(
        host.transfer(1, tree.path(), &TransferSet::Whole),
        TransferEnd::Complete
    );
    host.seal(1, &first).unwrap();
    for path in ["", "releases", "releases/r1", "releases/r1/bin"] {
        let mode = host.path().join(path).metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o755, "{path:?}");
    }
}

#[test]
fn a_missing_place_is_made_with_its_parents() {
    let host = Host::new(SHELLS[0]);
    let tree = first_tree();
    let mut place = host.place(1);
    place.deploy_to.push_str("/with/parents");
    let first = tree.release("r1");
    let turn = tagship::hosts::remote::script::OpSequence(1);
    let script =
        tagship::hosts::sync::prepare(&place, turn, &first, None, &[], &[], Existing::Equal)
            .unwrap();
    host.ask(1, &script).unwrap();
    assert!(host.path().join("with/parents/releases").is_dir());
}

#[test]
fn an_owner_that_cannot_be_given_is_refused_and_one_that_can_is_had() {
    use std::os::unix::fs::MetadataExt as _;
    let host = Host::new(SHELLS[0]);
    let tree = first_tree();
    let first = tree.release("r1");
    host.prepare(1, &first, None, &[]).unwrap();
    host.transfer(1, tree.path(), &TransferSet::Whole);
    let Err(HostError::Refused(why)) = host.seal_for(1, &first, Some("no-such-user")) else {
        panic!("an unknown owner was taken");
    };
    assert!(
        why.contains("no-such-user") && why.contains("owner"),
        "{why}"
    );
    assert!(!host.release(&first).exists(), "nothing half made");
    host.prepare(1, &first, None, &[]).unwrap();
    host.transfer(1, tree.path(), &TransferSet::Whole);
    let own = std::fs::metadata(tree.path()).unwrap().uid();
    assert_eq!(
        host.seal_for(1, &first, Some(&own.to_string())),
        Ok(Reply::Sealed)
    );
}

#[test]
fn look_says_what_is_in_the_place_of_current() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let tree = first_tree();
        let first = tree.release("r1");
        host.stage(1, &tree, &first);
        host.publish(1, &first, "1-forward").unwrap();
        let current = host.path().join("current");
        let looked = || {
            let standing = host.inspect().unwrap();
            (standing.live.map(|live| live.0), standing.broken)
        };
        let live = Some("r1".to_owned());
        assert_eq!(looked(), (live.clone(), None), "{shell:?}");
        let lead = |to: &str| {
            let _ = std::fs::remove_file(&current);
            std::os::unix::fs::symlink(to, &current).unwrap();
        };
        lead("/nowhere/v3");
        let dangling = Some(BrokenCurrent::Dangling);
        assert_eq!(looked(), (Some("/nowhere/v3".to_owned()), dangling));
        lead("a\u{1b}[2J/b");
        assert_eq!(looked(), (None, Some(BrokenCurrent::Text)));
        lead("releases/r1");
        std::fs::rename(host.path().join("releases"), host.path().join("moved")).unwrap();
        assert_eq!(looked(), (live, dangling));
        std::fs::remove_file(&current).unwrap();
        assert_eq!(looked(), (None, None), "it is missing");
        std::fs::write(&current, "").unwrap();
        assert_eq!(looked(), (None, Some(BrokenCurrent::File)));
        std::fs::remove_file(&current).unwrap();
        std::fs::create_dir(&current).unwrap();
        assert_eq!(looked(), (None, Some(BrokenCurrent::Directory)));
    }
}

/// Another tool links to a directory within a release.
#[test]
fn release_in_which_current_leads_is_never_deleted() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let tree = first_tree();
        let releases = ["r1", "r2", "r3"].map(|id| tree.release(id));
        for (number, release) in (1..).zip(&releases) {
            host.stage(number, &tree, release);
            host.publish(number, release, &format!("{number}-forward"))
                .unwrap();
        }
        let current = host.path().join("current");
        for led in ["releases/r1/bin", "./releases/../releases/r1/bin"] {
            std::fs::remove_file(&current).unwrap();
            std::os::unix::fs::symlink(led, &current).unwrap();
            let deleted = host.prune(3, 0, &[], &[&releases[0]]).unwrap();
            assert!(!deleted.contains(&"r1".to_owned()), "{led}: {deleted:?}");
            assert!(host.path().join("current/.").is_dir(), "{led}");
            // Nor is it taken for one that may be made again.
            let other = Release {
                digest: tagship::domain::host::TreeDigest("0".repeat(64)),
                ..releases[0].clone()
            };
            let refused = host.prepare(3, &other, None, &[]);
            let Err(HostError::Refused(why)) = refused else {
                panic!("{led}: {refused:?}");
            };
            assert!(why.contains("is live"), "{why}");
        }
    }
}
