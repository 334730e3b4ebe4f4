//! What a release contains, what is refused, and how a tree on disk is updated.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;

use tagship::git::checkout::{
    self, Checkout, CheckoutError, EntryKind, Manifest, MirrorCheckout, PlanOptions, Submodules,
    WrittenTree,
};
use tagship_tests::git::{output_of, scrub};

use crate::mirror::{Mirrored, NOW};

fn paths(manifest: &Manifest) -> Vec<String> {
    let text = |e: &checkout::ManifestEntry| String::from_utf8_lossy(&e.path).into_owned();
    manifest.entries().iter().map(text).collect()
}

fn target(manifest: &Manifest, path: &str) -> String {
    match &manifest.get(path.as_bytes()).unwrap().kind {
        EntryKind::Symlink { target } => String::from_utf8_lossy(target).into_owned(),
        EntryKind::File(_) => panic!("{path} is a file"),
    }
}

#[tokio::test]
async fn rolled_back_files_get_newer_modification_times() {
    let world = Mirrored::new();
    world
        .tree()
        .commit_files("one", &[("changed", "1"), ("same", "s")]);
    let one = world.ship("v1", 1).await;
    world.put("changed", "2");
    let two = world.ship("v2", 2).await;
    let plan = |commit: &str, base: Option<&Manifest>, now_s| {
        let options = PlanOptions::default();
        world.plan_with(commit, options, base, now_s).unwrap()
    };
    let mtimes = |m: &Manifest| {
        let of = |path: &[u8]| m.get(path).unwrap().mtime_s;
        (of(b"changed"), of(b"same"))
    };
    let first = plan(&one, None, NOW);
    assert_eq!(mtimes(&first), (NOW, NOW));
    let second = plan(&two, Some(&first), NOW + 10);
    assert_eq!(mtimes(&second), (NOW + 10, NOW));
    // The clock was set back meanwhile.
    let back = plan(&one, Some(&second), NOW - 99);
    assert_eq!(mtimes(&back), (NOW + 11, NOW));
    assert_eq!(
        back.get(b"changed").unwrap().blob,
        first.get(b"changed").unwrap().blob
    );
}

#[tokio::test]
async fn a_mode_change_alone_is_a_new_file() {
    let world = Mirrored::new();
    world.put("run", "#!/bin/sh\n");
    let one = world.ship("v1", 1).await;
    let place = world.tree().path.join("run");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let two = world.ship("v2", 2).await;
    let first = world.plan(&one).unwrap();
    let second = world
        .plan_with(&two, PlanOptions::default(), Some(&first), NOW)
        .unwrap();
    assert_eq!(second.get(b"run").unwrap().mtime_s, NOW + 1);
    let diff = second.diff(&first);
    assert_eq!(diff.changed, [b"run".to_vec()]);
    assert!(diff.removed.is_empty());
}

#[tokio::test]
async fn excluded_paths_are_not_in_a_release() {
    let world = Mirrored::new();
    for path in [
        "app",
        "app.map",
        "js/x.map",
        "node_modules/a/b",
        "docs/x",
        "js/docs/y",
        "keep/.env",
    ] {
        world.put(path, "x");
    }
    let commit = world.ship("v1", 1).await;
    let options = PlanOptions {
        exclude: ["*.map", "node_modules/", "/docs", ".env"]
            .map(str::to_owned)
            .to_vec(),
        ..PlanOptions::default()
    };
    let manifest = world.plan_with(&commit, options, None, NOW).unwrap();
    assert_eq!(paths(&manifest), ["app", "js/docs/y"]);
}

