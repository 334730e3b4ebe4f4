//! The output of a task's steps as text: complete, followed as it grows, or its end for a page.
//!
//! Lines are sanitized for terminals and readers: [`sanitizer`]. Nothing polls: the log book and the
//! store wake a follower.

mod sanitizer;
mod selection;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use warp::reply::{Reply as _, Response};

use super::Site;
use super::actions::tasks::parse_id;
use super::answer::HttpResult;
use super::authentication::who_reads;
use super::call::Call;
use super::changes::StoreChanges;
use crate::api::{CUT_BEGINS, LOG_SEPARATOR, LogQuery};
use crate::domain::host::OUTPUT_KEPT_BYTES;
use crate::store::log::{LogBook, LogEntry, LogPart};
use sanitizer::TerminalSanitizer;
use selection::{blocking, is_called};

/// Bytes of one part of an entry that are read at a time.
const PIECE_BYTES: u64 = 64 * 1024;
/// How much of the log a page shows, in bytes.
pub(super) const LOG_END_BYTES: u64 = 48 * 1024;
/// Chunks buffered for a slow reader.
const PIECES_WAITING: usize = 4;
/// Changes within this time are read together.
const TOGETHER: Duration = Duration::from_millis(100);
/// The longest line, in bytes; longer ones are cut.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// `GET …/tasks/ID/log`.
pub(super) async fn show(site: &Arc<Site>, call: &mut Call, id: &str) -> HttpResult {
    let who = who_reads(site, call).await?;
    let id = parse_id(id)?;
    let mut query: LogQuery = call.query()?;
    who.needs_to_see(id, &site.web.store.head(id).await?.target())?;
    selection::is_there(site, id, &mut query).await?;
    let slot = match query.follow {
        false => None,
        true => Some(site.streams.take(&who.actor.name)?),
    };
    let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
    let reader = TaskLogReader::new(site.web.logs.clone(), id, &query);
    let site = Arc::clone(site);
    let write = async move {
        let result = if query.follow {
            follow(&site, reader, id, &pieces).await
        } else {
            whole(reader, &pieces).await.map_err(Into::into)
        };
        if let Err(error) = result {
            tracing::warn!(task = id, %error, "the log could not be read to its end");
            let note = format!("\n(the rest of the log could not be read: {error})\n");
            let _ = pieces.send(Ok(note.into())).await;
        }
        drop(slot);
    };
    tokio::spawn(write);
    let mut response = warp::reply::stream(ReceiverStream::new(receiver)).into_response();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(unbuffered(response))
}

/// Tells a proxy to pass on data as it arrives.
pub(super) fn unbuffered(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A body that ends with an error is truncated: the reader knows that the log continues.
type Pieces = mpsc::Sender<Result<Bytes, std::io::Error>>;

async fn whole(mut reader: TaskLogReader, pieces: &Pieces) -> std::io::Result<()> {
    while let Some(text) = reader.next().await? {
        if pieces.send(Ok(text.into())).await.is_err() {
            return Ok(());
        }
    }
    let rest = reader.rest();
    let _ = pieces.send(Ok(rest.into())).await;
    Ok(())
}

/// Streams the log until the task has ended, the reader is gone, or the agent stops. It is cut
/// after [`WebLimits::stream`](super::WebLimits::stream); the reader then authenticates again.
async fn follow(
    site: &Site,
    mut reader: TaskLogReader,
    id: u64,
    pieces: &Pieces,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut logged = site.web.logs.changes();
    let mut changes = StoreChanges::of(site).await?;
    let end = tokio::time::Instant::now() + site.web.limits.stream;
    loop {
        // Checked before the log is read: what is logged later is read in the next round.
        let at_rest = site.web.store.task(id).await?.state.is_settled();
        logged.borrow_and_update();
        while let Some(text) = reader.next().await? {
            if pieces.send(Ok(text.into())).await.is_err() {
                return Ok(());
            }
        }
        if at_rest {
            let _ = pieces.send(Ok(reader.rest().into())).await;
            return Ok(());
        }
        tokio::select! {
            () = site.stopped() => return Ok(()),
            () = pieces.closed() => return Ok(()),
            () = tokio::time::sleep_until(end) => {
                let cut = std::io::Error::other("the log continues: request it again");
                let _ = pieces.send(Err(cut)).await;
                return Ok(());
            }
            changed = changes.next(site, id) => changed?,
            changed = logged.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                tokio::time::sleep(TOGETHER).await;
            }
        }
    }
}

/// Reads a task's log entries from where it last stopped.
pub(super) struct TaskLogReader {
    logs: LogBook,
    task: u64,
    query: LogQuery,
    /// Whether lines name their entry: known once the entries are, or from the start when
    /// following.
    named: Option<bool>,
    positions: BTreeMap<(LogEntry, LogPart), LogOffset>,
    /// The parts that had grown at the last check and are still to be read.
    grown: Option<VecDeque<GrownPart>>,
}

/// A part that had grown, and its length.
type GrownPart = ((LogEntry, LogPart), u64);

/// The result of one read of a part.
struct LogChunk {
    text: String,
    end: bool,
}

/// How far one part of an entry was read.
#[derive(Default)]
struct LogOffset {
    offset: u64,
    text: TerminalSanitizer,
    /// A line that is not complete yet.
    open: String,
    /// Reading starts within a line.
    partial: bool,
}

impl LogOffset {
    /// Ends a line where bytes are missing, and adds a line that says so.
    fn cut(&mut self, missing: u64) {
        let text = std::mem::take(&mut self.text).end();
        self.open.push_str(&text);
        if !self.open.is_empty() && !self.open.ends_with('\n') {
            self.open.push('\n');
        }
        self.open.push_str(&cut_line(missing));
        self.open.push('\n');
    }
}

