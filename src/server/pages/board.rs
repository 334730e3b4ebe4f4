//! The board: what waits for the reader, what runs, what is live where, and what has ended.

use std::sync::Arc;

use askama::Template;

use super::super::Site;
use super::super::actions::board::{Board, board};
use super::super::answer::{self, HttpResult};
use super::super::authentication::{Who, who_reads};
use super::super::call::Call;
use super::super::fault::Fault;
use super::super::text::{self, Times};
use super::{Frame, shown, times};
use crate::api::{BoardEnvironment, BoardGroup, BoardQuery, BoardTask, BoardView, TaskQuery};
use crate::base::language::{Language, Sentence};
use crate::domain::task::StateName;
use crate::engine::request::AllowedRequest;
use crate::store::Head;

#[derive(Template)]
#[template(path = "web/board.html")]
struct BoardPage {
    frame: Frame,
    b: BoardContent,
    /// The address of its event stream.
    live: String,
}

/// What changes on the board.
pub(in crate::server) struct BoardContent {
    language: Language,
    times: Times,
    /// What waits for the reader, in a sentence or two.
    asks: Vec<Sentence>,
    to_do: usize,
    chips: Vec<Chip>,
    groups: Vec<RowGroup>,
    places: Vec<PlaceCard>,
    ended: Vec<RowGroup>,
    left_out: u64,
}

/// A filter, as a link with a count.
pub(super) struct Chip {
    pub(super) href: String,
    pub(super) label: String,
    pub(super) count: Option<u64>,
    pub(super) current: bool,
}

impl Chip {
    pub(super) fn new(
        href: impl Into<String>,
        label: impl ToString,
        count: Option<u64>,
        current: bool,
    ) -> Self {
        Self {
            href: href.into(),
            label: label.to_string(),
            count,
            current,
        }
    }
}

/// Tasks under one heading.
pub(super) struct RowGroup {
    /// The element's id.
    id: &'static str,
    heading: Sentence,
    total: u64,
    rows: Vec<TaskRow>,
    /// Where all of them are listed.
    all: String,
}

impl RowGroup {
    /// Returns how many of them are not listed.
    fn more(&self) -> u64 {
        self.total.saturating_sub(self.rows.len() as u64)
    }
}

/// A task as a row of a list.
pub(super) struct TaskRow {
    pub(super) id: u64,
    pub(super) tone: &'static str,
    pub(super) state: String,
    /// Further badges, each with its tone.
    pub(super) marks: Vec<(&'static str, Sentence)>,
    pub(super) name: String,
    pub(super) place: String,
    pub(super) subject: String,
    pub(super) facts: Vec<String>,
    pub(super) created: jiff::Timestamp,
    pub(super) created_shown: String,
    pub(super) notes: Vec<String>,
    /// The done steps, all steps, and what is at work.
    pub(super) progress: Option<(u64, u64, String)>,
}

/// Who reads a row, and how.
pub(super) struct RowReader<'a> {
    pub(super) language: Language,
    pub(super) times: &'a Times,
    pub(super) name: &'a str,
}

impl TaskRow {
    pub(super) fn of(task: &BoardTask, reader: &RowReader<'_>) -> Self {
        let RowReader {
            language,
            times,
            name,
        } = *reader;
        let head = &task.line.head;
        let say = |id: &'static str| language.say(id);
        let mut marks = Vec::new();
        if task.rollback {
            marks.push(("warn", say("board-rollback")));
        }
        if head.emergency {
            marks.push(("bad", say("board-emergency")));
        }
        if head.state == StateName::Waiting && head.approvers.iter().any(|one| one == name) {
            marks.push(("asks", say("board-approval-requested")));
        }
        match task.you_can {
            Some(AllowedRequest::Approve) => marks.push(("asks", say("board-you-can"))),
            Some(_) => marks.push(("asks", say("board-you-decide-this"))),
            None => {}
        }
        let mut facts = vec![task.line.who().to_owned()];
        let commit = head.commit.as_deref().map(text::short);
        facts.extend(commit.map(str::to_owned));
        facts.push(
            say("board-task")
                .with("id", head.id.to_string())
                .to_string(),
        );
        let progress = task.progress.as_ref().map(|progress| {
            let words = progress.describe().in_language(language);
            (progress.steps_done, progress.steps, words)
        });
        Self {
            id: head.id,
            tone: text::tone(head.state),
            state: text::state_in(language, head.state),
            marks,
            name: task.line.called().to_owned(),
            place: if head.project.is_empty() {
                say("board-no-project").to_string()
            } else {
                task.line.destination()
            },
            subject: task.subject.clone(),
            facts,
            created: head.created_at,
            created_shown: times.minute(&head.created_at),
            notes: notes(task, language, times),
            progress,
        }
    }
}

