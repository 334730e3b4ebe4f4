//! What the agent says about its work (`tracing`, to standard error), and the output of steps, as
//! files.
//!
//! `logs/TASK/HOST/STEP.ATTEMPT` holds what a program printed, written at offsets, so that the same
//! bytes may arrive twice; `STEP.ATTEMPT.notes` beside it holds the agent's own lines. Readers that
//! follow are woken by [`LogBook::changes`], nobody polls. Never logged: secrets, tokens,
//! passwords, the environment of programs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::executor::effects::Logs;
use crate::host::Output;

/// What is kept of one attempt's output, in bytes; the rest is left out, and a note says so.
pub const OUTPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The logs of all tasks.
#[derive(Clone, Debug)]
pub struct LogBook {
    directory: PathBuf,
    changes: Arc<watch::Sender<u64>>,
}

/// One attempt of one step, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub host: String,
    /// `STAGE.STEP`, or `back.STAGE.STEP` on the way back; `landing` on the agent.
    pub step: String,
    pub attempt: u32,
}

/// Which file of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The agent's own lines.
    Notes,
    /// What the program printed.
    Output,
}

impl LogBook {
    /// The logs below `directory`, which is made when something is logged.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            changes: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Wakes whenever something is logged.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn file(&self, task: u64, entry: &Entry, part: Part) -> PathBuf {
        let suffix = match part {
            Part::Notes => ".notes",
            Part::Output => "",
        };
        self.directory
            .join(task.to_string())
            .join(&entry.host)
            .join(format!("{}.{}{suffix}", entry.step, entry.attempt))
    }

    /// The entries of a task, by host, step and attempt.
    ///
    /// # Errors
    /// The directory cannot be read. A task without output has none: that is no error.
    pub fn entries(&self, task: u64) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for host in read_directory(&self.directory.join(task.to_string()))? {
            for file in read_directory(&host)? {
                entries.extend(parse(&host, &file));
            }
        }
        entries.sort();
        entries.dedup();
        Ok(entries)
    }

    /// How many bytes a part has; 0 where it is not there.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn length(&self, task: u64, entry: &Entry, part: Part) -> io::Result<u64> {
        match fs::metadata(self.file(task, entry, part)) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// At most `limit` bytes of a part from an offset on; nothing where it does not reach so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(
        &self,
        task: u64,
        entry: &Entry,
        part: Part,
        offset: u64,
        limit: u64,
    ) -> io::Result<Vec<u8>> {
        let mut file = match File::open(self.file(task, entry, part)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn read_directory(path: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn parse(host: &Path, file: &Path) -> Option<Entry> {
    let name = file.file_name()?.to_str()?;
    let name = name.strip_suffix(".notes").unwrap_or(name);
    let (step, attempt) = name.rsplit_once('.')?;
    Some(Entry {
        host: host.file_name()?.to_str()?.to_owned(),
        step: step.to_owned(),
        attempt: attempt.parse().ok()?,
    })
}

impl Logs for LogBook {
    fn step(&self, task: u64, host: &str, step: &str, attempt: u32) -> Arc<dyn Output> {
        let entry = Entry {
            host: host.to_owned(),
            step: step.to_owned(),
            attempt,
        };
        Arc::new(StepOutput {
            output: Lazy::new(self.file(task, &entry, Part::Output)),
            notes: Lazy::new(self.file(task, &entry, Part::Notes)),
            changes: self.changes.clone(),
        })
    }
}

/// A file that is made with the first byte.
struct Lazy {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl Lazy {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: Mutex::new(None),
        }
    }

    fn with(&self, write: impl FnOnce(&mut File) -> io::Result<()>) {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match held.as_mut() {
            Some(file) => write(file),
            None => self.open().and_then(|mut file| {
                let result = write(&mut file);
                *held = Some(file);
                result
            }),
        };
        if let Err(error) = result {
            // Output that can't be kept is no reason to fail a release.
            tracing::warn!(file = %self.path.display(), %error, "output of a step was lost");
        }
    }

    fn open(&self) -> io::Result<File> {
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.path)
    }
}

struct StepOutput {
    output: Lazy,
    notes: Lazy,
    changes: Arc<watch::Sender<u64>>,
}

impl Output for StepOutput {
    fn write_at(&self, offset: u64, bytes: &[u8]) {
        let room = OUTPUT_BYTES_MAX.saturating_sub(offset);
        let kept = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
        if kept > 0 {
            self.output
                .with(|file| file.write_all_at(&bytes[..kept], offset));
        }
        if kept < bytes.len() && offset <= OUTPUT_BYTES_MAX {
            self.line("more was printed than is kept; the rest is left out");
        }
        self.changes.send_modify(|change| *change += 1);
    }

    fn line(&self, text: &str) {
        self.notes.with(|file| {
            file.seek(SeekFrom::End(0))?;
            file.write_all(format!("{text}\n").as_bytes())
        });
        self.changes.send_modify(|change| *change += 1);
    }
}
