//! A running task, as a few lines of text: one for each host (pure). [`LineBuffer`] lets a log
//! share the screen.

use jiff::Timestamp;

use super::bar;
use super::host_rollup::shown_steps;
use super::paint::Paint;
use super::screen::Size;
use super::summary::state_line;
use super::table::{Table, fit, printable};
use super::times::{Zone, span};
use crate::api::{self, StageView, StepState, StepView, TaskView};

/// The longest line, in bytes; longer ones are cut.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Lines in addition to those of the hosts: the title, the bar, the headings, how many hosts are left
/// out, what the task waits for, and the line of the cursor.
const FRAME_LINES: usize = 6;

/// Where and when progress is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgressFrame<'z> {
    pub(crate) zone: &'z Zone,
    pub(crate) size: Size,
    pub(crate) now: Timestamp,
    pub(crate) paint: Paint,
}

/// The progress of one host.
struct HostProgressLine<'t> {
    host: &'t str,
    stage: &'t str,
    step: &'t StepView,
    /// How many of its steps are done, of how many.
    done: usize,
    of: usize,
}

/// Returns the lines to draw: none is wider than the screen, and all fit on it.
pub(crate) fn lines(task: &TaskView, frame: ProgressFrame<'_>) -> Vec<String> {
    let size = frame.size;
    let is_rollback = !task.rollback_stages.is_empty();
    let stages = match is_rollback {
        true => &task.rollback_stages,
        false => &task.stages,
    };
    let host_lines = host_lines(stages);
    let width = usize::from(size.width);
    let mut lines = vec![title(task, frame)];
    if let Some(elapsed) = bar::elapsed(task, frame.now) {
        lines.push(bar::line(stages, is_rollback, &elapsed, width));
    }
    let room = usize::from(size.height).saturating_sub(FRAME_LINES).max(1);
    let (shown, left_out) = chosen(&host_lines, room);
    if !shown.is_empty() {
        let table = Table::new(["  HOST", "DONE", "STEP", "STATE", "TOOK"]);
        let mut table = table.states("STATE", frame.paint);
        for host_line in shown {
            table.row(cells(host_line));
        }
        lines.extend(table.render(Some(size.width)).lines().map(str::to_owned));
    }
    if !left_out.is_empty() {
        let done = left_out.iter().filter(|host| host.done == host.of).count();
        let more = left_out.len();
        lines.push(fit(
            &format!("  … and {more} more hosts, {done} of them done"),
            width,
        ));
    }
    if task.waits_for_people {
        lines.push(fit(&printable(&api::waits_for(task)), width));
    }
    lines
}

/// Returns what is released where, and the state.
fn title(task: &TaskView, frame: ProgressFrame<'_>) -> String {
    let called = match task.project.as_str() {
        "" => format!("task {} on {}: ", task.id, task.destination()),
        project => format!("task {} {project} to {}: ", task.id, task.environment),
    };
    let state = printable(&state_line(task, frame.zone));
    let shown = fit(&format!("{called}{state}"), usize::from(frame.size.width));
    match shown.strip_prefix(&called) {
        Some(rest) => called + &frame.paint.part(&state, rest),
        None => shown,
    }
}

fn cells(host_line: &HostProgressLine<'_>) -> [String; 5] {
    let HostProgressLine {
        host,
        stage,
        step,
        done,
        of,
    } = host_line;
    let took = match (step.started_at, step.ended_at) {
        (Some(began), Some(ended)) => span(began, ended),
        _ => String::new(),
    };
    [
        format!("  {host}"),
        format!("{done}/{of}"),
        format!("{stage}.{}", step.name),
        step.state.name().to_owned(),
        took,
    ]
}

/// Returns every host once, in the order of the stages.
fn host_lines(stages: &[StageView]) -> Vec<HostProgressLine<'_>> {
    let mut hosts: Vec<&str> = Vec::new();
    for host in stages.iter().flat_map(|stage| &stage.hosts) {
        if !hosts.contains(&host.name.as_str()) {
            hosts.push(&host.name);
        }
    }
    hosts
        .into_iter()
        .filter_map(|host| host_line(stages, host))
        .collect()
}

