//! Following a task: its log as it is written, and its way to rest. The agent tells when something
//! has happened; nobody asks again and again. Only after a connection is lost (the agent is started
//! anew) is it tried again for a while.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use futures::{Stream, StreamExt};

use super::arguments::{LogArgs, OutputForm};
use super::client::Ask;
use super::error::{ClientError, CommandError};
use super::progress::{self, LineBuffer};
use super::screen::{self, Canvas};
use super::surroundings::{AgentConnection, CliContext};
use super::table::{fit, printable};
use crate::server::CUT_BEGINS;
use crate::server::view::{self, TaskView};

/// How often a lost connection is tried again, once a second, before it counts as lost for good.
const RECONNECTS_MAX: u32 = 60;
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// So long `--wait` waits for people where nobody sees what it waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The line that names an event is shorter; of others no more is kept.
const EVENT_LINE_BYTES: usize = 32;

/// In which state a task has done what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    Success,
    Stopped,
}

impl Goal {
    pub(crate) fn is_reached_by(self, state: &str) -> bool {
        match self {
            Self::Success => matches!(state, "succeeded" | "observed"),
            Self::Stopped => state == "stopped",
        }
    }
}

/// What is told while a task is followed.
enum Teller {
    /// The hosts, drawn in place.
    Drawing(Canvas),
    /// A line for each event that was not told yet.
    Events {
        told: usize,
    },
    Silent,
}

impl Teller {
    fn new(form: OutputForm, seen: &TaskView) -> Self {
        match screen::canvas() {
            _ if form.json => Self::Silent,
            Some(canvas) => Self::Drawing(canvas),
            None => Self::Events {
                told: seen.events.len(),
            },
        }
    }

    fn tell(&mut self, task: &TaskView, agent: &AgentConnection) -> Result<(), CommandError> {
        match self {
            Self::Silent => Ok(()),
            Self::Drawing(canvas) => {
                let size = canvas.size();
                let mut lines = progress::lines(task, &agent.zone, size);
                if task.waits_for_people {
                    let waits = printable(&view::waits_for(task));
                    lines.push(fit(&waits, usize::from(size.width)));
                }
                canvas.draw(&lines)
            }
            Self::Events { told } => {
                let news = task.events.get(*told..).unwrap_or_default();
                *told = task.events.len();
                let lines: String = news
                    .iter()
                    .map(|event| {
                        let text = format!("{} {}", event.name, event.detail);
                        format!("{} {}\n", agent.zone.show(event.at), printable(text.trim()))
                    })
                    .collect();
                screen::print(&lines)
            }
        }
    }
}

/// What ended the following of a task.
pub(crate) enum WaitEnd {
    AtRest(Box<TaskView>),
    /// It waits for people, and there is no terminal on which somebody would see that.
    ForPeople(Box<TaskView>),
}

/// Until when the waiting for people goes on.
#[derive(Default)]
struct Patience {
    until: Option<tokio::time::Instant>,
}

impl Patience {
    /// How long to wait on for a task that is as it is now: for ever, unless it waits for people and
    /// nobody sits there.
    fn of(&mut self, task: &TaskView) -> Option<tokio::time::Instant> {
        if !task.waits_for_people {
            self.until = None;
            return None;
        }
        let until = *self
            .until
            .get_or_insert_with(|| tokio::time::Instant::now() + PATIENCE);
        (!screen::is_watched()).then_some(until)
    }
}

