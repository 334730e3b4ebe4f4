//! When a store is opened, creates the index if an earlier version wrote the store without one.
//!
//! The writes are idempotent, so an interrupted run simply starts over; the completion mark is
//! written last. Called by [`Store::open`], once per store.

use super::kv::{self, Commit, Range};
use super::search_rows;
use super::{Head, Store, StoreError, index};
use crate::domain::task::{Description, Task};

/// Operations to collect before a commit is sent; one task adds fewer than the rest of the engine's
/// limit.
const OPERATIONS: usize = 40;

impl Store {
    /// Writes all missing index rows; refuses a store of a newer version, whose rows this one would
    /// misread and overwrite.
    pub(super) async fn ensure_index(&self) -> Result<(), StoreError> {
        let layout = self.kv.get(search_rows::LAYOUT_KEY).await?;
        let layout = layout.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
        let found: u32 = layout.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        if found > search_rows::LAYOUT {
            return Err(StoreError::TooNew {
                found,
                known: search_rows::LAYOUT,
            });
        }
        if found == search_rows::LAYOUT {
            return Ok(());
        }
        let mut pages = kv::pages(&*self.kv, Range::prefix(index::HEADS));
        let mut commit = Commit::new();
        let mut tasks = 0_u64;
        while let Some(page) = pages.next().await? {
            for row in &page.rows {
                let Some(id) = index::id_of(&row.key) else {
                    continue;
                };
                commit = commit.and(self.rows_of(id).await?);
                tasks += 1;
                if commit.operations() > OPERATIONS {
                    self.write(std::mem::take(&mut commit)).await?;
                }
            }
        }
        self.write(commit.put(search_rows::LAYOUT_KEY, search_rows::LAYOUT.to_string()))
            .await?;
        if tasks > 0 {
            tracing::info!(tasks, "tasks were indexed for searches");
        }
        Ok(())
    }

    /// Writes a commit without requirements.
    pub(super) async fn write(&self, commit: Commit) -> Result<(), StoreError> {
        let written = self.kv.commit(commit).await;
        written.map_err(|error| index::error(0, error))?;
        Ok(())
    }

    /// Returns the rows of one task, and deletes its list rows of older layouts.
    async fn rows_of(&self, id: u64) -> Result<Commit, StoreError> {
        let Head {
            state,
            project,
            environment,
            ..
        } = self.head(id).await?;
        let events = self.events(id).await?;
        let task = Task::fold(id, &events)?;
        let mut commit = search_rows::begun(&task);
        for event in &events {
            commit = commit.and(search_rows::happened(&task, event));
        }
        let mut words = search_rows::words(&events);
        let described = self.description(&events).await;
        words.extend(described.iter().flat_map(search_rows::described));
        let position = search_rows::position(task.created, id);
        Ok(commit
            .put(
                search_rows::text_row(&position),
                search_rows::extended("", search_rows::hashes(&events), words),
            )
            .delete(format!("state/{state}/{id:016x}"))
            .delete(format!("project/{project}/{environment}/{id:016x}")))
    }

    /// Returns the description in events, if readable: a search works without it.
    pub(super) async fn description(
        &self,
        events: &[crate::domain::task::Recorded],
    ) -> Option<Description> {
        let bytes = self.blob(search_rows::description(events)?).await.ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}
