//! Turns a backup into the store of an agent that is not running.
//!
//! The whole file is read and verified against its digest before any change. The new store is
//! filled in its own directory and put in place by one rename; the previous store is kept. A crash
//! at any point leaves either the previous or the new store complete.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::try_join_all;
use jiff::Timestamp;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::file::{BackupCounts, BackupReader, FileError, Header, Item};
use super::{evidence, quarantine};
use crate::store::audit::{AuditAction, Ledger};
use crate::store::kv::{Commit, CommitError, Kv as _, KvError, Range};
use crate::store::sled::{LOCK_PAUSE, LOCK_TRIES, SledKv, StoreOpenError};
use crate::store::{RestoreOrigin, Store, StoreError};

/// Rows per commit.
const COMMIT_ROWS: usize = 90;
/// Bytes per commit, excluding its last row.
const COMMIT_BYTES: usize = 256 * 1024;
/// Commits that become durable together.
const COMMITS_TOGETHER: usize = 32;
/// The size of sled's cache, in bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Sessions are not restored, since ended ones must not become valid again: users log in again.
const SESSIONS: &[u8] = b"session/";

/// How to treat an existing store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingStore {
    /// Refuse to restore, unless it is empty.
    Refuse,
    /// Keep it beside the new one.
    KeepBeside,
}

/// What to restore, and where.
#[derive(Clone, Debug)]
pub struct RestoreRequest<'a> {
    pub file: &'a Path,
    pub data_dir: &'a Path,
    /// The path of the store in `data_dir`.
    pub store: &'a Path,
    pub former: ExistingStore,
    /// The id of the next task, if the operator knows it better than this program can.
    pub next_id: Option<u64>,
    pub now: Timestamp,
}

/// The result of a restore.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    pub header: Header,
    pub counts: BackupCounts,
    /// The first id that the agent allocates.
    pub next_id: u64,
    /// The tasks that wait for a person to check them.
    pub held: Vec<u64>,
    /// The path of the previous store.
    pub former: Option<PathBuf>,
}

/// Why nothing was restored. The previous store is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("{} cannot be restored: {source}", .file.display())]
    File { file: PathBuf, source: FileError },
    #[error("an agent runs on {0}: stop it first", .dir.display())]
    Held { dir: PathBuf },
    #[error(
        "there is a store in {} already: `--replace` puts the backup in its place and keeps it beside",
        .dir.display()
    )]
    NotEmpty { dir: PathBuf },
    #[error("--next-id {requested} is already in use: the next free one is {least}")]
    NextId { requested: u64, least: u64 },
    #[error("cannot {doing} {}: {source}; look at the disk", .path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Open(#[from] StoreOpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the new store cannot be filled: {0}")]
    Commit(#[from] CommitError),
    #[error("the new store cannot be read: {0}")]
    Read(#[from] KvError),
}

fn io_error<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> RestoreError + use<'a> {
    move |source| RestoreError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// Creates the store of an agent from a backup.
///
/// # Errors
/// [`RestoreError`]; nothing has changed then.
pub async fn restore(request: RestoreRequest<'_>) -> Result<RestoreReport, RestoreError> {
    let of_file = |source| RestoreError::File {
        file: request.file.to_owned(),
        source,
    };
    let counts = open(request.file)
        .and_then(BackupReader::verify)
        .map_err(of_file)?;
    make_private(request.data_dir)?;
    let _lock = take_store(&request).await?;
    let paths = RestorePaths::make(&request)?;
    let reader = open(request.file).map_err(of_file)?;
    let header = reader.header().clone();
    let (next_id, held) = match build(reader, &paths, &request, &of_file).await {
        Ok(settled) => settled,
        Err(error) => {
            // A partial store is useless.
            let _ = fs::remove_dir_all(&paths.filling);
            return Err(error);
        }
    };
    let former = paths.swap(&request, header.logs)?;
    Ok(RestoreReport {
        header,
        counts,
        next_id,
        held,
        former,
    })
}

/// Fills and closes the new store.
async fn build(
    mut reader: BackupReader<BufReader<File>>,
    paths: &RestorePaths,
    request: &RestoreRequest<'_>,
    of_file: &impl Fn(FileError) -> RestoreError,
) -> Result<(u64, Vec<u64>), RestoreError> {
    let kv = Arc::new(SledKv::open(&paths.store(), CACHE_BYTES)?);
    fill(&mut reader, &kv, &paths.logs(), of_file).await?;
    settle(&kv, request, reader.header()).await
}

fn open(file: &Path) -> Result<BackupReader<BufReader<File>>, FileError> {
    BackupReader::new(BufReader::with_capacity(1024 * 1024, File::open(file)?))
}

fn make_private(directory: &Path) -> Result<(), RestoreError> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(io_error("make", directory))
}