/// Follows a task until it is at rest, telling what happens; the task as it is then.
pub(crate) async fn to_rest(
    agent: &AgentConnection,
    seen: TaskView,
    form: OutputForm,
) -> Result<WaitEnd, CommandError> {
    let id = seen.id;
    let mut patience = Patience::default();
    let mut teller = Teller::new(form, &seen);
    let mut failed = 0;
    loop {
        match follow(agent, id, &mut teller, &mut patience).await {
            Ok(Followed::ToEnd(end)) => return Ok(end),
            // Streams have an end, and agents are started anew.
            Ok(Followed::StreamEnded) => failed = 0,
            Err(CommandError::Client(error)) if is_passing(&error) && failed < RECONNECTS_MAX => {
                failed += 1;
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// Whether the agent may be back in a moment.
fn is_passing(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::NoAgent { .. } | ClientError::Broken { .. } | ClientError::Unreachable { .. }
    )
}

enum Followed {
    ToEnd(WaitEnd),
    StreamEnded,
}

/// Follows over one connection. The stream has begun before the task is looked at, so that nothing
/// is missed in between.
async fn follow(
    agent: &AgentConnection,
    id: u64,
    teller: &mut Teller,
    patience: &mut Patience,
) -> Result<Followed, CommandError> {
    let events = agent.client.stream(&events_of(id)).await?;
    tokio::pin!(events);
    let mut wakes = Wakes::default();
    let mut heard = wakes.next(&mut events, None).await;
    loop {
        if heard == Heard::End {
            return Ok(Followed::StreamEnded);
        }
        let task = agent.client.task(id).await?;
        teller.tell(&task, agent)?;
        if task.at_rest {
            return Ok(Followed::ToEnd(WaitEnd::AtRest(Box::new(task))));
        }
        heard = wakes.next(&mut events, patience.of(&task)).await;
        if heard == Heard::Nothing {
            return Ok(Followed::ToEnd(WaitEnd::ForPeople(Box::new(task))));
        }
    }
}

/// Word of each change of a task, without the parts of its page.
fn events_of(id: u64) -> Ask {
    Ask::page(["tasks", &id.to_string(), "events"]).with("parts", Some(false))
}

/// Sees in a stream of server-sent events, whose lines come in pieces, that the task has changed.
/// What the event says is not read: the task itself is asked for.
#[derive(Default)]
struct Wakes {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

/// What came over a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Change,
    End,
    /// Nothing until it was not waited for any longer.
    Nothing,
}

impl Wakes {
    async fn next(
        &mut self,
        events: &mut (impl Stream<Item = Result<Vec<u8>, ClientError>> + Unpin),
        until: Option<tokio::time::Instant>,
    ) -> Heard {
        let change = async {
            loop {
                match events.next().await {
                    Some(Ok(bytes)) if self.in_piece(&bytes) => return Heard::Change,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Heard::End,
                }
            }
        };
        match until {
            None => change.await,
            Some(until) => {
                let heard = tokio::time::timeout_at(until, change).await;
                heard.unwrap_or(Heard::Nothing)
            }
        }
    }

    fn in_piece(&mut self, bytes: &[u8]) -> bool {
        let mut woken = false;
        for byte in bytes {
            if *byte == b'\n' {
                let line = self.begun.strip_suffix(b"\r").unwrap_or(&self.begun);
                woken |= line == b"event:task" || line == b"event: task";
                self.begun.clear();
            } else if self.begun.len() < EVENT_LINE_BYTES {
                self.begun.push(*byte);
            }
        }
        woken
    }
}

/// `tagship log`.
pub(crate) async fn log(around: &CliContext, asked: &LogArgs) -> Result<(), CommandError> {
    let agent = around.agent().await?;
    let ask = Ask::get(["tasks", &asked.id.to_string(), "log"])
        .with("host", asked.host.as_ref())
        .with("step", asked.step.as_ref())
        .with("follow", asked.follow.then_some(true));
    if asked.follow {
        return follow_log(&agent, &ask, asked.id).await;
    }
    let text = agent.client.stream(&ask).await?;
    tokio::pin!(text);
    if screen::canvas().is_none() {
        while let Some(bytes) = text.next().await {
            screen::print_bytes(&bytes?)?;
        }
        return Ok(());
    }
    let mut lines = LineBuffer::default();
    while let Some(bytes) = text.next().await {
        screen::print(&lines.take(&bytes?))?;
    }
    screen::print(&lines.rest())
}

/// Follows a log to where the task comes to rest, over as many connections as that takes: the agent
/// cuts each after a while, and wants to know again who asks.
async fn follow_log(agent: &AgentConnection, ask: &Ask, id: u64) -> Result<(), CommandError> {
    // Whoever asks for what is not there learns it at once.
    agent.client.task(id).await?;
    let mut told = PrintedLines::default();
    let mut canvas = screen::canvas();
    let mut failed = 0;
    loop {
        let read = match canvas.as_mut() {
            Some(canvas) => draw_log(agent, ask, id, &mut told, canvas).await,
            None => print_log(agent, ask, id, &mut told).await,
        };
        match read {
            Ok(task) if task.at_rest => return Ok(()),
            Ok(_) => failed = 0,
            Err(CommandError::Client(error)) if is_passing(&error) && failed < RECONNECTS_MAX => {
                failed = if told.has_come { 0 } else { failed + 1 };
            }
            Err(error) => return Err(error),
        }
        told.begin_again();
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// Prints what one connection tells.
async fn print_log(
    agent: &AgentConnection,
    ask: &Ask,
    id: u64,
    told: &mut PrintedLines,
) -> Result<TaskView, CommandError> {
    let text = agent.client.stream(ask).await?;
    tokio::pin!(text);
    while let Some(bytes) = text.next().await {
        screen::print(&told.take(&bytes?))?;
    }
    screen::print(&told.rest())?;
    Ok(agent.client.task(id).await?)
}

/// As [`print_log`], with the hosts drawn below.
async fn draw_log(
    agent: &AgentConnection,
    ask: &Ask,
    id: u64,
    told: &mut PrintedLines,
    canvas: &mut Canvas,
) -> Result<TaskView, CommandError> {
    let text = agent.client.stream(ask).await?;
    tokio::pin!(text);
    let events = agent.client.stream(&events_of(id)).await?;
    tokio::pin!(events);
    let mut wakes = Wakes::default();
    let mut events_end = false;
    let mut drawn = drawing(agent, id, canvas).await?.0;
    canvas.draw(&drawn)?;
    loop {
        tokio::select! {
            bytes = text.next() => match bytes {
                Some(bytes) => canvas.print_above(&told.take(&bytes?), &drawn)?,
                None => break,
            },
            bytes = events.next(), if !events_end => match bytes {
                Some(Ok(bytes)) if wakes.in_piece(&bytes) => {
                    drawn = drawing(agent, id, canvas).await?.0;
                    canvas.draw(&drawn)?;
                }
                Some(Ok(_)) => {}
                // The log goes on without its table.
                Some(Err(_)) | None => events_end = true,
            },
        }
    }
    let (drawn, task) = drawing(agent, id, canvas).await?;
    canvas.print_above(&told.rest(), &drawn)?;
    Ok(task)
}

/// What was told of a log so far. Each connection tells it from its beginning, and the lines of
/// several steps in another order than they came: each line is told as often as it is there.
#[derive(Default)]
struct PrintedLines {
    lines: LineBuffer,
    /// How often each line was told, by its digest.
    told: HashMap<u64, HashMap<u64, u32>>,
    /// And how often of that it has not come again over this connection, by the step that it names.
    again: HashMap<u64, HashMap<u64, u32>>,
    /// Whether anything has come over this connection.
    has_come: bool,
}

impl PrintedLines {
    /// What is new among the lines that are whole by now.
    fn take(&mut self, bytes: &[u8]) -> String {
        self.has_come = true;
        let lines = self.lines.take(bytes);
        self.news(&lines)
    }

    /// What is new of what has no end yet.
    fn rest(&mut self) -> String {
        let lines = self.lines.rest();
        self.news(&lines)
    }

    fn begin_again(&mut self) {
        self.lines = LineBuffer::default();
        self.again.clone_from(&self.told);
        self.has_come = false;
    }

    fn news(&mut self, lines: &str) -> String {
        let mut news = String::new();
        for line in lines.split_inclusive('\n') {
            let (step, text) = line.split_once("| ").unwrap_or(("", line));
            let (step, digest) = (digest(step), digest(text));
            if text.starts_with(CUT_BEGINS) {
                // How often what follows was told before, nobody knows: rather twice than not at all.
                self.again.remove(&step);
            }
            let again = self
                .again
                .get_mut(&step)
                .and_then(|step| step.get_mut(&digest));
            match again {
                Some(times) if *times > 0 => *times -= 1,
                _ => {
                    *self
                        .told
                        .entry(step)
                        .or_default()
                        .entry(digest)
                        .or_default() += 1;
                    news.push_str(line);
                }
            }
        }
        news
    }
}

fn digest(text: &str) -> u64 {
    let mut digest = DefaultHasher::new();
    text.hash(&mut digest);
    digest.finish()
}

/// The lines to draw of a task, and the task.
async fn drawing(
    agent: &AgentConnection,
    id: u64,
    canvas: &Canvas,
) -> Result<(Vec<String>, TaskView), CommandError> {
    let task = agent.client.task(id).await?;
    let lines = progress::lines(&task, &agent.zone, canvas.size());
    Ok((lines, task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_the_task_wakes_however_its_line_is_cut() {
        let mut wakes = Wakes::default();
        assert!(!wakes.in_piece(b":\n\nevent:log\ndata:{}\n\nevent:ta"));
        assert!(wakes.in_piece(b"sk\ndata:{\"text\":\"event:task\"}\n\n"));
        assert!(!wakes.in_piece(b"data:event:task\n"));
        assert!(wakes.in_piece(b"event: task\r\n"));
    }

    #[test]
    fn a_log_that_is_told_again_tells_only_what_is_new() {
        let mut told = PrintedLines::default();
        assert_eq!(
            told.take(b"a| one\nb| one\na| one\nb| tw"),
            "a| one\nb| one\na| one\n"
        );
        told.begin_again();
        // Lines of one step come together now.
        let again = told.take(b"a| one\na| one\na| one\na| two\nb| one\n");
        assert_eq!(again, "a| one\na| two\n");
        assert_eq!(told.take(b"b| two"), "");
        assert_eq!(told.rest(), "b| two\n");
    }

    #[test]
    fn log_with_a_cut_loses_no_line_when_it_is_told_again() {
        let mut told = PrintedLines::default();
        told.take(b"a| x\na| x\na| x\nb| y\n");
        told.begin_again();
        let again = told.take(b"a| x\na| [... 4 bytes are missing here\na| x\na| x\nb| y\n");
        assert_eq!(again, "a| [... 4 bytes are missing here\na| x\na| x\n");
    }

    #[test]
    fn only_success_ends_waiting_well_and_only_a_stop_a_stop() {
        assert!(Goal::Success.is_reached_by("succeeded"));
        for state in ["failed", "rolled-back", "stopped", "rejected", "expired"] {
            assert!(!Goal::Success.is_reached_by(state), "{state}");
        }
        assert!(Goal::Stopped.is_reached_by("stopped"));
        assert!(!Goal::Stopped.is_reached_by("succeeded"));
    }
}