/// Returns the line that replaces bytes that are not kept.
fn cut_line(missing: u64) -> String {
    format!(
        "{CUT_BEGINS}{missing} bytes are missing here: of each output the first and the last {} MiB are kept]",
        OUTPUT_KEPT_BYTES / 1024 / 1024
    )
}

impl TaskLogReader {
    pub(super) fn new(logs: LogBook, task: u64, query: &LogQuery) -> Self {
        let alone = query.host.is_some() && query.step.is_some();
        Self {
            logs,
            task,
            named: query.follow.then_some(!alone),
            query: query.clone(),
            positions: BTreeMap::new(),
            grown: None,
        }
    }

    /// Returns what was logged since; `None` if nothing was. Checks every part once, then reads
    /// those that have grown: hundreds of hosts have a thousand files.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<String>> {
        let mut grown = match self.grown.take() {
            Some(grown) => grown,
            None => self.grown().await?,
        };
        while let Some((key, length)) = grown.front() {
            let piece = self.read(key, *length).await?;
            if piece.end {
                grown.pop_front();
            }
            if !piece.text.is_empty() {
                self.grown = Some(grown);
                return Ok(Some(piece.text));
            }
        }
        Ok(None)
    }

    /// Returns the parts that hold more than was read.
    async fn grown(&mut self) -> std::io::Result<VecDeque<GrownPart>> {
        let lengths = self.lengths().await?.into_iter();
        let grown = lengths.filter(|(key, length)| {
            let read = self
                .positions
                .get(key)
                .map_or(0, |position| position.offset);
            *length > read
        });
        Ok(grown.collect())
    }

    /// Starts near the end, so that at most about `bytes` are read.
    pub(super) async fn only_the_end(&mut self, bytes: u64) -> std::io::Result<()> {
        let lengths = self.lengths().await?;
        let each = (bytes / lengths.len().max(1) as u64).max(512);
        for (key, length) in lengths {
            let position = self.positions.entry(key).or_default();
            position.offset = length.saturating_sub(each);
            position.partial = position.offset > 0;
        }
        Ok(())
    }

    /// Returns the incomplete lines.
    pub(super) fn rest(&mut self) -> String {
        let named = self.named == Some(true);
        let mut text = String::new();
        for ((entry, _), position) in &mut self.positions {
            position.open.push_str(&position.text.end());
            let line = std::mem::take(&mut position.open);
            if !line.is_empty() && !position.partial {
                push_line(&mut text, named.then_some(entry), &line);
                text.push('\n');
            }
        }
        text
    }

    /// Returns the requested parts of all entries, with their current lengths.
    async fn lengths(&mut self) -> std::io::Result<Vec<((LogEntry, LogPart), u64)>> {
        let (logs, task, query) = (self.logs.clone(), self.task, self.query.clone());
        let look = move || {
            let mut lengths = Vec::new();
            for entry in logs.entries(task)? {
                if !wants(&query, &entry) {
                    continue;
                }
                for part in [LogPart::Notes, LogPart::Output] {
                    let length = logs.length(task, &entry, part)?;
                    lengths.push(((entry.clone(), part), length));
                }
            }
            Ok(lengths)
        };
        let lengths = blocking(look).await?;
        // Each entry has two parts.
        let several = lengths.len() > 2;
        self.named.get_or_insert(several);
        Ok(lengths)
    }

    async fn read(&mut self, key: &(LogEntry, LogPart), length: u64) -> std::io::Result<LogChunk> {
        let named = self.named == Some(true);
        let entry = &key.0;
        let position = self.positions.entry(key.clone()).or_default();
        let (logs, task, offset) = (self.logs.clone(), self.task, position.offset);
        let (source, part) = key.clone();
        let read = blocking(move || logs.read(task, &source, part, offset, PIECE_BYTES)).await?;
        if read.missing > 0 && !std::mem::take(&mut position.partial) {
            position.cut(read.missing);
        }
        position.offset += read.missing + read.bytes.len() as u64;
        let end = position.offset >= length || read.bytes.is_empty();
        position.open.push_str(&position.text.push(&read.bytes));
        let ended = position.open.rfind('\n').map_or(0, |end| end + 1);
        let complete = if position.open.len() - ended > LINE_BYTES_MAX {
            position.open.len()
        } else {
            ended
        };
        let rest = position.open.split_off(complete);
        let lines = std::mem::replace(&mut position.open, rest);
        let mut text = String::with_capacity(lines.len());
        for line in lines.lines() {
            if std::mem::take(&mut position.partial) {
                // Its beginning was skipped.
                continue;
            }
            push_line(&mut text, named.then_some(entry), line);
            text.push('\n');
        }
        Ok(LogChunk { text, end })
    }
}

fn wants(query: &LogQuery, entry: &LogEntry) -> bool {
    let host = query.host.as_ref();
    let step = query.step.as_deref();
    host.is_none_or(|host| *host == entry.host)
        && step.is_none_or(|step| is_called(&entry.step, step))
}

fn push_line(text: &mut String, entry: Option<&LogEntry>, line: &str) {
    if let Some(entry) = entry {
        text.push_str(&entry.host);
        text.push(' ');
        text.push_str(&entry.step);
        if entry.attempt > 1 {
            text.push_str(&format!(" #{}", entry.attempt));
        }
        text.push_str(LOG_SEPARATOR);
    }
    text.push_str(line);
}

impl Site {
    /// Waits until the agent is shutting down.
    pub(super) async fn stopped(&self) {
        // A closed channel means that the site is gone, too.
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }
}
