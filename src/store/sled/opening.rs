//! Opens the files of a store, and refuses those that are held by another process, damaged, newer
//! than this program, or that end before an answered revision.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sled::{Batch, Db};

use super::layout::{
    Census, FORMAT, FORMAT_KEY, StoreTip, TIP_KEY, decode_row, key_of_row, pieces_from, row_bounds,
};
use crate::base::durable::directory_of;
use crate::store::kv::Revision;

/// How many times to try the lock of a store, within one second.
pub(crate) const LOCK_TRIES: u32 = 100;
pub(crate) const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    #[error("another agent holds {0}: stop it first, or choose another `data_dir`", .dir.display())]
    Held { dir: PathBuf },
    #[error(
        "the store in {} is damaged ({why}): move the directory away and restore a backup with \
         `tagship restore`",
        .dir.display()
    )]
    Damaged { dir: PathBuf, why: String },
    #[error(
        "the store in {} has format {found}, this program knows formats up to {FORMAT}: start the \
         newer tagship that wrote it, or restore a backup of before the upgrade into another directory",
        .dir.display()
    )]
    TooNew { dir: PathBuf, found: u32 },
    #[error("cannot open the store in {}: {source}; look at the disk and at its owner", .dir.display())]
    Io { dir: PathBuf, source: io::Error },
}

/// An open store.
pub(super) struct Opened {
    pub(super) db: Db,
    /// A second handle to sled's log, for syncing.
    pub(super) log: File,
    /// Holds the last answered revision.
    pub(super) confirmed: File,
    pub(super) tip: StoreTip,
}

pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Opened, StoreOpenError> {
    let io = |source| StoreOpenError::Io {
        dir: dir.to_path_buf(),
        source,
    };
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io)?;
    let db = open_db(dir, cache_bytes)?;
    check_format(&db, dir)?;
    let damaged = |why: String| StoreOpenError::Damaged {
        dir: dir.to_path_buf(),
        why,
    };
    let tip = read_tip(&db).map_err(damaged)?;
    match catch_unwind(AssertUnwindSafe(|| count(&db, tip))) {
        Ok(counted) => counted.map_err(damaged)?,
        Err(_) => return Err(damaged("its rows cannot be read".into())),
    }
    let confirmed = open_confirmed(dir, tip.revision)?;
    let log = File::open(dir.join("db")).map_err(io)?;
    log.sync_all().map_err(io)?;
    sync_names(dir).map_err(io)?;
    Ok(Opened {
        db,
        log,
        confirmed,
        tip,
    })
}

/// Opens the database; sled's threads may hold a just closed one for a moment.
fn open_db(dir: &Path, cache_bytes: u64) -> Result<Db, StoreOpenError> {
    for _ in 0..LOCK_TRIES {
        match try_open(dir, cache_bytes) {
            Err(StoreOpenError::Held { .. }) => std::thread::sleep(LOCK_PAUSE),
            opened => return opened,
        }
    }
    try_open(dir, cache_bytes)
}

/// sled panics on some damaged files and returns errors for others.
fn try_open(dir: &Path, cache_bytes: u64) -> Result<Db, StoreOpenError> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(cache_bytes)
        // No sled thread may write independently of the writer; cleaning happens with writes.
        .flush_every_ms(None);
    let damaged = |why: String| StoreOpenError::Damaged {
        dir: dir.to_path_buf(),
        why,
    };
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(error))) if error.to_string().contains("could not acquire lock") => {
            Err(StoreOpenError::Held {
                dir: dir.to_path_buf(),
            })
        }
        Ok(Err(sled::Error::Io(source))) => Err(StoreOpenError::Io {
            dir: dir.to_path_buf(),
            source,
        }),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("its log cannot be read".into())),
    }
}

/// Writes the format into an empty store, and refuses one that is foreign or newer.
fn check_format(db: &Db, dir: &Path) -> Result<(), StoreOpenError> {
    let damaged = |why: String| StoreOpenError::Damaged {
        dir: dir.to_path_buf(),
        why,
    };
    let format = db.get(FORMAT_KEY).map_err(|e| damaged(e.to_string()))?;
    let Some(format) = format else {
        if !db.is_empty() {
            return Err(damaged("it holds rows but names no format".into()));
        }
        let mut batch = Batch::default();
        batch.insert(FORMAT_KEY, &FORMAT.to_be_bytes());
        batch.insert(TIP_KEY, StoreTip::default().encode());
        let written = db.apply_batch(batch).and_then(|()| db.flush());
        return written.map(|_| ()).map_err(|e| StoreOpenError::Io {
            dir: dir.to_path_buf(),
            source: io::Error::other(e),
        });
    };
    let found = <[u8; 4]>::try_from(format.as_ref());
    match found.map(u32::from_be_bytes) {
        Ok(FORMAT) => Ok(()),
        Ok(found) if found > FORMAT => Err(StoreOpenError::TooNew {
            dir: dir.to_path_buf(),
            found,
        }),
        Ok(_) | Err(_) => Err(damaged("it names an unknown format".into())),
    }
}

fn read_tip(db: &Db) -> Result<StoreTip, String> {
    let stored = db.get(TIP_KEY).map_err(|e| e.to_string())?;
    let tip = stored.and_then(|bytes| StoreTip::decode(&bytes));
    tip.ok_or_else(|| "its revision is missing".into())
}