/// Ensures that the store is unused, and stays so until the returned file is closed. That is the
/// file an agent locks, even in a damaged store.
async fn take_store(request: &RestoreRequest<'_>) -> Result<Option<File>, RestoreError> {
    let log = request.store.join("db");
    let held = || RestoreError::Held {
        dir: request.data_dir.to_owned(),
    };
    if !log.exists() {
        return Ok(None);
    }
    if request.former == ExistingStore::Refuse {
        let empty = match SledKv::open(request.store, CACHE_BYTES) {
            Ok(kv) => is_empty(&kv).await?,
            Err(StoreOpenError::Held { .. }) => return Err(held()),
            Err(_) => false,
        };
        if !empty {
            return Err(RestoreError::NotEmpty {
                dir: request.store.to_owned(),
            });
        }
    }
    let file = File::open(&log).map_err(io_error("open", &log))?;
    // As when opening a store: the process that just closed it may hold the lock briefly.
    for _ in 0..LOCK_TRIES {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(error) => return Err(io_error("lock", &log)(error.into())),
        }
    }
    Err(held())
}

async fn is_empty(kv: &SledKv) -> Result<bool, KvError> {
    Ok(kv.range(Range::prefix("").limit(1)).await?.rows.is_empty())
}

/// Where the new store is filled, and where the previous one is kept.
struct RestorePaths {
    filling: PathBuf,
    replaced: PathBuf,
}

impl RestorePaths {
    fn make(request: &RestoreRequest<'_>) -> Result<Self, RestoreError> {
        let date = request.now.strftime("%Y%m%d-%H%M%S");
        let paths = Self {
            filling: request.data_dir.join(format!("restoring-{date}")),
            replaced: request.data_dir.join(format!("replaced-{date}")),
        };
        // Not recursive: an existing directory is not ours.
        DirBuilder::new()
            .mode(0o700)
            .create(&paths.filling)
            .map_err(io_error("make", &paths.filling))?;
        Ok(paths)
    }

    fn store(&self) -> PathBuf {
        self.filling.join("store")
    }

    fn logs(&self) -> PathBuf {
        self.filling.join("logs")
    }

    /// Replaces the existing store by the one that was filled.
    fn swap(
        &self,
        request: &RestoreRequest<'_>,
        logs: bool,
    ) -> Result<Option<PathBuf>, RestoreError> {
        let directory = File::open(&self.filling).map_err(io_error("open", &self.filling))?;
        // Sync names, logs and store before the first rename.
        rustix::fs::syncfs(&directory)
            .map_err(|error| io_error("sync", &self.filling)(error.into()))?;
        exchange(&self.store(), request.store)?;
        if logs {
            make_private(&self.logs())?;
            exchange(&self.logs(), &request.data_dir.join("logs"))?;
        }
        let sync = |path: &Path| {
            let synced = File::open(path).and_then(|directory| directory.sync_all());
            synced.map_err(io_error("sync", path))
        };
        sync(request.data_dir)?;
        // There was no previous store to keep.
        if fs::remove_dir(&self.filling).is_ok() {
            return Ok(None);
        }
        fs::rename(&self.filling, &self.replaced).map_err(io_error("rename", &self.filling))?;
        sync(request.data_dir)?;
        Ok(Some(self.replaced.clone()))
    }
}

