//! A release equals `git archive` of its commit: content, modes, links, names.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tagship::git::checkout::{
    CheckoutError, EntryKind, HOST_LISTING, Manifest, PlanOptions, Submodules,
};
use tagship_tests::git::output_of;
use tagship_tests::random::Random;

use crate::mirror::{Mirrored, NOW, tree};

/// The file at a path, as comparable text.
#[derive(Debug, PartialEq, Eq)]
enum ListedEntry {
    File { executable: bool, content: Vec<u8> },
    Link(Vec<u8>),
}

fn listing(dir: &Path) -> BTreeMap<Vec<u8>, ListedEntry> {
    let mut all = BTreeMap::new();
    let mut ahead = vec![dir.to_owned()];
    while let Some(at) = ahead.pop() {
        for item in fs::read_dir(at).unwrap() {
            let place = item.unwrap().path();
            let stat = place.symlink_metadata().unwrap();
            if stat.is_dir() {
                ahead.push(place);
                continue;
            }
            let listed = if stat.is_symlink() {
                ListedEntry::Link(fs::read_link(&place).unwrap().into_os_string().into_vec())
            } else {
                ListedEntry::File {
                    executable: stat.permissions().mode() & 0o111 != 0,
                    content: fs::read(&place).unwrap(),
                }
            };
            let name = place.strip_prefix(dir).unwrap().as_os_str().as_bytes();
            all.insert(name.to_vec(), listed);
        }
    }
    all
}

/// What `git archive | tar x` would write on the git server.
fn archived(world: &Mirrored, tree: &str, name: &str) -> BTreeMap<Vec<u8>, ListedEntry> {
    let dir = world.path(name);
    fs::create_dir(&dir).unwrap();
    let mut archive = world.repo().git();
    archive.args(["archive", "--format=tar", tree]);
    let mut archive = archive.stdout(Stdio::piped()).spawn().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--file=-", "--directory"]).arg(&dir);
    tar.stdin(archive.stdout.take().unwrap());
    assert!(tar.status().unwrap().success());
    assert!(archive.wait().unwrap().success());
    listing(&dir)
}

/// The listing of a tree by a host's own find.
fn host_listing(dir: &Path) -> Vec<u8> {
    let mut sh = Command::new("sh");
    sh.args(["-c", HOST_LISTING]).current_dir(dir);
    let output = sh.output().unwrap();
    assert!(output.status.success());
    output.stdout
}

struct Seed(Random);

impl Seed {
    fn below(&mut self, bound: usize) -> usize {
        self.0.index(bound)
    }

    fn name(&mut self) -> Vec<u8> {
        let names: [&[u8]; 14] = [
            b"a",
            b"a b",
            b"-x",
            b"new\nline",
            b"\xc3\xbcn\xc3\xaf",
            b"\xff\xfe",
            b"~",
            b"#",
            b"a-b",
            b"a.b",
            b"*",
            b"$(id)",
            b"'\"",
            b"z\\z",
        ];
        names[self.below(names.len())].to_vec()
    }

    fn content(&mut self) -> Vec<u8> {
        let length = [0, 1, 3, 700, 20_000][self.below(5)];
        self.0.bytes(length)
    }
}

/// Changes a few paths of a work tree: files, links, bits, whole directories, types.
fn change(root: &Path, seed: &mut Seed) {
    for _ in 0..12 {
        let depth = seed.below(3);
        let mut place: PathBuf = root.join("tree");
        for _ in 0..depth {
            place.push(std::ffi::OsStr::from_bytes(&seed.name()));
            if place.symlink_metadata().is_ok_and(|stat| !stat.is_dir()) {
                fs::remove_file(&place).unwrap();
            }
        }
        fs::create_dir_all(&place).unwrap();
        place.push(std::ffi::OsStr::from_bytes(&seed.name()));
        let stat = place.symlink_metadata();
        match (seed.below(6), stat) {
            (0, Ok(stat)) if stat.is_dir() => fs::remove_dir_all(&place).unwrap(),
            (0, Ok(_)) => fs::remove_file(&place).unwrap(),
            (1, Ok(stat)) if stat.is_file() => {
                let mode = stat.permissions().mode() ^ 0o111;
                fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
            }
            (kind, stat) => {
                match stat {
                    Ok(stat) if stat.is_dir() => fs::remove_dir_all(&place).unwrap(),
                    Ok(_) => fs::remove_file(&place).unwrap(),
                    Err(_) => {}
                }
                if kind == 2 {
                    let target = seed.name();
                    symlink(std::ffi::OsStr::from_bytes(&target), &place).unwrap();
                } else {
                    fs::write(&place, seed.content()).unwrap();
                }
            }
        }
    }
}

