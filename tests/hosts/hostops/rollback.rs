//! Rollback: a release is used as it is, whatever was written into it, and `current` points to its
//! former target again.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;

use tagship::domain::host::{
    BrokenCurrent, Existing, HostError, LocalChanges, Release, ReleaseId, Reply,
};
use tagship::hosts::{publish, sync};
use tagship_tests::program::script;

use crate::hostops::local_host::{Host, Mounted, SHELLS, Tree, picture_of};

const HOUR: u64 = 1_700_000_000;

/// The scripts of a rollback to a release, in their order.
fn scripts(host: &Host, to: &ReleaseId, over: &[ReleaseId]) -> [Vec<u8>; 2] {
    let place = host.place(9);
    let release = Release {
        id: to.clone(),
        digest: Tree::new().release("any").digest,
    };
    let as_it_is = Existing::AsItIs;
    let prepare = sync::prepare(&place, host.seq(), &release, None, &[], &[], as_it_is);
    [prepare.unwrap(), switch(host, to, over)]
}

fn switch(host: &Host, to: &ReleaseId, over: &[ReleaseId]) -> Vec<u8> {
    let (place, as_it_is) = (host.place(9), Existing::AsItIs);
    publish::publish(&place, host.seq(), to, over, "9-back", as_it_is).unwrap()
}

fn switched_back(host: &Host, to: &ReleaseId, over: &[ReleaseId]) -> Result<Reply, HostError> {
    publish::read_published(&host.ask(9, &switch(host, to, over))?)
}

fn differs(reply: Result<Reply, HostError>) -> Option<LocalChanges> {
    match reply {
        Ok(Reply::Published { differs, .. }) => differs,
        other => panic!("{other:?}"),
    }
}

/// `r1` was live, and `r2` is.
fn two_releases(host: &Host) -> [Release; 2] {
    let one = Tree::new();
    one.file("a", "one", 0o644, HOUR)
        .file("b/ü c", "x", 0o755, HOUR)
        .file("gone", "x", 0o644, HOUR)
        .link("l", "a");
    let two = one.twin();
    two.file("a", "two", 0o644, HOUR + 60);
    let [r1, r2] = [one.release("r1"), two.release("r2")];
    host.stage(1, &one, &r1);
    host.publish(1, &r1, "1-forward").unwrap();
    host.stage(2, &two, &r2);
    host.publish(2, &r2, "2-forward").unwrap();
    [r1, r2]
}

#[test]
fn modified_release_goes_live_unchanged_and_is_compared() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let [r1, r2] = two_releases(&host);
        let over = [r2.id.clone()];
        let rolled_back = switched_back(&host, &r1.id, &over);
        assert_eq!(differs(rolled_back), None, "nobody wrote into it");

        let directory = host.release(&r1);
        std::fs::create_dir(directory.join("log")).unwrap();
        std::fs::write(directory.join("log/prod\n.log"), "x").unwrap();
        std::fs::write(directory.join("b/ü c"), "changed").unwrap();
        std::fs::remove_file(directory.join("gone")).unwrap();
        std::fs::remove_file(directory.join("l")).unwrap();
        symlink("/b//c", directory.join("l")).unwrap();
        let written = picture_of(&directory);
        let prepared =
            sync::read_prepared(&host.ask(9, &scripts(&host, &r1.id, &over)[0]).unwrap());
        let Ok(Reply::Prepared { staged: true, .. }) = prepared else {
            panic!("{prepared:?}");
        };
        let found = differs(switched_back(&host, &r1.id, &over)).unwrap();
        assert_eq!(host.live().as_deref(), Some("r1"));
        assert_eq!(found.files, 4);
        assert_eq!(found.names, ["b/ü c", "gone", "l", "log/prod?.log"]);
        assert_eq!(picture_of(&directory), written, "it is left as it is");

        for n in 0..20 {
            std::fs::write(directory.join(format!("log/{n}")), "x").unwrap();
        }
        let found = differs(switched_back(&host, &r1.id, &over)).unwrap();
        assert_eq!((found.files, found.names.len()), (24, 5));
    }
}

