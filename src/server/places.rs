//! The places for what stays open, event streams and followed logs: so many in all, so many of one
//! account.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fault::Fault;
use super::who::Who;
use super::{Limits, Site};

/// What is open, by account.
pub(super) struct Streams {
    limits: Limits,
    open: Mutex<BTreeMap<String, usize>>,
}

/// A place that is taken until this is dropped.
pub(super) struct Place {
    streams: Arc<Streams>,
    account: String,
}

impl Streams {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Mutex::default(),
        }
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.open().values().sum()
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, account: &str) -> Result<Place, Fault> {
        let mut open = self.open();
        let own = open.get(account).copied().unwrap_or_default();
        if own >= self.limits.streams_each {
            return Err(Fault::Busy(format!(
                "{account} follows {own} tasks, logs and lists at this moment; end one of them, or come back later"
            )));
        }
        if open.values().sum::<usize>() >= self.limits.streams {
            return Err(Fault::Busy(
                "too many are watching at this moment; load the page again later".to_owned(),
            ));
        }
        open.insert(account.to_owned(), own + 1);
        Ok(Place {
            streams: Arc::clone(self),
            account: account.to_owned(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        if let Some(own) = open.get_mut(&self.account) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.account);
            }
        }
    }
}

impl Site {
    /// A place for something that stays open for somebody.
    pub(super) fn place(&self, who: &Who) -> Result<Place, Fault> {
        self.streams.take(&who.actor.name)
    }
}
