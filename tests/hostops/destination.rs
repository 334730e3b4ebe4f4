//! Where releases go on a host: places that cannot be one, that are not there yet, that somebody else
//! made, and to whom the files belong.

use std::os::unix::fs::MetadataExt;

use tagship::host::{Existing, HostError, Reply, TransferSet};
use tagship::sync::rsync::End;

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
    let turn = tagship::remote::script::Turn(1);
    let script =
        tagship::sync::prepare(&place, turn, &first, None, &[], &[], Existing::Equal).unwrap();
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
        tagship::sync::prepare(&place, host.turn(), &first, None, &[], &[], Existing::Equal)
            .unwrap();
    host.ask(1, &[b"umask 077\n", &script[..]].concat())
        .unwrap();
    assert_eq!(
        host.transfer(1, tree.path(), &TransferSet::Whole),
        End::Complete
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
    let turn = tagship::remote::script::Turn(1);
    let script =
        tagship::sync::prepare(&place, turn, &first, None, &[], &[], Existing::Equal).unwrap();
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
