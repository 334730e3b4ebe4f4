//! The directories of releases on a host: invalid, missing, or made by another user; and the owner
//! of the files.

use std::os::unix::fs::MetadataExt;

use tagship::domain::host::{
    BrokenCurrent, Existing, HostError, Release, ReleaseId, Reply, TransferSet,
};
use tagship::hosts::publish;
use tagship::hosts::sync::rsync::TransferEnd;

use crate::hostops::local_host::{Host, Mounted, SHELLS};
use crate::hostops::release::first_tree;

#[test]
fn invalid_deploy_target_is_refused_with_a_remedy() {
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
        why.contains("no symbolic link") && why.contains("mv -T current current.was"),
        "{why}"
    );

    let host = Host::new(SHELLS[0]);
    std::fs::create_dir_all(host.path()).unwrap();
    std::os::unix::fs::symlink("a/\u{1b}[2J", host.path().join("current")).unwrap();
    let why = refusal(host.prepare(1, &first, None, &[]));
    assert!(why.contains("control characters"), "{why}");

    let mut place = Host::new(SHELLS[0]).place(1);
    place.deploy_to = "/dev/null/at all".into();
    let seq = tagship::hosts::ssh::script::OpSequence(1);
    let script =
        tagship::hosts::sync::prepare(&place, seq, &first, None, &[], &[], Existing::Equal)
            .unwrap();
    let why = refusal(Host::new(SHELLS[0]).ask(1, &script).map(|_| Reply::Sealed));
    assert!(
        why.contains("/dev/null/at all") && why.contains("mkdir -p"),
        "{why}"
    );
}

#[test]
fn restrictive_umask_does_not_affect_releases() {
    let host = Host::new(SHELLS[0]);
    let tree = first_tree();
    let first = tree.release("r1");
    let script = host.preparation(1, &first, None, &[], &[]);
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
fn missing_deploy_target_is_created_with_its_parents() {
    let host = Host::new(SHELLS[0]);
    let tree = first_tree();
    let mut place = host.place(1);
    place.deploy_to.push_str("/with/parents");
    let first = tree.release("r1");
    let seq = tagship::hosts::ssh::script::OpSequence(1);
    let script =
        tagship::hosts::sync::prepare(&place, seq, &first, None, &[], &[], Existing::Equal)
            .unwrap();
    host.ask(1, &script).unwrap();
    assert!(host.path().join("with/parents/releases").is_dir());
}

#[test]
fn impossible_owner_is_refused_and_a_possible_one_set() {
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
fn inspection_reports_what_replaced_current() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let tree = first_tree();
        let first = tree.release("r1");
        host.stage(1, &tree, &first);
        host.publish(1, &first, "1-forward").unwrap();
        let current = host.path().join("current");
        let looked = || {
            let state = host.inspect().unwrap();
            (state.live.map(|live| live.0), state.broken)
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
        for text in ["a\u{1b}[2J/b", "releases/r1\n", "./releases/r1\n\n", "r1\n"] {
            lead(text);
            assert_eq!(looked(), (None, Some(BrokenCurrent::Text)), "{text:?}");
        }
        for itself in ["current", "./current/r1", "releases/loop"] {
            lead(itself);
            let _ = std::os::unix::fs::symlink("../current", host.path().join("releases/loop"));
            assert_eq!(looked(), (None, dangling), "{itself}");
        }
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

/// A dangling link serves nothing, so a release may replace it.
#[test]
fn release_replaces_a_link_that_points_nowhere() {
    for shell in SHELLS {
        for (led, was) in [
            ("current", None),
            ("/nowhere/v3", Some("/nowhere/v3")),
            ("releases/gone", Some("gone")),
        ] {
            let host = Host::new(shell);
            std::fs::create_dir_all(host.path()).unwrap();
            std::os::unix::fs::symlink(led, host.path().join("current")).unwrap();
            let tree = first_tree();
            let first = tree.release("r1");
            host.stage(1, &tree, &first);
            let over: Vec<ReleaseId> = was.iter().map(|was| ReleaseId((*was).into())).collect();
            let (place, seq) = (host.place(1), host.seq());
            let switch =
                publish::publish(&place, seq, &first.id, &over, "1", Existing::Equal).unwrap();
            let reply = publish::read_published(&host.ask(1, &switch).unwrap()).unwrap();
            let Reply::Published { was: before, .. } = reply else {
                panic!("{led}: {reply:?}");
            };
            assert_eq!(before.map(|before| before.0).as_deref(), was, "{led}");
            assert_eq!(host.live().as_deref(), Some("r1"), "{led}");
            // No rollback to it is possible: that is refused, and the release stays live.
            if let [was] = &over[..] {
                let (place, over) = (host.place(1), [first.id.clone()]);
                let back = publish::publish(&place, host.seq(), was, &over, "2", Existing::AsItIs);
                let refused = host.ask(1, &back.unwrap()).unwrap_err().to_string();
                assert!(refused.contains("no longer there"), "{refused}");
                assert_eq!(host.live().as_deref(), Some("r1"), "{led}");
            }
        }
    }
}

/// A link text that differs from a release's name by a newline is another path.
#[test]
fn link_whose_text_ends_in_a_newline_is_refused() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let tree = first_tree();
        let first = tree.release("r1");
        host.stage(1, &tree, &first);
        std::os::unix::fs::symlink("releases/r1\n", host.path().join("current")).unwrap();
        let script = publish::publish(
            &host.place(1),
            host.seq(),
            &first.id,
            &[],
            "1",
            Existing::Equal,
        );
        let Err(HostError::Refused(why)) = host.ask(1, &script.unwrap()) else {
            panic!("{shell:?}: r1 was taken for live");
        };
        let path = host.path().join("current").display().to_string();
        assert!(why.contains(&path) && why.contains("mv -T"), "{why}");
    }
}

/// A rename to another file system is a copy.
#[test]
fn releases_on_another_file_system_are_reported() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let tree = first_tree();
        let first = tree.release("r1");
        let apart = || match host.prepare(1, &first, None, &[]) {
            Ok(Reply::Prepared { apart, .. }) => apart,
            other => panic!("{other:?}"),
        };
        assert!(!apart(), "a directory of its own");
        let releases = host.path().join("releases");
        std::fs::rename(&releases, host.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &releases).unwrap();
        assert!(!apart(), "a link on the same file system");
        let other = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let device = |path: &std::path::Path| path.metadata().unwrap().dev();
        if device(other.path()) == device(&host.path()) {
            eprintln!("SKIPPED: both are on one file system");
            return;
        }
        std::fs::remove_file(&releases).unwrap();
        std::os::unix::fs::symlink(other.path(), &releases).unwrap();
        assert!(apart(), "{shell:?}: a link to another file system");

        let own = host.path().join(".tagship");
        let moved = other.path().join("tagship");
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([&own, &moved])
            .status();
        assert!(copied.unwrap().success());
        std::fs::remove_dir_all(&own).unwrap();
        std::os::unix::fs::symlink(&moved, &own).unwrap();
        let refused = host.prepare(1, &first, None, &[]).unwrap_err().to_string();
        assert!(
            refused.contains(".tagship is on another file system") && refused.contains("deploy_to"),
            "{refused}"
        );
    }
}