/// Checks that all rows exist. sled silently ignores some damage to its log, and an agent would
/// take missing data for work never done. Reads every key once.
fn count(db: &Db, tip: StoreTip) -> Result<(), String> {
    let mut census = Census::default();
    let mut pieces = 0;
    for row in db.range(row_bounds((Bound::Unbounded, Bound::Unbounded))) {
        let (key, row) = row.map_err(|e| e.to_string())?;
        let (stored, _) = decode_row(&row).ok_or("it holds something that is no row")?;
        census.add(&key_of_row(&key), stored.version);
        pieces += u64::from(stored.pieces);
    }
    let mut found = 0;
    for piece in db.range(pieces_from()..) {
        piece.map_err(|e| e.to_string())?;
        found += 1;
    }
    if (census, found) == (tip.census, pieces) {
        return Ok(());
    }
    Err(format!(
        "{} rows and {found} pieces of them can be read, {} and {pieces} were written",
        census.rows, tip.census.rows
    ))
}

/// Opens the record of the answered revision, and checks the recovered one against it.
fn open_confirmed(dir: &Path, recovered: Revision) -> Result<File, StoreOpenError> {
    let io = |source| StoreOpenError::Io {
        dir: dir.to_path_buf(),
        source,
    };
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(dir.join("confirmed")).map_err(io)?;
    let mut bytes = [0; 8];
    match file.read_exact_at(&mut bytes, 0) {
        // Created just before the last crash.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        other => other.map_err(io)?,
    }
    let confirmed = Revision(u64::from_be_bytes(bytes));
    if confirmed > recovered {
        return Err(StoreOpenError::Damaged {
            dir: dir.to_path_buf(),
            why: format!("revision {confirmed} was confirmed, but it ends at {recovered}"),
        });
    }
    Ok(file)
}

/// sled syncs neither its parameters nor the names of its files.
fn sync_names(dir: &Path) -> io::Result<()> {
    File::open(dir.join("conf"))?.sync_all()?;
    File::open(dir)?.sync_all()?;
    File::open(directory_of(dir))?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::TryStreamExt;

    use super::*;
    use crate::store::kv::{Commit, Kv, Row, all_rows};
    use crate::store::sled::SledKv;

    const CACHE_BYTES: u64 = 8 * 1024 * 1024;

    async fn filled(dir: &Path) -> Vec<Row> {
        let kv = SledKv::open(dir, CACHE_BYTES).unwrap();
        for number in 0..400_u32 {
            let key = format!("k{:03}", number % 300);
            let value = number.to_string().repeat(500);
            kv.commit(Commit::new().put(key, value)).await.unwrap();
        }
        all_rows(&kv, b"").await.unwrap()
    }

    fn refused(dir: &Path) -> StoreOpenError {
        SledKv::open(dir, CACHE_BYTES).err().unwrap()
    }

    #[test]
    fn newer_store_format_is_refused_and_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        drop(SledKv::open(dir.path(), CACHE_BYTES).unwrap());
        let newer = (FORMAT + 1).to_be_bytes();
        let db = open_db(dir.path(), CACHE_BYTES).unwrap();
        db.insert(FORMAT_KEY, &newer).unwrap();
        db.flush().unwrap();
        drop(db);
        let error = refused(dir.path());
        assert!(
            matches!(error, StoreOpenError::TooNew { found: 2, .. }),
            "{error}"
        );
        let db = open_db(dir.path(), CACHE_BYTES).unwrap();
        assert_eq!(db.get(FORMAT_KEY).unwrap().unwrap(), &newer);
    }

    #[test]
    fn foreign_store_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let db = open_db(dir.path(), CACHE_BYTES).unwrap();
        db.insert("theirs", "value").unwrap();
        db.flush().unwrap();
        drop(db);
        let error = refused(dir.path());
        assert!(matches!(error, StoreOpenError::Damaged { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_store_whose_end_is_cut_off_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path()).await;
        let log = fs::OpenOptions::new()
            .write(true)
            .open(dir.path().join("db"))
            .unwrap();
        log.set_len(log.metadata().unwrap().len() / 2).unwrap();
        let error = refused(dir.path());
        assert!(matches!(error, StoreOpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("tagship restore"));
    }

    #[tokio::test]
    async fn missing_or_new_acknowledgement_record_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let rows = filled(dir.path()).await;
        fs::write(dir.path().join("confirmed"), "").unwrap();
        let kv = SledKv::open(dir.path(), CACHE_BYTES).unwrap();
        assert!(all_rows(&kv, b"").await.unwrap() == rows);
    }

    /// Overwrites one part of the log after another. sled opens some of these stores without the
    /// rows of an unreadable page; a snapshot must not copy that loss.
    #[tokio::test]
    async fn no_damage_to_the_log_gets_into_a_backup() {
        let original = tempfile::tempdir().unwrap();
        let rows = filled(original.path()).await;
        let log = fs::read(original.path().join("db")).unwrap();
        let (mut refused, mut unharmed) = (0, 0);
        for offset in (0..log.len()).step_by(log.len() / 97) {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("blobs")).unwrap();
            for name in ["conf", "confirmed"] {
                fs::copy(original.path().join(name), dir.path().join(name)).unwrap();
            }
            let mut damaged = log.clone();
            for byte in damaged.iter_mut().skip(offset).take(64) {
                *byte ^= 0x5a;
            }
            fs::write(dir.path().join("db"), damaged).unwrap();
            let Ok(kv) = SledKv::open(dir.path(), CACHE_BYTES) else {
                refused += 1;
                continue;
            };
            let Ok(snapshot) = kv.snapshot().await else {
                refused += 1;
                continue;
            };
            match snapshot.rows.try_collect::<Vec<Row>>().await {
                Ok(read) => {
                    assert!(read == rows, "damage at {offset} got into the backup");
                    unharmed += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 0, "{unharmed} unharmed");
    }
}
