//! Server-sent events: a page learns what has changed and updates without a reload.
//!
//! The store and the log book wake each stream; nothing polls. After a reconnect it sends complete
//! state, never a difference, so the browser needs nothing that it missed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use hyper::header::HeaderName;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use warp::reply::{Reply as _, Response};
use warp::sse::Event;

use super::Site;
use super::actions::tasks::{TaskDetail, detail_for, parse_id};
use super::answer::HttpResult;
use super::authentication::{Who, who, who_reads};
use super::call::Call;
use super::changes::{BoardChanges, Changed, StoreChanges};
use super::fault::Fault;
use super::output::{self, LOG_END_BYTES, TaskLogReader};
use super::pages::board::BoardContent;
use super::pages::list::ListContent;
use super::pages::task::TaskPage;
use crate::api::{BoardQuery, LogQuery, TaskQuery};
use crate::base::secret;
use crate::domain::task::StateName;
use crate::store::StoreError;

/// Events buffered for a slow reader.
const EVENTS_WAITING: usize = 8;
/// How long a browser waits before it reconnects.
const COME_BACK: Duration = Duration::from_secs(2);
/// The data of `task`: parts of the page, as HTML, by the ids of the elements that they replace.
#[derive(Serialize)]
struct TaskData {
    state: StateName,
    title: String,
    parts: Vec<(&'static str, String)>,
}

/// The data of `log`.
#[derive(Serialize)]
struct LogData<'a> {
    /// Whether this replaces the text shown before, or is appended to it.
    replace: bool,
    text: &'a str,
}

/// Why a stream has ended.
enum StreamEnd {
    Gone,
    Broken(Fault),
}

impl From<Fault> for StreamEnd {
    fn from(fault: Fault) -> Self {
        Self::Broken(fault)
    }
}

impl From<StoreError> for StreamEnd {
    fn from(error: StoreError) -> Self {
        Self::Broken(error.into())
    }
}

impl From<std::io::Error> for StreamEnd {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(Fault::Broken(error.to_string()))
    }
}

/// One open stream.
struct OpenStream {
    events: mpsc::Sender<Result<Event, Infallible>>,
    heartbeat: Instant,
    every: Duration,
    end: Instant,
}

impl OpenStream {
    async fn send(&mut self, event: Event) -> Result<(), StreamEnd> {
        self.heartbeat = Instant::now() + self.every;
        self.events
            .send(Ok(event))
            .await
            .map_err(|_| StreamEnd::Gone)
    }

    /// Waits for `wake`; sends heartbeats meanwhile, and ends when the client is gone.
    async fn until<T>(
        &mut self,
        site: &Site,
        mut wake: std::pin::Pin<&mut (impl Future<Output = T> + Send)>,
    ) -> Result<T, StreamEnd> {
        loop {
            tokio::select! {
                biased;
                () = site.stopped() => return Err(StreamEnd::Gone),
                () = self.events.closed() => return Err(StreamEnd::Gone),
                () = tokio::time::sleep_until(self.end) => return Err(StreamEnd::Gone),
                woken = &mut wake => return Ok(woken),
                () = tokio::time::sleep_until(self.heartbeat) => {
                    self.send(Event::default().comment("")).await?;
                }
            }
        }
    }
}

/// Opens a stream that `tell` fills.
fn open<F>(
    site: &Arc<Site>,
    who: Who,
    produce: impl FnOnce(Arc<Site>, OpenStream, Who) -> F,
) -> HttpResult
where
    F: Future<Output = Result<Infallible, StreamEnd>> + Send + 'static,
{
    let slot = site.streams.take(&who.actor.name)?;
    let (events, receiver) = mpsc::channel(EVENTS_WAITING);
    let limits = site.web.limits;
    let now = Instant::now();
    let line = OpenStream {
        events,
        heartbeat: now,
        every: limits.heartbeat,
        end: now + limits.stream,
    };
    let producing = produce(Arc::clone(site), line, who);
    tokio::spawn(async move {
        if let Err(StreamEnd::Broken(fault)) = producing.await {
            tracing::warn!(error = %fault, "an event stream ended");
        }
        drop(slot);
    });
    Ok(response(ReceiverStream::new(receiver)))
}

fn response(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + Sync + 'static,
) -> Response {
    output::unbuffered(warp::sse::reply(events).into_response())
}

