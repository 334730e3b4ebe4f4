//! Slots for long-lived responses (event streams and followed logs), limited in total and per
//! account.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::fault::Fault;
use crate::base::mutex::lock;

/// Open streams, by account.
pub(super) struct Streams {
    /// The limit in total, and for each account.
    most: usize,
    each: usize,
    open: Mutex<BTreeMap<String, usize>>,
}

/// A slot that is taken until dropped.
pub(super) struct StreamSlot {
    streams: Arc<Streams>,
    account: String,
}

impl Streams {
    pub(super) fn new(most: usize, each: usize) -> Self {
        Self {
            most,
            each,
            open: Mutex::default(),
        }
    }

    /// Returns how many are open.
    pub(super) fn count(&self) -> usize {
        lock(&self.open).values().sum()
    }

    /// Takes a slot for an account.
    pub(super) fn take(self: &Arc<Self>, account: &str) -> Result<StreamSlot, Fault> {
        let mut open = lock(&self.open);
        let own = open.get(account).copied().unwrap_or_default();
        if own >= self.each {
            return Err(Fault::Busy(format!(
                "{account} has {own} open streams of tasks, logs and lists; close one, or try again later"
            )));
        }
        if open.values().sum::<usize>() >= self.most {
            return Err(Fault::Busy(
                "too many streams are open; reload the page later".to_owned(),
            ));
        }
        open.insert(account.to_owned(), own + 1);
        Ok(StreamSlot {
            streams: Arc::clone(self),
            account: account.to_owned(),
        })
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut open = lock(&self.streams.open);
        if let Some(own) = open.get_mut(&self.account) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.account);
            }
        }
    }
}
