//! Changes in the store, for event streams and followed logs.

use super::Site;
use crate::store::kv::{Watch, WatchEnd};
use crate::store::{Store, StoreError};

/// A watch for changes in the store.
pub(super) struct StoreChanges {
    watch: Watch,
}

impl StoreChanges {
    /// Watches from now on.
    pub(super) async fn of(site: &Site) -> Result<Self, StoreError> {
        let store = &site.web.store;
        let revision = store.revision().await?;
        Ok(Self {
            watch: store.watch_heads(revision),
        })
    }

    /// Waits until this task has changed. Cancel-safe.
    pub(super) async fn next(&mut self, site: &Site, id: u64) -> Result<(), StoreError> {
        while !self.any(site).await?.contains(&id) {}
        Ok(())
    }

    /// Waits until tasks have changed, and returns which. Cancel-safe.
    pub(super) async fn any(&mut self, site: &Site) -> Result<Changed, StoreError> {
        match self.watch.next().await {
            Ok(update) => {
                let ids = update.changes.iter();
                Ok(Changed::These(
                    ids.filter_map(|change| Store::head_id(&change.key))
                        .collect(),
                ))
            }
            Err(WatchEnd::Lagged) => {
                *self = Self::of(site).await?;
                Ok(Changed::Perhaps)
            }
            Err(WatchEnd::Closed) => std::future::pending().await,
        }
    }
}

/// A watch for everything that the board shows.
pub(super) struct BoardChanges {
    tasks: Watch,
    hosts: [Watch; 2],
}

impl BoardChanges {
    /// Watches from now on.
    pub(super) async fn of(site: &Site) -> Result<Self, StoreError> {
        let store = &site.web.store;
        let revision = store.revision().await?;
        Ok(Self {
            tasks: store.watch_heads(revision),
            hosts: store.watch_hosts(revision),
        })
    }

    /// Waits until something may have changed.
    pub(super) async fn next(mut self) {
        let [drift, disabled] = &mut self.hosts;
        let end = tokio::select! {
            end = self.tasks.next() => end,
            end = drift.next() => end,
            end = disabled.next() => end,
        };
        if let Err(WatchEnd::Closed) = end {
            std::future::pending::<()>().await;
        }
    }
}

pub(super) enum Changed {
    These(Vec<u64>),
    /// Any task may have changed: too many changes came at once.
    Perhaps,
}

impl Changed {
    pub(super) fn contains(&self, id: &u64) -> bool {
        match self {
            Self::These(ids) => ids.contains(id),
            Self::Perhaps => true,
        }
    }
}