/// The programs of the comparison are replaced by functions.
#[test]
fn rollback_that_cannot_be_compared_says_why() {
    for shell in SHELLS {
        for (program, why) in [
            ("command() { return 1; }\n", Some("has no timeout")),
            ("timeout() { return 124; }\n", Some("over 20 s")),
            ("timeout() { return 1; }\n", Some("cannot all be listed")),
            ("", None),
        ] {
            let host = Host::new(shell);
            let [r1, r2] = two_releases(&host);
            let [_, switch] = scripts(&host, &r1.id, std::slice::from_ref(&r2.id));
            let switch = [program.as_bytes(), &switch].concat();
            let reply = publish::read_published(&host.ask(9, &switch).unwrap());
            let Ok(Reply::Published { uncompared, .. }) = reply else {
                panic!("{shell:?}: {reply:?}");
            };
            let reason = uncompared.as_deref();
            assert_eq!(reason.is_some(), why.is_some(), "{reason:?}");
            assert!(reason.unwrap_or_default().contains(why.unwrap_or_default()));
            assert_eq!(host.live().as_deref(), Some("r1"), "{shell:?}");
        }
    }
}

#[test]
fn current_points_again_to_a_file_of_another_tool() {
    let host = Host::new(SHELLS[0]);
    let [_, r2] = two_releases(&host);
    std::fs::write(host.path().join("shop-1.jar"), "x").unwrap();
    let (by_hand, over) = (ReleaseId("./shop-1.jar".into()), [r2.id]);
    let (place, seq) = (host.place(9), host.seq());
    let switch = publish::publish(&place, seq, &by_hand, &over, "9-back", Existing::AsItIs);
    host.ask(9, &switch.unwrap()).unwrap();
    let current = std::fs::read_link(host.path().join("current")).unwrap();
    assert_eq!(current, PathBuf::from("./shop-1.jar"));
}

/// A login user for whom not every directory is open.
const NOBODY: &[&str] = &[
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "sh",
];