/// Returns a host's progress: the running or failed step, else the last one done, else the first.
fn host_line<'t>(stages: &'t [StageView], host: &'t str) -> Option<HostProgressLine<'t>> {
    let steps: Vec<(&str, &StepView)> = stages
        .iter()
        .flat_map(|stage| {
            let of_host = stage.hosts.iter().filter(|view| view.name == host);
            of_host.flat_map(|view| shown_steps(view).map(|step| (stage.name.as_str(), step)))
        })
        .collect();
    let done = |step: &StepView| step.state == StepState::Succeeded;
    let begun = |step: &StepView| !matches!(step.state, StepState::Pending | StepState::Held);
    let (stage, step) = steps
        .iter()
        .find(|(_, step)| begun(step) && !done(step))
        .or_else(|| steps.iter().rev().find(|(_, step)| begun(step)))
        .or_else(|| steps.first())?;
    Some(HostProgressLine {
        host,
        stage,
        step,
        done: steps.iter().filter(|(_, step)| done(step)).count(),
        of: steps.len(),
    })
}

/// Returns what fits: failed hosts first, then running ones, then the others; in their own order.
fn chosen<'s, 't>(
    host_lines: &'s [HostProgressLine<'t>],
    room: usize,
) -> (Vec<&'s HostProgressLine<'t>>, Vec<&'s HostProgressLine<'t>>) {
    let urgency = |host_line: &HostProgressLine<'_>| match host_line.step.state {
        StepState::Failed | StepState::Unknown | StepState::Stopped => 0,
        StepState::Running => 1,
        _ if host_line.done < host_line.of => 2,
        _ => 3,
    };
    let mut order: Vec<usize> = (0..host_lines.len()).collect();
    order.sort_by_key(|index| (urgency(&host_lines[*index]), *index));
    let mut shown: Vec<usize> = order.iter().copied().take(room).collect();
    shown.sort_unstable();
    (0..host_lines.len())
        .map(|index| &host_lines[index])
        .enumerate()
        .fold(
            (Vec::new(), Vec::new()),
            |(mut shown_ones, mut rest), (index, host_line)| {
                match shown.binary_search(&index) {
                    Ok(_) => shown_ones.push(host_line),
                    Err(_) => rest.push(host_line),
                }
                (shown_ones, rest)
            },
        )
}

/// Splits a log that arrives in chunks into complete lines, so that something can be drawn below
/// them. The agent has sanitized the text for terminals.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    begun: Vec<u8>,
}

impl LineBuffer {
    /// Returns the lines that are complete now.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> String {
        let mut text = String::new();
        for byte in bytes {
            if *byte == b'\n' {
                text.push_str(&self.end());
                continue;
            }
            if self.begun.len() >= LINE_BYTES_MAX {
                text.push_str(&self.end());
            }
            self.begun.push(*byte);
        }
        text
    }

    /// Returns an incomplete line.
    pub(crate) fn rest(&mut self) -> String {
        if self.begun.is_empty() {
            String::new()
        } else {
            self.end()
        }
    }

    fn end(&mut self) -> String {
        let line = std::mem::take(&mut self.begun);
        let mut line = String::from_utf8_lossy(&line).into_owned();
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_in_pieces_becomes_whole_lines() {
        let mut lines = LineBuffer::default();
        assert_eq!(lines.take(b"one\ntw"), "one\n");
        assert_eq!(lines.take(b"o\n\nthree"), "two\n\n");
        assert_eq!(lines.rest(), "three\n");
        assert_eq!(lines.rest(), "");
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let mut lines = LineBuffer::default();
        let text = lines.take(&vec![b'x'; LINE_BYTES_MAX + 1]);
        assert_eq!(text.len(), LINE_BYTES_MAX + 1);
        assert_eq!(lines.rest(), "x\n");
    }
}