#[tokio::test]
async fn every_release_of_a_long_chain_equals_git_archive() {
    let world = Mirrored::new();
    world.put("always", "here");
    let mut seed = Seed(Random::new(0x5eed_1234_5678_9abc));
    let dir = world.path("tree");
    let mut live: Option<Manifest> = None;
    let mut now_s = NOW;
    for number in 0..20 {
        change(&world.tree().path, &mut seed);
        let commit = world.ship(&format!("v{number}"), number).await;
        let options = PlanOptions::default();
        let next = world
            .plan_with(&commit, options, live.as_ref(), now_s)
            .unwrap();
        let done = world.write(&next, &dir);
        let expected = archived(&world, &commit, &format!("archive{number}"));
        assert_eq!(listing(&dir), expected, "release {number}");
        assert!(host_listing(&dir) == next.listing(), "listing of {number}");
        if let Some(live) = &live {
            assert_only_changes_are_newer(&next, live);
            let changed = next.diff(live).changed;
            let written = changed
                .iter()
                .filter(|path| !keeps_content(path, live, &next));
            assert_eq!(done.written, written.count() as u64);
            replay(live, &next, number);
        }
        // Sometimes the time is the same, as for two tags within a second.
        now_s += i64::from(number % 3 != 0);
        live = Some(next);
    }
}

/// Whether a path is a file before and after, with the same content: at most its mode changes.
fn keeps_content(path: &[u8], before: &Manifest, after: &Manifest) -> bool {
    let blob = |tree: &Manifest| match tree.get(path) {
        Some(entry) if matches!(entry.kind, EntryKind::File(_)) => Some(entry.blob.clone()),
        _ => None,
    };
    blob(before).is_some_and(|blob_before| blob(after) == Some(blob_before))
}

/// Unchanged files keep their time; changed ones are newer than everything before.
#[track_caller]
fn assert_only_changes_are_newer(next: &Manifest, live: &Manifest) {
    let newest = live.newest_s().unwrap();
    for entry in next.entries() {
        match live.get(&entry.path) {
            Some(was) if was.blob == entry.blob && was.kind == entry.kind => {
                assert_eq!(entry.mtime_s, was.mtime_s);
            }
            _ => assert!(entry.mtime_s > newest),
        }
    }
}

/// Changes the listing as a host changes a hard-link copy.
fn replay(live: &Manifest, next: &Manifest, number: u64) {
    let diff = next.diff(live);
    let mut copy: BTreeMap<_, _> = live.entries().iter().map(|e| (e.path.clone(), e)).collect();
    for gone in &diff.removed {
        let below = [gone.as_slice(), b"/"].concat();
        copy.retain(|path, _| path != gone && !path.starts_with(&below));
    }
    for path in &diff.changed {
        copy.insert(path.clone(), next.get(path).unwrap());
    }
    let entries = copy.into_values().cloned().collect();
    let replayed = Manifest::new(next.commit(), entries, Vec::new()).unwrap();
    assert_eq!(replayed.digest(), next.digest(), "release {number}");
}

#[tokio::test]
async fn attributes_count_as_they_do_for_git_archive() {
    let world = Mirrored::new();
    world.put(
        ".gitattributes",
        "/docs export-ignore\nskip/ export-ignore\n*.tmp export-ignore\n*.map dev\n\
         [attr]dev export-ignore\nVERSION export-subst\n*.bat text eol=crlf\n\
         id.txt ident\nwide.txt text working-tree-encoding=UTF-16LE\n",
    );
    world.put("docs/guide", "no");
    world.put("skip/deep/file", "no");
    world.put("lib/skip", "a file, so it stays");
    world.put("lib/x.tmp", "no");
    world.put("lib/x.map", "no");
    world.put("lib/.gitattributes", "own.map -export-ignore\n");
    world.put("lib/own.map", "set again nearer by");
    world.put("VERSION", "$Format:%H %ad$\n");
    world.put("lib/VERSION", "$Format:%h$\n");
    world.put("lib/plain", "$Format:%H$\n");
    world.put("run.bat", "echo 1\necho 2\n");
    world.put("id.txt", "$Id$\n");
    world.put(
        "wide.txt",
        "wi\u{0}"
            .replace('\u{0}', "de\n")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>(),
    );
    let commit = world.ship("v1", 1).await;
    let manifest = world.plan(&commit).unwrap();
    let dir = world.path("tree");
    world.write(&manifest, &dir);
    let expected = archived(&world, &commit, "archive");
    assert_eq!(listing(&dir), expected);
    let version = fs::read_to_string(dir.join("VERSION")).unwrap();
    assert!(version.starts_with(&commit), "{version}");
    assert!(!dir.join("docs").exists() && dir.join("lib/skip").exists());
    assert_eq!(
        fs::read(dir.join("run.bat")).unwrap(),
        b"echo 1\r\necho 2\r\n"
    );
    assert!(host_listing(&dir) == manifest.listing());
    assert_eq!(manifest.notes(), ["5 files are changed by .gitattributes"]);

    // Again, with the first plan as the base: nothing differs.
    let again = world.plan_with(&commit, PlanOptions::default(), Some(&manifest), NOW + 9);
    assert_eq!(again.unwrap().digest(), manifest.digest());
    let left: Vec<_> = fs::read_dir(&world.source.mirror).unwrap().collect();
    let left = left
        .into_iter()
        .map(|f| f.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("index")).count(), 0);
}