/// The target that another tool has made live is in another user's directory.
#[test]
fn target_that_the_login_user_may_not_see_goes_live_again() {
    let is_root = rustix::process::geteuid().is_root();
    let host = Host::new(if is_root { NOBODY } else { SHELLS[0] });
    let at = host.path();
    std::fs::create_dir_all(at.join("releases/r1")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::set_permissions(elsewhere.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let hidden = elsewhere.path().join("other");
    std::fs::create_dir_all(hidden.join("v1")).unwrap();
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o000)).unwrap();
    if is_root {
        for path in ["..", ".", "releases"] {
            chown(at.join(path), Some(65_534), Some(65_534)).unwrap();
        }
    }
    symlink("releases/r1", at.join("current")).unwrap();
    let target = ReleaseId(hidden.join("v1").display().to_string());
    let switched = switched_back(&host, &target, &[ReleaseId("r1".into())]);
    assert!(
        matches!(switched, Ok(Reply::Published { .. })),
        "{switched:?}"
    );
    let current = std::fs::read_link(at.join("current")).unwrap();
    assert_eq!(current, hidden.join("v1"));
    let seen = host.inspect().unwrap();
    assert_eq!((seen.live, seen.broken), (Some(target.clone()), None));

    let gone = ReleaseId(elsewhere.path().join("gone/v1").display().to_string());
    let refused = switched_back(&host, &gone, &[target]);
    assert!(refused.is_err(), "{refused:?}");
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn host_without_its_journal_rolls_back() {
    let host = Host::new(SHELLS[0]);
    let [r1, r2] = two_releases(&host);
    std::fs::remove_dir_all(host.path().join(".tagship/journal")).unwrap();
    switched_back(&host, &r1.id, &[r2.id]).unwrap();
    assert_eq!(host.live().as_deref(), Some("r1"));
    std::fs::remove_dir_all(host.path().join(".tagship/manifests")).unwrap();
    let next = Tree::new();
    next.file("a", "three", 0o644, HOUR);
    host.stage(10, &next, &next.release("r3"));
}

#[test]
fn host_without_free_space_rolls_back_and_records_what_was_live() {
    let full = b"printf() { case $1 in was*) return 1 ;; esac; command printf \"$@\"; }\n";
    for shell in SHELLS {
        let host = Host::new(shell);
        let [r1, r2] = two_releases(&host);
        for _ in 0..2 {
            let [_, switch] = scripts(&host, &r1.id, std::slice::from_ref(&r2.id));
            let switch = [&full[..], &switch].concat();
            let reply = publish::read_published(&host.ask(9, &switch).unwrap());
            let Ok(Reply::Published { was, .. }) = reply else {
                panic!("{shell:?}: {reply:?}");
            };
            assert_eq!(was.as_ref(), Some(&r2.id), "{shell:?}");
            assert_eq!(host.live().as_deref(), Some("r1"), "{shell:?}");
        }
    }
}

/// A service has used them up; the disk still has space.
#[test]
fn host_without_free_inodes_rolls_back() {
    for shell in SHELLS {
        let host = Host::new(shell);
        std::fs::create_dir(host.path()).unwrap();
        let options = "size=4m,nr_inodes=100,mode=755";
        let options = ["-t", "tmpfs", "-o", options, "tmpfs"];
        let Some(_mounted) = Mounted::at(host.path(), &options) else {
            return;
        };
        let [r1, r2] = two_releases(&host);
        let use_up = |name: &str| {
            let file = |n: u32| host.path().join(format!("{name}-{n}"));
            let made = (0..).take_while(|n| std::fs::write(file(*n), "").is_ok());
            assert!(made.count() < 100);
        };
        use_up("session");
        for _ in 0..2 {
            let [prepare, switch] = scripts(&host, &r1.id, std::slice::from_ref(&r2.id));
            host.ask(9, &prepare).unwrap();
            let reply = publish::read_published(&host.ask(9, &switch).unwrap());
            let Ok(Reply::Published { was, .. }) = reply else {
                panic!("{shell:?}: {reply:?}");
            };
            assert_eq!(was.as_ref(), Some(&r2.id), "{shell:?}");
            assert_eq!(host.live().as_deref(), Some("r1"), "{shell:?}");
        }
        // Records of this task are kept, so there is room for a record, but not for a link.
        use_up("upload");
        let (place, over) = (host.place(9), [r1.id.clone()]);
        let as_it_is = Existing::AsItIs;
        let switch = publish::publish(&place, host.seq(), &r2.id, &over, "9-more", as_it_is);
        let Err(HostError::Refused(why)) = host.ask(9, &switch.unwrap()) else {
            panic!("{shell:?}: it has switched");
        };
        assert!(why.contains("df -i shows free inodes"), "{why}");
        assert!(why.contains("No space left on device"), "{why}");
        assert_eq!(host.live().as_deref(), Some("r1"), "{shell:?}");
        assert!(host.path().join(".tagship/journal/9-back").exists());
    }
}

/// Nothing could lead back there, so only a rollback replaces it.
#[test]
fn link_that_is_no_text_is_replaced_by_a_rollback_only() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let [r1, r2] = two_releases(&host);
        let current = host.path().join("current");
        for text in ["v\u{fffd}", "ü/\u{85}", "v\u{1b}[2J/b", "r1\n"].map(str::as_bytes) {
            link_over(&host, text, &r1, &r2);
        }
        for bytes in [
            &b"v\xff"[..],
            b"\xfc",
            b"\xc3\xc3\xa9\xa9/x",
            b"\xed\xa0\x80",
        ] {
            link_over(&host, bytes, &r1, &r2);
        }
        for text in ["ü", "€/x", "\u{1f600}", "\u{a0}b\u{fffc}"] {
            std::fs::remove_file(&current).unwrap();
            symlink(format!("./{text}"), &current).unwrap();
            let live = host.inspect().unwrap().live;
            assert_eq!(live, Some(ReleaseId(format!("./{text}"))), "{text}");
        }
    }
}

