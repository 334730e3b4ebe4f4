//! Makes a directory equal to a manifest, writing only what differs.
//!
//! Beside the directory `D` are `D.manifest` (what was last written there, with the machine's boot
//! id), `D.part` (the one file being written) and `D.lock`. Where that record equals the new
//! manifest and size, mode and mtime on disk match, a file is not read. The record is removed
//! before the first change and written after the last, so after a crash every file is compared by
//! content. A power cut changes the boot id, with the same effect: files need no individual sync.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self as std_io, BufRead};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::blobs::NoBlob;
use super::manifest::ancestors;
use crate::domain::plan::PushLimits;
use crate::git::lock::{self, LockFile};

use super::{
    CheckoutError, EntryKind, Manifest, ManifestEntry, StreamReadError, blobs, blocking, missing,
    open_mirror, streamed,
};

const DIRECTORY_BITS: u32 = 0o755;
/// Limits a git that hangs. Any release can be written in that time; a stop ends it sooner.
const WRITE_TIME: Duration = Duration::from_secs(6 * 60 * 60);

/// The changes made by [`write_tree`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenTree {
    /// Files and links that were written.
    pub written: u64,
    /// The size of these, in bytes.
    pub bytes: u64,
    /// Files with correct content but a wrong mode or mtime.
    pub touched: u64,
    /// Files, links and directories (each with its contents) that were removed.
    pub removed: u64,
}

/// Makes `dir` equal `manifest`, with content from `mirror`. Creates parents of `dir`. Calls for
/// one directory run one at a time, and a dropped call ends soon.
///
/// # Errors
/// [`CheckoutError`]; `dir` is then between two trees, and the next call repairs it.
pub async fn write_tree(
    mirror: PathBuf,
    manifest: Arc<Manifest>,
    dir: PathBuf,
) -> Result<WrittenTree, CheckoutError> {
    let guard = lock::of_directory(&dir).lock_owned().await;
    let stop = StopOnDrop::default();
    let stopped = stop.0.clone();
    let (begun, read_from) = (manifest.clone(), mirror.clone());
    // Work left over from a dropped call holds its permit and lock until it has ended.
    let write = blocking(move || {
        let write = TreeWrite::begin(begun, dir, guard, &stopped)?;
        if write.is_some() {
            // If it was deleted, the caller fetches it again; git would only report a failure.
            open_mirror(&read_from)?;
        }
        Ok(write)
    })
    .await?;
    let Some(write) = write else {
        return Ok(WrittenTree::default());
    };
    let input = blobs::input(write.files().map(|entry| entry.blob.as_str()));
    // It reads what the plan has read, with the same git.
    let git = blobs::command(&mirror, PushLimits::default().git_memory_bytes);
    let read = move |pipe: &mut _| write.end(pipe);
    streamed(
        (manifest.commit(), "cat-file"),
        git,
        input,
        WRITE_TIME,
        read,
    )
    .await
}

/// Tells the worker thread of a call that the call was dropped.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type DirectoryGuard = tokio::sync::OwnedMutexGuard<()>;

/// A directory being written, without a valid record until done.
struct TreeWrite {
    manifest: Arc<Manifest>,
    dir: PathBuf,
    files: Files,
    pending: PendingChanges,
    _lock: LockFile,
    _guard: DirectoryGuard,
}

impl TreeWrite {
    /// Determines what differs; `None` if nothing does.
    fn begin(
        manifest: Arc<Manifest>,
        dir: PathBuf,
        guard: DirectoryGuard,
        stop: &AtomicBool,
    ) -> Result<Option<Self>, CheckoutError> {
        let files = Files::of(&dir);
        fs::create_dir_all(&dir).map_err(io(&dir))?;
        let lock = files.lock()?;
        let record = files.read_record();
        let tree = Tree::new(&dir, &manifest, record.as_ref(), stop);
        let pending = tree.compare()?;
        if pending.is_nothing() && record.as_ref() == Some(&*manifest) {
            return Ok(None);
        }
        remove_if_present(&files.record)?;
        Ok(Some(Self {
            manifest,
            dir,
            files,
            pending,
            _lock: lock,
            _guard: guard,
        }))
    }

    fn entries<'w>(&'w self, indexes: &'w [usize]) -> impl Iterator<Item = &'w ManifestEntry> {
        indexes.iter().map(|at| &self.manifest.entries()[*at])
    }

    /// Returns the files whose contents [`Self::end`] reads, in order.
    fn files(&self) -> impl Iterator<Item = &ManifestEntry> {
        self.entries(&self.pending.write)
            .filter(|entry| matches!(entry.kind, EntryKind::File(_)))
    }

    fn path_of(&self, path: &[u8]) -> PathBuf {
        self.dir.join(OsStr::from_bytes(path))
    }