/// The query of a task's event stream.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TaskStreamQuery {
    /// How many events of the task its page already shows.
    seen: Option<u64>,
    /// Whether to send parts of the page and the log, or only that something has changed.
    parts: bool,
}

impl Default for TaskStreamQuery {
    fn default() -> Self {
        Self {
            seen: None,
            parts: true,
        }
    }
}

/// `/tasks/ID/events`: `task` for each change of the task, `log` for what its steps print.
pub(super) async fn task(site: &Arc<Site>, call: &mut Call, id: &str) -> HttpResult {
    let who = who(site, call).await?;
    let TaskStreamQuery { seen, parts } = call.query()?;
    let again = call.header(HeaderName::from_static("last-event-id"));
    let seen = again.and_then(|id| id.parse().ok()).or(seen);
    who.reads()?;
    let detail = detail_for(site, &who, parse_id(id)?).await?;
    open(site, who, move |site, line, who| async move {
        match parts {
            true => send_task(site, line, who, detail, seen).await,
            false => send_changes(site, line, detail.task.id).await,
        }
    })
}

/// Sends only that something has changed, for clients that request the task itself.
async fn send_changes(
    site: Arc<Site>,
    mut line: OpenStream,
    id: u64,
) -> Result<Infallible, StreamEnd> {
    let mut changes = StoreChanges::of(&site).await?;
    loop {
        // Sent at the start as well, for changes made before the watch began.
        line.send(data_event("task", &id)?.retry(COME_BACK)).await?;
        let wake = changes.next(&site, id);
        line.until(&site, std::pin::pin!(wake)).await??;
        together(&site, &mut changes, id).await?;
    }
}

/// Waits for changes that follow soon, to send them together. The end of a task is sent at once,
/// because someone waits for it.
async fn together(site: &Site, changes: &mut StoreChanges, id: u64) -> Result<(), StoreError> {
    let rests = async {
        while !site.web.store.head(id).await?.state.is_settled() {
            changes.next(site, id).await?;
        }
        Ok(())
    };
    let waited = tokio::time::timeout(site.web.limits.together, rests).await;
    waited.unwrap_or(Ok(()))
}

async fn send_task(
    site: Arc<Site>,
    mut line: OpenStream,
    who: Who,
    mut detail: TaskDetail,
    mut seen: Option<u64>,
) -> Result<Infallible, StreamEnd> {
    let id = detail.task.id;
    line.send(Event::default().comment("").retry(COME_BACK))
        .await?;
    let mut changes = StoreChanges::of(&site).await?;
    let mut logged = site.web.logs.changes();
    let follow = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let mut reader = TaskLogReader::new(site.web.logs.clone(), id, &follow);
    reader.only_the_end(LOG_END_BYTES).await?;
    let mut replace = true;
    loop {
        detail.refresh(&site).await?;
        if seen != Some(detail.task.events) {
            let event = task_event(&site, &who, &detail).await?;
            line.send(event).await?;
            seen = Some(detail.task.events);
        }
        logged.borrow_and_update();
        while let Some(text) = reader.next().await? {
            let data = LogData {
                replace,
                text: &text,
            };
            line.send(data_event("log", &data)?).await?;
            replace = false;
        }
        let wake = async {
            tokio::select! {
                changed = changes.next(&site, id) => changed,
                // The log book outlives the site.
                _ = logged.changed() => Ok(()),
            }
        };
        line.until(&site, std::pin::pin!(wake)).await??;
        match detail.task.state.is_settled() {
            // No one waits for what is printed after the end.
            true => tokio::time::sleep(site.web.limits.together).await,
            false => together(&site, &mut changes, id).await?,
        }
    }
}

async fn task_event(site: &Site, who: &Who, detail: &TaskDetail) -> Result<Event, StreamEnd> {
    let page = TaskPage::of(site, who, detail).await?;
    let data = TaskData {
        state: detail.task.state.name(),
        title: page.title(),
        parts: page.parts()?,
    };
    let event = data_event("task", &data)?;
    Ok(event.id(detail.task.events.to_string()))
}

fn data_event(name: &str, data: &impl Serialize) -> Result<Event, StreamEnd> {
    let event = Event::default().event(name).json_data(data);
    event.map_err(|error| StreamEnd::Broken(Fault::Broken(error.to_string())))
}

