//! The agent's log (`tracing`, to standard error), and the output of steps, as files.
//!
//! `logs/TASK/HOST/STEP.ATTEMPT` holds the output of a program. It is written at offsets, so that
//! the same bytes may arrive twice. `STEP.ATTEMPT.tail/` holds the end of long output,
//! `STEP.ATTEMPT.notes` the agent's own lines. [`LogBook::changes`] wakes readers that follow,
//! without polling. Never logged: secrets, tokens, passwords, the environment of programs.

mod attempt;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::base::crash;
use crate::base::mutex::lock;
use crate::domain::host::Output;

pub use attempt::Read;

/// The output of steps.
pub trait StepLogs: Send + Sync {
    /// Returns the destination for the output of one attempt of a step.
    fn step(&self, task: u64, host: &str, step: &str, attempt: u32) -> Arc<dyn Output>;
}

/// The logs of all tasks.
#[derive(Clone, Debug)]
pub struct LogBook {
    directory: PathBuf,
    changes: Arc<watch::Sender<u64>>,
}

/// One attempt of one step in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogEntry {
    pub host: String,
    /// `STAGE.STEP`, or `back.STAGE.STEP` during a rollback; `landing` on the agent.
    pub step: String,
    pub attempt: u32,
}

/// A file of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogPart {
    /// The agent's own lines.
    Notes,
    /// The program's output.
    Output,
}

impl LogBook {
    /// Opens the logs below `directory`, which is created with the first log.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            changes: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Returns the log directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns a channel that is notified whenever something is logged.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn file(&self, task: u64, entry: &LogEntry, part: LogPart) -> PathBuf {
        let suffix = match part {
            LogPart::Notes => ".notes",
            LogPart::Output => "",
        };
        self.directory
            .join(task.to_string())
            .join(&entry.host)
            .join(format!("{}.{}{suffix}", entry.step, entry.attempt))
    }

    /// Returns the entries of a task, in the order in which they were last written.
    ///
    /// # Errors
    /// The directory cannot be read. A task without output has no directory: that is no error.
    pub fn entries(&self, task: u64) -> io::Result<Vec<LogEntry>> {
        let mut written = BTreeMap::new();
        for host in read_directory(&self.directory.join(task.to_string()))? {
            for file in read_directory(&host)? {
                let Some(entry) = parse(&host, &file) else {
                    continue;
                };
                // A file that is just being deleted has no time.
                let time = fs::metadata(&file).and_then(|data| data.modified()).ok();
                let newest = written.entry(entry).or_insert(time);
                *newest = time.max(*newest);
            }
        }
        let mut entries: Vec<_> = written.into_iter().collect();
        entries.sort_by_key(|(_, time)| *time);
        Ok(entries.into_iter().map(|(entry, _)| entry).collect())
    }

    /// Returns the length of a part, in bytes; 0 if it does not exist.
    ///
    /// # Errors
    /// The file's metadata cannot be read.
    pub fn length(&self, task: u64, entry: &LogEntry, part: LogPart) -> io::Result<u64> {
        attempt::length(&self.file(task, entry, part))
    }

    /// Returns at most `limit` bytes of a part from an offset on; none past its end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(
        &self,
        task: u64,
        entry: &LogEntry,
        part: LogPart,
        offset: u64,
        limit: u64,
    ) -> io::Result<Read> {
        attempt::read(&self.file(task, entry, part), offset, limit)
    }
}

/// The disk usage of one task's logs.
struct LogUsage {
    directory: PathBuf,
    newest: Duration,
    bytes: u64,
}

impl LogBook {
    /// Deletes the logs of tasks that have not been written since `oldest` (since 1970), then the
    /// oldest until the total is at most `bytes_max`. Returns how many tasks lost their logs.
    ///
    /// # Errors
    /// A directory cannot be read or deleted.
    pub fn sweep(&self, oldest: Duration, bytes_max: u64) -> io::Result<usize> {
        let mut kept = Vec::new();
        for directory in read_directory(&self.directory)? {
            kept.push(measure(directory)?);
        }
        kept.sort_by_key(|task| task.newest);
        let mut total: u64 = kept.iter().map(|task| task.bytes).sum();
        let mut deleted = 0;
        for task in kept {
            if task.newest >= oldest && total <= bytes_max {
                break;
            }
            fs::remove_dir_all(&task.directory)?;
            total = total.saturating_sub(task.bytes);
            deleted += 1;
        }
        Ok(deleted)
    }
}