/// Renames `new` to `old`; an existing `old` is renamed to `new`.
fn exchange(new: &Path, old: &Path) -> Result<(), RestoreError> {
    let failed = |error: rustix::io::Errno| io_error("rename", new)(error.into());
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::NOENT) => {
            renameat_with(CWD, new, CWD, old, RenameFlags::NOREPLACE).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

async fn fill(
    reader: &mut BackupReader<BufReader<File>>,
    kv: &SledKv,
    logs: &Path,
    of_file: &impl Fn(FileError) -> RestoreError,
) -> Result<(), RestoreError> {
    let mut commits = Vec::new();
    let mut commit = Commit::new();
    let mut bytes = 0;
    let mut log: Option<(PathBuf, File)> = None;
    while let Some(item) = reader.next_item().map_err(of_file)? {
        match item {
            Item::Row { key, .. } if key.starts_with(SESSIONS) => {}
            Item::Row { key, value } => {
                bytes += key.len() + value.len();
                commit = commit.put(key, value);
                if commit.operations() >= COMMIT_ROWS || bytes >= COMMIT_BYTES {
                    bytes = 0;
                    commits.push(std::mem::take(&mut commit));
                }
                if commits.len() >= COMMITS_TOGETHER {
                    write(kv, std::mem::take(&mut commits)).await?;
                }
            }
            Item::Log(name) => {
                let path = logs.join(name);
                let parent = path.parent().unwrap_or(logs);
                make_private(parent)?;
                let file = File::create_new(&path).map_err(io_error("make", &path))?;
                log = Some((path, file));
            }
            Item::Piece(piece) => {
                if let Some((path, file)) = &mut log {
                    file.write_all(&piece).map_err(io_error("write", path))?;
                }
            }
        }
    }
    commits.push(commit);
    write(kv, commits).await
}

async fn write(kv: &SledKv, commits: Vec<Commit>) -> Result<(), RestoreError> {
    try_join_all(commits.into_iter().map(|commit| kv.commit(commit))).await?;
    Ok(())
}

/// Separates the store from its previous history: raises ids and fences above those used before,
/// and makes sure that no task starts by itself.
async fn settle(
    kv: &Arc<SledKv>,
    request: &RestoreRequest<'_>,
    header: &Header,
) -> Result<(u64, Vec<u64>), RestoreError> {
    let store = Store::open(kv.clone()).await?;
    let last = store.last_id();
    let bound = evidence::next_id(request.data_dir, last, header.created_at, request.now);
    let next_id = match request.next_id {
        None => bound,
        Some(requested) => {
            let least = evidence::seen(request.data_dir).max(last) + 1;
            if requested < least {
                return Err(RestoreError::NextId { requested, least });
            }
            requested
        }
    };
    let restored = RestoreOrigin {
        at: request.now,
        backup: header.created_at,
        revision: header.revision,
        next_id,
    };
    let held = reset_after_restore(&store, &restored).await?;
    let action = AuditAction::in_store("restore", format!("a backup of {:.0}", header.created_at));
    Ledger::new(kv.clone()).note(action, request.now).await?;
    Ok((next_id, held))
}

/// Prepares a store that was filled from a backup: ids and fences continue above those used before,
/// and unfinished tasks wait for a person. Returns the waiting tasks.
///
/// # Errors
/// [`StoreError`]: start over with an empty store.
pub async fn reset_after_restore(
    store: &Store,
    restored: &RestoreOrigin,
) -> Result<Vec<u64>, StoreError> {
    store.reset_after_restore(restored).await?;
    quarantine::hold(store, restored.backup, restored.at).await
}