/// `/events`: sends `tasks` whenever the list of tasks may have changed; with `page=board` or
/// `page=tasks`, and the query of that page, `parts` with what has changed on it.
pub(super) async fn all(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    match LivePage::of(&call.query)? {
        None => open(site, who, send_all),
        Some(page) => open(site, who, move |site, line, who| {
            send_page(site, line, who, page)
        }),
    }
}

/// A page whose parts are sent.
enum LivePage {
    Board(BoardQuery),
    Tasks(Box<TaskQuery>),
}

impl LivePage {
    /// Parses the query of a stream; `None` if it names no page.
    fn of(query: &str) -> Result<Option<Self>, Fault> {
        let wrong = |error: &dyn std::fmt::Display| {
            Fault::Invalid(format!("the query is invalid: {error}; correct it"))
        };
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(query).map_err(|error| wrong(&error))?;
        let (page, search): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(name, _)| name == "page");
        let search = serde_urlencoded::to_string(search).map_err(|error| wrong(&error))?;
        let [(_, page)] = page.as_slice() else {
            return match (page.as_slice(), search.as_str()) {
                ([], "") => Ok(None),
                _ => Err(wrong(&"`page` must be board or tasks, once")),
            };
        };
        let parsed = match page.as_str() {
            "board" => serde_urlencoded::from_str(&search).map(Self::Board),
            "tasks" => serde_urlencoded::from_str(&search).map(Self::Tasks),
            _ => return Err(wrong(&"`page` must be board or tasks")),
        };
        parsed.map(Some).map_err(|error| wrong(&error))
    }

    async fn draw(&self, site: &Site, who: &Who) -> Result<(Option<String>, PageParts), Fault> {
        match self {
            Self::Board(query) => {
                let board = BoardContent::of(site, who, query).await?;
                Ok((Some(board.title()), board.parts()?))
            }
            Self::Tasks(query) => {
                let list = ListContent::of(site, who, query).await?;
                Ok((None, list.parts()?))
            }
        }
    }
}

/// Parts of a page, as HTML, by the ids of the elements that they replace.
type PageParts = Vec<(&'static str, String)>;

/// The data of `parts`.
#[derive(Serialize)]
struct PageData {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    parts: PageParts,
}

/// Sends the parts of a page: all of them first, then those that have changed.
async fn send_page(
    site: Arc<Site>,
    mut line: OpenStream,
    who: Who,
    page: LivePage,
) -> Result<Infallible, StreamEnd> {
    line.send(Event::default().comment("").retry(COME_BACK))
        .await?;
    let mut sent: BTreeMap<&'static str, String> = BTreeMap::new();
    loop {
        // Watched before it is read: what changes meanwhile is read again.
        let changes = BoardChanges::of(&site).await?;
        let (title, mut parts) = page.draw(&site, &who).await?;
        parts.retain(|(id, html)| {
            let digest = secret::sha256_hex(html.as_bytes());
            sent.insert(id, digest.clone()) != Some(digest)
        });
        if !parts.is_empty() {
            line.send(data_event("parts", &PageData { title, parts })?)
                .await?;
        }
        line.until(&site, std::pin::pin!(changes.next())).await?;
        tokio::time::sleep(site.web.limits.together).await;
    }
}

async fn send_all(
    site: Arc<Site>,
    mut line: OpenStream,
    who: Who,
) -> Result<Infallible, StreamEnd> {
    // Watched before the first heartbeat: a client that reads then and waits misses nothing.
    let mut changes = StoreChanges::of(&site).await?;
    line.send(Event::default().comment("").retry(COME_BACK))
        .await?;
    loop {
        let wake = changes.any(&site);
        let changed = line.until(&site, std::pin::pin!(wake)).await??;
        let ids = match changed {
            Changed::These(ids) => {
                let seen = seen_of(&site, &who, ids).await?;
                if seen.is_empty() {
                    continue;
                }
                seen
            }
            Changed::Perhaps => Vec::new(),
        };
        line.send(data_event("tasks", &ids)?).await?;
        tokio::time::sleep(site.web.limits.together).await;
    }
}

/// Returns those of the tasks that the user may see.
async fn seen_of(site: &Site, who: &Who, ids: Vec<u64>) -> Result<Vec<u64>, StoreError> {
    let mut seen = Vec::new();
    for id in ids {
        if who.sees(&site.web.store.head(id).await?.target()) {
            seen.push(id);
        }
    }
    Ok(seen)
}