#[tokio::test]
async fn shared_paths_become_links_out_of_the_release() {
    let world = Mirrored::new();
    world.put("log/.keep", "");
    world.put("app", "x");
    world.put("public/uploads/demo.png", "x");
    symlink("log/today", world.tree().path.join("today")).unwrap();
    let commit = world.ship("v1", 1).await;
    let options = |shared: &[&str]| PlanOptions {
        shared: shared.iter().map(|s| (*s).to_owned()).collect(),
        ..PlanOptions::default()
    };
    let wanted = options(&["log/", "public/uploads", "config/secrets.toml"]);
    let manifest = world.plan_with(&commit, wanted, None, NOW).unwrap();
    let expected = [
        "app",
        "config/secrets.toml",
        "log",
        "public/uploads",
        "today",
    ];
    assert_eq!(paths(&manifest), expected);
    assert_eq!(target(&manifest, "log"), "../../shared/log");
    assert_eq!(
        target(&manifest, "public/uploads"),
        "../../../shared/public/uploads"
    );

    // On disk, laid out as on a host, the links lead where they should.
    let release = world.path("srv/releases/r1");
    world.write(&manifest, &release);
    fs::create_dir_all(world.path("srv/shared/public/uploads")).unwrap();
    fs::write(world.path("srv/shared/public/uploads/a"), "up").unwrap();
    assert_eq!(fs::read(release.join("public/uploads/a")).unwrap(), b"up");

    for wrong in ["../x", "/x", "", "a//b", "a/./b", ".git/x"] {
        let error = world
            .plan_with(&commit, options(&[wrong]), None, NOW)
            .unwrap_err();
        assert!(
            matches!(error, CheckoutError::Shared { .. }),
            "{wrong}: {error}"
        );
    }
    let nested = options(&["log", "log/old"]);
    assert!(world.plan_with(&commit, nested, None, NOW).is_err());
    let below_a_file = options(&["app/data"]);
    let error = world
        .plan_with(&commit, below_a_file, None, NOW)
        .unwrap_err();
    assert!(
        error.to_string().contains("both a file and a directory"),
        "{error}"
    );
}

#[tokio::test]
async fn a_submodule_is_refused_or_left_out_with_a_note() {
    let world = Mirrored::new();
    let inner = world.tree().commit_files("first", &[("a", "1")]);
    let cacheinfo = format!("160000,{inner},vendor/lib");
    let mut git = world.tree().git();
    output_of(git.args(["update-index", "--add", "--cacheinfo", &cacheinfo]));
    output_of(
        world
            .tree()
            .git()
            .args(["commit", "--quiet", "-m", "with a submodule"]),
    );
    let commit = world.tree().resolve("HEAD");
    world.release("v1", &commit);
    world.land("v1", &commit, 1).await.unwrap();
    let error = world.plan(&commit).unwrap_err();
    assert_eq!(
        error,
        CheckoutError::Submodule(vec!["vendor/lib".to_owned()])
    );
    assert!(error.to_string().contains("submodules = \"skip\""));
    let skip = PlanOptions {
        submodules: Submodules::Skip,
        ..PlanOptions::default()
    };
    let manifest = world.plan_with(&commit, skip, None, NOW).unwrap();
    assert_eq!(paths(&manifest), ["a"]);
    assert_eq!(manifest.notes(), ["submodule vendor/lib is left out"]);
}

#[tokio::test]
async fn lfs_pointers_are_named_unless_excluded() {
    let world = Mirrored::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    world.put("app", "x");
    for number in 0..7 {
        world.put(&format!("big/{number}.psd"), pointer);
    }
    world.put(
        "docs/lfs.md",
        format!("{pointer}{}", "a text about it ".repeat(100)),
    );
    let commit = world.ship("v1", 1).await;
    let error = world.plan(&commit).unwrap_err();
    let CheckoutError::LfsPointer(named) = &error else {
        panic!("{error}");
    };
    assert_eq!((named.len(), named[0].as_str()), (6, "big/0.psd"));
    assert_eq!(named[5], "and 2 more");
    let options = PlanOptions {
        exclude: vec!["big/".to_owned()],
        ..PlanOptions::default()
    };
    assert!(world.plan_with(&commit, options, None, NOW).is_ok());
}

#[tokio::test]
async fn links_out_of_the_release_are_refused() {
    for (path, target) in [
        ("etc", "/etc/passwd"),
        ("d/up", "../../x"),
        ("up", "d/../../x"),
    ] {
        let world = Mirrored::new();
        world.put("d/file", "x");
        symlink(target, world.tree().path.join(path)).unwrap();
        let commit = world.ship("v1", 1).await;
        let error = world.plan(&commit).unwrap_err();
        let expected = CheckoutError::EscapingLink {
            path: path.to_owned(),
            target: target.to_owned(),
        };
        assert_eq!(error, expected);
    }
}

