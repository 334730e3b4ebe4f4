//! The content of a release: every path with its blob, kind, size and mtime.
//!
//! Pure: independent of git, disk and clock. `checkout::plan` makes manifests, the executor stores
//! them, `sync` uses their differences. [`HOST_LISTING`] proves that the files on a host match the
//! manifest. Directories are not listed: they exist because of their contents.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::domain::host::TreeDigest;

/// The `sh` pipeline that prints the bytes of [`Manifest::listing`] when run inside a release
/// directory. Needs GNU find and a `sort` with `-z`; contains no outside values.
///
/// One NUL-terminated record for everything that is not a directory, sorted bytewise: `f MODE SIZE
/// MTIME PATH` for files, `l PATH//TARGET` for symbolic links (a path has no `//`), and `o TYPE
/// PATH` for anything else. No manifest lists the latter, so it shows as a difference. What is on
/// another file system is not listed.
pub const HOST_LISTING: &str = concat!(
    "LC_ALL=C find . -xdev -type d -o -type f -printf 'f %m %s %T@ %P\\0'",
    " -o -type l -printf 'l %P//%l\\0' -o -printf 'o %y %P\\0' | LC_ALL=C sort -z"
);

/// First line of the serialised form; the number is raised with each incompatible change.
const MAGIC: &str = "tagship-manifest 1";
/// The maximum path length, in bytes: Linux allows 4,095 including the release directory.
const PATH_BYTES_MAX: usize = 3_800;
const NAME_BYTES_MAX: usize = 255;

/// The permission bits that git stores for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 0644
    Plain,
    /// 0755
    Executable,
}

impl Mode {
    /// Returns the permission bits, as for `chmod`.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Plain => 0o644,
            Self::Executable => 0o755,
        }
    }
}

/// The kind of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File(Mode),
    /// A symbolic link and the bytes of its target.
    Symlink { target: Vec<u8> },
}

/// One entry of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Relative to the release directory, `/` as separator, possibly not UTF-8.
    pub path: Vec<u8>,
    /// Object id of the content in the mirror, in hex.
    pub blob: String,
    pub kind: EntryKind,
    /// In bytes; for a link the length of its target.
    pub size: u64,
    /// In whole seconds since 1970.
    pub mtime_s: i64,
}

/// The complete list of a release, sorted by the bytes of the paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    commit: String,
    entries: Vec<ManifestEntry>,
    notes: Vec<String>,
}

/// The changes that turn a hard-link copy of one release into another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestDiff {
    /// Paths to send: new ones, and those whose content, mode, mtime or target differ.
    pub changed: Vec<Vec<u8>>,
    /// Paths to remove from the copy first, each **with everything below it**: deleted paths,
    /// topmost deleted directories, and paths that change between file, link and directory.
    pub removed: Vec<Vec<u8>>,
}

/// Why bytes or entries are not a valid manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A path that must not be written to a host.
    #[error("path {path:?} {reason}: rename it in the repository or exclude it")]
    Path { path: String, reason: &'static str },
    /// The stored form is damaged or has another version.
    #[error("manifest cannot be read ({0}): delete it, one full comparison creates it again")]
    Damaged(String),
}