/// A bind mount has the same file system number, but refuses renames.
#[test]
fn releases_that_are_mounted_are_reported() {
    let host = Host::new(SHELLS[0]);
    let tree = first_tree();
    let first = tree.release("r1");
    host.prepare(1, &first, None, &[]).unwrap();
    let other = host.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let options = ["--bind", other.to_str().unwrap()];
    let Some(_mounted) = Mounted::at(host.path().join("releases"), &options) else {
        return;
    };
    let prepared = host.prepare(1, &first, None, &[]);
    assert!(
        matches!(prepared, Ok(Reply::Prepared { apart: true, .. })),
        "{prepared:?}"
    );
}

/// Another tool links to a directory within a release.
#[test]
fn release_containing_current_is_never_deleted() {
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
        std::os::unix::fs::symlink("r1", host.path().join("releases/stable")).unwrap();
        for led in [
            "releases/r1/bin",
            "./releases/../releases/r1/bin",
            "releases/stable",
        ] {
            std::fs::remove_file(&current).unwrap();
            std::os::unix::fs::symlink(led, &current).unwrap();
            let deleted = host.prune(3, 0, &[], &[&releases[0]]).unwrap();
            assert!(!deleted.contains(&"r1".to_owned()), "{led}: {deleted:?}");
            assert!(host.path().join("current/.").is_dir(), "{led}");
            // It is not taken for one that may be built again either.
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

/// Another tool's link, to which a rollback may lead back.
#[test]
fn release_containing_a_rollback_target_is_never_deleted() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let tree = first_tree();
        let releases = ["r1", "r2"].map(|id| tree.release(id));
        for (number, release) in (1..).zip(&releases) {
            host.stage(number, &tree, release);
            host.publish(number, release, &format!("{number}-forward"))
                .unwrap();
        }
        let [r1, _] = &releases;
        let target = |text: &str| Release {
            id: ReleaseId(text.to_owned()),
            ..r1.clone()
        };
        std::os::unix::fs::symlink("r1/bin", host.path().join("releases/stable")).unwrap();
        let full = host.release(r1).join("bin").display().to_string();
        for text in ["releases/r1/bin", "stable", "current/../r1/bin", &full[..]] {
            let deleted = host.prune(3, 0, &[&target(text)], &[r1]).unwrap();
            assert_eq!(deleted, [""; 0], "{text}");
        }
        let elsewhere = target("./releases/*/bin");
        assert_eq!(host.prune(3, 0, &[&elsewhere], &[]).unwrap(), ["r1"]);
    }
}

/// What is live is a release of ours by another name.
#[test]
fn alias_of_a_release_is_reported_as_that_release() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let tree = first_tree();
        let first = tree.release("r1");
        host.stage(1, &tree, &first);
        let at = host.path();
        std::fs::create_dir(at.join("elsewhere")).unwrap();
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(to, at.join(name)).unwrap();
        };
        link("r1", "current");
        link("r1", "releases/stable");
        link("r1/bin", "releases/within");
        link("../elsewhere", "releases/moved");
        for (led, live) in [("stable", "r1"), ("within", "within"), ("moved", "moved")] {
            std::fs::remove_file(at.join("current")).unwrap();
            link(&format!("releases/{led}"), "current");
            let seen = host.inspect().unwrap();
            assert_eq!(seen.live, Some(ReleaseId(live.to_owned())), "{led}");
            assert_eq!(seen.broken, None, "{led}");
        }
    }
}
