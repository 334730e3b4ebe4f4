//! A live release whose inodes the next one cannot share.

use std::os::unix::fs::symlink;

use tagship::domain::host::TransferSet;

use crate::hostops::local_host::{Tree, digest_of};
use crate::hostops::over_ssh::{Site, publish, stage};

const HOUR: u64 = 1_700_000_000;

/// As for links of another user, rsync can hard-link no existing file.
#[tokio::test]
async fn release_is_complete_if_the_live_one_is_unlinkable() {
    let site = Site::new(1);
    let hosts = site.hosts(1);
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = site.path("web1");
    std::fs::create_dir_all(&at).unwrap();
    symlink(elsewhere.path(), at.join("releases")).unwrap();

    let tree = Tree::new();
    tree.file("a", "a", 0o644, HOUR)
        .link("l", "a")
        .link("log", "/");
    let (one, two) = (tree.release("r1"), tree.release("r2"));
    let place = site.place("web1", 1);
    stage(&hosts, "web1", &place, &tree, &one, None)
        .await
        .unwrap();
    publish(&hosts, "web1", &place, &one, "1").await.unwrap();

    let place = site.place("web1", 2);
    let base = Some((&one, TransferSet::LinkDest(one.id.clone()), vec![]));
    stage(&hosts, "web1", &place, &tree, &two, base)
        .await
        .unwrap();
    publish(&hosts, "web1", &place, &two, "2").await.unwrap();
    assert_eq!(site.live("web1"), "r2");
    assert_eq!(digest_of(&elsewhere.path().join("r2")), two.digest);
}
