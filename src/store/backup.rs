//! A backup: one file with all durable data, that is every row of the store at one revision and the
//! output of steps. [`stream`] makes it while the agent runs; [`restore`](restore::restore) turns
//! it into a store while no agent runs.
//!
//! Called by the web (for a running agent) and by `tagship backup` and `tagship restore`. It does
//! not interpret rows, except for what a restored agent must not do: [`restore`] holds tasks that
//! may have run since, and starts ids and fences above any used after the backup. Mirrors,
//! checked-out trees and manifests are not included: they are recreated.

mod evidence;
pub mod file;
mod quarantine;
pub mod restore;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use self::file::{BackupCounts, Encoder, FORMAT, Header, PIECE_BYTES_MAX};
use crate::store::kv::{Kv, KvError};
use crate::store::log::LogBook;

/// Chunks of the file that may wait for a slow reader.
const CHUNKS_WAITING: usize = 4;

/// Whether a backup includes the output of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogInclusion {
    Included,
    LeftOut,
}

/// Why a backup is not complete.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] KvError),
    #[error("cannot read the log {}: {source}; look at the disk", .path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("the header cannot be written: {0}")]
    Header(serde_json::Error),
    /// The reader of the backup has disconnected.
    #[error("the reader of the backup has gone")]
    Abandoned,
}

/// Returns the bytes of a backup, ready to be written. It shows the store at the current revision
/// while commits continue; memory holds a few chunks. A stream that ends with an error, or before
/// the digest, is not a valid backup.
#[must_use]
pub fn stream(
    kv: Arc<dyn Kv>,
    logs: LogBook,
    which: LogInclusion,
    now: Timestamp,
) -> ReceiverStream<Result<Vec<u8>, BackupError>> {
    let (chunks, receiver) = mpsc::channel(CHUNKS_WAITING);
    tokio::spawn(async move {
        let mut out = BackupOutput {
            encoder: Encoder::default(),
            chunks: chunks.clone(),
        };
        if let Err(error) = write(kv.as_ref(), &logs, which, now, &mut out).await {
            tracing::error!(%error, "a backup was not completed");
            // A reader that has disconnected needs no reason.
            let _ = chunks.send(Err(error)).await;
        }
    });
    ReceiverStream::new(receiver)
}

struct BackupOutput {
    encoder: Encoder,
    chunks: mpsc::Sender<Result<Vec<u8>, BackupError>>,
}

impl BackupOutput {
    /// Sends the buffered bytes once there are enough.
    async fn pass(&mut self) -> Result<(), BackupError> {
        match self.encoder.full() {
            Some(chunk) => self.send(chunk).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, chunk: Vec<u8>) -> Result<(), BackupError> {
        let sent = self.chunks.send(Ok(chunk)).await;
        sent.map_err(|_| BackupError::Abandoned)
    }
}

async fn write(
    kv: &dyn Kv,
    logs: &LogBook,
    which: LogInclusion,
    now: Timestamp,
    out: &mut BackupOutput,
) -> Result<(), BackupError> {
    let snapshot = kv.snapshot().await?;
    let header = Header {
        format: FORMAT,
        tagship: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: now,
        revision: snapshot.revision.0,
        logs: which == LogInclusion::Included,
    };
    out.encoder.header(&header).map_err(BackupError::Header)?;
    let mut counts = BackupCounts::default();
    let mut rows = snapshot.rows;
    // Read to the end: only there does the engine detect missing rows.
    while let Some(row) = rows.try_next().await? {
        counts.rows += 1;
        out.encoder.row(&row.key, &row.value);
        out.pass().await?;
    }
    if which == LogInclusion::Included {
        // After the rows: the output of any step they mention is logged by now.
        write_logs(logs.directory(), &mut counts, out).await?;
    }
    out.encoder.end(&counts).map_err(BackupError::Header)?;
    let rest = out.encoder.finish();
    out.send(rest).await
}

async fn write_logs(
    root: &Path,
    counts: &mut BackupCounts,
    out: &mut BackupOutput,
) -> Result<(), BackupError> {
    for task in names(root).await? {
        for host in names(&root.join(&task)).await? {
            for file in names(&root.join(&task).join(&host)).await? {
                let name: PathBuf = [&task, &host, &file].iter().collect();
                if write_log(root, &name, out).await? {
                    counts.logs += 1;
                }
            }
        }
    }
    Ok(())
}

/// Writes one log; returns whether it still existed, since old logs are deleted concurrently.
async fn write_log(root: &Path, name: &Path, out: &mut BackupOutput) -> Result<bool, BackupError> {
    let path = root.join(name);
    let failed = |source| BackupError::Log {
        path: path.clone(),
        source,
    };
    let mut file = match tokio::fs::File::open(&path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    out.encoder.log(name);
    let mut piece = vec![0; PIECE_BYTES_MAX];
    loop {
        let length = file.read(&mut piece).await.map_err(failed)?;
        if length == 0 {
            return Ok(true);
        }
        out.encoder.piece(&piece[..length]);
        out.pass().await?;
    }
}

/// Returns the sorted names in a directory; none if it does not exist.
async fn names(directory: &Path) -> Result<Vec<std::ffi::OsString>, BackupError> {
    let failed = |source| BackupError::Log {
        path: directory.to_owned(),
        source,
    };
    let mut entries = match tokio::fs::read_dir(directory).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(failed)? {
        names.push(entry.file_name());
    }
    names.sort();
    Ok(names)
}