/// Says what a task changes, needs and waits for, and why it ended.
fn notes(task: &BoardTask, language: Language, times: &Times) -> Vec<String> {
    let head = &task.line.head;
    let said = task.change().into_iter().chain(task.needs());
    let mut notes: Vec<String> = said.map(|said| said.in_language(language)).collect();
    if let Some(at) = task.starts_at {
        let id = match head.state {
            StateName::Scheduled => "board-starts",
            _ => "board-starts-not-before",
        };
        let at = times.minute(&at);
        notes.push(language.say(id).with("at", at).to_string());
    }
    if let Some(until) = task.frozen_until {
        let until = times.minute(&until);
        notes.push(
            language
                .say("board-held-by-freeze")
                .with("until", until)
                .to_string(),
        );
    }
    notes.extend(detail(head, language));
    notes
}

/// Returns the details of a state in the reader's language. What a program, a host or a person
/// said stays as it was said.
fn detail(head: &Head, language: Language) -> Option<String> {
    match &head.state_detail {
        Some(said) => Some(said.message().in_language(language)),
        // The text of a scheduled task is its time, which is shown by the reader's clock.
        None if head.detail.is_empty() || head.state == StateName::Scheduled => None,
        None => Some(head.detail.clone()),
    }
}

/// What is live in one environment.
struct PlaceCard {
    place: BoardEnvironment,
    tone: &'static str,
    warnings: Vec<String>,
}

impl PlaceCard {
    fn of(place: &BoardEnvironment, language: Language, times: &Times) -> Self {
        let warnings = place.warnings(|at| times.minute(&at));
        let last = place.last.as_ref().map(|last| text::tone(last.state));
        Self {
            tone: match last {
                Some("bad") => "bad",
                _ if !warnings.is_empty() => "warn",
                Some(tone) => tone,
                None => "over",
            },
            warnings: warnings
                .iter()
                .map(|said| said.in_language(language))
                .collect(),
            place: place.clone(),
        }
    }

    /// Returns the address of all its tasks.
    fn all(&self) -> String {
        let (project, environment) = (&self.place.project, &self.place.environment);
        tasks_of(&BoardQuery {
            project: Some(project.clone()),
            environment: Some(environment.clone()),
        })
    }
}

/// Returns the address of the list of tasks with this filter.
fn tasks_of(query: &BoardQuery) -> String {
    address("/tasks", query)
}

/// Returns an address with a query.
pub(super) fn address(path: &str, query: &impl serde::Serialize) -> String {
    match serde_urlencoded::to_string(query) {
        Ok(query) if !query.is_empty() => format!("{path}?{query}"),
        _ => path.to_owned(),
    }
}

impl BoardContent {
    /// Returns the board as this user sees it.
    pub(in crate::server) async fn of(
        site: &Site,
        who: &Who,
        query: &BoardQuery,
    ) -> Result<Self, Fault> {
        let (language, times) = (who.language, times(site));
        let board = board(site, who, query).await?;
        let view = &board.view;
        let reader = RowReader {
            language,
            times: &times,
            name: &who.actor.name,
        };
        let asks = view.asks();
        Ok(Self {
            asks: asks
                .into_iter()
                .map(|said| said.sentence(language))
                .collect(),
            to_do: view.for_you.tasks.len(),
            chips: chips(&board, query, language),
            groups: unfinished(view, query, &reader),
            places: view
                .environments
                .iter()
                .map(|place| PlaceCard::of(place, language, &times))
                .collect(),
            ended: ended(view, query, &reader),
            left_out: view.left_out,
            language,
            times,
        })
    }

    fn say(&self, id: &'static str) -> Sentence {
        self.language.say(id)
    }

    /// Returns the name of a task's state.
    fn state(&self, state: StateName) -> String {
        text::state_in(self.language, state)
    }

    /// Returns the title of the browser's window: with how much waits for the reader.
    pub(in crate::server) fn title(&self) -> String {
        let title = self.say("board-title").to_string();
        match self.to_do {
            0 => title,
            count => format!("({count}) {title}"),
        }
    }

    /// Returns the parts that change, by the ids of their elements.
    pub(in crate::server) fn parts(&self) -> Result<Vec<(&'static str, String)>, Fault> {
        let b = self;
        let drawn = [
            ("board-now", BoardNow { b }.render()),
            ("board-live", BoardLive { b }.render()),
            ("board-ended", BoardEnded { b }.render()),
        ];
        drawn
            .into_iter()
            .map(|(name, html)| {
                Ok((
                    name,
                    html.map_err(|error| Fault::Broken(error.to_string()))?,
                ))
            })
            .collect()
    }
}