impl Manifest {
    /// Sorts and checks entries.
    ///
    /// # Errors
    /// [`ManifestError::Path`] for a path that is empty, absolute, too long, contains the name `.`,
    /// `..` or `.git`, is repeated, or is below another entry.
    pub fn new(
        commit: &str,
        mut entries: Vec<ManifestEntry>,
        notes: Vec<String>,
    ) -> Result<Self, ManifestError> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        for entry in &entries {
            check_path(&entry.path)?;
        }
        let paths: HashSet<&[u8]> = entries.iter().map(|e| e.path.as_slice()).collect();
        if paths.len() < entries.len() {
            let duplicate = entries.windows(2).find(|w| w[0].path == w[1].path);
            let path = duplicate.map_or(&[][..], |w| &w[0].path);
            return Err(refused(path, "occurs twice in the tree"));
        }
        for entry in &entries {
            if let Some(above) = ancestors(&entry.path).find(|a| paths.contains(a)) {
                return Err(refused(above, "is both a file and a directory"));
            }
        }
        Ok(Self {
            commit: commit.to_owned(),
            entries,
            notes,
        })
    }

    /// Returns the commit of this tree.
    #[must_use]
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Returns the entries, sorted by the bytes of their paths.
    #[must_use]
    pub fn entries(&self) -> &[ManifestEntry] {
        &self.entries
    }

    /// Returns notes for users (such as an omitted submodule), one line each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the entry at a path.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&ManifestEntry> {
        let found = self
            .entries
            .binary_search_by(|e| e.path.as_slice().cmp(path));
        found.ok().map(|at| &self.entries[at])
    }

    /// Returns the newest mtime of any entry; `None` for an empty tree.
    #[must_use]
    pub fn newest_s(&self) -> Option<i64> {
        self.entries.iter().map(|e| e.mtime_s).max()
    }

    /// Returns the bytes that [`HOST_LISTING`] prints for exactly this tree.
    #[must_use]
    pub fn listing(&self) -> Vec<u8> {
        let mut records: Vec<Vec<u8>> = self.entries.iter().map(record_of_host).collect();
        records.sort_unstable();
        let mut bytes = Vec::with_capacity(records.iter().map(|r| r.len() + 1).sum());
        for record in records {
            bytes.extend_from_slice(&record);
            bytes.push(0);
        }
        bytes
    }

    /// Returns the SHA-256 of [`Self::listing`].
    #[must_use]
    pub fn digest(&self) -> TreeDigest {
        let mut hex = String::with_capacity(64);
        for byte in Sha256::digest(self.listing()) {
            let _ = write!(hex, "{byte:02x}");
        }
        TreeDigest(hex)
    }

    /// Returns the changes that turn a copy of `base` into this tree.
    #[must_use]
    pub fn diff(&self, base: &Manifest) -> ManifestDiff {
        let before: HashMap<&[u8], &ManifestEntry> = base
            .entries
            .iter()
            .map(|e| (e.path.as_slice(), e))
            .collect();
        let changed = self.entries.iter().filter(|new| {
            before
                .get(new.path.as_slice())
                .is_none_or(|old| !is_up_to_date(new, old))
        });
        ManifestDiff {
            changed: changed.map(|e| e.path.clone()).collect(),
            removed: self.removed_from(base),
        }
    }

    fn removed_from(&self, base: &Manifest) -> Vec<Vec<u8>> {
        let directories: HashSet<&[u8]> = self
            .entries
            .iter()
            .flat_map(|e| ancestors(&e.path))
            .collect();
        let mut removed = BTreeSet::new();
        for old in &base.entries {
            let stays = self
                .get(&old.path)
                .is_some_and(|new| same_type(&new.kind, &old.kind));
            if stays {
                continue;
            }
            let deleted = ancestors(&old.path).find(|a| !directories.contains(a));
            removed.insert(deleted.unwrap_or(&old.path).to_vec());
        }
        removed.into_iter().collect()
    }

    /// Returns the stored form: a few lines of text, then one NUL-terminated record per entry.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{MAGIC}\ncommit {}\n", self.commit);
        for note in &self.notes {
            let _ = writeln!(head, "note {}", note.replace(['\n', '\r'], " "));
        }
        let _ = writeln!(head, "entries {}", self.entries.len());
        let _ = write!(head, "digest {}\n\n", self.digest());
        let mut bytes = head.into_bytes();
        for entry in &self.entries {
            bytes.extend_from_slice(&record_of_store(entry));
            bytes.push(0);
        }
        bytes
    }

    /// Parses the output of [`Self::to_bytes`], checks every path and compares the digest.
    ///
    /// # Errors
    /// [`ManifestError`] if anything differs from what was written.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |what: &str| ManifestError::Damaged(what.to_owned());
        let end = bytes
            .windows(2)
            .position(|w| w == b"\n\n")
            .ok_or_else(|| damaged("no end of the head"))?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| damaged("head is not text"))?;
        let mut lines = head.lines();
        if lines.next() != Some(MAGIC) {
            return Err(damaged("another version"));
        }
        let (mut commit, mut count, mut digest, mut notes) = ("", None, "", Vec::new());
        for line in lines {
            match line.split_once(' ') {
                Some(("commit", value)) => commit = value,
                Some(("note", value)) => notes.push(value.to_owned()),
                Some(("entries", value)) => count = value.parse::<usize>().ok(),
                Some(("digest", value)) => digest = value,
                _ => return Err(damaged("unknown line in the head")),
            }
        }
        let body = &bytes[end + 2..];
        let entries = match body.split_last() {
            None => Vec::new(),
            Some((0, records)) => records
                .split(|byte| *byte == 0)
                .map(entry_of_store)
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| damaged("a record makes no sense"))?,
            Some(_) => return Err(damaged("the last record is cut off")),
        };
        if count != Some(entries.len()) {
            return Err(damaged("number of entries differs"));
        }
        let manifest = Self::new(commit, entries, notes)?;
        if manifest.digest().0 != digest {
            return Err(damaged("digest differs"));
        }
        Ok(manifest)
    }
}