    /// Changes the directory, with contents from `pipe`.
    fn end(self, pipe: &mut impl BufRead) -> Result<WrittenTree, StreamReadError> {
        let mut done = WrittenTree::default();
        let pending = &self.pending;
        for path in &pending.remove_trees {
            fs::remove_dir_all(path).map_err(io(path))?;
        }
        for path in &pending.remove_files {
            fs::remove_file(path).map_err(io(path))?;
        }
        done.removed = (pending.remove_trees.len() + pending.remove_files.len()) as u64;
        for path in &pending.open_directories {
            set_mode(path, DIRECTORY_BITS)?;
        }
        let mut made: HashSet<&[u8]> = HashSet::new();
        for entry in self.entries(&pending.write) {
            for above in ancestors(&entry.path) {
                if made.insert(above) {
                    self.make_directory(above)?;
                }
            }
            self.write(entry, pipe)?;
            done.written += 1;
            done.bytes += entry.size;
        }
        for entry in self.entries(&pending.touch) {
            set_stat(entry, &self.path_of(&entry.path))?;
            done.touched += 1;
        }
        self.files.write_record(&self.manifest)?;
        Ok(done)
    }

    fn make_directory(&self, path: &[u8]) -> Result<(), CheckoutError> {
        let path = self.path_of(path);
        match fs::create_dir(&path) {
            Ok(()) => set_mode(&path, DIRECTORY_BITS),
            Err(error) if error.kind() == std_io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(io(&path)(error)),
        }
    }

    /// Completed under another name first: no half-written file ever appears in the tree.
    fn write(&self, entry: &ManifestEntry, pipe: &mut impl BufRead) -> Result<(), StreamReadError> {
        let part = &self.files.part;
        remove_if_present(part)?;
        match &entry.kind {
            EntryKind::Symlink { target } => {
                symlink(OsStr::from_bytes(target), part).map_err(io(part))?;
            }
            EntryKind::File(_) => {
                let mut file = File::create_new(part).map_err(io(part))?;
                let copied = blobs::copy(pipe, &entry.blob, entry.size, &mut file);
                copied.map_err(|error| match error {
                    NoBlob::Missing => missing(&entry.path, &entry.blob).into(),
                    NoBlob::Read(error) => StreamReadError::Io(error),
                    NoBlob::Write(error) => io(part)(error).into(),
                })?;
            }
        }
        set_stat(entry, part)?;
        let path = self.path_of(&entry.path);
        Ok(fs::rename(part, &path).map_err(io(&path))?)
    }
}

/// The auxiliary files beside the directory.
struct Files {
    record: PathBuf,
    part: PathBuf,
    lock: PathBuf,
}

impl Files {
    fn of(dir: &Path) -> Self {
        let beside = |suffix: &str| {
            let mut name = OsString::from(dir.as_os_str());
            name.push(suffix);
            PathBuf::from(name)
        };
        Self {
            record: beside(".manifest"),
            part: beside(".part"),
            lock: beside(".lock"),
        }
    }

    fn lock(&self) -> Result<LockFile, CheckoutError> {
        let lock = LockFile::lock(&self.lock).map_err(io(&self.lock))?;
        lock.ok_or_else(|| CheckoutError::Busy(self.lock.clone()))
    }

    /// Returns the valid record of the directory, if any.
    fn read_record(&self) -> Option<Manifest> {
        let bytes = fs::read(&self.record).ok()?;
        let at = bytes.iter().position(|byte| *byte == b'\n')?;
        let boot = boot_id()?;
        if bytes[..at] != *format!("boot {boot}").as_bytes() {
            return None;
        }
        Manifest::from_bytes(&bytes[at + 1..]).ok()
    }

    fn write_record(&self, manifest: &Manifest) -> Result<(), CheckoutError> {
        let boot = boot_id().unwrap_or_default();
        let mut bytes = format!("boot {boot}\n").into_bytes();
        bytes.extend_from_slice(&manifest.to_bytes());
        fs::write(&self.part, bytes).map_err(io(&self.part))?;
        fs::rename(&self.part, &self.record).map_err(io(&self.record))
    }
}

/// Returns an id that changes with every boot; without one no record is valid.
fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

struct Tree<'a> {
    dir: &'a Path,
    /// Each path's index in the manifest.
    entries: HashMap<&'a [u8], usize>,
    directories: HashSet<&'a [u8]>,
    record: Option<&'a Manifest>,
    manifest: &'a Manifest,
    stop: &'a AtomicBool,
}

/// The differences between the disk and the manifest.
#[derive(Default)]
struct PendingChanges {
    remove_files: Vec<PathBuf>,
    remove_trees: Vec<PathBuf>,
    open_directories: Vec<PathBuf>,
    /// Indexes into the manifest.
    touch: Vec<usize>,
    write: Vec<usize>,
}

impl PendingChanges {
    fn is_nothing(&self) -> bool {
        self.remove_files.is_empty()
            && self.remove_trees.is_empty()
            && self.open_directories.is_empty()
            && self.touch.is_empty()
            && self.write.is_empty()
    }
}

enum FileMatch {
    Right,
    WrongStat,
    Wrong,
}