macro_rules! board_parts {
    ($($name:ident $path:literal,)+) => {
        $(
            #[derive(Template)]
            #[template(path = $path)]
            struct $name<'a> {
                b: &'a BoardContent,
            }
        )+
    };
}

board_parts! {
    BoardNow "web/part/board_now.html",
    BoardLive "web/part/board_live.html",
    BoardEnded "web/part/board_ended.html",
}

/// Returns the filters by project and environment, where there are several.
fn chips(board: &Board, query: &BoardQuery, language: Language) -> Vec<Chip> {
    let with = |project: Option<&String>, environment: Option<&String>| {
        address(
            "/",
            &BoardQuery {
                project: project.cloned(),
                environment: environment.cloned(),
            },
        )
    };
    let mut chips = Vec::new();
    if board.projects.len() > 1 {
        let all = query.project.is_none();
        let label = language.say("board-all-projects");
        chips.push(Chip::new(
            with(None, query.environment.as_ref()),
            label,
            None,
            all,
        ));
        chips.extend(board.projects.iter().map(|(name, count)| {
            let current = query.project.as_ref() == Some(name);
            let href = with(Some(name), None);
            Chip::new(href, name, Some(*count), current)
        }));
    }
    if board.environments.len() > 1 {
        let all = query.environment.is_none();
        let label = language.say("board-all-environments");
        chips.push(Chip::new(
            with(query.project.as_ref(), None),
            label,
            None,
            all,
        ));
        chips.extend(board.environments.iter().map(|(name, count)| {
            let current = query.environment.as_ref() == Some(name);
            let href = with(query.project.as_ref(), Some(name));
            Chip::new(href, name, Some(*count), current)
        }));
    }
    chips
}

fn group(
    id: &'static str,
    heading: Sentence,
    (group, state): (&BoardGroup, Option<&str>),
    query: &BoardQuery,
    reader: &RowReader<'_>,
) -> RowGroup {
    let all = TaskQuery {
        project: query.project.clone(),
        environment: query.environment.clone(),
        state: state.map(str::to_owned),
        ..TaskQuery::default()
    };
    RowGroup {
        id,
        heading,
        total: group.total,
        rows: group
            .tasks
            .iter()
            .map(|task| TaskRow::of(task, reader))
            .collect(),
        all: address("/tasks", &all),
    }
}

/// Returns the groups of unfinished tasks that are not empty.
fn unfinished(view: &BoardView, query: &BoardQuery, reader: &RowReader<'_>) -> Vec<RowGroup> {
    let say = |id: &'static str| reader.language.say(id);
    let groups = [
        group(
            "yours",
            say("board-for-you"),
            (&view.for_you, Some("waiting")),
            query,
            reader,
        ),
        group(
            "running",
            say("board-running"),
            (&view.running, Some("running")),
            query,
            reader,
        ),
        group(
            "waiting",
            say("board-waiting"),
            (&view.waiting, Some("waiting")),
            query,
            reader,
        ),
        group("next", say("board-next"), (&view.next, None), query, reader),
    ];
    groups.into_iter().filter(|group| group.total > 0).collect()
}

/// Returns the groups of tasks that have ended.
fn ended(view: &BoardView, query: &BoardQuery, reader: &RowReader<'_>) -> Vec<RowGroup> {
    let say = |id: &'static str| reader.language.say(id);
    let groups = [
        group(
            "failed",
            say("board-failed"),
            (&view.failed, Some("failed")),
            query,
            reader,
        ),
        group(
            "recent",
            say("board-recent"),
            (&view.recent, None),
            query,
            reader,
        ),
    ];
    groups.into_iter().filter(|group| group.total > 0).collect()
}

/// `/`: the board. Other filters than those of the board belong to the list of tasks.
pub(in crate::server) async fn show(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let asked: TaskQuery = call.query()?;
    let query = BoardQuery {
        project: asked.project.clone(),
        environment: asked.environment.clone(),
    };
    let plain = TaskQuery {
        project: query.project.clone(),
        environment: query.environment.clone(),
        ..TaskQuery::default()
    };
    if asked != plain {
        return answer::see(&address("/tasks", &asked));
    }
    let page = BoardPage {
        frame: Frame::of(site, &who).await?,
        b: BoardContent::of(site, &who, &query).await?,
        live: address(
            "/events",
            &LiveBoard {
                page: "board",
                query: &query,
            },
        ),
    };
    shown(&page)
}

/// The query of the board's event stream.
#[derive(serde::Serialize)]
struct LiveBoard<'a> {
    page: &'static str,
    #[serde(flatten)]
    query: &'a BoardQuery,
}