/// Returns the directories above a path, topmost first.
pub(super) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| &path[..at])
}

/// Refuses paths that git's own checkout refuses, and those that no host supports.
pub(super) fn check_path(path: &[u8]) -> Result<(), ManifestError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(refused(path, "is too long"));
    }
    for name in path.split(|byte| *byte == b'/') {
        let reason = match name {
            b"" => "is empty or holds an empty name",
            b"." | b".." => "holds . or .. as a name",
            _ if name.eq_ignore_ascii_case(b".git") => "holds .git as a name",
            _ if name.len() > NAME_BYTES_MAX => "holds a name of more than 255 bytes",
            _ if name.contains(&0) => "holds a NUL byte",
            _ => continue,
        };
        return Err(refused(path, reason));
    }
    Ok(())
}

fn refused(path: &[u8], reason: &'static str) -> ManifestError {
    let shown = &path[..path.len().min(200)];
    ManifestError::Path {
        path: String::from_utf8_lossy(shown).into_owned(),
        reason,
    }
}

fn same_type(a: &EntryKind, b: &EntryKind) -> bool {
    matches!(
        (a, b),
        (EntryKind::File(_), EntryKind::File(_))
            | (EntryKind::Symlink { .. }, EntryKind::Symlink { .. })
    )
}

/// Whether a host that has `old` does not need `new`. A link's mtime is ignored.
fn is_up_to_date(new: &ManifestEntry, old: &ManifestEntry) -> bool {
    new.kind == old.kind
        && match new.kind {
            EntryKind::File(_) => new.blob == old.blob && new.mtime_s == old.mtime_s,
            EntryKind::Symlink { .. } => true,
        }
}

fn record_of_host(entry: &ManifestEntry) -> Vec<u8> {
    match &entry.kind {
        EntryKind::File(mode) => {
            let (bits, size, mtime_s) = (mode.bits(), entry.size, entry.mtime_s);
            let head = format!("f {bits:o} {size} {mtime_s}.0000000000 ");
            [head.as_bytes(), &entry.path].concat()
        }
        EntryKind::Symlink { target } => [b"l ", entry.path.as_slice(), b"//", target].concat(),
    }
}

fn record_of_store(entry: &ManifestEntry) -> Vec<u8> {
    let (size, mtime_s, blob) = (entry.size, entry.mtime_s, &entry.blob);
    match &entry.kind {
        EntryKind::File(mode) => {
            let head = format!("f {:o} {size} {mtime_s} {blob} ", mode.bits());
            [head.as_bytes(), &entry.path].concat()
        }
        EntryKind::Symlink { target } => {
            let head = format!("l 0 {size} {mtime_s} {blob} ");
            [head.as_bytes(), &entry.path, b"//", target].concat()
        }
    }
}