impl<'a> Tree<'a> {
    fn new(
        dir: &'a Path,
        manifest: &'a Manifest,
        record: Option<&'a Manifest>,
        stop: &'a AtomicBool,
    ) -> Self {
        let entries = manifest.entries();
        let numbered = entries.iter().enumerate();
        Self {
            dir,
            entries: numbered.map(|(at, e)| (e.path.as_slice(), at)).collect(),
            directories: entries.iter().flat_map(|e| ancestors(&e.path)).collect(),
            record,
            manifest,
            stop,
        }
    }

    fn path_of(&self, path: &[u8]) -> PathBuf {
        self.dir.join(OsStr::from_bytes(path))
    }

    /// Makes one pass over the disk; changes nothing.
    fn compare(&self) -> Result<PendingChanges, CheckoutError> {
        let mut pending = PendingChanges::default();
        let mut unchanged: HashSet<usize> = HashSet::new();
        let mut ahead: Vec<Vec<u8>> = vec![Vec::new()];
        // rsync copies this mode to the release directory.
        if self.dir.metadata().map_err(io(self.dir))?.mode() & 0o7777 != DIRECTORY_BITS {
            pending.open_directories.push(self.dir.to_owned());
        }
        while let Some(at) = ahead.pop() {
            let here = self.path_of(&at);
            for item in fs::read_dir(&here).map_err(io(&here))? {
                let item = item.map_err(io(&here))?;
                let name = item.file_name();
                let path = if at.is_empty() {
                    name.as_bytes().to_vec()
                } else {
                    [at.as_slice(), name.as_bytes()].join(&b'/')
                };
                let full_path = item.path();
                let stat = full_path.symlink_metadata().map_err(io(&full_path))?;
                if stat.is_dir() {
                    if !self.directories.contains(path.as_slice()) {
                        pending.remove_trees.push(full_path);
                        continue;
                    }
                    if stat.permissions().mode() & 0o7777 != DIRECTORY_BITS {
                        pending.open_directories.push(full_path);
                    }
                    ahead.push(path);
                    continue;
                }
                let Some(at) = self.entries.get(path.as_slice()).copied() else {
                    pending.remove_files.push(full_path);
                    continue;
                };
                match self.compare_file(&self.manifest.entries()[at], &full_path, &stat)? {
                    FileMatch::Right => {}
                    FileMatch::WrongStat => pending.touch.push(at),
                    FileMatch::Wrong => continue,
                }
                unchanged.insert(at);
            }
        }
        let all = 0..self.manifest.entries().len();
        pending.write = all.filter(|at| !unchanged.contains(at)).collect();
        Ok(pending)
    }

    fn compare_file(
        &self,
        entry: &ManifestEntry,
        path: &Path,
        stat: &Metadata,
    ) -> Result<FileMatch, CheckoutError> {
        let mode = match &entry.kind {
            EntryKind::Symlink { target } => {
                let same = stat.is_symlink()
                    && fs::read_link(path).map_err(io(path))?.as_os_str()
                        == OsStr::from_bytes(target);
                return Ok(match same {
                    false => FileMatch::Wrong,
                    true if stat.mtime() == entry.mtime_s => FileMatch::Right,
                    true => FileMatch::WrongStat,
                });
            }
            EntryKind::File(mode) => *mode,
        };
        if !stat.is_file() || stat.len() != entry.size {
            return Ok(FileMatch::Wrong);
        }
        let agrees = stat.mtime() == entry.mtime_s
            && stat.mtime_nsec() == 0
            && stat.permissions().mode() & 0o7777 == mode.bits();
        let recorded = self.record.and_then(|record| record.get(&entry.path));
        // The record describes what was written: valid only if the disk still has that mtime.
        let recorded = recorded.is_some_and(|was| {
            was.blob == entry.blob && was.mtime_s == stat.mtime() && stat.mtime_nsec() == 0
        });
        let same = recorded || {
            let mut content = File::open(path).map_err(io(path))?;
            let read = blobs::hash(&mut content, entry.size, &mut std_io::sink(), self.stop);
            match read {
                Ok((size, id)) => size == entry.size && id == entry.blob,
                Err(NoBlob::Missing) => false,
                Err(NoBlob::Read(error) | NoBlob::Write(error)) => return Err(io(path)(error)),
            }
        };
        Ok(match (same, agrees) {
            (false, _) => FileMatch::Wrong,
            (true, true) => FileMatch::Right,
            (true, false) => FileMatch::WrongStat,
        })
    }
}

fn set_stat(entry: &ManifestEntry, path: &Path) -> Result<(), CheckoutError> {
    if let EntryKind::File(mode) = entry.kind {
        set_mode(path, mode.bits())?;
    }
    let at = Timespec {
        tv_sec: entry.mtime_s,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: at,
        last_modification: at,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| io(path)(e.into()))
}

fn set_mode(path: &Path, bits: u32) -> Result<(), CheckoutError> {
    fs::set_permissions(path, Permissions::from_mode(bits)).map_err(io(path))
}

fn remove_if_present(path: &Path) -> Result<(), CheckoutError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(path)(error)),
        _ => Ok(()),
    }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> CheckoutError + '_ {
    move |error| CheckoutError::Io {
        path: path.to_owned(),
        detail: error.to_string(),
    }
}