fn measure(directory: PathBuf) -> io::Result<LogUsage> {
    let mut kept = LogUsage {
        directory,
        newest: Duration::ZERO,
        bytes: 0,
    };
    let mut directories = vec![kept.directory.clone()];
    while let Some(directory) = directories.pop() {
        for path in read_directory(&directory)? {
            let data = match fs::metadata(&path) {
                // The oldest piece of an output that is still being written.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                data => data?,
            };
            if data.is_dir() {
                directories.push(path);
                continue;
            }
            kept.bytes += data.len();
            let modified = data.modified()?.duration_since(std::time::UNIX_EPOCH);
            kept.newest = kept.newest.max(modified.unwrap_or_default());
        }
    }
    Ok(kept)
}

fn read_directory(path: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn parse(host: &Path, file: &Path) -> Option<LogEntry> {
    let name = file.file_name()?.to_str()?;
    let name = name.strip_suffix(".notes").unwrap_or(name);
    let (step, attempt) = name.rsplit_once('.')?;
    Some(LogEntry {
        host: host.file_name()?.to_str()?.to_owned(),
        step: step.to_owned(),
        attempt: attempt.parse().ok()?,
    })
}

impl StepLogs for LogBook {
    fn step(&self, task: u64, host: &str, step: &str, attempt: u32) -> Arc<dyn Output> {
        let entry = LogEntry {
            host: host.to_owned(),
            step: step.to_owned(),
            attempt,
        };
        Arc::new(StepOutput {
            output: Mutex::new(attempt::LogWriter::new(self.file(
                task,
                &entry,
                LogPart::Output,
            ))),
            notes: Mutex::new(self.file(task, &entry, LogPart::Notes)),
            changes: self.changes.clone(),
        })
    }
}

struct StepOutput {
    output: Mutex<attempt::LogWriter>,
    notes: Mutex<PathBuf>,
    changes: Arc<watch::Sender<u64>>,
}

/// Logs a failed write: it is no reason to fail a release.
fn log_failure(file: &Path, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(file = %file.display(), %error, "output of a step was lost");
    }
}

fn add_line(file: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file: File = OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(format!("{text}\n").as_bytes())
}