/// Trees that no git command makes, written manually.
#[tokio::test]
async fn hostile_trees_are_refused() {
    let world = Mirrored::new();
    world.tree().commit_files("first", &[("a", "1")]);
    let first = world.ship("v0", 1).await;
    let repository = git2::Repository::open_bare(&world.source.mirror).unwrap();
    let odb = repository.odb().unwrap();
    let blob = repository.blob(b"x").unwrap();
    let tree_of = |entries: &[(&str, &str, git2::Oid)]| {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            bytes.extend_from_slice(id.as_bytes());
        }
        odb.write(git2::ObjectType::Tree, &bytes).unwrap()
    };
    let inner = tree_of(&[("100644", "x", blob)]);
    let trees = [
        tree_of(&[("40000", "..", inner)]),
        tree_of(&[("40000", ".git", inner)]),
        tree_of(&[("40000", ".GIT", inner)]),
        tree_of(&[("100644", "../../x", blob)]),
        tree_of(&[("100644", "/etc/x", blob)]),
        tree_of(&[("100644", ".", blob)]),
        tree_of(&[("100644", "a", blob), ("100644", "a", blob)]),
        tree_of(&[("120000", "a", blob), ("40000", "a", inner)]),
    ];
    let signature = git2::Signature::new("Alice", "alice@example.com", &git2::Time::new(1, 0));
    let signature = signature.unwrap();
    for tree in trees {
        let text = format!(
            "tree {tree}\nparent {first}\nauthor {signature}\ncommitter {signature}\n\nx\n"
        )
        .replace(&signature.to_string(), "Alice <alice@example.com> 1 +0000");
        let commit = odb
            .write(git2::ObjectType::Commit, text.as_bytes())
            .unwrap();
        let planned = world.plan(&commit.to_string());
        let error = planned.map(|m| paths(&m)).unwrap_err();
        let refused = matches!(
            error,
            CheckoutError::Manifest(_) | CheckoutError::Git { .. }
        );
        assert!(refused, "{tree}: {error}");
    }
}

#[tokio::test]
async fn only_differing_files_are_written() {
    let world = Mirrored::new();
    world.put("same", "s");
    world.put("changed", "1");
    world.put("gone/deep/file", "x");
    let one = world.ship("v1", 1).await;
    world.put("changed", "22");
    world.put("new", "n");
    fs::remove_dir_all(world.tree().path.join("gone")).unwrap();
    let two = world.ship("v2", 2).await;
    let dir = world.path("data/tree");
    let first = world.plan(&one).unwrap();
    let second = world
        .plan_with(&two, PlanOptions::default(), Some(&first), NOW + 5)
        .unwrap();
    assert_eq!(world.write(&first, &dir).written, 3);
    assert_eq!(world.write(&first, &dir), WrittenTree::default());
    let inode = fs::metadata(dir.join("same")).unwrap().ino();
    let done = world.write(&second, &dir);
    let expected = WrittenTree {
        written: 2,
        bytes: 3,
        touched: 0,
        removed: 1,
    };
    assert_eq!(done, expected);
    assert_eq!(fs::metadata(dir.join("same")).unwrap().ino(), inode);
    assert!(!dir.join("gone").exists());
    assert_eq!(
        fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o755
    );
}

#[tokio::test]
async fn types_may_change_into_each_other() {
    let world = Mirrored::new();
    let dir = world.path("tree");
    let place = world.tree().path.join("x");
    let mut live: Option<Manifest> = None;
    world.put("other", "o");
    for (task, kind) in ["file", "dir", "link", "file", "link", "dir", "file"]
        .iter()
        .enumerate()
    {
        match place.symlink_metadata() {
            Ok(stat) if stat.is_dir() => fs::remove_dir_all(&place).unwrap(),
            Ok(_) => fs::remove_file(&place).unwrap(),
            Err(_) => {}
        }
        match *kind {
            "file" => fs::write(&place, "f").unwrap(),
            "dir" => world.put("x/y/z", "d"),
            _ => symlink("other", &place).unwrap(),
        }
        let commit = world.ship(&format!("v{task}"), task as u64).await;
        let options = PlanOptions::default();
        let next = world
            .plan_with(&commit, options, live.as_ref(), NOW)
            .unwrap();
        world.write(&next, &dir);
        let stat = dir.join("x").symlink_metadata().unwrap();
        let found = match (stat.is_dir(), stat.is_symlink()) {
            (true, _) => "dir",
            (_, true) => "link",
            _ => "file",
        };
        assert_eq!(found, *kind, "step {task}");
        if let Some(live) = &live {
            assert_eq!(next.diff(live).removed, [b"x".to_vec()]);
        }
        live = Some(next);
    }
}