/// Leads `current` by this text, which a release refuses, and a rollback replaces.
#[track_caller]
fn link_over(host: &Host, text: &[u8], to: &Release, other: &Release) {
    let current = host.path().join("current");
    std::fs::remove_file(&current).unwrap();
    symlink(std::ffi::OsStr::from_bytes(text), &current).unwrap();
    let state = host.inspect().unwrap();
    let text = text.escape_ascii();
    let broken = (None, Some(BrokenCurrent::Text));
    assert_eq!((state.live, state.broken), broken, "{text}");
    let Err(HostError::Refused(why)) = host.prepare(9, other, None, &[]) else {
        panic!("{text}: it could not be led back there");
    };
    assert!(why.contains("no UTF-8") && why.contains("mv -T"), "{why}");
    let [prepare, _] = scripts(host, &to.id, &[]);
    let prepared = sync::read_prepared(&host.ask(9, &prepare).unwrap());
    let Ok(Reply::Prepared { state, staged, .. }) = prepared else {
        panic!("{text}: {prepared:?}");
    };
    assert_eq!((state.live, state.broken, staged), (None, broken.1, true));
    // Each rollback has a key of its own.
    let key = format!("{}-forward", host.last_seq());
    let (place, seq) = (host.place(9), host.seq());
    let switch = publish::publish(&place, seq, &to.id, &[], &key, Existing::AsItIs);
    let switched = publish::read_published(&host.ask(9, &switch.unwrap()).unwrap());
    assert!(
        matches!(switched, Ok(Reply::Published { was: None, .. })),
        "{text}: {switched:?}"
    );
    assert_eq!(host.live().as_deref(), Some(to.id.0.as_str()), "{text}");
}

#[test]
fn difference_is_detected_without_a_file_list() {
    let host = Host::new(SHELLS[0]);
    let [r1, r2] = two_releases(&host);
    let record = host.path().join(".tagship/manifests/r1");
    std::fs::write(record, format!("{}\n", r1.digest)).unwrap();
    let over = [r2.id.clone()];
    assert_eq!(differs(switched_back(&host, &r1.id, &over)), None);
    std::fs::write(host.release(&r1).join("new"), "x").unwrap();
    let found = differs(switched_back(&host, &r1.id, &over)).unwrap();
    assert_eq!(found.files, 0);
}

#[test]
fn what_is_mounted_in_a_release_is_not_compared() {
    let host = Host::new(SHELLS[0]);
    let [r1, r2] = two_releases(&host);
    let uploads = host.release(&r1).join("uploads");
    std::fs::create_dir(&uploads).unwrap();
    let Some(_mounted) = Mounted::at(uploads.clone(), &["-t", "tmpfs", "tmpfs"]) else {
        return;
    };
    std::fs::write(uploads.join("cat.jpg"), "x").unwrap();
    assert_eq!(differs(switched_back(&host, &r1.id, &[r2.id])), None);
}

/// Programs that walk or read a tree report the target of `current` when they begin.
#[test]
fn no_tree_is_walked_before_the_switch() {
    let host = Host::new(SHELLS[0]);
    let [r1, r2] = two_releases(&host);
    let shims = tempfile::tempdir().unwrap();
    let log = shims.path().join("log");
    let current = host.path().join("current");
    for program in ["find", "sha256sum", "sort", "du", "cp", "rsync"] {
        let paths = std::env::var("PATH").unwrap();
        let real = paths
            .split(':')
            .map(|path| PathBuf::from(path).join(program));
        let real = real.into_iter().find(|path| path.exists());
        let text = format!(
            "#!/bin/sh\nreadlink -- {current:?} >>{log:?}\nexec {} \"$@\"\n",
            real.unwrap_or_else(|| PathBuf::from("false")).display()
        );
        let shim = shims.path().join(program);
        let text = text.replace("$(", "\\$(");
        script(&shim, &text);
    }
    let path = format!("PATH={}:$PATH\n", shims.path().display()).into_bytes();
    for script in scripts(&host, &r1.id, &[r2.id]) {
        host.ask(9, &[&path[..], &script].concat()).unwrap();
    }
    let walks = std::fs::read_to_string(&log).unwrap();
    assert!(walks.lines().count() >= 2, "it is compared");
    for led in walks.lines() {
        assert_eq!(led, "releases/r1", "{walks}");
    }
}