impl Output for StepOutput {
    fn write_at(&self, offset: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            let mut output = lock(&self.output);
            crash::before("log.write");
            let written = output.write_at(offset, bytes);
            crash::after("log.write");
            log_failure(output.path(), written);
        }
        self.changes.send_modify(|change| *change += 1);
    }

    fn line(&self, text: &str) {
        let notes = lock(&self.notes);
        log_failure(&notes, add_line(&notes, text));
        drop(notes);
        self.changes.send_modify(|change| *change += 1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::host::OUTPUT_KEPT_BYTES;

    fn entry(step: &str) -> LogEntry {
        LogEntry {
            host: "web1".to_owned(),
            step: step.to_owned(),
            attempt: 1,
        }
    }

    #[test]
    fn duplicate_output_is_stored_once() {
        let directory = tempfile::tempdir().unwrap();
        let book = LogBook::new(directory.path().to_owned());
        let output = book.step(7, "web1", "switch.publish", 1);
        output.write_at(0, b"one\n");
        output.write_at(4, b"two\n");
        output.write_at(0, b"one\n");
        output.line("a note");
        let read = |part| {
            let read = book.read(7, &entry("switch.publish"), part, 0, 100);
            read.unwrap().bytes
        };
        assert_eq!(read(LogPart::Output), b"one\ntwo\n");
        assert_eq!(read(LogPart::Notes), b"a note\n");
        assert_eq!(book.entries(7).unwrap(), [entry("switch.publish")]);
        assert!(book.entries(8).unwrap().is_empty());
    }

    #[test]
    fn oldest_logs_are_deleted_first() {
        let directory = tempfile::tempdir().unwrap();
        let book = LogBook::new(directory.path().to_owned());
        for (task, seconds) in [(1, 100), (2, 200), (3, 300)] {
            let output = book.step(task, "web1", "run", 1);
            output.write_at(OUTPUT_KEPT_BYTES - 4, b"12345678");
            let beginning = book.file(task, &entry("run"), LogPart::Output);
            let end = format!("{}.tail/{OUTPUT_KEPT_BYTES}", beginning.display());
            for path in [beginning, end.into()] {
                let file = File::options().write(true).open(path).unwrap();
                let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
                file.set_modified(time).unwrap();
            }
        }
        let left = |book: &LogBook| [1, 2, 3].map(|task| book.entries(task).unwrap().len());
        let each = OUTPUT_KEPT_BYTES + 4;
        let sweep = |oldest, bytes| book.sweep(Duration::from_secs(oldest), bytes).unwrap();
        assert_eq!(sweep(150, 3 * each), 1);
        assert_eq!(left(&book), [0, 1, 1]);
        assert_eq!(sweep(0, 2 * each), 0);
        assert_eq!(sweep(0, 2 * each - 1), 1);
        assert_eq!(left(&book), [0, 0, 1]);
    }

    /// By age and by size, each at its limit and one beyond; the age is that of the newest line.
    #[test]
    fn logs_beyond_either_limit_are_deleted() {
        let second = Duration::from_secs(1);
        let (age, bytes) = (Duration::from_secs(300), 24);
        for (oldest, bytes_max, gone) in [
            (age, bytes, false),
            (age + second, bytes, true),
            (age, bytes - 1, true),
            (age - second, bytes, false),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let book = LogBook::new(directory.path().to_owned());
            // The first step of the oldest task is the oldest of all, but its second step counts.
            for (task, step, seconds) in [(1, "first", 1), (1, "run", 300), (2, "run", 400)] {
                book.step(task, "web1", step, 1).write_at(0, b"12345678");
                let file = book.file(task, &entry(step), LogPart::Output);
                let file = File::options().write(true).open(file).unwrap();
                let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
                file.set_modified(time).unwrap();
            }
            let swept = book.sweep(oldest, bytes_max).unwrap();
            assert_eq!(swept, usize::from(gone), "{oldest:?} {bytes_max}");
            assert_eq!(book.entries(1).unwrap().is_empty(), gone);
            assert_eq!(book.entries(2).unwrap().len(), 1);
        }
    }

    #[test]
    fn entries_are_in_the_order_of_their_last_line() {
        let directory = tempfile::tempdir().unwrap();
        let book = LogBook::new(directory.path().to_owned());
        let steps = ["stage.sync", "publish.publish", "back.publish.publish"];
        for (seconds, step) in (1..).zip(steps) {
            let output = book.step(1, "web1", step, 1);
            output.line("x");
            output.write_at(0, b"y");
            for (part, since) in [(LogPart::Output, 0), (LogPart::Notes, seconds)] {
                let file = book.file(1, &entry(step), part);
                let file = File::options().write(true).open(file).unwrap();
                let time = std::time::UNIX_EPOCH + Duration::from_secs(since);
                file.set_modified(time).unwrap();
            }
        }
        assert_eq!(book.entries(1).unwrap(), steps.map(entry));
    }

    /// A directory is read after the files beside it.
    #[test]
    fn age_of_a_log_is_that_of_its_newest_file_in_any_order() {
        for (beside, within) in [(300, 1), (1, 300)] {
            let directory = tempfile::tempdir().unwrap();
            let book = LogBook::new(directory.path().to_owned());
            book.step(1, "web1", "run", 1).line("x");
            let notes = book.file(1, &entry("run"), LogPart::Notes);
            let piece = notes.with_extension("tail").join("0");
            fs::create_dir(piece.parent().unwrap()).unwrap();
            fs::write(&piece, "y").unwrap();
            for (file, seconds) in [(&notes, beside), (&piece, within)] {
                let file = File::options().write(true).open(file).unwrap();
                let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
                file.set_modified(time).unwrap();
            }
            let sweep = |oldest| book.sweep(Duration::from_secs(oldest), 100).unwrap();
            assert_eq!(sweep(300), 0, "{beside} {within}");
            assert_eq!(sweep(301), 1, "{beside} {within}");
        }
    }

    #[test]
    fn log_followers_are_woken() {
        let directory = tempfile::tempdir().unwrap();
        let book = LogBook::new(directory.path().to_owned());
        let mut changes = book.changes();
        changes.mark_unchanged();
        book.step(7, "web1", "run", 1).line("x");
        assert!(changes.has_changed().unwrap());
    }
}