#[tokio::test]
async fn many_converted_files_equal_git_archive_too() {
    let world = Mirrored::new();
    world.put(".gitattributes", "* text=auto eol=crlf\n");
    for number in 0..130 {
        world.put(&format!("many/{number}.txt"), format!("{number}\nline\n"));
    }
    world.put("binary", b"\x00\n\x01\n");
    let commit = world.ship("v1", 1).await;
    let dir = world.path("tree");
    world.write(&world.plan(&commit).unwrap(), &dir);
    assert_eq!(listing(&dir), archived(&world, &commit, "archive"));
}

#[tokio::test]
async fn lfs_pointer_is_refused_whatever_attributes_change() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    let wide: Vec<u8> = pointer.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (attributes, content) in [
        (
            "* text=auto eol=crlf\n*.psd filter=lfs\n",
            pointer.as_bytes(),
        ),
        (
            "*.psd text working-tree-encoding=UTF-16LE\n",
            wide.as_slice(),
        ),
    ] {
        let world = Mirrored::new();
        world.put(".gitattributes", attributes);
        world.put("logo.psd", content);
        world.put("app", "a\n");
        let commit = world.ship("v1", 1).await;
        let error = world.plan(&commit).unwrap_err();
        let named = CheckoutError::LfsPointer(vec!["logo.psd".to_owned()]);
        assert_eq!(error, named, "{attributes}");
    }
}

#[tokio::test]
async fn unusual_modes_are_released_as_git_archives_them() {
    let world = Mirrored::new();
    let (file, link) = (world.object("blob", b"x\n"), world.object("blob", b"a"));
    let entries = [
        ("100600", "a", &file),
        ("100611", "b", &file),
        ("100755", "c", &file),
        ("120777", "d", &link),
        ("644", "e", &file),
    ];
    let entries = entries.map(|(mode, name, id)| (mode, name.to_owned(), id.as_str()));
    let commit = world.commit_tree(&tree(entries), "");
    world.release("v1", &commit);
    world.land("v1", &commit, 1).await.unwrap();
    let options = PlanOptions {
        submodules: Submodules::Skip,
        ..PlanOptions::default()
    };
    let manifest = world.plan_with(&commit, options, None, NOW).unwrap();
    let dir = world.path("tree");
    world.write(&manifest, &dir);
    let expected = archived(&world, &commit, "archive");
    assert_eq!(expected.len(), 4);
    assert_eq!(listing(&dir), expected);
}

#[tokio::test]
async fn subdirectory_release_uses_the_root_attributes() {
    let world = Mirrored::new();
    world.put(
        ".gitattributes",
        "*.tmp export-ignore\n*.bat text eol=crlf\n",
    );
    world.put("apps/shop/index.html", "<h1>");
    world.put("apps/shop/x.tmp", "no");
    world.put("apps/shop/run.bat", "echo\n");
    world.put("apps/blog/index.html", "no");
    let commit = world.ship("v1", 1).await;
    let options = PlanOptions {
        source: Some("apps/shop/".to_owned()),
        ..PlanOptions::default()
    };
    let manifest = world.plan_with(&commit, options, None, NOW).unwrap();
    let dir = world.path("tree");
    world.write(&manifest, &dir);
    let found = listing(&dir);
    let names: Vec<&[u8]> = found.keys().map(Vec::as_slice).collect();
    assert_eq!(names, [b"index.html".as_slice(), b"run.bat"]);
    assert_eq!(fs::read(dir.join("run.bat")).unwrap(), b"echo\r\n");
    let none = PlanOptions {
        source: Some("apps/shop/index.html".to_owned()),
        ..PlanOptions::default()
    };
    assert!(world.plan_with(&commit, none, None, NOW).is_err());
}

#[tokio::test]
async fn user_attributes_and_index_have_no_effect() {
    let world = Mirrored::new();
    world.put(".gitattributes", "x export-subst\n");
    world.put("x", "$Format:%H$");
    let commit = world.ship("v1", 1).await;
    let index = world.path("rubbish-index");
    fs::write(&index, "rubbish").unwrap();
    // The variables of the whole test process are out of reach (setting them is not safe), so a
    // second process plans: this test, run again with them.
    if std::env::var_os("TAGSHIP_TEST_INNER").is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again
            .args([
                "--exact",
                "archive::user_attributes_and_index_have_no_effect",
            ])
            .env("TAGSHIP_TEST_INNER", "1")
            .env("GIT_DIR", "/nonexistent")
            .env("GIT_INDEX_FILE", &index)
            .env("GIT_OBJECT_DIRECTORY", "/nonexistent")
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "core.bare")
            .env("GIT_CONFIG_VALUE_0", "rubbish");
        let text = String::from_utf8(output_of(&mut again)).unwrap();
        assert!(text.contains("1 passed"), "{text}");
    }
    let dir = world.path("tree");
    world.write(&world.plan(&commit).unwrap(), &dir);
    assert_eq!(fs::read_to_string(dir.join("x")).unwrap(), commit);
}
