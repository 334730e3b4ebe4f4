//! Which tasks wait for which repository, and when it is queried next. Called by `land`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::git::landing::{LandingError, RemoteRef};

/// The first pause between two queries of a repository, in milliseconds; each further one doubles.
const PAUSE_FIRST_MS: i64 = 200;
/// The longest pause, in milliseconds.
const PAUSE_MAX_MS: i64 = 15_000;

/// Which tasks wait for which repository.
#[derive(Default)]
pub(in crate::engine::executor) struct RefPoller {
    pub(super) repositories: BTreeMap<String, Repository>,
}

#[derive(Default)]
pub(super) struct Repository {
    pub(super) waiting: BTreeSet<u64>,
    /// The tasks that the current query covers.
    pub(super) queried: BTreeSet<u64>,
    /// The earliest time of the next query.
    pub(super) next: Option<Timestamp>,
    pause_ms: i64,
}

impl Repository {
    /// Returns when a pause ends; one above the maximum means that the clock was set back.
    pub(super) fn pause_end(&self, now: Timestamp) -> Option<Timestamp> {
        let longest = SignedDuration::from_millis(PAUSE_MAX_MS);
        self.next
            .filter(|next| *next > now && next.duration_since(now) <= longest)
    }

    /// Doubles the pause, unless one is under way.
    pub(super) fn lengthen_pause(&mut self, now: Timestamp) {
        if self.pause_end(now).is_none() {
            self.pause_ms = (self.pause_ms * 2).clamp(PAUSE_FIRST_MS, PAUSE_MAX_MS);
            let pause = SignedDuration::from_millis(self.pause_ms);
            self.next = now.checked_add(pause).ok();
        }
    }

    pub(super) fn end_pauses(&mut self) {
        self.next = None;
        self.pause_ms = 0;
    }
}

/// The result of one query.
pub(in crate::engine::executor) struct SeenRefs {
    pub(super) project: String,
    pub(super) queried: BTreeSet<u64>,
    pub(super) refs: Result<Vec<RemoteRef>, LandingError>,
}
