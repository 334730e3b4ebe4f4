//! Twenty tags of real source trees, one after another, and the rollback.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tagship_tests::git::{Repository, git, output_of};
use tagship_tests::hook::host_triple;
use tagship_tests::random::Random;

use crate::stage::{HOSTS, Stage, Start as _, usual};
use crate::tree::{Tree, inode};

const TAGS: usize = 20;

/// Crates that this program is built from, with C, Perl, test data, odd modes and long names.
const CRATES: [&str; 5] = ["libgit2-sys", "openssl-sys", "libz-sys", "regex", "sled"];

/// Where cargo keeps the sources of those crates.
fn sources() -> Vec<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--filter-platform", &host_triple()])
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let found = packages.filter(|package| CRATES.contains(&package["name"].as_str().unwrap()));
    found
        .map(|package| {
            Path::new(package["manifest_path"].as_str().unwrap())
                .parent()
                .unwrap()
                .to_owned()
        })
        .collect()
}

/// The tree that is edited from tag to tag.
struct Source {
    root: PathBuf,
    random: Random,
}

impl Source {
    fn grow(root: &Path) -> Self {
        for source in sources() {
            let copied = Command::new("cp")
                .arg("-r")
                .arg(source)
                .arg(root)
                .status()
                .unwrap();
            assert!(copied.success());
        }
        let source = Self {
            root: root.to_owned(),
            random: Random::new(7),
        };
        source.write("empty", b"");
        source.write(
            "binary",
            &(0..=255).cycle().take(70_000).collect::<Vec<u8>>(),
        );
        source.write("name with spaces and\nlines", b"odd\n");
        source.write("-rf", b"no option\n");
        source.write("#comment", b"no comment\n");
        source.write("発布/ファイル", b"utf-8\n");
        source.write("b\u{fc}ro/a'b\"c$d", b"quotes\n");
        fs::write(root.join(OsStr::from_bytes(b"latin-\xe9")), b"no utf-8\n").unwrap();
        source.write("bin/tool", b"#!/bin/sh\n");
        source.make_executable("bin/tool", 0o755);
        symlink("bin/tool", root.join("tool")).unwrap();
        symlink("発布", root.join("link-to-directory")).unwrap();
        symlink("nowhere/at/all", root.join("dangling")).unwrap();
        source.write("changing", b"a file\n");
        source
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn make_executable(&self, path: &str, mode: u32) {
        fs::set_permissions(self.root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// All regular files, in an order that is the same each time.
    fn files(&self) -> Vec<PathBuf> {
        let tree = Tree::read(&self.root).0;
        let files = tree.into_iter().filter(|(path, node)| {
            matches!(node, crate::tree::Node::File { .. }) && !path.starts_with(b".git")
        });
        files
            .map(|(path, _)| self.root.join(OsStr::from_bytes(&path)))
            .collect()
    }

    /// Changes a tree like a few days of work.
    fn edit(&mut self, number: usize) {
        let files = self.files();
        for _ in 0..40 {
            let index = self.random.index(files.len());
            let path = &files[index];
            match self.random.below(8) {
                0 => drop(fs::remove_file(path)),
                1 if path.exists() => {
                    let mode = fs::metadata(path).unwrap().permissions().mode() ^ 0o111;
                    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
                }
                2 => fs::write(path, b"").unwrap(),
                3 => {
                    // Of the same length: only the content differs.
                    let mut content = fs::read(path).unwrap_or_default();
                    if let Some(byte) = content.last_mut() {
                        *byte ^= 1;
                    }
                    fs::write(path, content).unwrap();
                }
                4 => {
                    let mut name = path.file_name().unwrap().to_owned();
                    name.push(format!(".new-{number}"));
                    fs::write(path.with_file_name(name), format!("{number}\n")).unwrap();
                }
                _ => {
                    let mut content = fs::read(path).unwrap_or_default();
                    content.extend_from_slice(format!("// {number}\n").as_bytes());
                    fs::write(path, content).unwrap();
                }
            }
        }
        self.change_kind(number);
    }

    /// One path is a file, a directory, a link to a file, a link to a directory, and so on.
    fn change_kind(&self, number: usize) {
        let path = self.root.join("changing");
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_dir() => fs::remove_dir_all(&path).unwrap(),
            Ok(_) => fs::remove_file(&path).unwrap(),
            Err(_) => {}
        }
        match number % 5 {
            0 => self.write("changing", b"a file\n"),
            1 => self.write("changing/deep/er/file", b"below\n"),
            2 => symlink("empty", &path).unwrap(),
            3 => symlink("bin", &path).unwrap(),
            _ => {}
        }
    }
}

/// Mode and object of every path of a tag.
fn listing(repository: &Repository, tag: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let listed = output_of(git().current_dir(&repository.path).args([
        "ls-tree",
        "-r",
        "-z",
        &format!("refs/tags/{tag}"),
    ]));
    let entries = listed
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty());
    let pairs = entries.map(|entry| {
        let tab = entry.iter().position(|byte| *byte == b'\t').unwrap();
        (entry[tab + 1..].to_vec(), entry[..tab].to_vec())
    });
    pairs.collect()
}

/// Unchanged files of two tags are the same file on disk; returns their number.
#[track_caller]
fn assert_linked(stage: &Stage, host: &str, former: (&str, &Path), latter: &str) -> usize {
    let place = stage.place(host, "qa");
    let (old, new) = (place.join(former.1), place.join("current/"));
    let before = listing(stage.repo(), former.0);
    let mut same = 0;
    for (path, object) in listing(stage.repo(), latter) {
        if !object.starts_with(b"100") || before.get(&path) != Some(&object) {
            continue;
        }
        let path = OsStr::from_bytes(&path);
        assert_eq!(
            inode(&old.join(path)),
            inode(&new.join(path)),
            "{host} {path:?}"
        );
        same += 1;
    }
    same
}

#[test]
fn twenty_tags_arrive_exactly_share_files_and_roll_back() {
    let stage = usual().start();
    let mut source = Source::grow(&stage.tree().path);
    let mut ids = Vec::new();
    let mut former: Option<(String, PathBuf)> = None;
    for number in 1..=TAGS {
        let tag = format!("qa-{number}");
        if number > 1 {
            source.edit(number);
        }
        let task = stage.release(&tag, &[]);
        ids.push(task["id"].as_u64().unwrap());
        stage.assert_live(&HOSTS, "qa", &tag);
        if let Some((before, live)) = &former {
            let same = HOSTS.map(|host| assert_linked(&stage, host, (before, live), &tag));
            assert!(same[0] > 800, "{tag}: only {same:?} files are shared");
        }
        former = Some((tag, stage.live("web1", "qa").unwrap()));
    }
    let first = stage.tree().resolve("qa-1^{commit}");
    stage.tree().tag("qa-again", &first);
    stage.push("qa-again");
    let id = stage.api.task_of("qa-again");
    let task = stage.api.until_state(id, "succeeded");
    assert_eq!(task["commit"], first);
    stage.assert_live(&HOSTS, "qa", "qa-1");

    let bob = stage.person("bob", "approver");
    // Without the git server: to a release that still exists, and to one deleted long ago.
    let trees = [TAGS - 1, 2].map(|number| {
        (
            number,
            Tree::archived(stage.repo(), &format!("refs/tags/qa-{number}")),
        )
    });
    fs::rename(&stage.repo().path, stage.path("away.git")).unwrap();
    for (number, tree) in trees {
        let asked = stage
            .api
            .post("/rollback", &json!({ "task": ids[number - 1] }));
        let back = asked["id"].as_u64().unwrap();
        bob.approve(back);
        stage.api.until_state(back, "succeeded");
        stage.assert_tree(&HOSTS, "qa", &tree);
    }
}
