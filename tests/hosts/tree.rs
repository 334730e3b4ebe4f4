//! A tree on a disk, compared with git: every path, kind, mode, link and content.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use tagship_tests::git::{Repository, git};

/// One path of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Directory { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Link { target: Vec<u8> },
}

/// A directory with everything below it, by the bytes of the relative paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<Vec<u8>, Node>);

impl Tree {
    /// Reads a directory.
    pub(crate) fn read(root: &Path) -> Self {
        let mut nodes = BTreeMap::new();
        let mut open = vec![root.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let about = fs::symlink_metadata(&path).unwrap();
                let mode = about.permissions().mode() & 0o7777;
                let node = if about.is_dir() {
                    open.push(path.clone());
                    Node::Directory { mode }
                } else if about.is_symlink() {
                    let target = fs::read_link(&path).unwrap();
                    Node::Link {
                        target: target.as_os_str().as_bytes().to_vec(),
                    }
                } else {
                    let content = fs::read(&path).unwrap();
                    Node::File { mode, content }
                };
                let relative = path.strip_prefix(root).unwrap();
                nodes.insert(relative.as_os_str().as_bytes().to_vec(), node);
            }
        }
        Self(nodes)
    }

    /// What `git archive` makes of a revision.
    pub(crate) fn archived(repository: &Repository, revision: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut archive = git()
            .current_dir(&repository.path)
            .args(["-c", "tar.umask=0022", "archive", "--format=tar"])
            .arg(revision)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let unpacked = Command::new("tar")
            .args(["-x", "-p", "-f", "-", "-C"])
            .arg(directory.path())
            .stdin(archive.stdout.take().unwrap())
            .status()
            .unwrap();
        assert!(archive.wait().unwrap().success() && unpacked.success());
        Self::read(directory.path())
    }

    /// The differences from the wanted tree, path by path; empty if there are none.
    pub(crate) fn differences(&self, wanted: &Self) -> Vec<String> {
        let mut paths: Vec<&Vec<u8>> = self.0.keys().chain(wanted.0.keys()).collect();
        paths.sort();
        paths.dedup();
        let stat_lines = paths.into_iter().filter_map(|path| {
            let (is, should) = (self.0.get(path), wanted.0.get(path));
            let shown = String::from_utf8_lossy(path);
            (is != should)
                .then(|| format!("{shown}: is {}, should be {}", words(is), words(should)))
        });
        stat_lines.collect()
    }
}

fn words(node: Option<&Node>) -> String {
    match node {
        None => "nothing".to_owned(),
        Some(Node::Directory { mode }) => format!("a directory {mode:o}"),
        Some(Node::Link { target }) => format!("a link to {}", String::from_utf8_lossy(target)),
        Some(Node::File { mode, content }) => {
            let start = String::from_utf8_lossy(&content[..content.len().min(40)]).into_owned();
            format!("a file {mode:o} of {} bytes {start:?}", content.len())
        }
    }
}

/// The inode of a file.
pub(crate) fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}
