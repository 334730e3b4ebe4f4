//! Follows a task: its log as it is written, and its progress to the end. The agent sends changes;
//! nothing polls.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::time::{Instant, MissedTickBehavior};

use super::arguments::{LogArgs, OutputForm};
use super::client::{ApiRequest, Reconnects};
use super::context::{AgentConnection, CliContext};
use super::error::{ClientError, CommandError};
use super::progress::{self, LineBuffer, ProgressFrame};
use super::screen::{self, Canvas};
use super::table::printable;
use crate::api::{CUT_BEGINS, LOG_SEPARATOR, TaskView};
use crate::base::clock::{Clock as _, SystemClock};
use crate::domain::task::StateName;

/// How long `--wait` waits for people if no terminal shows what it waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the time on a terminal is drawn again.
const TICK: Duration = Duration::from_secs(1);
/// The line that names an event is shorter; of other lines no more is kept.
const EVENT_LINE_BYTES: usize = 32;

/// The state in which a task has done what was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    Success,
    Stopped,
}

impl Goal {
    pub(crate) fn is_reached_by(self, state: StateName) -> bool {
        match self {
            Self::Success => matches!(state, StateName::Succeeded | StateName::Observed),
            Self::Stopped => state == StateName::Stopped,
        }
    }
}

/// How progress is shown while a task is followed.
enum ProgressPrinter {
    /// The hosts, redrawn in place.
    Drawing(Canvas),
    /// A line for each event that was not printed yet.
    Events {
        printed: usize,
    },
    Silent,
}

impl ProgressPrinter {
    fn new(form: OutputForm, seen: &TaskView) -> Self {
        match screen::canvas() {
            _ if form.json => Self::Silent,
            Some(canvas) => Self::Drawing(canvas),
            None => Self::Events {
                printed: seen.events.len(),
            },
        }
    }

    fn print(&mut self, task: &TaskView, agent: &AgentConnection) -> Result<(), CommandError> {
        match self {
            Self::Silent => Ok(()),
            Self::Drawing(canvas) => {
                let lines = progress::lines(task, frame(agent, canvas));
                canvas.draw(&lines)
            }
            Self::Events { printed } => {
                let news = task.events.get(*printed..).unwrap_or_default();
                *printed = task.events.len();
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

    /// Returns when to print a task again although nothing has happened: the time that is drawn
    /// goes by.
    fn tick(&self, task: &TaskView) -> Option<Instant> {
        let draws = matches!(self, Self::Drawing(_)) && !task.at_rest;
        draws.then(|| Instant::now() + TICK)
    }
}

/// Returns where and when progress is drawn.
fn frame<'a>(agent: &'a AgentConnection, canvas: &Canvas) -> ProgressFrame<'a> {
    ProgressFrame {
        zone: &agent.zone,
        size: canvas.size(),
        now: SystemClock.now(),
        paint: screen::paint(),
    }
}

/// Why following a task ended.
pub(crate) enum WaitEnd {
    AtRest(Box<TaskView>),
    /// It waits for people, and there is no terminal on which they would see that.
    ForPeople(Box<TaskView>),
}

/// How long to wait for people.
#[derive(Default)]
struct WaitPolicy {
    until: Option<Instant>,
}

impl WaitPolicy {
    /// Returns how long to wait for a task in its present state: forever, unless it waits for
    /// people and there is no terminal.
    fn of(&mut self, task: &TaskView) -> Option<Instant> {
        if !task.waits_for_people {
            self.until = None;
            return None;
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + PATIENCE);
        (!screen::is_watched()).then_some(until)
    }
}

/// Follows a task until it has ended, showing what happens; returns the task as it is then.
pub(crate) async fn until_ended(
    agent: &AgentConnection,
    seen: TaskView,
    form: OutputForm,
) -> Result<WaitEnd, CommandError> {
    let id = seen.id;
    let mut patience = WaitPolicy::default();
    let mut printer = ProgressPrinter::new(form, &seen);
    let mut reconnects = Reconnects::default();
    loop {
        let followed = follow(agent, id, &mut printer, &mut patience).await;
        if let Some(end) = reconnects.ended(followed, false).await? {
            return Ok(end);
        }
    }
}

/// Follows over one connection; returns `None` when it ends. The stream begins before the task is
/// read, so that no change is missed in between.
async fn follow(
    agent: &AgentConnection,
    id: u64,
    printer: &mut ProgressPrinter,
    patience: &mut WaitPolicy,
) -> Result<Option<WaitEnd>, CommandError> {
    let events = agent.client.stream(&events_of(id)).await?;
    tokio::pin!(events);
    let mut wakes = WakeDetector::default();
    let mut wake = wakes.next(&mut events, None).await;
    loop {
        if wake == Wake::End {
            return Ok(None);
        }
        let task = agent.client.task(id).await?;
        printer.print(&task, agent)?;
        if task.at_rest {
            return Ok(Some(WaitEnd::AtRest(Box::new(task))));
        }
        let until = patience.of(&task);
        wake = loop {
            let next = until.into_iter().chain(printer.tick(&task)).min();
            let wake = wakes.next(&mut events, next).await;
            if wake != Wake::Nothing {
                break wake;
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Ok(Some(WaitEnd::ForPeople(Box::new(task))));
            }
            printer.print(&task, agent)?;
        };
    }
}

/// Returns the request for a task's change events, without the parts of its page.
fn events_of(id: u64) -> ApiRequest {
    ApiRequest::page(["tasks", &id.to_string(), "events"]).with("parts", Some(false))
}

/// Detects in a stream of server-sent events, whose lines arrive in chunks, that the task has
/// changed. The event data is not read: the task itself is requested.
#[derive(Default)]
struct WakeDetector {
    /// The beginning of an incomplete line.
    begun: Vec<u8>,
}

/// What arrived over a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Change,
    End,
    /// Nothing before the timeout.
    Nothing,
}