/// Every state that an interrupted run can leave, and unrelated files.
#[tokio::test]
async fn an_interrupted_write_is_repaired() {
    let world = Mirrored::new();
    world.put("a", "aaa");
    world.put("b", "bbb");
    world.put("d/c", "ccc");
    let commit = world.ship("v1", 1).await;
    let manifest = world.plan(&commit).unwrap();
    let dir = world.path("tree");
    let record = world.path("tree.manifest");
    let whole = |why: &str| {
        for (path, content) in [("a", "aaa"), ("b", "bbb"), ("d/c", "ccc")] {
            let place = dir.join(path);
            assert_eq!(fs::read_to_string(&place).unwrap(), content, "{why}");
            let stat = fs::metadata(&place).unwrap();
            let found = (stat.mode() & 0o7777, stat.mtime(), stat.mtime_nsec());
            assert_eq!(found, (0o644, NOW, 0), "{why}");
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3, "{why}");
        assert!(
            record.exists() && !world.path("tree.part").exists(),
            "{why}"
        );
    };
    world.write(&manifest, &dir);
    whole("first");

    // The correct size and mtime, other content, and no record.
    fs::remove_file(&record).unwrap();
    fs::write(dir.join("a"), "xxx").unwrap();
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW.unsigned_abs());
    fs::File::open(dir.join("a"))
        .unwrap()
        .set_modified(at)
        .unwrap();
    assert_eq!(world.write(&manifest, &dir).written, 1);
    whole("content without a record");

    fs::remove_file(&record).unwrap();
    fs::remove_file(dir.join("b")).unwrap();
    fs::create_dir(dir.join("b")).unwrap();
    fs::write(dir.join("rubbish"), "r").unwrap();
    fs::create_dir(dir.join("more")).unwrap();
    symlink("/etc", dir.join("more/etc")).unwrap();
    fs::write(world.path("tree.part"), "half").unwrap();
    world.write(&manifest, &dir);
    whole("types and rubbish");
    assert!(std::path::Path::new("/etc/passwd").exists());

    // With a record: the disk is still checked.
    fs::write(dir.join("a"), "aaaa").unwrap();
    fs::remove_dir_all(dir.join("d")).unwrap();
    fs::set_permissions(dir.join("b"), fs::Permissions::from_mode(0o666)).unwrap();
    let done = world.write(&manifest, &dir);
    assert_eq!((done.written, done.touched), (2, 1));
    whole("changed by hand");

    // A directory that turned into a link to somewhere else is not followed.
    fs::rename(dir.join("d"), world.path("elsewhere")).unwrap();
    symlink(world.path("elsewhere"), dir.join("d")).unwrap();
    world.write(&manifest, &dir);
    whole("a directory that became a link");

    // A record of an earlier boot is not trusted.
    let mut bytes = fs::read(&record).unwrap();
    bytes[5] = if bytes[5] == b'0' { b'1' } else { b'0' };
    fs::write(&record, bytes).unwrap();
    fs::write(dir.join("a"), "xxx").unwrap();
    fs::File::open(dir.join("a"))
        .unwrap()
        .set_modified(at)
        .unwrap();
    assert_eq!(world.write(&manifest, &dir).written, 1);
    whole("after a power cut");
}

#[tokio::test]
async fn failed_write_leaves_no_valid_record() {
    let world = Mirrored::new();
    world.put("a", "1");
    let one = world.ship("v1", 1).await;
    world.put("a", "2");
    world.put("b", "b");
    let two = world.ship("v2", 2).await;
    let dir = world.path("tree");
    let first = world.plan(&one).unwrap();
    // The same second, the same size: only the record tells these two apart.
    let second = world.plan(&two).unwrap();
    world.write(&first, &dir);
    let mut entries = second.entries().to_vec();
    entries.last_mut().unwrap().blob = "f".repeat(40);
    let broken = Manifest::new(&two, entries, Vec::new()).unwrap();
    let error = world.try_write(&broken, &dir).unwrap_err();
    assert!(
        matches!(error, CheckoutError::MissingBlob { .. }),
        "{error}"
    );
    assert!(!world.path("tree.manifest").exists());
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"2");
    world.write(&first, &dir);
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"1");
}