fn entry_of_store(record: &[u8]) -> Option<ManifestEntry> {
    let mut fields = record.splitn(6, |byte| *byte == b' ');
    let mut text = || fields.next().and_then(|f| std::str::from_utf8(f).ok());
    let (kind, mode) = (text()?, text()?);
    let size: u64 = text()?.parse().ok()?;
    let mtime_s = text()?.parse().ok()?;
    let blob = text()?.to_owned();
    if !matches!(blob.len(), 40 | 64) || !blob.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let rest = fields.next()?;
    let (path, kind) = match (kind, mode) {
        ("f", "644") => (rest, EntryKind::File(Mode::Plain)),
        ("f", "755") => (rest, EntryKind::File(Mode::Executable)),
        ("l", "0") => {
            let at = rest.windows(2).position(|w| w == b"//")?;
            let target = rest[at + 2..].to_vec();
            (&rest[..at], EntryKind::Symlink { target })
        }
        _ => return None,
    };
    if let EntryKind::Symlink { target } = &kind
        && target.len() as u64 != size
    {
        return None;
    }
    Some(ManifestEntry {
        path: path.to_vec(),
        blob,
        kind,
        size,
        mtime_s,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(path: &str, blob: char, mtime_s: i64) -> ManifestEntry {
        ManifestEntry {
            path: path.as_bytes().to_vec(),
            blob: blob.to_string().repeat(40),
            kind: EntryKind::File(Mode::Plain),
            size: 3,
            mtime_s,
        }
    }

    fn link(path: &str, target: &[u8]) -> ManifestEntry {
        ManifestEntry {
            kind: EntryKind::Symlink {
                target: target.to_vec(),
            },
            size: target.len() as u64,
            ..file(path, 'e', 9)
        }
    }

    fn manifest(entries: Vec<ManifestEntry>) -> Manifest {
        Manifest::new(&"c".repeat(40), entries, Vec::new()).unwrap()
    }

    fn texts(paths: &[Vec<u8>]) -> Vec<String> {
        let text = |p: &Vec<u8>| String::from_utf8_lossy(p).into_owned();
        paths.iter().map(text).collect()
    }

    #[test]
    fn manifest_is_independent_of_entry_order() {
        let (a, b) = (file("a", '1', 5), link("b", b"a"));
        let one = manifest(vec![a.clone(), b.clone()]);
        let two = manifest(vec![b, a]);
        assert_eq!(one.listing(), two.listing());
        assert_eq!(one.listing(), b"f 644 3 5.0000000000 a\0l b//a\0");
        assert_eq!(one.digest().0.len(), 64);
    }

    #[test]
    fn stored_manifest_roundtrips() {
        let mut odd = file("with space\nand line", '2', -1);
        odd.path.push(0xff);
        odd.kind = EntryKind::File(Mode::Executable);
        let entries = vec![file("-x", '1', 5), odd, link("l n", b"//x/ \n")];
        let notes = vec!["submodule x\nis left out".to_owned()];
        let whole = Manifest::new(&"c".repeat(40), entries, notes).unwrap();
        let read = Manifest::from_bytes(&whole.to_bytes()).unwrap();
        assert_eq!(read.entries(), whole.entries());
        assert_eq!(read.commit(), whole.commit());
        assert_eq!(read.notes(), ["submodule x is left out"]);
        let none = manifest(Vec::new());
        assert_eq!(Manifest::from_bytes(&none.to_bytes()).unwrap(), none);
    }

    #[test]
    fn modified_stored_manifest_is_refused() {
        let bytes = manifest(vec![file("a", '1', 5), link("b", b"a")]).to_bytes();
        for cut in 0..bytes.len() {
            assert!(Manifest::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for (from, to) in [
            ("644", "755"),
            (" 5 ", " 6 "),
            (" 3 ", " 4 "),
            ("//a", "//b"),
        ] {
            let text = String::from_utf8(bytes.clone()).unwrap().replace(from, to);
            assert!(Manifest::from_bytes(text.as_bytes()).is_err(), "{from}");
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            ".git/config",
            "x/.GIT/y",
        ] {
            let made = Manifest::new("c", vec![file(path, '1', 1)], Vec::new());
            assert!(matches!(made, Err(ManifestError::Path { .. })), "{path}");
        }
        let duplicate = vec![file("a", '1', 1), file("a", '2', 1)];
        assert!(Manifest::new("c", duplicate, Vec::new()).is_err());
        let both = vec![file("a", '1', 1), file("a-b", '1', 1), file("a/x", '2', 1)];
        assert!(Manifest::new("c", both, Vec::new()).is_err());
    }

    #[test]
    fn manifest_diff_lists_files_to_send_and_to_delete() {
        let base = manifest(vec![
            file("same", '1', 5),
            file("content", '1', 5),
            file("mode", '1', 5),
            file("time", '1', 5),
            file("gone", '1', 5),
            file("dir/gone/a", '1', 5),
            file("dir/gone/b", '1', 5),
            file("dir/stays", '1', 5),
            file("to-link", '1', 5),
            file("to-dir", '1', 5),
            file("to-file/x/y", '1', 5),
            link("to-target", b"a"),
            link("link-to-file", b"a"),
        ]);
        let mut mode = file("mode", '1', 6);
        mode.kind = EntryKind::File(Mode::Executable);
        let new = manifest(vec![
            file("same", '1', 5),
            file("content", '2', 6),
            mode,
            file("time", '1', 6),
            file("dir/stays", '1', 5),
            link("to-link", b"same"),
            file("to-dir/x", '1', 6),
            file("to-file", '1', 6),
            link("to-target", b"b"),
            file("link-to-file", '1', 6),
        ]);
        let diff = new.diff(&base);
        assert_eq!(
            texts(&diff.changed),
            [
                "content",
                "link-to-file",
                "mode",
                "time",
                "to-dir/x",
                "to-file",
                "to-link",
                "to-target"
            ]
        );
        assert_eq!(
            texts(&diff.removed),
            [
                "dir/gone",
                "gone",
                "link-to-file",
                "to-dir",
                "to-file",
                "to-link"
            ]
        );
        assert_eq!(new.diff(&new), ManifestDiff::default());
    }
}