impl WakeDetector {
    async fn next(
        &mut self,
        events: &mut (impl Stream<Item = Result<Vec<u8>, ClientError>> + Unpin),
        until: Option<Instant>,
    ) -> Wake {
        let change = async {
            loop {
                match events.next().await {
                    Some(Ok(bytes)) if self.in_piece(&bytes) => return Wake::Change,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Wake::End,
                }
            }
        };
        match until {
            None => change.await,
            Some(until) => {
                let wake = tokio::time::timeout_at(until, change).await;
                wake.unwrap_or(Wake::Nothing)
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
pub(crate) async fn log(ctx: &CliContext, args: &LogArgs) -> Result<(), CommandError> {
    let agent = ctx.agent().await?;
    let ask = ApiRequest::get(["tasks", &args.id.to_string(), "log"])
        .with("host", args.host.as_ref())
        .with("step", args.step.as_ref())
        .with("follow", args.follow.then_some(true));
    if args.follow {
        return follow_log(&agent, &ask, args.id).await;
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

/// Follows a log until the task has ended, over as many connections as needed: the agent cuts each
/// one after a while, to authenticate the user again.
async fn follow_log(
    agent: &AgentConnection,
    ask: &ApiRequest,
    id: u64,
) -> Result<(), CommandError> {
    // A task that does not exist is reported at once.
    agent.client.task(id).await?;
    let mut printed = PrintedLines::default();
    let mut canvas = screen::canvas();
    let mut reconnects = Reconnects::default();
    loop {
        let read = match canvas.as_mut() {
            Some(canvas) => draw_log(agent, ask, id, &mut printed, canvas).await,
            None => print_log(agent, ask, id, &mut printed).await,
        };
        let read = read.map(|task| task.at_rest.then_some(()));
        if reconnects.ended(read, printed.has_come).await?.is_some() {
            return Ok(());
        }
        printed.reset();
    }
}

/// Prints the log from one connection.
async fn print_log(
    agent: &AgentConnection,
    ask: &ApiRequest,
    id: u64,
    printed: &mut PrintedLines,
) -> Result<TaskView, CommandError> {
    let text = agent.client.stream(ask).await?;
    tokio::pin!(text);
    while let Some(bytes) = text.next().await {
        screen::print(&printed.take(&bytes?))?;
    }
    screen::print(&printed.rest())?;
    Ok(agent.client.task(id).await?)
}

/// As [`print_log`], with the hosts drawn below.
async fn draw_log(
    agent: &AgentConnection,
    ask: &ApiRequest,
    id: u64,
    printed: &mut PrintedLines,
    canvas: &mut Canvas,
) -> Result<TaskView, CommandError> {
    let text = agent.client.stream(ask).await?;
    tokio::pin!(text);
    let events = agent.client.stream(&events_of(id)).await?;
    tokio::pin!(events);
    let mut wakes = WakeDetector::default();
    let mut events_end = false;
    let (mut drawn, mut task) = drawing(agent, id, canvas).await?;
    canvas.draw(&drawn)?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            bytes = text.next() => match bytes {
                Some(bytes) => canvas.print_above(&printed.take(&bytes?), &drawn)?,
                None => break,
            },
            bytes = events.next(), if !events_end => match bytes {
                Some(Ok(bytes)) if wakes.in_piece(&bytes) => {
                    (drawn, task) = drawing(agent, id, canvas).await?;
                    canvas.draw(&drawn)?;
                }
                Some(Ok(_)) => {}
                // The log continues without its table.
                Some(Err(_)) | None => events_end = true,
            },
            _ = ticks.tick() => {
                drawn = progress::lines(&task, frame(agent, canvas));
                canvas.draw(&drawn)?;
            }
        }
    }
    let (drawn, task) = drawing(agent, id, canvas).await?;
    canvas.print_above(&printed.rest(), &drawn)?;
    Ok(task)
}

/// The part of a log that was printed so far. Each connection repeats the log from its beginning,
/// with lines of several steps in another order: each line is printed as often as it occurs.
#[derive(Default)]
struct PrintedLines {
    lines: LineBuffer,
    /// How often each line was printed, by step and digest.
    printed: HashMap<u64, HashMap<u64, u32>>,
    /// How many of those this connection has not repeated yet, by step.
    again: HashMap<u64, HashMap<u64, u32>>,
    /// Whether this connection has received anything.
    has_come: bool,
}

impl PrintedLines {
    /// Returns what is new among the complete lines.
    fn take(&mut self, bytes: &[u8]) -> String {
        self.has_come = true;
        let lines = self.lines.take(bytes);
        self.news(&lines)
    }

    /// Returns what is new of an incomplete line.
    fn rest(&mut self) -> String {
        let lines = self.lines.rest();
        self.news(&lines)
    }

    fn reset(&mut self) {
        self.lines = LineBuffer::default();
        self.again.clone_from(&self.printed);
        self.has_come = false;
    }

    fn news(&mut self, lines: &str) -> String {
        let mut news = String::new();
        for line in lines.split_inclusive('\n') {
            let (step, text) = line.split_once(LOG_SEPARATOR).unwrap_or(("", line));
            let (step, digest) = (digest(step), digest(text));
            if text.starts_with(CUT_BEGINS) {
                // It is unknown how often what follows was printed: rather twice than not at all.
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
                        .printed
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

/// Returns the task and the lines to draw for it.
async fn drawing(
    agent: &AgentConnection,
    id: u64,
    canvas: &Canvas,
) -> Result<(Vec<String>, TaskView), CommandError> {
    let task = agent.client.task(id).await?;
    let lines = progress::lines(&task, frame(agent, canvas));
    Ok((lines, task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_task_events_wake_the_follower() {
        let mut wakes = WakeDetector::default();
        assert!(!wakes.in_piece(b":\n\nevent:log\ndata:{}\n\nevent:ta"));
        assert!(wakes.in_piece(b"sk\ndata:{\"text\":\"event:task\"}\n\n"));
        assert!(!wakes.in_piece(b"data:event:task\n"));
        assert!(wakes.in_piece(b"event: task\r\n"));
    }

    #[test]
    fn replayed_log_prints_only_new_lines() {
        let mut printed = PrintedLines::default();
        assert_eq!(
            printed.take(b"a| one\nb| one\na| one\nb| tw"),
            "a| one\nb| one\na| one\n"
        );
        printed.reset();
        // Lines of one step come together now.
        let again = printed.take(b"a| one\na| one\na| one\na| two\nb| one\n");
        assert_eq!(again, "a| one\na| two\n");
        assert_eq!(printed.take(b"b| two"), "");
        assert_eq!(printed.rest(), "b| two\n");
    }

    #[test]
    fn replayed_log_with_a_gap_loses_no_line() {
        let mut printed = PrintedLines::default();
        printed.take(b"a| x\na| x\na| x\nb| y\n");
        printed.reset();
        let again = printed.take(b"a| x\na| [... 4 bytes are missing here\na| x\na| x\nb| y\n");
        assert_eq!(again, "a| [... 4 bytes are missing here\na| x\na| x\n");
    }

    #[test]
    fn each_wait_goal_is_reached_only_by_its_state() {
        for state in StateName::ALL {
            let succeeds = matches!(state, StateName::Succeeded | StateName::Observed);
            assert_eq!(Goal::Success.is_reached_by(state), succeeds, "{state}");
            let stops = state == StateName::Stopped;
            assert_eq!(Goal::Stopped.is_reached_by(state), stops, "{state}");
        }
    }
}