#[test]
fn missing_release_is_refused_without_a_switch() {
    let host = Host::new(SHELLS[0]);
    let [r1, r2] = two_releases(&host);
    std::fs::remove_dir_all(host.release(&r1)).unwrap();
    let why = switched_back(&host, &r1.id, &[r2.id])
        .unwrap_err()
        .to_string();
    assert!(why.contains("no longer there"), "{why}");
    assert_eq!(host.live().as_deref(), Some("r2"));
}

/// The target of `current` counts, not its spelling; a target elsewhere is restored, too.
#[test]
fn current_is_restored_exactly_as_another_tool_set_it() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let tree = Tree::new();
        tree.file("a", "one", 0o644, HOUR);
        let ours = tree.release("r1");
        host.stage(1, &tree, &ours);
        let at = host.path();
        for directory in [
            "releases/20240101120000",
            "releases/v1 beta",
            "old",
            "old/v2/public",
        ] {
            std::fs::create_dir_all(at.join(directory)).unwrap();
        }
        std::fs::create_dir_all(at.with_extension("elsewhere")).unwrap();
        let aside = at.with_extension("link");
        symlink(&at, &aside).unwrap();
        let full = |path: &str| at.join(path).display().to_string();
        for (link, seen) in [
            (
                "releases/20240101120000".to_owned(),
                "20240101120000".to_owned(),
            ),
            (
                "releases//20240101120000/".to_owned(),
                "20240101120000".to_owned(),
            ),
            (
                "./releases/../releases/20240101120000".to_owned(),
                "20240101120000".to_owned(),
            ),
            (full("releases/20240101120000"), "20240101120000".to_owned()),
            (
                aside.join("releases/20240101120000").display().to_string(),
                "20240101120000".to_owned(),
            ),
            ("releases/v1 beta".to_owned(), "releases/v1 beta".to_owned()),
            ("old".to_owned(), "./old".to_owned()),
            (full("old/v2/public"), full("old/v2/public")),
        ] {
            let current = at.join("current");
            let _ = std::fs::remove_file(&current);
            symlink(&link, &current).unwrap();
            let leads = current.canonicalize().unwrap();
            let former = ReleaseId(seen);
            assert_eq!(
                host.inspect().unwrap().live.as_ref(),
                Some(&former),
                "{link}"
            );

            let key = format!("{}-forward", host.last_seq());
            let over = [former.clone()];
            let forward = publish::publish(
                &host.place(9),
                host.seq(),
                &ours.id,
                &over,
                &key,
                Existing::Equal,
            );
            let reply = publish::read_published(&host.ask(9, &forward.unwrap()).unwrap());
            let Ok(Reply::Published { was, .. }) = reply else {
                panic!("{link}: {reply:?}");
            };
            assert_eq!(was.as_ref(), Some(&former));
            assert_eq!(host.live().as_deref(), Some("r1"));
            let key = format!("{}-back", host.last_seq());
            let over = [ours.id.clone()];
            let back = publish::publish(
                &host.place(9),
                host.seq(),
                &former,
                &over,
                &key,
                Existing::AsItIs,
            );
            let reply = publish::read_published(&host.ask(9, &back.unwrap()).unwrap());
            assert_eq!(differs(reply), None);
            assert_eq!(current.canonicalize().unwrap(), leads, "{link}");
            assert_eq!(host.inspect().unwrap().live, Some(former));
        }
        let _ = std::fs::remove_file(aside);
    }
}