#[tokio::test]
async fn mirror_deleted_before_a_tree_is_written_is_missing() {
    let world = Mirrored::new();
    world.put("a", "1");
    let commit = world.ship("v1", 1).await;
    let manifest = world.plan(&commit).unwrap();
    let dir = world.path("tree");
    fs::remove_dir_all(&world.source.mirror).unwrap();
    let error = world.try_write(&manifest, &dir).unwrap_err();
    assert!(error.is_missing(), "{error}");
    world.land("v1", &commit, 1).await.unwrap();
    world.write(&manifest, &dir);
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"1");
}

#[tokio::test]
async fn second_writer_of_a_tree_is_refused_as_busy() {
    let world = Mirrored::new();
    world.put("a", "1");
    let commit = world.ship("v1", 1).await;
    let manifest = world.plan(&commit).unwrap();
    let dir = world.path("tree");
    world.write(&manifest, &dir);
    let lock = fs::File::open(world.path("tree.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = world.try_write(&manifest, &dir).unwrap_err();
    assert!(matches!(error, CheckoutError::Busy(_)), "{error}");
}

#[tokio::test]
async fn checkout_trait_behaves_like_the_functions() {
    let world = Mirrored::new();
    world.put("a", "1");
    let commit = world.ship("v1", 1).await;
    let manifest = MirrorCheckout.plan(world.request(&commit)).await.unwrap();
    assert_eq!(*manifest, world.plan(&commit).unwrap());
    let dir = world.path("tree");
    let mirror = world.source.mirror.clone();
    let done = MirrorCheckout
        .write(mirror, Arc::clone(&manifest), dir)
        .await;
    assert_eq!(done.unwrap().written, 1);
    let missing = "f".repeat(40);
    let error = world.plan(&missing).unwrap_err();
    assert!(matches!(error, CheckoutError::NoCommit { .. }), "{error}");
}

#[tokio::test]
async fn abandoned_write_lets_the_next_writer_proceed() {
    let world = Mirrored::new();
    for number in 0..1_500 {
        world.put(&format!("d/{number}"), "one");
    }
    let first = world.ship("v1", 1).await;
    world.put("d/7", "two");
    let second = world.ship("v2", 2).await;
    let first = Arc::new(world.plan(&first).unwrap());
    let second = Arc::new(world.plan(&second).unwrap());
    let dir = world.path("tree");
    let write = |manifest: &Arc<Manifest>| {
        let mirror = world.source.mirror.clone();
        MirrorCheckout.write(mirror, Arc::clone(manifest), dir.clone())
    };
    // Begun, and dropped while its thread works, as by a stop.
    let mut given_up = write(&first);
    assert!(futures::poll!(&mut given_up).is_pending());
    let mut waiting = write(&first);
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(given_up);
    drop(waiting);
    write(&second).await.unwrap();
    assert_eq!(fs::read_to_string(dir.join("d/7")).unwrap(), "two");
}

#[tokio::test]
async fn rsync_hard_links_unchanged_files() {
    let world = Mirrored::new();
    for number in 0..20 {
        world.put(&format!("d/{number}"), format!("{number}"));
    }
    let one = world.ship("v1", 1).await;
    world.put("d/7", "x");
    let two = world.ship("v2", 2).await;
    let first = world.plan(&one).unwrap();
    let second = world
        .plan_with(&two, PlanOptions::default(), Some(&first), NOW + 5)
        .unwrap();
    let dir = world.path("tree");
    for (manifest, release, base) in [(&first, "r1", None), (&second, "r2", Some("../r1"))] {
        world.write(manifest, &dir);
        let mut rsync = std::process::Command::new("rsync");
        scrub(&mut rsync);
        rsync
            .arg("--archive")
            .args(base.map(|b| format!("--link-dest={b}")));
        rsync
            .arg(format!("{}/", dir.display()))
            .arg(world.path(release));
        output_of(&mut rsync);
    }
    let inode = |release: &str, path: &str| {
        let place = world.path(release).join(path);
        fs::metadata(place).unwrap().ino()
    };
    for number in 0..20 {
        let path = format!("d/{number}");
        let linked = inode("r1", &path) == inode("r2", &path);
        assert_eq!(linked, number != 7, "{path}");
    }
}
