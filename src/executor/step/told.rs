//! What is heard of a step before it ends, besides its output: it becomes part of the task's log.
//! Called by what performs operations on hosts; decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::host::Output;
use crate::task::{At, Event};

/// The output of one attempt of a step; what is said of its host and program is an event, too.
pub(super) struct Telling {
    output: Arc<dyn Output>,
    at: At,
    attempt: u32,
    tells: mpsc::UnboundedSender<Event>,
    begun: AtomicBool,
}

impl Telling {
    pub(super) fn new(
        output: Arc<dyn Output>,
        at: At,
        attempt: u32,
        tells: mpsc::UnboundedSender<Event>,
    ) -> Self {
        Self {
            output,
            at,
            attempt,
            tells,
            begun: AtomicBool::new(false),
        }
    }

    fn tell(&self, event: Event) {
        // Nobody hears it where the step was given up meanwhile.
        let _ = self.tells.send(event);
    }
}

impl Output for Telling {
    fn write_at(&self, offset: u64, bytes: &[u8]) {
        self.output.write_at(offset, bytes);
    }

    fn line(&self, text: &str) {
        self.output.line(text);
    }

    fn begun(&self) {
        if !self.begun.swap(true, Ordering::SeqCst) {
            self.tell(Event::ProgramBegan {
                at: self.at,
                attempt: self.attempt,
            });
        }
    }

    fn away(&self, reason: &str, until: Timestamp) {
        self.line(&format!("{reason}; trying again until {until:.0}"));
        self.tell(Event::HostAway {
            at: self.at,
            reason: super::cut(reason),
            until,
        });
    }

    fn back(&self) {
        self.line("the host is there again");
        self.tell(Event::HostBack { at: self.at });
    }
}
