//! Events of a step before its result, apart from its output; they become part of the task's log.
//! Called by what performs operations on hosts; decides nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::base::mutex::lock;
use crate::domain::host::Output;
use crate::domain::task::{Event, StepRef};

/// How many bytes at the end of an output are searched for its last line.
const END_BYTES: usize = 4096;
/// How many characters of that line a failure shows.
const LINE_CHARS: usize = 300;
/// The maximum length of a stored message from a host, in characters.
const MESSAGE_MAX: usize = 2_000;

/// Returns a message, possibly from a host, cut to the maximum length.
pub(super) fn truncate(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => format!("{} …", &message[..end]),
        None => message.to_owned(),
    }
}

/// The output of one attempt as it is logged; remembers its last line.
pub(super) struct LastLine {
    output: Arc<dyn Output>,
    end: Mutex<Vec<u8>>,
}

impl LastLine {
    pub(super) fn of(output: Arc<dyn Output>) -> Arc<Self> {
        Arc::new(Self {
            output,
            end: Mutex::default(),
        })
    }

    /// Returns `: LINE`, or nothing if nothing was printed.
    pub(super) fn text(&self) -> String {
        let end = lock(&self.end);
        let text = String::from_utf8_lossy(&end);
        let lines = text.split(['\n', '\r']).map(str::trim);
        let Some(line) = lines.rev().find(|line| !line.is_empty()) else {
            return String::new();
        };
        let mut shown: String = line.chars().take(LINE_CHARS).collect();
        shown = shown.replace(char::is_control, " ");
        if line.chars().nth(LINE_CHARS).is_some() {
            shown.push('…');
        }
        format!(": {shown}")
    }
}

impl Output for LastLine {
    fn write_at(&self, offset: u64, bytes: &[u8]) {
        let mut end = lock(&self.end);
        end.extend_from_slice(bytes);
        let before = end.len().saturating_sub(END_BYTES);
        end.drain(..before);
        drop(end);
        self.output.write_at(offset, bytes);
    }

    fn line(&self, text: &str) {
        self.output.line(text);
    }
}

/// The output of one attempt of a step; reports on its host and program become events, too.
pub(super) struct StepEvents {
    output: Arc<dyn Output>,
    at: StepRef,
    attempt: u32,
    events: mpsc::UnboundedSender<Event>,
    program_began: AtomicBool,
}

impl StepEvents {
    pub(super) fn new(
        output: Arc<dyn Output>,
        at: StepRef,
        attempt: u32,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        Self {
            output,
            at,
            attempt,
            events,
            program_began: AtomicBool::new(false),
        }
    }

    fn send(&self, event: Event) {
        // The receiver is gone if the step was given up meanwhile.
        let _ = self.events.send(event);
    }
}

impl Output for StepEvents {
    fn write_at(&self, offset: u64, bytes: &[u8]) {
        self.output.write_at(offset, bytes);
    }

    fn line(&self, text: &str) {
        self.output.line(text);
    }

    fn program_began(&self) {
        if !self.program_began.swap(true, Ordering::SeqCst) {
            self.send(Event::ProgramBegan {
                at: self.at,
                attempt: self.attempt,
            });
        }
    }

    fn unreachable(&self, reason: &str, until: Timestamp) {
        self.line(&format!("{reason}; trying again until {until:.0}"));
        self.send(Event::HostAway {
            at: self.at,
            reason: truncate(reason),
            until,
        });
    }

    fn reachable(&self) {
        self.line("the host is reachable again");
        self.send(Event::HostBack { at: self.at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::executor::step::Silent;

    #[test]
    fn failure_message_begins_with_the_last_output_line() {
        let long = "x".repeat(2 * LINE_CHARS);
        let cut = format!(": {}…", "x".repeat(LINE_CHARS));
        for (printed, words) in [
            ("", ""),
            ("\n \n", ""),
            ("one\nno such table: cart\n\n", ": no such table: cart"),
            ("no newline", ": no newline"),
            ("10%\r55%\rbroken pipe\r\n", ": broken pipe"),
            ("one\n\u{1b}[31mred\u{7}!", ":  [31mred !"),
            (long.as_str(), cut.as_str()),
        ] {
            let last = LastLine::of(Arc::new(Silent));
            for (at, piece) in printed.as_bytes().chunks(7).enumerate() {
                last.write_at(7 * at as u64, piece);
            }
            assert_eq!(last.text(), words, "{printed:?}");
        }
    }
}
